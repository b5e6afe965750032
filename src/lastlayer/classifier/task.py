"""Which question the labels ask: one of two, or one of many; and whether they are classes at all."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from lastlayer.classifier.config import Config
from lastlayer.classifier.data.rows import Label, examples, listing, plural
from lastlayer.classifier.journal import Journal
from lastlayer.errors import ConfigError, DataError, did_you_mean
from lastlayer.explanation.advice import Advice

_MANY_NUMBERS = 30  # more different whole numbers than this, and few rows of each, look like a quantity
_ROWS_OF_EACH = 20


@dataclass(frozen=True)
class Task:
    """What is predicted.

    Attributes:
        kind: "binary": one logit, a sigmoid; classes[1] counts as yes. "multiclass": a logit per class, a softmax.
        classes: In the order of the logits, as they stand in the data.
    """

    kind: Literal["binary", "multiclass"]
    classes: tuple[Label, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The classes as text."""
        return tuple(str(label) for label in self.classes)

    @property
    def activation(self) -> str:
        """What turns logits into probabilities."""
        return "sigmoid" if self.kind == "binary" else "softmax"

    def index(self, label: Label) -> int:
        """The place of a class; a label of another type with the same name counts ("3" is 3)."""
        name = str(label)
        if name not in self.names:
            raise DataError(
                f"{label!r} is not one of the classes {examples(self.names, 8)}.{did_you_mean(name, self.names)}"
            )
        return self.names.index(name)

    def to_dict(self) -> dict[str, Any]:
        """Return the task as plain values, for model.json."""
        return {**asdict(self), "classes": list(self.classes)}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "Task":
        """Undo `to_dict`."""
        return cls(plain["kind"], tuple(plain["classes"]))


def infer_task(labels: Sequence[Label], train: Sequence[int], config: Config, journal: Journal) -> Task:
    """Decide from the labels of the training rows, and say what, why, and how to overrule it."""
    counts = Counter(labels[row] for row in train)
    classes = in_order(counts)
    what = f"column {config.target!r}" if config.target else "the data"
    if len(classes) < 2:
        raise DataError(
            f"one class only: all {plural(len(train), 'training row')} are {classes[0]!r}. A classifier needs at least "
            "two classes to tell apart."
        )
    kind = config.task or ("binary" if len(classes) == 2 else "multiclass")
    if kind == "binary" and len(classes) != 2:
        raise ConfigError(
            f"task: binary needs 2 classes, {what} has {len(classes)} ({listing(classes)}). Use --task multiclass."
        )
    reason = f"{what} has {plural(len(classes), 'class', 'classes')} ({listing(classes)})"
    if kind == "multiclass":
        override = " Override: --task binary." if len(classes) == 2 else ""
        journal.say(f"Task: multiclass, because {reason}: softmax and cross-entropy.{override}")
        journal.say(_why("multiclass"))
        return Task("multiclass", classes)
    task = Task("binary", classes)
    if config.positive is not None and task.index(config.positive) == 0:
        task = Task("binary", classes[::-1])
    journal.say(
        f"Task: binary, because {reason}: one sigmoid, {task.names[1]!r} counts as yes. "
        f"Override: --positive {task.names[0]}, or --task multiclass."
    )
    journal.say(_why("binary"))
    return task


def _why(kind: str) -> str:
    """What `lastlayer advise` says of such a task, in one line."""
    advice = Advice(kind)
    return f"Why: {advice.say('why')}. Decision: {advice.say('decision')}."


def check_labels(labels: Sequence[Label], config: Config, folders: Sequence[str] = ()) -> None:
    """Refuse labels that are no classes: quantities, identifiers, fewer rows than classes."""
    different = set(labels)
    classes = max(len(different), len(folders))
    what = f"the target column {config.target!r}" if config.target else "the class folder"
    if len(labels) < classes:
        raise DataError(
            f"fewer rows than classes: {plural(len(labels), 'row')} for {classes} classes. Each class needs at least "
            "three rows: to train, to validate and to test."
        )
    if config.task is not None:
        return
    numbers = [label for label in different if isinstance(label, (int, float)) and not isinstance(label, bool)]
    if len(numbers) == len(different):
        fractions = [number for number in numbers if float(number) != int(number)]
        many = len(numbers) > _MANY_NUMBERS and len(labels) < _ROWS_OF_EACH * len(numbers)
        if (fractions and len(different) > 2) or many:
            raise DataError(
                f"this looks like regression: {what} holds {len(numbers):,} different numbers in "
                f"{plural(len(labels), 'row')} ({examples(sorted(numbers), 4)}). A classifier predicts classes, not "
                "quantities. If they are classes, say --task multiclass; else make ranges of them."
            )
    if len(different) > 2 and 2 * len(different) > len(labels):
        raise DataError(
            f"{what} has {len(different):,} different values in {plural(len(labels), 'row')}: it looks like an "
            "identifier, not a class. Name another column with --target, or say --task multiclass if it is meant."
        )


def in_order(labels: Any) -> tuple[Label, ...]:
    """Classes in order: numbers by value, words by letter, and "2" before "10".

    >>> in_order(["10", "9", "2"]), in_order(["b", "a"])
    (('2', '9', '10'), ('a', 'b'))
    """
    return tuple(sorted(labels, key=_order))


def _order(label: Label) -> tuple[int, float, str]:
    try:
        return (0, float(label), str(label))
    except ValueError:
        return (1, 0.0, str(label))
