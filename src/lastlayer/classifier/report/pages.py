"""The report of a run, as one HTML file that needs no network."""

import base64
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any

from lastlayer.classifier.config import Config
from lastlayer.classifier.data.images import open_picture
from lastlayer.classifier.data.rows import Rows
from lastlayer.classifier.evaluation import Evaluation, Example
from lastlayer.classifier.extras import need
from lastlayer.classifier.journal import Epoch
from lastlayer.classifier.model import ModelSpec
from lastlayer.classifier.report import charts
from lastlayer.explanation import Trace
from lastlayer.explanation.html import fragment

SCORES = {
    "accuracy": ("accuracy", "share of rows predicted right"),
    "balanced_accuracy": ("balanced accuracy", "mean of the accuracy of each class"),
    "micro_f1": ("micro F1", "harmonic mean of precision and recall over all labels of all rows"),
    "macro_f1": ("macro F1", "mean over the classes of the harmonic mean of precision and recall"),
    "log_loss": ("log-loss", "mean surprise at the true class, in nats; lower is better"),
    "brier": ("Brier score", "mean squared distance of the probabilities from the truth; lower is better"),
    "ece": ("calibration error", "mean gap between confidence and accuracy; lower is better"),
}
LOWER_IS_BETTER = ("log_loss", "brier", "ece")
_WHOLE_MATRIX = 30  # more classes than this: only what is confused most
_MOST_CONFUSED = 8
_PICTURE = 192  # longest side, in pixels, of a picture in the report


@dataclass(frozen=True)
class Facts:
    """What a report is written from.

    Attributes:
        data_name: What the data was called.
        spec: The model.
        config: Its settings.
        epochs: Of the training.
        best_epoch: The one kept.
        calibration: One sentence on the temperature.
        notes: What was decided, in order.
        left_out: Rows that could not be used, by name and reason.
        evaluation: Of the test rows, or of the validation rows where there are none.
        rows: The rows that were evaluated.
        explained: One of them, from logits to loss.
        explained_row: Its number among them.
        written: When, as a date.
    """

    data_name: str
    spec: ModelSpec
    config: Config
    epochs: Sequence[Epoch]
    best_epoch: int
    calibration: str
    notes: Sequence[str]
    left_out: Sequence[dict[str, str]]
    evaluation: Evaluation
    rows: Rows
    explained: Trace
    explained_row: int
    written: str


def report(facts: Facts) -> str:
    """Return the report as HTML."""
    found = facts.evaluation
    last = facts.epochs[-1].epoch if facts.epochs else 0
    return str(
        _template().render(
            title=f"{Path(facts.data_name).name}: a classifier of {len(found.classes)} classes",
            subtitle=f"{facts.spec.backbone}, {facts.spec.task.activation}, {facts.written}",
            scores=[
                {"name": SCORES[key][0], "meaning": SCORES[key][1], **{k: f"{v:.4f}" for k, v in asdict(score).items()}}
                for key, score in found.scores.items()
            ],
            rows=f"{found.rows:,}",
            split=found.split,
            log_classes=f"{found.log_classes:.4f}",
            prior_entropy=f"{found.prior_entropy:.4f}",
            hesitation=_hesitation(found),
            curves=_safe(charts.loss_curves(facts.epochs, facts.best_epoch, found.log_classes)),
            curve_note=f"Epoch {facts.best_epoch} of {last} is kept, the one with the lowest validation log-loss.",
            reliability=_safe(charts.reliability_diagram(found.reliability)),
            calibration=facts.calibration,
            classes=found.classes,
            confusion=_confusion(found) if found.confusion and len(found.classes) <= _WHOLE_MATRIX else None,
            confused=[
                {"count": count, "true": true, "predicted": called}
                for count, true, called in found.confused()[:_MOST_CONFUSED]
            ],
            worst=[_example(example, facts.rows) for example in found.worst],
            explained={
                "name": facts.rows.names[facts.explained_row],
                "picture": _picture(facts.rows, facts.explained_row),
                "trace": _safe(fragment(facts.explained)),
            },
            notes=facts.notes,
            left_out=facts.left_out,
            settings=_settings(facts.config),
        )
    )


def _hesitation(found: Evaluation) -> str:
    if found["log_loss"] > found.log_classes:
        return "this one is surprised more than one that knows nothing"
    return f"this one hesitates as if between {math.exp(found['log_loss']):.2f} classes"


@cache
def _template() -> Any:
    environment = need("jinja2").Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    source = files("lastlayer.classifier.report").joinpath("report.html.j2").read_text(encoding="utf-8")
    return environment.from_string(source)


def _safe(html: str) -> Any:
    return need("markupsafe").Markup(html)  # made by charts and fragment, which escape what they are given


def _confusion(found: Evaluation) -> list[dict[str, Any]]:
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


def _example(example: Example, rows: Rows) -> dict[str, Any]:
    return {
        "name": example.name,
        "prediction": example.prediction,
        "target": example.target,
        "right": example.prediction == example.target,
        "probability": f"{example.probability:.3f}",
        "loss": f"{example.loss:.3f}",
        "picture": _picture(rows, example.row),
        "cells": list(rows.data[example.row].items()) if rows.kind == "table" else None,
    }


def _picture(rows: Rows, row: int) -> str | None:
    """A picture as a data URL, small enough for a report."""
    if rows.kind != "image":
        return None
    image = open_picture(rows.data[row]["image"], max_pixels=178_956_970).convert("RGB")
    image.thumbnail((_PICTURE, _PICTURE))
    buffer = BytesIO()
    image.save(buffer, "PNG" if max(image.size) <= 64 else "JPEG", quality=80)
    kind = "png" if max(image.size) <= 64 else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _settings(config: Config) -> list[tuple[str, str]]:
    shown = {name: value for name, value in asdict(config).items() if value not in (None, (), False)}
    shown.pop("missing", None)
    return [(name, ", ".join(value) if isinstance(value, tuple) else str(value)) for name, value in shown.items()]
