"""Binary cross-entropy against the reference and against PyTorch."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from lastlayer import functional as ours
from tests import reference
from tests.functional.test_cross_entropy import FLOATS, TOLERANCE, assert_loss_and_gradient


def example(shape=(6, 4), dtype=torch.float64, soft=True):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(shape, generator=generator, dtype=torch.float64) * 3
    target = torch.rand(shape, generator=generator, dtype=torch.float64)
    return logits.to(dtype), (target if soft else target.round()).to(dtype)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("shape", [(), (5,), (6, 4), (2, 3, 4)], ids=str)
def test_loss_and_gradient_match_reference(shape, soft, reduction, dtype):
    logits, target = example(shape, dtype, soft)
    assert_loss_and_gradient(
        lambda x: ours.binary_cross_entropy_with_logits(x, target, reduction=reduction),
        lambda x: reference.binary_cross_entropy_with_logits(x, target, reduction=reduction),
        logits,
        tolerance=TOLERANCE[dtype] * (10 if reduction == "sum" else 1),
    )


GRID = list(
    itertools.product(
        [None, (4,), (6, 4), (6, 1)],  # shape of weight
        [None, (4,), (6, 1)],  # shape of pos_weight
        [0.0, 1.0, 2.5],  # focal gamma
        [0.0, 0.1],  # label smoothing
        ["none", "mean", "sum"],
    )
)


@pytest.mark.parametrize(("weight", "pos_weight", "gamma", "smoothing", "reduction"), GRID)
def test_every_mix_of_options(weight, pos_weight, gamma, smoothing, reduction):
    logits, target = example()
    weights = {}
    for name, shape in (("weight", weight), ("pos_weight", pos_weight)):
        if shape is not None:
            weights[name] = torch.rand(shape, dtype=torch.float64) + 0.5
    options = {**weights, "focal_gamma": gamma, "label_smoothing": smoothing, "reduction": reduction}
    assert_loss_and_gradient(
        lambda x: ours.binary_cross_entropy_with_logits(x, target, **options),
        lambda x: reference.binary_cross_entropy_with_logits(x, target, **options),
        logits,
        tolerance=1e-12,
    )
    if gamma == smoothing == 0:
        theirs = F.binary_cross_entropy_with_logits(logits, target, **weights, reduction=reduction)
        torch.testing.assert_close(ours.binary_cross_entropy_with_logits(logits, target, **options), theirs)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("gamma", [0.0, 2.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
def test_probabilities_mean_the_same_as_their_logits(weighted, smoothing, gamma, reduction):
    logits, target = example()
    options = {"focal_gamma": gamma, "label_smoothing": smoothing, "reduction": reduction}
    if weighted:
        options["weight"] = torch.rand(4, dtype=torch.float64)
    assert_loss_and_gradient(
        lambda x: ours.binary_cross_entropy(torch.sigmoid(x), target, **options),
        lambda x: reference.binary_cross_entropy_with_logits(x, target, **options),
        logits,
        tolerance=1e-12,
    )


def test_gradients_reach_targets_and_weights():
    logits, target = example()
    weight, pos_weight = torch.rand(4, dtype=torch.float64), torch.rand(4, dtype=torch.float64)
    assert_loss_and_gradient(
        lambda x, y, w, p: ours.binary_cross_entropy_with_logits(x, y, w, pos_weight=p, focal_gamma=2.0),
        lambda x, y, w, p: reference.binary_cross_entropy_with_logits(x, y, w, pos_weight=p, focal_gamma=2.0),
        logits,
        target,
        weight,
        pos_weight,
        tolerance=1e-12,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("x", [-80.0, -15.25, -1.0, 0.0, 0.3, 15.25, 80.0])
def test_digits_in_both_tails(x, dtype):
    """PyTorch gives exactly 0 at x = −15.25, y = 0 in float32."""
    for y, exact, slope in (
        (0.0, reference.exact_softplus(x), reference.exact_sigmoid(x)),
        (1.0, reference.exact_softplus(-x), -reference.exact_sigmoid(-x)),
    ):
        logit = torch.tensor(x, dtype=dtype, requires_grad=True)
        loss = ours.binary_cross_entropy_with_logits(logit, torch.tensor(y, dtype=dtype))
        loss.backward()
        assert reference.ulps(loss.item(), exact, dtype) <= 3
        assert reference.ulps(logit.grad.item(), slope, dtype) <= 3


def test_infinite_logits_give_the_limit():
    inf = float("inf")
    logits = torch.tensor([inf, -inf, inf, -inf], requires_grad=True)
    loss = ours.binary_cross_entropy_with_logits(logits, torch.tensor([1.0, 0.0, 0.0, 1.0]), reduction="none")
    assert loss.tolist() == [0.0, 0.0, inf, inf]
    loss.sum().backward()
    assert logits.grad.tolist() == [0.0, 0.0, 1.0, -1.0]


def test_certain_probabilities_cost_a_hundred_as_in_pytorch():
    p, y = torch.tensor([0.0, 1.0, 0.0, 1.0]), torch.tensor([1.0, 0.0, 0.0, 1.0])
    assert ours.binary_cross_entropy(p, y, reduction="none").tolist() == [100.0, 100.0, 0.0, 0.0]
    assert F.binary_cross_entropy(p, y, reduction="none").tolist() == [100.0, 100.0, 0.0, 0.0]


def test_result_has_the_dtype_that_pytorch_gives():
    logits, target = example(dtype=torch.float32)
    assert ours.binary_cross_entropy_with_logits(logits, target.double()).dtype is torch.float64
    assert ours.binary_cross_entropy_with_logits(logits.half(), target.half()).dtype is torch.float16


def test_positional_arguments_stand_where_pytorch_has_them():
    logits, target = example()
    arguments = (logits, target, torch.rand(4).double(), None, None, "sum", torch.rand(4).double())
    torch.testing.assert_close(
        ours.binary_cross_entropy_with_logits(*arguments), F.binary_cross_entropy_with_logits(*arguments)
    )
    torch.testing.assert_close(
        ours.binary_cross_entropy(logits.sigmoid(), *arguments[1:6]),
        F.binary_cross_entropy(logits.sigmoid(), *arguments[1:6]),
    )
