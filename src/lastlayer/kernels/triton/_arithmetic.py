"""Arithmetic inside the kernels: an exponential, a logarithm and sums that keep the digits of float32.

Every kernel has one of three flavours, a compile-time constant:

- QUICK: half-precision tensors. Float32 with the hardware's exponential; the result is rounded to half once.
- EXACT: float32 tensors. Float32 that carries what each step rounds off: about 1 ULP.
- DOUBLE: float64 tensors, and float32 tensors where softcap or focal loss would take a double-float tanh or power.
"""

import struct

import torch
import triton
import triton.language as tl

QUICK: tl.constexpr = tl.constexpr(0)
EXACT: tl.constexpr = tl.constexpr(1)
DOUBLE: tl.constexpr = tl.constexpr(2)

_LOG2_E: tl.constexpr = tl.constexpr(1.4426950408889634)
_LN_2: tl.constexpr = tl.constexpr(0.6931471805599453)
# 1.5 · 2²³: adding it to a float32 leaves the nearest integer in the low bits.
_ROUNDER: tl.constexpr = tl.constexpr(12582912.0)
# Below this exponent even the smallest subnormal float32 is more than half away: exp is 0.
_UNDERFLOW: tl.constexpr = tl.constexpr(-104.5)


def flavour(*dtypes: torch.dtype, double: bool = False) -> int:
    """The flavour that keeps the digits of the widest of `dtypes`; `double` asks for more than EXACT for float32."""
    if torch.float64 in dtypes:
        return 2
    if torch.float32 in dtypes:
        return 2 if double else 1
    return 0


def bits(value: float) -> int:
    """The 64 bits of a number: Triton passes a Python float as float32, and an integer whole."""
    found: int = struct.unpack("q", struct.pack("d", value))[0]
    return found


@triton.jit
def from_bits(value):
    """The float64 that `bits` packed."""
    return value.to(tl.int64).to(tl.float64, bitcast=True)


@triton.jit
def widen(x, KIND: tl.constexpr):
    """`x` in the dtype that the flavour computes in."""
    return x.to(tl.float64) if KIND == DOUBLE else x.to(tl.float32)


@triton.jit
def store(pointer, x, mask):
    """Store, rounding to the pointer's dtype; float64 goes to half precision by way of float32."""
    if pointer.dtype.element_ty.primitive_bitwidth < 32:
        x = x.to(tl.float32)
    tl.store(pointer, x, mask=mask)


@triton.jit
def difference(a, b):
    """a − b and what the subtraction rounded off (TwoSum)."""
    d = a - b
    back = d - a
    return d, (a - (d - back)) - (b + back)


@triton.jit
def add(high, low, x):
    """Add x to the sum high + low, keeping in `low` what `high` rounds off (TwoSum)."""
    total = high + x
    back = total - high
    return total, low + ((high - (total - back)) + (x - back))


@triton.jit
def exp_of_difference(a, b, temperature, KIND: tl.constexpr, HAS_TEMPERATURE: tl.constexpr, SCALED: tl.constexpr):
    """exp((a − b) / temperature) for a ≤ b; `temperature` is a float64 scalar.

    SCALED is for sums: the flavour EXACT then gives 2⁶⁴ times that, so that no term is subnormal.
    """
    if KIND == DOUBLE:
        d = a - b
        if HAS_TEMPERATURE:
            d = d / temperature
        result = tl.exp(d)
    elif KIND == QUICK:
        d = a - b
        if HAS_TEMPERATURE:
            d = d * (1.0 / temperature).to(tl.float32)
        result = tl.exp(d)
    else:
        # d = T·(n·ln 2 + r): the remainder T·r is formed from an exact d in two steps that do not round, because the
        # upper part of T·ln 2 has 16 bits and |n| fewer than 8. The temperature costs one multiplication.
        d, rest = difference(a, b)
        unit = temperature * _LN_2 if HAS_TEMPERATURE else _LN_2
        floor = _UNDERFLOW
        per_unit = _LOG2_E
        upper = 0.693145751953125
        lower = 1.428606765330187e-06
        if HAS_TEMPERATURE:
            floor = (temperature * _UNDERFLOW).to(tl.float32)
            per_unit = (1.0 / unit).to(tl.float32)
            upper = (unit.to(tl.float32).to(tl.int32, bitcast=True) & -256).to(tl.float32, bitcast=True)
            lower = (unit - upper).to(tl.float32)
        nothing = d < floor  # also where a is −inf and the rounding error of d is NaN
        d = tl.where(nothing, 0.0, d)
        rest = tl.where(nothing, 0.0, rest)
        shifted = d * per_unit + _ROUNDER
        n = shifted - _ROUNDER
        r = ((d - n * upper) + rest) - n * lower
        if HAS_TEMPERATURE:
            r = r * (1.0 / temperature).to(tl.float32)
        result = tl.where(nothing, 0.0, _times_power(_exp_near_0(r), shifted, n, SCALED))
    return result


@triton.jit
def _exp_near_0(r):
    """exp r for |r| ≤ ln(2)/2: minimax, 0.05 ULP before rounding."""
    q = 0.001381422160193324
    q = q * r + 0.00836889911442995
    q = q * r + 0.04166840389370918
    q = q * r + 0.1666651964187622
    q = q * r + 0.4999999403953552
    return 1.0 + (r + r * r * q)


@triton.jit
def _times_power(x, shifted, n, SCALED: tl.constexpr):
    """x · 2ⁿ, or x · 2ⁿ⁺⁶⁴, n standing in the low bits of `shifted`."""
    if SCALED:
        result = x * (((shifted.to(tl.int32, bitcast=True) << 23) + 0x5F800000).to(tl.float32, bitcast=True))
    else:
        # In two factors, each a normal number; the last multiplication rounds to the subnormal.
        deep = n < -100.0
        first = tl.where(deep, shifted + 64.0, shifted)
        scale = ((first.to(tl.int32, bitcast=True) << 23) + 0x3F800000).to(tl.float32, bitcast=True)
        result = x * scale * tl.where(deep, 5.421010862427522e-20, 1.0)
    return result


@triton.jit
def scale_of_sums(KIND: tl.constexpr):
    """What SCALED multiplies with."""
    return 18446744073709551616.0 if KIND == EXACT else 1.0


@triton.jit
def log1p(x):
    """log(1 + x) for float64 x ≥ 0: the logarithm of the rounded sum, corrected by what was rounded (HP-15C)."""
    rounded = 1.0 + x
    tiny = rounded == 1.0
    ratio = tl.where(tiny, 1.0, x / tl.where(tiny, 1.0, rounded - 1.0))
    result = tl.where(tiny, x, tl.log(rounded) * ratio)
    return tl.where(x == float("inf"), x, result)


@triton.jit
def log1p_of_fraction(e, KIND: tl.constexpr):
    """log(1 + e) for 0 ≤ e ≤ 1: 2·atanh(e / (2 + e)), by a minimax polynomial in float32."""
    if KIND == DOUBLE:
        result = log1p(e)
    else:
        s = divide(e, 2.0 + e, KIND)
        t = s * s
        q = 0.12150467187166214
        q = q * t + 0.10713829100131989
        q = q * t + 0.14308442175388336
        q = q * t + 0.19999438524246216
        q = q * t + 0.3333333730697632
        result = 2.0 * (s + s * t * q)
    return result


@triton.jit
def divide(a, b, KIND: tl.constexpr):
    """a / b; the plain division of float32 on a GPU may be off by 2 ULP."""
    return tl.div_rn(a, b) if KIND == EXACT else a / b


@triton.jit
def expm1(x):
    """exp(x) − 1 for float64 x ≤ 0, by the same correction."""
    e = tl.exp(x)
    near = e == 1.0
    far = e < 0.1
    safe = tl.where(near | far, 0.5, e)
    return tl.where(near, x, tl.where(far, e - 1.0, (safe - 1.0) * x / tl.log(safe)))


@triton.jit
def soft_capped(z, softcap):
    """softcap · tanh(z / softcap); `softcap` in the dtype of z. At z = ±inf it is ±softcap."""
    e = tl.exp(-2.0 * tl.abs(z / softcap))
    t = (1.0 - e) / (1.0 + e)
    return softcap * tl.where(z < 0, -t, t)


@triton.jit
def soft_cap_slope(z, softcap):
    """1 − tanh²(z / softcap), written so that nothing cancels where the cap saturates."""
    e = tl.exp(-2.0 * tl.abs(z / softcap))
    return 4.0 * e / ((1.0 + e) * (1.0 + e))
