"""From the cells of a table to tensors. Scales, fillers and categories are learnt from training rows only."""

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from lastlayer.classifier.config import Config
from lastlayer.classifier.data.plain_numbers import plain_numbers
from lastlayer.classifier.data.rows import examples, plural
from lastlayer.classifier.data.tables import arrow
from lastlayer.classifier.data.text_columns import TextSpec, learn_text, looks_like_text, text_spec
from lastlayer.classifier.data.text_rows import TextRows
from lastlayer.classifier.extras import need
from lastlayer.classifier.journal import Journal
from lastlayer.errors import ColumnError, ConfigError, DataError, did_you_mean
from lastlayer.messages import Message, few
from lastlayer.messages.wording import option

_ALMOST_NUMERIC = 0.95  # share of numbers from which a column is numeric and its other cells are missing
_SOME_NUMBERS = 0.1  # share of numbers from which a column of words is said to mix both
_FEW_CATEGORIES = 50  # so many different words are categories however few rows there are
_FARTHEST = 1e9  # standard deviations; a float32 network gives NaN for cells that are much farther off
_HUGE = 1e150  # numbers whose squares overflow
_ENOUGH_TO_FLAG = 10  # rows that lack a number teach what lacking it means; fewer teach what those rows are
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_COMMA = re.compile(r"[+-]?\d+,\d+")
_COUNTER = re.compile(r"Unnamed: \d+")  # a column without a name, such as the index that pandas writes


@dataclass(frozen=True)
class Column:
    """How one column becomes numbers.

    Attributes:
        name: Of the column.
        kind: "numeric", "boolean" and "date" (seconds since 1970) are standardised; "categorical" becomes an index;
            "text" becomes the n-grams or tokens of what is written there.
        center: Subtracted from a number.
        scale: What it is then divided by.
        filler: Stands for a missing number: the median.
        missing: Whether lacking it is information of its own: enough training rows do, and a number has a flag for it.
        categories: The words of training rows, in order. Index 0 is any other word, the last index a missing cell.
    """

    name: str
    kind: Literal["numeric", "boolean", "date", "categorical", "text"]
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
    texts: tuple[TextRows, ...] = ()  # of each text column


@dataclass(frozen=True)
class TableSpec:
    """How a table becomes tensors.

    Attributes:
        columns: In the order of the tensors.
        words_for_missing: Cells that count as missing.
        texts: How the text columns are read, in their order.
    """

    columns: tuple[Column, ...]
    words_for_missing: tuple[str, ...]
    texts: tuple[TextSpec, ...] = ()

    @property
    def number_width(self) -> int:
        """Width of the tensor of numbers: one per numeric column, and one more where missing is information."""
        return sum(1 + column.missing for column in self.columns if column.kind not in ("categorical", "text"))

    @property
    def index_sizes(self) -> tuple[int, ...]:
        """How many indices each categorical column has."""
        return tuple(column.indices for column in self.columns if column.kind == "categorical")

    @property
    def only_text(self) -> str | None:
        """The name of the one column there is, if it is text."""
        return self.columns[0].name if [column.kind for column in self.columns] == ["text"] else None

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
        numbers = np.zeros((rows, self.number_width), np.float32)
        at = 0
        indices: list[np.ndarray] = []
        problems: dict[int, str] = {}
        texts: list[TextRows] = []
        for column in self.columns:
            cells = table.column(column.name)
            if column.kind == "text":
                texts.append(self.texts[len(texts)].encode(words(cells, missing)))
                continue
            if column.kind == "categorical":
                indices.append(_indices(column, words(cells, missing)))
                continue
            values, bad = _numbers(column, cells, missing)
            for row in np.flatnonzero(bad):
                cell = str(cells[int(row)].as_py())
                problems.setdefault(int(row), f"{column.name}: {cell!r} is not {_A_KIND[column.kind]}")
            lacks = np.isnan(values)
            scaled = _scaled(np.where(lacks, column.filler, values), column)
            for row in np.flatnonzero(np.abs(scaled) > _FARTHEST):
                cell = str(cells[int(row)].as_py())
                problems.setdefault(
                    int(row), f"{column.name}: {cell} lies a billion standard deviations from the training rows"
                )
                scaled[row] = 0.0
            numbers[:, at] = scaled
            if column.missing:
                numbers[:, at + 1] = lacks
            at += 1 + column.missing
        return Encoded(
            torch.from_numpy(numbers),
            torch.from_numpy(np.stack(indices, 1)) if indices else torch.zeros(rows, 0, dtype=torch.int64),
            problems,
            tuple(texts),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the specification as plain values, for model.json."""
        return {
            "kind": "table",
            "columns": [asdict(column) for column in self.columns],
            "words_for_missing": list(self.words_for_missing),
            **({"texts": [text.to_dict() for text in self.texts]} if self.texts else {}),
        }

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "TableSpec":
        """Undo `to_dict`."""
        columns = tuple(Column(**{**each, "categories": tuple(each["categories"])}) for each in plain["columns"])
        texts = tuple(map(text_spec, plain.get("texts", ())))
        if len(texts) != sum(column.kind == "text" for column in columns):
            raise ValueError(f"{len(texts)} tokenizers for its text columns")
        return cls(columns, tuple(plain["words_for_missing"]), texts)


_A_KIND = {"numeric": "a number", "boolean": "true or false", "date": "a date"}


def _scaled(values: np.ndarray, column: Column) -> np.ndarray:
    """Standardised; halves, since the difference of two numbers may be beyond what a float holds."""
    with np.errstate(over="ignore"):
        scaled: np.ndarray = (values / 2 - column.center / 2) / (column.scale / 2)
    return scaled


def learn_columns(data: Any, config: Config, journal: Journal) -> TableSpec:
    """Decide how each column of the training rows becomes numbers, and say which are left out and why."""
    for name in config.ignore + config.categorical + config.text:
        if name not in data.column_names:
            raise ColumnError(
                f"there is no column {name!r} to ignore, or to take as categories or text."
                f"{did_you_mean(name, data.column_names)} The columns are: {examples(data.column_names, 12)}."
            )
    both = sorted(set(config.text) & set(config.categorical))
    if both:
        raise ConfigError(
            f"column {both[0]!r} is named as both {option('text')} and {option('categorical')}: take one."
        )
    table = arrow(data)
    flags = _Flags()
    learnt = [
        _learn(name, table.column(name), config, journal, flags)
        for name in data.column_names
        if name not in config.ignore
    ]
    columns = tuple(column for column in learnt if column is not None)
    if not columns:
        raise DataError(
            "no column is left to learn from: expected at least one with numbers or categories beside the target. "
            f"Keep one that was left out with {option('categorical')}."
        )
    kinds = [column.kind for column in columns]
    known = [kind for kind in get_args(Column.__annotations__["kind"]) if kind in kinds]
    counts = [Message(f"columns.{kind}", count=kinds.count(kind)) for kind in known]
    journal.say(Message("columns.found", shown=counts))
    texts = tuple(
        learn_text(column.name, words(table.column(column.name), set(config.missing)), config, journal)
        for column in columns
        if column.kind == "text"
    )
    return TableSpec(columns, config.missing, texts)


class _Flags:
    """Which numbers have a flag that says that they are missing: one for columns that the same rows lack."""

    def __init__(self) -> None:
        self._given: set[bytes] = set()

    def has(self, lacks: np.ndarray) -> bool:
        """Whether the column that these rows lack gets a flag: enough rows do, and no flag says the same."""
        if lacks.sum() < _ENOUGH_TO_FLAG or (rows := np.packbits(lacks).tobytes()) in self._given:
            return False
        self._given.add(rows)
        return True


def _learn(name: str, cells: Any, config: Config, journal: Journal, flags: _Flags) -> Column | None:
    missing = set(config.missing)
    types = need("pyarrow").types
    if types.is_nested(cells.type) or types.is_binary(cells.type):
        journal.say(Message("column.type", name=name, type=str(cells.type)))
        return None
    text = words(cells, missing)
    present = [word for word in text if word is not None]
    if len(set(present)) < 2:
        journal.say(
            Message("column.constant", name=name, value=present[0]) if present else Message("column.empty", name=name)
        )
        return None
    lacks = len(present) < len(text)
    if _COUNTER.fullmatch(name) and len(set(present)) == len(text) and all(word.isdecimal() for word in present):
        journal.say(Message("column.counter", name=name))
        return None
    if name in config.text:
        return Column(name, "text", missing=lacks)
    if name not in config.categorical:
        found = _as_numbers(name, cells, text, missing, journal, flags)
        if found is not None:
            return found
        if looks_like_text(name, present, journal):
            return Column(name, "text", missing=lacks)
    categories = sorted(set(present))
    if len(categories) > max(_FEW_CATEGORIES, len(present) // 2) and name not in config.categorical:
        keep = {"text": option("text", name), "categorical": option("categorical", name)}
        journal.say(Message("column.identifier", name=name, different=len(categories), rows=len(present), **keep))
        return None
    return Column(name, "categorical", missing=lacks, categories=tuple(categories))


def _as_numbers(
    name: str, cells: Any, text: Sequence[str | None], missing: set[str], journal: Journal, flags: _Flags
) -> Column | None:
    """A column of numbers, truths or dates; None where it is words. What is not plain is said."""
    types = need("pyarrow").types
    present = [word for word in text if word is not None]
    is_text = types.is_string(cells.type) or types.is_large_string(cells.type)
    if types.is_boolean(cells.type) or (is_text and all(word.lower() in _TRUTH for word in present)):
        return _standardised(Column(name, "boolean"), cells, missing, flags)
    dates = types.is_temporal(cells.type) or (is_text and _share(present, lambda word: bool(_DATE.match(word))))
    kind: Literal["date", "numeric"] = "date" if dates else "numeric"
    _, bad = _numbers(Column(name, kind), cells, missing)
    infinite = np.array([word is not None and word.lstrip("+-").lower() in ("inf", "infinity") for word in text])
    numbers, odd = len(present) - int(bad.sum()), bad & ~infinite
    if numbers and odd.sum() <= (1 - _ALMOST_NUMERIC) * len(present):
        if dates:
            journal.say(Message("column.dates", name=name))
        if infinite.any():
            journal.say(Message("column.infinite", name=name, cells=int(infinite.sum())))
        if odd.any():
            shown = few([repr(word) for word in sorted({text[int(row)] or "" for row in np.flatnonzero(odd)})])
            what = "column.odd_dates" if dates else "column.odd_numbers"
            journal.say(Message(what, name=name, cells=int(odd.sum()), shown=shown))
        return _standardised(Column(name, kind), cells, missing, flags)
    if _share(present, lambda word: bool(_COMMA.fullmatch(word)) or word.lstrip("+-").isdecimal()):
        journal.say(Message("column.commas", name=name))
    elif numbers >= _SOME_NUMBERS * len(present):
        journal.say(Message("column.words", name=name, numbers=numbers, cells=len(present), least=_ALMOST_NUMERIC))
    return None


def _share(words_: Sequence[str], holds: Callable[[str], bool]) -> bool:
    """Whether almost all words are of a kind."""
    return sum(map(holds, words_)) >= _ALMOST_NUMERIC * len(words_)


def check_features(data: Any, config: Config) -> None:
    """Refuse a table without any column that could tell rows apart, before anything is made of it."""
    table, missing = arrow(data), set(config.missing)
    names = [name for name in data.column_names if name not in config.ignore]
    if any(len({word for word in words(table.column(name), missing) if word is not None}) > 1 for name in names):
        return
    found = (
        f"{examples(names)} {'holds' if len(names) == 1 else 'hold'} one value or none" if names else "there is none"
    )
    raise DataError(
        f"no column is left to learn from beside the target: {found}. Expected at least one column whose cells differ."
    )


def _standardised(column: Column, cells: Any, missing: set[str], flags: _Flags) -> Column:
    values, _ = _numbers(column, cells, missing)
    lacks = np.isnan(values)
    present = values[~lacks]
    most = float(np.abs(present).max())
    size = most if most > _HUGE else 1.0
    center, scale = size * float((present / size).mean()), size * float((present / size).std())
    filler = float(np.median(present / size)) * size
    return Column(column.name, column.kind, center, scale if scale > 0 else 1.0, filler, flags.has(lacks))


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
        bad = np.isinf(values)
        values[bad] = np.nan
        return values, bad
    if types.is_temporal(cells.type):
        values = np.array([np.nan if cell is None else _seconds(cell) for cell in cells.to_pylist()])
        return values, np.zeros(len(values), bool)
    plain = plain_numbers(cells, missing) if column.kind == "numeric" else None
    if plain is not None:
        return plain, np.zeros(len(plain), bool)
    text = words(cells, missing)
    read = {"boolean": _truth, "date": _moment}.get(column.kind, _number)
    values = np.array([np.nan if word is None else read(word) for word in text], dtype=np.float64)
    bad = np.isnan(values) & np.array([word is not None for word in text], dtype=bool)
    return values, bad


def _number(word: str) -> float:
    try:
        value = float(word) if "_" not in word else float("nan")  # 1_000 is Python's spelling, not people's
    except ValueError:
        return float("nan")
    return value if abs(value) != float("inf") else float("nan")


def _truth(word: str) -> float:
    return _TRUTH.get(word.lower(), float("nan"))


def _moment(word: str) -> float:
    try:
        return _seconds(datetime.fromisoformat(word))
    except ValueError:
        return float("nan")


def _seconds(cell: date | time | timedelta) -> float:
    """Of a time span, since midnight, or since 1970; a date without a zone is read as UTC, on every machine alike."""
    if isinstance(cell, timedelta):
        return cell.total_seconds()
    if isinstance(cell, time):
        return timedelta(
            hours=cell.hour, minutes=cell.minute, seconds=cell.second, microseconds=cell.microsecond
        ).total_seconds()
    moment = cell if isinstance(cell, datetime) else datetime(cell.year, cell.month, cell.day)
    return float((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _indices(column: Column, text: Sequence[str | None]) -> np.ndarray:
    known = {word: index for index, word in enumerate(column.categories, start=1)}
    last = column.indices - 1
    return np.array([last if word is None else known.get(word, 0) for word in text], dtype=np.int64)
