"""Cross-entropy of class indices: forward, backward, or both at once.

Words: `rows_named`, then targets (7) and their row stride (8: of probabilities), whether an index is skipped (9) and
which (10), class weights (11), weights that label smoothing spreads (12), what is saved of each row (13), loss per
row (14), log-sum-exp per row (15), four partial sums per task (16), what reaches each loss (17) and each
log-sum-exp (18), gradient (19). As float64: share (20) and keep (21) of label smoothing, z-loss (22), softcap (23),
temperature (24), the sum of the spread weights (25), what reaches the loss (26) and its z-loss (27).

`both` has room for the exponentials of a row (17), so many bytes per thread (18), the sum of the rows' class weights
(26), whether the gradient goes past the caches (27), what reaches the reduced loss (28), whether that is a mean (29),
and what a mean over nothing is divided by (30). Each exponential is computed once: it is kept while the row is read,
and scaled when the sum is known.
"""

from functools import cache
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
from lastlayer.kernels.cpu.native.math import DOUBLE, device, logarithm_1p, relative
from lastlayer.kernels.cpu.native.rows import (
    BLOCK,
    Spec,
    adjustment,
    loss_named,
    next_task,
    next_thread,
    rescaled,
    rows_named,
    slope_of_adjustment,
    statistics,
    sum_of_eight,
)


def forward(*choices: Any) -> Any:
    """Loss per row, its reduction's partial sums, and what the backward needs of each row."""
    return _losses(Spec(*choices), slopes=False)


def both(*choices: Any) -> Any:
    """As `forward`, and the gradient with it; where there is one task, the reduced loss is left after its sums."""
    return _losses(Spec(*choices), slopes=True)


def _losses(spec: Spec, slopes: bool) -> Any:
    form, smoothing = spec.form, spec.spread
    number, size = form.number, SIZE[spec.storage]
    row_statistics, adjust = statistics(spec, keeps=slopes), adjustment(spec)
    row_gradient, shares = _row_gradient(spec, keeps=True), _shares()
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
        result, of_loss, of_penalty, kept_at = integer_at(words, 19), 0.0, 0.0, 0
        if slopes:
            of_loss, of_penalty = shares(words, rows)
            kept_at = integer_at(words, 17) + next_thread(words) * integer_at(words, 18)
        room = stack(320)  # five numbers for each of eight rows
        task = next_task(words, -1)
        while task < tasks:
            losses, penalties, counts = fill(0.0), fill(0.0), fill(0.0)
            unnamed = 0.0
            first = task * rows_per_task
            end = min(first + rows_per_task, rows)
            while first < end:
                count = min(8, end - first)
                # 1. row by row: one read of the logits
                for i in range(count):
                    row = first + i
                    address = logits + row * stride
                    top, rest, inverse, spread, _ = row_statistics(
                        address, classes, cap, temperature, spread_weights, 0, keep, share, kept_at
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
                    if slopes and result != 0:
                        row_gradient(
                            words, address, result + row * classes * size, y, float(top), rest, inverse, of_loss,
                            of_penalty, 0.0, kept_at,
                        )  # fmt: skip
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
                counts = counts + where(ignored, 0.0, fill(1.0))
                first += count
            put_double(partial, task * 4, total_of(losses))
            put_double(partial, task * 4 + 1, total_of(penalties))
            put_double(partial, task * 4 + 2, total_of(counts))
            put_double(partial, task * 4 + 3, unnamed)
            task = next_task(words, task)
        if slopes and tasks == 1:
            put_double(partial, 4, reduced(words, partial))

    return kernel


def backward(*choices: Any) -> Any:
    """Gradient of the logits, recomputed from them and the two numbers per row that the forward saved."""
    spec = Spec(*choices)
    size, row_gradient = SIZE[spec.storage], _row_gradient(spec, keeps=False)

    def kernel(words: Any) -> None:
        tasks, rows, rows_per_task, classes, logits, stride = rows_named(words)
        targets, saved, of_rows, of_lse = (
            integer_at(words, 7), integer_at(words, 13), integer_at(words, 17), integer_at(words, 18),
        )  # fmt: skip
        result, loss_scale, penalty_scale = integer_at(words, 19), double_at(words, 26), double_at(words, 27)
        task = next_task(words, -1)
        while task < tasks:
            first = task * rows_per_task
            for row in range(first, min(first + rows_per_task, rows)):
                upstream, penalty, through = loss_scale, penalty_scale, 0.0
                if of_rows != 0:
                    upstream = upstream * double_at(of_rows, row)
                    penalty = penalty * double_at(of_rows, row)
                if of_lse != 0:
                    through = double_at(of_lse, row)
                row_gradient(
                    words, logits + row * stride, result + row * classes * size, integer_at(targets, row),
                    double_at(saved, row), double_at(saved, rows + row), 0.0, upstream, penalty, through, 0,
                )  # fmt: skip
            task = next_task(words, task)

    return kernel


def _row_gradient(spec: Spec, keeps: bool) -> Any:
    """row_gradient(words, row, result, target, top, rest, inverse, upstream, penalty, through, kept): of one row.

    `upstream`, `penalty` and `through` reach the row's loss, its z-loss and its log-sum-exp.
    """
    form, smoothing, adjusted = spec.form, spec.spread, spec.adjusted
    number, width, size, weight_size = form.number, form.width, SIZE[spec.storage], SIZE[spec.compute]
    _, load_first = reader(spec.storage, number, width)
    _, load_weight_first = reader(spec.compute, number, width)
    store, store_first = writer(spec.storage, number, width)
    store_one = one_writer(spec.storage, number)
    frame_at, every_class, own_class = (_from_kept if keeps else _from_logits)(spec)
    adjust, slope, log1p_sum = adjustment(spec), slope_of_adjustment(spec), logarithm_1p(DOUBLE)
    fill, fill_double = filled(number, width), filled(types.float64, 8)
    step, zero, nan, down = width * size, number(0), float("nan"), 2.0**-form.lift

    @device
    def row_gradient(
        words: Any, address: Any, out: Any, y: Any, top: Any, rest: Any, inverse: Any, upstream: Any, penalty: Any,
        through: Any, kept_at: Any,
    ) -> None:  # fmt: skip
        classes, class_weights = integer_at(words, 4), integer_at(words, 11)
        _, spread_weights, _, share, keep, z_loss, cap, temperature = loss_named(words)
        # 1. what reaches every class
        is_kept = not (integer_at(words, 9) != 0 and y == integer_at(words, 10))
        named = 0 <= y < classes
        weight = 1.0
        if is_kept and named:
            if class_weights != 0:
                weight = double_at(class_weights, y)
            if z_loss != 0.0:
                lse = top + lane(log1p_sum(fill_double(rest)), 0)
                through += 2.0 * z_loss * lse * penalty
        elif is_kept:
            upstream = nan
        else:
            upstream, weight = 0.0, 0.0
        own_scale = upstream * (weight * keep)
        spread_scale = upstream * share
        scale = own_scale + through
        if smoothing:
            scale += spread_scale * double_at(words, 25)
        if not is_kept and through == 0.0:
            # an ignored row may hold anything: 0 · NaN would be NaN
            blank, whole = fill(zero), classes // width
            for i in range(whole):
                store(out + i * step, blank)
            if classes % width > 0:
                store_first(out + whole * step, blank, classes % width)
            return
        # 2. every class alike; the target's logit is read first, for the result may lie where the logits are
        own_z = load_first(address + (y if named else 0) * size, 1, zero)
        frame, inverse = frame_at(number(top), inverse)
        share_of_rest = 1.0 / (1.0 + rest)
        every_class(words, address, out, frame, scale * share_of_rest * inverse, spread_scale, kept_at)
        # 3. the class of the target: 1 − p without the cancellation; what is subtracted is what was added up
        if is_kept and named:
            own = adjust(own_z, cap, temperature)
            e = float(own_class(own, frame, y, classes, kept_at)) * down * inverse
            p, others = e * share_of_rest, (1.0 + (rest - e)) * share_of_rest
            if float(lane(own, 0)) == top:
                p, others = share_of_rest, rest * share_of_rest
            g = (scale - own_scale) * p - own_scale * others
            if smoothing:
                g -= spread_scale * float(lane(load_weight_first(spread_weights + y * weight_size, 1, zero), 0))
            if adjusted:
                g *= float(lane(slope(own_z, cap, temperature), 0))
            store_one(out + y * size, number(g))

    return row_gradient


def _from_logits(spec: Spec) -> Any:
    """(frame_at, every_class, own_class): the exponentials of a row, computed anew.

    frame_at(top, inverse) -> (frame, inverse); every_class(words, row, result, frame, scale, spread, kept) writes
    scale·e^(u − top), less what is spread; own_class(u, frame, class, classes, kept) is one of the exponentials.
    """
    form, smoothing = spec.form, spec.spread
    number, width, step = form.number, form.width, form.width * SIZE[spec.storage]
    load, load_first = reader(spec.storage, number, width)
    load_weight, load_weight_first = reader(spec.compute, number, width)
    store, store_first = writer(spec.storage, number, width)
    adjust, finished, (frame_of, exp_in, _) = adjustment(spec), _finished(spec), relative(form)
    fill, zero, weight_step = filled(number, width), number(0), width * SIZE[spec.compute]
    half_down = 2.0 ** (-form.lift // 2)
    down = number(half_down)

    @device
    def every_class(words: Any, address: Any, out: Any, frame: Any, scale: Any, spread_scale: Any, kept: Any) -> None:
        classes, weights = integer_at(words, 4), integer_at(words, 12)
        cap, temperature = double_at(words, 23), double_at(words, 24)
        factor, spread = number(scale * half_down), number(spread_scale)
        whole, left, none = classes // width, classes % width, fill(zero)
        for i in range(whole):
            w = load_weight(weights + i * weight_step) if smoothing else none
            z = load(address + i * step)
            g = exp_in(adjust(z, cap, temperature), frame) * factor * down
            store(out + i * step, finished(g, z, w, spread, cap, temperature))
        if left > 0:
            w = load_weight_first(weights + whole * weight_step, left, zero) if smoothing else none
            z = load_first(address + whole * step, left, zero)
            g = exp_in(adjust(z, cap, temperature), frame) * factor * down
            store_first(out + whole * step, finished(g, z, w, spread, cap, temperature), left)

    @device
    def frame_at(top: Any, inverse: Any) -> Any:
        frame, inverse, _, _, _ = frame_of(top)
        return frame, inverse

    @device
    def own_class(u: Any, frame: Any, y: Any, classes: Any, kept: Any) -> Any:
        return lane(exp_in(u, frame), 0)

    return frame_at, every_class, own_class


def _from_kept(spec: Spec) -> Any:
    """The same from the exponentials that `statistics` kept, and with the same digits."""
    form, smoothing, adjusted = spec.form, spec.spread, spec.adjusted
    number, width, size, kept_size = form.number, form.width, SIZE[spec.storage], SIZE[spec.compute]
    load, load_first = reader(spec.storage, number, width)
    load_kept, load_kept_first = reader(spec.compute, number, width)
    store, store_first = writer(spec.storage, number, width)
    stream, _ = writer(spec.storage, number, width, streaming=True)
    finished, ratio_of, fill = _finished(spec), rescaled(spec), filled(number, width)
    step, kept_step, half_down, zero = width * size, width * kept_size, 2.0 ** (-form.lift // 2), number(0)
    down = number(half_down)

    @device
    def every_class(words: Any, address: Any, out: Any, frame: Any, scale: Any, spread_scale: Any, kept: Any) -> None:
        classes, weights = integer_at(words, 4), integer_at(words, 12)
        cap, temperature = double_at(words, 23), double_at(words, 24)
        factor, spread = number(scale * half_down), number(spread_scale)
        past_caches = double_at(words, 27) != 0.0 and out % step == 0
        none = fill(zero)
        for start in range(0, classes, BLOCK):
            length = min(BLOCK, classes - start)
            whole, left = length // width, length % width
            e_at, z_at = kept + start * kept_size, address + start * size
            w_at, to = weights + start * kept_size, out + start * size
            ratio = ratio_of(kept, classes, start // BLOCK) * down
            for i in range(whole):
                w = load_kept(w_at + i * kept_step) if smoothing else none
                z = load(z_at + i * step) if adjusted else none
                g = finished(load_kept(e_at + i * kept_step) * factor * ratio, z, w, spread, cap, temperature)
                if past_caches:
                    stream(to + i * step, g)
                else:
                    store(to + i * step, g)
            if left > 0:
                w = load_kept_first(w_at + whole * kept_step, left, zero) if smoothing else none
                z = load_first(z_at + whole * step, left, zero) if adjusted else none
                g = load_kept(e_at + whole * kept_step) * factor * ratio
                store_first(to + whole * step, finished(g, z, w, spread, cap, temperature), left)

    @device
    def frame_at(top: Any, inverse: Any) -> Any:
        return 0, inverse

    @device
    def own_class(u: Any, frame: Any, y: Any, classes: Any, kept: Any) -> Any:
        e = load_kept_first(kept + y * kept_size, 1, zero)
        return lane(e * ratio_of(kept, classes, y // BLOCK), 0)

    return frame_at, every_class, own_class


def _finished(spec: Spec) -> Any:
    """finished(g, z, w, spread, cap, temperature): g less what is spread, by the slope of the adjustment."""
    slope, smoothing, adjusted = slope_of_adjustment(spec), spec.spread, spec.adjusted

    @device
    def finished(g: Any, z: Any, w: Any, spread: Any, cap: Any, temperature: Any) -> Any:
        if smoothing:
            g = g - w * spread
        if adjusted:
            g = g * slope(z, cap, temperature)
        return g

    return finished


def weighed() -> Any:
    """The sum of the class weights of the rows that count, left at the partial sums (16)."""

    def kernel(words: Any) -> None:
        _, rows, _, classes, _, _ = rows_named(words)
        targets, weights = integer_at(words, 7), integer_at(words, 11)
        skipping, skipped = integer_at(words, 9), integer_at(words, 10)
        total = 0.0
        for row in range(rows):
            y = integer_at(targets, row)
            if (skipping == 0 or y != skipped) and 0 <= y < classes:
                total += double_at(weights, y)
        put_double(integer_at(words, 16), 0, total)

    return kernel


@device
def quotient(a: Any, b: Any) -> Any:
    """a / b as IEEE has it."""
    return a / b


@cache
def _shares() -> Any:
    """shares(words, rows): what reaches a row's loss and its z-loss, from what reaches the reduced loss."""
    load, load_first = reader("int64", types.int64, 8)
    fill, total_of = filled(types.float64, 8), sum_of_eight()

    @device
    def shares(words: Any, rows: Any) -> Any:
        upstream, empty = double_at(words, 28), double_at(words, 30)
        of_loss, of_penalty = upstream, upstream
        if double_at(words, 29) != 0.0:
            targets, skipped, whole = integer_at(words, 7), integer_at(words, 10), rows // 8
            count = float(rows)
            if integer_at(words, 9) != 0:
                ignored = fill(0.0)
                for i in range(whole):
                    ignored = ignored + where(load(targets + i * 64) == skipped, 1.0, fill(0.0))
                last = load_first(targets + whole * 64, rows - whole * 8, skipped) == skipped
                ignored = ignored + where(last, 1.0, fill(0.0))
                count -= total_of(ignored) - float(8 - (rows - whole * 8))
            by = double_at(words, 26) if integer_at(words, 11) != 0 else count
            of_loss = quotient(upstream, by if by != 0.0 else empty)
            of_penalty = quotient(upstream, count if count != 0.0 else empty)
        return of_loss, of_penalty

    return shares


@device
def reduced(words: Any, sums: Any) -> Any:
    """The loss from the sums of the only task."""
    losses, penalties, counts = double_at(sums, 0), double_at(sums, 1), double_at(sums, 2)
    if double_at(words, 29) == 0.0:
        return losses + penalties
    empty = double_at(words, 30)
    by = double_at(words, 26) if integer_at(words, 11) != 0 else counts
    loss = quotient(losses, by if by != 0.0 else empty)
    if double_at(words, 22) != 0.0:
        loss += quotient(penalties, counts if counts != 0.0 else empty)
    return loss
