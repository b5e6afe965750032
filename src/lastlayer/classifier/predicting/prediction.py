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
from lastlayer.decisions import ABSTAINED, Policy
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
        policy: How they become decisions.
        problems: Why a row could not be read, by its number; its probabilities mean nothing.
        left_out: What stood among the inputs and is none, such as a text file in a folder of images.
    """

    names: Sequence[str]
    task: Task
    logits: Tensor
    probabilities: Tensor
    policy: Policy
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
            parts[0].policy,
            {start + row: why for start, part in zip(starts, parts, strict=True) for row, why in part.problems.items()},
            tuple(each for part in parts for each in part.left_out),
        )

    @classmethod
    def of_nothing(cls, name: str, task: Task, policy: Policy, why: str) -> "Predictions":
        """One row for an input that cannot be opened."""
        unknown = torch.full((1, len(task.classes)), torch.nan, dtype=torch.float64)
        return cls([name], task, unknown[:, 0] if task.kind == "binary" else unknown, unknown, policy, {0: why})

    @property
    def decisions(self) -> Tensor:
        """Class indices (rows), or 0 and 1 (rows, labels); −1 where nothing is decided. Problems mean nothing."""
        return self.policy.decide(torch.nan_to_num(self.logits, 0.0, 0.0, 0.0))

    @property
    def sets(self) -> Tensor | None:
        """Which classes are in the set of each row, (rows, classes); None where the policy makes no sets."""
        return None if self.policy.sets is None else self.policy.set_of(torch.nan_to_num(self.logits, 0.0, 0.0, 0.0))

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
        """One dictionary per row: input, prediction, probability; more of both with `top_k`; error where there is.

        With a price of abstaining there is `abstain`: whether the row is left undecided, or which of its labels are.
        With prediction sets there is `set`: the classes that hold the true one as often as was promised.
        """
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
        decisions, made = self.decisions.tolist(), self.sets
        sets, values = None if made is None else made.tolist(), self.probabilities.tolist()
        rows = []
        for row, (places, decision) in enumerate(zip(order, decisions, strict=True)):
            if several:
                entry = self._labels(row, places, decision, values[row])
            else:
                first = [] if decision == ABSTAINED else [decision]  # costs may decide for another than the likeliest
                ranked = first + [place for place in places if place not in first]
                entry = self._row(row, ranked[:top_k], decision == ABSTAINED, values[row])
            if sets is not None:
                held = [place for place in places if sets[row][place]]
                entry["set"] = [self.task.classes[place] for place in held] if row not in self.problems else None
            rows.append(entry | self._rest(row, every_class, values[row]))
        return rows

    def _row(self, row: int, order: list[int], abstains: bool, values: list[float]) -> dict[str, Any]:
        fine = row not in self.problems
        entry: dict[str, Any] = {"input": self.names[row]}
        for place, index in enumerate(order, start=1):
            suffix = "" if place == 1 else f"_{place}"
            shown = fine and not (place == 1 and abstains)
            entry[f"prediction{suffix}"] = self.task.classes[index] if shown else None
            entry[f"probability{suffix}"] = values[index] if shown else None
        if self.policy.abstain is not None:
            entry["abstain"] = abstains if fine else None
        return entry

    def _labels(self, row: int, order: list[int], decision: list[int], values: list[float]) -> dict[str, Any]:
        """The labels that hold, most probable first, with their probabilities."""
        fine = row not in self.problems
        held = [place for place in order if decision[place] == 1]
        entry: dict[str, Any] = {"input": self.names[row]}
        entry["prediction"] = [self.task.classes[place] for place in held] if fine else None
        entry["probability"] = [values[place] for place in held] if fine else None
        if self.policy.abstain is not None:
            left = [self.task.classes[place] for place in order if decision[place] == ABSTAINED]
            entry["abstain"] = left if fine else None
        return entry

    def _rest(self, row: int, every_class: bool, values: list[float]) -> dict[str, Any]:
        fine = row not in self.problems
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
