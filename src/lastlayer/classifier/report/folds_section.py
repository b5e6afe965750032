"""Cross-validated scores, as plain values for the report's template."""

import math
from collections.abc import Mapping
from typing import Any

from lastlayer.classifier.report.said import Said

_SHORT = ("log_loss", "accuracy", "micro_f1")  # in one line at the top
_MARGIN = 0.06  # of a strip, on either side of what it shows


def folds_section(found: Mapping[str, Any] | None, say: Said) -> dict[str, Any] | None:
    """Each score of all rows together, of every fold, and the mean and the spread of the folds.

    Args:
        found: What `CrossValidation.to_dict` gives; None where there was none.
        say: The words.
    """
    if found is None:
        return None
    short = [
        f"{say.score(name)} {score['mean_of_folds']:.4f} ± {score['standard_deviation_of_folds']:.4f}"
        for name, score in found["scores"].items()
        if name in _SHORT and math.isfinite(score["mean_of_folds"])
    ]
    return {
        "folds": found["folds"],
        "rows": f"{found['rows']:,}",
        "short": ", ".join(short),
        "scores": [_score(name, score, say) for name, score in found["scores"].items()],
    }


def _score(name: str, score: Mapping[str, Any], say: Said) -> dict[str, Any]:
    values = score["folds"]
    return {
        "name": say.score(name),
        "meaning": say.meaning(name),
        "value": _number(score["value"]),
        "interval": "" if math.isnan(score["low"]) else f"{score['low']:.4f} – {score['high']:.4f}",
        "mean": _number(score["mean_of_folds"]),
        "std": _number(score["standard_deviation_of_folds"]),
        "folds": [_number(value) for value in values],
        "strip": _strip(score),
        "said": ", ".join(
            f"{say('folds.fold', number=place)} {_number(value)}" for place, value in enumerate(values, 1)
        ),
    }


def _strip(score: Mapping[str, Any]) -> dict[str, Any] | None:
    """Where dots, mean and band stand, in percent of the strip's width; None where a fold has no value."""
    mean, std, values = score["mean_of_folds"], score["standard_deviation_of_folds"], score["folds"]
    if not all(map(math.isfinite, (mean, std, *values))):
        return None
    low, high = min(*values, mean - std), max(*values, mean + std)
    span = (high - low) or 1.0

    def place(value: float) -> float:
        share = (value - low) / span if high > low else 0.5
        return 100 * (_MARGIN + (1 - 2 * _MARGIN) * share)

    return {
        "dots": [f"{place(value):.1f}" for value in values],
        "mean": f"{place(mean):.1f}",
        "left": f"{place(mean - std):.1f}",
        "width": f"{place(mean + std) - place(mean - std):.1f}",
        "least": f"{min(values):.4f}",
        "most": f"{max(values):.4f}",
    }


def _number(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "–"


def _fold(number: int, value: float, say: Said) -> str:
    return f"{say('folds.fold', number=number)} {_number(value)}"
