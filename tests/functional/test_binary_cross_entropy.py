"""Binary cross-entropy against the reference and against PyTorch."""

import pytest
import torch

from lastlayer import functional as ours
from tests import reference
from tests.functional.judging import FLOATS, TOLERANCE, assert_loss_and_gradient


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
