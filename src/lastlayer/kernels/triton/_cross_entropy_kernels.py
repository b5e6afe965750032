"""The kernels of the cross-entropy, and the step that reduces the losses of its rows."""

import triton
import triton.language as tl

from lastlayer.kernels.triton._arithmetic import DOUBLE, from_bits, store, widen
from lastlayer.kernels.triton._loss import finish, gradient_of_tile, load_target, row_factors
from lastlayer.kernels.triton._rows import columns_of_tile, merge, scan

BITS = ["temperature_bits", "softcap_bits", "smoothing_bits", "z_loss_bits", "ignore_index"]


@triton.jit
def scalars(temperature_bits, softcap_bits, smoothing_bits, z_loss_bits, KIND: tl.constexpr):
    """The options as numbers: float64, the softcap in the dtype of the logits as computed with."""
    softcap = widen(from_bits(softcap_bits), KIND)
    return from_bits(temperature_bits), softcap, from_bits(smoothing_bits), from_bits(z_loss_bits)


@triton.jit
def rows_of_program(program, rows, R: tl.constexpr):
    """Row numbers, and whether each exists. int64: row · stride passes 2³¹ at 16,384 rows of 131,072 classes."""
    row = program.to(tl.int64) * R + tl.arange(0, R)
    return row, row < rows


@triton.jit
def target_rows(target, row, target_stride, SOFT: tl.constexpr):
    """Where each row's probabilities begin; indices are read elsewhere."""
    return target + row * target_stride if SOFT else target + row * 0


@triton.jit
def store_rows(
    row, row_inside, rows, program, loss, lse, kept, sums, of_row, penalty, log_sum_exp, share, top, inverse, own,
    rest, mass, kept_rows, DENSE: tl.constexpr, NONE: tl.constexpr,
):  # fmt: skip
    """Write a row's results and what its backward needs; or add up the losses of a program's rows."""
    tl.store(lse + row, log_sum_exp, mask=row_inside)
    store_statistics(kept, row, row_inside, rows, top, inverse, own, rest, mass, DENSE)
    if NONE:
        store(loss + row, of_row + penalty, row_inside)
    else:
        programs = tl.num_programs(0)
        tl.store(sums + program, tl.sum(of_row, axis=0))
        tl.store(sums + programs + program, tl.sum(penalty, axis=0))
        tl.store(sums + 2 * programs + program, tl.sum(share, axis=0))
        tl.store(sums + 3 * programs + program, tl.sum(kept_rows, axis=0))


@triton.jit
def store_statistics(kept, row, row_inside, rows, top, inverse, own, rest, mass, DENSE: tl.constexpr):
    """The five numbers that a backward reads, each in a row of `kept`."""
    tl.store(kept + row, top, mask=row_inside)
    tl.store(kept + rows.to(tl.int64) + row, inverse, mask=row_inside)
    tl.store(kept + rows.to(tl.int64) * 2 + row, own, mask=row_inside)
    if DENSE:
        tl.store(kept + rows.to(tl.int64) * 3 + row, rest, mask=row_inside)
        tl.store(kept + rows.to(tl.int64) * 4 + row, mass, mask=row_inside)


@triton.jit(do_not_specialize=BITS)
def whole_rows(
    logits, row_stride, target, target_stride, weight, rows, classes, loss, lse, kept, sums,
    ignore_index, temperature_bits, softcap_bits, smoothing_bits, z_loss_bits,
    KIND: tl.constexpr, SOFT: tl.constexpr, DENSE: tl.constexpr, HAS_IGNORE: tl.constexpr, HAS_WEIGHT: tl.constexpr,
    HAS_SMOOTHING: tl.constexpr, HAS_SOFTCAP: tl.constexpr, HAS_TEMPERATURE: tl.constexpr, HAS_Z_LOSS: tl.constexpr,
    NONE: tl.constexpr, V: tl.constexpr, R: tl.constexpr, L: tl.constexpr,
):  # fmt: skip
    """Loss and log-sum-exp of R rows, each read once by one program."""
    temperature, softcap, smoothing, z_loss = scalars(temperature_bits, softcap_bits, smoothing_bits, z_loss_bits, KIND)
    program = tl.program_id(0)
    row, row_inside = rows_of_program(program, rows, R)
    of_rows = logits + row * row_stride
    # 1. one read: maximum, sum below it, what the soft target weighs
    top, s, c, distance, mass = scan(
        of_rows, target_rows(target, row, target_stride, SOFT), row_inside, weight, 0, classes, classes, temperature,
        softcap, smoothing, KIND, SOFT, DENSE, HAS_WEIGHT, HAS_SMOOTHING, HAS_SOFTCAP, HAS_TEMPERATURE, V, R, L,
    )  # fmt: skip
    # 2. the row's numbers
    _finish_and_store(
        of_rows, row, row_inside, rows, program, top, s, c, distance, mass, target, weight, ignore_index, classes,
        temperature, softcap, smoothing, z_loss, loss, lse, kept, sums, KIND, SOFT, DENSE, HAS_IGNORE, HAS_WEIGHT,
        HAS_SMOOTHING, HAS_SOFTCAP, HAS_TEMPERATURE, HAS_Z_LOSS, NONE,
    )  # fmt: skip


@triton.jit
def _finish_and_store(
    of_rows, row, row_inside, rows, program, top, s, c, distance, mass, target, weight, ignore_index, classes,
    temperature, softcap, smoothing, z_loss, loss, lse, kept, sums,
    KIND: tl.constexpr, SOFT: tl.constexpr, DENSE: tl.constexpr, HAS_IGNORE: tl.constexpr, HAS_WEIGHT: tl.constexpr,
    HAS_SMOOTHING: tl.constexpr, HAS_SOFTCAP: tl.constexpr, HAS_TEMPERATURE: tl.constexpr, HAS_Z_LOSS: tl.constexpr,
    NONE: tl.constexpr,
):  # fmt: skip
    of_row, penalty, log_sum_exp, share, inverse, own, rest = finish(
        of_rows, row, row_inside, top, s, c, distance, mass, target, weight, ignore_index, classes, temperature,
        softcap, smoothing, z_loss, KIND, SOFT, DENSE, HAS_IGNORE, HAS_WEIGHT, HAS_SMOOTHING, HAS_SOFTCAP,
        HAS_TEMPERATURE, HAS_Z_LOSS,
    )  # fmt: skip
    counted = row_inside
    if HAS_IGNORE:
        _, counted, _ = load_target(target, row, row_inside, ignore_index, classes, HAS_IGNORE)
    store_rows(
        row, row_inside, rows, program, loss, lse, kept, sums, of_row, penalty, log_sum_exp, share, top, inverse, own,
        rest, mass, tl.where(counted, 1.0, 0.0).to(tl.float64), DENSE, NONE,
    )  # fmt: skip


@triton.jit(do_not_specialize=BITS)
def parts_of_rows(
    logits, row_stride, target, target_stride, weight, rows, classes, parts, share,
    ignore_index, temperature_bits, softcap_bits, smoothing_bits, z_loss_bits,
    KIND: tl.constexpr, SOFT: tl.constexpr, DENSE: tl.constexpr, HAS_IGNORE: tl.constexpr, HAS_WEIGHT: tl.constexpr,
    HAS_SMOOTHING: tl.constexpr, HAS_SOFTCAP: tl.constexpr, HAS_TEMPERATURE: tl.constexpr, HAS_Z_LOSS: tl.constexpr,
    V: tl.constexpr, R: tl.constexpr, L: tl.constexpr,
):  # fmt: skip
    """One read of a share of each row's classes; few long rows would otherwise leave most of a GPU idle."""
    temperature, softcap, smoothing, _ = scalars(temperature_bits, softcap_bits, smoothing_bits, z_loss_bits, KIND)
    row, row_inside = rows_of_program(tl.program_id(0), rows, R)
    split = tl.program_id(1)
    begin = split * share
    top, s, c, distance, mass = scan(
        logits + row * row_stride, target_rows(target, row, target_stride, SOFT), row_inside, weight, begin,
        tl.minimum(begin + share, classes), classes, temperature, softcap, smoothing, KIND, SOFT, DENSE, HAS_WEIGHT,
        HAS_SMOOTHING, HAS_SOFTCAP, HAS_TEMPERATURE, V, R, L,
    )  # fmt: skip
    splits = tl.num_programs(1)
    place = parts + row * splits + split
    step = rows.to(tl.int64) * splits
    tl.store(place, top, mask=row_inside)
    tl.store(place + step, s, mask=row_inside)
    tl.store(place + 2 * step, c, mask=row_inside)
    tl.store(place + 3 * step, distance, mask=row_inside)
    tl.store(place + 4 * step, mass, mask=row_inside)


@triton.jit(do_not_specialize=BITS)
def joined_rows(
    logits, row_stride, target, target_stride, weight, rows, classes, parts, loss, lse, kept, sums,
    ignore_index, temperature_bits, softcap_bits, smoothing_bits, z_loss_bits,
    KIND: tl.constexpr, SOFT: tl.constexpr, DENSE: tl.constexpr, HAS_IGNORE: tl.constexpr, HAS_WEIGHT: tl.constexpr,
    HAS_SMOOTHING: tl.constexpr, HAS_SOFTCAP: tl.constexpr, HAS_TEMPERATURE: tl.constexpr, HAS_Z_LOSS: tl.constexpr,
    NONE: tl.constexpr, SPLITS: tl.constexpr, V: tl.constexpr, R: tl.constexpr, L: tl.constexpr,
):  # fmt: skip
    """What `whole_rows` does, from the shares that `parts_of_rows` read."""
    temperature, softcap, smoothing, z_loss = scalars(temperature_bits, softcap_bits, smoothing_bits, z_loss_bits, KIND)
    program = tl.program_id(0)
    row, row_inside = rows_of_program(program, rows, R)
    top, s, c, distance, mass = load_parts(parts, row, row_inside, rows, temperature, KIND, HAS_TEMPERATURE, SPLITS)
    _finish_and_store(
        logits + row * row_stride, row, row_inside, rows, program, top, s, c, distance, mass, target, weight,
        ignore_index, classes, temperature, softcap, smoothing, z_loss, loss, lse, kept, sums, KIND, SOFT, DENSE,
        HAS_IGNORE, HAS_WEIGHT, HAS_SMOOTHING, HAS_SOFTCAP, HAS_TEMPERATURE, HAS_Z_LOSS, NONE,
    )  # fmt: skip


@triton.jit
def load_parts(
    parts, row, row_inside, rows, temperature, KIND: tl.constexpr, HAS_TEMPERATURE: tl.constexpr, SPLITS: tl.constexpr
):
    """One (top, s, c, distance, mass) per row from those of its shares."""
    place = parts + row[:, None] * SPLITS + tl.arange(0, SPLITS)[None, :]
    step = rows.to(tl.int64) * SPLITS
    inside = row_inside[:, None]
    wide: tl.constexpr = tl.float64 if KIND == DOUBLE else tl.float32
    return merge(
        tl.load(place, mask=inside, other=0.0).to(wide), tl.load(place + step, mask=inside, other=0.0),
        tl.load(place + 2 * step, mask=inside, other=0.0), tl.load(place + 3 * step, mask=inside, other=0.0),
        tl.load(place + 4 * step, mask=inside, other=0.0), temperature, KIND, HAS_TEMPERATURE,
    )  # fmt: skip


@triton.jit
def reduce(
    sums, programs, total, counts, MEAN: tl.constexpr, ZERO: tl.constexpr, HAS_Z_LOSS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """The sum or mean over all rows, in a fixed order, and the two counts that "mean" divides by."""
    loss = tl.zeros([BLOCK], tl.float64)
    penalty = tl.zeros([BLOCK], tl.float64)
    share = tl.zeros([BLOCK], tl.float64)
    rows = tl.zeros([BLOCK], tl.float64)
    for start in range(0, programs, BLOCK):
        place = start + tl.arange(0, BLOCK)
        inside = place < programs
        loss += tl.load(sums + place, mask=inside, other=0.0)
        if HAS_Z_LOSS:
            penalty += tl.load(sums + programs + place, mask=inside, other=0.0)
        share += tl.load(sums + 2 * programs + place, mask=inside, other=0.0)
        rows += tl.load(sums + 3 * programs + place, mask=inside, other=0.0)
    of_loss = tl.sum(share, axis=0)
    of_penalty = tl.sum(rows, axis=0)
    if ZERO:
        of_loss = tl.where(of_loss == 0.0, 1.0, of_loss)
        of_penalty = tl.where(of_penalty == 0.0, 1.0, of_penalty)
    result = tl.sum(loss, axis=0)
    extra = tl.sum(penalty, axis=0)
    if MEAN:
        result = result / of_loss
        extra = extra / of_penalty
    if HAS_Z_LOSS:
        result = result + extra
    store(total, result, True)
    tl.store(counts, of_loss)
    tl.store(counts + 1, of_penalty)


@triton.jit(do_not_specialize=BITS)
def gradient(
    logits, row_stride, target, target_stride, weight, rows, classes, result, result_stride, kept, counts, of_total,
    of_lse, tiles, ignore_index, temperature_bits, softcap_bits, smoothing_bits, z_loss_bits,
    KIND: tl.constexpr, SOFT: tl.constexpr, DENSE: tl.constexpr, HAS_IGNORE: tl.constexpr, HAS_WEIGHT: tl.constexpr,
    HAS_SMOOTHING: tl.constexpr, HAS_SOFTCAP: tl.constexpr, HAS_TEMPERATURE: tl.constexpr, HAS_Z_LOSS: tl.constexpr,
    HAS_LOSS: tl.constexpr, HAS_LSE: tl.constexpr, PER_ROW: tl.constexpr, MEAN: tl.constexpr,
    V: tl.constexpr, R: tl.constexpr, L: tl.constexpr,
):  # fmt: skip
    """One tile of the gradient: every element is read and written once, so the result may be the logits."""
    temperature, softcap, smoothing, z_loss = scalars(temperature_bits, softcap_bits, smoothing_bits, z_loss_bits, KIND)
    program = tl.program_id(0)
    row, row_inside = rows_of_program(program // tiles, rows, R)
    columns = (program % tiles) * (V * L) + columns_of_tile(V, L)
    inside = (columns < classes) & row_inside[None, :, None]
    # 1. what reaches each row
    top = tl.load(kept + row, mask=row_inside, other=0.0)
    inverse = tl.load(kept + rows.to(tl.int64) + row, mask=row_inside, other=0.0)
    own = tl.load(kept + rows.to(tl.int64) * 2 + row, mask=row_inside, other=0.0)
    rest = own
    mass = own
    if DENSE:
        rest = tl.load(kept + rows.to(tl.int64) * 3 + row, mask=row_inside, other=0.0)
        mass = tl.load(kept + rows.to(tl.int64) * 4 + row, mask=row_inside, other=0.0)
    upstream = tl.zeros([R], tl.float64)
    of_penalty = upstream
    through = upstream
    if HAS_LOSS:
        if PER_ROW:
            upstream = tl.load(of_total + row, mask=row_inside, other=0.0).to(tl.float64)
        else:
            upstream = upstream + tl.load(of_total).to(tl.float64)
        of_penalty = upstream
        if MEAN:
            upstream = upstream / tl.load(counts)
            of_penalty = of_penalty / tl.load(counts + 1)
    if HAS_LSE:
        through = tl.load(of_lse + row, mask=row_inside, other=0.0).to(tl.float64)
    y, is_kept, poison = row.to(tl.int64), row_inside, tl.full([R], 1.0, tl.float32)
    if not SOFT:
        y, is_kept, poison = load_target(target, row, row_inside, ignore_index, classes, HAS_IGNORE)
        upstream = tl.where(is_kept, upstream, 0.0)
    # log-sum-exp again: max/T − log(1/Σ)
    lse = upstream
    if HAS_Z_LOSS:
        lse = top.to(tl.float64)
        if HAS_TEMPERATURE:
            lse = lse / temperature
        lse = lse - tl.log(inverse.to(tl.float64))
    of_index, of_mass, of_softmax, idle = row_factors(
        row, row_inside, target, weight, ignore_index, classes, upstream, of_penalty, through, lse, smoothing, z_loss,
        poison, is_kept, y, KIND, SOFT, HAS_WEIGHT, HAS_SMOOTHING, HAS_Z_LOSS,
    )  # fmt: skip
    # 2. the tile
    slope = gradient_of_tile(
        logits + row * row_stride, target_rows(target, row, target_stride, SOFT), weight, columns, inside, classes, y,
        is_kept, idle, top, inverse, own, rest, mass, of_index, of_mass, of_softmax, temperature, softcap, smoothing,
        KIND, SOFT, DENSE, HAS_WEIGHT, HAS_SMOOTHING, HAS_SOFTCAP, HAS_TEMPERATURE,
    )  # fmt: skip
    store((result + row * result_stride)[None, :, None] + columns, slope, inside)
