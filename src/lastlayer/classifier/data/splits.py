"""Which rows train, which choose, which calibrate and which judge. Equal rows always stand on one side."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from lastlayer.classifier.config import Config
from lastlayer.classifier.data.contents import different, repeated
from lastlayer.classifier.data.groups import grouped, joined, of_most
from lastlayer.classifier.data.rows import Answer, Label, Rows, plural
from lastlayer.classifier.journal import Journal
from lastlayer.errors import DataError
from lastlayer.messages import Message, few
from lastlayer.messages.wording import option

_MANY_GROUPS = 2_000
# rows of a class from which test, validation and calibration get one: none trains without validation
_LEAST = (4, 3, 5)


class Split(NamedTuple):
    """Row numbers of each part; `calibration` and `test` are empty where none was given or asked for."""

    train: list[int]
    validation: list[int]
    calibration: list[int]
    test: list[int]


def split_rows(
    rows: Rows,
    contents: Sequence[Hashable],
    config: Config,
    journal: Journal,
) -> tuple[Rows, Split]:
    """Split labelled rows by class and the settings' shares, or take the split that the source has.

    Rows whose `contents` are equal stand on one side; where there are groups, so do those of one group.

    Returns the rows with them, since copies that a given split has on both sides are left out.
    """
    labels = rows.labels or []
    _name_conflicts(rows, contents, journal)
    count = different(contents)
    if 2 * count < len(rows):
        journal.say(Message("split.few_contents", rows=len(rows), count=count))
    if rows.given is None:
        # those that judge first: two trainings with other shares, or other networks, are judged by the same rows
        shares = (config.test, *config.shares)
        judging, chosen, calibrating = taken(strata(labels), contents, rows.groups, shares, config.seed, _LEAST)
        held = chosen | judging | calibrating
        train = [row for row in range(len(rows)) if row not in held]
        split = Split(train, sorted(chosen), sorted(calibrating), sorted(judging))
    else:
        rows, contents = _without_copies(rows, contents, journal)
        labels = rows.labels or []
        split = Split(*([row for row, name in enumerate(rows.given or []) if name == part] for part in Split._fields))
        split = _completed(split, strata(labels), contents, rows.groups, config, journal)
    if not split.train or not split.validation:
        raise _too_few(rows, split, count)
    _check_classes(labels, split)
    to_calibrate = Message("split.calibrating", rows=len(split.calibration)) if split.calibration else ""
    counts = {"train": len(split.train), "validation": len(split.validation), "calibration": to_calibrate}
    journal.say(
        Message("split.rows", test=len(split.test), **counts) if split.test else Message("split.no_test", **counts)
    )
    return rows, split


def _too_few(rows: Rows, split: Split, count: int) -> DataError:
    """Nothing to train on, or to validate on: too few rows, different contents, or groups."""
    groups = None if rows.groups is None else len(set(rows.groups))
    why = "Each class needs at least three different rows."
    if count < len(rows):
        why = f"The rows hold only {count:,} different contents, and equal rows stand on one side. {why}"
    if groups is not None:
        why = (
            f"They belong to {plural(groups, 'group')}, and rows of one group stand on one side: name a column with "
            f"more groups in {option('group')}, or leave it out."
        )
    return DataError(
        f"too few {'rows' if groups is None else 'groups'} to train and to validate: {plural(len(rows), 'row')} would "
        f"make {len(split.train)} training and {len(split.validation)} validation rows. {why}"
    )


def _completed(
    split: Split,
    labels: Sequence[Label],
    contents: Sequence[Hashable],
    groups: Sequence[str] | None,
    config: Config,
    journal: Journal,
) -> Split:
    """A given split with the parts that it lacks, taken from its training rows."""
    shares = (0.0 if split.validation else config.shares[0], 0.0 if split.calibration else config.shares[1])
    inner = [labels[row] for row in split.train]
    inner_groups = None if groups is None else [groups[row] for row in split.train]
    parts = taken(inner, [contents[row] for row in split.train], inner_groups, shares, config.seed)
    chosen, calibrating = (sorted(split.train[place] for place in part) for part in parts)
    for part, share, what in ((chosen, shares[0], "validation"), (calibrating, shares[1], "calibration")):
        if part:
            journal.say(Message("split.taken", part=Message(f"part.{what}"), share=share))
    gone = {*chosen, *calibrating}
    return Split(
        [row for row in split.train if row not in gone],
        chosen or split.validation,
        calibrating or split.calibration,
        split.test,
    )


def taken(
    labels: Sequence[Label],
    contents: Sequence[Hashable],
    groups: Sequence[str] | None,
    shares: Sequence[float],
    seed: int,
    least: Sequence[int] | None = None,
) -> tuple[set[int], ...]:
    """Shares of the rows by class; equal rows, and rows of one group where there are groups, stay together."""
    if groups is None:
        return stratified(labels, contents, shares, seed, least)
    together = joined(contents, groups)
    if len(set(together)) > _MANY_GROUPS:  # the library looks at one group after the other, for each fold
        return stratified(of_most(labels, together), together, shares, seed, least)
    return grouped(labels, together, shares, seed)


def strata(labels: Sequence[Answer]) -> list[Label]:
    """The class of each row; of several labels that hold the rarest, so that every part of a split sees it."""
    counts = holding(held for held in labels if isinstance(held, tuple))
    return [min(held, key=lambda one: counts[one], default="") if isinstance(held, tuple) else held for held in labels]


def stratified(
    labels: Sequence[Label],
    contents: Sequence[Hashable],
    shares: Sequence[float],
    seed: int,
    least: Sequence[int] | None = None,
) -> tuple[set[int], ...]:
    """Take shares of each class, equal rows together; every class keeps a row for training.

    Each share is of at least one row where the class has so many different ones as `least` says: 3 for the first
    share, 4 for the second, and so on.

    >>> held, _ = stratified(["a"] * 10 + ["b"] * 20, range(30), (0.2, 0.0), seed=0)
    >>> sorted("a" if row < 10 else "b" for row in held)
    ['a', 'a', 'b', 'b', 'b', 'b']
    """
    copies = {rows[0]: rows for rows in repeated(contents)}
    alone = np.ones(len(labels), bool)  # or the first of equal rows
    for rows in copies.values():
        mixed = len({labels[row] for row in rows}) > 1  # equal rows with different classes train
        alone[rows if mixed else rows[1:]] = False
    taken: tuple[set[int], ...] = tuple(set() for _ in shares)
    random = np.random.default_rng(seed)
    classes = {label: place for place, label in enumerate(sorted(set(labels), key=str))}
    codes = np.fromiter((classes[label] for label in labels), np.int64, len(labels))
    for code in range(len(classes)):
        firsts = np.flatnonzero(alone & (codes == code))
        free = firsts[random.permutation(len(firsts))].tolist()
        total = sum(len(copies.get(first, (first,))) for first in free)
        for part, share, enough in zip(taken, shares, least or range(3, 3 + len(shares)), strict=True):
            free = _took(part, free, copies, round(share * total), share > 0 and len(firsts) >= enough)
    return taken


def _took(part: set[int], free: list[int], copies: dict[int, list[int]], room: int, some: bool) -> list[int]:
    """Move rows, each with its copies, to `part` as far as there is room; what is left has one at least."""
    left: list[int] = []
    for place, first in enumerate(free):
        group = copies.get(first, (first,))
        if len(group) <= room and len(left) + len(free) - place > 1:
            part.update(group)
            room -= len(group)
        else:
            left.append(first)
    if some and len(left) == len(free) > 2:  # a small class, or only copies larger than the share: one is moved
        smallest = min(left, key=lambda first: len(copies.get(first, (first,))))
        part.update(copies.get(smallest, (smallest,)))
        left.remove(smallest)
    return left


def _without_copies(rows: Rows, contents: Sequence[Hashable], journal: Journal) -> tuple[Rows, list[Hashable]]:
    """Leave out rows that also stand in a split that comes after: of training, validation, calibration and test.

    So are rows of a group that stands there.
    """
    copies = _also_later(rows, contents, "reason.copy")
    if copies:
        journal.say(Message("split.copies", rows=len(copies), shown=few([rows.names[row] for row in copies])))
    if rows.groups is not None:
        torn = _also_later(rows, rows.groups, "reason.group")
        train = (rows.given or []).count("train")
        lost = sum((rows.given or [])[row] == "train" for row in torn)
        if 2 * lost > train:
            raise DataError(
                f"{lost:,} of {train:,} training rows are of a group that also stands in a split that judges: leaving "
                "them out would leave too little. Split the data by group, or name one table or folder and let "
                "training split it."
            )
        if torn:
            journal.say(Message("split.torn", rows=len(torn), shown=few([rows.names[row] for row in torn])))
        copies = {**torn, **copies}
    return rows.without(copies), [content for row, content in enumerate(contents) if row not in copies]


def _also_later(rows: Rows, keys: Sequence[Hashable], reason: str) -> dict[int, Message]:
    """Rows whose key a later split has too, and which row of it."""
    given = rows.given or []
    where: dict[Hashable, dict[str, int]] = defaultdict(dict)
    for row, key in enumerate(keys):
        where[key].setdefault(given[row], row)
    found: dict[int, Message] = {}
    for row, key in enumerate(keys):
        for judge in reversed(Split._fields[Split._fields.index(given[row]) + 1 :]):
            if judge in where[key]:
                found[row] = Message(reason, other=rows.names[where[key][judge]], part=Message(f"part.{judge}"))
                break
    return found


def _name_conflicts(rows: Rows, contents: Sequence[Hashable], journal: Journal) -> None:
    """Say which equal rows have different classes: no model can get them all right."""
    labels = rows.labels or []
    firsts = {row: equal[0] for equal in repeated(contents) for row in equal if labels[row] != labels[equal[0]]}
    if firsts:
        row = min(firsts)
        other = firsts[row]
        pair = {"one": rows.names[row], "its": str(labels[row]), "other": rows.names[other]}
        journal.say(Message("split.conflicts", rows=len(firsts), others=str(labels[other]), **pair))


def holding(answers: Iterable[Answer]) -> Counter[Label]:
    """How many rows each class has, or for how many each label holds."""
    return Counter(label for held in answers for label in (held if isinstance(held, tuple) else (held,)))


def _check_classes(labels: Sequence[Answer], split: Split) -> None:
    known = holding(labels[row] for row in split.train)
    for part, rows in split._asdict().items():
        found = holding(labels[row] for row in rows)
        unseen = Counter({label: count for label, count in found.items() if label not in known})
        if unseen:
            named = ", ".join(f"{label!r} ({plural(count, 'row')})" for label, count in unseen.most_common(5))
            raise DataError(
                f"the {part} split has classes that training never saw: {named}. A model cannot predict them: add "
                "training rows of each, or remove these."
            )
