"""What a person may name to predict, of any size: read a chunk at a time, in order, in bounded memory."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from lastlayer.classifier.config import Config
from lastlayer.classifier.data import blocks, images, inputs, sources, tables, typed
from lastlayer.classifier.data.chunks import PICTURES, Chunk, of_rows
from lastlayer.classifier.data.columns import Column, TableSpec
from lastlayer.classifier.data.csv_stream import CsvChunks
from lastlayer.classifier.data.json_stream import JsonChunks
from lastlayer.classifier.data.larger import rows_at_once
from lastlayer.classifier.data.rows import LeftOut, Rows, plural, readable
from lastlayer.classifier.extras import need
from lastlayer.classifier.files import reading
from lastlayer.errors import ColumnError, DataError, DataNotFoundError

_ROWS = 16_384


class Door:
    """Opens inputs for one model.

    Args:
        kind: What the model reads: "image", "table" or "text".
        preprocessing: How it reads it; of a table, only the columns that it was trained on are read.
        config: Settings of the run.
    """

    def __init__(self, kind: str, preprocessing: Any, config: Config) -> None:
        self.kind, self.config = kind, config
        self.wanted: Sequence[Column] | None = None
        self.text = preprocessing.only_text if isinstance(preprocessing, TableSpec) else None
        if isinstance(preprocessing, TableSpec):
            self.wanted = preprocessing.columns
        elif kind == "image" and config.image is not None:
            self.wanted = [Column(config.image, "categorical")]
        width = 1 if self.wanted is None else len(self.wanted)
        self.rows = min(_ROWS, rows_at_once(width))

    def several(self, given: Sequence[Any]) -> Iterator[Chunk]:
        """Several inputs, one after the other; one that cannot be opened keeps its place, unless none can."""
        if len(given) == 1:
            yield from self.open(given[0])
            return
        failed: list[tuple[str, DataError]] = []
        opened = False
        for source in self._together(given):
            chunks = self.open(source)
            try:
                first = [next(chunks)]
            except DataError as error:
                failed.append((_name_of(source), error))
                first = []
            opened = opened or bool(first)
            if opened:
                yield from (_failure(name, error) for name, error in failed)
                failed = []
            yield from (replace(chunk, done=None) for chunk in chain(first, chunks))
        if failed:
            raise failed[0][1]

    def _together(self, given: Sequence[Any]) -> Iterator[Any]:
        """Single pictures one after the other are one input, and so are texts: a batch holds many."""
        files: list[Path] = []
        texts: list[str] = []
        for source in given:
            if self.text is not None and isinstance(source, str) and not typed.names_a_table(source):
                texts.append(source)
                continue
            if texts:
                yield texts
                texts = []
            if self.kind == "image" and isinstance(source, (str, Path)) and _is_picture(source):
                files.append(Path(source))
                continue
            if files:
                yield files
                files = []
            yield source
        if files or texts:
            yield files or texts

    def open(self, source: Any) -> Iterator[Chunk]:
        """The rows of one input.

        Raises:
            DataError: it cannot be read at all, or holds no row.
        """
        empty = True
        for chunk in self._chunks(source):
            empty = empty and len(chunk) == 0
            yield chunk
        if empty:
            name = _name_of(source)
            raise DataError(
                "standard input is empty: expected rows to predict." if name == "stdin"
                else f"{name} has no rows: expected at least one."
            )  # fmt: skip

    def _chunks(self, source: Any) -> Iterator[Chunk]:
        if isinstance(source, list) and source and all(isinstance(one, Path) for one in source):
            return (_pictures(source[at : at + PICTURES], []) for at in range(0, len(source), PICTURES))
        if isinstance(source, bytes):
            return self._stream(iter([source] if source.strip() else []))
        if hasattr(source, "read"):
            return self._stream(blocks.as_they_come(source))
        rows = None if self.text is None else typed.texts(source, self.text, self.config)
        if rows is not None:
            return of_rows(rows, self._size())
        if isinstance(source, (str, Path)):
            return self._named(str(source))
        if isinstance(source, Iterator):
            return self._fed(source)
        return of_rows(inputs.open_inputs(source, self.kind, self.config), self._size())

    def _size(self) -> int:
        return PICTURES if self.kind == "image" else self.rows

    def _named(self, name: str) -> Iterator[Chunk]:
        one = inputs.ONE_ROW.match(name)
        if one and not inputs.is_there(name):
            return self._one_row(one["source"], int(one["row"]))
        if name != sources.DIGITS and self.kind in ("image", "table"):
            path = sources.existing(name)
            streams = path.suffix.lower() not in (".arrow", ".feather")  # those are memory-mapped
            if (
                path.is_file()
                and tables.is_table(path)
                and streams
                and (self.kind == "table" or self.config.image is not None)
            ):
                return self._table(path)
            if path.is_dir() and self.kind == "image":
                return self._folder(path)
            if _is_picture(path) and self.kind == "image":
                return iter([_pictures([path], [])])
        return of_rows(inputs.open_inputs(name, self.kind, self.config), self._size())

    def _one_row(self, source: str, row: int) -> Iterator[Chunk]:
        """One row by its number; the rows before it are read and dropped."""
        before = 0
        for chunk in self._named(source):
            if before < row <= before + len(chunk):
                place = row - before - 1
                if place in chunk.problems:
                    yield Chunk([chunk.names[place]], None, {0: chunk.problems[place]})
                elif chunk.rows is not None:
                    yield Chunk([chunk.names[place]], chunk.rows.select([chunk.readable.index(place)]))
                return
            before += len(chunk)
        raise DataNotFoundError(f"{source} has {plural(before, 'row')}, from #1 on: there is no #{row}.")

    def _table(self, path: Path) -> Iterator[Chunk]:
        if path.suffix.lower() == ".parquet":
            chunks = self._parquet(path)
        elif path.suffix.lower() == ".jsonl":
            chunks = _of_text(path, self._json(path.name))
        else:
            chunks = _of_text(path, self._csv(path.name, path.suffix))
        return chunks if self.kind == "table" else self._pictured(chunks, path)

    def _pictured(self, chunks: Iterator[Chunk], path: Path) -> Iterator[Chunk]:
        """A table with the paths of pictures, as pictures."""
        for chunk in chunks:
            if chunk.rows is not None and self.config.image not in chunk.rows.data.column_names:
                raise ColumnError(f"{path.name} has no column {self.config.image!r} with the paths of pictures.")
            if chunk.rows is None:
                yield chunk
                continue
            rows, names = sources.pictures_of(chunk.rows, self.config, path.parent), list(chunk.names)
            for place, name in zip(chunk.readable, rows.names, strict=True):
                names[place] = name
            yield replace(chunk, rows=rows, names=names)

    def _csv(self, name: str, suffix: str = ".csv") -> CsvChunks:
        wanted = None if self.wanted is None else [column.name for column in self.wanted]
        return CsvChunks(name, suffix.lower(), self.config, wanted)

    def _json(self, name: str) -> JsonChunks:
        return JsonChunks(name, self.wanted)

    def _parquet(self, path: Path) -> Iterator[Chunk]:
        """Row group by row group; one that is broken gives as many rows with an error as it was to hold."""
        arrow, done = need("pyarrow"), 0
        with reading(path), path.open("rb") as raw:  # by name, the library would take [, * and :: for a pattern
            about = path.stat()
            try:
                file = need("pyarrow.parquet").ParquetFile(raw, buffer_size=2**20)
            except arrow.ArrowException as error:
                raise DataError(
                    f"{path.name} cannot be read as parquet: {_reason(error)}. Write it again, or copy it again."
                ) from error
            total, there = file.metadata.num_rows, file.schema_arrow.names
            names = [column.name for column in self.wanted or ()]
            columns = names if names and set(names) <= set(there) else None
            for group in range(file.metadata.num_row_groups):
                end = done + file.metadata.row_group(group).num_rows
                try:
                    for batch in file.iter_batches(self.rows, row_groups=[group], columns=columns):
                        names = [f"{path.name}#{row}" for row in range(done + 1, done + len(batch) + 1)]
                        done += len(batch)
                        mark = f"{about.st_size} {about.st_mtime_ns}".encode()
                        data = tables.as_dataset(arrow.Table.from_batches([batch]), path.name)
                        yield Chunk(names, Rows("table", data, names), mark=mark, done=(done, total))
                except (arrow.ArrowException, OSError) as error:
                    names = [f"{path.name}#{row}" for row in range(done + 1, end + 1)]
                    why = f"row group {group + 1} of the file cannot be read: {_reason(error)}"
                    done = end
                    yield Chunk(names, None, dict.fromkeys(range(len(names)), why), done=(done, total))

    def _folder(self, path: Path) -> Iterator[Chunk]:
        """The images below a folder, found as they are needed."""
        files: list[Path] = []
        others: list[LeftOut] = []
        found = 0
        for file, what in images.walk(path):
            if what == "other":
                others.append(LeftOut(readable(str(file)), "no image by its name"))
            elif what == "image":
                files.append(file)
                found += 1
            if len(files) + len(others) >= PICTURES:
                yield _pictures(files, others)
                files, others = [], []
        if found == 0:
            raise DataError(f"{path} holds no images.")
        if files or others:
            yield _pictures(files, others)

    def _stream(self, content: Iterator[bytes]) -> Iterator[Chunk]:
        first = b""
        for block in content:
            first += block
            if first.strip():
                break
        if not first.strip():
            return
        if self.text is not None and not typed.holds_a_table(first, self.text, self.config):
            yield from typed.lines("stdin", _with_last(_again(first, content)), self.text, self.config)
        elif self.kind == "table":
            reader = self._json("stdin") if first.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{" else self._csv("stdin")
            yield from _fed_blocks(reader, _again(first, content))
        elif self.kind == "image":
            yield from self._paths(first, content)
        else:
            whole = b"".join(_again(first, content))
            yield from of_rows(inputs.open_inputs(whole, self.kind, self.config), self._size())

    def _paths(self, first: bytes, content: Iterator[bytes]) -> Iterator[Chunk]:
        """One picture, or a path a line."""
        if images.begins_as_picture(first) or b"\0" in first:
            whole = b"".join(_again(first, content))
            yield from of_rows(inputs.open_inputs(whole, "image", self.config), 1)
            return
        lines, names, sure = blocks.WholeLines("stdin", "utf-8"), [], False
        for block, last in _with_last(_again(first, content)):
            names += [line for each in lines.feed(block, last).splitlines() if (line := _path(each))]
            sure = sure or len(names) > PICTURES or any(map(inputs.is_there, names))
            if last and not sure:  # a text that is no list of paths is refused
                inputs.open_inputs("\n".join(names).encode("utf-8", "surrogateescape"), "image", self.config)
            for start in range(0, len(names) if sure else 0, PICTURES):
                yield _pictures([Path(name) for name in names[start : start + PICTURES]], [])
            names = [] if sure else names

    def _fed(self, rows: Iterator[Any]) -> Iterator[Chunk]:
        """Rows or pictures that a program makes one by one."""
        before = 0
        while part := list(islice(rows, self._size())):
            read = inputs.open_inputs(part, self.kind, self.config)
            stem = read.names[0].rpartition("#")[0]
            names = [f"{stem}#{before + place}" for place in range(1, len(read) + 1)]
            before += len(read)
            yield Chunk(names, replace(read, names=names))


def _of_text(path: Path, reader: CsvChunks | JsonChunks) -> Iterator[Chunk]:
    with reading(path):
        size = path.stat().st_size
        read = 0

        def counted() -> Iterator[bytes]:
            nonlocal read
            for block, so_far in blocks.of_file(path):
                read = so_far
                yield block

        for chunk in _fed_blocks(reader, counted()):
            yield replace(chunk, done=(min(read, size), size))


def _fed_blocks(reader: CsvChunks | JsonChunks, content: Iterable[bytes]) -> Iterator[Chunk]:
    """Each block goes in as soon as it is there; that it was the last is known only afterwards."""
    for block in content:
        chunk = reader.feed(block)
        if chunk is not None:
            yield chunk
    chunk = reader.feed(b"", last=True)
    if chunk is not None:
        yield chunk


def _again(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _with_last(content: Iterator[bytes]) -> Iterator[tuple[bytes, bool]]:
    """The blocks, then an empty one that is known to be the last."""
    for block in content:
        yield block, False
    yield b"", True


def _failure(name: str, error: DataError) -> Chunk:
    return Chunk([name], None, {0: str(error).rstrip(".")}, str(error).encode())


def _is_picture(source: str | Path) -> bool:
    """Whether it is the file of a picture, by its name."""
    return inputs.is_there(str(source)) and Path(source).is_file() and images.is_image(Path(source))


def _path(line: bytes) -> str:
    return line.decode("utf-8", "surrogateescape").strip()


def _pictures(files: Sequence[Path], others: Sequence[LeftOut]) -> Chunk:
    names = [readable(str(file)) for file in files]
    mark, entries, problems = hashlib.sha256(), [], {}
    for place, file in enumerate(files):
        try:
            about = file.stat()
            mark.update(f"{names[place]} {about.st_size} {about.st_mtime_ns}\n".encode())
            entries.append(images.entry(file))
        except (OSError, ValueError):
            mark.update(f"{names[place]} is not there\n".encode())
            problems[place] = "the file is not there"
        except DataError as error:
            problems[place] = str(error)
    good = [name for place, name in enumerate(names) if place not in problems]
    rows = Rows("image", images.from_pictures(entries), good) if entries else None
    return Chunk(names, rows, problems, mark.digest(), tuple(others))


def _name_of(source: Any) -> str:
    if isinstance(source, bytes) or hasattr(source, "read"):
        return "stdin"
    return readable(str(source)) if isinstance(source, (str, Path)) else "the input"


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def count(path: Path) -> int:
    """How many images stand below a folder, for the time left."""
    return sum(what == "image" for _, what in images.walk(path))
