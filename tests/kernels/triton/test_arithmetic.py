"""The exponential, logarithms and sums of the kernels, against mpmath and float64."""

import mpmath
import pytest
import torch
import triton
import triton.language as tl

from lastlayer.kernels.triton import _arithmetic as arithmetic
from tests import reference


@triton.jit(do_not_specialize=["temperature_bits"])
def _exp(a, b, out, temperature_bits, KIND: tl.constexpr, HAS_TEMPERATURE: tl.constexpr, N: tl.constexpr):
    place = tl.arange(0, N)
    temperature = arithmetic.from_bits(temperature_bits)
    result = arithmetic.exp_of_difference(
        tl.load(a + place), tl.load(b + place), temperature, KIND, HAS_TEMPERATURE, False
    )
    tl.store(out + place, result)


@triton.jit
def _logs(x, out, e, out_of_e, y, out_of_y, KIND: tl.constexpr, N: tl.constexpr):
    place = tl.arange(0, N)
    tl.store(out + place, arithmetic.log1p(tl.load(x + place)))
    tl.store(out_of_e + place, arithmetic.log1p_of_fraction(tl.load(e + place), KIND))
    tl.store(out_of_y + place, arithmetic.expm1(tl.load(y + place)))


def worst(found, exact, dtype):
    pairs = zip(found.double().tolist(), exact, strict=True)
    return max(reference.ulps(a, b, dtype) for a, b in pairs)


@pytest.mark.parametrize("temperature", [1.0, 0.7, 3.3])
@pytest.mark.parametrize("scale", [1.0, 20.0, 90.0, 3e4])
def test_exp_of_a_difference_keeps_its_digits(scale, temperature, device):
    generator = torch.Generator().manual_seed(1)
    a = torch.randn(512, generator=generator) * scale
    b = a + torch.rand(512, generator=generator) * 100 * temperature
    out = torch.empty(512, device=device)
    _exp[(1,)](a.to(device), b.to(device), out, arithmetic.bits(temperature), 1, temperature != 1.0, N=512)
    exact = [mpmath.exp((mpmath.mpf(x) - mpmath.mpf(y)) / temperature) for x, y in zip(a.tolist(), b.tolist())]  # noqa: B905 - same length
    assert worst(out.cpu(), exact, torch.float32) <= 1.3


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_exp_at_its_edges(kind, device):
    dtype = torch.float64 if kind == 2 else torch.float32
    a = torch.tensor([-float("inf"), float("nan"), 0.0, -150.0, -3e38, 5.0, -90.0, -103.0], dtype=dtype)
    b = torch.tensor([0.0, 0.0, 0.0, 700.0, 3e38, 5.0, 0.0, 0.0], dtype=dtype)
    out = torch.empty(8, dtype=dtype, device=device)
    _exp[(1,)](a.to(device), b.to(device), out, arithmetic.bits(1.0), kind, False, N=8)
    expected = (a - b).exp()
    expected[4] = 0.0  # the difference overflows to −inf
    torch.testing.assert_close(out.cpu(), expected, equal_nan=True, rtol=1e-6, atol=1.5e-45)


@pytest.mark.parametrize("kind", [1, 2])
def test_logarithms_keep_their_digits(kind, device):
    dtype = torch.float64 if kind == 2 else torch.float32
    x = torch.logspace(-300, 300, 256, dtype=torch.float64)
    e = torch.logspace(-40, 0, 256, dtype=torch.float64).to(dtype)
    y = -torch.logspace(-300, 3, 256, dtype=torch.float64)
    outs = [torch.empty(256, dtype=t, device=device) for t in (torch.float64, dtype, torch.float64)]
    _logs[(1,)](x.to(device), outs[0], e.to(device), outs[1], y.to(device), outs[2], kind, N=256)
    assert worst(outs[0].cpu(), [mpmath.log1p(v) for v in x.tolist()], torch.float64) <= 3
    assert worst(outs[1].cpu(), [mpmath.log1p(v) for v in e.tolist()], dtype) <= 3
    assert worst(outs[2].cpu(), [mpmath.expm1(v) for v in y.tolist()], torch.float64) <= 4


def test_flavours():
    half, single, double = torch.float16, torch.float32, torch.float64
    assert arithmetic.flavour(half, torch.long, half) == 0
    assert arithmetic.flavour(half, single) == 1
    assert arithmetic.flavour(single, double=True) == 2
    assert arithmetic.flavour(half, double) == 2
    assert arithmetic.flavour(half, torch.long, double=True) == 0
