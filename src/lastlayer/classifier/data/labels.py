"""From the target column, or several of them, to the class of each row, or the labels that hold for it."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from lastlayer.classifier.config import Config
from lastlayer.classifier.data import tables
from lastlayer.classifier.data.columns import words
from lastlayer.classifier.data.rows import Answer, Label, examples
from lastlayer.classifier.extras import need
from lastlayer.errors import ConfigError, DataError
from lastlayer.messages import Message, few
from lastlayer.messages.wording import option

_MOST = 2**63  # numbers beyond it have no type in the files that predictions are written to: they are words
_HOLDS = {"1": True, "1.0": True, "true": True, "yes": True, "0": False, "0.0": False, "false": False, "no": False}


def columns_of(config: Config) -> tuple[str, ...]:
    """The target column, or the several."""
    if config.target is None:
        return ()
    return (config.target,) if isinstance(config.target, str) else config.target


def named(config: Config) -> Message:
    """What to call where the classes come from."""
    columns = columns_of(config)
    if not columns:
        return Message("data.all")
    if len(columns) == 1:
        return Message("data.column", column=columns[0])
    return Message("data.columns", columns=few(columns))


def read_answers(data: Any, config: Config) -> list[Answer | None]:
    """The class, or the labels that hold, of each row of a dataset; None where it is missing.

    Any number of labels may hold where there are several target columns, where the cells of the only one are lists, or
    where a separator is named; then an empty cell or list says that none does.
    """
    columns = columns_of(config)
    table = tables.arrow(data)
    if len(columns) > 1:
        return _of_columns({name: table.column(name) for name in columns}, config)
    cells = table.column(columns[0])
    types = need("pyarrow").types
    if types.is_list(cells.type) or types.is_large_list(cells.type):
        return _of_lists(cells.to_pylist(), config)
    if config.label_separator is not None:
        return _of_words(cells, config.label_separator, config)
    if config.task == "multilabel":
        raise ConfigError(
            f"a multi-label task needs rows with any number of labels, and column {columns[0]!r} holds one cell each: "
            f"say what stands between the labels in it, such as {option('label_separator', ',')}, or name one column "
            f"per label with several {option('target')}."
        )
    return list(read_labels(cells, config))


def with_spaces(data: Any, config: Config) -> list[int]:
    """The rows whose class is written with spaces around it; they are taken off."""
    columns = columns_of(config)
    cells = tables.arrow(data).column(columns[0])
    if len(columns) > 1 or not need("pyarrow").types.is_string(cells.type):
        return []
    trimmed = need("pyarrow.compute").utf8_trim_whitespace(cells)
    odd = need("pyarrow.compute").not_equal(cells, trimmed)
    return [int(row) for row in odd.to_pandas().fillna(value=False).to_numpy(dtype=bool).nonzero()[0]]


def _of_columns(columns: dict[str, Any], config: Config) -> list[Answer | None]:
    missing = set(config.missing)
    holds: dict[str, list[bool | None]] = {}
    for name, cells in columns.items():
        text = words(cells, missing)
        odd = Counter(word for word in text if word is not None and word.lower() not in _HOLDS)
        if odd:
            raise DataError(
                f"each of several target columns says whether a label holds (0 or 1, true or false, yes or no), and "
                f"{name!r} has {examples([repr(word) for word, _ in odd.most_common()])}. Name one target column, or "
                "write 0 and 1."
            )
        holds[name] = [None if word is None else _HOLDS[word.lower()] for word in text]
    rows = zip(*holds.values(), strict=True)
    return [None if None in row else tuple(name for name, held in zip(holds, row, strict=True) if held) for row in rows]


def _of_lists(lists: Sequence[Sequence[Any] | None], config: Config) -> list[Answer | None]:
    missing = set(config.missing)
    texts = [None if cell is None else [str(label).strip() for label in cell if label is not None] for cell in lists]
    return _as_sets([None if row is None else [word for word in row if word not in missing] for row in texts])


def _of_words(cells: Any, separator: str, config: Config) -> list[Answer | None]:
    missing = set(config.missing) - {""}
    texts = ("" if cell is None else str(cell).strip() for cell in cells.to_pylist())
    return _as_sets(
        [
            None if text in missing else [part.strip() for part in text.split(separator) if part.strip()]
            for text in texts
        ]
    )


def _as_sets(rows: Sequence[Sequence[str] | None]) -> list[Answer | None]:
    """Each label once and in one order, as numbers where all are written as numbers."""
    known = _classes({word for row in rows if row is not None for word in row})
    return [None if row is None else tuple(known[word] for word in sorted(set(row))) for row in rows]


def read_labels(cells: Any, config: Config) -> list[Label | None]:
    """Classes as numbers where all are written as numbers, else as words ("007" is a word); None where missing."""
    if need("pyarrow").types.is_boolean(cells.type):
        return list(cells.to_pylist())
    text = words(cells, set(config.missing))
    known = _classes({word for word in text if word is not None})
    return [None if word is None else known[word] for word in text]


def _classes(found: set[str]) -> dict[str, Label]:
    known: dict[str, Label] = {}
    for word in found:
        number = _number(word)
        if number is None:
            return {word: word for word in found}
        known[word] = number
    return known


def _number(word: str) -> int | float | None:
    """The number that a word is the usual way to write; 3.0 is 3, as a column with missing cells has it."""
    for read in (int, float):
        try:
            number = read(word)
        except ValueError:
            continue
        if str(number) == word and abs(number) < _MOST:  # inf and nan are words too
            return int(number) if float(number).is_integer() else number
    return None


def in_order(labels: Any) -> tuple[Label, ...]:
    """Classes in order: numbers by value, words by letter, and "2" before "10".

    >>> in_order(["10", "9", "2"]), in_order(["b", "a"])
    (('2', '9', '10'), ('a', 'b'))
    """
    return tuple(sorted(labels, key=_order))


def _order(label: Label) -> tuple[int, float, str]:
    try:
        number = float(label)
    except (ValueError, OverflowError):
        number = math.nan
    return (0, number, str(label)) if math.isfinite(number) else (1, 0.0, str(label))
