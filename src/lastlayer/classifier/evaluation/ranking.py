"""Scores of an order: AUROC and average precision, with what each row does to them.

A score is a function of the weights of the rows. Its derivatives at equal weights, one per row, give its standard error
(the infinitesimal jackknife); for AUROC that is DeLong's. Two models on the same rows are compared by the difference of
their derivatives.

Source: DeLong et al. 1988; Efron & Stein 1981.
"""

from typing import NamedTuple

import numpy as np

MOST = 200_000_000  # rows × classes; to sort more would take minutes


class Ranked(NamedTuple):
    """A score and its derivative by the weight of each row; NaN and zeros where it is undefined."""

    value: float
    influence: np.ndarray


def auroc(score: np.ndarray, truth: np.ndarray) -> Ranked:
    """The probability that a row with the class stands above one without it; ties count half.

    Args:
        score: (rows), greater for the class.
        truth: (rows) of bool.

    >>> auroc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True])).value
    0.75
    """
    yes, no = score[truth], score[~truth]
    influence = np.zeros(len(score))
    if not len(yes) or not len(no):
        return Ranked(np.nan, influence)
    below = _share_below(no, yes)
    above = 1 - _share_below(yes, no)
    value = float(below.mean())
    influence[truth] = (below - value) / len(yes)
    influence[~truth] = (above - value) / len(no)
    return Ranked(value, influence)


def _share_below(pool: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The share of `pool` below each point, equal ones counted half."""
    pool = np.sort(pool)
    return (np.searchsorted(pool, points, "left") + np.searchsorted(pool, points, "right")) / (2 * len(pool))


def average_precision(score: np.ndarray, truth: np.ndarray) -> Ranked:
    """The mean over rows with the class of the precision among all rows that score at least as high.

    >>> round(average_precision(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True])).value, 4)
    0.8333
    """
    influence = np.zeros(len(score))
    positives = int(truth.sum())
    if not positives:
        return Ranked(np.nan, influence)
    order = np.argsort(-score, kind="stable")
    ranked, yes = score[order], truth[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    sizes = np.diff(np.r_[starts, len(ranked)])
    at_least = np.repeat(starts + sizes, sizes).astype(np.float64)  # rows that score as high or higher
    hits = np.cumsum(yes)[at_least.astype(int) - 1]
    precision = hits / at_least
    value = float(precision[yes].mean())
    gain = _from_below(np.where(yes, 1 / at_least, 0), starts, sizes)
    cost = _from_below(np.where(yes, hits / at_least**2, 0), starts, sizes)
    influence[order] = (np.where(yes, precision - value + gain, 0) - cost) / positives
    return Ranked(value, influence)


def _from_below(values: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """For each row, the sum over the rows that score as high or lower."""
    from_here = np.cumsum(values[::-1])[::-1]
    return np.repeat(from_here[starts], sizes)


def mean(found: list[Ranked], rows: int) -> Ranked:
    """The mean over the classes for which the score is defined."""
    there = [each for each in found if not np.isnan(each.value)]
    if not there:
        return Ranked(np.nan, np.zeros(rows))
    influence = np.zeros(rows)
    for each in there:
        influence += each.influence
    return Ranked(float(np.mean([each.value for each in there])), influence / len(there))
