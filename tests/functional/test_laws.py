"""What has to hold of any numbers (Hypothesis)."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lastlayer import functional as ours

settings.register_profile("lastlayer", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("lastlayer")


@st.composite
def batches(draw, largest=30.0):
    rows, classes = draw(st.integers(1, 4)), draw(st.integers(2, 6))
    numbers = st.floats(-largest, largest, width=32)
    logits = draw(st.lists(st.lists(numbers, min_size=classes, max_size=classes), min_size=rows, max_size=rows))
    target = draw(st.lists(st.integers(0, classes - 1), min_size=rows, max_size=rows))
    return torch.tensor(logits, dtype=torch.float64), torch.tensor(target)


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@given(batches(), st.floats(-50, 50))
def test_adding_a_constant_changes_nothing(batch, constant):
    z, y = batch
    close(ours.cross_entropy(z + constant, y), ours.cross_entropy(z, y))
    close(ours.softmax(z + constant, 1), ours.softmax(z, 1))
    close(ours.entropy(z + constant, 1), ours.entropy(z, 1))


@given(batches())
def test_gradient_of_each_row_sums_to_zero(batch):
    z, y = batch
    z.requires_grad_()
    ours.cross_entropy(z, y, reduction="sum").backward()
    close(z.grad.sum(1), torch.zeros(len(y), dtype=torch.float64))
    assert (z.grad.gather(1, y[:, None]) <= 0).all()
    assert z.grad.abs().max() > 0 or ours.cross_entropy(z, y) == 0


@given(batches())
def test_gradient_is_probability_minus_truth(batch):
    z, y = batch
    z.requires_grad_()
    ours.cross_entropy(z, y, reduction="sum").backward()
    close(z.grad, ours.softmax(z.detach(), 1) - ours.one_hot(y, z.shape[1]).double())


@given(batches(), st.randoms(use_true_random=False))
def test_the_order_of_classes_does_not_matter(batch, random):
    z, y = batch
    order = torch.tensor(random.sample(range(z.shape[1]), z.shape[1]))
    close(ours.cross_entropy(z[:, order], order.argsort()[y]), ours.cross_entropy(z, y))
    close(ours.softmax(z[:, order], 1), ours.softmax(z, 1)[:, order])


@given(batches())
def test_probabilities(batch):
    z, _ = batch
    p = ours.softmax(z, 1)
    close(p.sum(1), torch.ones(len(z), dtype=torch.float64))
    assert (p >= 0).all()
    close(ours.log_softmax(z, 1).exp(), p)
    assert torch.equal(ours.hardmax(z, 1).argmax(1), ours.hardmax(p, 1).argmax(1))


@given(batches())
def test_raising_a_logit_raises_its_probability(batch):
    z, y = batch
    higher = z.scatter_add(1, y[:, None], torch.ones(len(y), 1, dtype=torch.float64))
    before, after = (ours.log_softmax(x, 1).gather(1, y[:, None]) for x in (z, higher))
    assert (after > before).all()


@given(batches(), batches())
def test_entropy_is_the_least_cross_entropy(first, second):
    z, other = first[0], second[0]
    rows, classes = min(len(z), len(other)), min(z.shape[1], other.shape[1])
    z, other = z[:rows, :classes], other[:rows, :classes]
    p, q = ours.softmax(z, 1), ours.softmax(other, 1)
    entropy, cross = ours.entropy(z, 1), ours.cross_entropy_of(p, q, 1)
    assert (entropy <= cross + 1e-9).all()
    torch.testing.assert_close(ours.kl_divergence(z, other, 1), cross - entropy, rtol=1e-6, atol=1e-9)
    assert (ours.kl_divergence(z, other, 1) >= 0).all()
    close(ours.cross_entropy_of(p, p, 1), entropy)


@given(st.lists(st.floats(-700, 700), min_size=1, max_size=8))
def test_two_classes_are_one_sigmoid(values):
    z = torch.tensor(values, dtype=torch.float64)
    pair = torch.stack([torch.zeros_like(z), z], 1)
    close(ours.softmax(pair, 1)[:, 1], ours.sigmoid(z))
    ones = torch.ones_like(z)
    close(
        ours.cross_entropy(pair, ones.long(), reduction="none"),
        ours.binary_cross_entropy_with_logits(z, ones, reduction="none"),
    )


@given(batches())
def test_soft_targets_that_are_one_hot_are_the_index(batch):
    z, y = batch
    one_hot = ours.one_hot(y, z.shape[1]).double()
    weight = torch.arange(1.0, z.shape[1] + 1, dtype=torch.float64)
    for options in ({}, {"label_smoothing": 0.2}, {"weight": weight}):
        close(
            ours.cross_entropy(z, one_hot, reduction="sum", **options),
            ours.cross_entropy(z, y, reduction="sum", **options),
        )


@given(batches(), st.floats(0.1, 10))
def test_temperature_divides(batch, temperature):
    z, y = batch
    close(ours.cross_entropy(z, y, temperature=temperature), ours.cross_entropy(z / temperature, y))
