"""All scores of judged rows, from sums over rows, so that a thousand samples of them cost little more than one."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from lastlayer.classifier.evaluation import ranking
from lastlayer.classifier.evaluation.intervals import (
    Scores,
    Sums,
    between,
    bootstrap,
    one_hot,
    spread_of,
    within_unit,
)
from lastlayer.classifier.evaluation.judged import JudgedRows
from lastlayer.classifier.evaluation.ranking import Ranked
from lastlayer.decisions import Interval, row_brier, wilson

BINS = 15
# What is shown, in this order, as far as a task has it.
ORDER = (
    "accuracy", "subset_accuracy", "balanced_accuracy", "f1", "micro_f1", "macro_f1", "mcc", "auroc",
    "average_precision", "log_loss", "brier", "hamming_loss", "ece", "ece_equal_mass", "aurc",
)  # fmt: skip
_SHARES = ("accuracy", "subset_accuracy")  # of rows that are right: Wilson's interval, with a width at 0 and 1 too


@dataclass(frozen=True)
class Scored:
    """The scores of some rows, and what each sample of them gives.

    Attributes:
        values: By name.
        drawn: Of each sample, for the scores that are resampled.
        ranked: The scores of an order.
        classes: AUROC and average precision of each class; empty where there are too many to sort.
    """

    values: dict[str, float]
    drawn: Scores
    ranked: dict[str, Ranked]
    classes: list[tuple[float, float]]

    def intervals(self, rows: int) -> dict[str, Interval]:
        """Each score with its 95 % interval."""
        found: dict[str, Interval] = {}
        for name, value in self.values.items():
            found[name] = Interval(value, *(wilson(value, rows) if name in _SHARES else between(self.drawn[name])))
        for name, ranked in self.ranked.items():
            found[name] = within_unit(ranked.value, spread_of(ranked.influence))
        return {name: found[name] for name in ORDER if name in found}


def score(judged: JudgedRows) -> Scored:
    """Score judged rows."""
    rows = len(judged)
    sums = Sums(rows, _of_labels(judged) if judged.several else _of_classes(judged))
    formulas = _label_scores if judged.several else _class_scores
    area = _areas(judged)

    def scores(weights: np.ndarray) -> Scores:
        with np.errstate(invalid="ignore", divide="ignore"):
            return {**formulas(sums.of(weights), weights.sum(0)), "aurc": area(weights)}

    values = {name: float(each[0]) for name, each in scores(np.ones((rows, 1))).items()}
    ranked, classes = _rank(judged)
    return Scored(values, bootstrap(rows, sums.width, scores), ranked, classes)


def _of_classes(judged: JudgedRows) -> dict[str, object]:
    classes = judged.p.shape[1]
    truth, predicted = judged.truth, judged.predicted
    gap = judged.sure - judged.correct
    return {
        "true": one_hot(truth, classes),
        "called": one_hot(predicted, classes),
        "right": one_hot(truth, classes, judged.correct.astype(float)),
        "loss": judged.loss,
        "brier": _brier(judged),
        "gap": one_hot(_equal_width(judged.sure), BINS, gap),
        "gap_mass": one_hot(_equal_mass(judged.sure), BINS, gap),
    }


def _brier(judged: JudgedRows) -> np.ndarray:
    return row_brier(torch.from_numpy(judged.p), torch.from_numpy(judged.truth)).numpy()


def _class_scores(sums: Scores, rows: np.ndarray) -> Scores:
    true, called, right = sums["true"], sums["called"], sums["right"]
    correct = right.sum(0)
    # Gorodkin 2004: the correlation of truth and answer as one-hot vectors, without a value where either is constant
    together = correct * rows - (true * called).sum(0)
    apart = (rows**2 - np.square(true).sum(0)) * (rows**2 - np.square(called).sum(0))
    found = {
        "accuracy": correct / rows,
        "balanced_accuracy": _mean_where(true > 0, right / true),
        "macro_f1": _mean_where(true + called > 0, 2 * right / (true + called)),
        "mcc": np.where(apart > 0, together / np.sqrt(apart), np.nan),
        "log_loss": sums["loss"][0] / rows,
        "brier": sums["brier"][0] / rows,
        "ece": np.abs(sums["gap"]).sum(0) / rows,
        "ece_equal_mass": np.abs(sums["gap_mass"]).sum(0) / rows,
    }
    if len(true) == 2:
        found["f1"] = 2 * right[1] / (true[1] + called[1])
    return found


def _of_labels(judged: JudgedRows) -> dict[str, object]:
    truth, predicted = judged.truth, judged.predicted
    gap = judged.sure - (predicted == truth)
    return {
        "true": truth.T.astype(float),
        "called": predicted.T.astype(float),
        "right": (truth & predicted).T.astype(float),
        "exact": judged.correct.astype(float),
        "wrong": (truth != predicted).mean(1),
        "loss": judged.loss,
        "brier": _brier(judged),
        "gap": _in_bins(_equal_width(judged.sure), gap),
        "gap_mass": _in_bins(_equal_mass(judged.sure), gap),
    }


def _label_scores(sums: Scores, rows: np.ndarray) -> Scores:
    true, called, right = sums["true"], sums["called"], sums["right"]
    return {
        "subset_accuracy": sums["exact"][0] / rows,
        "micro_f1": 2 * right.sum(0) / (true + called).sum(0),
        "macro_f1": _mean_where(true + called > 0, 2 * right / (true + called)),
        "log_loss": sums["loss"][0] / rows,
        "brier": sums["brier"][0] / rows,
        "hamming_loss": sums["wrong"][0] / rows,
        "ece": np.abs(sums["gap"]).sum(0) / (rows * len(true)),
        "ece_equal_mass": np.abs(sums["gap_mass"]).sum(0) / (rows * len(true)),
    }


def _mean_where(there: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The mean over the classes (first axis) that have a value; NaN where none has."""
    mean: np.ndarray = np.where(there, values, 0).sum(0) / there.sum(0)
    return mean


def _equal_width(sure: np.ndarray) -> np.ndarray:
    """The bin of each probability: (low, high] of equal width."""
    place: np.ndarray = np.clip(np.ceil(sure * BINS).astype(int) - 1, 0, BINS - 1)
    return place


def _equal_mass(sure: np.ndarray) -> np.ndarray:
    """The bin of each probability: equally many in each, equal ones together."""
    edges = np.unique(np.quantile(sure, np.linspace(0, 1, BINS + 1)[1:-1]))
    return np.searchsorted(edges, sure)


def _in_bins(place: np.ndarray, gap: np.ndarray) -> np.ndarray:
    """The gaps of each row in each bin, (bins, rows)."""
    return np.stack([np.where(place == each, gap, 0).sum(1) for each in range(BINS)])


def _areas(judged: JudgedRows) -> Callable[[np.ndarray], np.ndarray]:
    """The area under the risk–coverage curve of each sample; rows of equal confidence come in their own order."""
    order = np.argsort(-judged.confidence, kind="stable")
    wrong = _shared(judged.confidence[order], ~judged.correct[order])

    def areas(weights: np.ndarray) -> np.ndarray:
        ordered = weights[order]
        count = ordered.cumsum(0)
        errors = (ordered * wrong[:, None]).cumsum(0)
        risk = np.divide(errors, count, out=np.zeros_like(errors), where=count > 0)
        area: np.ndarray = (ordered * risk).sum(0) / weights.sum(0)
        return area

    return areas


def _shared(confidence: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """The errors of sorted rows, spread evenly over rows of equal confidence, since their order means nothing."""
    starts = np.flatnonzero(np.r_[True, confidence[1:] != confidence[:-1]])
    sizes = np.diff(np.r_[starts, len(confidence)])
    return np.repeat(np.add.reduceat(wrong.astype(float), starts) / sizes, sizes)


def risk_by_coverage(judged: JudgedRows, points: int = 100) -> tuple[tuple[float, float], ...]:
    """The share of errors among the rows that the model is surest of, for growing shares of rows kept."""
    order = np.argsort(-judged.confidence, kind="stable")
    errors = np.cumsum(_shared(judged.confidence[order], ~judged.correct[order]))
    kept = np.unique(np.ceil(np.linspace(0, 1, points + 1)[1:] * len(judged)).astype(int))
    return tuple((float(count / len(judged)), float(errors[count - 1] / count)) for count in kept)


def _rank(judged: JudgedRows) -> tuple[dict[str, Ranked], list[tuple[float, float]]]:
    """AUROC and average precision of every class against the rest, and their means; of a binary task, of yes."""
    rows, classes = judged.p.shape
    if rows * classes > ranking.MOST:
        nothing = Ranked(np.nan, np.zeros(rows))
        return {"auroc": nothing, "average_precision": nothing}, []
    both = [
        (
            ranking.auroc(judged.order[:, place], judged.holds(place)),
            ranking.average_precision(judged.order[:, place], judged.holds(place)),
        )
        for place in range(classes)
    ]
    of_each = [(area.value, precision.value) for area, precision in both]
    if judged.task.kind == "binary":
        return {"auroc": both[1][0], "average_precision": both[1][1]}, of_each
    return {
        "auroc": ranking.mean([area for area, _ in both], rows),
        "average_precision": ranking.mean([precision for _, precision in both], rows),
    }, of_each
