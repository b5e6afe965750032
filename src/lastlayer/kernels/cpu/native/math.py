"""exp, log and tanh of all lanes at once, to about one unit in the last place.

Coefficients are minimax fits (relative error below 1e-8 for float32, 1e-17 for float64) of the functions named beside
them. Every rounding that matters is written out; nothing here depends on a compiler flag. What makes a function is
cached: a function that two others use is compiled once.
"""

from functools import cache
from typing import Any, NamedTuple

from numba import njit, types

from lastlayer.kernels.cpu.native.lanes import bits, filled, fma, lane, magnitude, where

_LOG2_E = 1.4426950408889634
# (e^r − 1 − r) / r² for |r| ≤ ln 2 / 2, and (2·atanh(s) / 2s − 1) / s² as a series in s²
_EXP_32 = (0.499999934226, 0.166665201709, 0.0416683893231, 0.00836877357432, 0.00138148031977)
_EXP_64 = (
    0.5000000000000000042911,
    0.166666666666666835522,
    0.04166666666666610540861,
    0.008333333333316946938256,
    0.001388888888911159774114,
    0.0001984126989658839723019,
    0.00002480158693277039023339,
    0.000002755723466158026388303,
    2.755757768072470099955e-7,
    2.511210646988958354574e-8,
    2.082767807803184229609e-9,
)
# (log1p(e) − e) / e² for 0 ≤ e ≤ 1
_LOG1P_32 = (
    -0.4999993145465851,
    0.33330512046813965,
    -0.24958588182926178,
    0.19695401191711426,
    -0.15355397760868073,
    0.10680557042360306,
    -0.05766445770859718,
    0.020204592496156693,
    -0.003318473929539323,
)
_ATANH_32 = (0.333333378335, 0.199994366379, 0.143085114318, 0.107129960186, 0.121538945513)  # to s = 1/3
_ATANH_64 = (  # to s = (√2 − 1) / (√2 + 1)
    0.3333333333333333043776,
    0.2000000000000317281139,
    0.1428571428452728130114,
    0.111111113257188211974,
    0.09090887649681169756768,
    0.07693553301218696855103,
    0.06624881681696255530599,
    0.06627270188045589808112,
)


class Format(NamedTuple):
    """What the functions need to know about a floating format."""

    number: Any  # Numba's scalar type
    integer: Any
    width: int  # lanes: one 512-bit register, which smaller machines split
    mantissa: int  # bits
    bias: int
    magic: float  # adding it rounds to an integer, which then stands in the low bits
    ln2_hi: float  # ln 2 in so few bits that its product with an exponent is exact
    ln2_lo: float
    lowest: float  # exp of less than this counts as 0
    near: float  # a larger number less one that is at most -`lowest` below it is exact
    lift: int  # exponentials are kept times 2^lift, so that the small ones keep their digits
    exp: tuple[float, ...]
    atanh: tuple[float, ...]


SINGLE = Format(
    types.float32, types.int32, 16, 23, 127, 12582912.0, 0.693145751953125, 1.4286068203094172e-06, -130.0, 384.0,
    64, _EXP_32, _ATANH_32,
)  # fmt: skip
DOUBLE = Format(
    types.float64, types.int64, 8, 52, 1023, 6755399441055744.0, 0.6931471803691238, 1.9082149292705877e-10, -1040.0,
    4096.0, 512, _EXP_64, _ATANH_64,
)  # fmt: skip
FORMATS = {"float32": SINGLE, "float64": DOUBLE}


def device(function: Any) -> Any:
    """Compile into its caller."""
    return njit(forceinline=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)


@cache
def polynomial(coefficients: tuple[float, ...], number: Any) -> Any:
    """Σ cₖ·tᵏ by Horner's rule; written out, since a loop over a tuple would stay one."""
    names = [f"c{k}" for k in range(len(coefficients))]
    body = names[-1]
    for name in reversed(names[:-1]):
        body = f"fma(t, {body}, {name})"
    scope: dict[str, Any] = {name: number(value) for name, value in zip(names, coefficients, strict=True)}
    scope["fma"] = fma
    exec(f"def evaluate(t):\n    return {body}", scope)  # noqa: S102 - the text above, and nothing from outside
    return device(scope["evaluate"])


@cache
def exponential(form: Format) -> Any:
    """exp_lifted(d): e^d·2^lift for d ≤ 0 or little above; NaN stays NaN, −inf gives 0."""
    number = form.number
    series = polynomial(form.exp, number)
    magic, log2_e = number(form.magic), number(_LOG2_E)
    minus_hi, minus_lo = number(-form.ln2_hi), number(-form.ln2_lo)
    lowest, zero, one = number(form.lowest), number(0), number(1)
    mantissa, bias = form.integer(form.mantissa), form.integer((form.bias + form.lift) << form.mantissa)

    @device
    def exp_lifted(d: Any) -> Any:
        shifted = fma(d, log2_e, magic)
        n = shifted - magic
        r = fma(n, minus_lo, fma(n, minus_hi, d))
        e = fma(r * r, series(r), r) + one
        # the integer stands in the low bits of `shifted`; the shift drops all else
        power = bits((bits(shifted) << mantissa) + bias)
        return where(d < lowest, zero, e * power)

    return exp_lifted


@cache
def difference(form: Format) -> Any:
    """subtract(z, m): z − m, and what its rounding lost (Knuth's TwoSum)."""

    @device
    def subtract(z: Any, m: Any) -> Any:
        d = z - m
        back = d - z
        return d, (z - (d - back)) - (m + back)

    return subtract


@cache
def exponential_of_difference() -> Any:
    """exp_from(a, b): e^(a − b) of two float64 numbers, a ≤ b, with what a − b loses."""
    subtract, exp_lifted, fill = difference(DOUBLE), exponential(DOUBLE), filled(types.float64, 8)
    down = 2.0**-DOUBLE.lift

    @device
    def exp_from(a: Any, b: Any) -> Any:
        d, low = subtract(a, b)
        e = lane(exp_lifted(fill(d)), 0) * down
        return e + e * low if low == low else e

    return exp_from


class Relative(NamedTuple):
    """e^(z − base) of many z at or below one base."""

    frame_of: Any  # (base) -> (frame, inverse, what `inverse` lost in rounding, shift, exponent)
    exp_in: Any  # (z, frame) -> e^(z − base)·2^lift / inverse
    unit: Any  # () -> the frame of base 0


@cache
def relative(form: Format) -> Relative:
    """e^(z − base) without the rounding of z − base, which is as large as that of the larger of the two.

    e^z is 2^n·e^r, and r is exact where z is not far from 0. So z is reduced as it stands, and the base only takes its
    own exponent from n. What is left of the base, a factor near 1, is the same for all z: `inverse`. A base beyond
    `near` is subtracted first (`shift`): there the difference is exact. Two frames of one shift differ by a power of
    two, so that e^z has the same digits in both.
    """
    number, integer = form.number, form.integer
    # the digits of the format are enough for `inverse`, which is rounded to it in the end
    series, series_of_base = polynomial(form.exp, number), polynomial(form.exp, types.float64)
    fill, fill_double = filled(number, form.width), filled(types.float64, 8)
    magic, log2_e = number(form.magic), number(_LOG2_E)
    minus_hi, minus_lo = number(-form.ln2_hi), number(-form.ln2_lo)
    zero, one, lowest, near = number(0), number(1), number(form.lowest), number(form.near)
    mantissa, bias = integer(form.mantissa), integer((form.bias + form.lift) << form.mantissa)
    ln2_hi, ln2_lo = DOUBLE.ln2_hi, DOUBLE.ln2_lo

    @device
    def frame_of(base: Any) -> Any:
        is_near = (base <= near) & (base >= zero - near)
        shift = zero if is_near else base
        own = base if is_near else zero
        shifted = fma(fill(own), log2_e, magic)
        n = float(lane(shifted - magic, 0))
        r = fill_double(n * ln2_lo - (float(own) - n * ln2_hi))
        more = lane(fma(r * r, series_of_base(r), r), 0)
        inverse = 1.0 + more
        power = bias - (bits(shifted) << mantissa)
        return (fill(shift), power, fill(own + lowest)), inverse, more - (inverse - 1.0), float(shift), n

    @device
    def unit() -> Any:
        return fill(zero), (bits(fill(magic)) << mantissa) + bias, fill(lowest)

    @device
    def exp_in(z: Any, frame: Any) -> Any:
        shift, power, below = frame
        d = z - shift
        shifted = fma(d, log2_e, magic)
        n = shifted - magic
        r = fma(n, minus_lo, fma(n, minus_hi, d))
        e = fma(r * r, series(r), r) + one
        return where(d < below, zero, e * bits((bits(shifted) << mantissa) + power))

    return Relative(frame_of, exp_in, unit)


@cache
def logarithm_1p(form: Format) -> Any:
    """log1p_sum(a): log(1 + a) for a ≥ 0 in float64; small a keep their digits, inf gives inf."""
    number, integer = form.number, form.integer
    series = polynomial(form.atanh, number)
    one, two, zero, nan = number(1), number(2), number(0), number(float("nan"))
    root = number(1.4142135623730951)
    half = number(0.5)
    ln2_hi, ln2_lo = number(form.ln2_hi), number(form.ln2_lo)
    mantissa, bias = integer(form.mantissa), integer(form.bias)
    fraction, one_bits = integer((1 << form.mantissa) - 1), integer(form.bias << form.mantissa)
    magic, magic_bits = number(form.magic), integer(_bits_of(form))
    largest = number(1.7976931348623157e308 if form is DOUBLE else 3.4028234663852886e38)

    @device
    def log1p_sum(a: Any) -> Any:
        u = one + a
        lost = where(a < one, a - (u - one), one - (u - a))
        # 1. u = 2^k·f with f in [√½, √2]
        raw = bits(u)
        f = bits((raw & fraction) | one_bits)
        high = f > root
        f = where(high, f * half, f)
        exponent = ((raw >> mantissa) - bias) + magic_bits
        k = bits(exponent) - magic
        k = where(high, k + one, k)
        # 2. log f = 2·atanh((f − 1) / (f + 1)); what 1 + a lost is a relative change of f
        s0 = f - one
        s = (s0 + f * (lost / u)) / (f + one)
        t = s * s
        log_f = two * fma(t * s, series(t), s)
        result = fma(k, ln2_hi, fma(k, ln2_lo, log_f))
        result = where(a > largest, a, result)
        return where(a >= zero, result, nan)

    return log1p_sum


def _bits_of(form: Format) -> int:
    import numpy as np

    kinds = (np.float64, np.int64) if form is DOUBLE else (np.float32, np.int32)
    return int(kinds[0](form.magic).view(kinds[1]))


@cache
def hyperbolic_tangent(form: Format) -> Any:
    """tanh(x): near 0 by its quotient of e^(2|x|) − 1 kept exact, elsewhere by (1 − e) / (1 + e)."""
    number = form.number
    series, exp_lifted = polynomial(form.exp, number), exponential(form)
    down, two, one, zero = number(2.0**-form.lift), number(2), number(1), number(0)
    small, saturated, minus_two = number(0.17), number(400), number(-2)

    @device
    def tanh(x: Any) -> Any:
        size = magnitude(x)
        e = exp_lifted(size * minus_two) * down
        far = (one - e) / (one + e)
        r = two * where(size < small, size, zero)
        m = fma(r * r, series(r), r)
        near = m / (two + m)
        result = where(size < small, near, far)
        result = where(size > saturated, one, result)
        return where(x < zero, zero - result, result)

    return tanh


@cache
def split_sigmoid(form: Format, exact: bool = True) -> Any:
    """sides(x) -> (e, r, larger, smaller): e = exp(−|x|) lifted, r = 1 / (1 + e), and σ(|x|), σ(−|x|) lifted."""
    number = form.number
    exp_lifted = exponential(form)
    up, down, one, zero = number(2.0**form.lift), number(2.0**-form.lift), number(1), number(0)
    minus_one = number(-1)

    @device
    def sides(x: Any) -> Any:
        e = exp_lifted(zero - magnitude(x))
        small = e * down
        total = one + small
        r = one / total
        if exact:
            # what the sum and the quotient were rounded by: the gradient p − y of a soft target magnifies it
            lost = small - (total - one)
            r = fma(r, zero - fma(total, r, minus_one) - lost * r, r)
        return e, r, r * up, e * r

    return sides


@cache
def logarithm_1p_small(form: Format) -> Any:
    """log1p_lifted(e): log(1 + e·2^−lift)·2^lift of a lifted exponential, so e·2^−lift is at most 1."""
    number = form.number
    down, up = number(2.0**-form.lift), number(2.0**form.lift)
    series, general = polynomial(_LOG1P_32, number), logarithm_1p(form)
    tiny, one = number(2.0 ** -(form.mantissa + 3)), number(1)

    @device
    def by_series(e: Any) -> Any:
        small = e * down
        return fma(e * small, series(small), e)

    @device
    def by_logarithm(e: Any) -> Any:
        small = e * down
        return where(small < tiny, e * (one - small * number(0.5)), general(small) * up)

    return by_logarithm if form is DOUBLE else by_series


@cache
def power(form: Format) -> Any:
    """power_of(v, exponent): v^exponent for 0 ≤ v ≤ 1 and an exponent above 0, to some units in the last place."""
    number = form.number
    exp_alone, log = exponential(form), log_of_quotient(form)
    down, zero, one = number(2.0**-form.lift), number(0), number(1)

    @device
    def power_of(v: Any, exponent: Any) -> Any:
        logarithm = log(v, where(v == v, one, one), where(v == v, zero, zero))
        return where(v > zero, exp_alone(logarithm * number(exponent)) * down, v)

    return power_of


@cache
def log_of_quotient(form: Format) -> Any:
    """log_quotient(a, b, lost): log(a / (b + lost)) for a, b > 0, where `lost` is what rounding b lost.

    With a = p and b = 1 − p it is the logit, and near p = 0.5 the numerator below is 2p − 1 without a rounding.
    """
    number, integer = form.number, form.integer
    series = polynomial(form.atanh, number)
    one, two, zero = number(1), number(2), number(0)
    root, ln2_hi, ln2_lo = number(1.4142135623730951), number(form.ln2_hi), number(form.ln2_lo)
    mantissa, bias = integer(form.mantissa), integer(form.bias)
    fraction, one_bits = integer((1 << form.mantissa) - 1), integer(form.bias << form.mantissa)
    magic, magic_bits = number(form.magic), integer(_bits_of(form))
    tiny, lift, lifted = number(2.0 ** -(form.bias - 27)), number(2.0**form.lift), number(form.lift)

    @device
    def log_quotient(a: Any, b: Any, lost: Any) -> Any:
        # 1. a / b = 2^k·f with f in [√½, √2]; what is too small to have all its bits is lifted first
        low = a < tiny
        a = where(low, a * lift, a)
        raw = bits(a / b)
        f = bits((raw & fraction) | one_bits)
        high = where(f > root, one, zero)
        k_bits = ((raw >> mantissa) - bias) + magic_bits
        k = (bits(k_bits) - magic) + high
        # 2. 2^k, from the same exponent
        scale = bits(raw & bits_of_exponent) * (one + high)
        # 3. log f = 2·atanh((a − 2^k·b) / (a + 2^k·b))
        right = b * scale
        s = ((a - right) - lost * scale) / (a + right)
        t = s * s
        k = where(low, k - lifted, k)
        return fma(k, ln2_hi, fma(k, ln2_lo, two * fma(t * s, series(t), s)))

    bits_of_exponent = integer(
        ((1 << (form.mantissa + (8 if form is SINGLE else 11))) - 1) ^ ((1 << form.mantissa) - 1)
    )
    return log_quotient
