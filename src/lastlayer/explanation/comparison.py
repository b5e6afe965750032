"""Two computations lined up: which steps agree, and where they part."""

from dataclasses import dataclass

import torch

from lastlayer.explanation.trace import Step, Trace

ROUNDING = 1e-12  # relative: two ways to the same float64 number may differ by this


@dataclass(frozen=True)
class Pair:
    """A step of both traces, or of one.

    Attributes:
        id: The step.
        same: Whether both have it with the same numbers.
        where: "both", "first" or "second".
        difference: The largest difference of an entry; NaN where entries cannot be paired or one is NaN.
        relative: That difference over the size of the larger entry.
    """

    id: str
    same: bool
    where: str
    difference: float
    relative: float


@dataclass(frozen=True)
class Comparison:
    """What came of lining up two traces. `print(comparison)` shows it.

    Attributes:
        first: One trace.
        second: The other one.
        pairs: Each step, in order.
    """

    first: Trace
    second: Trace
    pairs: tuple[Pair, ...]

    @property
    def parting(self) -> Pair | None:
        """The first step that differs; None where all agree."""
        return next((pair for pair in self.pairs if not pair.same), None)

    def text(self, language: str = "en", width: int = 80) -> str:
        """Return the comparison as plain text."""
        from lastlayer.explanation.text import plain_comparison

        return plain_comparison(self, language, width)

    def __str__(self) -> str:
        return self.text()


def compare(first: Trace, second: Trace) -> Comparison:
    """Line the steps up by their ids, in the order of both."""
    pairs = []
    ours, theirs = [step.id for step in first], [step.id for step in second]
    for step in _merged(ours, theirs):
        if step in first and step in second:
            pairs.append(_pair(first[step], second[step]))
        else:
            pairs.append(Pair(step, False, "first" if step in first else "second", float("nan"), float("nan")))
    return Comparison(first, second, tuple(pairs))


def _pair(one: Step, other: Step) -> Pair:
    if one.value.shape != other.value.shape:
        return Pair(one.id, False, "both", float("nan"), float("nan"))
    x, y = one.value, other.value
    equal = (x == y) | (x.isnan() & y.isnan())
    difference = torch.where(equal, torch.zeros_like(x), (x - y).abs())
    size = torch.maximum(x.abs(), y.abs())
    # an infinity against a number is as far as can be
    share = torch.where(equal, torch.zeros_like(x), torch.where(size.isinf(), torch.ones_like(x), difference / size))
    worst, relative = (float(each.max()) if each.numel() else 0.0 for each in (difference, share))
    return Pair(one.id, bool(relative <= ROUNDING) and not bool(difference.isnan().any()), "both", worst, relative)


def _merged(first: list[str], second: list[str]) -> list[str]:
    """Both lists as one: shared ids once, the others where their own list has them."""
    merged, rest = [], list(second)
    for step in first:
        if step in rest:
            while rest[0] != step and rest[0] not in first:
                merged.append(rest.pop(0))
            rest.remove(step)
        merged.append(step)
    return merged + [step for step in rest if step not in merged]
