"""How good a classifier is on labelled rows: scores with intervals, confusions, reliability, and its worst rows."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lastlayer.classifier.deciding import Decided, decided
from lastlayer.classifier.task import Task
from lastlayer.decisions import Interval, Policy, Reliability, reliability, row_brier, wilson

_BOOTSTRAPS, _BUDGET = 1_000, 50_000_000  # samples drawn for the intervals, and rows drawn in all of them
_WORST = 12
_BINS = 15


@dataclass(frozen=True)
class Example:
    """One row and what the model said of it."""

    row: int
    name: str
    target: str
    prediction: str
    probability: float  # of the prediction
    loss: float


@dataclass(frozen=True)
class Evaluation:
    """Scores of one set of rows.

    Attributes:
        split: Which rows: "test", "validation", or the name of the data.
        classes: Names in the order of the confusion matrix.
        rows: How many.
        scores: accuracy, balanced_accuracy, macro_f1 (higher is better); log_loss in nats, brier, ece (lower is).
        confusion: Rows by true class, then by predicted class.
        reliability: Confidence against accuracy.
        log_classes: ln C, the log-loss of a model that knows nothing.
        prior_entropy: The log-loss of a model that knows only the class frequencies of these rows.
        worst: The rows with the largest loss.
        decided: What came of costs, abstaining and prediction sets; None where there are none. The other scores are of
            every row decided.
    """

    split: str
    classes: tuple[str, ...]
    rows: int
    scores: dict[str, Interval]
    confusion: tuple[tuple[int, ...], ...]
    reliability: Reliability
    log_classes: float
    prior_entropy: float
    worst: tuple[Example, ...]
    decided: Decided | None = None

    def __getitem__(self, score: str) -> float:
        """Return one score by name."""
        return self.scores[score].value

    def confused(self) -> list[tuple[int, str, str]]:
        """How often which class is taken for which other, most often first."""
        cells = [
            (count, self.classes[index], self.classes[place])
            for index, row in enumerate(self.confusion)
            for place, count in enumerate(row)
            if count and place != index
        ]
        return sorted(cells, key=lambda cell: -cell[0])

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
        return asdict(self)


def evaluate(logits: Tensor, target: Tensor, names: list[str], task: Task, policy: Policy, split: str) -> Evaluation:
    """Judge logits against the true classes, or the labels that hold."""
    if task.kind == "multilabel":
        return _of_labels(logits, target, names, task, policy, split)
    p, predicted = policy.probabilities(logits), policy.decide(logits, abstain=False)
    confidence = p.gather(1, predicted.unsqueeze(1)).squeeze(1)
    loss = policy.losses(logits, target)
    classes = len(task.classes)
    table = _Table(
        target=target.numpy(),
        predicted=predicted.numpy(),
        correct=(predicted == target).double().numpy(),
        loss=loss.numpy(),
        brier=row_brier(p, target).numpy(),
        gap=(confidence - (predicted == target).double()).numpy(),
        bin=np.clip(np.ceil(confidence.numpy() * _BINS).astype(int) - 1, 0, _BINS - 1),
        classes=classes,
    )
    confusion = np.zeros((classes, classes), int)
    np.add.at(confusion, (table.target, table.predicted), 1)
    share = np.bincount(table.target, minlength=classes) / max(len(target), 1)
    share = share[share > 0]
    worst = torch.argsort(loss, descending=True, stable=True)[:_WORST].tolist()
    return Evaluation(
        split,
        task.names,
        len(target),
        _with_intervals(table),
        tuple(tuple(int(count) for count in row) for row in confusion),
        reliability(confidence, predicted == target, bins=_BINS),
        math.log(classes),
        float(-(share * np.log(share)).sum()),
        tuple(
            Example(
                row,
                names[row],
                task.names[int(target[row])],
                task.names[int(predicted[row])],
                float(confidence[row]),
                float(loss[row]),
            )
            for row in worst
        ),
        decided(policy, logits, target),
    )


def _of_labels(logits: Tensor, target: Tensor, names: list[str], task: Task, policy: Policy, split: str) -> Evaluation:
    p, predicted = policy.probabilities(logits), policy.decide(logits, abstain=False)
    loss = policy.losses(logits, target)
    sure = torch.where(predicted == 1, p, 1 - p)
    right = predicted == target
    table = _Labels(target.numpy(), predicted.numpy(), loss.numpy(), row_brier(p, target).numpy(), p.numpy())
    worst = torch.argsort(loss, descending=True, stable=True)[:_WORST].tolist()
    frequency = target.double().mean(0)
    entropy = -(torch.xlogy(frequency, frequency) + torch.xlogy(1 - frequency, 1 - frequency))
    return Evaluation(
        split,
        task.names,
        len(target),
        _with_intervals(table),
        (),
        reliability(sure.flatten(), right.flatten(), bins=_BINS),
        math.log(2),
        float(entropy.mean()),
        tuple(
            Example(
                row,
                names[row],
                task.spelled(target[row]),
                task.spelled(predicted[row]),
                float(sure[row].prod()),
                float(loss[row]),
            )
            for row in worst
        ),
        decided(policy, logits, target),
    )


@dataclass
class _Labels:
    """What every score of several labels is made of: (rows, labels), and per row."""

    target: np.ndarray
    predicted: np.ndarray
    loss: np.ndarray
    brier: np.ndarray
    p: np.ndarray

    def scores(self, rows: np.ndarray) -> dict[str, float]:
        """All scores of some of the rows, which may be repeated."""
        target, predicted = self.target[rows], self.predicted[rows]
        both, either = (target & predicted).sum(0), target.sum(0) + predicted.sum(0)
        there = either > 0
        sure, right = np.maximum(self.p[rows], 1 - self.p[rows]).ravel(), (target == predicted).ravel()
        place = np.clip(np.ceil(sure * _BINS).astype(int) - 1, 0, _BINS - 1)
        gaps = np.bincount(place, weights=sure - right)
        return {
            "accuracy": float((target == predicted).all(1).mean()),
            "micro_f1": float(2 * both.sum() / max(either.sum(), 1)),
            "macro_f1": float((2 * both[there] / either[there]).mean()) if there.any() else math.nan,
            "log_loss": float(self.loss[rows].mean()),
            "brier": float(self.brier[rows].mean()),
            "ece": float(np.abs(gaps).sum() / sure.size),
        }


@dataclass
class _Table:
    """What every score is made of, per row."""

    target: np.ndarray
    predicted: np.ndarray
    correct: np.ndarray
    loss: np.ndarray
    brier: np.ndarray
    gap: np.ndarray
    bin: np.ndarray
    classes: int

    def scores(self, rows: np.ndarray) -> dict[str, float]:
        """All scores of some of the rows, which may be repeated."""
        target, correct = self.target[rows], self.correct[rows]
        count = np.bincount(target, minlength=self.classes)
        called = np.bincount(self.predicted[rows], minlength=self.classes)
        right = np.bincount(target, weights=correct, minlength=self.classes)
        there = (count > 0) | (called > 0)
        gaps = np.bincount(self.bin[rows], weights=self.gap[rows])
        return {
            "accuracy": float(correct.mean()),
            "balanced_accuracy": float((right[count > 0] / count[count > 0]).mean()),
            "macro_f1": float((2 * right[there] / (count + called)[there]).mean()),
            "log_loss": float(self.loss[rows].mean()),
            "brier": float(self.brier[rows].mean()),
            "ece": float(np.abs(gaps).sum() / len(rows)),
        }


def _with_intervals(table: _Table | _Labels) -> dict[str, Interval]:
    rows = len(table.target)
    values = table.scores(np.arange(rows))
    random = np.random.default_rng(0)
    times = max(100, min(_BOOTSTRAPS, _BUDGET // table.target.size))
    samples = [table.scores(random.integers(0, rows, rows)) for _ in range(times)]
    found = {
        name: Interval(value, *np.percentile([sample[name] for sample in samples], [2.5, 97.5]).tolist())
        for name, value in values.items()
    }
    return {**found, "accuracy": Interval(values["accuracy"], *wilson(values["accuracy"], rows))}
