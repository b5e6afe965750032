"""Binary cross-entropy with logits, element by element: loss, gradient, or both.

Words: counter, tasks, rows, columns, blocks per row, blocks per task, logits and row stride, target and row stride,
weight and row stride, weight of "yes" and row stride, result, three numbers per task (sum of the losses, smallest and
largest target), what reaches each element; then keep, share, gamma, what reaches the loss and whether the result goes
past the caches. Strides are in bytes; a stride of 0 repeats a row.
"""

from typing import Any

from numba import types

from lastlayer.kernels.cpu.native.lanes import (
    HALVES,
    SIZE,
    double_at,
    filled,
    first_of,
    fma,
    integer_at,
    magnitude,
    put_double,
    reader,
    where,
    writer,
)
from lastlayer.kernels.cpu.native.math import FORMATS, device, logarithm_1p_small, power, split_sigmoid
from lastlayer.kernels.cpu.native.rows import as_eight_doubles, largest_of, next_task, sum_of_eight

BLOCK = 1024


def forward(storage: str, compute: str, target: str, result: str, weighted: bool, yes: bool, focal: bool) -> Any:
    """`result` is the dtype of a loss per element, or "" where only its sum is asked for."""
    return _each(storage, compute, target, result, weighted, yes, focal, sums=True, slopes=False)


def backward(storage: str, compute: str, target: str, weighted: bool, yes: bool, focal: bool) -> Any:
    """The gradient of each element."""
    return _each(storage, compute, target, storage, weighted, yes, focal, sums=False, slopes=True)


def both(storage: str, compute: str, target: str, weighted: bool, yes: bool, focal: bool) -> Any:
    """The sum of the losses and the gradient of each element, in one read: the exponential is the same."""
    return _each(storage, compute, target, storage, weighted, yes, focal, sums=True, slopes=True)


def _loss_and_slope(form: Any, weighted: bool, yes: bool, focal: bool, exact: bool) -> Any:
    """(loss, slope) of each lane; what its caller does not use, the compiler leaves out.

    The slope is upstream·(σ(x)·(1 − y) − y·σ(−x)), where nothing cancels for an answer of 0 or 1; `scale` is what
    reaches the loss, as two factors that take the lift away. Where `yes` weighs nothing, σ(x) − y is as good, and so is
    (1 − y) − σ(−x): whichever of the two is exact for the answer that y is near.
    """
    number = form.number
    sides, log1p_lifted, power_of = split_sigmoid(form, exact), logarithm_1p_small(form), power(form)
    zero, one, down, infinite = number(0), number(1), number(2.0**-form.lift), number(float("inf"))
    half, minus_lifted = number(0.5), number(-(2.0**form.lift))
    loss_of = _weighed_loss(form) if yes else _plain_loss(form)

    @device
    def value(x: Any, y: Any, w: Any, pos: Any, keep: Any, share: Any, gamma: Any, scale: Any) -> Any:
        y = fma(y, number(keep), number(share))
        no = one - y
        e, _, larger, smaller = sides(x)
        first, second = scale
        negative, is_yes = x < zero, y > half
        high, low = where(negative, smaller, larger), where(negative, larger, smaller)
        loss = loss_of(x, y, no, pos, log1p_lifted(e) * down)
        if yes:
            slope = fma(high, no, zero - low * (y * pos))
        else:
            slope = fma(where(is_yes, no, y), minus_lifted, where(is_yes, low, high))
            if focal:
                slope = where(is_yes, zero - slope, slope)
            else:
                first = where(is_yes, zero - first, first)
        if focal:
            plain = loss
            loss = plain * power_of(high * down * no + low * down * y, gamma)
            m = (high * no + low * y) * down
            turn = where(m > zero, (high * down) * low * (no - y) / m, zero)
            more = where(turn == zero, zero, plain * number(gamma) * turn)
            slope = where(m > zero, power_of(m, gamma) * (slope + more), zero)
        if yes or focal:  # what is selected may have passed over a NaN
            loss, slope = where(x == x, loss, x), where(x == x, slope, x)
        if weighted:
            loss = where(w == zero, where(loss == infinite, zero, loss * w), loss * w)
            slope = slope * w
        return loss, slope * first * second

    return value


def _factors(form: Any) -> Any:
    """factors(upstream): two whose product takes the lift away, so that only the last product can underflow."""
    number, lift, down = form.number, form.lift, 2.0**-form.lift
    small, one = 2.0 ** (4 - lift), number(1)

    @device
    def factors(upstream: Any) -> Any:
        if abs(upstream) < small:
            return number(upstream), number(down)
        return number(upstream * down), one

    return factors


def _plain_loss(form: Any) -> Any:
    """softplus(|x|), less |x| where y says so: |x|·(1 − y) + log1p(e^−|x|) for x ≥ 0, with y for x < 0."""
    zero = form.number(0)

    @device
    def loss_of(x: Any, y: Any, no: Any, pos: Any, soft: Any) -> Any:
        against = where(x < zero, y, no)
        return where(against == zero, soft, fma(against, magnitude(x), soft))

    return loss_of


def _weighed_loss(form: Any) -> Any:
    """y·softplus(−x)·pos + (1 − y)·softplus(x), where no share of an infinite loss is 0."""
    zero = form.number(0)

    @device
    def loss_of(x: Any, y: Any, no: Any, pos: Any, soft: Any) -> Any:
        of_yes = y * pos
        loss = where(of_yes == zero, zero, of_yes * (where(x < zero, zero - x, zero) + soft))
        return loss + where(no == zero, zero, no * (where(x > zero, x, zero) + soft))

    return loss_of


def _each(
    storage: str, compute: str, target: str, result: str, weighted: bool, yes: bool, focal: bool, sums: bool,
    slopes: bool,
) -> Any:  # fmt: skip
    form = FORMATS[compute]
    # what one more digit than a half type's is worth, a half type does not show
    exact = not {storage, result or storage} <= HALVES
    value, factors = _loss_and_slope(form, weighted, yes, focal, exact), _factors(form)
    number, width = form.number, form.width
    load, load_first = reader(storage, number, width)
    load_target, load_target_first = reader(target, number, width)
    load_weight, load_weight_first = reader(compute, number, width)
    store, store_first = writer(result or storage, number, width)
    stream, _ = writer(result or storage, number, width, streaming=True)
    eight, total_of, fill, none = (
        as_eight_doubles(form),
        sum_of_eight(),
        filled(types.float64, 8),
        filled(number, width),
    )
    size, target_size, result_size = SIZE[storage], SIZE[target], SIZE[result or storage]
    weight_size, writes, zero = SIZE[compute], result != "", number(0)
    per_element = slopes and not sums
    lowest, highest = number(-float("inf")), number(float("inf"))
    largest = largest_of(form)

    def kernel(words: Any) -> None:
        tasks, rows, columns = integer_at(words, 1), integer_at(words, 2), integer_at(words, 3)
        per_row, per_task = integer_at(words, 4), integer_at(words, 5)
        logits, stride, targets, target_stride = (
            integer_at(words, 6), integer_at(words, 7), integer_at(words, 8), integer_at(words, 9),
        )  # fmt: skip
        weights, weight_stride, positive, positive_stride = (
            integer_at(words, 10), integer_at(words, 11), integer_at(words, 12), integer_at(words, 13),
        )  # fmt: skip
        results, partial, per_upstream = integer_at(words, 14), integer_at(words, 15), integer_at(words, 16)
        keep, share, gamma = double_at(words, 17), double_at(words, 18), double_at(words, 19)
        scale, streams = factors(double_at(words, 20)), double_at(words, 21) != 0.0
        task = next_task(words, -1)
        while task < tasks:
            total = fill(0.0)
            least, most = none(highest), none(lowest)
            for block in range(task * per_task, min((task + 1) * per_task, rows * per_row)):
                row = block // per_row
                column = (block - row * per_row) * BLOCK
                x, t = logits + row * stride + column * size, targets + row * target_stride + column * target_size
                w, p = (
                    weights + row * weight_stride + column * weight_size,
                    positive + row * positive_stride + column * weight_size,
                )
                above = per_upstream + (row * columns + column) * weight_size
                out = results + (row * columns + column) * result_size
                past_caches = streams and out % (width * result_size) == 0
                length = min(BLOCK, columns - column)
                part, weight, pos = none(zero), none(zero), none(zero)
                start = 0
                while start + width <= length:
                    if weighted:
                        weight = load_weight(w + start * weight_size)
                    if yes:
                        pos = load_weight(p + start * weight_size)
                    y = load_target(t + start * target_size)
                    loss, slope = value(load(x + start * size), y, weight, pos, keep, share, gamma, scale)
                    v = slope if slopes else loss
                    if per_element and per_upstream != 0:
                        v = v * load_weight(above + start * weight_size)
                    if sums:
                        part = part + loss
                        least, most = where(y < least, y, least), where(y > most, y, most)
                    if writes and past_caches:
                        stream(out + start * result_size, v)
                    elif writes:
                        store(out + start * result_size, v)
                    start += width
                left = length - start
                if left > 0:
                    if weighted:
                        weight = load_weight_first(w + start * weight_size, left, zero)
                    if yes:
                        pos = load_weight_first(p + start * weight_size, left, zero)
                    y = load_target_first(t + start * target_size, left, zero)
                    loss, slope = value(
                        load_first(x + start * size, left, zero), y, weight, pos, keep, share, gamma, scale
                    )
                    v = slope if slopes else loss
                    if per_element and per_upstream != 0:
                        v = v * load_weight_first(above + start * weight_size, left, zero)
                    if sums:
                        part = part + first_of(left, loss, zero)
                        least, most = where(y < least, y, least), where(y > most, y, most)
                    if writes:
                        store_first(out + start * result_size, v, left)
                if sums:
                    total = total + eight(part)
            if sums:
                put_double(partial, task * 3, total_of(total))
                put_double(partial, task * 3 + 1, -float(largest(none(zero) - least)))
                put_double(partial, task * 3 + 2, float(largest(most)))
            task = next_task(words, task)

    return kernel
