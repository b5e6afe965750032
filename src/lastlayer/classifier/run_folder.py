"""A run as a folder: plain files, written whole or not at all, with a manifest that tells when one has changed."""

import hashlib
import json
import os
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from lastlayer.classifier.config import Config
from lastlayer.classifier.data.rows import examples
from lastlayer.classifier.extras import need
from lastlayer.classifier.files import cannot_write, reading, write_whole
from lastlayer.classifier.journal import Epoch
from lastlayer.classifier.learning import checkpoints
from lastlayer.classifier.learning.tracking import CSV, as_csv
from lastlayer.classifier.learning.training import Weights
from lastlayer.classifier.network.model import ModelSpec
from lastlayer.errors import DataNotFoundError, LastLayerError, RunError, SaveError
from lastlayer.messages.kept import packed, unpacked
from lastlayer.messages.wording import option

FORMAT = 1
TOKENIZER = "tokenizer.json"  # of models that read text
MANIFEST = "manifest.json"
FILES = (
    "config.yaml", "model.safetensors", "model.json", "metrics.jsonl", "data.json", "predictions.parquet",
    "report.html", "card.md",
)  # fmt: skip
OPTIONAL = (CSV,)  # runs of older versions have none
FOLDS = "folds.parquet"  # where there was a cross-validation
Content = TypeVar("Content")


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
        folds: An Arrow table of what each fold's model said of its rows; None without cross-validation.
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
    folds: Any = None


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Make the folder for one run alone, or say why it cannot be; take it away again if nothing comes of the run."""
    # os.path answers for names that are too long, too
    made = [each for each in (folder, *folder.parents) if not os.path.isdir(each)]  # noqa: PTH112
    new_folder(folder)
    try:
        yield
    except BaseException:
        if not checkpoints.exists(folder) and not (folder / MANIFEST).exists():
            shutil.rmtree(folder / checkpoints.FOLDER, ignore_errors=True)
            (folder / CSV).unlink(missing_ok=True)
            with suppress(OSError):  # somebody put something there
                for each in made:
                    each.rmdir()
        raise


def new_folder(folder: Path) -> Path:
    """Make the folder, or say why a run cannot be written there, before any work is done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = any(folder.iterdir())
        if not taken:
            (folder / checkpoints.FOLDER).mkdir()  # of two runs that start together, one makes it
    except FileExistsError as error:
        if not folder.is_dir():
            raise cannot_write(folder, error) from error
        taken = True
    except OSError as error:
        raise cannot_write(folder, error) from error
    if taken:
        raise SaveError(
            f"{folder} is there already and not empty: a run is never written over another. Name a new folder with "
            f"{option('output')}, or remove it."
        )
    return folder


def write(folder: Path, record: Record) -> None:
    """Write the run; the manifest comes last, so that a folder without one is not whole."""
    model = {"format": FORMAT, "versions": record.versions, **record.spec.to_dict()}
    texts = model["preprocessing"].pop("texts", None)
    about = {"lastlayer": record.versions["lastlayer"], "data": record.data_name}
    files = {
        "config.yaml": record.config.to_yaml(about).encode(),
        "model.safetensors": _packed(record.weights),
        "model.json": _json(model),
        "metrics.jsonl": "".join(json.dumps(asdict(epoch)) + "\n" for epoch in record.epochs).encode(),
        CSV: as_csv(record.epochs),
        "data.json": _json(packed(record.data)),
        "predictions.parquet": _parquet(record.predictions),
        "report.html": record.report.encode(),
        "card.md": record.card.encode(),
        **({TOKENIZER: _json({"columns": texts}, indent=None)} if texts else {}),
    }
    if record.folds is not None:
        files[FOLDS] = _parquet(record.folds)
    for name, content in files.items():
        write_whole(folder / name, content)
    manifest = {
        "format": FORMAT,
        "files": {
            name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in files.items()
        },
    }
    write_whole(folder / MANIFEST, _json(manifest))
    shutil.rmtree(folder / checkpoints.FOLDER, ignore_errors=True)


def read(folder: Path) -> Record:
    """Read a run, after checking every file against the manifest."""
    verify(folder)
    model = _part(folder, "model.json", _read_json)
    if model.get("format") != FORMAT:
        versions = model.get("versions")
        wrote = versions.get("lastlayer", "unknown") if isinstance(versions, dict) else "unknown"
        raise RunError(
            f"{folder} is a run of format {model.get('format')!r}; this lastlayer reads format {FORMAT}. Use the "
            f"lastlayer that wrote it ({wrote})."
        )
    if _reads_text(model):
        model["preprocessing"]["texts"] = _part(folder, TOKENIZER, lambda path: _read_json(path)["columns"])
    spec = _part(folder, "model.json", lambda path: ModelSpec.from_dict(model))
    return Record(
        config=_part(folder, "config.yaml", Config.from_yaml),
        data_name=_part(folder, "config.yaml", lambda path: str(need("yaml").safe_load(_text(path)).get("data", ""))),
        versions=_part(folder, "model.json", lambda path: dict(model["versions"])),
        spec=spec,
        weights=_part(folder, "model.safetensors", need("safetensors.torch").load_file),
        epochs=_part(
            folder, "metrics.jsonl", lambda path: [Epoch(**json.loads(line)) for line in _text(path).splitlines()]
        ),
        data=_part(folder, "data.json", lambda path: unpacked(_read_json(path))),
        predictions=_part(folder, "predictions.parquet", lambda path: _kept(path, spec)),
        report=_part(folder, "report.html", _text),
        card=_part(folder, "card.md", _text),
        folds=_part(folder, FOLDS, need("pyarrow.parquet").read_table) if (folder / FOLDS).exists() else None,
    )


def _part(folder: Path, name: str, read: Callable[[Path], Content]) -> Content:
    """Read one file of a run; whatever is wrong with it becomes one message that names it."""
    broken = (OSError, ValueError, TypeError, KeyError, AttributeError)
    foreign = (need("pyarrow").ArrowException, need("safetensors").SafetensorError, need("yaml").YAMLError)
    try:
        return read(folder / name)
    except LastLayerError:
        raise
    except (*broken, *foreign) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise RunError(
            f"{folder / name} is not what lastlayer writes there ({type(error).__name__}: {reason}). Restore the run "
            "from a copy, or train again."
        ) from error


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _kept(path: Path, spec: ModelSpec) -> Any:
    table = need("pyarrow.parquet").read_table(path)
    logits = ["logit"] if spec.task.kind == "binary" else [f"logit({name})" for name in spec.task.names]
    lacking = [name for name in ("split", "input", "target", *logits) if name not in table.column_names]
    if lacking or len(table) == 0:
        raise ValueError(f"it lacks {examples(lacking)}" if lacking else "it has no rows")
    return table


def verify(folder: Path) -> None:
    """Raise unless every file of a run is there, stands in the manifest and is unchanged."""
    with reading(folder, RunError):
        if not folder.is_dir():
            raise DataNotFoundError(f"there is no run folder {str(folder)!r}. 'lastlayer train' makes one.")
        if not (folder / MANIFEST).is_file():
            cut_off = (folder / checkpoints.FOLDER).is_dir()
            command = f"lastlayer train --resume {shlex.quote(str(folder))}"
            unfinished = f" Its training did not finish: '{command}' goes on with it." if cut_off else ""
            raise RunError(f"{folder} is no finished run: it has no {MANIFEST}.{unfinished}")
        listed = _read_json(folder / MANIFEST).get("files")
        entries = listed if isinstance(listed, dict) else {}
        extra = [name for name in OPTIONAL if isinstance(entries.get(name), dict)]
        names = (*_files_of(folder), *extra, *((FOLDS,) if FOLDS in entries or (folder / FOLDS).exists() else ()))
        unlisted = [name for name in names if not isinstance(entries.get(name), dict)]
        missing = [name for name in names if not (folder / name).is_file()]
        changed = [name for name in names if name not in missing + unlisted and _differs(folder / name, entries[name])]
    found = {"missing": missing, "changed since it was written": changed, f"not listed in {MANIFEST}": unlisted}
    if missing or changed or unlisted:
        said = "; ".join(f"{what}: {examples(names, 9)}" for what, names in found.items() if names)
        raise RunError(
            f"the run folder {folder} is not as it was written ({said}). Restore it from a copy, or train "
            "again; a changed model is never loaded silently."
        )


def _files_of(folder: Path) -> tuple[str, ...]:
    """What the manifest has to name."""
    try:
        model = _read_json(folder / "model.json")
    except RunError:
        return FILES  # its checksum tells
    return (*FILES, TOKENIZER) if _reads_text(model) else FILES


def _reads_text(model: dict[str, Any]) -> bool:
    """Whether a model has text columns, by its model.json as it is read."""
    preprocessing = model.get("preprocessing")
    columns = preprocessing.get("columns") if isinstance(preprocessing, dict) else None
    kinds = [column.get("kind") for column in columns or () if isinstance(column, dict)]
    return "text" in kinds


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


def _packed(weights: Weights) -> bytes:
    packed: bytes = need("safetensors.torch").save({name: weight.contiguous() for name, weight in weights.items()})
    return packed


def _parquet(table: Any) -> bytes:
    sink = need("pyarrow").BufferOutputStream()
    need("pyarrow.parquet").write_table(table, sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _json(content: dict[str, Any], indent: int | None = 2) -> bytes:
    return (json.dumps(content, ensure_ascii=False, indent=indent) + "\n").encode()


def versions() -> dict[str, str]:
    """Of what a model's numbers depend on."""
    from importlib.metadata import PackageNotFoundError, version

    from lastlayer import __version__

    found = {"lastlayer": __version__, "torch": torch.__version__}
    for package in ("timm", "pillow", "numpy", "tokenizers", "transformers"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
