"""Tables as tensors, some rows at a time; a large table's tensors lie in a file, not in memory."""

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lastlayer.classifier.data import larger
from lastlayer.classifier.data.columns import Encoded, TableSpec
from lastlayer.classifier.data.text_rows import TextRows
from lastlayer.errors import DataError

IN_MEMORY = 256 * 2**20  # bytes of one tensor


def encoded(spec: TableSpec, data: Any) -> Encoded:
    """`spec.encode`, for a table of any length."""
    if len(data) <= larger.rows_at_once(len(spec.columns)):
        return spec.encode(data)
    problems: dict[int, str] = {}
    filled: dict[str, Tensor] = {}
    texts: list[tuple[TextRows, ...]] = []
    start = 0
    for part in _parts(spec, data):
        tensors = {name: value for name, value in part._asdict().items() if isinstance(value, Tensor)}
        for name, tensor in tensors.items():
            if name not in filled:
                filled[name] = _empty((len(data), *tensor.shape[1:]), tensor.dtype)
            filled[name][start : start + len(tensor)] = tensor
        problems |= {start + row: problem for row, problem in part.problems.items()}
        texts.append(part.texts)
        start += len(part.numbers)
    together = tuple(TextRows.joined(parts) for parts in zip(*texts, strict=True))
    return Encoded(filled["numbers"], filled["indices"], problems, together)


def _parts(spec: TableSpec, data: Any) -> Iterator[Encoded]:
    step = larger.rows_at_once(len(spec.columns))
    for start in range(0, len(data), step):
        yield spec.encode(data.select(range(start, min(start + step, len(data)))))


def _empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Zeros, in a file without a name where they are many: what is read of it can leave memory again."""
    size = torch.Size(shape).numel() * dtype.itemsize
    if size <= IN_MEMORY:
        return torch.zeros(shape, dtype=dtype)
    folder = larger.cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".encoded", delete=False) as file:
            file.truncate(size)
        tensor = torch.from_file(file.name, shared=True, size=size // dtype.itemsize, dtype=dtype).view(shape)
    except OSError as error:
        raise DataError(
            f"the table as tensors needs {size / 2**30:.1f} GiB, and {folder} cannot be written "
            f"({error.strerror or error}). Free some space there, or name another folder in XDG_CACHE_HOME."
        ) from error
    with suppress(OSError):  # a system that keeps open files keeps it until it is removed by hand
        Path(file.name).unlink()
    return tensor
