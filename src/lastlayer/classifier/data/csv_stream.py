"""CSV in pieces: whole rows come out, bad ones in their place. A bad row never shifts or swallows the others."""

import csv
import hashlib
import io
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from lastlayer.classifier.config import Config
from lastlayer.classifier.data import tables
from lastlayer.classifier.data.blocks import WholeLines, bad_byte, begins_as_utf16
from lastlayer.classifier.data.chunks import Chunk
from lastlayer.classifier.data.rows import Rows, examples, plural
from lastlayer.classifier.data.text_tables import separator_of
from lastlayer.classifier.extras import need
from lastlayer.errors import DataError
from lastlayer.messages.wording import option

_END = "\0"  # a line after the last: it comes back as a row of its own unless a quote is still open
_OPEN_LINES, _OPEN_SIZE = 10_000, 2**20  # lines and characters after which a quote counts as never closed
_NEVER_CLOSED = "it has a quote that is never closed"


class _Record(NamedTuple):
    cells: list[str] | None
    problem: str


class CsvChunks:
    """A CSV that is fed block by block.

    Args:
        name: What its rows are called by.
        suffix: ".csv" or ".tsv": what stands between cells where the header does not tell.
        config: Encoding and separator.
        wanted: Columns that are read; None reads all.
    """

    def __init__(self, name: str, suffix: str, config: Config, wanted: Sequence[str] | None) -> None:
        self.name, self.suffix, self.separator = name, suffix, config.separator
        self.lines = WholeLines(name, config.encoding)
        self.wanted = wanted
        self.delimiter = ","
        self.columns: list[str] = []
        self.places: list[int] = []
        self.open: list[str] = []  # the lines of a row whose quote is not closed yet
        self.row = self.line = 0
        self.fed = hashlib.sha256()

    def feed(self, block: bytes, *, last: bool = False) -> Chunk | None:
        """Return the rows that are whole now, if there are any."""
        self.fed.update(block)
        whole = self.lines.feed(block, last)
        if not whole and not self.open:
            return None
        table = self._plain(whole) if self.columns and not self.open else None
        if table is not None:
            self.line += whole.count(b"\n")
            return self._chunk(table, table.num_rows, {})
        lines = self.open + list(io.StringIO(self.lines.text(whole), newline=""))
        self.open = []
        before = csv.field_size_limit(sys.maxsize)
        try:
            if not self.columns:
                lines = self._header(lines, whole, last)
            records = list(self._records(lines, last)) if self.columns else []
        finally:
            csv.field_size_limit(before)
        good = [record.cells for record in records if record.cells is not None]
        problems = {place: record.problem for place, record in enumerate(records) if record.cells is None}
        return self._chunk(self._table(good) if good else None, len(records), problems)

    def _chunk(self, table: Any, rows: int, problems: dict[int, str]) -> Chunk | None:
        if rows == 0:
            return None
        names = [f"{self.name}#{row}" for row in range(self.row + 1, self.row + rows + 1)]
        self.row += rows
        read = None
        if table is not None:
            good = [name for place, name in enumerate(names) if place not in problems] if problems else names
            read = Rows("table", tables.as_dataset(table, self.name), good)
        return Chunk(names, read, problems, self.fed.digest())

    def _header(self, lines: list[str], whole: bytes, last: bool) -> list[str]:
        """Read the names of the columns off the first line that is not empty, and return the lines after it."""
        self.delimiter = separator_of(Path(f"header{self.suffix}"), lines, self.separator)
        reader = csv.reader(chain(lines, [_END]), delimiter=self.delimiter)
        cells = next(filter(None, reader))
        if cells == [_END]:
            self.line += len(lines)
            return []
        if cells[-1].endswith(_END):
            if not last and self._size(lines, 0) <= _OPEN_SIZE:
                self.open = lines
                return []
            raise DataError(f"{self.name}, the header has a quote that is never closed: the rest would be one cell.")
        if not any(cells):
            raise DataError(f"{self.name} is empty: expected a header line with the names of the columns.")
        byte = bad_byte("".join(cells))
        if byte is not None:
            other = "utf-16" if begins_as_utf16(whole) else "cp949"
            raise DataError(
                f"the header of {self.name} cannot be read: {self.lines.says(byte)}. Name the encoding: "
                f"{option('encoding', other)}."
            )
        columns = [name or f"Unnamed: {place}" for place, name in enumerate(cells)]
        twice = sorted({name for name in columns if columns.count(name) > 1})
        if twice:
            raise DataError(f"{self.name} has more than one column named {examples(twice)}. Give each its own name.")
        self.columns = columns
        # Of a table that lacks a column everything is read: the message names what it has.
        whole_table = self.wanted is None or not set(self.wanted) <= set(columns)
        self.places = [place for place, name in enumerate(columns) if whole_table or name in (self.wanted or ())]
        self.line = reader.line_num
        return lines[reader.line_num :]

    def _records(self, lines: list[str], last: bool) -> Iterator[_Record]:
        """The rows in `lines`; what waits for the end of a quote is kept for the next block."""
        start = 0
        while start < len(lines):
            reader = csv.reader(chain(lines[start:], [_END]), delimiter=self.delimiter)
            first, stray = start, False
            for cells in reader:
                stop = first + reader.line_num
                if cells == [_END]:
                    return
                if cells and cells[-1].endswith(_END):
                    if not last and len(lines) - start <= _OPEN_LINES and self._size(lines, start) <= _OPEN_SIZE:
                        self.open = lines[start:]
                        return
                    stray = True
                else:
                    stray = len(cells) != len(self.columns) and self._is_stray(lines[start + 1 : stop])
                if stray:  # only the line with the quote is lost: those after it are rows of their own
                    yield _Record(None, f"{_NEVER_CLOSED} (line {self.line + 1})")
                    self.line += 1
                    start += 1
                    break
                if cells:  # empty lines are no rows
                    yield self._judged(cells)
                self.line += stop - start
                start = stop

    @staticmethod
    def _size(lines: list[str], start: int) -> int:
        return sum(map(len, lines[start:]))

    def _is_stray(self, lines: list[str]) -> bool:
        """Whether lines that a quote joined to the one before are rows by themselves."""
        alone = [next(csv.reader([line], delimiter=self.delimiter), []) for line in lines]
        return bool(lines) and all(len(cells) == len(self.columns) for cells in alone)

    def _judged(self, cells: list[str]) -> _Record:
        if len(cells) != len(self.columns):
            return _Record(
                None,
                f"line {self.line + 1} has {plural(len(cells), 'cell')}, the header has {len(self.columns)}: put "
                f"quotes around cells that hold {self.delimiter!r}",
            )
        kept = [cells[place] for place in self.places]
        text = "".join(kept)
        byte = None if text.isascii() else bad_byte(text)
        return _Record(kept, "") if byte is None else _Record(None, f"line {self.line + 1}: {self.lines.says(byte)}")

    def _table(self, records: list[list[str]]) -> Any:
        arrow, names = need("pyarrow"), [self.columns[place] for place in self.places]
        if not names:
            return arrow.table({"": arrow.nulls(len(records))})
        cells = [arrow.array(column, arrow.string()) for column in zip(*records, strict=True)]
        return arrow.Table.from_arrays(cells, names=names)

    def _plain(self, lines: bytes) -> Any:
        """Lines without a quote, read by Arrow, ten times as fast; None where they need a closer look."""
        if not self.places or b'"' in lines or b"\0" in lines or lines.count(b"\r") != lines.count(b"\r\n"):
            return None
        arrow, reader = need("pyarrow"), need("pyarrow.csv")
        keys = [str(place) for place in range(len(self.columns))]
        try:
            table = reader.read_csv(
                arrow.py_buffer(lines),
                reader.ReadOptions(column_names=keys, use_threads=False, block_size=len(lines) + 1),
                reader.ParseOptions(
                    delimiter=self.delimiter, quote_char=False, double_quote=False, ignore_empty_lines=True
                ),
                reader.ConvertOptions(
                    column_types=dict.fromkeys(keys, arrow.string()),
                    strings_can_be_null=False,
                    include_columns=[keys[place] for place in self.places],
                ),
            )
        except arrow.ArrowException:  # a row of another width, or a byte that is no UTF-8: row by row, then
            return None
        return table.rename_columns([self.columns[place] for place in self.places])
