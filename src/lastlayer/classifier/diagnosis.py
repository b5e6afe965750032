"""The doctor in the tool itself: the first batch of a training, its curve, and a finished run."""

import math
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lastlayer.classifier.journal import Epoch, Journal
from lastlayer.diagnosis import Report, doctor
from lastlayer.messages import Message

if TYPE_CHECKING:
    from lastlayer.classifier.learning.training import History
    from lastlayer.classifier.run_folder import Record


def of_first_batch(loss: Tensor, journal: Journal) -> None:
    """Say what is wrong with the first loss of a training, before its backward."""
    _say(doctor(loss), journal)


def of_curve(history: "History", classes: int, journal: Journal) -> None:
    """Say what the losses of a training show."""
    if history.epochs:
        _say(_curve(history.epochs, history.first_loss, history.prior_entropy, classes), journal)


def of_run(record: "Record", **options: Any) -> Report:
    """What the curve of a finished run shows."""
    training = record.data["training"]
    classes = len(record.spec.task.classes)
    return _curve(record.epochs, training["first_loss"], training["prior_entropy"], classes, **options)


def _curve(epochs: list[Epoch], first: float | None, prior: float, classes: int, **options: Any) -> Report:
    begun = [first] if first is not None and math.isfinite(first) else []
    history = {
        "loss": [*begun, *(epoch.train_loss for epoch in epochs)],
        "validation_loss": [epoch.validation_log_loss for epoch in epochs],
        "validation_accuracy": [epoch.validation_accuracy for epoch in epochs],
    }
    return doctor(history=history, classes=classes, prior_entropy=prior, **options)


def _say(report: Report, journal: Journal) -> None:
    for finding in report:
        journal.say(Message("doctor.journal", code=finding.code, message=finding.message, fix=finding.fix.text))
