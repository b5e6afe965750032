"""How far a score may lie from its value: every score from the same samples, drawn with replacement."""

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from lastlayer.classifier.extras import need
from lastlayer.decisions import Interval

# Samples for an interval, fewer where there are so many rows that more numbers would be drawn.
_SAMPLES, _LEAST, _DRAWN = 1_000, 100, 20_000_000
_HELD = 500_000  # numbers worked on at a time: about what a cache holds (1.6 times faster than 2 million)
_DENSE = 0.05  # share of numbers that are not 0 from which a dense product is faster
_QUANTILE = 1.959964  # of the normal distribution, for 95 %

Scores = dict[str, np.ndarray]


class Sums:
    """Numbers of each row whose sums over rows make scores, so that a sample costs one sparse product.

    Args:
        rows: How many.
        parts: Name to a matrix (numbers, rows), dense or sparse.
    """

    def __init__(self, rows: int, parts: Mapping[str, object]) -> None:
        sparse = need("scipy.sparse")
        blocks = {
            name: sparse.csr_matrix(np.atleast_2d(part) if isinstance(part, np.ndarray) else part)
            for name, part in parts.items()
        }
        ends = np.cumsum([block.shape[0] for block in blocks.values()])
        self.rows = rows
        self.width = int(ends[-1])
        self.places = {
            name: slice(int(end) - block.shape[0], int(end))
            for (name, block), end in zip(blocks.items(), ends, strict=True)
        }
        stacked = sparse.vstack(list(blocks.values()), format="csr")
        self.matrix = stacked.toarray() if stacked.nnz > _DENSE * self.width * rows else stacked

    def of(self, weights: np.ndarray) -> Scores:
        """The sums (numbers, samples) of rows that count as often as `weights` (rows, samples) says."""
        totals = self.matrix @ weights
        return {name: totals[place] for name, place in self.places.items()}


def one_hot(index: np.ndarray, classes: int, values: np.ndarray | None = None) -> object:
    """A sparse matrix (classes, rows) with 1, or the value of the row, at the row's index."""
    data = np.ones(len(index)) if values is None else values
    return need("scipy.sparse").csr_matrix((data, (index, np.arange(len(index)))), shape=(classes, len(index)))


def samples(rows: int, width: int = 0) -> Iterator[np.ndarray]:
    """Weights (rows, samples) of samples with replacement, some at a time; `width` more numbers are held per sample."""
    random = np.random.default_rng(0)
    left = max(_LEAST, min(_SAMPLES, _DRAWN // max(rows, 1)))
    held = max(1, _HELD // (rows + width))
    while left > 0:
        size = min(held, left)
        places = random.integers(0, rows, (rows, size))
        places *= size
        places += np.arange(size)
        yield np.bincount(places.ravel(), minlength=rows * size).reshape(rows, size).astype(np.float64)
        left -= size


def bootstrap(rows: int, width: int, scores: Callable[[np.ndarray], Scores]) -> Scores:
    """Every score of every sample: name to (samples)."""
    found = [scores(weights) for weights in samples(rows, width)]
    return {name: np.concatenate([each[name] for each in found]) for name in found[0]}


def between(drawn: np.ndarray) -> tuple[float, float]:
    """Where 95 of 100 samples lie, of those in which the score is defined."""
    there = drawn[~np.isnan(drawn)]
    if not len(there):
        return math.nan, math.nan
    low, high = np.percentile(there, [2.5, 97.5]).tolist()
    return low, high


def spread_of(influence: np.ndarray) -> float:
    """The standard error of a score from what each row's weight does to it (the infinitesimal jackknife)."""
    return float(np.sqrt(np.square(influence).sum()))


def within_unit(value: float, error: float) -> Interval:
    """An interval of a score in [0, 1], symmetric in its log-odds."""
    if math.isnan(value) or not 0 < value < 1 or error == 0:
        return Interval(value, value, value)
    centre, half = math.log(value / (1 - value)), _QUANTILE * error / (value * (1 - value))
    low, high = (float(np.exp(-np.logaddexp(0, -end))) for end in (centre - half, centre + half))
    return Interval(value, low, high)


def around(value: float, error: float) -> Interval:
    """A normal interval."""
    return Interval(value, value - _QUANTILE * error, value + _QUANTILE * error)
