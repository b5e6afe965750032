"""Which rows are equal: a number per row, from the features that are looked at."""

from collections.abc import Hashable
from typing import Any

from lastlayer.classifier.config import Config
from lastlayer.classifier.data.rows import Rows
from lastlayer.classifier.extras import need

_CHUNK = 65_536  # rows at a time: their cells are Python objects for a moment


def contents_of(rows: Rows, config: Config) -> list[Hashable]:
    """One number per row of a table, equal where all features are that are looked at."""
    data = rows.data.remove_columns([name for name in config.ignore if name in rows.data.column_names])
    lacking = {name for name in data.column_names if data.data.column(name).null_count}
    found: list[Hashable] = []
    for start in range(0, len(data), _CHUNK):
        frame = data.select(range(start, min(start + _CHUNK, len(data)))).to_pandas()
        found += need("pandas").util.hash_pandas_object(_comparable(frame, lacking), index=False).tolist()
    return found


def _comparable(frame: Any, lacking: set[str]) -> Any:
    """The cells in types that are the same for every chunk of rows, and that can be hashed."""
    for name in frame.columns:
        kind = frame[name].dtype.kind
        if kind == "O" or (kind == "b" and name in lacking):
            frame[name] = frame[name].astype(str)  # lists and the like cannot be hashed as they are
        elif kind in "iu" and name in lacking:
            frame[name] = frame[name].astype("float64")  # what a chunk with a missing cell has
    return frame
