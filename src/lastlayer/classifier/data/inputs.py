"""What a person may name as new data to predict: a file, a folder, one row of a table, or something in memory."""

import re
import tempfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from lastlayer.classifier.config import Config
from lastlayer.classifier.data import images, labels, sources, tables
from lastlayer.classifier.data.rows import LeftOut, Rows, examples, plural, readable
from lastlayer.classifier.extras import need
from lastlayer.errors import ColumnError, DataError, DataNotFoundError

ONE_ROW = re.compile(r"^(?P<source>.+)#(?P<row>\d+)$")


def open_inputs(source: Any, kind: str, config: Config) -> Rows:
    """Read rows to predict; a table that has the target column keeps it as labels."""
    if isinstance(source, bytes):
        return _stream(source, kind, config)
    if isinstance(source, (str, Path)):
        return _named(str(source), kind, config)
    if kind == "table":
        data, name = sources.in_memory([source] if isinstance(source, dict) else source)
        return _table_rows(data, name, config)
    pictures = source if isinstance(source, (list, tuple)) else [source]
    return _joined([_picture(picture, place, config) for place, picture in enumerate(pictures, start=1)])


def _stream(content: bytes, kind: str, config: Config) -> Rows:
    """Standard input: a CSV with its header or JSON lines for a table; one picture, or a path a line, for images."""
    if not content.strip():
        raise DataError("standard input is empty: expected rows to predict.")
    if kind == "table":
        suffix = ".jsonl" if content.lstrip()[:1] == b"{" else ".csv"
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"stdin{suffix}")
            path.write_bytes(content)
            data = tables.read_table(path, encoding=config.encoding, separator=config.separator)
        return _table_rows(data, "stdin", config)
    try:
        names = [path.strip() for path in content.decode("utf-8").split("\n") if path.strip()]
    except UnicodeDecodeError:
        names = []
    if not names or images.begins_as_picture(content):
        return Rows("image", images.from_pictures([{"path": None, "bytes": content}]), ["stdin"])
    if not any(is_there(name) for name in names):
        raise DataError(
            f"standard input holds neither a picture nor the path of one: its first line is {names[0][:60]!r}. "
            "Expected the bytes of one picture, or one path a line."
        )
    return Rows("image", images.from_pictures([{"path": name, "bytes": None} for name in names]), names)


def is_there(name: str) -> bool:
    """Whether a file or folder of that name exists; what cannot be a name does not."""
    try:
        return Path(name).exists()
    except (OSError, ValueError):  # too long, or with a zero byte
        return False


def _named(name: str, kind: str, config: Config) -> Rows:
    one = ONE_ROW.match(name)
    if one and not is_there(name):
        rows, row = _named(one["source"], kind, config), int(one["row"])
        if not 1 <= row <= len(rows):
            raise DataNotFoundError(f"{one['source']} has {plural(len(rows), 'row')}, from #1 on: there is no #{row}.")
        return rows.select([row - 1])
    if kind == "image":
        return _images(name, config)
    path = sources.existing(name)
    if not path.is_file() or not tables.is_table(path):
        raise DataError(f"this model was trained on a table: expected a table to predict, got {path}.")
    data = tables.read_table(path, encoding=config.encoding, separator=config.separator)
    return _table_rows(data, path.name, config)


def _images(name: str, config: Config) -> Rows:
    if name == sources.DIGITS:
        return images.digits()
    path = sources.existing(name)
    if config.image is not None and path.is_file() and tables.is_table(path):
        data = tables.read_table(path, encoding=config.encoding, separator=config.separator)
        if config.image not in data.column_names:
            raise ColumnError(
                f"{path.name} has no column {config.image!r} with the paths of pictures. It has: "
                f"{examples(data.column_names, 12)}."
            )
        return sources.pictures_of(_table_rows(data, path.name, config), config, path.parent)
    others: list[Path] = []
    if path.is_file():
        if not images.is_image(path):
            raise DataError(f"this model was trained on images: expected an image or a folder of images, got {path}.")
        found = [path]
    else:
        found, others, _ = images.files_below(path)
        if not found:
            raise DataError(f"{path} holds no images.")
    data = images.from_pictures([images.entry(file) for file in found])
    left_out = tuple(LeftOut(readable(str(file)), "no image by its name") for file in others)
    return Rows("image", data, [readable(str(file)) for file in found], left_out=left_out)


def _table_rows(data: Any, name: str, config: Config) -> Rows:
    if len(data) == 0:
        raise DataError("there is nothing to predict: expected at least one row.")
    names = [f"{name}#{row}" for row in range(1, len(data) + 1)]
    targets = labels.columns_of(config)
    there = [name for name in targets if name in data.column_names]
    if not targets or there != list(targets):
        return Rows("table", data.remove_columns(there), names)
    answers = labels.read_answers(data, config)
    rest = data.remove_columns(there)
    return Rows("table", rest, names, ["" if answer is None else answer for answer in answers])


def _picture(picture: Any, place: int, config: Config) -> Rows:
    """One picture in memory: a path, a Pillow image, or an array of (height, width) or (height, width, channels)."""
    if isinstance(picture, (str, Path)):
        return _named(str(picture), "image", config)
    image = need("PIL.Image")
    if not isinstance(picture, image.Image):
        array = np.asarray(picture)
        shape = array.shape[:2] if array.ndim == 3 and array.shape[2] == 1 else array.shape
        fits = len(shape) == 2 or (len(shape) == 3 and shape[2] in (3, 4))
        if array.dtype != np.uint8 or not fits or 0 in shape:
            first = " Bring the channels last." if array.ndim == 3 and array.shape[0] in (1, 3) and not fits else ""
            raise DataError(
                "a picture has to be a path, a Pillow image, or a uint8 array of (height, width), (height, width, 1) "
                f"or (height, width, 3): got {type(picture).__name__} of {array.dtype} and shape {array.shape}.{first}"
            )
        picture = image.fromarray(array.reshape(shape))
    data = images.from_pictures([{"path": None, "bytes": _written(picture)}])
    return Rows("image", data, [f"picture#{place}"])


def _written(picture: Any) -> bytes:
    """A Pillow image as the bytes of a file that loses nothing of it that a classifier reads."""
    buffer = BytesIO()
    try:
        if picture.mode not in ("1", "L", "LA", "I", "I;16", "P", "RGB", "RGBA", "F"):
            picture = picture.convert("RGBA" if picture.mode.lower().endswith("a") else "RGB")
        picture.save(buffer, "PNG" if picture.mode != "F" else "TIFF")
    except (OSError, ValueError) as error:
        raise DataError(
            f"a picture of mode {picture.mode} and size {picture.size} cannot be used: {error}. Convert it to RGB."
        ) from error
    return buffer.getvalue()


def _joined(parts: Sequence[Rows]) -> Rows:
    if not parts:
        raise DataError("there is nothing to predict: expected at least one picture.")
    data = need("datasets").concatenate_datasets([part.data for part in parts]) if len(parts) > 1 else parts[0].data
    return Rows(parts[0].kind, data, [name for part in parts for name in part.names])
