"""Class weights and shares are taken off and put on exactly."""

import pytest
import torch

from lastlayer import functional
from lastlayer.decisions import reprior, reprior_weights, unweighting


def minimised(loss, *shape):
    """The logits with the least loss."""
    z = torch.zeros(*shape, dtype=torch.float64, requires_grad=True)
    steps = torch.optim.LBFGS(
        [z], max_iter=500, tolerance_grad=1e-13, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure():
        steps.zero_grad()
        value = loss(z)
        value.backward()
        return value

    steps.step(closure)
    return z.detach()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_softmax_weights_come_off_exactly(smoothing):
    """What a weighted loss learns of two kinds of rows, less ln w, is the frequency of the classes among them."""
    generator = torch.Generator().manual_seed(0)
    group = torch.randint(0, 2, (300,), generator=generator)
    target = torch.multinomial(torch.tensor([[0.6, 0.3, 0.1], [0.1, 0.2, 0.7]])[group], 1, generator=generator)[:, 0]
    weight = torch.tensor([0.5, 2.0, 7.0], dtype=torch.float64)
    z = minimised(lambda z: functional.cross_entropy(z[group], target, weight=weight, label_smoothing=smoothing), 2, 3)
    found = (z + unweighting("multiclass", weight=weight)).softmax(1)
    truth = torch.stack([torch.bincount(target[group == each], minlength=3) for each in range(2)]).double()
    truth = truth / truth.sum(1, keepdim=True)
    assert torch.allclose(found, (1 - smoothing) * truth + smoothing / 3, atol=1e-6)
    assert not torch.allclose(z.softmax(1), truth, atol=0.05)


@pytest.mark.parametrize("kind", ["binary", "multilabel"])
def test_pos_weight_comes_off_exactly(kind):
    generator = torch.Generator().manual_seed(1)
    target = (torch.rand(500, 2, generator=generator) < torch.tensor([0.1, 0.6])).double()
    pos_weight = torch.tensor([9.0, 0.5], dtype=torch.float64)
    if kind == "binary":
        target, pos_weight = target[:, :1], pos_weight[:1]
    z = minimised(
        lambda z: functional.binary_cross_entropy_with_logits(z.expand_as(target), target, pos_weight=pos_weight),
        target.shape[1],
    )
    found = (z + unweighting(kind, pos_weight=pos_weight)).sigmoid()
    assert torch.allclose(found, target.mean(0), atol=1e-6)


def test_class_weights_of_one_sigmoid_are_the_odds():
    generator = torch.Generator().manual_seed(2)
    target = (torch.rand(400, generator=generator) < 0.2).double()
    weight = torch.tensor([0.5, 4.0], dtype=torch.float64)
    per_row = weight[target.long()]
    z = minimised(lambda z: functional.binary_cross_entropy_with_logits(z.expand(400), target, weight=per_row), 1)
    assert (z + unweighting("binary", weight=weight)).sigmoid().item() == pytest.approx(target.mean().item(), abs=1e-6)
    both = unweighting("binary", weight=weight, pos_weight=torch.tensor([3.0]))
    assert both.item() == pytest.approx(-torch.tensor(8.0 * 3, dtype=torch.float64).log().item())


def test_no_weights_need_no_correction():
    assert unweighting("multiclass") is None
    assert unweighting("multilabel", weight=torch.tensor([1.0, 3.0])) is None
    assert unweighting("multiclass", weight=torch.ones(3)).tolist() == [0, 0, 0]


def test_new_shares_are_bayes_rule():
    """Three normal distributions: the posterior under other shares, in closed form."""
    x = torch.linspace(-4, 6, 201, dtype=torch.float64).unsqueeze(1)
    density = -(x - torch.tensor([0.0, 1.0, 3.0])).square() / 2
    old, new = (torch.tensor(each, dtype=torch.float64) for each in ([0.5, 0.3, 0.2], [0.05, 0.05, 0.9]))
    logits = density + old.log() + 17  # a constant per row changes nothing
    found = (logits + reprior("multiclass", old, new)).softmax(1)
    assert torch.allclose(found, (density + new.log()).softmax(1), atol=1e-14)
    z = density[:, 1] - density[:, 0] + torch.logit(old[1])  # one sigmoid between the first two of them
    expected = density[:, 1] - density[:, 0] + torch.logit(new[2])
    assert torch.allclose(z + reprior("binary", old[1], new[2]), expected, atol=1e-14)
    both = torch.stack([z, z], 1) + reprior("multilabel", old[[1, 1]], torch.stack([new[2], old[1]]))
    assert torch.allclose(both, torch.stack([expected, z], 1), atol=1e-14)


def test_rows_weighted_by_the_new_shares_stand_for_them():
    target = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)
    old, new = torch.tensor([0.6, 0.3, 0.1]), torch.tensor([0.2, 0.2, 0.6])
    weight = reprior_weights("multiclass", target, old, new)
    sums = torch.zeros(3, dtype=torch.float64).index_add_(0, target, weight) / 100
    assert torch.allclose(sums, new.double(), atol=1e-6)
    labels = torch.tensor([[1, 0]] * 3 + [[0, 0]] * 7)
    weight = reprior_weights("multilabel", labels, torch.tensor([0.3, 0.5]), torch.tensor([0.6, 0.5]))
    assert (weight[:, 0] * labels[:, 0]).sum() / weight[:, 0].sum() == pytest.approx(0.6)
    assert (weight[:, 1] == 1).all()


def test_what_cannot_be_corrected_is_refused():
    with pytest.raises(ValueError, match="never learnt"):
        unweighting("multiclass", weight=torch.tensor([1.0, 0.0]))
    with pytest.raises(ValueError, match="belongs to sigmoids"):
        unweighting("multiclass", pos_weight=torch.tensor(2.0))
    with pytest.raises(ValueError, match=r"\(3,\)"):
        unweighting("binary", weight=torch.ones(3))
    with pytest.raises(ValueError, match="sum to 1"):
        reprior("multiclass", torch.tensor([0.5, 0.5]), torch.tensor([0.5, 0.6]))
    with pytest.raises(ValueError, match="between 0 and 1"):
        reprior("binary", torch.tensor(0.0), torch.tensor(0.5))
    with pytest.raises(ValueError, match="one per class"):
        reprior("multilabel", torch.tensor([0.5, 0.5]), torch.tensor([0.5]))
    with pytest.raises(ValueError, match="multiclas'"):
        unweighting("multiclas")  # type: ignore[arg-type]  # that is the test
