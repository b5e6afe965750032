"""The one place where what the disk refuses becomes a message."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lastlayer.errors import DataError, LastLayerError, SaveError
from lastlayer.messages.wording import option

_READ_ADVICE = {
    errno.EACCES: "Change its permissions",
    errno.EPERM: "Change its permissions",
    errno.ENAMETOOLONG: "Is it a path at all? Shorten it",
    errno.ENOTDIR: "A part of the path is a file, not a folder: mend the path",
    errno.ELOOP: "Its links lead in a circle: remove one",
}
_WRITE_ADVICE = {
    errno.ENOSPC: "The disk is full: free some space",
    errno.EACCES: "There is no permission to write there: change it",
    errno.EROFS: "The disk is read-only: change that",
    errno.EEXIST: "A file of that name is there: remove it",
    errno.ENOTDIR: "A part of the path is a file, not a folder: mend the path",
    errno.EISDIR: "A folder of that name is there: remove it",
    errno.ENAMETOOLONG: "Shorten the name",
    errno.ENOENT: "There is no such folder: make it",
}


@contextmanager
def reading(path: str | Path, error: type[LastLayerError] = DataError) -> Iterator[None]:
    """Turn an OSError within into `error`, which says what cannot be read, why, and what to do."""
    try:
        yield
    except LastLayerError:
        raise
    except OSError as refused:
        name = str(path) if len(str(path)) <= 300 else f"{str(path)[:100]}…"
        advice = _READ_ADVICE.get(refused.errno or 0, "Try again, or copy it to another disk")
        raise error(f"{name} cannot be read ({refused.strerror or refused}). {advice}.") from refused


def cannot_write(path: Path, refused: OSError) -> SaveError:
    """What to raise where a file cannot be written."""
    advice = _WRITE_ADVICE.get(refused.errno or 0, "Look at that disk")
    return SaveError(f"{path} cannot be written ({refused.strerror or refused}). {advice}, or name another "
                     f"{option('output')}.")  # fmt: skip


def write_whole(path: Path, content: bytes) -> None:
    """Write beside, flush to the disk, then rename: whoever looks sees the old file or the new one.

    The folder is flushed too, or a power cut could take the new name back.
    """
    beside = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        flush_folder(path.parent)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise cannot_write(path, error) from error


def flush_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where the system has a way to."""
    if os.name == "nt":  # a folder cannot be opened there
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
