"""Columns that give the class away by themselves."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from lastlayer.classifier.data.checks.finding import Finding
from lastlayer.classifier.data.checks.subject import Subject
from lastlayer.classifier.extras import need
from lastlayer.messages import Message
from lastlayer.messages.wording import option

_MOST_ROWS = 20_000
_MOST_CLASSES, _MOST_LABELS = 1_000, 60
_LEAST_ROWS, _ROWS_OF_EACH = 30, 4
_WRONG = 0.01  # share of rows that a leaking column gets wrong at most
_OF_MAJORITY = 0.1  # and as a share of what the largest class alone gets wrong
_FOLDS = 3


def columns(subject: Subject) -> Iterator[Finding]:
    """Single features that determine the class: of a table, or of how pictures are stored."""
    rows = subject.sample if subject.rows.kind == "table" else np.arange(len(subject.rows))
    places = np.arange(0, len(rows), max(1, -(-len(rows) // _MOST_ROWS)))
    if len(places) < _LEAST_ROWS:
        return
    features = list(_features(subject, places))
    for what, labels in targets(subject, rows[places]):
        target, counts = np.unique([str(label) for label in labels], return_inverse=True, return_counts=True)[1:]
        if not 2 <= len(counts) <= min(_MOST_CLASSES, len(places) / _ROWS_OF_EACH):
            continue
        majority = float(counts.max() / counts.sum())
        for name, cells in features:
            accuracy = alone(cells, target)
            if 1 - accuracy <= min(_WRONG, _OF_MAJORITY * (1 - majority)):
                yield _found(subject, name, what, accuracy, majority)


def targets(subject: Subject, rows: Sequence[int] | np.ndarray) -> Iterator[tuple[Message, list[Any]]]:
    """What is to be predicted of some rows: the class, or of each label whether it holds."""
    if not subject.several:
        yield Message("shift.class"), [subject.labels[int(row)] for row in rows]
        return
    for label, holding in list(subject.by_label.items())[:_MOST_LABELS]:
        held = set(holding)
        yield Message("shift.label", label=str(label)), [int(row) in held for row in rows]


def _found(subject: Subject, name: str, what: Message, accuracy: float, majority: float) -> Finding:
    is_table = subject.rows.kind == "table"
    said = {"name": name, "what": what, "accuracy": accuracy, "majority": majority}
    return Finding(
        "leaking-column",
        "harms",
        Message("leaking-column.table" if is_table else "leaking-column.images", **said),
        Message("leaking-column.table_fix", option=option("ignore", name))
        if is_table
        else Message("leaking-column.images_fix"),
        "kept",
        Message("finding.kept"),
        count=1,
        numbers={"column": name, "target": what, "accuracy": accuracy, "majority_accuracy": majority},
    )


def _features(subject: Subject, places: np.ndarray) -> Iterator[tuple[str, Sequence[str | None]]]:
    if subject.rows.kind == "table":
        for name in subject.columns:
            if not subject.is_text(name):
                cells = subject.words(name)
                yield name, [cells[place] for place in places]
        return
    some = [subject.seen[place] for place in places]
    yield Message("leaking-column.mode"), [one.mode for one in some]
    yield Message("leaking-column.size"), [f"{one.size[0]}×{one.size[1]}" for one in some]
    yield Message("leaking-column.ending"), [subject.rows.names[place].rpartition(".")[2].lower() for place in places]


def alone(cells: Sequence[str | None], target: np.ndarray) -> float:
    """The accuracy of one feature on rows held out: a small tree for numbers, the commonest class of each word else.

    >>> alone(["a", "b"] * 20, np.array([0, 1] * 20))
    1.0
    """
    present = [cell for cell in cells if cell is not None]
    numbers = as_numbers(cells)
    if len(set(present)) < 2:
        return 0.0
    if numbers is None or len(set(present)) <= 20:
        return _by_words(cells, target)
    return _by_tree(numbers, target)


def as_numbers(cells: Sequence[str | None]) -> np.ndarray | None:
    """Cells as float64, NaN where missing or infinite; None where any is a word."""
    try:
        values = np.array([np.nan if cell is None else float(cell) for cell in cells])
    except ValueError:
        return None
    values[~np.isfinite(values)] = np.nan
    return values


def _by_words(cells: Sequence[str | None], target: np.ndarray) -> float:
    """Each row is given the commonest class of the other rows with its word; a tie counts as wrong."""
    words = np.unique([f"={cell}" if cell is not None else "" for cell in cells], return_inverse=True)[1]
    if words.max() + 1 > len(cells) / 2:
        return 0.0
    table = np.zeros((words.max() + 1, target.max() + 1), np.int64)
    np.add.at(table, (words, target), 1)
    commonest = table.argmax(1)
    second, first = np.sort(table, axis=1)[:, -2:].T
    others = np.where(commonest[words] == target, second[words], first[words])
    return float((table[words, target] - 1 > others).mean())


def _by_tree(values: np.ndarray, target: np.ndarray) -> float:
    tree = need("sklearn.tree").DecisionTreeClassifier(
        max_leaf_nodes=4 * int(target.max() + 1), min_samples_leaf=2, random_state=0
    )
    filled = np.where(np.isnan(values), np.nanmin(values) - 1, values).astype(np.float32)[:, None]
    filled = np.nan_to_num(filled, posinf=3e38, neginf=-3e38)
    order = np.random.default_rng(0).permutation(len(target))
    right = 0
    for fold in range(_FOLDS):
        held = order[fold::_FOLDS]
        rest = np.setdiff1d(order, held)
        right += int((tree.fit(filled[rest], target[rest]).predict(filled[held]) == target[held]).sum())
    return right / len(target)
