"""A logarithm with more digits than float64 has, for differences of a logarithm and its near equal."""

from decimal import Decimal, localcontext

import torch
from torch import Tensor

_STEPS = 128  # table entries between 1/2 and 1: what is left of a number is within 2⁻⁸


def log_above(t: Tensor, x: Tensor) -> Tensor:
    """log t − x of float64 tensors, t > 0, with an error of about 1e-18; differentiable in both.

    t = 2ᵏ·c·(1 + d) with c from a table: log t = k·log 2 + log c + log1p(d), where the first two are known to twice
    the digits of float64 and the last is small. Subtracting x from the large parts first loses nothing.
    """
    whole = _log_above(t.detach(), x.detach())
    log_t = torch.log(t)
    # The differences are 0: they carry the derivatives 1 / t and −1.
    return whole + (log_t - log_t.detach()) - (x - x.detach())


def _log_above(t: Tensor, x: Tensor) -> Tensor:
    m, k = torch.frexp(t)  # 1/2 ≤ m < 1
    entry = (m * (2 * _STEPS)).round().to(torch.int64) - _STEPS
    # Tables are made where they are used: a constant tensor is foreign to tracing and to fake tensors.
    columns = (torch.tensor(column, dtype=t.dtype, device=t.device) for column in _TABLE)
    c, high, low = (column.index_select(0, entry.reshape(-1)).reshape(entry.shape) for column in columns)
    d = (m - c) / c
    k = k.to(t.dtype)
    first, error_1 = _two_sum(k * _LOG_2_HIGH, high)
    second, error_2 = _two_sum(first, -x)
    return second + (error_2 + (error_1 + (torch.log1p(d) + (low + k * _LOG_2_LOW))))


def _two_sum(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    total = a + b
    b_used = total - a
    return total, (a - (total - b_used)) + (b - b_used)


def _in_two(value: Decimal) -> tuple[float, float]:
    """A number as the sum of two float64."""
    high = float(value)
    return high, float(value - Decimal(high))


with localcontext() as _context:
    _context.prec = 50
    _CENTRES = [Decimal(_STEPS + entry) / (2 * _STEPS) for entry in range(_STEPS + 1)]
    _TABLE = ([float(c) for c in _CENTRES], *zip(*(_in_two(c.ln()) for c in _CENTRES), strict=True))
    _LOG_2_HIGH = float(int(Decimal(2).ln() * 2**42)) / 2**42  # 42 bits: its product with an exponent is exact
    _LOG_2_LOW = float(Decimal(2).ln() - Decimal(_LOG_2_HIGH))
