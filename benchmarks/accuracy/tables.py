"""The results as lines: one per function, family of inputs and dtype."""

import re
from collections.abc import Iterable
from typing import NamedTuple

import torch

from benchmarks.accuracy.measure import Result, Score


class Line(NamedTuple):
    """The questions that differ only in the number of classes, taken together."""

    function: str
    family: str
    dtype: torch.dtype
    bound: float | None
    worst: dict[str, float | None]  # by column
    missed: list[str]  # the columns that break the promise


def lines(results: Iterable[Result]) -> list[Line]:
    """Merge the class counts; easy inputs get a second line, which 99.9 % of the answers keep."""
    groups: dict[tuple[str, str, torch.dtype], list[Result]] = {}
    for result in results:
        q = result.question
        groups.setdefault((q.function, re.sub(r", [\d,]+ classes$", "", q.family), q.dtype), []).append(result)
    found = []
    for (function, family, dtype), group in groups.items():
        missed = list(dict.fromkeys(name for result in group for name in result.missed()))
        bound = group[0].question.bound
        found.append(Line(function, family, dtype, bound, _largest(group, "worst"), missed))
        if family == "easy":
            found.append(Line(function, "easy, 99.9 % of them", dtype, None, _largest(group, "p999"), []))
    return sorted(found, key=lambda line: line.function)  # stable: the families keep their order


def _largest(group: list[Result], which: str) -> dict[str, float | None]:
    def of(score: Score | None) -> float | None:
        return None if score is None else float(getattr(score, which))

    columns = group[0].scores
    found = {name: [of(result.scores[name]) for result in group] for name in columns}
    return {name: max((v for v in values if v is not None), default=None) for name, values in found.items()}


def serving(table: Iterable[Line]) -> list[str]:
    """The columns that serve at least one of these lines."""
    return list(dict.fromkeys(name for line in table for name, worst in line.worst.items() if worst is not None))


def shown(distance: float | None, dtype: torch.dtype) -> str:
    """A distance for people: "lost" when not one digit is right, "–" where the backend does not serve the call."""
    if distance is None:
        return "–"
    if not distance < 0.5 / torch.finfo(dtype).eps:
        return "lost"
    if distance < 10:
        return f"{distance:.2f}"
    return f"{distance:.0f}" if distance < 10_000 else f"{distance:.0e}".replace("e+0", "e")


def verdict(line: Line) -> str:
    """What became of the promise."""
    if line.missed:
        return "MISS"
    return "" if line.bound is None else "ok"
