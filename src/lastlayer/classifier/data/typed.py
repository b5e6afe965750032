"""Texts that a person types, or sends line by line, to a model whose only column is text."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lastlayer.classifier.config import Config
from lastlayer.classifier.data import tables
from lastlayer.classifier.data.rows import Rows
from lastlayer.classifier.data.text_rows import readable_text
from lastlayer.classifier.extras import need
from lastlayer.errors import DataError

_SHOWN = 60  # characters of a text in the place of its name


def texts(source: Any, column: str, config: Config) -> Rows | None:
    """Rows of one text each; None where `source` names a table, or holds one.

    Args:
        source: A text, a list of texts, a .txt file with a text a line, or bytes of texts, one a line.
        column: The name of the text column.
        config: Of the run: the encoding.
    """
    if isinstance(source, bytes):
        return None if _holds_a_table(source, column, config) else _lines(source, "stdin", column, config)
    if isinstance(source, Path):
        source = str(source)
    if isinstance(source, str):
        if source.lower().endswith(".txt") and is_file(source):
            return _lines(Path(source).read_bytes(), Path(source).name, column, config)
        return None if names_a_table(source) else _rows([source], [_shown(source)], column)
    if isinstance(source, (list, tuple)) and source and all(isinstance(each, str) for each in source):
        if any(names_a_table(each) or is_file(each) for each in source):
            return None
        return _rows(source, [_shown(each) for each in source], column)
    return None


def names_a_table(source: str) -> bool:
    """Whether a text is rather the name of a table, there or not, or of a row of one."""
    stem, hash_, row = source.rpartition("#")
    name = stem if hash_ and row.isdecimal() else source
    one_word = len(name.split()) == 1 and tables.is_table(Path(name)) and len(name) < 4096
    return one_word or is_file(name)


def is_file(name: str) -> bool:
    """Whether a file or folder of that name exists; an empty text is none."""
    try:
        return bool(name) and Path(name).exists()
    except (OSError, ValueError):  # too long, or with a zero byte
        return False


def _holds_a_table(content: bytes, column: str, config: Config) -> bool:
    """Whether bytes are JSON lines, or CSV whose header names the column."""
    head = content.lstrip(b"\xef\xbb\xbf \t\r\n")
    if head[:1] == b"{":
        return True
    header = head.partition(b"\n")[0].decode(config.encoding, "replace").strip()
    separators = (config.separator,) if config.separator else (",", ";", "\t", "|")
    return any(column in (cell.strip().strip('"') for cell in header.split(each)) for each in separators)


def _lines(content: bytes, name: str, column: str, config: Config) -> Rows:
    try:
        lines = content.decode("utf-8-sig" if config.encoding == "utf-8" else config.encoding).splitlines()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{name} is not {config.encoding} throughout: line {content.count(bytes([10]), 0, error.start) + 1} holds "
            f"the byte {content[error.start]:#04x}. Expected one text a line in that encoding."
        ) from error
    if not lines:
        raise DataError(f"{name} is empty: expected one text a line.")
    return _rows(lines, [f"{name}#{place}" for place in range(1, len(lines) + 1)], column)


def _rows(cells: Sequence[str], names: list[str], column: str) -> Rows:
    library = need("pyarrow")
    table = library.table({column: library.array([readable_text(cell) for cell in cells], library.string())})
    return Rows("table", tables.as_dataset(table, "the texts"), names)


def _shown(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"
