"""Texts that a person types, or sends line by line, to a model whose only column is text."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lastlayer.classifier.config import Config
from lastlayer.classifier.data import blocks, tables
from lastlayer.classifier.data.chunks import Chunk
from lastlayer.classifier.data.rows import Rows
from lastlayer.classifier.data.text_rows import readable_text
from lastlayer.classifier.extras import need
from lastlayer.classifier.files import reading
from lastlayer.errors import DataError

_SHOWN = 60  # characters of a text in the place of its name


def texts(source: Any, column: str, config: Config) -> Rows | None:
    """Rows of one text each; None where `source` names a table, or holds one.

    Args:
        source: A text, a list of texts, or a .txt file with a text a line.
        column: The name of the text column.
        config: Of the run: the encoding.
    """
    if isinstance(source, Path):
        source = str(source)
    if isinstance(source, str):
        if source.lower().endswith(".txt") and is_file(source):
            return _of_file(Path(source), column, config)
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


def holds_a_table(content: bytes, column: str, config: Config) -> bool:
    """Whether bytes begin as JSON lines do, or as CSV whose header names the column."""
    head = content.lstrip(b"\xef\xbb\xbf \t\r\n")
    if head[:1] == b"{":
        return True
    header = head.partition(b"\n")[0].decode(config.encoding, "replace").strip()
    separators = (config.separator,) if config.separator else (",", ";", "\t", "|")
    return any(column in (cell.strip().strip('"') for cell in header.split(each)) for each in separators)


def lines(name: str, content: Iterable[tuple[bytes, bool]], column: str, config: Config) -> Iterator[Chunk]:
    """Texts, one a line, as they come; a line that is not in the encoding keeps its place, with the reason.

    Args:
        name: Of the source.
        content: Blocks of bytes, and whether each is the last.
        column: The name of the text column.
        config: Of the run: the encoding.
    """
    whole, before = blocks.WholeLines(name, config.encoding, returns=False), 0
    for block, last in content:
        read = whole.feed(block, last)
        found = [each.rstrip(b"\r") for each in read.removesuffix(b"\n").split(b"\n")] if read else []
        if not found:
            continue
        names = [f"{name}#{before + place}" for place in range(1, len(found) + 1)]
        decoded = [_decoded(each) for each in found]
        problems = {place: why for place, (text, why) in enumerate(decoded) if text is None}
        fine = [place for place in range(len(found)) if place not in problems]
        kept = _rows([decoded[place][0] or "" for place in fine], [names[place] for place in fine], column)
        yield Chunk(names, kept if fine else None, problems, mark=hashlib.sha256(read).digest())
        before += len(found)


def _decoded(line: bytes) -> tuple[str | None, str]:
    try:
        return line.decode("utf-8-sig", "surrogatepass"), ""
    except UnicodeDecodeError as error:
        return None, f"it holds the byte {line[error.start]:#04x}, which is no text in this encoding"


def _of_file(path: Path, column: str, config: Config) -> Rows:
    with reading(path):
        content = path.read_bytes()
    try:
        texts_ = content.decode("utf-8-sig" if config.encoding == "utf-8" else config.encoding).splitlines()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path.name} is not {config.encoding} throughout: line {line} holds the byte {content[error.start]:#04x}. "
            "Expected one text a line in that encoding."
        ) from error
    if not texts_:
        raise DataError(f"{path.name} is empty: expected one text a line.")
    return _rows(texts_, [f"{path.name}#{place}" for place in range(1, len(texts_) + 1)], column)


def _rows(cells: Sequence[str], names: list[str], column: str) -> Rows:
    library = need("pyarrow")
    table = library.table({column: library.array([readable_text(cell) for cell in cells], library.string())})
    return Rows("table", tables.as_dataset(table, "the texts"), names)


def _shown(text: str) -> str:
    line = " ".join(readable_text(text).split())
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"
