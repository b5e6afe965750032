"""JSON lines as Arrow tables: a value keeps its type while the others of its column have it, else all are text."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from lastlayer.classifier.data import blocks
from lastlayer.classifier.data.text_tables import check_decoded, decoded
from lastlayer.classifier.extras import need
from lastlayer.classifier.journal import Listener
from lastlayer.errors import DataError
from lastlayer.messages import Message

_BROKEN = re.compile("[\ud800-\udfff]")
_ESCAPED = re.compile(r"\\u[dD][89a-fA-F]")


def read_jsonl(path: Path) -> Any:
    """Return an Arrow table of JSON lines; a column of several types becomes text."""
    return from_rows(_rows(decoded(path.read_bytes(), path.name, "utf-8"), 1, path.name))


def jsonl_batches(path: Path, listener: Listener) -> Iterator[tuple[Any, int]]:
    """The rows of a file of any size as record batches of one schema, each with how many bytes are read by then.

    The file is read twice: any of its lines may bring a column, or make another one text.
    """
    check_decoded(path, "utf-8")
    kinds: dict[str, _Kind] = {}
    total, doing = path.stat().st_size, Message("read.progress.lines", name=path.name)
    try:
        for rows, read in _parsed(path):
            listener.progress(doing, read, total)
            for name in dict.fromkeys(name for row in rows for name in row):
                kinds.setdefault(name, _Kind()).see([row.get(name) for row in rows])
    finally:
        listener.progress(doing, total, total)
    schema = need("pyarrow").schema([(name, kind.type) for name, kind in kinds.items()])
    for rows, read in _parsed(path):
        arrays = [kind.array([row.get(name) for row in rows]) for name, kind in kinds.items()]
        yield need("pyarrow").RecordBatch.from_arrays(arrays, schema=schema), read


def from_rows(rows: Sequence[dict[Any, Any]]) -> Any:
    """An Arrow table of dictionaries; a key that one of them lacks is missing there."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    arrays = [_typed([row.get(name) for row in rows]) for name in names]
    return need("pyarrow").Table.from_arrays(arrays, names=[str(name) for name in names])


def _parsed(path: Path) -> Iterator[tuple[list[dict[str, Any]], int]]:
    """Some rows at a time, and how many bytes are read by then."""
    lines, number, read = blocks.WholeLines(path.name, "utf-8", returns=False), 1, 0
    for block, now in chain(blocks.of_file(path), [(b"", None)]):
        whole, read = lines.feed(block, last=now is None), now or read
        rows = _rows(whole.decode(), number, path.name)
        number += whole.count(b"\n")
        if rows:
            yield rows, read


def _rows(text: str, first: int, name: str) -> list[dict[str, Any]]:
    """The objects of some lines, of which one is the `first` of a file; an empty line is none."""
    return [_row(line, number, name) for number, line in enumerate(text.split("\n"), first) if line.strip()]


def _row(line: str, number: int, name: str) -> dict[str, Any]:
    what = f"{name} cannot be read as jsonl: line {number}"
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", type(error).__name__)
        raise DataError(f"{what} is no JSON ({reason}). Expected one object a line.") from error
    if not isinstance(row, dict):
        raise DataError(
            f'{what} holds a {type(row).__name__}. Expected one object a line, such as {{"length": 3, "kind": "rose"}}.'
        )
    if _ESCAPED.search(line) and _BROKEN.search(json.dumps(row, ensure_ascii=False)):
        raise DataError(f"{what} holds half of a surrogate pair, which is no text. Write the whole character.")
    return row


@dataclass
class _Kind:
    """The type of a column, as Arrow finds it, of all values seen so far; None once they are text.

    Attributes:
        found: Of the values.
        wide: Whether an integer was among them that float64 does not hold: beside fractions they are text.
    """

    found: Any = None
    is_text: bool = False
    wide: bool = False

    def see(self, values: Sequence[Any]) -> None:
        """Go on with the values of more rows."""
        if self.is_text:
            return
        arrow = need("pyarrow")
        try:
            array = arrow.array(values)
            kinds = [array.type] if self.found is None else [self.found, array.type]
            schemas = [arrow.schema([("", kind)]) for kind in kinds]
            self.found = arrow.unify_schemas(schemas, promote_options="permissive").field(0).type
        except (arrow.ArrowException, OverflowError, TypeError):
            self.is_text = True
            return
        try:
            array.cast(_in_floats(array.type))
        except arrow.ArrowInvalid:
            self.wide = True

    @property
    def type(self) -> Any:
        """Of the whole column."""
        return need("pyarrow").string() if self._as_text else self.found

    def array(self, values: Sequence[Any]) -> Any:
        """Some of the values, in the type of all."""
        return _texts(values) if self._as_text else need("pyarrow").array(values, self.found)

    @property
    def _as_text(self) -> bool:
        return self.is_text or (self.wide and "double" in str(self.found))


def _in_floats(kind: Any) -> Any:
    """A type with float64 in the place of integers."""
    arrow = need("pyarrow")
    if arrow.types.is_integer(kind):
        return arrow.float64()
    if arrow.types.is_list(kind):
        return arrow.list_(_in_floats(kind.value_type))
    if arrow.types.is_struct(kind):
        return arrow.struct([(field.name, _in_floats(field.type)) for field in kind])
    return kind


def _typed(values: list[Any]) -> Any:
    arrow = need("pyarrow")
    try:
        return arrow.array(values)
    except (arrow.ArrowException, OverflowError, TypeError):
        return _texts(values)


def _texts(values: Sequence[Any]) -> Any:
    text = [None if value is None else _as_text(value) for value in values]
    return need("pyarrow").array(text, need("pyarrow").string())


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, (bool, dict, list)) else str(value)
