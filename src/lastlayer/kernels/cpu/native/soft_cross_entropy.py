"""Cross-entropy of target probabilities, forward and backward. Words as in `cross_entropy`."""

from typing import Any

from numba import types

from lastlayer.kernels.cpu.native.lanes import (
    SIZE,
    double_at,
    filled,
    first_of,
    integer_at,
    lane,
    put_double,
    reader,
    stack,
    where,
    writer,
)
from lastlayer.kernels.cpu.native.math import DOUBLE, device, logarithm_1p, relative
from lastlayer.kernels.cpu.native.rows import (
    Spec,
    adjustment,
    loss_named,
    mass,
    next_task,
    rows_named,
    slope_of_adjustment,
    statistics,
    sum_of_eight,
)


def forward(*choices: Any) -> Any:
    """Loss per row, its reduction's partial sums, and what the backward needs of each row."""
    spec = Spec(*choices)
    row_statistics = statistics(spec)
    _, load8_first = reader("float64", types.float64, 8)
    _, store8_first = writer("float64", types.float64, 8)
    log1p_sum, total_of, fill = logarithm_1p(DOUBLE), sum_of_eight(), filled(types.float64, 8)

    def kernel(words: Any) -> None:
        tasks, rows, rows_per_task, classes, logits, stride = rows_named(words)
        targets, weights, saved, share, keep, z_loss, cap, temperature = loss_named(words)
        target_stride = integer_at(words, 8)
        per_row, lse_per_row, partial = integer_at(words, 14), integer_at(words, 15), integer_at(words, 16)
        room = stack(64)
        task = next_task(words, -1)
        while task < tasks:
            losses, penalties = fill(0.0), fill(0.0)
            first = task * rows_per_task
            end = min(first + rows_per_task, rows)
            while first < end:
                count = min(8, end - first)
                # 1. row by row: one read of the logits and of the target
                for i in range(count):
                    row = first + i
                    top, rest, _, cost, total = row_statistics(
                        logits + row * stride, classes, cap, temperature, weights, targets + row * target_stride,
                        keep, share, 0,
                    )  # fmt: skip
                    put_double(saved, row, float(top))
                    put_double(saved, rows + row, rest)
                    put_double(saved, 2 * rows + row, total)
                    put_double(room, i, cost)
                # 2. eight rows at a time
                log_sum = log1p_sum(load8_first(saved + (rows + first) * 8, count, 0.0))
                lse = load8_first(saved + first * 8, count, 0.0) + log_sum
                total8 = load8_first(saved + (2 * rows + first) * 8, count, 0.0)
                loss = log_sum * total8 + load8_first(room, count, 0.0)
                penalty = fill(0.0)
                if z_loss != 0.0:
                    penalty = lse * lse * z_loss
                if per_row != 0:
                    store8_first(per_row + first * 8, loss + penalty, count)
                if lse_per_row != 0:
                    store8_first(lse_per_row + first * 8, lse, count)
                losses = losses + first_of(count, loss, 0.0)
                penalties = penalties + first_of(count, penalty, 0.0)
                first += count
            put_double(partial, task * 4, total_of(losses))
            put_double(partial, task * 4 + 1, total_of(penalties))
            put_double(partial, task * 4 + 2, float(end - task * rows_per_task))
            put_double(partial, task * 4 + 3, 0.0)
            task = next_task(words, task)

    return kernel


def backward(*choices: Any) -> Any:
    """Gradient of the logits: (mass·p − what the target gives) per class."""
    spec = Spec(*choices)
    form, adjusted = spec.form, spec.adjusted
    number, width, size = form.number, form.width, SIZE[spec.storage]
    load, load_first = reader(spec.storage, number, width)
    store, store_first = writer(spec.storage, number, width)
    mass_at, mass_first = mass(spec)
    adjust, slope, (frame_of, exp_in, _) = adjustment(spec), slope_of_adjustment(spec), relative(form)
    log1p_sum, fill_double = logarithm_1p(DOUBLE), filled(types.float64, 8)
    zero, half_down = number(0), 2.0 ** (-form.lift // 2)
    step, target_step, weight_step = width * size, width * SIZE[spec.target], width * SIZE[spec.compute]
    down = number(half_down)

    @device
    def gradient(
        z: Any,
        m: Any,
        top: Any,
        frame: Any,
        scale: Any,
        upstream: Any,
        near: Any,
        total: Any,
        cap: Any,
        temperature: Any,
    ) -> Any:
        u = adjust(z, cap, temperature)
        far = exp_in(u, frame) * scale * down - m * upstream
        # Where p is near 1, and only the largest entry can be, total·p − m is (total − m) − total·(1 − p).
        g = where(u == top, (total - m) * upstream - near, far)
        if adjusted:
            g = g * slope(z, cap, temperature)
        return g

    def kernel(words: Any) -> None:
        tasks, rows, rows_per_task, classes, logits, stride = rows_named(words)
        targets, weights, saved, share, keep, z_loss, cap, temperature = loss_named(words)
        target_stride = integer_at(words, 8)
        of_rows, of_lse, result = integer_at(words, 17), integer_at(words, 18), integer_at(words, 19)
        loss_scale, penalty_scale = double_at(words, 26), double_at(words, 27)
        whole = classes // width
        left = classes - whole * width
        task = next_task(words, -1)
        while task < tasks:
            first = task * rows_per_task
            for row in range(first, min(first + rows_per_task, rows)):
                address, out = logits + row * stride, result + row * classes * size
                target = targets + row * target_stride
                top, rest, total = double_at(saved, row), double_at(saved, rows + row), double_at(saved, 2 * rows + row)
                # 1. what reaches this row's loss, and through it every class
                upstream, penalty, through = loss_scale, penalty_scale, 0.0
                if of_rows != 0:
                    upstream = upstream * double_at(of_rows, row)
                    penalty = penalty * double_at(of_rows, row)
                if of_lse != 0:
                    through = double_at(of_lse, row)
                if z_loss != 0.0:
                    lse = top + lane(log1p_sum(fill_double(rest)), 0)
                    through += 2.0 * z_loss * lse * penalty
                inverse, base = 1.0 / (1.0 + rest), number(top)
                frame, of_frame, _, _, _ = frame_of(base)
                scale = number((upstream * total + through) * (inverse * of_frame) * half_down)
                near = number(upstream * total * rest * inverse - through * inverse)
                each, sum_of_masses = number(upstream), number(total)
                # 2. every class
                for i in range(whole):
                    m = mass_at(target + i * target_step, weights + i * weight_step, keep, share)
                    z = load(address + i * step)
                    g = gradient(z, m, base, frame, scale, each, near, sum_of_masses, cap, temperature)
                    store(out + i * step, g)
                if left > 0:
                    m = mass_first(target + whole * target_step, weights + whole * weight_step, keep, share, left)
                    z = load_first(address + whole * step, left, zero)
                    g = gradient(z, m, base, frame, scale, each, near, sum_of_masses, cap, temperature)
                    store_first(out + whole * step, g, left)
            task = next_task(words, task)

    return kernel
