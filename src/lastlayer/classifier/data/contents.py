"""Which rows are equal: a number per row, from the features that are looked at."""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import Any, cast

import numpy as np

from lastlayer.classifier.config import Config
from lastlayer.classifier.data.larger import rows_at_once
from lastlayer.classifier.data.rows import Rows
from lastlayer.classifier.extras import need


def contents_of(rows: Rows, config: Config) -> Sequence[Hashable]:
    """One number per row of a table, equal where all features are that are looked at; an array, being many."""
    data = rows.data.remove_columns([name for name in config.ignore if name in rows.data.column_names])
    lacking = {name for name in data.column_names if data.data.column(name).null_count}
    found: list[np.ndarray] = []
    step = rows_at_once(len(data.column_names))
    for start in range(0, len(data), step):
        frame = data.select(range(start, min(start + step, len(data)))).to_pandas()
        found.append(need("pandas").util.hash_pandas_object(_comparable(frame, lacking), index=False).to_numpy())
    return cast(Sequence[Hashable], np.concatenate(found) if found else np.zeros(0, np.uint64))


def repeated(contents: Sequence[Hashable] | np.ndarray) -> list[list[int]]:
    """The rows of each content that several have, in the order of their first rows.

    >>> repeated(["a", "b", "a", "c"]), repeated(np.array([7, 7, 1]))
    ([[0, 2]], [[0, 1]])
    """
    if not isinstance(contents, np.ndarray):
        places: dict[Hashable, list[int]] = defaultdict(list)
        for row, content in enumerate(contents):
            places[content].append(row)
        return [rows for rows in places.values() if len(rows) > 1]
    order = np.argsort(contents, kind="stable")
    ends = np.flatnonzero(np.diff(contents[order])) + 1
    starts, stops = np.concatenate([[0], ends]), np.concatenate([ends, [len(order)]])
    several = np.flatnonzero(stops - starts > 1) if len(order) else np.zeros(0, np.int64)
    return sorted(order[starts[place] : stops[place]].tolist() for place in several)


def different(contents: Sequence[Hashable] | np.ndarray) -> int:
    """How many different contents there are.

    >>> different(["a", "b", "a"])
    2
    """
    return len(contents) - sum(len(rows) - 1 for rows in repeated(contents))


def _comparable(frame: Any, lacking: set[str]) -> Any:
    """The cells in types that are the same for every chunk of rows, and that can be hashed."""
    for name in frame.columns:
        kind = frame[name].dtype.kind
        if kind == "O" or (kind == "b" and name in lacking):
            frame[name] = frame[name].astype(str)  # lists and the like cannot be hashed as they are
        elif kind in "iu" and name in lacking:
            frame[name] = frame[name].astype("float64")  # what a chunk with a missing cell has
    return frame
