"""Sigmoid and logit, element by element, with their gradients.

Words: counter, tasks, elements, elements per task, input, result, gradient of the result; then eps.
"""

from typing import Any

from lastlayer.kernels.cpu.native.lanes import HALVES, SIZE, double_at, integer_at, reader, where, writer
from lastlayer.kernels.cpu.native.math import FORMATS, device, log_of_quotient, split_sigmoid
from lastlayer.kernels.cpu.native.rows import next_task


def sigmoid(storage: str, compute: str) -> Any:
    """1 / (1 + exp(−x))."""
    form = FORMATS[compute]
    number, sides = form.number, split_sigmoid(form, exact=storage not in HALVES)
    zero, down = number(0), number(2.0**-form.lift)

    @device
    def value(x: Any, g: Any, eps: Any) -> Any:
        _, r, _, smaller = sides(x)
        return where(x < zero, smaller * down, r)

    return _each(storage, compute, value, takes_gradient=False)


def sigmoid_backward(storage: str, compute: str) -> Any:
    """g·σ(x)·σ(−x)."""
    form = FORMATS[compute]
    number, sides = form.number, split_sigmoid(form)
    half_down = number(2.0 ** (-form.lift // 2))

    @device
    def value(x: Any, g: Any, eps: Any) -> Any:
        _, r, _, smaller = sides(x)
        return ((smaller * r) * half_down * g) * half_down

    return _each(storage, compute, value, takes_gradient=True)


def logit(storage: str, compute: str) -> Any:
    """log(p / (1 − p)) of p clamped into [eps, 1 − eps]; an eps below 0 is none."""
    form = FORMATS[compute]
    number, log_quotient = form.number, log_of_quotient(form)
    zero, one, inf, nan = number(0), number(1), number(float("inf")), number(float("nan"))

    @device
    def value(p: Any, g: Any, eps: Any) -> Any:
        if eps >= 0.0:
            p = where(p < number(eps), number(eps), p)
            p = where(p > number(1.0 - eps), number(1.0 - eps), p)
        b = one - p
        result = log_quotient(p, b, (one - b) - p)
        result = where(p > zero, result, where(p == zero, zero - inf, nan))
        return where(p < one, result, where(p == one, inf, nan))

    return _each(storage, compute, value, takes_gradient=False)


def logit_backward(storage: str, compute: str) -> Any:
    """g / (p·(1 − p)); 0 where p was clamped, NaN outside [0, 1]."""
    form = FORMATS[compute]
    number = form.number
    zero, one, nan = number(0), number(1), number(float("nan"))

    @device
    def value(p: Any, g: Any, eps: Any) -> Any:
        slope = (g / p) / (one - p)
        if eps >= 0.0:
            slope = where(p < number(eps), zero, slope)
            return where(p > number(1.0 - eps), zero, slope)
        return where(p < zero, nan, where(p > one, nan, slope))

    return _each(storage, compute, value, takes_gradient=True)


def _each(storage: str, compute: str, value: Any, takes_gradient: bool) -> Any:
    form, size = FORMATS[compute], SIZE[storage]
    number, width = form.number, form.width
    load, load_first = reader(storage, number, width)
    store, store_first = writer(storage, number, width)
    step, zero = width * size, number(0)

    def kernel(words: Any) -> None:
        tasks, count, per_task = integer_at(words, 1), integer_at(words, 2), integer_at(words, 3)
        source, result, gradient = integer_at(words, 4), integer_at(words, 5), integer_at(words, 6)
        eps = double_at(words, 7)
        task = next_task(words, -1)
        while task < tasks:
            first = task * per_task
            length = min(per_task, count - first)
            x, out, g = source + first * size, result + first * size, gradient + first * size
            whole = length // width
            left = length - whole * width
            for i in range(whole):
                v = load(x + i * step)
                store(out + i * step, value(v, load(g + i * step) if takes_gradient else v, eps))
            if left > 0:
                at = whole * step
                v = load_first(x + at, left, zero)
                store_first(out + at, value(v, load_first(g + at, left, zero) if takes_gradient else v, eps), left)
            task = next_task(words, task)

    return kernel
