"""Softmax, its logarithm and its normaliser, with their gradients.

Words: counter, tasks, rows, rows per task, classes, logits, row stride in bytes, what is saved of the rows
(largest, rest), result, gradient of the result; then the temperature.
"""

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
    where,
    writer,
)
from lastlayer.kernels.cpu.native.math import DOUBLE, device, difference, exponential_below, logarithm_1p
from lastlayer.kernels.cpu.native.rows import Spec, adjustment, as_eight_doubles, next_task, statistics, sum_of_eight


def forward(kind: str, *choices: Any) -> Any:
    """`kind` is "softmax", "log_softmax" or "logsumexp"; the last writes one float64 per row."""
    spec = Spec(*choices)
    form = spec.form
    number, width, size = form.number, form.width, SIZE[spec.storage]
    row_statistics, adjust = statistics(spec), adjustment(spec)
    load, load_first = reader(spec.storage, number, width)
    store, store_first = writer(spec.storage, number, width)
    subtract, exp_below, log1p_sum = difference(form), exponential_below(form, spec.exact), logarithm_1p(DOUBLE)
    fill_double, step, zero = filled(types.float64, 8), width * size, number(0)
    half_down, logarithm, normaliser = 2.0 ** (-form.lift // 2), kind == "log_softmax", kind == "logsumexp"
    down = number(half_down)

    @device
    def probability(u: Any, top: Any, scale: Any, low: Any) -> Any:
        return exp_below(u, top) * scale * down

    @device
    def log_probability(u: Any, top: Any, log_sum: Any, low: Any) -> Any:
        # what the difference and the logarithm lost in rounding is added to the smaller terms first
        d, lost = subtract(u, top)
        lost = where(lost == lost, lost, zero)  # of −inf
        return (d + (lost - low)) - log_sum

    value = log_probability if logarithm else probability

    def kernel(words: Any) -> None:
        tasks, rows, rows_per_task, classes = (
            integer_at(words, 1), integer_at(words, 2), integer_at(words, 3), integer_at(words, 4),
        )  # fmt: skip
        logits, stride, saved = integer_at(words, 5), integer_at(words, 6), integer_at(words, 7)
        result, temperature = integer_at(words, 8), double_at(words, 10)
        whole = classes // width
        left = classes - whole * width
        task = next_task(words, -1)
        while task < tasks:
            first = task * rows_per_task
            for row in range(first, min(first + rows_per_task, rows)):
                address, out = logits + row * stride, result + row * classes * size
                top, rest, _, _ = row_statistics(address, classes, 0.0, temperature, 0, 0, 1.0, 0.0)
                put_double(saved, row, float(top))
                put_double(saved, rows + row, rest)
                if normaliser:
                    lse = float(top) + lane(log1p_sum(fill_double(rest)), 0)
                    if float(top) == -inf or float(top) == inf:
                        lse = float(top)
                    put_double(result, row, lse)
                else:
                    log_sum = lane(log1p_sum(fill_double(rest)), 0) if logarithm else half_down / (1.0 + rest)
                    factor = number(log_sum)
                    low = number(log_sum - float(factor))
                    for i in range(whole):
                        u = adjust(load(address + i * step), 0.0, temperature)
                        store(out + i * step, value(u, top, factor, low))
                    if left > 0:
                        u = adjust(load_first(address + whole * step, left, zero), 0.0, temperature)
                        store_first(out + whole * step, value(u, top, factor, low), left)
            task = next_task(words, task)

    inf = float("inf")
    return kernel


def backward(kind: str, *choices: Any) -> Any:
    """Gradient of the logits from that of the result, p being computed anew."""
    spec = Spec(*choices)
    form = spec.form
    number, width, size = form.number, form.width, SIZE[spec.storage]
    adjust, exp_below = adjustment(spec), exponential_below(form, spec.exact)
    load, load_first = reader(spec.storage, number, width)
    store, store_first = writer(spec.storage, number, width)
    eight, total_of, fill = as_eight_doubles(form), sum_of_eight(), filled(types.float64, 8)
    step, zero, half_down = width * size, number(0), 2.0 ** (-form.lift // 2)
    down, logarithm, normaliser = number(half_down), kind == "log_softmax", kind == "logsumexp"

    @device
    def combine(g: Any, p: Any, total: Any, temperature: Any) -> Any:
        if normaliser:
            return p * total / number(temperature)
        if logarithm:
            return (g - p * total) / number(temperature)
        return p * (g - total) / number(temperature)

    def kernel(words: Any) -> None:
        tasks, rows, rows_per_task, classes = (
            integer_at(words, 1), integer_at(words, 2), integer_at(words, 3), integer_at(words, 4),
        )  # fmt: skip
        logits, stride, saved = integer_at(words, 5), integer_at(words, 6), integer_at(words, 7)
        result, gradient, temperature = integer_at(words, 8), integer_at(words, 9), double_at(words, 10)
        whole = classes // width
        left = classes - whole * width
        task = next_task(words, -1)
        while task < tasks:
            first = task * rows_per_task
            for row in range(first, min(first + rows_per_task, rows)):
                z, out, g = logits + row * stride, result + row * classes * size, gradient + row * classes * size
                top = number(double_at(saved, row))
                scale = number(half_down / (1.0 + double_at(saved, rows + row)))
                # 1. what all classes share: Σ g·p, Σ g, or the row's own gradient
                sums = fill(0.0)
                if not normaliser:
                    for i in range(whole):
                        v = load(g + i * step)
                        if not logarithm:
                            v = v * (exp_below(adjust(load(z + i * step), 0.0, temperature), top) * scale * down)
                        sums = sums + eight(v)
                    if left > 0:
                        v = load_first(g + whole * step, left, zero)
                        if not logarithm:
                            u = adjust(load_first(z + whole * step, left, zero), 0.0, temperature)
                            v = first_of(left, v * (exp_below(u, top) * scale * down), zero)
                        sums = sums + eight(v)
                total = number(total_of(sums))
                if normaliser:
                    total = number(double_at(gradient, row))
                # 2. every class
                for i in range(whole):
                    u = adjust(load(z + i * step), 0.0, temperature)
                    p = exp_below(u, top) * scale * down
                    store(out + i * step, combine(p if normaliser else load(g + i * step), p, total, temperature))
                if left > 0:
                    at = whole * step
                    p = exp_below(adjust(load_first(z + at, left, zero), 0.0, temperature), top) * scale * down
                    from_above = p if normaliser else load_first(g + at, left, zero)
                    store_first(out + at, combine(from_above, p, total, temperature), left)
            task = next_task(words, task)

    return kernel
