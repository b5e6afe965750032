"""The kernels of softmax and log_softmax, forward and backward."""

import triton
import triton.language as tl

from lastlayer.kernels.triton._arithmetic import (
    DOUBLE,
    EXACT,
    add,
    difference,
    exp_of_difference,
    from_bits,
    log1p,
    store,
    widen,
)
from lastlayer.kernels.triton._cross_entropy_kernels import load_parts, rows_of_program
from lastlayer.kernels.triton._rows import below_top, columns_of_tile, finite, load_logits, scan


@triton.jit
def _tile_of_result(
    rows, columns, inside, top, others, temperature, KIND: tl.constexpr, LOG: tl.constexpr,
    HAS_TEMPERATURE: tl.constexpr,
):  # fmt: skip
    """Softmax or its logarithm of a tile, from the row's maximum and the sum of the other classes."""
    z, _ = load_logits(rows, columns, inside, 1.0, KIND, False)
    reference = finite(top)[None, :, None]
    if LOG:
        log_sum = log1p(others)
        high = widen(log_sum, KIND)
        if KIND == EXACT:
            d, rest = difference(z, reference)
            d = tl.where(z == -float("inf"), z, d)
            low = (log_sum - high).to(tl.float32)
            if HAS_TEMPERATURE:
                inverse = (1.0 / temperature).to(tl.float32)
                # The quotient of the exact difference, and what its rounding lost, with the divisor's own error in it.
                quotient = d * inverse
                missing = (d.to(tl.float64) + rest) / temperature - quotient
                rest = missing.to(tl.float32)
                d = quotient
            result = (d - high[None, :, None]) + (rest - low[None, :, None])
            result = tl.where(d == -float("inf"), d - high[None, :, None], result)
        else:
            d = z - reference
            if HAS_TEMPERATURE:
                d = d / widen(temperature, KIND)
            result = d - high[None, :, None]
    else:
        e = exp_of_difference(z, reference, temperature, KIND, HAS_TEMPERATURE, False)
        result = e * widen(1.0 / (1.0 + others), KIND)[None, :, None]
    return result


@triton.jit(do_not_specialize=["temperature_bits"])
def whole_rows(
    logits, row_stride, rows, classes, result, result_stride, kept, temperature_bits,
    KIND: tl.constexpr, LOG: tl.constexpr, HAS_TEMPERATURE: tl.constexpr,
    V: tl.constexpr, R: tl.constexpr, L: tl.constexpr,
):  # fmt: skip
    """R rows by one program: read for the sums, read again from the cache, write."""
    temperature = from_bits(temperature_bits)
    row, row_inside = rows_of_program(tl.program_id(0), rows, R)
    of_rows = logits + row * row_stride
    # 1. maximum, and the sum below it
    top, s, c, _, _ = scan(
        of_rows, of_rows, row_inside, of_rows, 0, classes, classes, temperature, 1.0, 0.0, KIND, False, False, False,
        False, False, HAS_TEMPERATURE, V, R, L,
    )  # fmt: skip
    _keep(kept, row, row_inside, rows, top, s, c)
    others = below_top(top, s, c)
    # 2. the result, last tile first: what was read last is still near
    into = (result + row * result_stride)[None, :, None]
    tiles = tl.cdiv(classes, V * L)
    for number in range(tiles):
        columns = (tiles - 1 - number) * (V * L) + columns_of_tile(V, L)
        inside = (columns < classes) & row_inside[None, :, None]
        store(
            into + columns,
            _tile_of_result(of_rows, columns, inside, top, others, temperature, KIND, LOG, HAS_TEMPERATURE),
            inside,
        )


@triton.jit
def _keep(kept, row, row_inside, rows, top, s, c):
    tl.store(kept + row, top, mask=row_inside)
    tl.store(kept + rows.to(tl.int64) + row, s, mask=row_inside)
    tl.store(kept + rows.to(tl.int64) * 2 + row, c, mask=row_inside)


@triton.jit(do_not_specialize=["temperature_bits"])
def tiles_of_rows(
    logits, row_stride, rows, classes, result, result_stride, kept, parts, tiles, temperature_bits,
    KIND: tl.constexpr, LOG: tl.constexpr, HAS_TEMPERATURE: tl.constexpr, SPLITS: tl.constexpr,
    V: tl.constexpr, R: tl.constexpr, L: tl.constexpr,
):  # fmt: skip
    """One tile by each program, after `parts_of_rows` has read the rows: for few long rows."""
    temperature = from_bits(temperature_bits)
    program = tl.program_id(0)
    row, row_inside = rows_of_program(program // tiles, rows, R)
    top, s, c, _, _ = load_parts(parts, row, row_inside, rows, temperature, KIND, HAS_TEMPERATURE, SPLITS)
    _keep(kept, row, row < tl.where(program % tiles == 0, rows, 0), rows, top, s, c)
    columns = (program % tiles) * (V * L) + columns_of_tile(V, L)
    inside = (columns < classes) & row_inside[None, :, None]
    store(
        (result + row * result_stride)[None, :, None] + columns,
        _tile_of_result(
            logits + row * row_stride, columns, inside, top, below_top(top, s, c), temperature, KIND, LOG,
            HAS_TEMPERATURE,
        ),
        inside,
    )  # fmt: skip


@triton.jit(do_not_specialize=["temperature_bits"])
def backward(
    logits, row_stride, rows, classes, upstream, upstream_stride, result, result_stride, kept, temperature_bits,
    KIND: tl.constexpr, LOG: tl.constexpr, HAS_TEMPERATURE: tl.constexpr,
    V: tl.constexpr, R: tl.constexpr, L: tl.constexpr,
):  # fmt: skip
    """R rows of p·(g − Σ g·p), or of g − p·Σ g for the logarithm.

    With G the sum of g over the c classes level with the largest, s and D the sums of exp(z − max) and g·exp(z − max)
    over the others, g − Σ g·p is ((c·g − G) + (s·g − D)) / (c + s): the largest class keeps its digits when p nears 1.
    """
    temperature = from_bits(temperature_bits)
    wide: tl.constexpr = tl.float64 if KIND == DOUBLE else tl.float32
    row, row_inside = rows_of_program(tl.program_id(0), rows, R)
    of_rows = logits + row * row_stride
    of_upstream = upstream + row * upstream_stride
    top = tl.load(kept + row, mask=row_inside, other=0.0)
    s = tl.load(kept + rows.to(tl.int64) + row, mask=row_inside, other=0.0)
    c = tl.load(kept + rows.to(tl.int64) * 2 + row, mask=row_inside, other=0.0)
    reference = finite(widen(top, KIND))[None, :, None]
    inverse = widen(1.0 / (c + s), KIND)[None, :, None]
    inverse = tl.where(top[None, :, None] == -float("inf"), float("nan"), inverse)
    # 1. the row's sums: of g over the largest classes (or all, for the logarithm), and of g·exp(z − max) below
    level = tl.zeros([R, L], wide)
    level_rest = tl.zeros([R, L], wide)
    below = tl.zeros([R, L], wide)
    below_rest = tl.zeros([R, L], wide)
    tiles = tl.cdiv(classes, V * L)
    for number in range(tiles):
        columns = number * (V * L) + columns_of_tile(V, L)
        inside = (columns < classes) & row_inside[None, :, None]
        g = widen(tl.load(of_upstream[None, :, None] + columns, mask=inside, other=0.0), KIND)
        if LOG:
            level, level_rest = add(level, level_rest, tl.sum(g, axis=0))
        else:
            z, _ = load_logits(of_rows, columns, inside, 1.0, KIND, False)
            e = exp_of_difference(z, reference, temperature, KIND, HAS_TEMPERATURE, False)
            is_top = z == reference
            level, level_rest = add(level, level_rest, tl.sum(tl.where(is_top, g, 0.0), axis=0))
            below, below_rest = add(below, below_rest, tl.sum(tl.where(is_top, 0.0, g * e), axis=0))
    of_level = tl.sum(level.to(tl.float64) + level_rest, axis=1)
    of_below = tl.sum(below.to(tl.float64) + below_rest, axis=1)
    # 2. the gradient, last tile first
    high = widen(of_level, KIND)[None, :, None]
    low = widen(of_level - widen(of_level, KIND), KIND)[None, :, None]
    d = widen(of_below, KIND)[None, :, None]
    small = widen(s, KIND)[None, :, None]
    count = widen(c, KIND)[None, :, None]
    rest = widen((s + (c - 1.0)) / (c + s), KIND)[None, :, None]
    for number in range(tiles):
        columns = (tiles - 1 - number) * (V * L) + columns_of_tile(V, L)
        inside = (columns < classes) & row_inside[None, :, None]
        g = widen(tl.load(of_upstream[None, :, None] + columns, mask=inside, other=0.0), KIND)
        z, _ = load_logits(of_rows, columns, inside, 1.0, KIND, False)
        p = exp_of_difference(z, reference, temperature, KIND, HAS_TEMPERATURE, False) * inverse
        if LOG:
            slope = tl.where(p > 0.5, g * rest - p * ((high - g) + low), g - p * high)
        else:
            slope = p * ((((count * g - high) - low) + (small * g - d)) * inverse)
        if HAS_TEMPERATURE:
            slope = slope / widen(temperature, KIND)
        store((result + row * result_stride)[None, :, None] + columns, slope, inside)
