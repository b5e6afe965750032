"""Folders of images: which files belong to which class, and whether each can be read."""

import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, NamedTuple
from uuid import uuid4

import numpy as np

from lastlayer.classifier.data.rows import Label, LeftOut, Rows, examples, plural, readable
from lastlayer.classifier.extras import need
from lastlayer.classifier.files import reading
from lastlayer.classifier.journal import Journal
from lastlayer.errors import DataError
from lastlayer.messages import Message, few
from lastlayer.messages.wording import option

# Names of folders and files that hold a split, in the words people use.
SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "calibration": "calibration",
    "test": "test",
    "testing": "test",
}


THUMBNAIL = 16  # side


class Seen(NamedTuple):
    """What one look at an image found."""

    problem: str | None
    digest: str = ""
    mode: str = ""
    size: tuple[int, int] = (0, 0)  # width, height
    thumbnail: bytes = b""  # 16×16 grey levels, where they were asked for


def is_image(path: Path) -> bool:
    """Whether the name ends like an image's."""
    return path.suffix.lower() in _suffixes()


@cache
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
    table = need("pyarrow").table({"image": pictures}, schema=features.arrow_schema)
    # A name of its own: the library would else hash every picture to find one.
    return datasets.Dataset(datasets.table.InMemoryTable(table), fingerprint=uuid4().hex)


def read_folder(folder: Path, journal: Journal) -> Rows:
    """Read folder/class/*, or folder/train/class/* with validation and test beside it."""
    parts, beside = layout(folder)
    paths, labels, given, others = [], [], [], []
    left_out = _outside(folder, parts, beside, journal)
    for parent, split in parts.items():
        for directory in _folders(parent):
            found = files_below(directory)
            others += found.others
            paths += found.images
            labels += [readable(directory.name)] * len(found.images)
            given += [split] * len(found.images)
            for loop in found.loops:
                journal.say(Message("images.loop", folder=_name(loop, folder)))
            if not found.images:
                journal.say(Message("images.empty_folder", folder=_name(directory, folder)))
    if not paths:
        raise DataError(
            f"{folder} holds no images in its class folders: expected one folder per class, as cat/*.jpg and "
            f"dog/*.jpg. {_found(folder)}"
        )
    if others:
        endings = Counter(path.suffix.lower() for path in others).most_common(3)
        no_ending = Message("images.no_ending")
        kinds = [Message("images.kind", count=count, ending=ending or no_ending) for ending, count in endings]
        journal.say(Message("images.others", files=len(others), kinds=kinds))
    names = [_name(path, folder) for path in paths]
    data = from_pictures([entry(path) for path in paths])
    is_split = None not in parts.values()
    return Rows("image", data, names, list(labels), [split or "" for split in given] if is_split else None, left_out)


def layout(folder: Path) -> tuple[dict[Path, str | None], list[Path]]:
    """The folders that hold class folders, with the split of each (None: no split), and those that stand beside them.

    A folder called train or test is a split where it holds folders; where it holds images beside other such folders
    it is a class of that name.
    """
    children = _folders(folder)
    if not children:
        raise DataError(
            f"{folder} has no folders of images: expected one folder per class (folder/cat/*.jpg, folder/dog/*.jpg), "
            f"or train, validation and test folders with one per class. {_found(folder)}"
        )
    splits: dict[Path, str | None] = {
        child: SPLITS[child.name.lower()] for child in children if child.name.lower() in SPLITS
    }
    if not splits or (len(splits) < len(children) and not any(map(_folders, splits))):
        return {folder: None}, []
    if "train" not in splits.values():
        raise DataError(
            f"{folder} has folders of splits ({examples([child.name for child in splits])}) and none that trains: "
            "expected train, and validation and test beside it. Rename one, or name the folder above the classes."
        )
    return splits, [child for child in children if child not in splits]


def _outside(folder: Path, parts: dict[Path, str | None], beside: list[Path], journal: Journal) -> tuple[LeftOut, ...]:
    """Images that stand in no class folder: nobody says which class they have. Say so, and name them."""
    left_out: list[LeftOut] = []
    for place in dict.fromkeys([folder, *parts]):
        with reading(place):
            loose = [child for child in sorted(place.iterdir()) if child.name[0] != "." and child.is_file()]
        images = [_name(child, folder) for child in loose if is_image(child)]
        if images:
            found = {"images": len(images), "shown": few(images)}
            if place == folder:
                journal.say(Message("images.beside_folders", **found))
            else:
                journal.say(Message("images.beside_classes", folder=_name(place, folder), **found))
            left_out += [LeftOut(name, Message("reason.outside")) for name in images]
    for child in beside:
        images = [_name(path, folder) for path in files_below(child).images]
        beside_it = few([part.name for part in parts])
        journal.say(Message("images.no_split", folder=_name(child, folder), images=len(images), parts=beside_it))
        left_out += [LeftOut(name, Message("reason.no_split", folder=readable(child.name))) for name in images]
    return tuple(left_out)


def class_folders(folder: Path) -> list[str]:
    """The names of the class folders, empty ones too."""
    return sorted({readable(directory.name) for parent in layout(folder)[0] for directory in _folders(parent)})


def _folders(folder: Path) -> list[Path]:
    with reading(folder):
        return sorted(
            child for child in folder.iterdir() if child.is_dir() and child.name[0] != "." and child.name != "__MACOSX"
        )


def _name(path: Path, folder: Path) -> str:
    return readable(str(path.relative_to(folder)))


def entry(path: Path) -> dict[str, Any]:
    """A picture by its path, or by its bytes where the path is no text."""
    if readable(str(path)) == str(path):
        return {"path": str(path), "bytes": None}
    with reading(path):
        return {"path": None, "bytes": path.read_bytes()}


class Found(NamedTuple):
    """The files below a folder: images, others, and links that lead back above themselves."""

    images: list[Path]
    others: list[Path]
    loops: list[Path]


def files_below(directory: Path) -> Found:
    """All files below; hidden ones do not count, and a folder that links lead to twice counts once."""
    found = Found([], [], [])
    kinds = {"image": found.images, "other": found.others, "loop": found.loops}
    for path, kind in walk(directory):
        kinds[kind].append(path)
    return found


def walk(directory: Path) -> Iterator[tuple[Path, Literal["image", "other", "loop"]]]:
    """What `files_below` finds, in order, a folder at a time."""
    top = directory.resolve()
    seen = {top}

    def stop(error: OSError) -> None:
        raise error

    with reading(directory):
        for root, folders, files in os.walk(directory, followlinks=True, onerror=stop):
            kept = []
            for name in sorted(folder for folder in folders if folder[0] != "."):
                path = Path(root, name)
                real = path.resolve()
                if real in seen or real in top.parents:
                    yield path, "loop"
                    continue
                seen.add(real)
                kept.append(name)
            folders[:] = kept
            for name in sorted(files):
                path = Path(root, name)
                if name[0] != "." and name.lower() not in ("thumbs.db", "desktop.ini"):
                    yield path, "image" if is_image(path) else "other"


def _found(folder: Path) -> str:
    with reading(folder):
        files = [readable(child.name) for child in sorted(folder.iterdir()) if child.name[0] != "."]
    return f"Found {examples(files)}." if files else "The folder is empty."


def leave_out_unreadable(
    rows: Rows, *, max_pixels: int, strict: bool, journal: Journal, advice: str = "", thumbnails: bool = False
) -> tuple[Rows, list[Seen]]:
    """Look at every image once; leave out those that cannot be read, by name, or raise with `advice` if `strict`."""
    pictures = list(rows.data["image"])
    seen = list(journal.track(look_at(pictures, max_pixels, thumbnails), Message("read.progress.images"), len(rows)))
    problems = {row: one.problem for row, one in enumerate(seen) if one.problem is not None}
    if problems and strict:
        row, problem = next(iter(problems.items()))
        raise DataError(
            f"{plural(len(problems), 'image')} cannot be read, first {rows.names[row]}: {problem}. Mend or remove "
            f"{'them' if len(problems) > 1 else 'it'}{advice}."
        )
    for row, problem in list(problems.items())[:5]:
        journal.say(Message("images.left_out", name=rows.names[row], reason=problem))
    if len(problems) > 5:
        journal.say(Message("images.more_left_out", images=len(problems) - 5))
    return rows.without(problems), [one for one in seen if one.problem is None]


def look_at(pictures: Iterable[dict[str, Any]], max_pixels: int, thumbnails: bool = False) -> Iterator[Seen]:
    """Decode every picture once, in threads: Pillow decodes without holding the interpreter."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(lambda picture: _look(picture, max_pixels, thumbnails), pictures)


def _look(picture: dict[str, Any], max_pixels: int, thumbnails: bool) -> Seen:
    try:
        image = open_picture(picture, max_pixels)
    except DataError as error:
        return Seen(error.args[0])
    digest = hashlib.sha256(f"{image.mode}{image.size}".encode() + image.tobytes()).hexdigest()
    return Seen(None, digest, image.mode, image.size, _thumbnail(image) if thumbnails else b"")


def _thumbnail(image: Any) -> bytes:
    """The mean grey of each of 16×16 fields: the same for copies of another size or compression."""
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image, dtype=np.float64)
        low, high = values.min(), values.max()
        image = need("PIL.Image").fromarray(((values - low) / max(high - low, 1e-12) * 255).astype(np.uint8))
    small = image.convert("L").resize((THUMBNAIL, THUMBNAIL), need("PIL.Image").Resampling.BOX)
    return bytes(small.tobytes())


def begins_as_picture(content: bytes) -> bool:
    """Whether the first bytes are those of a format that Pillow knows."""
    module = need("PIL.Image")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module.open(BytesIO(content)).close()
    except module.DecompressionBombError:
        return True
    except Exception:  # noqa: BLE001 - decoders raise anything
        return False
    return True


def open_picture(picture: dict[str, Any], max_pixels: int) -> Any:
    """Decode one picture, upright; a DataError says in half a sentence why it cannot be read."""
    image_module, ops = need("PIL.Image"), need("PIL.ImageOps")
    source = picture["path"] if picture["bytes"] is None else BytesIO(picture["bytes"])
    allowed = {"option": option("max_pixels"), "most": max_pixels}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large images and odd metadata; both are judged here
            with image_module.open(source) as image:
                width, height = image.size
                if width * height > max_pixels:
                    raise DataError(Message("reason.large", width=width, height=height, **allowed))
                upright = ops.exif_transpose(image)  # decodes the whole file
                upright.load()
                return upright
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(Message("reason.not_there")) from error
    except image_module.DecompressionBombError as error:
        raise DataError(Message("reason.too_large", **allowed)) from error
    except image_module.UnidentifiedImageError as error:
        raise DataError(Message("reason.empty" if _is_empty(picture) else "reason.no_image")) from error
    except Exception as error:  # decoders of broken files raise anything, SyntaxError included
        raise DataError(Message("reason.broken", error=str(error) or type(error).__name__)) from error


def _is_empty(picture: dict[str, Any]) -> bool:
    if picture["path"] is None:
        return not picture["bytes"]
    try:
        return Path(picture["path"]).stat().st_size == 0
    except OSError:
        return False
