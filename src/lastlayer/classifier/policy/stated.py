"""Costs and shares of classes as people state them: in a flag, in YAML, in Python, in a file."""

import csv
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lastlayer.classifier.data.rows import examples
from lastlayer.classifier.spelling import number, quoted
from lastlayer.classifier.task import Task
from lastlayer.errors import ConfigError, DataNotFoundError, did_you_mean
from lastlayer.messages.wording import option

Costs = tuple[Any, ...]
_NUMBER = r"\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?"
_PAIR = re.compile(rf"({_NUMBER}):({_NUMBER})")
_UNIFORM = "uniform"


def read_costs(text: str, task: Task) -> Costs:
    """Costs as numbers: (classes, classes) by true class and decision, or (2, 2) or (labels, 2, 2) of labels.

    The text is a .csv file, or rows of numbers ("0,1;5,0", in the order of the classes), or some costs by name
    ("malignant>benign=50", the true class first; every other mistake costs 1), or with sigmoids the cost of a false
    yes and of a false no ("1:5"; of single labels "spam=1:5,urgent=1:20").
    """
    if text.lower().endswith(".csv"):
        return _of_file(Path(text), task)
    if _PAIR.fullmatch(text.strip()) and task.kind != "multiclass":
        return _square(*map(float, text.strip().split(":")))
    if task.kind == "multilabel":
        return _of_labels(text, task)
    if "=" in text:
        return _by_name(text, task)
    rows = [[_number(cell, "cost") for cell in re.split(r"[,\s]+", row.strip())] for row in re.split("[;/]", text)]
    return _checked(rows, task)


def written(costs: Costs, task: Task) -> str:
    """Costs as a text that `read_costs` reads, without a file.

    >>> written(((0.0, 1.0), (5.0, 0.0)), Task("binary", ("no", "yes")))
    '0,1;5,0'
    """
    if task.kind != "multilabel":
        return ";".join(",".join(map(number, row)) for row in costs)
    if not isinstance(costs[0][0], tuple):
        return f"{number(costs[0][1])}:{number(costs[1][0])}"
    return ";".join(f"{number(each[0][1])}:{number(each[1][0])}" for each in costs)


def read_shares(text: str, task: Task, trained: Sequence[float]) -> tuple[float, ...]:
    """Shares of the classes where the model is used; of sigmoids those of yes.

    The text is "uniform", or shares by name: "spam=0.01". Classes that are not named keep the proportions among them
    that they had in training (`trained`); a label that is not named keeps its share.
    """
    if text.strip() == _UNIFORM:
        if task.kind == "multilabel":
            raise ConfigError(f"{option('deploy_prior', _UNIFORM)} is for classes; name the share of each label.")
        return (0.5,) if task.kind == "binary" else (1 / len(task.classes),) * len(task.classes)
    named = {place: _number(value, "share") for place, value in _named(text, task, "deploy_prior").items()}
    if not all(0 < share < 1 for share in named.values()):
        raise ConfigError(f"every share of {option('deploy_prior')} has to lie between 0 and 1, got {text!r}.")
    if task.kind == "multilabel":
        return tuple(named.get(place, share) for place, share in enumerate(trained))
    all_trained = (1 - trained[0], trained[0]) if task.kind == "binary" else tuple(trained)
    rest = sum(share for place, share in enumerate(all_trained) if place not in named)
    left = 1 - sum(named.values())
    if (left <= 0) if rest else abs(left) > 1e-9:
        wanted = "less than 1, since classes are left that it does not name" if rest else "1"
        raise ConfigError(
            f"the shares of {option('deploy_prior')} have to sum to {wanted}, got {sum(named.values()):g}."
        )
    shares = [named.get(place, share / rest * left if rest else 0.0) for place, share in enumerate(all_trained)]
    total = math.fsum(shares)
    return (shares[1] / total,) if task.kind == "binary" else tuple(share / total for share in shares)


def _of_file(path: Path, task: Task) -> Costs:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except FileNotFoundError as error:
        raise DataNotFoundError(f"there is no file {str(path)!r} with costs.") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path} cannot be read as a table of costs: {error}") from error
    wanted = (
        "a row per label: its name, what a false yes costs, what a false no costs"
        if task.kind == "multilabel"
        else "a heading with the decided classes, and a row per true class: its name, and its costs"
    )
    if len(rows) < 2 or len({len(row) for row in rows}) > 1:
        raise ConfigError(f"{path} is no table of costs: it needs {wanted}.")
    if task.kind == "multilabel":
        return _of_labels(",".join(f"{quoted(row[0])}={row[1]}:{row[2]}" for row in rows[1:] if len(row) == 3), task)
    columns, lines = (
        [_place(name, task, "cost") for name in rows[0][1:]],
        [_place(row[0], task, "cost") for row in rows[1:]],
    )
    everyone = list(range(len(task.classes)))
    if sorted(columns) != everyone or sorted(lines) != everyone:
        raise ConfigError(f"{path} has to name every class once in its heading and once in its first column.")
    costs = [[0.0] * len(everyone) for _ in everyone]
    for place, row in zip(lines, rows[1:], strict=True):
        for column, cell in zip(columns, row[1:], strict=True):
            costs[place][column] = _number(cell, "cost")
    return _checked(costs, task)


def _by_name(text: str, task: Task) -> Costs:
    classes = len(task.classes)
    costs = [[float(true != decided) for decided in range(classes)] for true in range(classes)]
    for part in _parts(text):
        pair, _, value = part.rpartition("=")
        true, sign, decided = pair.partition(">")
        if not sign:
            raise ConfigError(
                f"{option('cost')} has to name the true class and the decision, such as "
                f"'{task.names[0]}>{task.names[1]}=5': got {part!r}."
            )
        costs[_place(true, task, "cost")][_place(decided, task, "cost")] = _number(value, "cost")
    return _checked(costs, task)


def _of_labels(text: str, task: Task) -> Costs:
    found = [(1.0, 1.0)] * len(task.classes)
    if "=" in text:
        named = _named(text, task, "cost").items()
    else:
        parts = [part.strip() for part in text.split(";")]
        if len(parts) != len(task.classes):
            raise ConfigError(
                f"{option('cost')} of labels has to be 'A:B', where a false yes costs A and a false no B, or "
                f"'{task.names[0]}=A:B', or one of {len(task.classes)} in a row with ; between: got {text!r}."
            )
        named = dict(enumerate(parts)).items()
    for place, value in named:
        pair = _PAIR.fullmatch(value.strip())
        if pair is None:
            raise ConfigError(f"the cost of a label is 'A:B', a false yes and a false no: got {value!r}.")
        found[place] = float(pair[1]), float(pair[2])
    return tuple(_square(*pair) for pair in found)


def _square(alarm: float, miss: float) -> Costs:
    return ((0.0, alarm), (miss, 0.0))


def _named(text: str, task: Task, setting: str) -> dict[int, str]:
    found: dict[int, str] = {}
    for part in _parts(text):
        name, sign, value = part.rpartition("=")
        if not sign:
            raise ConfigError(f"{option(setting)} has to be 'NAME=VALUE,...', got {part!r}.")
        found[_place(name, task, setting)] = value
    return found


def _parts(text: str) -> list[str]:
    """What stands between commas; a name with a comma stands in quotes."""
    return [part.replace('"', "").strip() for part in re.findall(r'(?:[^,"]|"[^"]*")+', text) if part.strip()]


def _place(name: str, task: Task, setting: str) -> int:
    clean = name.strip()
    if clean not in task.names:
        raise ConfigError(
            f"{option(setting)} names {clean!r}, which is not one of the classes {examples(task.names, 8)}."
            f"{did_you_mean(clean, task.names)}"
        )
    return task.names.index(clean)


def _number(cell: str, what: str) -> float:
    try:
        number = float(cell)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ConfigError(f"a {what} has to be a finite number, got {cell!r}.")
    return number


def _checked(costs: Sequence[Sequence[float]], task: Task) -> Costs:
    classes = len(task.classes)
    if len(costs) != classes or any(len(row) != classes for row in costs):
        found = f"{len(costs)} rows of {examples(sorted({str(len(row)) for row in costs}))} numbers"
        raise ConfigError(
            f"{option('cost')} needs a row per true class and a column per decision, {classes} × {classes} for "
            f"{examples(task.names, 8)}: got {found}."
        )
    return tuple(tuple(float(cell) for cell in row) for row in costs)
