"""Binary cross-entropy with logits on the kernels."""

import itertools

import mpmath
import pytest
import torch
from torch.autograd import gradgradcheck

from lastlayer.kernels import BinaryOptions
from lastlayer.kernels import triton as kernels
from tests import reference

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
INF, NAN = float("inf"), float("nan")


def run(device, logits, target, weight=None, pos_weight=None, dtype=None, **options):
    leaf = logits.detach().to(device).requires_grad_()
    weight, pos_weight = (None if w is None else w.to(device) for w in (weight, pos_weight))
    loss = kernels.binary_cross_entropy_with_logits(
        leaf, target.to(device), weight, pos_weight, BinaryOptions(dtype or logits.dtype, **options)
    )
    loss.backward(torch.linspace(0.5, 1.5, loss.numel(), dtype=loss.dtype, device=device).reshape(loss.shape))
    return loss.detach().cpu(), leaf.grad.cpu()


def exact(logits, target, weight=None, pos_weight=None, **options):
    leaf = logits.double().requires_grad_()
    w = 1.0 if weight is None else weight.double()
    p = 1.0 if pos_weight is None else pos_weight.double()
    loss = reference.binary_cross_entropy_with_logits(leaf, target.double(), w, pos_weight=p, **options)
    loss.backward(torch.linspace(0.5, 1.5, loss.numel(), dtype=torch.float64).reshape(loss.shape))
    return loss.detach(), leaf.grad


def example(shape, dtype):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(shape, generator=generator, dtype=torch.float64) * 3
    return logits.to(dtype), torch.rand(shape, generator=generator, dtype=torch.float64).to(dtype)


@pytest.mark.parametrize(
    ("shape", "broadcast"),
    [((3, 129), (129,)), ((3, 5), (3, 1)), ((7,), (7,)), ((2, 3, 5), (3, 1)), ((), ()), ((4, 1), (4, 1)), ((5,), (1,))],
)
@pytest.mark.parametrize(
    ("weighted", "positive", "smoothing", "gamma", "reduction"),
    list(itertools.product([False, True], [False, True], [0.0, 0.1], [0.0, 1.5], ["none", "mean", "sum"]))[::2],
)
def test_every_mix_of_options(shape, broadcast, weighted, positive, smoothing, gamma, reduction, device):
    logits, target = example(shape, torch.float64)
    weights = [torch.rand(broadcast, dtype=torch.float64) + 0.5 if wanted else None for wanted in (weighted, positive)]
    options = {"reduction": reduction, "label_smoothing": smoothing, "focal_gamma": gamma}
    loss, gradient = run(device, logits, target, *weights, **options)
    expected, slope = exact(logits, target, *weights, **options)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(gradient, slope, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("gamma", [0.0, 2.0])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype(dtype, gamma, device):
    logits, target = example((9, 1000), dtype)
    loss, gradient = run(device, logits, target, reduction="none", focal_gamma=gamma)
    expected, slope = exact(logits, target, reduction="none", focal_gamma=gamma)
    assert loss.dtype == gradient.dtype == dtype
    eps = max(torch.finfo(dtype).eps, 1e-12)  # the reference errs by 3e-13 at x = 10: it takes log(1 − p)
    # The smallest subnormal, or what the reference, in float64 and without such care, may err by.
    tiny = max(1e-15, torch.finfo(dtype).tiny * eps)
    assert ((loss.double() - expected).abs() <= 3 * eps * expected + tiny).all()
    assert ((gradient.double() - slope).abs() <= 3 * eps * torch.maximum(slope.abs(), expected) + tiny).all()
    mean, _ = run(device, logits, target, focal_gamma=gamma)
    torch.testing.assert_close(mean.double(), exact(logits, target, focal_gamma=gamma)[0], rtol=eps, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("x", [-87.0, -40.0, -15.25, -1.0, -1e-6, 0.0, 0.3, 3.0, 15.25, 88.5, 102.0])
@pytest.mark.parametrize("y", [0.0, 1.0])
def test_digits(x, y, dtype, device):
    loss, gradient = run(device, torch.tensor([x], dtype=dtype), torch.tensor([y], dtype=dtype), reduction="sum")
    x = torch.tensor(x, dtype=dtype).item()
    scale = mpmath.mpf(0.5)  # the upstream gradient of `run`
    sign = 1 - 2 * y
    assert reference.ulps(loss.item(), reference.exact_softplus(sign * x), dtype) <= 2.5
    assert reference.ulps(gradient.item(), sign * scale * reference.exact_sigmoid(sign * x), dtype) <= 2.5


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_infinite_logits_give_the_limit(gamma, device):
    logits = torch.tensor([INF, -INF, INF, -INF])
    loss, gradient = run(device, logits, torch.tensor([1.0, 0.0, 0.0, 1.0]), reduction="none", focal_gamma=gamma)
    assert loss.tolist() == [0.0, 0.0, INF, INF]
    assert gradient[:2].tolist() == [0.0, 0.0]
    assert torch.isfinite(gradient).all()
    logits, target = torch.tensor([NAN, 0.0]), torch.tensor([1.0, NAN])
    loss, gradient = run(device, logits, target, reduction="none", focal_gamma=gamma)
    assert loss.isnan().all()
    assert gradient.isnan().all()


def test_nothing_to_average_and_a_large_mean(device):
    nothing = torch.zeros(0, 3)
    assert run(device, nothing, nothing)[0].isnan()
    assert run(device, nothing, nothing, reduction="sum")[0] == 0
    assert run(device, nothing, nothing, reduction="none")[1].shape == (0, 3)
    many = torch.zeros(300, 300, dtype=torch.float16)
    loss, gradient = run(device, many, many)
    assert loss.item() == pytest.approx(0.6931, abs=1e-3)
    assert (gradient > 0).all()


def test_strides_and_what_lies_between(device):
    logits, target = example((6, 130), torch.float32)
    plain = run(device, logits, target, reduction="none")
    sheet = torch.full((12, 201), NAN)
    sheet[::2, 3:133] = logits
    for other in (sheet[::2, 3:133], logits.t().contiguous().t()):
        for a, b in zip(plain, run(device, other, target.t().contiguous().t(), reduction="none"), strict=True):
            assert torch.equal(a, b)


def test_second_order_and_gradient_of_the_target(device):
    logits, target = (x.to(device) for x in example((2, 3), torch.float64))
    options = BinaryOptions(torch.float64, focal_gamma=2.0, label_smoothing=0.1)
    both = (logits.requires_grad_(), target.requires_grad_())
    assert gradgradcheck(lambda x, y: kernels.binary_cross_entropy_with_logits(x, y, None, None, options), both)
