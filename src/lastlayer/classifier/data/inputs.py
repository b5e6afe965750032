"""What a person may name as new data to predict: a file, a folder, one row of a table, or something in memory."""

import re
import tempfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from lastlayer.classifier.config import Config
from lastlayer.classifier.data import images, sources, tables
from lastlayer.classifier.data.rows import Rows, plural
from lastlayer.classifier.extras import need
from lastlayer.errors import DataError, DataNotFoundError

_ONE_ROW = re.compile(r"^(?P<source>.+)#(?P<row>\d+)$")


def open_inputs(source: Any, kind: str, config: Config) -> Rows:
    """Read rows to predict; a table that has the target column keeps it as labels."""
    if isinstance(source, bytes):
        return _stream(source, kind, config)
    if isinstance(source, (str, Path)):
        return _named(str(source), kind, config)
    if kind == "table":
        return _table_rows(*sources.in_memory([source] if isinstance(source, dict) else source), config)
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
        paths = content.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        return Rows("image", images.from_pictures([{"path": None, "bytes": content}]), ["stdin"])
    names = [path.strip() for path in paths if path.strip()]
    return Rows("image", images.from_pictures([{"path": name, "bytes": None} for name in names]), names)


def _named(name: str, kind: str, config: Config) -> Rows:
    one = _ONE_ROW.match(name)
    if one and not Path(name).exists():
        rows, row = _named(one["source"], kind, config), int(one["row"])
        if not 1 <= row <= len(rows):
            raise DataNotFoundError(f"{one['source']} has {plural(len(rows), 'row')}, from #1 on: there is no #{row}.")
        return rows.select([row - 1])
    if kind == "image":
        return _images(name)
    path = sources.existing(name)
    if not path.is_file() or not tables.is_table(path):
        raise DataError(f"this model was trained on a table: expected a table to predict, got {path}.")
    data = tables.read_table(path, encoding=config.encoding, separator=config.separator)
    return _table_rows(data, path.name, config)


def _images(name: str) -> Rows:
    if name == sources.DIGITS:
        return images.digits()
    path = sources.existing(name)
    if path.is_file():
        if not images.is_image(path):
            raise DataError(f"this model was trained on images: expected an image or a folder of images, got {path}.")
        found = [path]
    else:
        found, _ = images.files_below(path)
        if not found:
            raise DataError(f"{path} holds no images.")
    data = images.from_pictures([{"path": str(file), "bytes": None} for file in found])
    return Rows("image", data, [str(file) for file in found])


def _table_rows(data: Any, name: str, config: Config) -> Rows:
    names = [f"{name}#{row}" for row in range(1, len(data) + 1)]
    if config.target is None or config.target not in data.column_names:
        return Rows("table", data, names)
    labels = sources.read_labels(tables.arrow(data).column(config.target), config)
    rest = data.remove_columns(config.target)
    return Rows("table", rest, names, ["" if label is None else label for label in labels])


def _picture(picture: Any, place: int, config: Config) -> Rows:
    """One picture in memory: a path, a Pillow image, or an array of (height, width) or (height, width, channels)."""
    if isinstance(picture, (str, Path)):
        return _named(str(picture), "image", config)
    image = need("PIL.Image")
    if not isinstance(picture, image.Image):
        array = np.asarray(picture)
        if array.dtype != np.uint8 or array.ndim not in (2, 3):
            raise DataError(
                "a picture has to be a path, a Pillow image, or a uint8 array of (height, width) or "
                f"(height, width, 3): got {type(picture).__name__} of {array.dtype} and shape {array.shape}."
            )
        picture = image.fromarray(array)
    buffer = BytesIO()
    picture.save(buffer, "PNG" if picture.mode != "F" else "TIFF")
    data = images.from_pictures([{"path": None, "bytes": buffer.getvalue()}])
    return Rows("image", data, [f"picture#{place}"])


def _joined(parts: Sequence[Rows]) -> Rows:
    if not parts:
        raise DataError("there is nothing to predict: expected at least one picture.")
    data = need("datasets").concatenate_datasets([part.data for part in parts]) if len(parts) > 1 else parts[0].data
    return Rows(parts[0].kind, data, [name for part in parts for name in part.names])
