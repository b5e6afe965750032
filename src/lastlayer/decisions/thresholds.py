"""From which probability on the answer is yes: found for a metric, over every threshold that makes a difference.

Source: Lipton et al. 2014, arXiv:1402.1892 (thresholds for F1, macro and micro); van Rijsbergen 1979 (F-measure).
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lastlayer.decisions._rows import check_probabilities, check_yes_or_no, folds_of
from lastlayer.errors import OptionError, ShapeError, did_you_mean

METRICS = ("f1", "f0.5", "f2", "accuracy", "balanced_accuracy", "mcc", "precision@recall=0.9", "recall@precision=0.9",
           "cost=1:5")  # fmt: skip
_FOLDS = 5
_WORDS = ("f1", "accuracy", "balanced_accuracy", "mcc", "precision@recall", "recall@precision", "cost")


@dataclass(frozen=True)
class Threshold:
    """A threshold that was chosen for a metric.

    Attributes:
        threshold: Yes where the probability lies above it, in [0, 1].
        metric: What it was chosen for.
        score: The metric of the rows that it was chosen on; a cost is a mean per row.
        held_out: The metric of rows that the choice had not seen, each at the threshold of the others: what to expect
            of new rows. NaN where there are too few.
        at_half: The metric of the same rows at 0.5.
        reached: False where no threshold has the recall or precision that was asked for; then this one comes nearest.
    """

    threshold: float
    metric: str
    score: float
    held_out: float
    at_half: float
    reached: bool = True


@dataclass(frozen=True)
class _Counts:
    """Weights of the rows called yes, by what they are, at each of several cuts; and of all rows."""

    hits: Tensor
    alarms: Tensor
    yes: Tensor
    no: Tensor

    @property
    def recall(self) -> Tensor:
        return self.hits / self.yes

    @property
    def precision(self) -> Tensor:
        return torch.nan_to_num(self.hits / (self.hits + self.alarms), nan=0.0)  # nobody called yes: 0


_Score = Callable[[_Counts], Tensor]


@dataclass(frozen=True)
class _Aim:
    """A metric to be as large as it can, and a floor that another one may not fall below."""

    score: _Score
    floor: tuple[_Score, float] | None = None
    sign: int = 1  # −1: the metric is shown the other way round, as a cost


def best_threshold(
    p: Float[Tensor, " rows"],
    target: Int[Tensor, " rows"],
    metric: str = "f1",
    *,
    row_weight: Float[Tensor, " rows"] | None = None,
) -> Threshold:
    """Find the threshold with the best value of a metric, over all different probabilities.

    Between two neighbouring probabilities every threshold decides alike; the one in the middle is taken, 0.5 where it
    lies between them. Of several equally good cuts the nearest to 0.5 is taken.

    Args:
        p: Probabilities of yes, of rows that the model was not trained on.
        target: 0 or 1.
        metric: "f1", "f2" or another beta, "accuracy", "balanced_accuracy", "mcc", "precision@recall=0.9" (the best
            precision with a recall of at least 0.9), "recall@precision=0.9", or "cost=A:B" (least mean cost, where a
            false yes costs A and a false no B).
        row_weight: How much each row counts, such as `reprior_weights`.

    Returns:
        The threshold with its score; 0.5 where the metric is the same, or undefined, at every cut.

    Raises:
        OptionError: a metric that there is not (the message names the nearest).
        ProbabilityError: a value of `p` outside [0, 1].

    >>> p = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.9])
    >>> found = best_threshold(p, torch.tensor([0, 0, 1, 1, 1]), "f1")
    >>> round(found.threshold, 6), found.score, round(found.at_half, 6)
    (0.25, 1.0, 0.5)
    """
    aim = _aim(metric)
    if p.dim() != 1 or target.shape != p.shape:
        raise ShapeError(f"expected p and target of one shape (rows,), got {tuple(p.shape)} and {tuple(target.shape)}.")
    check_probabilities(p)
    check_yes_or_no(target)
    q, answer = p.detach().double(), target.double()
    weight = torch.ones_like(q) if row_weight is None else row_weight.detach().double()
    threshold, score, reached = _best(q, answer, weight, aim)
    half = _at(q > 0.5, answer, weight, aim)
    return Threshold(threshold, metric, score, _held_out(q, answer, weight, aim), half, reached)


def best_thresholds(
    p: Float[Tensor, "rows labels"],
    target: Int[Tensor, "rows labels"],
    metric: str = "f1",
    *,
    row_weight: Float[Tensor, "rows labels"] | None = None,
) -> tuple[Threshold, ...]:
    """Find a threshold per label: what is best for the mean of the metric over the labels (macro).

    For a metric of all labels together (micro) one threshold serves all: `best_threshold` of the flattened `p`.

    >>> p = torch.tensor([[0.1, 0.6], [0.2, 0.7], [0.3, 0.8]])
    >>> found = best_thresholds(p, torch.tensor([[0, 0], [1, 0], [1, 1]]))
    >>> [round(label.threshold, 6) for label in found]
    [0.15, 0.75]
    """
    if p.dim() != 2 or target.shape != p.shape:
        raise ShapeError(
            f"expected p and target of one shape (rows, labels), got {tuple(p.shape)} and {tuple(target.shape)}."
        )
    weights = [None] * p.shape[1] if row_weight is None else row_weight.unbind(1)
    return tuple(
        best_threshold(p[:, label], target[:, label], metric, row_weight=weights[label]) for label in range(p.shape[1])
    )


def check_metric(metric: str) -> None:
    """Refuse a metric that no threshold can be chosen for."""
    _aim(metric)


def _best(p: Tensor, answer: Tensor, weight: Tensor, aim: _Aim) -> tuple[float, float, bool]:
    """The threshold, its score, and whether the floor is kept."""
    if len(p) == 0:
        return 0.5, math.nan, True
    low, high, counts = _cuts(p, answer, weight)
    score = aim.score(counts)
    second = torch.zeros_like(score)
    reached = True
    if aim.floor is not None:
        side, floor = aim.floor
        second = side(counts)
        fine = second >= floor
        reached = bool(fine.any())
        # out of reach: as near to the floor as there is
        score, second = (score.where(fine, -torch.inf), second) if reached else (second, score)
    place = torch.where((low <= 0.5) & (high > 0.5), 0.5, _between(low, high))
    best = score == torch.where(score.isnan(), -torch.inf, score).max()
    best &= second == second[best].max() if bool(best.any()) else False
    if not bool(best.any()):
        return 0.5, math.nan, reached
    away = torch.where(best, (place - 0.5).abs(), torch.inf)
    chosen = int(away.argmin())
    return float(place[chosen]), aim.sign * float(aim.score(counts)[chosen]), reached


def _cuts(p: Tensor, answer: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, _Counts]:
    """Every way to cut the rows in two by p: yes where p ≥ high, no where p ≤ low."""
    order = p.argsort(descending=True)
    q = p[order]
    last = torch.cat([q[1:] != q[:-1], torch.ones(1, dtype=torch.bool, device=q.device)])  # of equal probabilities
    hits = (weight * answer)[order].cumsum(0)
    alarms = (weight * (1 - answer))[order].cumsum(0)
    zero, distinct = q.new_zeros(1), q[last]
    counts = _Counts(torch.cat([zero, hits[last]]), torch.cat([zero, alarms[last]]), hits[-1], alarms[-1])
    high = torch.cat([torch.ones_like(zero), distinct])  # nobody yes, then down to everybody
    low = torch.cat([distinct, zero])
    if float(distinct[-1]) == 0:  # a probability of 0 lies above no threshold
        keep = slice(0, len(high) - 1)
        counts = _Counts(counts.hits[keep], counts.alarms[keep], counts.yes, counts.no)
        high, low = high[keep], low[keep]
    return low, high, counts


def _between(low: Tensor, high: Tensor) -> Tensor:
    """The middle; where rounding leaves none, the lower end, which is no yes itself."""
    middle = low + (high - low) / 2
    return torch.where(middle < high, middle, low)


def _at(called: Tensor, answer: Tensor, weight: Tensor, aim: _Aim) -> float:
    """The metric of these answers."""
    counts = _Counts(
        (weight * answer * called).sum(),
        (weight * (1 - answer) * called).sum(),
        (weight * answer).sum(),
        (weight * (1 - answer)).sum(),
    )
    return aim.sign * float(aim.score(counts))


def _held_out(p: Tensor, answer: Tensor, weight: Tensor, aim: _Aim) -> float:
    if len(p) < 2 * _FOLDS:
        return math.nan
    fold = folds_of(answer.unsqueeze(1), _FOLDS).squeeze(1)
    called = torch.zeros_like(p, dtype=torch.bool)
    for part in range(_FOLDS):
        held = fold == part
        called[held] = p[held] > _best(p[~held], answer[~held], weight[~held], aim)[0]
    return _at(called, answer, weight, aim)


def _aim(metric: str) -> _Aim:
    name, _, level = metric.partition("=")
    if found := re.fullmatch(r"f(\d+(?:\.\d+)?)", metric):
        return _Aim(_f_beta(float(found[1])))
    if metric in _PLAIN:
        return _Aim(_PLAIN[metric])
    if name == "cost" and (found := re.fullmatch(r"(\d+(?:\.\d+)?):(\d+(?:\.\d+)?)", level)):
        alarm, miss = float(found[1]), float(found[2])
        return _Aim(lambda c: -(alarm * c.alarms + miss * (c.yes - c.hits)) / (c.yes + c.no), sign=-1)
    if name in _WITH_FLOOR and (found := re.fullmatch(r"0?\.\d+|1(?:\.0*)?", level)):
        score, side = _WITH_FLOOR[name]
        return _Aim(score, (side, float(level)))
    raise OptionError(
        f"there is no metric {metric!r} to choose a threshold for.{did_you_mean(name, _WORDS)} Examples: "
        f"{', '.join(METRICS)}."
    )


def _f_beta(beta: float) -> _Score:
    square = beta * beta

    def score(c: _Counts) -> Tensor:
        all_called = square * c.yes + c.hits + c.alarms
        return torch.where(all_called > 0, (1 + square) * c.hits / all_called, torch.zeros_like(c.hits))

    return score


def _accuracy(c: _Counts) -> Tensor:
    return (c.hits + c.no - c.alarms) / (c.yes + c.no)


def _balanced(c: _Counts) -> Tensor:
    return (c.hits / c.yes + 1 - c.alarms / c.no) / 2


def _matthews(c: _Counts) -> Tensor:
    called = c.hits + c.alarms
    rest = c.yes + c.no - called
    size = (called * rest * c.yes * c.no).sqrt()
    return torch.nan_to_num((c.hits * (c.no - c.alarms) - c.alarms * (c.yes - c.hits)) / size, nan=0.0)


_PLAIN: dict[str, _Score] = {"accuracy": _accuracy, "balanced_accuracy": _balanced, "mcc": _matthews}
_WITH_FLOOR: dict[str, tuple[_Score, _Score]] = {
    "precision@recall": (lambda c: c.precision, lambda c: c.recall),
    "recall@precision": (lambda c: c.recall, lambda c: c.precision),
}
