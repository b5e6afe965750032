"""Which of two models is better on the same rows: paired, so that rows that are hard for both do not blur it."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from lastlayer.classifier.data.rows import examples, plural
from lastlayer.classifier.evaluation.intervals import around, between, spread_of
from lastlayer.classifier.evaluation.judged import JudgedRows
from lastlayer.classifier.evaluation.scores import ORDER, score
from lastlayer.classifier.extras import need
from lastlayer.classifier.task import Task
from lastlayer.decisions import Interval
from lastlayer.errors import DataError

LOWER_IS_BETTER = ("log_loss", "brier", "hamming_loss", "ece", "ece_equal_mass", "aurc")
_NAMED = 5


@dataclass(frozen=True)
class Difference:
    """One score of two models, and the first minus the second with its 95 % interval.

    Attributes:
        first: Of the first model.
        second: Of the second.
        difference: NaN where either is undefined.
        better: "first" or "second" where the interval excludes 0, else "neither".
    """

    first: float
    second: float
    difference: Interval
    better: str


@dataclass(frozen=True)
class Changed:
    """A row that the two models answer differently."""

    name: str
    target: str
    first: str
    second: str
    first_loss: float
    second_loss: float
    right: str  # "first", "second" or "neither"


@dataclass(frozen=True)
class Comparison:
    """Two models on the same rows.

    Attributes:
        first: What the first is called.
        second: What it is compared with.
        rows: How many.
        scores: By name.
        only_first: Rows that only the first answers right.
        only_second: Rows that only the second does.
        p_value: McNemar's: how often as lopsided a count would come of two equally good models; exact, two-sided.
        changed: The rows with different answers, by how much their losses differ.
    """

    first: str
    second: str
    rows: int
    scores: dict[str, Difference]
    only_first: int
    only_second: int
    p_value: float
    changed: tuple[Changed, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON; what is undefined is None."""
        plain = asdict(self)
        for found in plain["scores"].values():
            for part in (found, found["difference"]):
                part.update({
                    end: None for end, value in part.items() if isinstance(value, float) and math.isnan(value)
                })  # fmt: skip
        return plain


def compare(first: JudgedRows, second: JudgedRows, names: tuple[str, str] = ("first", "second")) -> Comparison:
    """Compare two models by the rows that both were judged on.

    Args:
        first: Rows and what one model said of them.
        second: The same rows, by name and truth, in any order, and what another model said.
        names: What to call the two.

    Returns:
        The difference of every score, first minus second, from samples that draw the same rows for both.

    Raises:
        DataError: the rows, their classes, or the tasks are not the same; the message says which are missing where.

    Source: McNemar 1947; DeLong et al. 1988 (AUROC).
    """
    first, second = _alike(first, second, names)
    both = [score(first), score(second)]
    scores: dict[str, Difference] = {}
    for name in ORDER:
        if name in both[0].values:
            mine, theirs = (each.values[name] for each in both)
            low, high = between(both[0].drawn[name] - both[1].drawn[name])
            gap = Interval(mine - theirs, low, high)
        elif name in both[0].ranked:
            (mine, by_mine), (theirs, by_theirs) = (each.ranked[name] for each in both)
            gap = around(mine - theirs, spread_of(by_mine - by_theirs))
        else:
            continue
        scores[name] = Difference(mine, theirs, gap, _better(gap, name))
    only_first = int((first.correct & ~second.correct).sum())
    only_second = int((second.correct & ~first.correct).sum())
    return Comparison(
        names[0], names[1], len(first), scores, only_first, only_second, mcnemar(only_first, only_second),
        _changed(first, second),
    )  # fmt: skip


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact two-sided p-value of two equally good models differing so lopsidedly.

    >>> round(mcnemar(9, 1), 4), mcnemar(0, 0)
    (0.0215, 1.0)
    """
    together = only_first + only_second
    return float(need("scipy.stats").binomtest(only_first, together).pvalue) if together else 1.0


def _better(gap: Interval, name: str) -> str:
    if math.isnan(gap.low) or gap.low <= 0 <= gap.high:
        return "neither"
    return "first" if (gap.value < 0) == (name in LOWER_IS_BETTER) else "second"


def _changed(first: JudgedRows, second: JudgedRows) -> tuple[Changed, ...]:
    differs = first.predicted != second.predicted
    rows = np.flatnonzero(differs.any(1) if first.several else differs)
    gap = np.abs(first.loss - second.loss)
    spelled = first.task.spelled
    return tuple(
        Changed(
            first.names[row],
            spelled(torch.from_numpy(np.atleast_1d(first.truth[row]))),
            spelled(torch.from_numpy(np.atleast_1d(first.predicted[row]))),
            spelled(torch.from_numpy(np.atleast_1d(second.predicted[row]))),
            float(first.loss[row]),
            float(second.loss[row]),
            "first" if first.correct[row] else "second" if second.correct[row] else "neither",
        )
        for row in sorted(rows.tolist(), key=lambda row: -gap[row])
    )


def _alike(first: JudgedRows, second: JudgedRows, names: tuple[str, str]) -> tuple[JudgedRows, JudgedRows]:
    """Both with their rows and classes in the order of the first."""
    _same_task(first.task, second.task, names)
    _same_rows(first.names, second.names, names)
    place = {name: row for row, name in enumerate(second.names)}
    second = _in_order(second, [place[name] for name in first.names], first.task)
    differs = np.flatnonzero((first.truth != second.truth).reshape(len(first), -1).any(1)).tolist()
    if differs:
        named = [first.names[row] for row in differs]
        raise DataError(
            f"the two runs were judged on other truths: {plural(len(differs), 'row')} of the same name "
            f"{'has' if len(differs) == 1 else 'have'} another class ({examples(named, _NAMED)}). Judge both on the "
            f"same data."
        )
    return first, second


def _same_task(first: Task, second: Task, names: tuple[str, str]) -> None:
    if first.kind != second.kind:
        raise DataError(
            f"{names[0]} is {first.kind} and {names[1]} is {second.kind}: their losses mean different things. Train "
            "both for the same task."
        )
    lacking = [name for name in first.names if name not in second.names]
    more = [name for name in second.names if name not in first.names]
    if lacking or more:
        raise DataError(f"the two runs have other classes: {_both_ways(lacking, more, names)}. Train both on the same.")


def _same_rows(first: Sequence[str], second: Sequence[str], names: tuple[str, str]) -> None:
    lacking, more = Counter(first) - Counter(second), Counter(second) - Counter(first)
    if lacking or more:
        said = _both_ways(list(lacking.elements()), list(more.elements()), names)
        raise DataError(
            f"the two runs were judged on other rows: {said}. Name labelled data to judge both on it, or train both "
            "with the same split (the same data and seed)."
        )
    twice = [name for name, count in Counter(first).items() if count > 1]
    if twice:
        raise DataError(f"rows cannot be told apart by name: {examples(twice, _NAMED)} stand there more than once.")


def _both_ways(lacking: Sequence[str], more: Sequence[str], names: tuple[str, str]) -> str:
    said = [
        f"{len(missing):,} of {there} {'is' if len(missing) == 1 else 'are'} missing in {where} "
        f"({examples(missing, _NAMED)})"
        for missing, there, where in ((lacking, *names), (more, *names[::-1]))
        if missing
    ]
    return "; ".join(said)


def _in_order(judged: JudgedRows, rows: list[int], task: Task) -> JudgedRows:
    """The rows in another order, and the classes in that of `task`; what was made of the logits is not made anew."""
    columns = [judged.task.names.index(name) for name in task.names]
    here = np.argsort(columns)
    truth, predicted = judged.truth[rows], judged.predicted[rows]
    found = replace(judged, names=[judged.names[row] for row in rows], task=task)
    vars(found).update(
        p=judged.p[rows][:, columns],
        order=judged.order[rows][:, columns],
        truth=truth[:, columns] if judged.several else here[truth],
        predicted=predicted[:, columns] if judged.several else here[predicted],
        each_loss=judged.each_loss[rows][:, columns] if judged.several else judged.each_loss[rows],
    )
    return found
