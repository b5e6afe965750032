"""What an evaluation found, as plain values."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from lastlayer.classifier.policy.deciding import Decided
from lastlayer.decisions import Interval, Reliability
from lastlayer.messages import Message

_ALSO = {"accuracy": "subset_accuracy", "micro_f1": "accuracy"}  # the same number by another name


@dataclass(frozen=True)
class Choice:
    """A class in one row: its logit and its probability, whether it holds, and its part of the loss in nats."""

    name: str
    logit: float
    probability: float
    holds: bool
    loss: float | None


@dataclass(frozen=True)
class Word:
    """A word of a row and what it adds to a logit: that of the row as it is, less that of the row without the word.

    Attributes:
        text: The word.
        pushed: What it adds to the logit that `Example.words_push` names.
        truth: What it adds to the logit of the true class, where that is another; None elsewhere.
    """

    text: str
    pushed: float
    truth: float | None


@dataclass(frozen=True)
class Example:
    """One row and what the model said of it.

    Attributes:
        row: Its number.
        name: What it is called.
        target: The true class, or the labels that hold.
        prediction: The model's answer.
        probability: Of that answer.
        loss: In nats; the mean over the labels where several may hold.
        choices: The main lines of the trace: the largest logits and the true class; of several labels the costliest.
        words: Of a text, those that moved the answer most against the truth; empty where nobody has looked.
        words_push: The class whose logit they push: the answer, the yes of a binary task, the costliest label.
    """

    row: int
    name: str
    target: str
    prediction: str
    probability: float
    loss: float
    choices: tuple[Choice, ...] = ()
    words: tuple[Word, ...] = ()
    words_push: str = ""


@dataclass(frozen=True)
class ClassScores:
    """One class against the rest; None where the rows say nothing about it.

    Attributes:
        name: Of the class or label.
        rows: For how many rows it holds.
        true_positives: Of the 2×2 confusion matrix of this class, as the three that follow.
        false_positives: Called so, and not.
        false_negatives: Not called so, and is.
        true_negatives: All other rows.
        precision: None where it is never predicted.
        recall: None where it never holds.
        f1: None where it neither holds nor is predicted.
        auroc: None where it holds for no row, or for all.
        average_precision: None where it never holds.
        log_loss: Mean in nats over its own rows, or over all rows where labels may hold together.
        nats: The sum of these losses.
        share: Of all losses together.
    """

    name: str
    rows: int
    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int
    precision: float | None
    recall: float | None
    f1: float | None
    auroc: float | None
    average_precision: float | None
    log_loss: float | None
    nats: float
    share: float


@dataclass(frozen=True)
class Evaluation:
    """Scores of one set of rows.

    Attributes:
        split: Which rows: "test", "validation", or the name of the data.
        kind: Of the task: "binary", "multiclass" or "multilabel".
        classes: Names in the order of the confusion matrix.
        rows: How many.
        scores: By name, each with its 95 % interval; NaN where undefined. Higher is better but for log_loss (nats),
            brier, hamming_loss, ece, ece_equal_mass and aurc, the area under the risk–coverage curve. f1, auroc and
            average_precision of a binary task are those of yes; of others, means over the classes.
        undefined: Why a score has no value, or which classes it leaves out, by name.
        confusion: Rows by true class, then by predicted class; empty where several labels may hold.
        by_class: Each class against the rest, with its 2×2 confusion matrix and what it costs.
        reliability: Confidence against accuracy.
        risk: (coverage, risk) of the risk–coverage curve: the share of errors among the rows it is surest of.
        log_classes: ln C, the log-loss of a model that knows nothing.
        prior_entropy: The log-loss of a model that knows only the class frequencies of these rows.
        worst: The rows with the largest loss.
        decided: What came of costs, abstaining and prediction sets; None where there are none. The other scores are of
            every row decided.
    """

    split: str
    kind: str
    classes: tuple[str, ...]
    rows: int
    scores: dict[str, Interval]
    undefined: dict[str, Message]
    confusion: tuple[tuple[int, ...], ...]
    by_class: tuple[ClassScores, ...]
    reliability: Reliability
    risk: tuple[tuple[float, float], ...]
    log_classes: float
    prior_entropy: float
    worst: tuple[Example, ...]
    decided: Decided | None = None

    def __getitem__(self, score: str) -> float:
        """Return one score by name.

        "accuracy" of several labels is subset_accuracy, and "micro_f1" of one answer per row is accuracy.
        """
        name = score if score in self.scores else _ALSO.get(score, score)
        return self.scores[name].value

    @property
    def effective_choices(self) -> float:
        """Between how many equally likely answers the model hesitates: e to the log-loss."""
        return math.exp(self["log_loss"])

    def confused(self) -> list[tuple[int, str, str]]:
        """How often which class is taken for which other, most often first."""
        cells = [
            (count, self.classes[index], self.classes[place])
            for index, row in enumerate(self.confusion)
            for place, count in enumerate(row)
            if count and place != index
        ]
        return sorted(cells, key=lambda cell: -cell[0])

    def costliest(self) -> list[ClassScores]:
        """The classes by what they add to the log-loss, most first."""
        return sorted(self.by_class, key=lambda each: -each.nats)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON; what is undefined is None."""
        plain: dict[str, Any] = _without_nan({**asdict(self), "effective_choices": self.effective_choices})
        return plain


def _without_nan(value: Any) -> Any:
    """NaN as None, which JSON has a word for."""
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value
