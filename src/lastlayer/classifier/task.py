"""Which question the labels ask: one of two, one of many, or any of many; and whether they are classes at all."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from lastlayer.classifier.config import Config
from lastlayer.classifier.data.labels import in_order, named
from lastlayer.classifier.data.rows import Answer, Label, examples, listing, plural
from lastlayer.classifier.data.splits import holding
from lastlayer.classifier.journal import Journal
from lastlayer.errors import ConfigError, DataError, did_you_mean
from lastlayer.messages import Message, few
from lastlayer.messages.wording import option

_MANY_NUMBERS = 30  # more different whole numbers than this, and few rows of each, look like a quantity
_ROWS_OF_EACH = 20


@dataclass(frozen=True)
class Task:
    """What is predicted.

    Attributes:
        kind: "binary": one logit, a sigmoid; classes[1] counts as yes. "multiclass": a logit per class, a softmax.
            "multilabel": a logit per class, a sigmoid each; any number of classes may hold.
        classes: In the order of the logits, as they stand in the data.
    """

    kind: Literal["binary", "multiclass", "multilabel"]
    classes: tuple[Label, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The classes as text."""
        return tuple(str(label) for label in self.classes)

    @property
    def activation(self) -> str:
        """What turns logits into probabilities."""
        return "softmax" if self.kind == "multiclass" else "sigmoid"

    @property
    def choices(self) -> int:
        """Between how many answers each loss is: the classes, or yes and no."""
        return len(self.classes) if self.kind == "multiclass" else 2

    def decided(self, logits: Tensor) -> Tensor:
        """The answer with the greater probability: an index per row, or 0 or 1 per row and label; int64."""
        return logits.argmax(1) if self.kind == "multiclass" else (logits > 0).long()

    def targets(self, answers: Sequence[Answer]) -> Tensor:
        """Class indices (rows), or 0 and 1 (rows, classes) where any number of labels may hold; int64."""
        if self.kind != "multilabel":
            return torch.tensor(self.indices([one for one in answers if not isinstance(one, tuple)]))
        held = [one if isinstance(one, tuple) else (one,) for one in answers]
        places = iter(self.indices([label for labels in held for label in labels]))
        found = torch.zeros(len(held), len(self.classes), dtype=torch.int64)
        for row, labels in enumerate(held):
            found[row, [next(places) for _ in labels]] = 1
        return found

    def spelled(self, target: Tensor) -> str:
        """A row's target as a person reads it: the class, or the labels that hold."""
        if self.kind != "multilabel":
            return self.names[int(target)]
        return ", ".join(self.held(target)) or Message("task.no_label")

    def held(self, target: Tensor) -> list[str]:
        """The names of the labels that hold, by 0 and 1 (classes)."""
        return [name for name, holds in zip(self.names, target.tolist(), strict=True) if holds]

    @property
    def frequencies(self) -> Message:
        """What a model that knows nothing but frequencies knows."""
        return Message("frequencies.labels" if self.kind == "multilabel" else "frequencies.classes")

    def index(self, label: Label) -> int:
        """The place of a class; a label of another type with the same name counts ("3" is 3)."""
        return self.indices([label])[0]

    def indices(self, labels: Sequence[Label]) -> list[int]:
        """The places of the classes of some rows; those that are no class of the task are counted."""
        places = {name: place for place, name in enumerate(self.names)}
        found = [places.get(str(label), -1) for label in labels]
        unknown = Counter(repr(label) for label, place in zip(labels, found, strict=True) if place < 0)
        if not unknown:
            return found
        near = did_you_mean(next(iter(unknown)).strip("'"), self.names)
        if len(labels) == 1:
            raise DataError(f"{next(iter(unknown))} is not one of the classes {examples(self.names, 8)}.{near}")
        count = sum(unknown.values())
        named = examples([f"{name} ({plural(times, 'row')})" for name, times in unknown.most_common()], 5)
        raise DataError(
            f"{plural(count, 'row')} of {len(labels):,} {'has' if count == 1 else 'have'} "
            f"a class that the model does not know: {named}. It knows {examples(self.names, 8)}.{near} Mend or remove "
            "these rows, or train with them."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the task as plain values, for model.json."""
        return {**asdict(self), "classes": list(self.classes)}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "Task":
        """Undo `to_dict`."""
        return cls(plain["kind"], tuple(plain["classes"]))


def infer_task(labels: Sequence[Answer], train: Sequence[int], config: Config, journal: Journal) -> Task:
    """Decide from the labels of the training rows, and say what, why, and how to overrule it."""
    what = named(config)
    if any(isinstance(label, tuple) for label in labels):
        return _multilabel([labels[row] for row in train], config, journal)
    classes = in_order({labels[row] for row in train})
    if len(classes) < 2:
        raise DataError(
            f"one class only: all {plural(len(train), 'training row')} are {classes[0]!r}. A classifier needs at least "
            "two classes to tell apart."
        )
    kind = config.task or ("binary" if len(classes) == 2 else "multiclass")
    if kind == "binary" and len(classes) != 2:
        raise ConfigError(
            f"a binary task needs 2 classes, {what} has {len(classes)} ({listing(classes)}). Use "
            f"{option('task', 'multiclass')}."
        )
    reason = Message("task.classes", what=what, count=len(classes), classes=listing(classes))
    if kind == "multiclass":
        override = Message("task.override", option=option("task", "binary")) if len(classes) == 2 else ""
        journal.say(Message("task.multiclass", reason=reason, override=override))
        journal.say(_why("multiclass"))
        return Task("multiclass", classes)
    task = Task("binary", classes)
    if config.positive is not None and task.index(config.positive) == 0:
        task = Task("binary", classes[::-1])
    others = {"positive": option("positive", task.names[0]), "task": option("task", "multiclass")}
    journal.say(Message("task.binary", reason=reason, yes=task.names[1], **others))
    journal.say(_why("binary"))
    return task


def _multilabel(answers: Sequence[Answer], config: Config, journal: Journal) -> Task:
    what, counts = named(config), holding(answers)
    if config.task not in (None, "multilabel"):
        raise ConfigError(
            f"{what} may name several labels in a row, and a {config.task} task has one answer each: leave "
            f"{option('task', config.task)} out, or name a column with one class per row."
        )
    if not counts:
        raise DataError(
            f"no label holds for any of {plural(len(answers), 'training row')}: {what} has nothing to learn."
        )
    always = [str(label) for label, count in counts.items() if count == len(answers)]
    if always:
        journal.say(Message("task.always", labels=len(always), shown=few(always)))
    empty = sum(held == () for held in answers)
    classes = in_order(counts)
    journal.say(
        Message(
            "task.multilabel",
            what=what,
            count=len(classes),
            classes=listing(classes),
            per_row=counts.total() / len(answers),
            empty=empty,
        )
    )
    journal.say(_why("multilabel"))
    return Task("multilabel", classes)


def _why(kind: str) -> Message:
    """What `lastlayer advise` says of such a task, in one line."""
    return Message("task.why", why=Message(f"advice.why.{kind}"), decision=Message(f"advice.decision.{kind}"))


def check_labels(answers: Sequence[Answer], config: Config, folders: Sequence[str] = ()) -> None:
    """Refuse labels that are no classes: quantities, identifiers, fewer rows than classes."""
    if any(isinstance(answer, tuple) for answer in answers):
        _check_positive(set(holding(answers)), config, several=True)
        return
    labels = [answer for answer in answers if not isinstance(answer, tuple)]
    different = set(labels)
    classes = max(len(different), len(folders))
    what = f"the target {named(config)}" if config.target else "the class folder"
    if len(labels) < classes:
        raise DataError(
            f"fewer rows than classes: {plural(len(labels), 'row')} for {classes} classes. Each class needs at least "
            "three rows: to train, to validate and to test."
        )
    _check_positive(different, config)
    if config.task is not None:
        return
    numbers = [label for label in different if isinstance(label, (int, float)) and not isinstance(label, bool)]
    if len(numbers) == len(different):
        fractions = [number for number in numbers if float(number) != int(number)]
        many = len(numbers) > _MANY_NUMBERS and len(labels) < _ROWS_OF_EACH * len(numbers)
        if (fractions and len(different) > 2) or many:
            raise DataError(
                f"this looks like regression: {what} holds {len(numbers):,} different numbers in "
                f"{plural(len(labels), 'row')} ({examples([f'{number:.9g}' for number in sorted(numbers)], 4)}). A "
                f"classifier predicts classes, not quantities. If they are classes, say "
                f"{option('task', 'multiclass')}; else make ranges of them."
            )
    if len(different) > 2 and 2 * len(different) > len(labels):
        if config.target is None:
            raise DataError(
                f"too few images to tell {len(different):,} classes apart: {plural(len(labels), 'image')}. Each class "
                "needs at least three: to train, to validate and to test."
            )
        raise DataError(
            f"{what} has {len(different):,} different values in {plural(len(labels), 'row')}: it looks like an "
            f"identifier, not a class. Name another column with {option('target')}, or say "
            f"{option('task', 'multiclass')} if it is meant."
        )


def _check_positive(different: set[Label], config: Config, several: bool = False) -> None:
    if config.positive is None:
        return
    names = sorted(map(str, different))
    if several:
        raise ConfigError(
            f"{option('positive')} is for a binary task, and here any number of labels may hold: leave it out."
        )
    if config.task == "multiclass" or (config.task is None and len(names) != 2):
        why = f"this one has {len(names)} classes" if config.task is None else "this one is multiclass"
        raise ConfigError(f"{option('positive')} is for a binary task, and {why}: leave it out.")
    if config.positive not in names:
        raise ConfigError(
            f"{option('positive')} {config.positive!r} is not one of the classes {examples(names, 8)}."
            f"{did_you_mean(config.positive, names)}"
        )
