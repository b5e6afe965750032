"""Columns of a table that tell nothing, tell too much, or lack cells."""

import math
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise

from lastlayer.classifier.data.checks.finding import Finding
from lastlayer.classifier.data.checks.subject import Subject
from lastlayer.messages import Message, few
from lastlayer.messages.wording import option

_FEW_CATEGORIES = 50
_IDENTIFIER = re.compile(r"(^|[_\W])(u?u?id|guid|key|index|idx|nr|no|number|row)$|[a-z]I[Dd]$", re.IGNORECASE)
_LEAST_ROWS = 20
_INFINITE = ("inf", "infinity")


def columns(subject: Subject) -> Iterator[Finding]:
    """What each column's own cells show."""
    lacking: dict[str, int] = {}
    infinite: dict[str, list[int]] = {}
    constant: list[str] = []
    identifying: list[str] = []
    counting: list[str] = []
    for name in subject.columns:
        if _is_nested(subject, name):
            continue
        cells = subject.words(name)
        present = [cell for cell in cells if cell is not None]
        if len(present) < len(cells):
            lacking[name] = len(cells) - len(present)
        odd = [row for row, cell in enumerate(cells) if cell is not None and cell.lstrip("+-").lower() in _INFINITE]
        if odd and len(odd) < len(present):
            infinite[name] = odd
        different = len(set(present))
        if different < 2:
            constant.append(name)
        elif len(present) >= _LEAST_ROWS and _identifies(name, present, different):
            (counting if all(map(_whole, present)) else identifying).append(name)
    text = [name for name in identifying if subject.is_text(name)]
    identifying = [name for name in identifying if name not in text]
    yield from _constant(constant)
    yield from _identifiers(identifying, counting, subject)
    yield from _missing(lacking, subject)
    yield from _infinite(infinite, subject)


def _is_nested(subject: Subject, name: str) -> bool:
    return str(subject.table.schema.field(name).type).startswith(("list", "struct", "map", "large_list", "binary"))


def _whole(cell: str) -> bool:
    try:
        return float(cell).is_integer()
    except (ValueError, OverflowError):
        return False


def _identifies(name: str, present: Sequence[str], different: int) -> bool:
    """Words that are nearly all different, or whole numbers that are and that count up or are called an id."""
    if different <= max(_FEW_CATEGORIES, 0.95 * len(present)):
        return False
    if not all(map(_whole, present)):
        return not any(_number(cell) or _is_date(cell) for cell in present[:_LEAST_ROWS])
    numbers = [float(cell) for cell in present]
    steps = sum(later - earlier == 1 for earlier, later in pairwise(numbers))
    return steps > 0.9 * (len(numbers) - 1) or (different == len(present) and bool(_IDENTIFIER.search(name)))


def _number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def _is_date(cell: str) -> bool:
    try:
        return len(cell) >= len("2026-01-31") and datetime.fromisoformat(cell) is not None
    except ValueError:
        return False


def _constant(names: Sequence[str]) -> Iterator[Finding]:
    if names:
        yield Finding(
            "constant-column",
            "note",
            Message("constant-column.what", columns=len(names), shown=few([repr(name) for name in names], 5)),
            Message("constant-column.fix"),
            "left out",
            Message("constant-column.how"),
            count=len(names),
            numbers={"columns": list(names)},
        )


def _identifiers(words: Sequence[str], numbers: Sequence[str], subject: Subject) -> Iterator[Finding]:
    rest = [name for name in words if name not in subject.config.categorical]
    if rest:
        yield Finding(
            "identifier-column",
            "note",
            Message("identifier-column.what", columns=len(rest), shown=few([repr(name) for name in rest], 5)),
            Message("identifier-column.fix", columns=len(rest)),
            "left out",
            Message("finding.left_out"),
            count=len(rest),
            numbers={"columns": rest},
        )
    if numbers:
        ignored = option("ignore", numbers[0] if len(numbers) == 1 else None)
        yield Finding(
            "counting-column",
            "harms",
            Message("counting-column.what", columns=len(numbers), shown=few([repr(name) for name in numbers], 5)),
            Message("counting-column.fix", columns=len(numbers), option=ignored),
            "kept",
            Message("counting-column.how"),
            count=len(numbers),
            numbers={"columns": list(numbers)},
        )


def _missing(lacking: dict[str, int], subject: Subject) -> Iterator[Finding]:
    if not lacking:
        return
    rows = len(subject.sample)
    worst = sorted(lacking, key=lambda name: -lacking[name])
    said = [f"{name} {lacking[name]:,} ({lacking[name] / rows:.1%})" for name in worst]
    yield Finding(
        "missing-cells",
        "note",
        Message("missing-cells.what", columns=len(lacking), of=len(subject.columns), shown=few(said, 8)),
        Message("missing-cells.fix", option=option("missing")),
        "kept",
        Message("missing-cells.how"),
        count=len(lacking),
        numbers={"columns": {name: lacking[name] / rows for name in worst}},
    )


def _infinite(infinite: dict[str, list[int]], subject: Subject) -> Iterator[Finding]:
    if not infinite:
        return
    cells = sum(map(len, infinite.values()))
    rows = sorted({int(subject.sample[row]) for places in infinite.values() for row in places})
    yield Finding(
        "infinite-cells",
        "harms",
        Message("infinite-cells.what", cells=cells, shown=few([repr(name) for name in infinite], 5)),
        Message("infinite-cells.fix"),
        "kept",
        Message("infinite-cells.how"),
        subject.names(rows),
        cells,
    )
