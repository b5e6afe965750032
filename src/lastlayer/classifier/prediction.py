"""What a classifier says of new rows, as a table: one row per input, in order, whatever happened to it."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lastlayer.classifier.data.rows import LeftOut, plural
from lastlayer.classifier.extras import need
from lastlayer.classifier.files import cannot_write
from lastlayer.classifier.task import Task
from lastlayer.errors import ConfigError, DataError
from lastlayer.messages.wording import option

FORMATS = (".csv", ".jsonl", ".parquet")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for the beginning of one


@dataclass(frozen=True)
class Predictions:
    """Predictions of some rows.

    Attributes:
        names: What each row is called.
        task: The classes.
        logits: float64, (rows, classes), or (rows) for a binary task.
        probabilities: Calibrated, float64, (rows, classes).
        problems: Why a row could not be read, by its number; its probabilities mean nothing.
        left_out: What stood among the inputs and is none, such as a text file in a folder of images.
    """

    names: list[str]
    task: Task
    logits: Tensor
    probabilities: Tensor
    problems: dict[int, str]
    left_out: tuple[LeftOut, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def joined(cls, parts: Sequence["Predictions"]) -> "Predictions":
        """The rows of several, one after the other."""
        starts = [sum(map(len, parts[:place])) for place in range(len(parts))]
        return cls(
            [name for part in parts for name in part.names],
            parts[0].task,
            torch.cat([part.logits for part in parts]),
            torch.cat([part.probabilities for part in parts]),
            {start + row: why for start, part in zip(starts, parts, strict=True) for row, why in part.problems.items()},
            tuple(each for part in parts for each in part.left_out),
        )

    @classmethod
    def of_nothing(cls, name: str, task: Task, why: str) -> "Predictions":
        """One row for an input that cannot be opened."""
        unknown = torch.full((1, len(task.classes)), torch.nan, dtype=torch.float64)
        return cls([name], task, unknown[:, 0] if task.kind == "binary" else unknown, unknown, {0: why})

    def refuse_problems(self, advice: str = "") -> "Predictions":
        """Return self; where an array has no place for a row that could not be read, raise instead, with `advice`."""
        if self.problems:
            row, reason = next(iter(self.problems.items()))
            raise DataError(
                f"{plural(len(self.problems), 'row')} of {len(self):,} cannot be predicted, first {self.names[row]}: "
                f"{reason}.{advice}"
            )
        return self

    def table(self, *, top_k: int = 1, every_class: bool = False) -> list[dict[str, Any]]:
        """One dictionary per row: input, prediction, probability; more of both with `top_k`; error where there is."""
        if not 1 <= top_k <= len(self.task.classes):
            raise ConfigError(
                f"{option('top_k')} has to lie between 1 and the {len(self.task.classes)} classes, got {top_k}."
            )
        several = self.task.kind == "multilabel"
        if several and top_k > 1:
            raise ConfigError(
                f"{option('top_k')} is for one class of many, and here any number of labels may hold: "
                f"{option('every_class', True)} shows the probability of each."
            )
        order = self.probabilities.argsort(dim=1, descending=True, stable=True).tolist()
        if several:
            return [self._labels(row, order[row], every_class) for row in range(len(self))]
        order = [places[:top_k] for places in order]
        values = self.probabilities.tolist()
        return [self._row(row, order[row], values[row], every_class) for row in range(len(self))]

    def _row(self, row: int, order: list[int], values: list[float], every_class: bool) -> dict[str, Any]:
        fine = row not in self.problems
        entry: dict[str, Any] = {"input": self.names[row]}
        for place, index in enumerate(order, start=1):
            suffix = "" if place == 1 else f"_{place}"
            entry[f"prediction{suffix}"] = self.task.classes[index] if fine else None
            entry[f"probability{suffix}"] = values[index] if fine else None
        return entry | self._rest(row, every_class)

    def _labels(self, row: int, order: list[int], every_class: bool) -> dict[str, Any]:
        """The labels that hold, most probable first, with their probabilities."""
        entry: dict[str, Any] = {"input": self.names[row], "prediction": None, "probability": None}
        if row not in self.problems:
            held = [place for place in order if self.probabilities[row, place] > 0.5]
            entry["prediction"] = [self.task.classes[place] for place in held]
            entry["probability"] = self.probabilities[row, held].tolist()
        return entry | self._rest(row, every_class)

    def _rest(self, row: int, every_class: bool) -> dict[str, Any]:
        fine, values = row not in self.problems, self.probabilities[row].tolist()
        entry: dict[str, Any] = {}
        if every_class:
            entry |= {
                f"p({name})": value if fine else None for name, value in zip(self.task.names, values, strict=True)
            }
        if self.problems:
            entry["error"] = self.problems.get(row)
        return entry

    def write(self, path: Path, *, top_k: int = 1, every_class: bool = False, keep_formulas: bool = False) -> None:
        """Write the table to a .csv, .jsonl or .parquet file; `keep_formulas` as for `as_csv`."""
        check_format(path)
        rows = self.table(top_k=top_k, every_class=every_class)
        try:
            if path.suffix.lower() == ".parquet":
                need("pyarrow.parquet").write_table(need("pyarrow").Table.from_pylist(rows), path)
            else:
                csv_ = path.suffix.lower() == ".csv"
                text = as_csv(rows, keep_formulas=keep_formulas) if csv_ else as_jsonl(rows)
                path.write_text(text, encoding="utf-8", newline="")
        except OSError as error:
            raise cannot_write(path, error) from error


def check_format(path: Path) -> None:
    """Refuse a file whose ending names no format."""
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(
            f"{option('output')} has to end in {', '.join(FORMATS)}, which names the format: got {path.name!r}."
        )


def as_csv(rows: list[dict[str, Any]], *, header: bool = True, keep_formulas: bool = False) -> str:
    """Rows as CSV; numbers in full.

    A spreadsheet would run a text that begins with = + - @, a tab or a carriage return as a formula: a file may be
    called =cmd|.... An apostrophe before it makes it a text, unless `keep_formulas`.

    >>> print(as_csv([{"input": "=1+1.png", "probability": -0.5}]), end="")
    input,probability
    '=1+1.png,-0.5
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    heads = list(rows[0]) if rows else ["input"]
    if header:
        writer.writerow(heads)
    writer.writerows([_cell(row.get(head), keep_formulas) for head in heads] for row in rows)
    return buffer.getvalue()


def _cell(value: Any, keep_formulas: bool) -> Any:
    """A cell of a text table; of several labels or their probabilities one after the other, with | between."""
    text = "|".join(map(str, value)) if isinstance(value, list) else value
    harmless = keep_formulas or not isinstance(text, str) or not text.startswith(_FORMULA)
    return text if harmless else f"'{text}"


def as_jsonl(rows: list[dict[str, Any]]) -> str:
    """Rows as JSON, one a line."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
