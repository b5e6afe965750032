"""Sets of classes that hold the true one as often as was asked for, whatever the model is worth: split conformal.

A score says how ill a class fits a row. The limit is so chosen on rows that the model has not seen that a new row's
true class stays within it with at least the probability asked for. That holds for every model and every number of
rows, on average over calibration rows, as long as new rows come from where those came from.

Source: Vovk, Gammerman & Shafer 2005; Sadinle, Lei & Wasserman 2019 (LAC); Romano, Sesia & Candès 2020,
arXiv:2006.02544 (APS); Angelopoulos et al. 2021, arXiv:2009.14193 (RAPS); Podkopaev & Ramdas 2021, arXiv:2103.03323
(other shares of classes).
"""

import math
from bisect import bisect_left
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lastlayer.decisions.intervals import Interval, share_interval
from lastlayer.errors import OptionError, ShapeError

Score = Literal["lac", "aps"]
SCORES: tuple[Score, ...] = ("lac", "aps")


def set_scores(
    log_p: Float[Tensor, "rows classes"],
    score: Score = "lac",
    *,
    penalty: float = 0.0,
    free: int = 1,
    random: torch.Generator | None = None,
) -> Float[Tensor, "rows classes"]:
    """How ill each class fits each row.

    Args:
        log_p: Log-probabilities in nats.
        score: "lac": the surprise −log p. It makes the smallest sets on average and meets the coverage as it is asked
            for, for which a model that is right more often than that pays with empty sets. "aps": the probability of
            all classes that are more probable. It makes sets that are larger where rows are harder, and none is
            empty: the most probable class is in each, so that they cover at least as much as the model is right.
        penalty: Of "aps": added for every rank beyond `free`, which keeps long tails out (RAPS).
        free: Ranks without a penalty.
        random: Of "aps": draws a part of the class's own probability that counts too, so that coverage is met and not
            exceeded; sets may then be empty, and the same row has other sets on other days. None counts nothing of it.

    Returns:
        float64, lower fits better.

    >>> log_p = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64).log()
    >>> set_scores(log_p, "aps")
    tensor([[0.0000, 0.5000, 0.8000]], dtype=torch.float64)
    """
    if score not in SCORES:
        raise OptionError(f"the score of a set has to be one of {', '.join(SCORES)}, got {score!r}.")
    if penalty < 0 or free < 0:
        raise OptionError(f"penalty and free have to be 0 or more, got {penalty} and {free}.")
    surprise = -log_p.detach().double()
    if score == "lac":
        return surprise
    p = (-surprise).exp()
    ordered, order = p.sort(dim=1, descending=True, stable=True)
    total = (ordered.cumsum(1) - ordered).clamp_min(0)
    if random is not None:
        total = total + torch.rand(len(p), 1, generator=random, dtype=torch.float64) * ordered
    ranks = torch.arange(1, p.shape[1] + 1, dtype=torch.float64, device=p.device)
    total = total + penalty * (ranks - free).clamp_min(0)
    return torch.empty_like(total).scatter_(1, order, total)


def conformal_limit(scores: Float[Tensor, " rows"], coverage: float) -> float:
    """The ⌈(rows + 1) · coverage⌉-th smallest score; ∞ where there are too few rows to promise that much.

    Args:
        scores: Of the true class of each row that was held back.
        coverage: In (0, 1), read as the decimal number it is written as, so that 10 · 0.9 is 9.

    >>> conformal_limit(torch.arange(1.0, 10.0), 0.9), conformal_limit(torch.arange(1.0, 9.0), 0.9)
    (9.0, inf)

    Source: Vovk et al. 2005; Lei et al. 2018 (the finite-sample quantile).
    """
    share = check_coverage(coverage)
    place = math.ceil((len(scores) + 1) * share)
    return math.inf if place > len(scores) else float(scores.detach().double().sort().values[place - 1])


def set_limits(
    scores: Float[Tensor, "rows classes"],
    target: Int[Tensor, "rows *labels"],
    coverage: float,
    *,
    per_class: bool = False,
    class_weight: Float[Tensor, " classes"] | None = None,
) -> Float[Tensor, " classes"]:
    """Fit the limit of each class: a class is in the set of a row where its score does not exceed it.

    Args:
        scores: Of every class of each row that was held back, `set_scores`.
        target: Class indices. Or 0 or 1 per label: each label gets the limit of the rows that have it, so that of
            those rows the share `coverage` has it in its set, label by label; nothing is promised of all labels of a
            row together.
        coverage: In (0, 1).
        per_class: Promise the coverage to the rows of each class, and not only to all of them together: each gets the
            limit of its own rows.
        class_weight: How many times more frequent each class will be than in these rows (π'_c / π_c), where the
            shares change; rows then count as much as their class will.

    Returns:
        (classes), float64; ∞ for a class that has too few rows to promise anything: it is in every set.

    Raises:
        OptionError: a coverage outside (0, 1).
        ShapeError: scores and target of different rows.

    >>> scores = torch.tensor([[0.1, 2.0], [0.4, 1.0], [3.0, 0.2]])
    >>> set_limits(scores, torch.tensor([0, 0, 1]), 0.5)  # the second smallest of 0.1, 0.4 and 0.2
    tensor([0.2000, 0.2000], dtype=torch.float64)
    """
    if scores.dim() != 2 or target.shape not in (scores.shape, scores.shape[:1]):
        raise ShapeError(
            "expected scores (rows, classes) with a class index per row or 0 or 1 per label, got "
            f"{tuple(scores.shape)} and {tuple(target.shape)}."
        )
    check_coverage(coverage)
    found, classes = scores.detach().double().cpu(), scores.shape[1]
    answer = target.cpu()
    if answer.dim() == 2 or per_class:
        mine = answer == 1 if answer.dim() == 2 else answer.unsqueeze(1) == torch.arange(classes)
        limits = [conformal_limit(found[mine[:, index], index], coverage) for index in range(classes)]
        return torch.tensor(limits, dtype=torch.float64)
    own = found.gather(1, answer.unsqueeze(1)).squeeze(1)
    if class_weight is None:
        return torch.full((classes,), conformal_limit(own, coverage), dtype=torch.float64)
    return _weighted_limits(own, answer, coverage, class_weight.detach().double().cpu())


def _weighted_limits(own: Tensor, target: Tensor, coverage: float, weight: Tensor) -> Tensor:
    """Per class: the smallest score below which lies the share asked for, a new row of that class counted at ∞."""
    share = check_coverage(coverage)
    ordered, order = own.sort()
    reached = weight[target][order].cumsum(0).tolist()
    total = Fraction(reached[-1]) if reached else Fraction(0)
    places = [bisect_left(reached, share * (total + Fraction(each))) for each in weight.tolist()]  # exact, as decimals
    padded = torch.cat([ordered, torch.tensor([math.inf], dtype=torch.float64)])
    return padded[places]


def check_coverage(coverage: float) -> Fraction:
    """Refuse a coverage that no set can have."""
    if not 0 < coverage < 1:
        raise OptionError(
            f"coverage has to lie between 0 and 1, such as 0.9, got {coverage}. To be always right, name every class."
        )
    return Fraction(repr(float(coverage)))


@dataclass(frozen=True)
class Coverage:
    """How often sets held the truth, with Wilson's intervals.

    Attributes:
        total: Of all rows; of labels, of all labels that hold.
        per_class: Of the rows of each class; NaN for a class without rows.
        rows: Of each class.
        size: Mean number of classes in a set.
        empty: Share of the rows whose set is empty.
        single: Share of the rows whose set is one class.
    """

    total: Interval
    per_class: tuple[Interval, ...]
    rows: tuple[int, ...]
    size: float
    empty: float
    single: float


def measured_coverage(sets: Bool[Tensor, "rows classes"], target: Int[Tensor, "rows *labels"]) -> Coverage:
    """Count how often the true class, or each label that holds, is in the set.

    >>> sets = torch.tensor([[True, False], [True, True], [False, False], [False, True]])
    >>> found = measured_coverage(sets, torch.tensor([0, 1, 1, 1]))
    >>> found.total.value, [each.value for each in found.per_class], found.size, found.empty
    (0.75, [1.0, 0.6666666666666666], 1.0, 0.25)
    """
    classes = sets.shape[1]
    mine = target == 1 if target.dim() == 2 else target.unsqueeze(1) == torch.arange(classes, device=target.device)
    rows, hits = mine.sum(0).tolist(), (mine & sets).sum(0).tolist()
    sizes = sets.sum(1)
    return Coverage(
        share_interval(sum(hits), sum(rows)),
        tuple(share_interval(hit, count) for hit, count in zip(hits, rows, strict=True)),
        tuple(rows),
        float(sizes.double().mean()),
        float((sizes == 0).double().mean()),
        float((sizes == 1).double().mean()),
    )
