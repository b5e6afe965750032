"""Binary cross-entropy, element by element: one read of logits and targets forward, the same and one write backward."""

import triton
import triton.language as tl

from lastlayer.kernels.triton._arithmetic import (
    divide,
    exp_of_difference,
    from_bits,
    log1p_of_fraction,
    store,
    widen,
)

_BITS = ["smoothing_bits", "gamma_bits"]


@triton.jit
def _place(rows, columns, tiles, R: tl.constexpr, L: tl.constexpr):
    program = tl.program_id(0).to(tl.int64)
    row = ((program // tiles) * R + tl.arange(0, R))[:, None]
    column = ((program % tiles) * L + tl.arange(0, L))[None, :]
    return row, column, (row < rows) & (column < columns)


@triton.jit
def _elements(
    logits, logits_row, logits_column, target, target_row, target_column, pos_weight, pos_row, pos_column, row, column,
    inside, smoothing_bits, KIND: tl.constexpr, HAS_POS_WEIGHT: tl.constexpr, HAS_SMOOTHING: tl.constexpr,
):  # fmt: skip
    """Share of "yes" without its weight and with it, share of "no", softplus and sigmoid, each of x and of −x."""
    x = widen(tl.load(logits + row * logits_row + column * logits_column, mask=inside, other=0.0), KIND)
    y = widen(tl.load(target + row * target_row + column * target_column, mask=inside, other=0.0), KIND)
    no = 1.0 - y
    if HAS_SMOOTHING:
        smoothing = from_bits(smoothing_bits)
        keep, half = widen(1.0 - smoothing, KIND), widen(smoothing / 2.0, KIND)
        y, no = y * keep + half, no * keep + half
    yes = y
    if HAS_POS_WEIGHT:
        yes = y * widen(tl.load(pos_weight + row * pos_row + column * pos_column, mask=inside, other=0.0), KIND)
    e = exp_of_difference(-tl.abs(x), tl.zeros_like(x), 1.0, KIND, False, False)
    log = log1p_of_fraction(e, KIND)
    large = divide(tl.full(e.shape, 1.0, e.dtype), 1.0 + e, KIND)
    small = divide(e, 1.0 + e, KIND)
    positive = x >= 0.0
    sigmoid, opposite = tl.where(positive, large, small), tl.where(positive, small, large)
    up, down = tl.where(positive, x, 0.0) + log, tl.where(positive, 0.0, -x) + log
    return y, yes, no, up, down, sigmoid, opposite


@triton.jit
def _share(share, loss):
    """share · loss, where no share of an infinite loss is 0."""
    return tl.where(share == 0.0, 0.0 * tl.where(loss == float("inf"), 0.0, loss), share * loss)


@triton.jit
def _focus(y, no, sigmoid, opposite, gamma_bits, KIND: tl.constexpr):
    """The probability of the wrong answer, and its power γ."""
    wrong = sigmoid * no + opposite * y
    return wrong, tl.exp(widen(from_bits(gamma_bits), KIND) * tl.log(wrong))


@triton.jit(do_not_specialize=_BITS)
def forward(
    logits, logits_row, logits_column, target, target_row, target_column, weight, weight_row, weight_column,
    pos_weight, pos_row, pos_column, rows, columns, tiles, loss, sums, smoothing_bits, gamma_bits,
    KIND: tl.constexpr, HAS_WEIGHT: tl.constexpr, HAS_POS_WEIGHT: tl.constexpr, HAS_SMOOTHING: tl.constexpr,
    HAS_GAMMA: tl.constexpr, NONE: tl.constexpr, R: tl.constexpr, L: tl.constexpr,
):  # fmt: skip
    """The loss of each element, or the sum of a tile's."""
    row, column, inside = _place(rows, columns, tiles, R, L)
    y, yes, no, up, down, sigmoid, opposite = _elements(
        logits, logits_row, logits_column, target, target_row, target_column, pos_weight, pos_row, pos_column, row,
        column, inside, smoothing_bits, KIND, HAS_POS_WEIGHT, HAS_SMOOTHING,
    )  # fmt: skip
    each = _share(yes, down) + _share(no, up)
    if HAS_GAMMA:
        _, power = _focus(y, no, sigmoid, opposite, gamma_bits, KIND)
        each = power * each
    if HAS_WEIGHT:
        w = tl.load(weight + row * weight_row + column * weight_column, mask=inside, other=0.0)
        each = each * widen(w, KIND)
    if NONE:
        store(loss + row * columns + column, each, inside)
    else:
        program, programs = tl.program_id(0), tl.num_programs(0)
        total = tl.sum(tl.sum(tl.where(inside, each, 0.0).to(tl.float64), axis=1), axis=0)
        number = tl.sum(tl.sum(inside.to(tl.int32), axis=1), axis=0).to(tl.float64)
        tl.store(sums + program, total)
        tl.store(sums + 2 * programs + program, number)
        tl.store(sums + 3 * programs + program, number)


@triton.jit(do_not_specialize=_BITS)
def backward(
    logits, logits_row, logits_column, target, target_row, target_column, weight, weight_row, weight_column,
    pos_weight, pos_row, pos_column, rows, columns, tiles, result, counts, upstream, upstream_row, upstream_column,
    smoothing_bits, gamma_bits,
    KIND: tl.constexpr, HAS_WEIGHT: tl.constexpr, HAS_POS_WEIGHT: tl.constexpr, HAS_SMOOTHING: tl.constexpr,
    HAS_GAMMA: tl.constexpr, NONE: tl.constexpr, MEAN: tl.constexpr, R: tl.constexpr, L: tl.constexpr,
):  # fmt: skip
    """The gradient of each element."""
    row, column, inside = _place(rows, columns, tiles, R, L)
    y, yes, no, up, down, sigmoid, opposite = _elements(
        logits, logits_row, logits_column, target, target_row, target_column, pos_weight, pos_row, pos_column, row,
        column, inside, smoothing_bits, KIND, HAS_POS_WEIGHT, HAS_SMOOTHING,
    )  # fmt: skip
    slope = no * sigmoid - yes * opposite
    if HAS_GAMMA:
        # (f·B)' = f·(B' + γ·B·w'/w) with w the probability of the wrong answer; w' = 0 where the sigmoid is flat.
        wrong, power = _focus(y, no, sigmoid, opposite, gamma_bits, KIND)
        change = sigmoid * opposite * (no - y)
        flat = (change == 0.0) | (wrong == 0.0)
        each = tl.where(flat, 0.0, _share(yes, down) + _share(no, up))
        ratio = change / tl.where(flat, 1.0, wrong)
        slope = power * (slope + widen(from_bits(gamma_bits), KIND) * each * ratio)
    if HAS_WEIGHT:
        w = tl.load(weight + row * weight_row + column * weight_column, mask=inside, other=0.0)
        slope = slope * widen(w, KIND)
    if NONE:
        g = tl.load(upstream + row * upstream_row + column * upstream_column, mask=inside, other=0.0)
        slope = slope * widen(g, KIND)
    else:
        g = tl.load(upstream).to(tl.float64)
        if MEAN:
            g = g / tl.load(counts)
        slope = slope * widen(g, KIND)
    store(result + row * columns + column, slope, inside)
