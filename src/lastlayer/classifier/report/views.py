"""What the report shows of an evaluation, as plain values for its template."""

import math
from typing import Any

from lastlayer.classifier.evaluation import ClassScores, Evaluation
from lastlayer.classifier.report.said import Said

MOST_CONFUSED = 8
_WHOLE_MATRIX = 30  # more classes than this: only what is confused most
_MOST_COSTS, _MOST_CLASSES = 12, 50


def scores(found: Evaluation, say: Said) -> list[dict[str, str]]:
    """Every score with its interval."""
    return [
        {
            "name": say.score(name),
            "meaning": say.meaning(name),
            "value": say("undefined") if math.isnan(score.value) else f"{score.value:.4f}",
            "interval": "" if math.isnan(score.low) else f"{score.low:.4f} – {score.high:.4f}",
        }
        for name, score in found.scores.items()
    ]


def scale(found: Evaluation, say: Said) -> dict[str, Any]:
    """The log-loss beside that of knowing nothing and of knowing the frequencies, as bars."""
    loss = found["log_loss"]
    bars = [
        (say("loss.model"), loss, "ours"),
        (say("loss.prior"), found.prior_entropy, "theirs"),
        (say("loss.nothing", choices=round(math.exp(found.log_classes))), found.log_classes, "theirs"),
    ]
    longest = max(value for _, value, _ in bars) or 1.0
    lost = loss > found.log_classes
    return {
        "bars": [
            {"name": name, "value": f"{value:.4f}", "width": f"{100 * value / longest:.1f}", "kind": kind}
            for name, value, kind in bars
        ],
        "said": say("loss.worse") if lost else say("loss.choices", choices=f"{found.effective_choices:.2f}"),
    }


def costs(found: Evaluation) -> dict[str, Any]:
    """The classes that the loss comes from, the costliest first."""
    order = found.costliest()
    most = order[0].share or 1.0
    return {
        "bars": [
            {
                "name": each.name,
                "share": f"{each.share:.1%}",
                "width": f"{100 * each.share / most:.1f}",
                "loss": _number(each.log_loss),
            }
            for each in order[:_MOST_COSTS]
        ],
        "more": max(0, len(order) - _MOST_COSTS),
    }


def confusion(found: Evaluation) -> list[dict[str, Any]] | None:
    """The confusion matrix, where it can be looked at."""
    if not found.confusion or len(found.classes) > _WHOLE_MATRIX:
        return None
    return [
        {
            "name": name,
            "cells": [
                {"count": count, "heat": f"{0.85 * count / max(sum(row), 1):.3f}", "right": place == index}
                for place, count in enumerate(row)
            ],
        }
        for index, (name, row) in enumerate(zip(found.classes, found.confusion, strict=True))
    ]


def classes(found: Evaluation) -> dict[str, Any]:
    """Each class against the rest, the costliest first; of labels with their 2×2 confusion matrices."""
    heads = ["rows", "precision", "recall", "f1", "auroc", "ap", "loss"]
    if found.kind == "multilabel":
        heads = [*heads, "tp", "fp", "fn", "tn"]
    order = found.costliest()
    return {
        "heads": heads,
        "rows": [(each.name, _cells(each, found.kind)) for each in order[:_MOST_CLASSES]],
        "more": max(0, len(order) - _MOST_CLASSES),
    }


def _cells(each: ClassScores, kind: str) -> list[str]:
    numbers = (each.precision, each.recall, each.f1, each.auroc, each.average_precision, each.log_loss)
    cells = [f"{each.rows:,}", *map(_number, numbers)]
    if kind == "multilabel":
        counts = (each.true_positives, each.false_positives, each.false_negatives, each.true_negatives)
        cells += [f"{count:,}" for count in counts]
    return cells


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
