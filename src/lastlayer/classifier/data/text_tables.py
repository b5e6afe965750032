"""Text tables, line by line: cells as they were written, and the place of what cannot be read."""

import codecs
import csv
import io
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any

from lastlayer.classifier.data.rows import examples, plural
from lastlayer.classifier.extras import need
from lastlayer.errors import ConfigError, DataError
from lastlayer.messages.wording import option

_SEPARATORS = (",", ";", "\t", "|")
_END = "\0"  # a line after the last: it comes back as a row of its own unless a quote is still open
_CHUNK = 2_000  # rows at a time as Python strings: what stays in the cache is read twice as fast as 50,000
_BLOCK = 2**22  # bytes of a large file that are checked at a time
_MARKS = (b"\xff\xfe", b"\xfe\xff")  # how UTF-16 begins


def read_csv(path: Path, encoding: str = "utf-8", separator: str | None = None) -> Any:
    """Return an Arrow table of strings. A column without a name is called as pandas calls it: "Unnamed: 0"."""
    raw = path.read_bytes()
    decoded(raw, path.name, encoding)  # all of it, before any row is made
    batches = list(_batches(lambda: io.BytesIO(raw), path, encoding, separator))
    if not batches:
        raise DataError(f"{path.name} has no rows: expected at least one.")
    return need("pyarrow").Table.from_batches(batches)


def csv_batches(path: Path, encoding: str = "utf-8", separator: str | None = None) -> Iterator[tuple[Any, int]]:
    """The rows of a file of any size as record batches of strings, each with how many bytes are read by then."""
    check_decoded(path, encoding)
    opened: list[Any] = []

    def stream() -> Any:
        opened.append(path.open("rb"))
        return opened[-1]

    for batch in _batches(stream, path, encoding, separator):
        yield batch, opened[-1].tell()


def _batches(stream: Callable[[], Any], path: Path, encoding: str, separator: str | None) -> Iterator[Any]:
    with closing(_lines(stream(), encoding)) as text:
        delimiter = separator_of(path, text, separator)
    with _cells_of_any_length(), closing(_lines(stream(), encoding)) as text:
        lines = csv.reader(chain(text, [_END]), delimiter=delimiter)
        rows = filter(None, lines)  # empty lines are no rows
        header = next(rows)
        if not any(header) or header == [_END]:
            raise DataError(f"{path.name} is empty: expected a header line with the names of the columns.")
        _refuse_open_quote(header, path.name, "the header")
        columns = [name or f"Unnamed: {place}" for place, name in enumerate(header)]
        refuse_same_names(columns, path.name)
        checked = _whole_rows(rows, lines, path.name, len(columns), delimiter)
        strings = need("pyarrow").string()
        schema = need("pyarrow").schema([(name, strings) for name in columns])
        while chunk := list(islice(checked, _CHUNK)):
            arrays = [need("pyarrow").array(cells, strings) for cells in zip(*chunk, strict=True)]
            yield need("pyarrow").RecordBatch.from_arrays(arrays, schema=schema)


def refuse_same_names(columns: Sequence[str], name: str) -> None:
    """Refuse a table in which a name means two columns."""
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if twice:
        raise DataError(f"{name} has more than one column named {examples(twice)}. Give each its own name.")


def _whole_rows(rows: Iterator[list[str]], lines: Any, name: str, width: int, delimiter: str) -> Iterator[list[str]]:
    """The rows up to the end, each with as many cells as the header."""
    start = lines.line_num
    for row, cells in enumerate(rows, start=1):
        if cells == [_END]:
            return
        _refuse_open_quote(cells, name, f"row {row} (line {start + 1})")
        if len(cells) != width:
            raise DataError(
                f"{name}, row {row} (line {lines.line_num}) has {plural(len(cells), 'cell')}, the header has {width}. "
                f"Put quotes around cells that hold {delimiter!r}, or name the separator: {option('separator')}."
            )
        start = lines.line_num
        yield cells


def ragged_rows(path: Path, encoding: str = "utf-8", separator: str | None = None) -> Iterator[str]:
    """Every row of a file whose cells are not as many as the header's, by number and line."""
    with closing(_lines(path.open("rb"), encoding)) as text:
        delimiter = separator_of(path, text, separator)
    with _cells_of_any_length(), closing(_lines(path.open("rb"), encoding)) as text:
        lines = csv.reader(text, delimiter=delimiter)
        rows = filter(None, lines)
        width = len(next(rows, []))
        for row, cells in enumerate(rows, start=1):
            if len(cells) != width:
                yield f"{path.name}#{row} (line {lines.line_num}: {plural(len(cells), 'cell')}, not {width})"


def _refuse_open_quote(cells: list[str], name: str, where: str) -> None:
    if cells[-1].endswith(_END):
        raise DataError(
            f"{name}, {where} has a quote that is never closed: the rest of the file would be one cell. Close it, or "
            "double a quote that belongs to the text."
        )


def separator_of(path: Path, lines: Iterable[str], given: str | None) -> str:
    """What stands between cells: what was named, or what the header holds most of."""
    if given is not None:
        given = "\t" if given == "\\t" else given
        if len(given) != 1 or given in '"\r\n\0':
            raise ConfigError(f"{option('separator')} has to be one character, such as ; or \\t, got {given!r}.")
        return given
    header = next((line for line in lines if line.strip()), "")
    default = "\t" if path.suffix.lower() == ".tsv" else ","
    return default if default in header else max((default, *_SEPARATORS), key=header.count)


def _lines(stream: Any, encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(stream, encoding=_with_mark(encoding), newline="")


def decoded(raw: bytes, name: str, encoding: str) -> str:
    """The text that bytes are, or which byte of which line is none."""
    try:
        text = raw.decode(_with_mark(encoding))
    except UnicodeDecodeError as error:
        raise _wrong_encoding(error, 0, raw[:2], name, encoding) from error
    except (LookupError, UnicodeError) as error:
        raise _no_encoding(encoding) from error
    _refuse_zero_bytes(text, name)
    return text


def check_decoded(path: Path, encoding: str) -> None:
    """What `decoded` checks, for a file that is not read into memory."""
    try:
        decoder = codecs.getincrementaldecoder(_with_mark(encoding))()
    except LookupError as error:
        raise _no_encoding(encoding) from error
    lines, start = 0, b""
    with path.open("rb") as file:
        while raw := file.read(_BLOCK):
            start = start or raw[:2]
            try:
                _refuse_zero_bytes(decoder.decode(raw), path.name)
            except UnicodeDecodeError as error:
                raise _wrong_encoding(error, lines, start, path.name, encoding) from error
            lines += raw.count(b"\n")
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise _wrong_encoding(error, lines, start, path.name, encoding) from error


def _refuse_zero_bytes(text: str, name: str) -> None:
    if "\0" in text:
        raise DataError(
            f"{name} holds zero bytes: expected text. Is it in another encoding ({option('encoding', 'utf-16')})?"
        )


def _no_encoding(encoding: str) -> DataError:
    return DataError(f"there is no encoding {encoding!r} of text. Try utf-8, cp949 or latin-1.")


def _wrong_encoding(error: UnicodeDecodeError, lines: int, start: bytes, name: str, encoding: str) -> DataError:
    """Which byte of which line is of another encoding; `lines` are before what could not be decoded."""
    line = lines + error.object.count(b"\n", 0, error.start) + 1
    utf16 = f"It begins as UTF-16 does: {option('encoding', 'utf-16')}." if start.startswith(_MARKS) else ""
    return DataError(
        f"{name} is not {encoding} throughout: line {line} holds the byte {error.object[error.start]:#04x}. "
        + (
            utf16
            or f"Save it in one encoding, or name it: {option('encoding', 'cp949')} (Korean Windows), "
            f"{option('encoding', 'latin-1')} (Western Europe)."
        )
    )


def _with_mark(encoding: str) -> str:
    """Excel begins UTF-8 with a mark that would become part of the first name."""
    return "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding


@contextmanager
def _cells_of_any_length() -> Iterator[None]:
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)
