"""Cross-entropy of class indices, forward and backward.

Words: `rows_named`, then targets (7) and their row stride (8: of probabilities), whether an index is skipped (9) and
which (10), class weights (11), weights that label smoothing spreads (12), what is saved of each row (13), loss per
row (14), log-sum-exp per row (15), five partial sums per task (16), what reaches each loss (17) and each
log-sum-exp (18), gradient (19). As float64: share (20) and keep (21) of label smoothing, z-loss (22), softcap (23),
temperature (24), the sum of the spread weights (25), what reaches the loss (26) and its z-loss (27). `both` alone:
what reaches the reduced loss (28), whether that is a mean (29), what a mean over nothing is divided by (30).
"""

from typing import Any

from numba import types

from lastlayer.kernels.cpu.native.lanes import (
    SIZE,
    double_at,
    filled,
    integer_at,
    lane,
    one_writer,
    put_double,
    reader,
    stack,
    where,
    writer,
)
from lastlayer.kernels.cpu.native.math import DOUBLE, device, exponential_below, logarithm_1p
from lastlayer.kernels.cpu.native.rows import (
    Spec,
    adjustment,
    loss_named,
    next_task,
    rows_named,
    slope_of_adjustment,
    statistics,
    sum_of_eight,
)


def forward(*choices: Any) -> Any:
    """Loss per row, its reduction's partial sums, and what the backward needs of each row."""
    spec = Spec(*choices)
    form, smoothing = spec.form, spec.spread
    number, size = form.number, SIZE[spec.storage]
    row_statistics, adjust = statistics(spec), adjustment(spec)
    _, load_first = reader(spec.storage, number, form.width)
    _, load8_first = reader("float64", types.float64, 8)
    _, store8_first = writer("float64", types.float64, 8)
    log1p_sum, total_of, fill = logarithm_1p(DOUBLE), sum_of_eight(), filled(types.float64, 8)
    zero, nan, infinite = number(0), float("nan"), float("inf")

    def kernel(words: Any) -> None:
        tasks, rows, rows_per_task, classes, logits, stride = rows_named(words)
        targets, spread_weights, saved, share, keep, z_loss, cap, temperature = loss_named(words)
        skipping, skipped, class_weights = integer_at(words, 9), integer_at(words, 10), integer_at(words, 11)
        per_row, lse_per_row, partial = integer_at(words, 14), integer_at(words, 15), integer_at(words, 16)
        weight_sum = double_at(words, 25)
        room = stack(320)  # five numbers for each of eight rows
        task = next_task(words, -1)
        while task < tasks:
            losses, weights, penalties, counts = fill(0.0), fill(0.0), fill(0.0), fill(0.0)
            unnamed = 0.0
            first = task * rows_per_task
            end = min(first + rows_per_task, rows)
            while first < end:
                count = min(8, end - first)
                # 1. row by row: one read of the logits
                for i in range(count):
                    row = first + i
                    address = logits + row * stride
                    top, rest, spread, _ = row_statistics(
                        address, classes, cap, temperature, spread_weights, 0, keep, share
                    )
                    y = integer_at(targets, row)
                    kept = 1.0
                    if skipping != 0 and y == skipped:
                        kept = 0.0
                    elif y < 0 or y >= classes:
                        kept = nan
                        unnamed += 1.0
                    gap, weight = 0.0, kept
                    if kept == 1.0:
                        own = lane(adjust(load_first(address + y * size, 1, zero), cap, temperature), 0)
                        gap = float(top) - float(own)
                        if class_weights != 0:
                            weight = double_at(class_weights, y)
                    put_double(saved, row, float(top))
                    put_double(saved, rows + row, rest)
                    put_double(room, i, gap)
                    put_double(room, 8 + i, weight)
                    put_double(room, 16 + i, kept)
                    put_double(room, 24 + i, spread)
                # 2. eight rows at a time: logarithms, options, sums
                top8, rest8 = (
                    load8_first(saved + first * 8, count, 0.0),
                    load8_first(saved + (rows + first) * 8, count, 0.0),
                )
                log_sum = log1p_sum(rest8)
                lse = top8 + log_sum
                weight8, kept8 = load8_first(room + 64, count, 0.0), load8_first(room + 128, count, 0.0)
                loss, share_of_loss = log_sum + load8_first(room, count, 0.0), weight8 * keep
                # no share of an infinite loss is 0
                shared = loss * share_of_loss
                loss = where(share_of_loss == 0.0, where(loss == infinite, 0.0, shared), shared)
                if smoothing:
                    spread8 = load8_first(room + 192, count, 0.0)
                    loss = loss + (log_sum * weight_sum + spread8) * (kept8 * share)
                penalty = lse * lse * (kept8 * z_loss)
                ignored = kept8 == 0.0
                loss, penalty = where(ignored, 0.0, loss), where(ignored, 0.0, penalty)
                if z_loss == 0.0:
                    penalty = fill(0.0)
                if per_row != 0:
                    store8_first(per_row + first * 8, loss + penalty, count)
                if lse_per_row != 0:
                    store8_first(lse_per_row + first * 8, lse, count)
                losses, penalties = losses + loss, penalties + penalty
                weights = weights + where(ignored, 0.0, weight8)
                counts = counts + where(ignored, 0.0, fill(1.0))
                first += count
            put_double(partial, task * 5, total_of(losses))
            put_double(partial, task * 5 + 1, total_of(weights))
            put_double(partial, task * 5 + 2, total_of(penalties))
            put_double(partial, task * 5 + 3, total_of(counts))
            put_double(partial, task * 5 + 4, unnamed)
            task = next_task(words, task)

    return kernel


def backward(*choices: Any) -> Any:
    """Gradient of the logits, recomputed from them and the two numbers per row that the forward saved."""
    spec = Spec(*choices)
    form, smoothing, adjusted = spec.form, spec.spread, spec.adjusted
    number, width, size = form.number, form.width, SIZE[spec.storage]
    load, load_first = reader(spec.storage, number, width)
    load_weight, load_weight_first = reader(spec.compute, number, width)
    store, store_first = writer(spec.storage, number, width)
    store_one = one_writer(spec.storage, number)
    adjust, slope, exp_below = adjustment(spec), slope_of_adjustment(spec), exponential_below(form, spec.exact)
    exp_double, log1p_sum = exponential_below(DOUBLE, exact=True), logarithm_1p(DOUBLE)
    fill, fill_double = filled(number, width), filled(types.float64, 8)
    zero, nan = number(0), float("nan")
    # the scale meets the exponential in two steps, so that neither a small scale nor a small product loses digits
    step, half_down, weight_size = width * size, 2.0 ** (-form.lift // 2), SIZE[spec.compute]
    down, down_double, weight_step = number(half_down), 2.0**-DOUBLE.lift, width * SIZE[spec.compute]

    @device
    def gradient(z: Any, w: Any, top: Any, scale: Any, spread: Any, cap: Any, temperature: Any) -> Any:
        g = exp_below(adjust(z, cap, temperature), top) * scale * down
        if smoothing:
            g = g - w * spread
        if adjusted:
            g = g * slope(z, cap, temperature)
        return g

    def kernel(words: Any) -> None:
        tasks, rows, rows_per_task, classes, logits, stride = rows_named(words)
        targets, spread_weights, saved, share, keep, z_loss, cap, temperature = loss_named(words)
        skipping, skipped, class_weights = integer_at(words, 9), integer_at(words, 10), integer_at(words, 11)
        of_rows, of_lse, result = integer_at(words, 17), integer_at(words, 18), integer_at(words, 19)
        weight_sum, loss_scale, penalty_scale = double_at(words, 25), double_at(words, 26), double_at(words, 27)
        whole = classes // width
        left = classes - whole * width
        task = next_task(words, -1)
        while task < tasks:
            first = task * rows_per_task
            for row in range(first, min(first + rows_per_task, rows)):
                address, out = logits + row * stride, result + row * classes * size
                top, rest = double_at(saved, row), double_at(saved, rows + row)
                y = integer_at(targets, row)
                # 1. what reaches this row's loss, and through it every class
                upstream, penalty, weight, through = loss_scale, penalty_scale, 1.0, 0.0
                if of_rows != 0:
                    upstream = upstream * double_at(of_rows, row)
                    penalty = penalty * double_at(of_rows, row)
                if of_lse != 0:
                    through = double_at(of_lse, row)
                kept = not (skipping != 0 and y == skipped)
                named = 0 <= y < classes
                if kept and named:
                    if class_weights != 0:
                        weight = double_at(class_weights, y)
                    if z_loss != 0.0:
                        lse = top + lane(log1p_sum(fill_double(rest)), 0)
                        through += 2.0 * z_loss * lse * penalty
                elif kept:
                    upstream = nan
                else:
                    upstream, weight = 0.0, 0.0
                own_scale = upstream * (weight * keep)
                spread_scale = upstream * share
                scale = own_scale + through
                if smoothing:
                    scale += spread_scale * weight_sum
                inverse = 1.0 / (1.0 + rest)
                if not kept and through == 0.0:
                    # an ignored row may hold anything: 0 · NaN would be NaN
                    blank = fill(zero)
                    for i in range(whole):
                        store(out + i * step, blank)
                    if left > 0:
                        store_first(out + whole * step, blank, left)
                    continue
                # 2. every class alike; the target's logit is read first, for the result may lie where the logits are
                own_z = load_first(address + (y if named else 0) * size, 1, zero)
                base, factor, spread = number(top), number(scale * inverse * half_down), number(spread_scale)
                none = fill(zero)
                for i in range(whole):
                    w = load_weight(spread_weights + i * weight_step) if smoothing else none
                    z = load(address + i * step)
                    store(out + i * step, gradient(z, w, base, factor, spread, cap, temperature))
                if left > 0:
                    w = load_weight_first(spread_weights + whole * weight_step, left, zero) if smoothing else none
                    z = load_first(address + whole * step, left, zero)
                    store_first(out + whole * step, gradient(z, w, base, factor, spread, cap, temperature), left)
                # 3. the class of the target: 1 − p without the cancellation
                if kept and named:
                    own = float(lane(adjust(own_z, cap, temperature), 0))
                    e = lane(exp_double(fill_double(own), top), 0) * down_double
                    p, others = e * inverse, (1.0 + (rest - e)) * inverse
                    if own == top:
                        others = rest * inverse
                    g = (scale - own_scale) * p - own_scale * others
                    if smoothing:
                        g -= spread_scale * float(lane(load_weight_first(spread_weights + y * weight_size, 1, zero), 0))
                    if adjusted:
                        g *= float(lane(slope(own_z, cap, temperature), 0))
                    store_one(out + y * size, number(g))
            task = next_task(words, task)

    return kernel


def both(*choices: Any) -> Any:
    """Forward and backward of one task; the reduced loss is left after the task's sums."""
    first, second = device(forward(*choices)), device(backward(*choices))

    @device
    def quotient(a: Any, b: Any) -> Any:
        return a / b

    def kernel(words: Any) -> None:
        first(words)
        sums, upstream, mean, empty = (
            integer_at(words, 16),
            double_at(words, 28),
            double_at(words, 29),
            double_at(words, 30),
        )
        losses, weights, penalties, counts = (
            double_at(sums, 0), double_at(sums, 1), double_at(sums, 2), double_at(sums, 3),
        )  # fmt: skip
        loss, of_loss, of_penalty = losses + penalties, upstream, upstream
        if mean != 0.0:
            by = weights if integer_at(words, 11) != 0 else counts
            if by == 0.0:
                by = empty
            if counts == 0.0:
                counts = empty
            loss, of_loss, of_penalty = quotient(losses, by), quotient(upstream, by), quotient(upstream, counts)
            if double_at(words, 22) != 0.0:
                loss += quotient(penalties, counts)
        put_double(sums, 5, loss)
        if integer_at(words, 19) != 0:
            put_double(words, 26, of_loss)
            put_double(words, 27, of_penalty)
            second(words)

    return kernel
