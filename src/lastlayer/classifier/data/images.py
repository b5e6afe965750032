"""Folders of images: which files belong to which class, and whether each can be read."""

import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from lastlayer.classifier.data.rows import Label, Rows, examples, plural
from lastlayer.classifier.extras import need
from lastlayer.classifier.journal import Journal
from lastlayer.errors import DataError

# Names of folders and files that hold a split, in the words people use.
SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}


class Seen(NamedTuple):
    """What one look at an image found."""

    problem: str | None
    digest: str = ""
    mode: str = ""
    size: tuple[int, int] = (0, 0)  # width, height


def is_image(path: Path) -> bool:
    """Whether the name ends like an image's."""
    return path.suffix.lower() in _suffixes()


def _suffixes() -> set[str]:
    image = need("PIL.Image")
    image.init()
    return {suffix for suffix, name in image.EXTENSION.items() if name in image.OPEN} - {".pdf", ".mpg", ".mpeg"}


def digits() -> Rows:
    """The 1,797 handwritten digits of scikit-learn, as 8×8 grey PNG images."""
    bunch = need("sklearn.datasets").load_digits()
    image = need("PIL.Image")
    pictures = []
    for pixels in bunch.images:
        buffer = BytesIO()
        image.fromarray((pixels * (255 / 16)).round().astype("uint8")).save(buffer, "PNG")
        pictures.append({"path": None, "bytes": buffer.getvalue()})
    labels: list[Label] = [int(label) for label in bunch.target]
    names = [f"digits#{row}" for row in range(1, len(labels) + 1)]
    return Rows("image", from_pictures(pictures), names, labels)


def from_pictures(pictures: list[dict[str, Any]]) -> Any:
    """A dataset of images, each by its path or by its bytes; nothing is decoded yet."""
    datasets = need("datasets")
    features = datasets.Features({"image": datasets.Image(decode=False)})
    return datasets.Dataset.from_dict({"image": pictures}, features=features)


def read_folder(folder: Path, journal: Journal) -> Rows:
    """Read folder/class/*, or folder/train/class/* with validation and test beside it."""
    children = sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
    if not children:
        raise DataError(
            f"{folder} has no folders of images: expected one folder per class (folder/cat/*.jpg, folder/dog/*.jpg), "
            f"or train, validation and test folders with one per class. {_found(folder)}"
        )
    split = {child: SPLITS.get(child.name.lower()) for child in children}
    is_split = "train" in split.values() and None not in split.values()
    paths, labels, given, others = [], [], [], []
    for parent in children if is_split else [folder]:
        for directory in sorted(child for child in parent.iterdir() if child.is_dir() and child.name[0] != "."):
            images, rest = files_below(directory)
            others += rest
            paths += images
            labels += [directory.name] * len(images)
            given += [split.get(parent)] * len(images)
            if not images:
                journal.say(f"The folder {directory.relative_to(folder)} holds no images.")
    if not paths:
        raise DataError(f"{folder} holds no images in its class folders. {_found(folder)}")
    if others:
        kinds = ", ".join(f"{count} × {suffix or 'no ending'}" for suffix, count in Counter(
            path.suffix.lower() for path in others).most_common(3))  # fmt: skip
        journal.say(f"Left out, being no images: {plural(len(others), 'file')} ({kinds}).")
    names = [str(path.relative_to(folder)) for path in paths]
    data = from_pictures([{"path": str(path), "bytes": None} for path in paths])
    return Rows("image", data, names, list(labels), [str(name) for name in given] if is_split else None)


def class_folders(folder: Path) -> list[str]:
    """The names of all class folders, those without images too."""
    children = [child for child in folder.iterdir() if child.is_dir() and not child.name.startswith(".")]
    if all(child.name.lower() in SPLITS for child in children):
        return sorted({inner.name for child in children for inner in child.iterdir() if inner.is_dir()})
    return sorted(child.name for child in children)


def files_below(directory: Path) -> tuple[list[Path], list[Path]]:
    """All files below, images apart from others; hidden ones do not count."""
    images: list[Path] = []
    others: list[Path] = []
    for root, folders, files in os.walk(directory, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(root, name)
            if not name.startswith(".") and name.lower() not in ("thumbs.db", "desktop.ini"):
                (images if is_image(path) else others).append(path)
    return images, others


def _found(folder: Path) -> str:
    files = [child.name for child in sorted(folder.iterdir()) if not child.name.startswith(".")]
    return f"Found {examples(files)}." if files else "The folder is empty."


def leave_out_unreadable(rows: Rows, *, max_pixels: int, strict: bool, journal: Journal) -> tuple[Rows, list[Seen]]:
    """Look at every image once; leave out those that cannot be read, by name, and say what the others are."""
    pictures = list(rows.data["image"])
    seen = list(journal.track(look_at(pictures, max_pixels), "reading images", len(rows)))
    problems = {row: one.problem for row, one in enumerate(seen) if one.problem is not None}
    if problems and strict:
        row, problem = next(iter(problems.items()))
        raise DataError(
            f"{plural(len(problems), 'image')} cannot be read, first {rows.names[row]}: {problem}. Mend or remove "
            "them, or run without --strict to leave them out."
        )
    for row, problem in list(problems.items())[:5]:
        journal.say(f"Left out {rows.names[row]}: {problem}.")
    if len(problems) > 5:
        journal.say(f"Left out {len(problems) - 5} more images that cannot be read; the report names each.")
    return rows.without(problems), [one for one in seen if one.problem is None]


def look_at(pictures: Iterable[dict[str, Any]], max_pixels: int) -> Iterator[Seen]:
    """Decode every picture once, in threads: Pillow decodes without holding the interpreter."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(lambda picture: _look(picture, max_pixels), pictures)


def _look(picture: dict[str, Any], max_pixels: int) -> Seen:
    try:
        image = open_picture(picture, max_pixels)
    except DataError as error:
        return Seen(str(error))
    digest = hashlib.sha256(f"{image.mode}{image.size}".encode() + image.tobytes()).hexdigest()
    return Seen(None, digest, image.mode, image.size)


def open_picture(picture: dict[str, Any], max_pixels: int) -> Any:
    """Decode one picture, upright; a DataError says in half a sentence why it cannot be read."""
    image_module, ops = need("PIL.Image"), need("PIL.ImageOps")
    source = picture["path"] if picture["bytes"] is None else BytesIO(picture["bytes"])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large images and odd metadata; both are judged here
            with image_module.open(source) as image:
                width, height = image.size
                if width * height > max_pixels:
                    raise DataError(f"{width}×{height} pixels by its header, more than max_pixels={max_pixels:,}")
                upright = ops.exif_transpose(image)  # decodes the whole file
                upright.load()
                return upright
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError("the file is not there") from error
    except image_module.DecompressionBombError as error:
        raise DataError(f"more pixels by its header than max_pixels={max_pixels:,}") from error
    except image_module.UnidentifiedImageError as error:
        raise DataError("not an image that can be identified") from error
    except Exception as error:  # decoders of broken files raise anything, SyntaxError included
        raise DataError(f"broken: {str(error) or type(error).__name__}") from error
