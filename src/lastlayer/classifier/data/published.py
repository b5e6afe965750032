"""Data sets of Hugging Face `datasets`: by their name on the Hub, or as a folder that the library reads."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from lastlayer.classifier import hub
from lastlayer.classifier.data import images, tables
from lastlayer.classifier.data.rows import examples
from lastlayer.classifier.extras import need
from lastlayer.classifier.files import reading
from lastlayer.classifier.journal import Journal
from lastlayer.errors import DataError, DataNotFoundError
from lastlayer.messages import Message, few

PREFIX = "hf:"
_NAME = re.compile(r"(?P<name>[\w.-]+(/[\w.-]+)?)(:(?P<subset>[^@:/]+))?(@(?P<revision>[\w./-]+))?")
_SHARD = re.compile(r"(?P<split>[A-Za-z]+)([-_.]\w[\w.-]*)?")


class Name(NamedTuple):
    """What is asked of the Hub: owner/name, one of its subsets, and a revision of it."""

    name: str
    subset: str | None
    revision: str | None


def name_of(source: str) -> Name | None:
    """Read hf:owner/name:subset@revision; without hf: it has to have an owner, and to be no path.

    >>> name_of("hf:owner/name:small@main")
    Name(name='owner/name', subset='small', revision='main')
    >>> name_of("flowers.csv"), name_of("data/flowers.csv")
    (None, None)
    """
    said = source.startswith(PREFIX)
    found = _NAME.fullmatch(source.removeprefix(PREFIX))
    if found is None:
        if said:
            raise DataError(
                f"{source} is no name of a data set: expected hf:owner/name, hf:owner/name:subset@revision."
            )
        return None
    path = Path(found["name"])
    if not said and (
        "/" not in found["name"] or path.parent.exists() or tables.is_table(path) or images.is_image(path)
    ):
        return None
    return Name(found["name"], found["subset"], found["revision"])


def open_name(name: Name) -> dict[str, Any]:
    """The splits of a data set on the Hub, or of the copy that was fetched before.

    Raises:
        DataNotFoundError: there is none of that name, or the Hub does not answer.
        DataError: it cannot be read as it is.
    """
    return _fetched(name)


@lru_cache(maxsize=1)
def _fetched(name: Name) -> dict[str, Any]:
    datasets = need("datasets")
    with _quiet(), hub.in_short():
        offline = need("huggingface_hub.constants").HF_HUB_OFFLINE
        before = datasets.config.HF_HUB_OFFLINE
        datasets.config.HF_HUB_OFFLINE = before or offline
        try:
            return _splits(datasets.load_dataset(name.name, name.subset, revision=name.revision))
        except Exception as error:
            raise _refused(name, error, offline) from error
        finally:
            datasets.config.HF_HUB_OFFLINE = before


def _refused(name: Name, error: Exception, offline: bool) -> DataError:
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    if offline:
        return DataNotFoundError(
            f"there is no file or folder {name.name!r}, and the Hugging Face Hub does not answer, so it cannot be "
            "fetched as a data set, and no earlier copy serves. Connect to the network, or name a file or a folder."
        )
    if isinstance(error, need("datasets.exceptions").DatasetNotFoundError):
        return DataNotFoundError(
            f"there is no file or folder {name.name!r}, and no data set of that name on the Hugging Face Hub that can "
            f"be read ({first}). Mend the name, or sign in with 'hf auth login' if it is private."
        )
    return DataError(
        f"the data set {name.name} cannot be read: {first} A subset is named as {name.name}:SUBSET, a revision as "
        f"{name.name}@REVISION."
    )


def in_memory(source: Any) -> dict[str, Any] | None:
    """The splits of a `datasets.DatasetDict`, or a `datasets.Dataset` of pictures; None where it is neither."""
    datasets = need("datasets")
    if isinstance(source, datasets.DatasetDict):
        return dict(source)
    is_pictures = isinstance(source, datasets.Dataset) and picture_column(source) is not None
    return {"train": source} if is_pictures else None


def is_folder(folder: Path) -> bool:
    """Whether `datasets` saved the folder, or it holds shards such as train-00000-of-00002.parquet, also in data/."""
    with reading(folder):
        if _is_saved(folder):
            return True
        for place in (folder, folder / "data"):
            files = _tables_in(place) if place.is_dir() else []
            if any(_split_of(file.stem) == "train" for file in files):
                return True
        inside = [child for child in folder.iterdir() if child.is_dir() and images.SPLITS.get(child.name.lower())]
        return any(_tables_in(child) for child in inside)


def _is_saved(folder: Path) -> bool:
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def _tables_in(folder: Path) -> list[Path]:
    return [file for file in folder.iterdir() if file.is_file() and file.name[0] != "." and tables.is_table(file)]


def open_folder(folder: Path) -> dict[str, Any]:
    """The splits of a folder that `datasets` reads.

    Raises:
        DataError: it cannot be read; the message says what the library says.
    """
    datasets = need("datasets")
    with _quiet():
        try:
            if _is_saved(folder):
                return _splits(datasets.load_from_disk(str(folder)))
            return _splits(datasets.load_dataset(str(folder)))
        except Exception as error:
            cause = error.__cause__ or error
            first = (str(cause).strip() or type(cause).__name__).splitlines()[0].rstrip(".")
            raise DataError(
                f"{folder} cannot be read as a folder of tables: {first}. Give all its files the same columns and "
                "types, or name one file."
            ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's own bars and warnings."""
    datasets = need("datasets")
    bars, level = datasets.utils.are_progress_bars_disabled(), datasets.logging.get_verbosity()
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity_error()
    try:
        yield
    finally:
        datasets.logging.set_verbosity(level)
        if not bars:
            datasets.enable_progress_bars()


def _split_of(stem: str) -> str | None:
    found = _SHARD.fullmatch(stem)
    return None if found is None else images.SPLITS.get(found["split"].lower())


def _splits(data: Any) -> dict[str, Any]:
    return dict(data) if isinstance(data, need("datasets").DatasetDict) else {"train": data}


def known_splits(parts: dict[str, Any], journal: Journal) -> dict[str, Any]:
    """The splits by the names that training uses; others are left out, and said. A single one is no split."""
    if len(parts) == 1:
        return {"train": next(iter(parts.values()))}
    found: dict[str, Any] = {}
    others = []
    for name, data in parts.items():
        split = images.SPLITS.get(name.lower())
        if split is None or split in found:
            others.append(Message("read.split_rows", name=name, rows=len(data)))
        else:
            found[split] = data
    if "train" not in found:
        raise DataError(f"the data set has no split called train: it has {examples(list(parts), 6)}.")
    if others:
        journal.say(Message("read.other_splits", shown=few(others)))
    return found


def picture_column(data: Any) -> str | None:
    """The column of pictures, where there is one."""
    kind = need("datasets").Image
    return next((name for name, feature in data.features.items() if isinstance(feature, kind)), None)


def class_column(data: Any) -> str | None:
    """The only column of named classes, where there is one."""
    kind = need("datasets").ClassLabel
    found = [name for name, feature in data.features.items() if isinstance(feature, kind)]
    return found[0] if len(found) == 1 else None
