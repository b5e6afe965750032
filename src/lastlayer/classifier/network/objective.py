"""What a training minimises: weights of classes, focal factor, smoothed targets; each where it fits the question."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lastlayer.classifier.config import Config
from lastlayer.classifier.data.rows import examples
from lastlayer.classifier.task import Task
from lastlayer.decisions import unweighting
from lastlayer.errors import ConfigError, DataNotFoundError, did_you_mean
from lastlayer.messages import Message, few
from lastlayer.messages.wording import option

BALANCED = "balanced"
_FITS = {
    "class_weights": ("multiclass", "binary"),
    "pos_weight": ("binary", "multilabel"),
    "focal_gamma": ("binary", "multilabel"),
    "z_loss": ("multiclass",),
}
_INSTEAD = {"class_weights": "pos_weight", "pos_weight": "class_weights"}
_QUESTIONS = {"multiclass": "one of several classes", "binary": "yes or no", "multilabel": "several labels"}


@dataclass(frozen=True)
class Objective:
    """The options of the loss that trained.

    Attributes:
        weight: Of each class in the cross-entropy, 1 on average over the training rows; None weighs all alike.
        pos_weight: Of yes in the binary cross-entropy; one number, or one per label; None weighs it as no.
        focal_gamma: γ of the focal factor (1 − p_t)^γ.
        label_smoothing: ε: that share of each target is spread over all answers.
        z_loss: Factor of (log Σ exp z)².
    """

    weight: tuple[float, ...] | None = None
    pos_weight: tuple[float, ...] | None = None
    focal_gamma: float = 0.0
    label_smoothing: float = 0.0
    z_loss: float = 0.0

    @property
    def is_plain(self) -> bool:
        """Whether it is the mean surprise, and nothing else."""
        return self == PLAIN

    def to_dict(self) -> dict[str, Any]:
        """Return what differs from the plain loss, for model.json."""
        return {name: value for name, value in asdict(self).items() if value != getattr(PLAIN, name)}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "Objective":
        """Undo `to_dict`."""
        options: dict[str, Any] = {
            name: tuple(map(float, value)) if isinstance(value, (list, tuple)) else float(value)
            for name, value in plain.items()
        }
        return cls(**options)


PLAIN = Objective()


def check(config: Config) -> None:
    """Refuse options that exclude each other, before any data is read."""
    if config.class_weights is not None and config.pos_weight is not None:
        raise ConfigError(
            f"{option('class_weights')} and {option('pos_weight')} both weigh yes against no: leave one out."
        )


def objective(config: Config, task: Task, counts: Sequence[int], rows: int) -> Objective:
    """The loss that the settings ask for.

    Args:
        config: Settings.
        task: Its kind and classes.
        counts: Training rows of each class, or for which each label holds.
        rows: All training rows.

    Raises:
        ConfigError: an option that does not fit the task, a class that it does not have, a weight that is no weight.

    >>> objective(Config(class_weights="balanced"), Task("multiclass", ("a", "b", "c")), [10, 20, 30], 60).weight
    (2.0, 1.0, 0.6666666666666666)
    >>> objective(Config(pos_weight="balanced"), Task("binary", ("no", "yes")), [90, 10], 100).pos_weight
    (9.0,)
    """
    for name, kinds in _FITS.items():
        if getattr(config, name) not in (None, 0.0) and task.kind not in kinds:
            raise ConfigError(_does_not_fit(name, kinds, task))
    weight: tuple[float, ...] | None = None
    pos_weight: tuple[float, ...] | None = None
    if config.class_weights is not None:
        each = _class_weights(config.class_weights, task, counts, rows)
        weight, pos_weight = (None, (each[1] / each[0],)) if task.kind == "binary" else (each, None)
    if config.pos_weight is not None:
        pos_weight = _pos_weight(config.pos_weight, task, counts, rows)
    return Objective(weight, pos_weight, config.focal_gamma, config.label_smoothing, config.z_loss)


def said(found: Objective, task: Task) -> Message | None:
    """The options in one sentence, or None where there are none."""
    parts = []
    if found.weight is not None:
        parts.append(Message("objective.classes", shown=few(_named(task.names, found.weight), 8)))
    if found.pos_weight is not None:
        names = task.names[1:] if task.kind == "binary" else task.names
        parts.append(Message("objective.yes", shown=few(_named(names, found.pos_weight), 8)))
    if found.focal_gamma:
        parts.append(Message("objective.focal", gamma=found.focal_gamma))
    if found.label_smoothing:
        parts.append(Message("objective.smoothing", share=found.label_smoothing))
    if found.z_loss:
        parts.append(Message("objective.z_loss", factor=found.z_loss))
    if not parts:
        return None
    weighted = found.weight is not None or found.pos_weight is not None
    together = reduce(lambda one, rest: Message("objective.joined", one=one, rest=rest), parts)
    return Message("objective", parts=together, weights=Message("objective.taken_off") if weighted else "")


def portable(config: Config, found: Objective, task: Task) -> Config:
    """The settings with the weights written out, so that no file has to travel with them."""
    return Config.of(_written(found, task, config), config)


def _written(found: Objective, task: Task, config: Config) -> dict[str, str]:
    if config.class_weights is not None and found.weight is not None:
        return {"class_weights": ",".join(_pairs(task.names, found.weight))}
    if config.class_weights is not None and found.pos_weight is not None:
        return {"class_weights": ",".join(_pairs(task.names, (1.0, *found.pos_weight)))}
    if config.pos_weight is not None and found.pos_weight is not None:
        alone = task.kind == "binary"
        return {"pos_weight": repr(found.pos_weight[0]) if alone else ",".join(_pairs(task.names, found.pos_weight))}
    return {}


def _named(names: Sequence[str], weights: Sequence[float]) -> list[str]:
    return [f"{name} {weight:.3g}" for name, weight in zip(names, weights, strict=True)]


def _pairs(names: Sequence[str], weights: Sequence[float]) -> list[str]:
    return [
        f'"{name}={weight!r}"' if "," in name else f"{name}={weight!r}"
        for name, weight in zip(names, weights, strict=True)
    ]


def _does_not_fit(name: str, kinds: tuple[str, ...], task: Task) -> str:
    questions = " or ".join(_QUESTIONS[kind] for kind in kinds)
    other = _INSTEAD.get(name)
    advice = f" Take {option(other)} instead, or leave it out." if other is not None else " Leave it out."
    return f"{option(name)} is for {questions}, and this task asks for {_QUESTIONS[task.kind]}.{advice}"


def _class_weights(text: str, task: Task, counts: Sequence[int], rows: int) -> tuple[float, ...]:
    """One weight per class, 1 on average over the training rows, so that the loss keeps its scale."""
    if text.strip() == BALANCED:
        raw = [rows / count for count in counts]
    else:
        given = _read(text, task, "class_weights")
        raw = [given.get(name, 1.0) for name in task.names]
    mean = math.fsum(weight * count for weight, count in zip(raw, counts, strict=True)) / rows
    return tuple(weight / mean for weight in raw)


def _pos_weight(text: str, task: Task, counts: Sequence[int], rows: int) -> tuple[float, ...]:
    yes = counts[1:] if task.kind == "binary" else counts
    if text.strip() == BALANCED:
        never = [name for name, count in zip(task.names, counts, strict=True) if count in (0, rows)]
        if never:
            raise ConfigError(
                f"{option('pos_weight', BALANCED)} needs rows of both kinds, and {examples(never)} holds for all "
                "training rows or for none: leave that label out, or give the weights."
            )
        return tuple((rows - count) / count for count in yes)
    try:
        return (_weight(float(text), "pos_weight", text),) * len(yes)
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
    if task.kind == "binary":
        raise ConfigError(f"{option('pos_weight')} has to be a number or {BALANCED!r}, got {text!r}.")
    given = _read(text, task, "pos_weight")
    return tuple(given.get(name, 1.0) for name in task.names)


def _read(text: str, task: Task, name: str) -> dict[str, float]:
    """Weights by class of "cat=2,dog=0.5", or of a .json, .yaml or .csv file; a class that is not named weighs 1."""
    pairs = _of_file(Path(text), name) if Path(text).suffix.lower() in _READERS else _of_text(text, name)
    unknown = [each for each in pairs if each not in task.names]
    if unknown:
        raise ConfigError(
            f"{option(name)} names {examples(unknown)}, and the classes are {examples(task.names, 8)}."
            f"{did_you_mean(unknown[0], task.names)}"
        )
    return {each: _weight(value, name, f"{each}={value}") for each, value in pairs.items()}


def _weight(value: object, name: str, said_as: str) -> float:
    try:
        weight = float(str(value))
    except ValueError:
        weight = math.nan
    if not 0 < weight < math.inf:
        raise ConfigError(f"a weight of {option(name)} has to be a number above 0, got {said_as!r}.")
    return weight


def _of_text(text: str, name: str) -> dict[str, object]:
    cells = next(csv.reader(io.StringIO(text), skipinitialspace=True), [])
    if not cells or not all("=" in cell for cell in cells):
        files = ", ".join(_READERS)
        raise ConfigError(
            f"{option(name)} has to be {BALANCED!r}, weights by class such as 'cat=2,dog=0.5', or a file of them "
            f"({files}): got {text!r}."
        )
    return {label.strip(): value.strip() for label, _, value in (cell.rpartition("=") for cell in cells)}


def _of_file(path: Path, name: str) -> dict[str, object]:
    try:
        found = _READERS[path.suffix.lower()](path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise DataNotFoundError(f"there is no file {str(path)!r} with weights of classes.") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as weights of classes: {error}") from error
    if not isinstance(found, Mapping) or not found:
        raise ConfigError(f"{path} has to hold one weight per class for {option(name)}.")
    return {str(label): value for label, value in found.items()}


def _of_json(text: str) -> Any:
    import json

    return json.loads(text)


def _of_yaml(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _of_csv(text: str) -> dict[str, str]:
    rows = [row for row in csv.reader(io.StringIO(text)) if row]
    if not all(len(row) == 2 for row in rows):
        raise ValueError("each line has to be a class, a comma, and its weight")
    return {row[0]: row[1] for row in rows if row[0] != "class"}


_READERS = {".json": _of_json, ".yaml": _of_yaml, ".yml": _of_yaml, ".csv": _of_csv}


def unweighted(logits: Tensor, found: Objective, task: Task) -> Tensor:
    """Logits of the data as it is, of those that were trained with weights."""
    weight = None if found.weight is None else torch.tensor(found.weight)
    yes = None if found.pos_weight is None else torch.tensor(found.pos_weight)
    offset = unweighting(task.kind, weight=weight, pos_weight=yes)
    return logits if offset is None else logits + offset
