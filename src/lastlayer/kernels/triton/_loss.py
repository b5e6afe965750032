"""The loss of a row from what one read of it found, and the gradient of a tile: shared by the cross-entropy kernels."""

import triton
import triton.language as tl

from lastlayer.kernels.triton._arithmetic import exp_of_difference, expm1, log1p, soft_cap_slope, soft_capped, widen
from lastlayer.kernels.triton._rows import below_top, finite, load_logits, load_mass


@triton.jit
def load_target(target, row, row_inside, ignore_index, classes, HAS_IGNORE: tl.constexpr):
    """An index that is safe to read with, whether the row counts, and 1, or NaN for an index that names no class."""
    y = tl.load(target + row, mask=row_inside, other=0)
    kept = row_inside
    if HAS_IGNORE:
        kept = kept & (y != ignore_index)
    named = (y >= 0) & (y < classes)
    return tl.where(named & kept, y, 0), kept, tl.where(named | ~kept, 1.0, float("nan"))


@triton.jit
def finish(
    rows, row, row_inside, top, s, c, distance, mass, target, weight, ignore_index, classes,
    temperature, softcap, smoothing, z_loss,
    KIND: tl.constexpr, SOFT: tl.constexpr, DENSE: tl.constexpr, HAS_IGNORE: tl.constexpr, HAS_WEIGHT: tl.constexpr,
    HAS_SMOOTHING: tl.constexpr, HAS_SOFTCAP: tl.constexpr, HAS_TEMPERATURE: tl.constexpr, HAS_Z_LOSS: tl.constexpr,
):  # fmt: skip
    """Per row and in float64: loss, z penalty, log-sum-exp, the row's share of the mean, 1/Σ, p_y − 1 and 1 − p_max.

    Loss and penalty are 0 where a row is ignored and NaN where its index names no class.
    """
    # A largest logit of ±inf is no distribution: inf − inf makes the row NaN.
    others = below_top(top, s, c) + (top - top).to(tl.float64)
    log_sum = log1p(others)
    inverse = 1.0 / (1.0 + others)
    lse = top.to(tl.float64)
    if HAS_TEMPERATURE:
        lse = lse / temperature
        distance = distance / temperature
    lse = lse + log_sum
    penalty = z_loss * lse * lse if HAS_Z_LOSS else tl.zeros_like(lse)
    share = tl.where(row_inside, 1.0, 0.0).to(tl.float64)
    own = tl.zeros_like(lse)
    loss = tl.zeros_like(lse)
    if DENSE:
        # No share of an infinite surprisal is 0: a row without mass has loss 0.
        loss = tl.where(mass == 0.0, 0.0 * log_sum, mass * log_sum) + distance
    if not SOFT:
        y, kept, poison = load_target(target, row, row_inside, ignore_index, classes, HAS_IGNORE)
        z = widen(tl.load(rows + y, mask=kept, other=0.0), KIND)
        if HAS_SOFTCAP:
            z = soft_capped(z, softcap)
        gap = top.to(tl.float64) - z
        if HAS_TEMPERATURE:
            gap = gap / temperature
        own = expm1(-(log_sum + gap))
        picked = log_sum + gap
        if HAS_WEIGHT:
            row_weight = tl.load(weight + y, mask=kept, other=0.0).to(tl.float64)
            # No share of an infinite surprisal is 0.
            picked = tl.where((row_weight == 0.0) & (picked == float("inf")), 0.0, picked * row_weight)
            share = share * row_weight
        if HAS_SMOOTHING:
            picked = picked * (1.0 - smoothing)
        loss = tl.where(kept, (loss + picked) * poison, 0.0)
        penalty = tl.where(kept, penalty * poison, 0.0)
        share = tl.where(kept, share, 0.0)
    loss = tl.where(row_inside, loss, 0.0)
    penalty = tl.where(row_inside, penalty, 0.0)
    return loss, penalty, lse, share, inverse, own, others * inverse


@triton.jit
def row_factors(
    row, row_inside, target, weight, ignore_index, classes, of_loss, of_penalty, of_lse, lse, smoothing, z_loss, poison,
    kept, y, KIND: tl.constexpr, SOFT: tl.constexpr, HAS_WEIGHT: tl.constexpr, HAS_SMOOTHING: tl.constexpr,
    HAS_Z_LOSS: tl.constexpr,
):  # fmt: skip
    """What multiplies a row's index term, its mass term and its softmax, and whether nothing reaches the row."""
    through = of_lse
    if HAS_Z_LOSS:
        through = through + tl.where(kept, 2.0 * z_loss * lse * of_penalty, 0.0)
    of_index = of_loss
    if not SOFT:
        if HAS_WEIGHT:
            of_index = of_index * tl.load(weight + y, mask=kept, other=0.0).to(tl.float64)
        if HAS_SMOOTHING:
            of_index = of_index * (1.0 - smoothing)
    idle = ~kept & (through == 0.0)
    return widen(of_index * poison, KIND), widen(of_loss * poison, KIND), widen(through * poison, KIND), idle


@triton.jit
def gradient_of_tile(
    rows, targets, weight, columns, inside, classes, y, kept, idle, top, inverse, own, rest, mass,
    of_index, of_mass, through, temperature, softcap, smoothing,
    KIND: tl.constexpr, SOFT: tl.constexpr, DENSE: tl.constexpr, HAS_WEIGHT: tl.constexpr,
    HAS_SMOOTHING: tl.constexpr, HAS_SOFTCAP: tl.constexpr, HAS_TEMPERATURE: tl.constexpr,
):  # fmt: skip
    """∂(what is asked)/∂z of a tile (V, R, L), from per-row numbers (R)."""
    z, u = load_logits(rows, columns, inside, softcap, KIND, HAS_SOFTCAP)
    reference = finite(top)[None, :, None]
    p = exp_of_difference(u, reference, temperature, KIND, HAS_TEMPERATURE, False) * inverse[None, :, None]
    slope = through[None, :, None] * p
    if not SOFT:
        is_own = (columns == y[None, :, None]) & kept[None, :, None]
        slope += of_index[None, :, None] * tl.where(is_own, own[None, :, None], p)
    if DENSE:
        m = load_mass(targets, weight, columns, inside, smoothing, classes, KIND, SOFT, HAS_WEIGHT, HAS_SMOOTHING)
        total = mass[None, :, None]
        # Only the largest class can have p > ½; there 1 − p is known to the last digit.
        near = (total - m) - total * rest[None, :, None]
        slope += of_mass[None, :, None] * tl.where(p > 0.5, near, total * p - m)
    if HAS_SOFTCAP:
        slope *= soft_cap_slope(z, softcap)
    if HAS_TEMPERATURE:
        slope = slope / widen(temperature, KIND)
    return tl.where(idle[None, :, None], 0.0, slope)
