"""Checkpoints on the disk: whole or not there, checked when they are read, pruned only when a newer one verifies.

checkpoints/begun.json                what the run began with; see `resuming`
checkpoints/0003-00000017/            epoch 3, after 17 of its steps
    state.safetensors  state.json     tensors; everything else
    manifest.json                     bytes and SHA-256 of the two
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from lastlayer.classifier.extras import need
from lastlayer.classifier.files import cannot_write, flush_folder, write_whole
from lastlayer.errors import RunError, SaveError

FOLDER = "checkpoints"
FORMAT = 1
_KEPT = 2  # the newest, and one before it in case the newest is torn
_TENSORS, _PLAIN, _MANIFEST = "state.safetensors", "state.json", "manifest.json"


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training between two steps: tensors by name, and plain values for JSON."""

    tensors: dict[str, Tensor]
    plain: dict[str, Any]

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors whose names begin with `name` and a slash, without it."""
        return {key[len(name) + 1 :]: value for key, value in self.tensors.items() if key.startswith(f"{name}/")}


def name_of(epoch: int, step: int) -> str:
    """What the checkpoint after a step of an epoch is called.

    >>> name_of(3, 17)
    '0003-00000017'
    """
    return f"{epoch:04}-{step:08}"


def write(run: Path, name: str, checkpoint: Checkpoint) -> None:
    """Write a checkpoint beside, flush, rename, read it back; then remove those that are no longer needed."""
    folder, beside = run / FOLDER / name, run / FOLDER / f".{name}.part"
    files = {
        _TENSORS: _packed(checkpoint.tensors),
        _PLAIN: json.dumps(checkpoint.plain).encode(),
    }
    listed = {name: {"bytes": len(content), "sha256": _digest(content)} for name, content in files.items()}
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        for file, content in {**files, _MANIFEST: json.dumps({"format": FORMAT, "files": listed}).encode()}.items():
            write_whole(beside / file, content)
        if folder.exists():  # a torn one of the same step
            shutil.rmtree(folder)
        beside.rename(folder)
        flush_folder(folder.parent)
    except SaveError:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    except OSError as error:
        shutil.rmtree(beside, ignore_errors=True)
        raise cannot_write(folder, error) from error
    flaw = _flaw(folder, from_disk=True)
    if flaw is not None:
        raise SaveError(f"{folder} does not read back as it was written ({flaw}). Look at that disk.")
    prune(run)


def prune(run: Path) -> None:
    """Remove all but the newest two, and what a killed process has left half-written."""
    for old in [*_all(run)[_KEPT:], *(run / FOLDER).glob(".*.part")]:
        shutil.rmtree(old, ignore_errors=True)


def exists(run: Path) -> bool:
    """Whether a run has a checkpoint, whole or not."""
    return bool(_all(run))


def newest(run: Path, passed_over: Callable[[Path, str], None]) -> tuple[str, Checkpoint] | None:
    """The newest checkpoint that is as it was written, and its name; `passed_over` hears of each that is not."""
    for folder in _all(run):
        flaw = _flaw(folder)
        if flaw is None:
            return folder.name, read(folder)
        passed_over(folder, flaw)
    return None


def read(folder: Path) -> Checkpoint:
    """Read one that has no flaw.

    Raises:
        RunError: it has one.
    """
    flaw = _flaw(folder)
    if flaw is not None:
        raise RunError(f"the checkpoint {folder} cannot be used: {flaw}.")
    tensors = need("safetensors.torch").load((folder / _TENSORS).read_bytes())
    # Its own memory: what was read stands at any address, and the tensors are trained on in place.
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    return Checkpoint(tensors, json.loads((folder / _PLAIN).read_text(encoding="utf-8")))


def _all(run: Path) -> list[Path]:
    """The checkpoints of a run, the newest first."""
    found = [path for path in (run / FOLDER).glob("*-*") if re.fullmatch(r"\d+-\d+", path.name) and path.is_dir()]
    return sorted(found, key=lambda path: [int(number) for number in path.name.split("-")], reverse=True)


def _flaw(folder: Path, *, from_disk: bool = False) -> str | None:
    """What is wrong with a checkpoint, or None; `from_disk` asks the system to forget what it holds in memory."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            return f"it has the format {manifest['format']!r}, and this lastlayer reads {FORMAT}"
        for name in (_TENSORS, _PLAIN):
            listed = manifest["files"][name]
            with (folder / name).open("rb") as file:
                if from_disk and hasattr(os, "posix_fadvise"):
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                same = hashlib.file_digest(file, "sha256").hexdigest() == listed["sha256"]
                if not same or file.tell() != listed["bytes"]:
                    return f"{name} has changed since it was written"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"it cannot be read ({type(error).__name__}: {error})"
    return None


def _packed(tensors: dict[str, Tensor]) -> bytes:
    packed: bytes = need("safetensors.torch").save({name: tensor.contiguous() for name, tensor in tensors.items()})
    return packed


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
