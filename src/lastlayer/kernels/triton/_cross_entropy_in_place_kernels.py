"""The kernel between the products of a linear cross-entropy."""

import triton
import triton.language as tl

from lastlayer.kernels.triton._arithmetic import store, widen
from lastlayer.kernels.triton._cross_entropy_kernels import BITS, rows_of_program, scalars, target_rows
from lastlayer.kernels.triton._loss import finish, gradient_of_tile, load_target, row_factors
from lastlayer.kernels.triton._rows import columns_of_tile, scan


@triton.jit(do_not_specialize=BITS)
def loss_and_gradient(
    logits, row_stride, target, target_stride, weight, rows, classes, loss, share_of_row, lse,
    of_loss, of_loss_step, of_penalty, of_penalty_step, of_lse,
    ignore_index, temperature_bits, softcap_bits, smoothing_bits, z_loss_bits,
    KIND: tl.constexpr, SOFT: tl.constexpr, DENSE: tl.constexpr, HAS_IGNORE: tl.constexpr, HAS_WEIGHT: tl.constexpr,
    HAS_SMOOTHING: tl.constexpr, HAS_SOFTCAP: tl.constexpr, HAS_TEMPERATURE: tl.constexpr, HAS_Z_LOSS: tl.constexpr,
    HAS_LOSS: tl.constexpr, HAS_LSE: tl.constexpr, V: tl.constexpr, R: tl.constexpr, L: tl.constexpr,
):  # fmt: skip
    """R rows by one program: read from memory once, then again from the cache while the gradient is written."""
    temperature, softcap, smoothing, z_loss = scalars(temperature_bits, softcap_bits, smoothing_bits, z_loss_bits, KIND)
    row, row_inside = rows_of_program(tl.program_id(0), rows, R)
    of_rows = logits + row * row_stride
    of_targets = target_rows(target, row, target_stride, SOFT)
    # 1. one read: maximum, sum below it, what the soft target weighs
    top, s, c, distance, mass = scan(
        of_rows, of_targets, row_inside, weight, 0, classes, classes, temperature, softcap, smoothing, KIND, SOFT,
        DENSE, HAS_WEIGHT, HAS_SMOOTHING, HAS_SOFTCAP, HAS_TEMPERATURE, V, R, L,
    )  # fmt: skip
    # 2. the row's numbers
    each, penalty, log_sum_exp, share, inverse, own, rest = finish(
        of_rows, row, row_inside, top, s, c, distance, mass, target, weight, ignore_index, classes, temperature,
        softcap, smoothing, z_loss, KIND, SOFT, DENSE, HAS_IGNORE, HAS_WEIGHT, HAS_SMOOTHING, HAS_SOFTCAP,
        HAS_TEMPERATURE, HAS_Z_LOSS,
    )  # fmt: skip
    scale = tl.full([R], 1.0, tl.float64)
    of_square = scale
    if HAS_LOSS:
        scale = tl.load(of_loss + row * of_loss_step, mask=row_inside, other=0.0).to(tl.float64)
        of_square = tl.load(of_penalty + row * of_penalty_step, mask=row_inside, other=0.0).to(tl.float64)
    through = tl.zeros([R], tl.float64)
    if HAS_LSE:
        through = tl.load(of_lse + row, mask=row_inside, other=0.0).to(tl.float64)
    y, kept, poison = row, row_inside, tl.full([R], 1.0, tl.float32)
    counted = row_inside
    if not SOFT:
        y, kept, poison = load_target(target, row, row_inside, ignore_index, classes, HAS_IGNORE)
        counted = kept
    # An ignored row's loss is 0, whatever it is multiplied with.
    tl.store(loss + row, tl.where(counted, each * scale + penalty * of_square, 0.0), mask=row_inside)
    tl.store(share_of_row + row, share, mask=row_inside)
    tl.store(lse + row, log_sum_exp, mask=row_inside)
    of_index, of_mass, of_softmax, idle = row_factors(
        row, row_inside, target, weight, ignore_index, classes, tl.where(kept, scale, 0.0), of_square, through,
        log_sum_exp, smoothing, z_loss, poison, kept, y, KIND, SOFT, HAS_WEIGHT, HAS_SMOOTHING, HAS_Z_LOSS,
    )  # fmt: skip
    # Every thread has read the target's logit before any thread overwrites it.
    tl.debug_barrier()
    # 3. the gradient, last tile first: what was read last is still near
    tiles = tl.cdiv(classes, V * L)
    for number in range(tiles):
        columns = (tiles - 1 - number) * (V * L) + columns_of_tile(V, L)
        inside = (columns < classes) & row_inside[None, :, None]
        slope = gradient_of_tile(
            of_rows, of_targets, weight, columns, inside, classes, y, kept, idle, widen(top, KIND),
            widen(inverse, KIND), widen(own, KIND), widen(rest, KIND), widen(mass, KIND), of_index, of_mass,
            of_softmax, temperature, softcap, smoothing, KIND, SOFT, DENSE, HAS_WEIGHT, HAS_SMOOTHING, HAS_SOFTCAP,
            HAS_TEMPERATURE,
        )  # fmt: skip
        store(of_rows[None, :, None] + columns, slope, inside)
