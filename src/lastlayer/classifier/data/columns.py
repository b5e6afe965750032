"""From the cells of a table to tensors. Scales, fillers and categories are learnt from training rows only."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lastlayer.classifier.config import Config
from lastlayer.classifier.data.rows import examples, plural
from lastlayer.classifier.data.tables import arrow
from lastlayer.classifier.extras import need
from lastlayer.classifier.journal import Journal
from lastlayer.errors import ColumnError, DataError, did_you_mean

_ALMOST_NUMERIC = 0.95  # share of numbers from which a column is numeric and its other cells are missing
_FEW_CATEGORIES = 50  # so many different words are categories however few rows there are


@dataclass(frozen=True)
class Column:
    """How one column becomes numbers.

    Attributes:
        name: Of the column.
        kind: "numeric" and "boolean" are standardised; "categorical" becomes an index.
        center: Subtracted from a number.
        scale: What it is then divided by.
        filler: Stands for a missing number: the median.
        missing: Whether training rows lack it; then lacking it is information of its own.
        categories: The words of training rows, in order. Index 0 is any other word, the last index a missing cell.
    """

    name: str
    kind: Literal["numeric", "boolean", "categorical"]
    center: float = 0.0
    scale: float = 1.0
    filler: float = 0.0
    missing: bool = False
    categories: tuple[str, ...] = ()

    @property
    def indices(self) -> int:
        """How many indices a categorical column has."""
        return len(self.categories) + 2


class Encoded(NamedTuple):
    """A table as tensors, and the rows that could not be encoded, with the reason."""

    numbers: Tensor  # (rows, numeric columns and flags), float32
    indices: Tensor  # (rows, categorical columns), int64
    problems: dict[int, str]


@dataclass(frozen=True)
class TableSpec:
    """How a table becomes tensors.

    Attributes:
        columns: In the order of the tensors.
        words_for_missing: Cells that count as missing.
    """

    columns: tuple[Column, ...]
    words_for_missing: tuple[str, ...]

    @property
    def number_width(self) -> int:
        """Width of the tensor of numbers: one per numeric column, and one more where missing is information."""
        return sum(1 + column.missing for column in self.columns if column.kind != "categorical")

    @property
    def index_sizes(self) -> tuple[int, ...]:
        """How many indices each categorical column has."""
        return tuple(column.indices for column in self.columns if column.kind == "categorical")

    def encode(self, data: Any) -> Encoded:
        """Return the rows of a dataset as tensors; a row with a cell that cannot be read is a problem, by reason."""
        lacking = [column.name for column in self.columns if column.name not in data.column_names]
        if lacking:
            raise ColumnError(
                f"the table lacks {plural(len(lacking), 'column')} that the model was trained on: "
                f"{examples(lacking, 8)}.{did_you_mean(lacking[0], data.column_names)} "
                f"It has: {examples(data.column_names, 12)}."
            )
        table, rows, missing = arrow(data), len(data), set(self.words_for_missing)
        numbers: list[np.ndarray] = []
        indices: list[np.ndarray] = []
        problems: dict[int, str] = {}
        for column in self.columns:
            cells = table.column(column.name)
            if column.kind == "categorical":
                indices.append(_indices(column, words(cells, missing)))
                continue
            values, bad = _numbers(column, cells, missing)
            for row in np.flatnonzero(bad):
                cell = str(cells[int(row)].as_py())
                problems.setdefault(int(row), f"{column.name}: {cell!r} is not {_A_KIND[column.kind]}")
            lacks = np.isnan(values)
            numbers.append((np.where(lacks, column.filler, values) - column.center) / column.scale)
            if column.missing:
                numbers.append(lacks.astype(np.float64))
        return Encoded(
            torch.from_numpy(np.stack(numbers, 1).astype(np.float32)) if numbers else torch.zeros(rows, 0),
            torch.from_numpy(np.stack(indices, 1)) if indices else torch.zeros(rows, 0, dtype=torch.int64),
            problems,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the specification as plain values, for model.json."""
        return {"kind": "table", **asdict(self)}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "TableSpec":
        """Undo `to_dict`."""
        columns = tuple(Column(**{**each, "categories": tuple(each["categories"])}) for each in plain["columns"])
        return cls(columns, tuple(plain["words_for_missing"]))


_A_KIND = {"numeric": "a number", "boolean": "true or false"}


def learn_columns(data: Any, config: Config, journal: Journal) -> TableSpec:
    """Decide how each column of the training rows becomes numbers, and say which are left out and why."""
    for name in config.ignore + config.categorical:
        if name not in data.column_names:
            raise ColumnError(
                f"there is no column {name!r} to ignore or to take as categories."
                f"{did_you_mean(name, data.column_names)} The columns are: {examples(data.column_names, 12)}."
            )
    table = arrow(data)
    learnt = [
        _learn(name, table.column(name), config, journal) for name in data.column_names if name not in config.ignore
    ]
    columns = tuple(column for column in learnt if column is not None)
    if not columns:
        raise DataError(
            "no column is left to learn from: expected at least one with numbers or categories beside the target. "
            "Keep one that was left out with --categorical NAME."
        )
    kinds = [column.kind for column in columns]
    counts = [f"{kinds.count(kind)} {kind}" for kind in ("numeric", "boolean", "categorical") if kind in kinds]
    journal.say(f"Columns: {', '.join(counts)}.")
    return TableSpec(columns, config.missing)


def _learn(name: str, cells: Any, config: Config, journal: Journal) -> Column | None:
    missing = set(config.missing)
    types = need("pyarrow").types
    if types.is_nested(cells.type) or types.is_binary(cells.type):
        journal.say(f"Column {name!r} left out: it holds {cells.type}, neither numbers nor words.")
        return None
    text = words(cells, missing)
    present = [word for word in text if word is not None]
    if len(set(present)) < 2:
        journal.say(f"Column {name!r} left out: {f'it is always {present[0]!r}' if present else 'it is empty'}.")
        return None
    lacks = len(present) < len(text)
    if name not in config.categorical:
        is_text = types.is_string(cells.type) or types.is_large_string(cells.type) or types.is_dictionary(cells.type)
        if types.is_boolean(cells.type) or (is_text and all(word.lower() in _TRUTH for word in present)):
            return _standardised(Column(name, "boolean", missing=lacks), cells, missing)
        _, bad = _numbers(Column(name, "numeric"), cells, missing)
        numeric = len(present) - int(bad.sum())
        if not is_text or numeric == len(present):
            return _standardised(Column(name, "numeric", missing=lacks), cells, missing)
        if numeric >= _ALMOST_NUMERIC * len(present):
            odd = sorted({text[row] or "" for row in np.flatnonzero(bad)})
            journal.say(
                f"Column {name!r} is numeric; {plural(int(bad.sum()), 'cell')} that are no numbers count as missing "
                f"({examples([repr(word) for word in odd])})."
            )
            return _standardised(Column(name, "numeric", missing=True), cells, missing)
    categories = sorted(set(present))
    if len(categories) > max(_FEW_CATEGORIES, len(present) // 2) and name not in config.categorical:
        journal.say(
            f"Column {name!r} left out: {len(categories):,} different words in {plural(len(present), 'row')} look like "
            f"an identifier or free text. Keep it with --categorical {name}."
        )
        return None
    return Column(name, "categorical", missing=lacks, categories=tuple(categories))


def _standardised(column: Column, cells: Any, missing: set[str]) -> Column:
    values, _ = _numbers(column, cells, missing)
    present = values[~np.isnan(values)]
    center, scale = float(present.mean()), float(present.std())
    return Column(
        column.name, column.kind, center, scale if scale > 0 else 1.0, float(np.median(present)), column.missing
    )


def words(cells: Any, missing: set[str]) -> list[str | None]:
    """The cells as words without surrounding spaces; None where missing."""
    stripped = (None if cell is None or cell != cell else str(cell).strip() for cell in cells.to_pylist())
    return [None if word is None or word in missing else word for word in stripped]


_TRUTH = {"true": 1.0, "false": 0.0}


def _numbers(column: Column, cells: Any, missing: set[str]) -> tuple[np.ndarray, np.ndarray]:
    """The cells as float64, NaN where missing or not a number, and which of them are not a number."""
    types = need("pyarrow").types
    if types.is_boolean(cells.type) or types.is_integer(cells.type) or types.is_floating(cells.type):
        values = cells.to_pandas().astype("float64").to_numpy(copy=True)
        values[np.isinf(values)] = np.nan
        return values, np.zeros(len(values), bool)
    if types.is_temporal(cells.type):
        values = np.array([np.nan if cell is None else _seconds(cell) for cell in cells.to_pylist()])
        return values, np.zeros(len(values), bool)
    text = words(cells, missing)
    read = _truth if column.kind == "boolean" else _number
    values = np.array([np.nan if word is None else read(word) for word in text], dtype=np.float64)
    bad = np.isnan(values) & np.array([word is not None for word in text], dtype=bool)
    return values, bad


def _number(word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        return float("nan")
    return value if abs(value) != float("inf") else float("nan")


def _truth(word: str) -> float:
    return _TRUTH.get(word.lower(), float("nan"))


def _seconds(cell: Any) -> float:
    return float(need("pandas").Timestamp(str(cell)).timestamp())


def _indices(column: Column, text: Sequence[str | None]) -> np.ndarray:
    known = {word: index for index, word in enumerate(column.categories, start=1)}
    last = column.indices - 1
    return np.array([last if word is None else known.get(word, 0) for word in text], dtype=np.int64)
