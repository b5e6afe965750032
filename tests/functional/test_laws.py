"""What has to hold of any numbers (Hypothesis)."""

import math

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
    assert ((p >= 0) & (p <= 1)).all()
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


@given(batches(), st.floats(0.2, 5), st.floats(1.0, 4))
def test_a_higher_temperature_is_less_certain(batch, temperature, factor):
    z, _ = batch
    colder, warmer = (ours.entropy(z, 1, temperature=t) for t in (temperature, temperature * factor))
    assert (warmer >= colder - 1e-9).all()
    assert (ours.softmax(z, 1, temperature=temperature).argmax(1) == ours.softmax(z, 1).argmax(1)).all()


@given(batches())
def test_entropy_is_at_most_the_logarithm_of_the_classes(batch):
    z, _ = batch
    entropy = ours.entropy(z, 1)
    assert (entropy >= 0).all()
    assert (entropy <= math.log(z.shape[1]) + 1e-12).all()
    close(ours.entropy(torch.zeros_like(z), 1), torch.full((len(z),), math.log(z.shape[1]), dtype=torch.float64))


@given(batches(), batches(), st.floats(0, 1))
def test_losses_are_convex_in_the_logits(first, second, share):
    rows, classes = min(len(first[0]), len(second[0])), min(first[0].shape[1], second[0].shape[1])
    a, b = first[0][:rows, :classes], second[0][:rows, :classes]
    y = first[1][:rows].clamp(max=classes - 1)
    between = share * a + (1 - share) * b
    for loss in (
        lambda z: ours.cross_entropy(z, y, reduction="none", label_smoothing=0.1),
        lambda z: ours.binary_cross_entropy_with_logits(z, torch.sigmoid(b), reduction="none"),
        lambda z: ours.logsumexp(z, 1),
        ours.softplus,
    ):
        assert (loss(between) <= share * loss(a) + (1 - share) * loss(b) + 1e-9).all()


@given(batches())
def test_the_derivative_is_zero_at_the_optimum_and_nowhere_else(batch):
    z, y = batch
    q = ours.softmax(z, 1)
    for loss, moved in ((ours.cross_entropy, q), (ours.binary_cross_entropy_with_logits, ours.sigmoid(z))):
        at = z.clone().requires_grad_()
        loss(at, moved, reduction="sum").backward()
        assert at.grad.abs().max() < 1e-12
    elsewhere = z.scatter_add(1, y[:, None], torch.ones(len(y), 1, dtype=torch.float64)).requires_grad_()
    ours.cross_entropy(elsewhere, q, reduction="sum").backward()
    assert (elsewhere.grad.gather(1, y[:, None]) > 0).all() or (q.gather(1, y[:, None]) > 1 - 1e-9).any()


@given(batches(), st.floats(0, 1))
def test_losses_are_linear_in_their_targets(batch, share):
    z, _ = batch
    p, q = ours.softmax(z.flip(0), 1), ours.softmax(-z, 1)
    for loss in (ours.cross_entropy, ours.binary_cross_entropy_with_logits):
        mixed = loss(z, share * p + (1 - share) * q)
        close(mixed, share * loss(z, p) + (1 - share) * loss(z, q))


@given(batches(), st.floats(0, 1))
def test_smoothing_is_a_share_of_every_class(batch, smoothing):
    z, y = batch
    each = [ours.cross_entropy(z, torch.full_like(y, k), reduction="none") for k in range(z.shape[1])]
    expected = (1 - smoothing) * ours.cross_entropy(z, y, reduction="none") + smoothing * torch.stack(each).mean(0)
    close(ours.cross_entropy(z, y, reduction="none", label_smoothing=smoothing), expected)


@given(batches(), st.integers(2, 4))
def test_a_weight_is_a_number_of_copies(batch, copies):
    z, y = batch
    weight = torch.ones(z.shape[1], dtype=torch.float64)
    weight[0] = copies
    times = torch.where(y == 0, copies, 1)
    for reduction in ("mean", "sum"):
        repeated = ours.cross_entropy(z.repeat_interleave(times, 0), y.repeat_interleave(times), reduction=reduction)
        close(ours.cross_entropy(z, y, weight, reduction=reduction), repeated)
    soft = ours.softmax(-z, 1)
    positive = torch.tensor(float(copies), dtype=torch.float64)
    extra = (copies - 1) * soft * ours.softplus(-z)
    plain = ours.binary_cross_entropy_with_logits(z, soft, reduction="none")
    found = ours.binary_cross_entropy_with_logits(z, soft, pos_weight=positive, reduction="none")
    close(found, plain + extra)


@given(batches(), st.data())
def test_an_ignored_row_might_as_well_not_be_there(batch, data):
    z, y = batch
    kept = torch.tensor(data.draw(st.lists(st.booleans(), min_size=len(y), max_size=len(y))))
    weight = torch.arange(1.0, z.shape[1] + 1, dtype=torch.float64)
    for options in ({}, {"weight": weight, "label_smoothing": 0.2, "z_loss": 0.1}):
        for reduction in ("mean", "sum"):
            found = ours.cross_entropy(z, y.where(kept, -100), reduction=reduction, **options)
            dropped = ours.cross_entropy(z[kept], y[kept], reduction=reduction, **options)
            torch.testing.assert_close(found, dropped, rtol=1e-9, atol=1e-12, equal_nan=True)


@given(batches())
def test_yes_of_one_is_no_of_its_opposite(batch):
    z, _ = batch
    y = ours.softmax(-z, 1)
    for options in ({}, {"focal_gamma": 1.5, "label_smoothing": 0.1}):
        mirrored = ours.binary_cross_entropy_with_logits(-z, 1 - y, reduction="none", **options)
        close(ours.binary_cross_entropy_with_logits(z, y, reduction="none", **options), mirrored)
    close(ours.sigmoid(z) + ours.sigmoid(-z), torch.ones_like(z))
    close(ours.softplus(z) - ours.softplus(-z), z)
    close(ours.logsigmoid(z), -ours.softplus(-z))
    close(ours.softmin(z, 1), ours.softmax(-z, 1))


@given(batches(), st.floats(0.1, 4))
def test_focusing_lowers_a_loss_and_most_where_it_is_low(batch, gamma):
    z, _ = batch
    y = (z > 1).double()
    plain, focused = (
        ours.binary_cross_entropy_with_logits(z, y, reduction="none", focal_gamma=g) for g in (0.0, gamma)
    )
    assert (focused <= plain).all()
    assert (focused >= 0).all()
    wrong = torch.sigmoid(torch.where(y == 1, -z, z))  # 1 − p_t
    close(focused, wrong**gamma * plain)


@given(batches())
def test_log_sum_exp_lies_above_the_largest_and_adds_up(batch):
    z, y = batch
    lse, largest = ours.logsumexp(z, 1), z.amax(1)
    assert (lse >= largest).all()
    assert (lse <= largest + math.log(z.shape[1]) + 1e-12).all()
    close(ours.logsumexp(torch.cat([z, z], 1), 1), lse + math.log(2))
    close(ours.logsumexp(z, (0, 1)), ours.logsumexp(lse, 0))
    loss, own = ours.cross_entropy(z, y, reduction="none", return_lse=True)
    close(own, lse)
    close(loss, lse - z.gather(1, y[:, None])[:, 0])


@given(batches(), st.floats(0.01, 2), st.floats(0.5, 50))
def test_extras_mean_what_they_say(batch, z_loss, softcap):
    z, y = batch
    u = softcap * torch.tanh(z / softcap)
    expected = ours.cross_entropy(u, y, reduction="none") + z_loss * ours.logsumexp(u, 1) ** 2
    close(ours.cross_entropy(z, y, reduction="none", z_loss=z_loss, softcap=softcap), expected)
    close(ours.cross_entropy(z, y, softcap=1e9), ours.cross_entropy(z, y))


@given(batches())
def test_a_reduction_reduces_what_none_returns(batch):
    z, y = batch
    q = ours.softmax(-z, 1)
    for loss, target in (
        (ours.cross_entropy, y),
        (ours.cross_entropy, q),
        (ours.nll_loss, y),
        (ours.binary_cross_entropy_with_logits, q),
    ):
        each = loss(z, target, reduction="none")
        close(loss(z, target, reduction="sum"), each.sum())
        close(loss(z, target), each.mean())


@given(batches())
def test_divergences_agree(batch):
    z, _ = batch
    p, other = ours.softmax(z, 1), z.flip(1)
    log_q = ours.log_softmax(other, 1)
    divergence = ours.kl_divergence(z, other, 1)
    torch.testing.assert_close(ours.kl_div(log_q, p, reduction="none").sum(1), divergence, rtol=1e-7, atol=1e-9)
    close(ours.kl_div(log_q, p.log(), reduction="none", log_target=True), ours.kl_div(log_q, p, reduction="none"))
    close(ours.kl_divergence(z + 3, other - 5, 1), divergence)


@given(batches(), st.integers(1, 5))
def test_a_linear_loss_is_the_loss_of_its_logits(batch, features):
    z, y = batch
    generator = torch.Generator().manual_seed(features)
    x = torch.randn(len(y), features, dtype=torch.float64, generator=generator)
    w, b = torch.randn(z.shape[1], features, dtype=torch.float64, generator=generator), z[0]
    close(ours.linear_cross_entropy(x, w, y, linear_bias=b), ours.cross_entropy(x @ w.t() + b, y))
    q = ours.softmax(z, 1)
    close(
        ours.linear_binary_cross_entropy(x, w, q, linear_bias=b),
        ours.binary_cross_entropy_with_logits(x @ w.t() + b, q),
    )
