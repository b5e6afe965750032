"""Taking times so that only ratios within one run have to be believed: in turn, medians, with quartiles."""

import gc
import random
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

_SHORTEST = 2e-3  # seconds; shorter work is repeated within one reading of the clock
_MOST_ROUNDS = 400
_LONG, _FEWEST = 60.0, 3  # seconds of a round, from which on so few have to do


class Seconds(NamedTuple):
    """Of one step."""

    median: float
    low: float  # first quartile
    high: float  # third quartile
    rounds: int


def interleaved(
    steps: dict[str, Callable[[], object]],
    seconds: float,
    synchronise: Callable[[], None] = lambda: None,
    *,
    least: int = 5,
) -> dict[str, Seconds]:
    """Run every step in turn, round after round, in another order each time: who runs after whom changes times too.

    Args:
        steps: The work by name; each has run once before.
        seconds: How long to go on.
        synchronise: Waits until the work is done.
        least: Rounds that are made in any case; 3 where a round takes more than a minute.
    """
    repeats = {name: _repeats(step, synchronise) for name, step in steps.items()}
    taken: dict[str, list[float]] = {name: [] for name in steps}
    names, dice = list(steps), random.Random(0)  # noqa: S311 - an order, not a secret
    gc.collect()
    gc.disable()
    try:
        started = time.perf_counter()
        for number in range(_MOST_ROUNDS):
            spent = time.perf_counter() - started
            if spent > seconds and number >= (min(least, _FEWEST) if spent > number * _LONG else least):
                break
            dice.shuffle(names)
            for name in names:
                taken[name].append(_one(steps[name], repeats[name], synchronise))
    finally:
        gc.enable()
    return {name: summary(values) for name, values in taken.items()}


def summary(values: list[float]) -> Seconds:
    """Median and quartiles.

    >>> summary([1.0, 2.0, 3.0, 4.0, 5.0])
    Seconds(median=3.0, low=2.0, high=4.0, rounds=5)
    """
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Seconds(median, low, high, len(values))


def _repeats(step: Callable[[], object], synchronise: Callable[[], None]) -> int:
    """As many as make the work long enough for the clock, by the quickest of a few tries: the first may be slow."""
    tries = [_one(step, 1, synchronise)]
    while len(tries) < 5 and sum(tries) < 10 * _SHORTEST:
        tries.append(_one(step, 1, synchronise))
    return max(1, round(_SHORTEST / max(min(tries), 1e-7)))


def _one(step: Callable[[], object], repeats: int, synchronise: Callable[[], None]) -> float:
    synchronise()
    started = time.perf_counter()
    for _ in range(repeats):
        step()
    synchronise()
    return (time.perf_counter() - started) / repeats
