"""A run as a folder: plain files, written whole or not at all, with a manifest that tells when one has changed."""

import errno
import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from lastlayer.classifier.config import Config
from lastlayer.classifier.data.rows import examples
from lastlayer.classifier.extras import need
from lastlayer.classifier.journal import Epoch
from lastlayer.classifier.model import ModelSpec
from lastlayer.classifier.training import Weights
from lastlayer.errors import DataNotFoundError, RunError, SaveError

FORMAT = 1
MANIFEST, CHECKPOINT = "manifest.json", "checkpoints/best.safetensors"


@dataclass
class Record:
    """Everything that a run folder holds.

    Attributes:
        config: Settings, resolved.
        data_name: What the data was called.
        versions: Of lastlayer and the libraries under it.
        spec: The model but its weights.
        weights: Of the best epoch.
        epochs: What metrics.jsonl holds.
        data: What data.json holds: rows of each split, rows left out by name and reason, notes, calibration.
        predictions: An Arrow table of the logits of the validation and test rows.
        report: HTML.
        card: Markdown.
    """

    config: Config
    data_name: str
    versions: dict[str, str]
    spec: ModelSpec
    weights: Weights
    epochs: list[Epoch]
    data: dict[str, Any]
    predictions: Any
    report: str
    card: str


def new_folder(folder: Path) -> Path:
    """Make the folder, or say why a run cannot be written there, before any work is done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise SaveError(
                f"{folder} is there already and not empty: a run is never written over another. Name a new folder with "
                "--output, or remove it."
            )
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        if isinstance(error, SaveError):
            raise
        raise _cannot_write(folder, error) from error
    return folder


def write_checkpoint(folder: Path, weights: Weights) -> None:
    """Keep the best weights so far; `write` removes them when the run is whole."""
    _write(folder / CHECKPOINT, _packed(weights))


def write(folder: Path, record: Record) -> None:
    """Write the run; the manifest comes last, so that a folder without one is not whole."""
    model = {"format": FORMAT, "versions": record.versions, **record.spec.to_dict()}
    about = {"lastlayer": record.versions["lastlayer"], "data": record.data_name}
    files = {
        "config.yaml": record.config.to_yaml(about).encode(),
        "model.safetensors": _packed(record.weights),
        "model.json": _json(model),
        "metrics.jsonl": "".join(json.dumps(asdict(epoch)) + "\n" for epoch in record.epochs).encode(),
        "data.json": _json(record.data),
        "predictions.parquet": _parquet(record.predictions),
        "report.html": record.report.encode(),
        "card.md": record.card.encode(),
    }
    for name, content in files.items():
        _write(folder / name, content)
    manifest = {
        "format": FORMAT,
        "files": {
            name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in files.items()
        },
    }
    _write(folder / MANIFEST, _json(manifest))
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def read(folder: Path) -> Record:
    """Read a run, after checking every file against the manifest."""
    verify(folder)
    model = _read_json(folder / "model.json")
    if model.get("format") != FORMAT:
        raise RunError(
            f"{folder} is a run of format {model.get('format')!r}; this lastlayer reads format {FORMAT}. Use the "
            f"lastlayer that wrote it ({model.get('versions', {}).get('lastlayer', 'unknown')})."
        )
    yaml = need("yaml")
    about = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return Record(
        config=Config.from_yaml(folder / "config.yaml"),
        data_name=str(about.get("data", "")),
        versions=model["versions"],
        spec=ModelSpec.from_dict(model),
        weights=need("safetensors.torch").load_file(folder / "model.safetensors"),
        epochs=[Epoch(**json.loads(line)) for line in lines],
        data=_read_json(folder / "data.json"),
        predictions=need("pyarrow.parquet").read_table(folder / "predictions.parquet"),
        report=(folder / "report.html").read_text(encoding="utf-8"),
        card=(folder / "card.md").read_text(encoding="utf-8"),
    )


def verify(folder: Path) -> None:
    """Raise unless every file of the manifest is there and unchanged."""
    if not folder.is_dir():
        raise DataNotFoundError(f"there is no run folder {str(folder)!r}. 'lastlayer train' makes one.")
    if not (folder / MANIFEST).is_file():
        unfinished = " Its training did not finish." if (folder / "checkpoints").is_dir() else ""
        raise RunError(f"{folder} is no finished run: it has no {MANIFEST}.{unfinished}")
    listed = _read_json(folder / MANIFEST).get("files", {})
    missing = [name for name in listed if not (folder / name).is_file()]
    changed = [name for name in listed if name not in missing and _differs(folder / name, listed[name])]
    if missing or changed:
        found = [f"missing: {examples(missing, 8)}"] if missing else []
        found += [f"changed since it was written: {examples(changed, 8)}"] if changed else []
        raise RunError(
            f"the run folder {folder} is not as it was written ({'; '.join(found)}). Restore it from a copy, or train "
            "again; a changed model is never loaded silently."
        )


def _differs(path: Path, listed: dict[str, Any]) -> bool:
    if path.stat().st_size != listed.get("bytes"):
        return True
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() != listed.get("sha256")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise RunError(f"{path} has to hold an object, found {type(content).__name__}.")
    return content


def _write(path: Path, content: bytes) -> None:
    """Write beside, flush to the disk, then rename: whoever looks sees the old file or the new one."""
    beside = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise _cannot_write(path, error) from error


def _cannot_write(path: Path, error: OSError) -> SaveError:
    advice = {
        errno.ENOSPC: "The disk is full: free some space",
        errno.EACCES: "There is no permission to write there: change it",
        errno.EROFS: "The disk is read-only: change that",
    }.get(error.errno or 0, "Mend it")
    return SaveError(f"{path} cannot be written ({error.strerror or error}). {advice}, or name another --output.")


def _packed(weights: Weights) -> bytes:
    packed: bytes = need("safetensors.torch").save({name: weight.contiguous() for name, weight in weights.items()})
    return packed


def _parquet(table: Any) -> bytes:
    sink = need("pyarrow").BufferOutputStream()
    need("pyarrow.parquet").write_table(table, sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, ensure_ascii=False, indent=2) + "\n").encode()


def versions() -> dict[str, str]:
    """Of what a model's numbers depend on."""
    from importlib.metadata import PackageNotFoundError, version

    from lastlayer import __version__

    found = {"lastlayer": __version__, "torch": torch.__version__}
    for package in ("timm", "pillow", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
