"""What the checks look at: rows, their split, their contents, and their cells as words."""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from lastlayer.classifier.config import Config
from lastlayer.classifier.data.columns import words
from lastlayer.classifier.data.contents import repeated
from lastlayer.classifier.data.images import Seen
from lastlayer.classifier.data.rows import Answer, Label, Rows
from lastlayer.classifier.data.tables import arrow

PARTS = ("train", "validation", "calibration", "test")
_MOST_ROWS, _MOST_CELLS = 100_000, 1_000_000  # that are looked at, evenly taken
_TEXT_LENGTH, _TEXT_DIFFERENT = 20, 0.5  # words that are mostly different and this long on average are text


@dataclass(frozen=True)
class Subject:
    """Labelled rows before training.

    Attributes:
        rows: As they were read, those that cannot be used taken out (`rows.left_out` names them).
        contents: Equal where rows are equal.
        config: Settings of the training to come.
        part: "train", "validation", "calibration" or "test" of each row, given or as training would split; "" where it
            cannot.
        seen: What one look at each picture found, by row; empty for tables.
        folders: The class folders of images, empty ones too.
    """

    rows: Rows
    contents: Sequence[Hashable]
    config: Config
    part: Sequence[str]
    seen: Sequence[Seen] = field(default=())
    folders: Sequence[str] = field(default=())

    @property
    def is_split(self) -> bool:
        """Whether the source is split already."""
        return self.rows.given is not None

    @cached_property
    def labels(self) -> list[Answer]:
        """The class of each row, or the labels that hold for it."""
        return list(self.rows.labels or [])

    @cached_property
    def several(self) -> bool:
        """Whether any number of labels may hold for a row."""
        return any(isinstance(answer, tuple) for answer in self.labels)

    @cached_property
    def by_label(self) -> dict[Label, list[int]]:
        """The rows of each class, or those that each label holds for."""
        found: dict[Label, list[int]] = defaultdict(list)
        for row, answer in enumerate(self.labels):
            for label in answer if isinstance(answer, tuple) else (answer,):
                found[label].append(row)
        return dict(found)

    @cached_property
    def copies(self) -> list[list[int]]:
        """Rows that are equal, where there are several of them."""
        return repeated(self.contents)

    @cached_property
    def sample(self) -> np.ndarray:
        """The rows whose cells are looked at: all, or an even sample of a very long table."""
        width = 1 if self.rows.kind == "image" else max(1, len(self.rows.data.column_names))
        most = max(1, min(_MOST_ROWS, _MOST_CELLS // width))
        return np.arange(0, len(self.rows), max(1, -(-len(self.rows) // most)))

    @cached_property
    def table(self) -> Any:
        """The sampled rows as one Arrow table; None for images."""
        if self.rows.kind == "image":
            return None
        data = self.rows.data
        return arrow(data if len(self.sample) == len(data) else data.select(self.sample))

    @property
    def columns(self) -> list[str]:
        """The columns that training looks at."""
        return (
            [] if self.table is None else [name for name in self.table.column_names if name not in self.config.ignore]
        )

    @cached_property
    def _words(self) -> dict[str, list[str | None]]:
        return {}

    def words(self, column: str) -> list[str | None]:
        """The sampled cells of a column as words; None where missing."""
        if column not in self._words:
            self._words[column] = words(self.table.column(column), set(self.config.missing))
        return self._words[column]

    def is_text(self, column: str) -> bool:
        """Whether a column holds text rather than categories: mostly different cells, and long ones."""
        kind = self.table.schema.field(column).type
        if str(kind) not in ("string", "large_string"):
            return False
        present = [word for word in self.words(column) if word is not None]
        if not present:
            return False
        long = sum(map(len, present)) >= _TEXT_LENGTH * len(present)
        return long and len(set(present)) > _TEXT_DIFFERENT * len(present)

    def names(self, rows: Sequence[int]) -> tuple[str, ...]:
        """The names of some rows."""
        return tuple(self.rows.names[row] for row in rows)
