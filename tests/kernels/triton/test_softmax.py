"""Softmax and log_softmax on the kernels."""

import mpmath
import pytest
import torch
from torch.autograd import gradgradcheck

from lastlayer.kernels import triton as kernels
from tests import reference

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
NAN, INF = float("nan"), float("inf")
BOTH = pytest.mark.parametrize("name", ["softmax", "log_softmax"])


def run(name, z, dim, temperature, upstream, device):
    leaf = z.detach().to(device).requires_grad_()
    result = getattr(kernels, name)(leaf, dim, temperature)
    result.backward(upstream.to(device))
    return result.detach().cpu(), leaf.grad.cpu()


@BOTH
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("shape", "dim"), [((3, 129), 1), ((3, 1), 1), ((5, 7), 0), ((2, 5, 3), 1), ((4,), -1), ((), 0), ((2, 5000), -1)]
)
def test_values_and_gradient(name, shape, dim, dtype, temperature, device):
    check(name, shape, dim, dtype, temperature, device)


@BOTH
@pytest.mark.split
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_row_shared_by_programs(name, dtype, device):
    check(name, (2, 20_000), 1, dtype, 0.7, device)


def check(name, shape, dim, dtype, temperature, device):
    generator = torch.Generator().manual_seed(0)
    z = (torch.randn(shape, generator=generator, dtype=torch.float64) * 4).to(dtype)
    upstream = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
    found, gradient = run(name, z, dim, temperature, upstream, device)
    exact = z.double().requires_grad_()
    plain = getattr(torch, name)(exact / temperature, dim)
    plain.backward(upstream.double())
    assert found.dtype == gradient.dtype == dtype
    eps = max(torch.finfo(dtype).eps, 1e-14)
    tiny = max(1e-15, torch.finfo(dtype).tiny * eps)
    assert ((found.double() - plain.detach()).abs() <= 2 * eps * plain.detach().abs() + tiny).all()
    p = plain.detach().exp() if name == "log_softmax" else plain.detach()
    total = upstream.double().sum() if not shape else upstream.double().abs().sum(dim, keepdim=True)
    scale = upstream.double().abs() + p * total.abs() if name == "log_softmax" else p * upstream.double().abs().max()
    assert ((gradient.double() - exact.grad).abs() <= 4 * eps * scale / temperature + tiny).all()


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_digits(temperature, device):
    row = [30.0, 0.3, -50.1, 29.999]
    z = torch.tensor([row])
    u = [mpmath.mpf(v) / temperature for v in z[0].tolist()]
    total = mpmath.fsum(mpmath.exp(v) for v in u)
    p, _ = run("softmax", z, 1, temperature, torch.ones(1, 4), device)
    log_p, _ = run("log_softmax", z, 1, temperature, torch.ones(1, 4), device)
    for j in range(4):
        assert reference.ulps(p[0, j].item(), mpmath.exp(u[j]) / total, torch.float32) <= 2
        assert reference.ulps(log_p[0, j].item(), u[j] - mpmath.log(total), torch.float32) <= 1.5
    alone = torch.tensor([[80.0, 0.0, -3.0]])
    log_p, _ = run("log_softmax", alone, 1, 1.0, torch.ones(1, 3), device)
    exact = -mpmath.log1p(mpmath.exp(-80) + mpmath.exp(-83))
    assert reference.ulps(log_p[0, 0].item(), exact, torch.float32) <= 1


def test_gradient_keeps_its_digits_where_one_class_dominates(device):
    """p·(g − Σ g·p) cancels at the class with p near 1; g − p·Σ g does so for a one-hot g, the gradient of NLL."""
    z = torch.tensor([[40.0, 0.0, 2.0]])
    g = torch.tensor([[1.0, -2.0, 0.5]])
    _, gradient = run("softmax", z, 1, 1.0, g, device)
    e = [mpmath.exp(v - 40) for v in (40, 0, 2)]
    s = mpmath.fsum(e)
    for j in range(3):
        exact = e[j] / s * mpmath.fsum(e[k] * (g[0, j].item() - mpmath.mpf(g[0, k].item())) for k in range(3)) / s
        assert reference.ulps(gradient[0, j].item(), exact, torch.float32) <= 4
    _, gradient = run("log_softmax", z, 1, 1.0, torch.tensor([[1.0, 0.0, 0.0]]), device)
    assert reference.ulps(gradient[0, 0].item(), (e[1] + e[2]) / s, torch.float32) <= 2


@BOTH
def test_edges(name, device):
    z = torch.tensor([[-INF, 1.0, 2.0], [-INF] * 3, [NAN, 0.0, 1.0], [0.0, 1.0, 2.0]])
    found, gradient = run(name, z, 1, 1.0, torch.ones(4, 3), device)
    expected = getattr(torch, name)(z[[0, 3]], 1)
    torch.testing.assert_close(found[[0, 3]], expected)
    assert found[1:3].isnan().all()
    assert gradient[3].isfinite().all()
    assert gradient[1:3].isnan().all()
    assert getattr(kernels, name)(torch.zeros(0, 3, device=device), 1, 1.0).shape == (0, 3)
    assert getattr(kernels, name)(torch.zeros(3, 0, device=device), 1, 1.0).shape == (3, 0)


@BOTH
def test_strides_and_second_order(name, device):
    z = torch.randn(6, 130)
    sheet = torch.full((12, 201), NAN)
    sheet[::2, 3:133] = z
    plain = run(name, z, 1, 1.0, torch.ones(1).expand(6, 130), device)
    for other in (sheet[::2, 3:133], z.t().contiguous().t()):
        for a, b in zip(plain, run(name, other, 1, 1.0, torch.ones(6, 130), device), strict=True):
            assert torch.equal(a, b)
    leaf = torch.randn(2, 4, dtype=torch.float64, device=device, requires_grad=True)
    assert gradgradcheck(lambda x: getattr(kernels, name)(x, 1, 0.7), leaf)
