"""One read of a row of logits: its largest entry, the sum below it, and sums weighted by a target.

A tile is (V, R, L): R rows, L lanes that lie side by side in memory, V deep. The axis V stays inside a thread, so each
lane keeps a running maximum and sums of its own, and threads meet only once, when the row has been read.

A lane holds (top, s, c): its largest logit, the sum of exp(z − top) over the smaller ones, and how many equal it. The
largest of the whole row is thus never part of s, which is what saves the digits of a confident row.
"""

import triton
import triton.language as tl

from lastlayer.kernels.triton._arithmetic import (
    DOUBLE,
    EXACT,
    add,
    exp_of_difference,
    scale_of_sums,
    soft_capped,
    widen,
)


@triton.jit
def columns_of_tile(V: tl.constexpr, L: tl.constexpr):
    """Class numbers of the first tile, (V, 1, L)."""
    return tl.arange(0, V)[:, None, None] * L + tl.arange(0, L)[None, None, :]


@triton.jit
def load_logits(rows, columns, inside, softcap, KIND: tl.constexpr, HAS_SOFTCAP: tl.constexpr):
    """Logits as they stand, and u = softcap · tanh(z / softcap); −inf outside."""
    z = widen(tl.load(rows[None, :, None] + columns, mask=inside, other=-float("inf")), KIND)
    u = z
    if HAS_SOFTCAP:
        u = tl.where(inside, soft_capped(z, softcap), -float("inf"))
    return z, u


@triton.jit
def load_mass(
    targets, weight, columns, inside, smoothing, classes, KIND: tl.constexpr, SOFT: tl.constexpr,
    HAS_WEIGHT: tl.constexpr, HAS_SMOOTHING: tl.constexpr,
):  # fmt: skip
    """What each class's surprisal is multiplied with, apart from an index's own; 0 outside."""
    if SOFT:
        mass = widen(tl.load(targets[None, :, None] + columns, mask=inside, other=0.0), KIND)
        if HAS_SMOOTHING:
            mass = mass * widen(1.0 - smoothing, KIND) + widen(smoothing / classes, KIND)
    else:
        mass = widen(smoothing / classes, KIND)
    if HAS_WEIGHT:
        mass = mass * widen(tl.load(weight + columns, mask=columns < classes, other=0.0), KIND)
    return tl.where(inside, mass, 0.0)


@triton.jit
def finite(top):
    """`top`, or 0 for a lane that has seen nothing but −inf: −inf − −inf would be NaN."""
    return tl.where(top == -float("inf"), 0.0, top)


@triton.jit
def scan(
    rows, targets, row_inside, weight, begin, end, classes, temperature, softcap, smoothing,
    KIND: tl.constexpr, SOFT: tl.constexpr, DENSE: tl.constexpr, HAS_WEIGHT: tl.constexpr,
    HAS_SMOOTHING: tl.constexpr, HAS_SOFTCAP: tl.constexpr, HAS_TEMPERATURE: tl.constexpr,
    V: tl.constexpr, R: tl.constexpr, L: tl.constexpr,
):  # fmt: skip
    """Read the classes [begin, end) of R rows; return (top, s, c, distance, mass) per row, as `merge` does.

    With DENSE, distance is Σ massⱼ·(top − uⱼ) before the temperature, and mass is Σ massⱼ.
    """
    wide: tl.constexpr = tl.float64 if KIND == DOUBLE else tl.float32
    top = tl.full([R, L], -float("inf"), wide)
    s = tl.zeros([R, L], wide)
    s_rest = tl.zeros([R, L], wide)
    c = tl.zeros([R, L], wide)
    distance = tl.zeros([R, L], wide)
    distance_rest = tl.zeros([R, L], wide)
    mass = tl.zeros([R, L], wide)
    mass_rest = tl.zeros([R, L], wide)
    scale = scale_of_sums(KIND)
    first = columns_of_tile(V, L)
    for start in range(begin, end, V * L):
        columns = start + first
        inside = (columns < end) & row_inside[None, :, None]
        _, u = load_logits(rows, columns, inside, softcap, KIND, HAS_SOFTCAP)
        new = tl.maximum(top, tl.max(u, axis=0))
        reference = finite(new)
        e = exp_of_difference(u, reference[None, :, :], temperature, KIND, HAS_TEMPERATURE, True)
        is_top = u == new[None, :, :]
        part = tl.sum(tl.where(is_top, 0.0, e), axis=0)
        number = tl.sum(tl.where(is_top, scale, 0.0).to(wide), axis=0)
        # A larger logit: what was the maximum becomes one of the others, and all of them shrink.
        moved = new > top
        shrink = exp_of_difference(top, reference, temperature, KIND, HAS_TEMPERATURE, False)
        s, s_rest = add(s, s_rest, tl.where(moved, c, 0.0))
        s = tl.where(moved, s * shrink, s)
        s_rest = tl.where(moved, s_rest * shrink, s_rest)
        c = tl.where(moved, 0.0, c) + number
        if DENSE:
            m = load_mass(targets, weight, columns, inside, smoothing, classes, KIND, SOFT, HAS_WEIGHT, HAS_SMOOTHING)
            step = tl.where(moved & (mass != 0.0), (reference - finite(top)) * mass, 0.0)
            below = tl.where(m == 0.0, 0.0, m * (reference[None, :, :] - u))
            distance, distance_rest = _accumulate(distance, distance_rest, step, KIND)
            distance, distance_rest = _accumulate(distance, distance_rest, tl.sum(below, axis=0), KIND)
            mass, mass_rest = _accumulate(mass, mass_rest, tl.sum(m, axis=0), KIND)
        s, s_rest = _accumulate(s, s_rest, part, KIND)
        top = new
    # Without this an infinite distance, which is a legitimate loss, would be NaN: ∞ − ∞ in its rounding error.
    distance_rest = tl.where(tl.abs(distance) == float("inf"), 0.0, distance_rest)
    return merge(
        top, (s.to(tl.float64) + s_rest) / scale, c.to(tl.float64) / scale, distance.to(tl.float64) + distance_rest,
        mass.to(tl.float64) + mass_rest, temperature, KIND, HAS_TEMPERATURE,
    )  # fmt: skip


@triton.jit
def _accumulate(high, low, x, KIND: tl.constexpr):
    if KIND == EXACT:
        high, low = add(high, low, x)
    else:
        high += x
    return high, low


@triton.jit
def merge(top, s, c, distance, mass, temperature, KIND: tl.constexpr, HAS_TEMPERATURE: tl.constexpr):
    """One (top, s, c, distance, mass) per row from those of its lanes, (R, L); all but `top` are float64."""
    row_top = tl.max(top, axis=1)
    reference = finite(row_top)[:, None]
    level = top == row_top[:, None]
    shrink = exp_of_difference(top, reference, temperature, KIND, HAS_TEMPERATURE, False)
    row_s = tl.sum(tl.where(level, s, (s + c) * shrink.to(tl.float64)), axis=1)
    row_c = tl.sum(tl.where(level, c, 0.0), axis=1)
    moved = tl.where(mass == 0.0, 0.0, (reference - finite(top)).to(tl.float64) * mass)
    return row_top, row_s, row_c, tl.sum(distance + moved, axis=1), tl.sum(mass, axis=1)


@triton.jit
def below_top(top, s, c):
    """S: the sum over all classes but one largest; NaN for a row that rules out every class."""
    return tl.where(top == -float("inf"), float("nan"), s + (c - 1.0))
