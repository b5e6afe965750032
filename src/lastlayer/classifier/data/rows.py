"""Rows as they were read: what each is called, what it holds, and what it is labelled."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Label = str | int | float | bool
Answer = Label | tuple[Label, ...]  # of several labels that may hold together, those that do


@dataclass(frozen=True)
class LeftOut:
    """A row that cannot be used, by name, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Rows:
    """Rows of one kind.

    Attributes:
        kind: "image": the column "image" of `data` holds {"path", "bytes"}, one of them None. "table": the columns
            are features.
        data: A `datasets.Dataset`, one entry per row.
        names: What a person calls each row: a path, or file#number, counted from 1.
        labels: The class of each row, or the labels that hold for it; None where the rows are not labelled.
        given: "train", "validation", "calibration" or "test" of each row, where the source is split already.
        left_out: Rows of the source that are not among these, and why.
        groups: What each row belongs to, where it was said: rows of one group stand on one side of a split.
    """

    kind: Literal["image", "table"]
    data: Any
    names: list[str]
    labels: Sequence[Answer] | None = None
    given: list[str] | None = None
    left_out: tuple[LeftOut, ...] = field(default=())
    groups: list[str] | None = None

    def __len__(self) -> int:
        return len(self.names)

    def select(self, rows: Sequence[int]) -> "Rows":
        """Return some of the rows, in the order given."""
        return replace(
            self,
            data=self.data.select(rows),
            names=[self.names[row] for row in rows],
            labels=None if self.labels is None else [self.labels[row] for row in rows],
            given=None if self.given is None else [self.given[row] for row in rows],
            groups=None if self.groups is None else [self.groups[row] for row in rows],
        )

    def without(self, left_out: Mapping[int, str]) -> "Rows":
        """Return the rows but those of `left_out`, which gives the reason of each."""
        if not left_out:
            return self
        kept = self.select([row for row in range(len(self)) if row not in left_out])
        named = tuple(LeftOut(self.names[row], reason) for row, reason in left_out.items())
        return replace(kept, left_out=self.left_out + named)


def examples(names: Sequence[object], most: int = 3) -> str:
    """Name a few of many, for a message.

    >>> examples(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    shown = ", ".join(str(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def listing(names: Sequence[object], most: int = 6) -> str:
    """Name things that have an order, the first and the last of many.

    >>> listing(range(10)), listing(["cat", "dog"])
    ('0, 1, 2, 3, …, 9', 'cat, dog')
    """
    if len(names) <= most:
        return ", ".join(map(str, names))
    return f"{', '.join(map(str, names[: most - 2]))}, …, {names[-1]}"


def readable(name: str) -> str:
    r"""A file name as text that can be written anywhere: bytes that are no UTF-8 become \xNN.

    >>> print(readable("cat.png"), readable("\udcff.png"))
    cat.png \xff.png
    """
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def plural(count: int, noun: str, many: str | None = None) -> str:
    """A number with its noun.

    >>> plural(1, "row"), plural(1200, "row"), plural(2, "class", "classes")
    ('1 row', '1,200 rows', '2 classes')
    """
    return f"{count:,} {noun if count == 1 else many or noun + 's'}"
