"""What the formulas of the eager backend are built from."""

import mpmath
import pytest
import torch

from lastlayer import functional
from lastlayer.kernels.eager._log import log_above
from lastlayer.kernels.eager._wide import rounding_error, summed

mpmath.mp.prec = 240


@pytest.mark.parametrize("near", [True, False], ids=["log t ≈ x", "any x"])
def test_a_logarithm_is_subtracted_with_more_digits_than_float64_has(near):
    generator = torch.Generator().manual_seed(0)
    t = torch.rand(500, dtype=torch.float64, generator=generator) * 2.0 ** torch.arange(-250, 250, dtype=torch.float64)
    x = t.log() if near else torch.randn(500, dtype=torch.float64, generator=generator)
    found = log_above(t, x)
    for a, b, difference in zip(t.tolist(), x.tolist(), found.tolist(), strict=True):
        exact = mpmath.log(mpmath.mpf(a)) - mpmath.mpf(b)
        rounded = abs(exact) * 2**-53
        assert abs(difference - exact) <= rounded + 2e-18
    if near:
        assert (found != 0).any()  # torch.log(t) − x is 0 throughout


def test_its_derivatives():
    t, x = (torch.tensor([0.3, 2.0, 700.0], dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(log_above, (t, x))
    assert torch.autograd.gradgradcheck(log_above, (t, x))


def test_the_rounding_error_of_a_difference():
    a = torch.tensor([0.1, 1e300, 3.0, -float("inf"), float("nan")], dtype=torch.float64)
    b = torch.tensor([1000.7, 1.0, 3.0, 5.0, 5.0], dtype=torch.float64)
    error = rounding_error(a, b, a - b)
    assert error[2:].tolist() == [0.0, 0.0, 0.0]
    for x, y, lost in zip(a[:2].tolist(), b[:2].tolist(), error[:2].tolist(), strict=True):
        assert mpmath.mpf(x) - mpmath.mpf(y) == mpmath.mpf(x - y) + mpmath.mpf(lost)
        assert lost != 0


@pytest.mark.parametrize("size", [0, 1, 2**14, 2**14 + 1, 100_003])
def test_a_long_sum_does_not_depend_on_the_threads(size):
    x = torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    before = torch.get_num_threads()
    try:
        sums = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            sums.append(summed(x).item())
    finally:
        torch.set_num_threads(before)
    assert len(set(sums)) == 1
    assert sums[0] == pytest.approx(float(mpmath.fsum(x.tolist())), abs=1e-10)


def test_a_sum_along_any_axis():
    x = torch.randn(3, 20_000, 2, dtype=torch.float64)
    torch.testing.assert_close(summed(x, 1), x.sum(1))
    torch.testing.assert_close(summed(x, 0), x.sum(0))


@pytest.mark.parametrize("backend", ["eager", "cpu"])
@pytest.mark.parametrize("function", [functional.softmax, functional.log_softmax], ids=lambda f: f.__name__)
def test_the_gradient_of_a_confident_class_does_not_cancel(function, backend):
    """1 − p is what the other classes have: here 4e-18, which 1 − p would round to 0."""
    z = torch.tensor([40.0, 0.0, -3.0], dtype=torch.float64, requires_grad=True)
    function(z, 0, backend=backend)[0].backward()
    others = mpmath.exp(-40) + mpmath.exp(-43)
    slope = others / (1 + others) ** (2 if function is functional.softmax else 1)
    assert z.grad[0].item() == pytest.approx(float(slope), rel=1e-14, abs=0)
