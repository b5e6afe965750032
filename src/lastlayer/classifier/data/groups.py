"""Rows that belong together (of one patient, one camera, one day): what says so, and a split that keeps them so."""

import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import replace

import numpy as np

from lastlayer.classifier.config import Config
from lastlayer.classifier.data.columns import words
from lastlayer.classifier.data.rows import Label, Rows, examples
from lastlayer.classifier.data.tables import arrow
from lastlayer.classifier.extras import need
from lastlayer.classifier.journal import Journal
from lastlayer.errors import ColumnError, ConfigError, DataError, did_you_mean
from lastlayer.messages import Message, few
from lastlayer.messages.wording import option

_FOLDS = 20  # that shares are made of


def with_groups(rows: Rows, config: Config, journal: Journal) -> Rows:
    """Read the group of each row: a column of a table, or what a regular expression finds in an image's path.

    The column is no feature. A row without a group is a group of its own, and that is said.

    Raises:
        ColumnError: the table has no such column.
        ConfigError: no regular expression.
        DataError: fewer than two groups.
    """
    if config.group is None:
        return rows
    found = _of_names(rows, config.group) if rows.kind == "image" else _of_column(rows, config)
    alone = [row for row, group in enumerate(found) if group is None]
    if alone:
        journal.say(Message("groups.alone", rows=len(alone), shown=few([rows.names[row] for row in alone])))
    groups = [f"={group}" if group is not None else f"#{row}" for row, group in enumerate(found)]
    if len(set(groups)) < 2 or len(alone) == len(found):
        raise DataError(
            f"{option('group', config.group)} puts {'no row into a group' if len(alone) == len(found) else 'all rows'}"
            f"{'' if len(alone) == len(found) else ' into one group'}: expected several groups, each on one side of "
            f"the split. The rows are called {examples(rows.names, 2)}."
        )
    data = rows.data.remove_columns(config.group) if rows.kind == "table" else rows.data
    journal.say(Message("groups.found", groups=len(set(groups)), group=config.group))
    return replace(rows, data=data, groups=groups)


def _of_column(rows: Rows, config: Config) -> list[str | None]:
    name, columns = str(config.group), rows.data.column_names
    if name not in columns:
        raise ColumnError(
            f"there is no column {name!r} to group by.{did_you_mean(name, columns)} The columns are: "
            f"{examples(columns, 12)}."
        )
    return words(arrow(rows.data).column(name), set(config.missing))


def _of_names(rows: Rows, pattern: str) -> list[str | None]:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ConfigError(
            f"{option('group')} has to be a regular expression for images, such as 'patient(\\d+)', got {pattern!r}: "
            f"{error}."
        ) from error
    found = [expression.search(name) for name in rows.names]
    return [None if match is None else match[1] if expression.groups else match[0] for match in found]


def of_most(strata: Sequence[Label], groups: Sequence[Hashable]) -> list[Label]:
    """The commonest stratum of each row's group.

    >>> of_most(["a", "b", "b", "a"], [0, 0, 0, 1])
    ['b', 'b', 'b', 'a']
    """
    counts: dict[Hashable, Counter[Label]] = defaultdict(Counter)
    for stratum, group in zip(strata, groups, strict=True):
        counts[group][stratum] += 1
    most = {group: count.most_common(1)[0][0] for group, count in counts.items()}
    return [most[group] for group in groups]


def joined(contents: Sequence[Hashable], groups: Sequence[Hashable]) -> list[int]:
    """Which rows have to stand together: those of one group, and groups that share an equal row.

    >>> joined(["a", "b", "b", "c"], ["x", "x", "y", "z"])
    [0, 0, 0, 3]
    """
    parent = list(range(len(contents)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    first: dict[tuple[str, Hashable], int] = {}
    for row, (content, group) in enumerate(zip(contents, groups, strict=True)):
        for key in (("content", content), ("group", group)):
            one, other = root(row), root(first.setdefault(key, row))
            parent[max(one, other)] = min(one, other)
    return [root(row) for row in range(len(contents))]


def folds(strata: Sequence[Hashable], groups: Sequence[Hashable], count: int, seed: int) -> list[list[int]]:
    """Cut rows into `count` folds, each group in one of them, each class as evenly as that allows.

    >>> sorted(map(len, folds(["a", "b"] * 6, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5], 3, seed=0)))
    [4, 4, 4]

    Source: `sklearn.model_selection.StratifiedGroupKFold`.
    """
    target = np.unique([str(stratum) for stratum in strata], return_inverse=True)[1]
    if np.bincount(target).max() < count:  # no class could stand in every fold
        target = np.zeros_like(target)
    places = np.unique([str(group) for group in groups], return_inverse=True)[1]
    splitter = need("sklearn.model_selection").StratifiedGroupKFold(count, shuffle=True, random_state=seed % 2**32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class with fewer rows than folds: said by the pre-flight
        return [held.tolist() for _, held in splitter.split(np.zeros(len(target)), target, places)]


def grouped(
    strata: Sequence[Hashable], groups: Sequence[Hashable], shares: Sequence[float], seed: int
) -> tuple[set[int], ...]:
    """Take shares of the rows, each group whole; every class keeps a group for training where it has one.

    >>> held, _ = grouped(["a", "b"] * 50, [row // 5 for row in range(100)], (0.2, 0.0), seed=0)
    >>> len(held), len({row // 5 for row in held})
    (20, 4)
    """
    count = min(_FOLDS, len(set(groups)))
    pieces = folds(strata, groups, count, seed) if count > 1 else []
    parts: list[set[int]] = []
    for share in shares:
        part: set[int] = set()
        while pieces and len(part) + len(pieces[0]) / 2 <= share * len(strata) and len(pieces) > 1:
            part.update(pieces.pop(0))
        parts.append(part)
    _return_lost_classes(strata, groups, parts)
    return tuple(parts)


def _return_lost_classes(strata: Sequence[Hashable], groups: Sequence[Hashable], parts: list[set[int]]) -> None:
    """Give the smallest group of a class that no training row has back to training."""
    held = set().union(*parts)
    lost = set(strata) - {strata[row] for row in range(len(strata)) if row not in held}
    for stratum in sorted(lost, key=str):
        members: dict[Hashable, list[int]] = {}
        having = {groups[row] for row in held if strata[row] == stratum}
        for row in held:
            if groups[row] in having:
                members.setdefault(groups[row], []).append(row)
        back = min(members.values(), key=lambda rows: (len(rows), min(rows)))
        for part in parts:
            part.difference_update(back)
