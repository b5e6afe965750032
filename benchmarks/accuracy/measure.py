"""Asking: how far each library is from the exact answers."""

import math
import warnings
from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import NamedTuple

import torch

from benchmarks.accuracy import distributions, elementwise, rows
from benchmarks.accuracy.exact import mp, ulps
from benchmarks.accuracy.libraries import PYTORCH, Column, columns
from benchmarks.accuracy.question import DTYPES, Question
from lastlayer.errors import OptionError

FULL, QUICK = 1000, 120  # numbers or rows per family


class Score(NamedTuple):
    """The distance of one library's answers from the exact ones, in ULP."""

    worst: float
    p999: float  # 99.9 % of the answers are at least this near
    at: str  # the inputs of the worst
    got: float
    exact: str
    negative: bool  # some answer is below 0


class Result(NamedTuple):
    """What one question found."""

    question: Question
    scores: dict[str, Score | None]  # by column; None where the backend does not serve the call

    def missed(self) -> list[str]:
        """The columns that break what is promised; PyTorch promised nothing."""
        return [name for name, score in self.scores.items() if name != "PyTorch" and score and self._breaks(score)]

    def _breaks(self, score: Score) -> bool:
        bound = self.question.bound
        # `not <=` rather than `>`: a distance that is NaN keeps no promise
        return (bound is not None and not score.worst <= bound) or (self.question.never_negative and score.negative)


def questions(dtype: torch.dtype, size: int) -> Iterator[Question]:
    """Everything that is measured in one dtype."""
    yield from elementwise.questions(dtype, size)
    yield from rows.questions(dtype, size)
    yield from rows.special(dtype, size)
    yield from distributions.questions(dtype, size)


def ask(question: Question, f: SimpleNamespace, device: str = "cpu") -> Score | None:
    """The score of one library, or None where it does not serve this call."""
    inputs = [tensor.to(device) for tensor in question.inputs]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of reductions that PyTorch advises against
            found = question.answer(f, *inputs)
    except OptionError:
        return None
    flat = found.detach().cpu().double().flatten().tolist()
    keep = range(len(flat)) if question.keep is None else question.keep
    values = [flat[place] for place in keep]
    distances = [ulps(v, e, question.dtype) for v, e in zip(values, question.exact, strict=True)]
    order = sorted(range(len(distances)), key=distances.__getitem__)
    worst = order[-1]
    return Score(
        distances[worst],
        distances[order[math.ceil(0.999 * len(order)) - 1]],
        _inputs(question.inputs, list(keep)[worst], len(flat)),
        values[worst],
        mp.nstr(question.exact[worst], 18),
        any(value < 0 for value in values),
    )


def _inputs(inputs: tuple[torch.Tensor, ...], place: int, results: int) -> str:
    """The inputs of one result, short enough for a line."""
    first = inputs[0]
    if results == 1:
        return f"all {len(first):,} rows"
    if results != len(first) and results != first.numel():
        return f"result {place}"
    width = first.numel() // len(first)
    row, entry = divmod(place, width) if results == first.numel() else (place, None)
    if width > 10:
        return f"row {row}" if entry is None else f"row {row}, entry {entry}"
    of_row = ", ".join(str(tensor[row].tolist()) for tensor in inputs if len(tensor) == len(first))
    return of_row if entry is None or width == 1 else f"{of_row}, entry {entry}"


def run(size: int = FULL, dtypes: tuple[torch.dtype, ...] = DTYPES) -> Iterator[Result]:
    """Ask everybody everything."""
    everyone = [*columns(), ("PyTorch", PYTORCH, "cpu")]
    for dtype in dtypes:
        yield from results(questions(dtype, size), everyone)


def results(asked: Iterable[Question], libraries: list[Column]) -> Iterator[Result]:
    """Ask each of these libraries each of these questions."""
    for question in asked:
        if question.exact:
            yield Result(question, {name: ask(question, f, device) for name, f, device in libraries})
