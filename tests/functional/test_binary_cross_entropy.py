"""Binary cross-entropy against the reference and against PyTorch."""

import math

import pytest
import torch
from torch.nn import functional as F

from lastlayer import functional as ours
from tests import reference
from tests.functional.judging import EACH_BACKEND, FLOATS, TOLERANCE, assert_loss_and_gradient, device, served_dtype


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


@pytest.mark.parametrize("backend", ["cpu", "eager"])
def test_what_reaches_the_loss_may_be_of_any_size(backend):
    x = torch.tensor([-100.0, -3.0, 0.0, 0.5, 20.0]).requires_grad_()
    exact = x.detach().double()
    for exponent in (-110, -90, -61, -59, 0, 50, 100):
        for y in (0.0, 1.0):
            loss = ours.binary_cross_entropy_with_logits(x, torch.full_like(x, y), reduction="sum", backend=backend)
            (found,) = torch.autograd.grad(loss, x, torch.tensor(2.0**exponent))
            slope = torch.sigmoid(exact) if y == 0 else -torch.sigmoid(-exact)
            torch.testing.assert_close(found, (slope * 2.0**exponent).float(), rtol=3e-7, atol=2.0**-149)


@EACH_BACKEND
@pytest.mark.parametrize("shape", [(4, 1), (1, 4), (4,), (1,), ()], ids=str)
def test_factors_of_square_logits_are_broadcast_as_in_pytorch(shape, backend):
    """(4, 1) has as many entries as there are classes, and is one per row."""
    dtype, place = served_dtype(backend, "binary_cross_entropy_with_logits"), device(backend)
    logits, target = (x.to(place) for x in example((4, 4), dtype))
    factor = torch.linspace(0.5, 2, max(1, math.prod(shape)), dtype=dtype, device=place).reshape(shape)
    for name in ("weight", "pos_weight"):
        options = {name: factor, "reduction": "none"}
        torch.testing.assert_close(
            ours.binary_cross_entropy_with_logits(logits, target, **options, backend=backend),
            F.binary_cross_entropy_with_logits(logits, target, **options),
        )
