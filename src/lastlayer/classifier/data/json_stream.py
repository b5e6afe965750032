"""JSON lines in pieces: a line that is none keeps its place. A cell means the same whatever stands beside it."""

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

from lastlayer.classifier.data import tables
from lastlayer.classifier.data.blocks import WholeLines, bad_byte
from lastlayer.classifier.data.chunks import Chunk
from lastlayer.classifier.data.columns import Column
from lastlayer.classifier.data.rows import Rows
from lastlayer.classifier.extras import need
from lastlayer.errors import DataError

_BROKEN = re.compile("[\ud800-\udfff]")


class JsonChunks:
    """JSON lines that are fed block by block.

    Arrow would give a column the type that the other rows of its chunk suggest; so every cell becomes text by
    itself, spelt as the training rows spelt it.

    Args:
        name: What its rows are called by.
        wanted: Columns that are read; None reads all, as text.
    """

    def __init__(self, name: str, wanted: Sequence[Column] | None) -> None:
        self.name = name
        self.lines = WholeLines(name, "utf-8", returns=False)
        self.wanted = wanted
        self.known = {column.name: frozenset(column.categories) for column in wanted or ()}
        self.kinds = {column.name: column.kind for column in wanted or ()}
        self.row = self.line = 0
        self.begun = False
        self.fed = hashlib.sha256()

    def feed(self, block: bytes, *, last: bool = False) -> Chunk | None:
        """Return the rows that are whole now, if there are any."""
        self.fed.update(block)
        whole = self.lines.feed(block, last)
        if not whole:
            return None
        records, problems = [], {}
        names: list[str] = []
        for line in whole.removesuffix(b"\n").split(b"\n"):
            self.line += 1
            if not line.strip():
                continue
            try:
                records.append(self._record(line))
            except DataError as error:
                problems[len(names)] = f"line {self.line} {error}"
            self.row += 1
            names.append(f"{self.name}#{self.row}")
        if not names:
            return None
        good = [name for place, name in enumerate(names) if place not in problems]
        rows = Rows("table", tables.as_dataset(self._table(records), self.name), good) if records else None
        return Chunk(names, rows, problems, self.fed.digest())

    def _record(self, line: bytes) -> dict[str, Any]:
        text = self.lines.text(line)
        byte = None if text.isascii() else bad_byte(text)
        if byte is not None:
            raise DataError(f"cannot be read: {self.lines.says(byte)}")
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"is no JSON ({getattr(error, 'msg', type(error).__name__)})") from error
        if "\\u" in text and _BROKEN.search(json.dumps(row, ensure_ascii=False)):
            raise DataError("holds half of a surrogate pair, which is no text")
        if not isinstance(row, dict):
            raise DataError(f"holds a {type(row).__name__}: expected an object")
        return row

    def _table(self, records: list[dict[str, Any]]) -> Any:
        """Text columns. One that no row of the first chunk has is lacking; later, a cell that is absent is missing."""
        arrow = need("pyarrow")
        there = dict.fromkeys(name for row in records for name in row)
        wanted = [column.name for column in self.wanted or ()]
        names = wanted if wanted and (self.begun or set(wanted) <= there.keys()) else list(there)
        self.begun = True
        if not names:
            return arrow.table({"": arrow.nulls(len(records))})
        cells = [[self._spelt(name, row.get(name)) for row in records] for name in names]
        return arrow.Table.from_arrays([arrow.array(each, arrow.string()) for each in cells], names=names)

    def _spelt(self, name: str, value: Any) -> str | None:
        """A value as the text that the same value had in the training rows."""
        if value is None or value != value:
            return None
        if isinstance(value, str):
            return value
        if isinstance(value, (dict, list)):
            return json.dumps(value, ensure_ascii=False)
        kind = self.kinds.get(name)
        if kind == "boolean" and value in (0, 1):
            return "true" if value else "false"
        ways = [str(value).lower(), str(value)] if isinstance(value, bool) else [str(value)]
        if kind != "categorical":
            return ways[0]
        if not isinstance(value, bool):  # a column of whole numbers and fractions was read as fractions: 1 was 1.0
            ways += [str(float(value))] if isinstance(value, int) and abs(value) < 2**53 else []
            ways += [str(int(value))] if isinstance(value, float) and value.is_integer() else []
        known = self.known[name]
        return next((way for way in ways if way in known), ways[0])
