"""The report of a run, as one HTML file that needs no network."""

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

from lastlayer.classifier.config import Config
from lastlayer.classifier.data.images import open_picture
from lastlayer.classifier.data.rows import Rows
from lastlayer.classifier.evaluation import Evaluation, Example
from lastlayer.classifier.evaluation.scores import ORDER
from lastlayer.classifier.extras import need
from lastlayer.classifier.journal import Epoch
from lastlayer.classifier.network.model import ModelSpec
from lastlayer.classifier.policy import sentences
from lastlayer.classifier.report import charts, views
from lastlayer.classifier.report.data_section import data_section
from lastlayer.classifier.report.folds_section import folds_section
from lastlayer.classifier.report.said import Said
from lastlayer.explanation import Trace
from lastlayer.explanation.html import fragment
from lastlayer.messages import Message, said, text

SCORES = {name: (text(f"score.{name}"), text(f"score.{name}.about")) for name in ORDER}
_FLAG = re.compile(r"--[a-z][a-z-]*[a-z]")
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
        data: What data.json holds: rows of each split, findings, notes, rows left out, cross-validated scores.
        evaluation: Of the test rows, or of the validation rows where there are none.
        rows: The rows that were evaluated; None where only what the run keeps of them is there.
        find: Opens one of them by name where `rows` is None, if its data still stands where it stood.
        explained: One of them, from logits to loss.
        explained_row: Its number among them.
        written: When, as a date.
    """

    data_name: str
    spec: ModelSpec
    config: Config
    epochs: Sequence[Epoch]
    best_epoch: int
    calibration: Message
    data: Mapping[str, Any]
    evaluation: Evaluation
    rows: Rows | None
    explained: Trace
    explained_row: int
    written: str
    find: Callable[[str], Rows | None] | None = None


def report(facts: Facts, language: str = "en") -> str:
    """Return the report as HTML, in English or Korean."""
    found, decides = facts.evaluation, sentences.decides(facts.spec.policy, facts.spec.task)
    say = Said(language)
    return str(
        _template().render(
            language=language,
            say=say,
            found=found,
            title=say("title.labels" if found.kind == "multilabel" else "title", data=Path(facts.data_name).name,
                      classes=len(found.classes)),
            subtitle=say("subtitle", backbone=facts.spec.backbone, activation=facts.spec.task.activation,
                         date=facts.written),
            scores=views.scores(found, say),
            decides=decides.into(language) if decides is not None else "",
            split=say(f"split.{found.split}") if found.split in ("test", "validation") else found.split,
            reasons=[(say.score(name), reason.into(language)) for name, reason in found.undefined.items()],
            scale=views.scale(found, say),
            curves=_safe(charts.loss_curves(facts.epochs, facts.best_epoch, found.log_classes, say)),
            curve_note=say("curves.kept", epoch=facts.best_epoch, last=facts.epochs[-1].epoch if facts.epochs else 0),
            reliability=_safe(charts.reliability_diagram(found.reliability, say)),
            calibration=facts.calibration.into(language),
            risk=_safe(charts.risk_curve(found.risk, say)),
            costs=views.costs(found),
            confusion=views.confusion(found),
            confused=found.confused()[: views.MOST_CONFUSED],
            classes=views.classes(found),
            worst=[_example(example, facts, language) for example in found.worst],
            explained={
                "name": facts.explained.context["input"],
                "picture": _picture(*_opened(facts, facts.explained_row, str(facts.explained.context["input"]))),
                "trace": _safe(fragment(facts.explained, language)),
            },
            notes=[said(note, language) for note in facts.data["notes"]],
            left_out=[
                {name: said(value, language) for name, value in row.items()} for row in facts.data["left_out"]
            ],
            data=data_section(facts.data, say),
            folds=folds_section(facts.data.get("cross_validation"), say),
            settings=_settings(facts.config),
        )
    )  # fmt: skip


@cache
def _template() -> Any:
    jinja = need("jinja2")
    loader = jinja.PackageLoader("lastlayer.classifier.report", "")
    environment = jinja.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["flags"] = _flags
    return environment.get_template("report.html.j2")


def _flags(sentence: str) -> Any:
    """A sentence as HTML whose flags of the command line are never broken between lines."""
    return _safe(_FLAG.sub(r"<code>\g<0></code>", str(need("markupsafe").escape(sentence))))


def _safe(html: str) -> Any:
    return need("markupsafe").Markup(html)  # made by charts and fragment, which escape what they are given


def _opened(facts: Facts, row: int, name: str) -> tuple[Rows | None, int]:
    """Where a row's inputs are, if they are anywhere."""
    if facts.rows is not None:
        return facts.rows, row
    return (None if facts.find is None else facts.find(name)), 0


def _example(example: Example, facts: Facts, language: str) -> dict[str, Any]:
    rows, row = _opened(facts, example.row, example.name)
    return {
        "name": example.name,
        "prediction": said(example.prediction, language),
        "target": said(example.target, language),
        "right": example.prediction == example.target,
        "probability": f"{example.probability:.3f}",
        "loss": f"{example.loss:.3f}",
        "choices": example.choices,
        "words": example.words,
        "words_push": example.words_push,
        "picture": _picture(rows, row),
        "cells": list(rows.data[row].items()) if rows is not None and rows.kind == "table" else None,
    }


def _picture(rows: Rows | None, row: int) -> str | None:
    """A picture as a data URL, small enough for a report."""
    if rows is None or rows.kind != "image":
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
