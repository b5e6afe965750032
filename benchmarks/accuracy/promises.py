"""What is promised, and whether it is kept."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch

from benchmarks.accuracy.measure import Result
from benchmarks.accuracy.question import Question

HALVES = (torch.bfloat16, torch.float16)


class Promise(NamedTuple):
    """A sentence, the questions that it speaks of, and its bound in words."""

    text: str
    bound: str
    covers: Callable[[Question], bool]


def _wide_types(function: str, *families: str) -> Callable[[Question], bool]:
    """float32 and float64 questions of a function whose family holds one of these words."""
    return lambda q: (
        q.dtype not in HALVES
        and (function in ("", q.function))
        and any(word in q.family for word in families)
        and q.bound is not None
    )


_HARD_ROWS = ("confident", "dominant", "wide")

PROMISES = (
    Promise("bfloat16, float16: every function, every input", "0.51", lambda q: q.dtype in HALVES and bool(q.bound)),
    Promise(
        "float32, float64: easy inputs, values",
        "3, 4 (kl_divergence 8)",
        lambda q: _wide_types("", "easy")(q) and "gradient" not in q.family,
    ),
    Promise(
        "cross-entropy of confident, dominated and wide rows: loss, gradient at the target",
        "4",
        lambda q: _wide_types("cross_entropy", *_HARD_ROWS)(q) and "other" not in q.family and "soft" not in q.family,
    ),
    Promise("cross-entropy: other entries of the gradient", "8", _wide_types("cross_entropy", "other")),
    Promise(
        "softmax, log_softmax of confident and wide rows",
        "4",
        lambda q: "max" in q.function and _wide_types("", *_HARD_ROWS)(q),
    ),
    Promise(
        "binary cross-entropy with logits: both tails, gradient too",
        "4",
        _wide_types("binary_cross_entropy_with_logits", "tails", "subnormal", "gradient"),
    ),
    Promise("logit near 0.5", "4", _wide_types("logit", "near 0.5")),
    Promise("logsumexp near 0, float32", "4", _wide_types("logsumexp", "near 0")),
    Promise("entropy of logits around 10,000", "4", _wide_types("entropy", "around")),
    Promise("kl_div: exact for its inputs", "4", _wide_types("kl_div", "")),
    Promise("kl_divergence is never negative, in any dtype", "≥ 0", lambda q: q.never_negative),
    Promise("float16: the mean of a million rows is finite", "0.51", lambda q: "million" in q.family),
)


class Kept(NamedTuple):
    """One promise in one column."""

    promise: Promise
    column: str
    asked: int
    worst: float
    dtype: torch.dtype  # of the worst
    misses: list[str]  # the questions that miss it


def kept(results: Iterable[Result]) -> list[Kept]:
    """Every promise in every column that serves a question of it."""
    found, results = [], list(results)
    for promise in PROMISES:
        covered = [result for result in results if promise.covers(result.question)]
        columns = dict.fromkeys(name for result in covered for name, score in result.scores.items() if score)
        for column in columns:
            if column == "PyTorch":
                continue
            mine = [(result, score) for result in covered if (score := result.scores[column])]
            misses = [f"{r.question.name}, {str(r.question.dtype)[6:]}" for r, _ in mine if column in r.missed()]
            worst, of = max(mine, key=lambda pair: pair[1].worst)[::-1]
            found.append(Kept(promise, column, len(mine), worst.worst, of.question.dtype, misses))
    return found
