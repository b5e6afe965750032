"""What every softmax-like kernel needs of a row, in one read of memory.

Of a row u it is the largest entry `top` and `rest`, the sum of exp(u − top) over all entries below the top plus the
number of further entries equal to it: Σ exp(u − top) is 1 + rest, and the log-sum-exp is top + log1p(rest). Keeping
the largest entry out of the sum is what saves the digits of a confident row: 1 + 1e-30 is 1, log1p(1e-30) is 1e-30.

A row is read in blocks that fit the first-level cache: the block's largest entry first, then its sum. When a block
has a new largest entry, the sum so far is scaled down. Sums run in eight lanes of float64, and keep the roundings of
adding block to block, so that no large term swallows a hundred thousand small ones. The order of
the sum depends on the length of the row and on nothing else.
"""

from functools import cache
from typing import Any, NamedTuple

from numba import types

from lastlayer.kernels.cpu.native.lanes import (
    SIZE,
    bits,
    count_of,
    double_at,
    filled,
    first_of,
    fma,
    half_of,
    integer_at,
    lane,
    put_double,
    reader,
    take_ticket,
    to_double,
    where,
    writer,
)
from lastlayer.kernels.cpu.native.math import (
    DOUBLE,
    FORMATS,
    Format,
    device,
    exponential_of_difference,
    hyperbolic_tangent,
    relative,
)

BLOCK = 1024
_GROWN = 60.0  # powers of two by which a row's frames may differ: what is smaller still counts as 0 in any of them


class Spec(NamedTuple):
    """What a kernel is compiled for."""

    storage: str  # dtype of the logits in memory
    compute: str  # "float32" or "float64"
    adjusted: bool = False  # softcap or temperature
    spread: bool = False  # label smoothing, or class weights of probabilities
    target: str = ""  # dtype of target probabilities in memory; "" for class indices

    @property
    def form(self) -> Format:
        """The format computed in."""
        return FORMATS[self.compute]


@cache
def sum_of_eight() -> Any:
    """Sum of eight lanes, pairs first."""

    @device
    def total(v: Any) -> Any:
        four = half_of(v, 0) + half_of(v, 1)
        two = half_of(four, 0) + half_of(four, 1)
        return lane(two, 0) + lane(two, 1)

    return total


@cache
def as_eight_doubles(form: Format) -> Any:
    """The lanes as eight float64: sixteen are added in pairs."""

    @device
    def eight(v: Any) -> Any:
        return to_double(half_of(v, 0)) + to_double(half_of(v, 1))

    @device
    def same(v: Any) -> Any:
        return v

    return same if form is DOUBLE else eight


@cache
def largest_of(form: Format) -> Any:
    """The largest lane; a NaN is passed over, since the sum will meet it."""

    @device
    def of_eight(v: Any) -> Any:
        a, b = half_of(v, 0), half_of(v, 1)
        four = where(b > a, b, a)
        c, d = half_of(four, 0), half_of(four, 1)
        two = where(d > c, d, c)
        e, f = lane(two, 0), lane(two, 1)
        return f if f > e else e

    @device
    def of_sixteen(v: Any) -> Any:
        a, b = half_of(v, 0), half_of(v, 1)
        return of_eight(where(b > a, b, a))

    return of_eight if form is DOUBLE else of_sixteen


@cache
def adjustment(spec: Spec) -> Any:
    """adjust(z, cap, temperature): cap·tanh(z / cap) / temperature; a cap of 0 is none."""
    form = spec.form
    tanh, number = hyperbolic_tangent(form), form.number

    @device
    def adjust(z: Any, cap: Any, temperature: Any) -> Any:
        if cap > 0.0:
            z = tanh(z / number(cap)) * number(cap)
        return z / number(temperature)

    @device
    def unchanged(z: Any, cap: Any, temperature: Any) -> Any:
        return z

    return adjust if spec.adjusted else unchanged


@cache
def slope_of_adjustment(spec: Spec) -> Any:
    """slope(z, cap, temperature): the derivative of the adjustment, (1 − tanh²(z / cap)) / temperature."""
    form = spec.form
    tanh, number = hyperbolic_tangent(form), form.number
    one, none = number(1), filled(number, form.width)

    @device
    def slope(z: Any, cap: Any, temperature: Any) -> Any:
        inner = none(number(0))
        if cap > 0.0:
            inner = tanh(z / number(cap))
        return (one - inner) * (one + inner) / number(temperature)

    return slope


@cache
def mass(spec: Spec) -> tuple[Any, Any]:
    """mass_at(target, weights, keep, share) and mass_first(…, count): what the target gives each class.

    A class index with label smoothing gives every class its weight; probabilities q give (keep·q + share)·weight.
    """
    number, width = spec.form.number, spec.form.width
    load, load_first = reader(spec.target or "float32", number, width)
    load_weight, load_weight_first = reader(spec.compute, number, width)
    soft, weighted, zero = spec.target != "", spec.spread, number(0)

    @device
    def mass_at(target: Any, weights: Any, keep: Any, share: Any) -> Any:
        if soft:
            q = load(target)
            if weighted:
                q = fma(q, number(keep), number(share)) * load_weight(weights)
            return q
        return load_weight(weights)

    @device
    def mass_first(target: Any, weights: Any, keep: Any, share: Any, count: Any) -> Any:
        if soft:
            q = load_first(target, count, zero)
            if weighted:
                q = fma(q, number(keep), number(share)) * load_weight_first(weights, count, zero)
            return q
        return load_weight_first(weights, count, zero)

    return mass_at, mass_first


def cost(spec: Spec) -> Any:
    """cost_of(block, …) -> (Σ mass·(base − u), Σ mass) in eight float64; a class without mass costs 0."""
    form = spec.form
    number, width = form.number, form.width
    step, target_step = width * SIZE[spec.storage], width * SIZE.get(spec.target, 0)
    weight_step, zero = width * SIZE[spec.compute], number(0)
    load, load_first = reader(spec.storage, number, width)
    (mass_at, mass_first), adjust = mass(spec), adjustment(spec)
    eight, fill = as_eight_doubles(form), filled(number, width)

    @device
    def cost_of(
        here: Any, weights: Any, target: Any, whole: Any, rest: Any, base: Any, cap: Any, temperature: Any,
        keep: Any, share: Any,
    ) -> Any:  # fmt: skip
        below, seen = fill(zero), fill(zero)
        for i in range(whole):
            m = mass_at(target + i * target_step, weights + i * weight_step, keep, share)
            u = adjust(load(here + i * step), cap, temperature)
            below = below + where(m == zero, zero, m * (base - u))
            seen = seen + m
        if rest > 0:
            m = mass_first(target + whole * target_step, weights + whole * weight_step, keep, share, rest)
            u = adjust(load_first(here + whole * step, rest, zero), cap, temperature)
            below = below + where(m == zero, zero, m * (base - u))
            seen = seen + m
        return eight(below), eight(seen)

    return cost_of


def statistics(spec: Spec, keeps: bool = False) -> Any:
    """row_statistics(row, classes, cap, temperature, weights, target, keep, share, kept).

    Returns (top, rest, inverse, cost, mass): `top` in the format computed in, the others in float64; `inverse` is that
    of the frame of the top. For label smoothing and for target probabilities `mass` is the sum of what the target gives
    the classes and `cost` the sum of that times (top − u); otherwise both are 0. Where it `keeps`, the exponentials are
    left at `kept`, as `kept_exponents` says.
    """
    form, costs = spec.form, spec.spread or spec.target != ""
    number, width, size = form.number, form.width, SIZE[spec.storage]
    load, load_first = reader(spec.storage, number, width)
    keep_at, _ = writer(spec.compute, number, width)
    cost_of, weight_size, target_size = cost(spec), SIZE[spec.compute], SIZE.get(spec.target, 0)
    adjust, (frame_of, exp_in, unit) = adjustment(spec), relative(form)
    exp_from, exponents_of = exponential_of_difference(), kept_exponents(spec)
    eight, total_of, largest = as_eight_doubles(form), sum_of_eight(), largest_of(form)
    fill, fill_double = filled(number, width), filled(types.float64, 8)
    zero, lowest = number(0), number(-float("inf"))
    down, lift = 2.0**-form.lift, 2.0**form.lift
    step, kept_step, kept_size, nan = width * size, width * SIZE[spec.compute], SIZE[spec.compute], float("nan")

    @device
    def peak_of(here: Any, whole: Any, rest: Any, cap: Any, temperature: Any) -> Any:
        best = fill(lowest)
        for i in range(whole):
            u = adjust(load(here + i * step), cap, temperature)
            best = where(u > best, u, best)
        if rest > 0:
            u = first_of(rest, adjust(load_first(here + whole * step, rest, zero), cap, temperature), lowest)
            best = where(u > best, u, best)
        return largest(best)

    @device
    def below_top(here: Any, whole: Any, frame: Any, kept: Any, cap: Any, temperature: Any) -> Any:
        # the sum over vectors that hold no largest entry; two at a time, since widening costs as much as adding
        block = fill_double(0.0)
        for pair in range(whole // 2):
            i = 2 * pair
            e = exp_in(adjust(load(here + i * step), cap, temperature), frame)
            f = exp_in(adjust(load(here + (i + 1) * step), cap, temperature), frame)
            if keeps:
                keep_at(kept + i * kept_step, e)
                keep_at(kept + (i + 1) * kept_step, f)
            block = block + eight(e + f)
        if whole & 1 != 0:
            i = whole - 1
            e = exp_in(adjust(load(here + i * step), cap, temperature), frame)
            if keeps:
                keep_at(kept + i * kept_step, e)
            block = block + eight(e)
        return block

    @device
    def around_top(here: Any, whole: Any, frame: Any, base: Any, kept: Any, cap: Any, temperature: Any) -> Any:
        # the same, with the largest entries counted instead
        block, ties, i = fill_double(0.0), 0, 0
        while i < whole:
            u = adjust(load(here + i * step), cap, temperature)
            at_top = u == base
            e = exp_in(u, frame)
            if keeps:
                keep_at(kept + i * kept_step, e)
            part = where(at_top, zero, e)
            ties += count_of(at_top)
            i += 1
            if i < whole:
                u = adjust(load(here + i * step), cap, temperature)
                at_top = u == base
                e = exp_in(u, frame)
                if keeps:
                    keep_at(kept + i * kept_step, e)
                part = part + where(at_top, zero, e)
                ties += count_of(at_top)
                i += 1
            block = block + eight(part)
        return block, ties

    @device
    def row_statistics(
        row: Any, classes: Any, cap: Any, temperature: Any, weights: Any, target: Any, keep: Any, share: Any, kept: Any
    ) -> Any:
        top, known, none = lowest, lowest, fill_double(0.0)
        sums, lost, spreads, seen, ties_so_far = none, none, none, none, 0.0
        frame, inverse, shift, exponent = unit(), 1.0, 0.0, 0.0
        first_shift, first_exponent, start = 0.0, 0.0, 0
        while start < classes:
            length = min(BLOCK, classes - start)
            whole = length // width
            rest = length - whole * width
            here, there = row + start * size, kept + start * kept_size
            # 1. the block's largest entry; what was summed below another top is scaled to the new one
            peak = peak_of(here, whole, rest, cap, temperature)
            if known > peak:
                peak = known
            if peak > top:
                if top > lowest:
                    shrink = exp_from(float(top), float(peak))
                    sums = sums * shrink
                    lost = lost * shrink + fill_double(ties_so_far * lift * shrink * 0.125)
                    if costs:
                        spreads = spreads + seen * (float(peak) - float(top))
                ties_so_far = 0.0
                top = peak
                frame, inverse, _, shift, exponent = frame_of(top)
            # nothing can be measured from −inf: a block that is −inf throughout is measured from 0
            base = top if top > lowest else zero
            # 2. the sum of the block
            ties = 0
            if peak == base:
                block, ties = around_top(here, whole, frame, base, there, cap, temperature)
            else:
                block = below_top(here, whole, frame, there, cap, temperature)
            if rest > 0:
                u = first_of(rest, adjust(load_first(here + whole * step, rest, zero), cap, temperature), lowest)
                at_top, e = u == base, exp_in(u, frame)
                if keeps:
                    keep_at(there + whole * kept_step, e)
                block = block + eight(where(at_top, zero, e))
                ties += count_of(at_top)
            block = block * inverse
            ties_so_far += float(ties)
            if keeps and classes > BLOCK:
                put_double(exponents_of(kept, classes), start // BLOCK, exponent)
            if start == 0:
                sums, first_shift, first_exponent = block, shift, exponent
            else:
                grown = sums + block
                back = grown - sums
                lost = lost + ((sums - (grown - back)) + (block - back))
                sums = grown
            # 3. what a target that is spread over the classes costs
            if costs:
                more, weight = cost_of(
                    here, weights + start * weight_size, target + start * target_size, whole, rest, base, cap,
                    temperature, keep, share,
                )  # fmt: skip
                spreads, seen = spreads + more, seen + weight
            start += length
            # 4. the frames only grow; a row whose first and last are too far apart is read again, from its top
            growth = exponent - first_exponent
            apart = shift != first_shift or growth < 0.0 or growth > _GROWN
            if apart and start >= classes and known == lowest:
                known, top, start = top, lowest, 0
                lost, spreads, seen = none, none, none
        below = total_of(sums) * down
        if classes > BLOCK:
            below += total_of(lost) * down
        below += ties_so_far - 1.0
        if top == lowest or top == -lowest:
            below = nan
        if costs:
            return top, below, inverse, total_of(spreads), total_of(seen)
        return top, below, inverse, 0.0, 0.0

    return row_statistics


@cache
def kept_exponents(spec: Spec) -> Any:
    """exponents_of(kept, classes): where `statistics` leaves the exponent of each block's frame, in float64.

    Before them, at `kept`, stand the exponentials in the format computed in, whole vectors to the end of the row.
    """
    width, size = spec.form.width, SIZE[spec.compute]

    @device
    def exponents_of(kept: Any, classes: Any) -> Any:
        return kept + -(-classes // width) * (width * size)

    return exponents_of


@cache
def rescaled(spec: Spec) -> Any:
    """ratio_of(kept, classes, block): what the exponentials of a block are multiplied by to be in the last frame."""
    form = spec.form
    exponents_of = kept_exponents(spec)
    fill, mantissa, one = filled(form.integer, form.width), form.integer(form.mantissa), filled(form.number, form.width)

    @device
    def ratio_of(kept: Any, classes: Any, block: Any) -> Any:
        if block == (classes - 1) // BLOCK:
            return one(form.number(1))
        exponents = exponents_of(kept, classes)
        grown = double_at(exponents, (classes - 1) // BLOCK) - double_at(exponents, block)
        return bits(fill(form.integer(form.bias - int(grown))) << mantissa)

    return ratio_of


@device
def next_task(words: Any, task: Any) -> Any:
    """The number of the next task: from the counter that the threads share, or the one after `task` without it."""
    counter = integer_at(words, 0)
    if counter != 0:
        return take_ticket(counter)
    return task + 1


@device
def next_thread(words: Any) -> Any:
    """The number of the thread that asks; it stands behind the counter of the tasks."""
    counter = integer_at(words, 0)
    return take_ticket(counter + 8) if counter != 0 else 0


@device
def rows_named(words: Any) -> Any:
    """(tasks, rows, rows per task, classes, logits, row stride in bytes): how the words of a softmax-like kernel begin.

    Word 0 is the counter of the tasks.
    """
    return (
        integer_at(words, 1), integer_at(words, 2), integer_at(words, 3), integer_at(words, 4), integer_at(words, 5),
        integer_at(words, 6),
    )  # fmt: skip


@device
def loss_named(words: Any) -> Any:
    """(targets, class weights that are spread, saved, share, keep, z-loss, cap, temperature) of a cross-entropy."""
    return (
        integer_at(words, 7), integer_at(words, 12), integer_at(words, 13), double_at(words, 20), double_at(words, 21),
        double_at(words, 22), double_at(words, 23), double_at(words, 24),
    )  # fmt: skip
