"""Softmax, its logarithm and its normaliser, with their gradients.

Words: `rows_named`, then what is saved of the rows (7: largest, rest), result (8), gradient of the result (9), room
for the exponentials of a row (10), so many bytes per thread (11), whether the result goes past the caches (12); then
the temperature (13).
"""

from typing import Any

from numba import types

from lastlayer.kernels.cpu.native.lanes import (
    SIZE,
    double_at,
    filled,
    first_of,
    fma,
    integer_at,
    lane,
    put_double,
    reader,
    where,
    writer,
)
from lastlayer.kernels.cpu.native.math import DOUBLE, device, difference, logarithm_1p, relative
from lastlayer.kernels.cpu.native.rows import (
    BLOCK,
    Spec,
    adjustment,
    as_eight_doubles,
    next_task,
    next_thread,
    rescaled,
    rows_named,
    statistics,
    sum_of_eight,
)


def forward(kind: str, *choices: Any) -> Any:
    """`kind` is "softmax", "log_softmax" or "logsumexp"; the last writes one float64 per row."""
    spec = Spec(*choices)
    keeps, size = kind == "softmax", SIZE[spec.storage]
    row_statistics = statistics(spec, keeps)
    finish = {"softmax": _probabilities, "log_softmax": _log_probabilities, "logsumexp": _normaliser}[kind](spec)

    def kernel(words: Any) -> None:
        tasks, rows, rows_per_task, classes, logits, stride = rows_named(words)
        saved, result, temperature = integer_at(words, 7), integer_at(words, 8), double_at(words, 13)
        kept = 0
        if keeps:
            kept = integer_at(words, 10) + next_thread(words) * integer_at(words, 11)
        task = next_task(words, -1)
        while task < tasks:
            first = task * rows_per_task
            for row in range(first, min(first + rows_per_task, rows)):
                address, out = logits + row * stride, result + row * classes * size
                top, rest, inverse, _, _ = row_statistics(address, classes, 0.0, temperature, 0, 0, 1.0, 0.0, kept)
                put_double(saved, row, float(top))
                put_double(saved, rows + row, rest)
                finish(words, row, address, out, top, rest, inverse, kept)
            task = next_task(words, task)

    return kernel


def _probabilities(spec: Spec) -> Any:
    """The exponentials that were kept, divided by their sum; what is rounded above 1 is 1, as the largest may be."""
    form, ratio_of = spec.form, rescaled(spec)
    number, width, size, kept_size = form.number, form.width, SIZE[spec.storage], SIZE[spec.compute]
    load, _ = reader(spec.compute, number, width)
    store, store_first = writer(spec.storage, number, width)
    stream, _ = writer(spec.storage, number, width, streaming=True)
    step, kept_step, half_down = width * size, width * kept_size, 2.0 ** (-form.lift // 2)
    down, frame_of, fill, one = number(half_down), relative(form).frame_of, filled(types.float64, 8), number(1)

    @device
    def share_of(e: Any, factor: Any, ratio: Any) -> Any:
        p = e * factor * ratio
        return where(p > one, one, p)

    @device
    def finish(words: Any, row: Any, address: Any, out: Any, top: Any, rest: Any, inverse: Any, kept: Any) -> None:
        classes, past_caches = integer_at(words, 4), integer_at(words, 12) != 0 and out % step == 0
        total = 1.0 + rest
        share = inverse / total
        if form is DOUBLE:  # the quotient of two rounded numbers, with what each has lost
            _, _, low, _, _ = frame_of(top)
            lost = rest - (total - 1.0) if rest < 1.0 else 1.0 - (total - rest)
            short = lane(fma(fill(-share), fill(total), inverse), 0)
            share += ((short + low) - share * lost) / total
        factor = number(half_down * share)
        for start in range(0, classes, BLOCK):
            length = min(BLOCK, classes - start)
            whole, left, e, to = length // width, length % width, kept + start * kept_size, out + start * size
            ratio = ratio_of(kept, classes, start // BLOCK) * down
            for i in range(whole):
                p = share_of(load(e + i * kept_step), factor, ratio)
                if past_caches:
                    stream(to + i * step, p)
                else:
                    store(to + i * step, p)
            if left > 0:
                store_first(to + whole * step, share_of(load(e + whole * kept_step), factor, ratio), left)

    return finish


def _log_probabilities(spec: Spec) -> Any:
    """(u − top) − log Σ; what the difference and the logarithm lost in rounding is added to the smaller terms first."""
    form, adjust = spec.form, adjustment(spec)
    number, width, step = form.number, form.width, form.width * SIZE[spec.storage]
    load, load_first = reader(spec.storage, number, width)
    store, store_first = writer(spec.storage, number, width)
    subtract, log1p_sum, fill_double = difference(form), logarithm_1p(DOUBLE), filled(types.float64, 8)
    zero = number(0)

    @device
    def value(u: Any, top: Any, log_sum: Any, low: Any) -> Any:
        d, lost = subtract(u, top)
        lost = where(lost == lost, lost, zero)  # of −inf
        return (d + (lost - low)) - log_sum

    @device
    def finish(words: Any, row: Any, address: Any, out: Any, top: Any, rest: Any, inverse: Any, kept: Any) -> None:
        classes, temperature = integer_at(words, 4), double_at(words, 13)
        whole, left = classes // width, classes % width
        log_sum = lane(log1p_sum(fill_double(rest)), 0)
        high = number(log_sum)
        low = number(log_sum - float(high))
        for i in range(whole):
            u = adjust(load(address + i * step), 0.0, temperature)
            store(out + i * step, value(u, top, high, low))
        if left > 0:
            u = adjust(load_first(address + whole * step, left, zero), 0.0, temperature)
            store_first(out + whole * step, value(u, top, high, low), left)

    return finish


def _normaliser(spec: Spec) -> Any:
    """The log-sum-exp of the row; of infinite logits the largest."""
    log1p_sum, fill_double, inf = logarithm_1p(DOUBLE), filled(types.float64, 8), float("inf")

    @device
    def finish(words: Any, row: Any, address: Any, out: Any, top: Any, rest: Any, inverse: Any, kept: Any) -> None:
        lse = float(top) + lane(log1p_sum(fill_double(rest)), 0)
        if float(top) == -inf or float(top) == inf:
            lse = float(top)
        put_double(integer_at(words, 8), row, lse)

    return finish


def backward(kind: str, *choices: Any) -> Any:
    """Gradient of the logits from that of the result, p being computed anew.

    With c the gradient g at the largest class, Σ p·(g − c) leaves the largest class out, and so nothing cancels where
    its p is near 1: softmax gives p·((g − c) − Σ p·(g − c)). log_softmax gives g − p·Σ g, at the largest class
    (c·S − Σ of the other g) / (1 + S).
    """
    spec = Spec(*choices)
    form = spec.form
    number, width, size = form.number, form.width, SIZE[spec.storage]
    adjust, (frame_of, exp_in, _) = adjustment(spec), relative(form)
    load, load_first = reader(spec.storage, number, width)
    store, store_first = writer(spec.storage, number, width)
    eight, total_of, fill = as_eight_doubles(form), sum_of_eight(), filled(types.float64, 8)
    step, zero, one, half_down, nan = width * size, number(0), number(1), 2.0 ** (-form.lift // 2), float("nan")
    down, logarithm, normaliser = number(half_down), kind == "log_softmax", kind == "logsumexp"
    none = filled(number, width)

    @device
    def at_top(u: Any, top: Any, value: Any) -> Any:
        return where(u == top, value, zero)

    @device
    def apart(u: Any, top: Any, value: Any) -> Any:
        return where(u == top, zero, value)

    @device
    def combine(u: Any, g: Any, p: Any, total: Any, c: Any, mark: Any, special: Any, temperature: Any) -> Any:
        if normaliser:
            return p * total / number(temperature)
        if logarithm:
            return where(u == mark, special, g - p * total) / number(temperature)
        return p * ((g - c) - total) / number(temperature)

    def kernel(words: Any) -> None:
        tasks, rows, rows_per_task, classes, logits, stride = rows_named(words)
        saved = integer_at(words, 7)
        result, gradient, temperature = integer_at(words, 8), integer_at(words, 9), double_at(words, 13)
        whole = classes // width
        left, tail = classes - whole * width, whole * step
        ones = none(one)
        task = next_task(words, -1)
        while task < tasks:
            first = task * rows_per_task
            for row in range(first, min(first + rows_per_task, rows)):
                z, out, g = logits + row * stride, result + row * classes * size, gradient + row * classes * size
                top, rest = number(double_at(saved, row)), double_at(saved, rows + row)
                frame, inverse, _, _, _ = frame_of(top)
                scale = number(half_down * inverse / (1.0 + rest))
                c, mark, special, total = zero, number(nan), zero, zero
                if normaliser:
                    total = number(double_at(gradient, row))
                else:
                    # 1. the gradient at the largest class, and what the others have
                    tops, counts, others = fill(0.0), fill(0.0), fill(0.0)
                    for i in range(whole):
                        u, v = adjust(load(z + i * step), 0.0, temperature), load(g + i * step)
                        tops, counts = tops + eight(at_top(u, top, v)), counts + eight(at_top(u, top, ones))
                        others = others + eight(apart(u, top, v))
                    if left > 0:
                        u = adjust(load_first(z + tail, left, zero), 0.0, temperature)
                        v = load_first(g + tail, left, zero)
                        tops = tops + eight(first_of(left, at_top(u, top, v), zero))
                        counts = counts + eight(first_of(left, at_top(u, top, ones), zero))
                        others = others + eight(first_of(left, apart(u, top, v), zero))
                    largest, count, rest_of_g = total_of(tops), total_of(counts), total_of(others)
                    c = number(largest / count)
                    if logarithm:
                        total = number(largest + rest_of_g)
                        special = number((largest * rest - rest_of_g) / (1.0 + rest))
                        if count == 1.0:
                            mark = top
                    else:
                        # 2. Σ p·(g − c)
                        sums = fill(0.0)
                        for i in range(whole):
                            p = exp_in(adjust(load(z + i * step), 0.0, temperature), frame) * scale * down
                            sums = sums + eight(p * (load(g + i * step) - c))
                        if left > 0:
                            u = adjust(load_first(z + tail, left, zero), 0.0, temperature)
                            p = exp_in(u, frame) * scale * down
                            v = p * (load_first(g + tail, left, zero) - c)
                            sums = sums + eight(first_of(left, v, zero))
                        total = number(total_of(sums))
                # 3. every class
                for i in range(whole):
                    u = adjust(load(z + i * step), 0.0, temperature)
                    p = exp_in(u, frame) * scale * down
                    v = p if normaliser else load(g + i * step)
                    store(out + i * step, combine(u, v, p, total, c, mark, special, temperature))
                if left > 0:
                    u = adjust(load_first(z + tail, left, zero), 0.0, temperature)
                    p = exp_in(u, frame) * scale * down
                    v = p if normaliser else load_first(g + tail, left, zero)
                    store_first(out + tail, combine(u, v, p, total, c, mark, special, temperature), left)
            task = next_task(words, task)

    return kernel
