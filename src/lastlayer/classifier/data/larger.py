"""Tables larger than memory: converted once to a memory-mapped Arrow file in a cache, a batch at a time."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from lastlayer.classifier.extras import need
from lastlayer.classifier.journal import Journal
from lastlayer.errors import DataError
from lastlayer.messages import Message

LARGE = 64 * 2**20  # bytes: what is smaller is read into memory
_VERSION = 1  # of what a converted file holds
CELLS = 2**20  # looked at together: they are Python objects for a moment


def rows_at_once(columns: int) -> int:
    """How many rows of a table are looked at together.

    >>> rows_at_once(2), rows_at_once(2**30)
    (524288, 1)
    """
    return max(1, CELLS // max(1, columns))


def cache_folder() -> Path:
    """Where converted tables are kept: $XDG_CACHE_HOME or ~/.cache, in lastlayer/tables."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lastlayer" / "tables"


def converted(path: Path, how: str, batches: Iterable[tuple[Any, int]], total: int, journal: Journal) -> Path:
    """Write record batches to the cached file of a table, unless it is there; `how` is all that they depend on.

    Args:
        path: The table.
        how: Settings that it is read with.
        batches: Arrow record batches, each with how much of `total` is read when it is there.
        total: Bytes of the table.
        journal: Hears the progress, and where the file is.

    Raises:
        DataError: the cache cannot be written.
    """
    cached = cached_file(path, how)
    if cached.exists():
        return cached
    mebibytes = total / 2**20
    journal.say(Message("read.converted", name=path.name, mebibytes=mebibytes, folder=cached.parent))
    part = cached.with_name(f"{cached.stem}.{uuid4().hex}.part")
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        for old in cached.parent.glob(f"{cached.stem.split('-')[0]}-*.arrow"):  # of the same table, before it changed
            old.unlink(missing_ok=True)
        _write(part, _heard(batches, Message("read.progress.converting", name=path.name), total, journal))
        part.replace(cached)
    except OSError as error:
        raise DataError(
            f"{path.name} is too large to be read into memory, and {cached.parent} cannot be written "
            f"({error.strerror or error}). Free some space there, or name another folder in XDG_CACHE_HOME."
        ) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return cached


def cached_file(path: Path, how: str) -> Path:
    """The name of the converted file: another where the table, or the way to read it, is another."""
    found = path.stat()
    where = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]
    state = f"{_VERSION} {found.st_size} {found.st_mtime_ns} {how}"
    return cache_folder() / f"{where}-{hashlib.sha256(state.encode()).hexdigest()[:16]}.arrow"


def _heard(batches: Iterable[tuple[Any, int]], doing: Message, total: int, journal: Journal) -> Iterator[Any]:
    try:
        for batch, done in batches:
            journal.listener.progress(doing, min(done, total), total)
            yield batch
    finally:
        journal.listener.progress(doing, total, total)


def _write(path: Path, batches: Iterator[Any]) -> None:
    arrow = need("pyarrow")
    first = next(batches, None)
    if first is None:
        raise DataError("the table has no rows: expected at least one.")
    with arrow.OSFile(str(path), "wb") as file, arrow.ipc.new_stream(file, first.schema) as writer:
        writer.write_batch(first)
        for batch in batches:
            writer.write_batch(batch)


def mapped(path: Path) -> Any:
    """An Arrow file, of either kind, as a `datasets.Dataset` whose cells stay on the disk."""
    datasets, arrow = need("datasets"), need("pyarrow")
    try:
        table = datasets.table.MemoryMappedTable.from_file(str(path))
    except arrow.ArrowInvalid:  # not a stream: with an index at its end, as Feather writes it
        table = datasets.table.InMemoryTable(arrow.ipc.open_file(arrow.memory_map(str(path))).read_all())
    return datasets.Dataset(table, fingerprint=uuid4().hex)
