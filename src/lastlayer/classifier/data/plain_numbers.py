"""Columns of text that are plainly numbers, read by Arrow: the same values as word by word, in a tenth of the time."""

import sys
from typing import Any

import numpy as np

from lastlayer.classifier.extras import need

# What Python takes for a space, since word by word it is Python that strips it.
_SPACES = "".join(map(chr, filter(lambda point: chr(point).isspace(), range(sys.maxunicode + 1))))


def plain_numbers(cells: Any, missing: set[str]) -> np.ndarray | None:
    """Cells as float64, NaN where missing; None where one of them is anything but a finite number or missing.

    Both Arrow and Python round to the nearest float64; what only one of them takes for a number is left to the other
    way of reading.
    """
    arrow, compute = need("pyarrow"), need("pyarrow.compute")
    if not (arrow.types.is_string(cells.type) or arrow.types.is_large_string(cells.type)):
        return None
    trimmed = compute.utf8_trim(cells, characters=_SPACES)
    lacks = compute.is_in(trimmed, value_set=arrow.array(sorted(missing), cells.type))
    present = compute.if_else(lacks, arrow.scalar(None, cells.type), trimmed)
    try:
        values = present.cast(arrow.float64())
    except arrow.ArrowException:
        return None
    found: np.ndarray = values.to_numpy() if isinstance(values, arrow.ChunkedArray) else values.to_numpy(False)
    return np.array(found) if np.isfinite(found).sum() == len(found) - values.null_count else None
