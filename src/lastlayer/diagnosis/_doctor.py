"""The door: what may be looked at, and how it is asked for."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from lastlayer.diagnosis import error_texts, looking
from lastlayer.diagnosis.evidence import ClassMaps, Curve
from lastlayer.diagnosis.finding import Finding
from lastlayer.diagnosis.registry import run
from lastlayer.diagnosis.report import Report, reason
from lastlayer.diagnosis.said import say
from lastlayer.errors import DtypeError, OptionError
from lastlayer.messages import Message

_NOTHING = object()


def doctor(
    loss: Any = _NOTHING,
    *,
    logits: Any = _NOTHING,
    target: Any = None,
    loss_fn: Callable[..., Any] | None = None,
    model: nn.Module | None = None,
    batch: Any = None,
    error: BaseException | str | None = None,
    history: Any = None,
    classes: int | None = None,
    prior_entropy: float | None = None,
    class_maps: Mapping[str, Any] | None = None,
    select: str | Iterable[str] | None = None,
    ignore: str | Iterable[str] | None = None,
    language: str = "en",
) -> Report:
    """Name what is wired wrongly around the last layer, with evidence and a fix.

    Ask with one of: a live loss; `logits`, `target` and `loss_fn`; `model`, `batch` and `loss_fn`; `error`;
    `history`; `class_maps`.

    Args:
        loss: What a loss function returned, before its backward: its autograd graph is read.
        logits: What the loss function is given first.
        target: What it is given second.
        loss_fn: A loss function or module of PyTorch or lastlayer, or one of your own.
        model: Run once on the batch, in the mode it is in; its buffers and the random numbers are put back.
        batch: (inputs, target), or a mapping with "labels" as transformers takes it.
        error: An exception, or its text or traceback.
        history: Losses of a training in nats, first to last; or a mapping with "loss", "validation_loss" and
            "validation_accuracy"; or a list of such mappings, as in metrics.jsonl.
        classes: C, for `history`.
        prior_entropy: For `history`: the entropy of the class frequencies, in nats.
        class_maps: Per split its classes: names in order, or a mapping from name to index.
        select: Codes or beginnings of codes: "LL1" keeps the rules of targets only.
        ignore: Codes or beginnings of codes to drop.
        language: "en" or "ko", of the printed report.

    Returns:
        A report: print it, loop over its findings, or compare `report.verdict` with "healthy", "findings" or
        "cannot tell". Nothing of the user's is changed.

    Raises:
        OptionError: nothing or several things to look at, or an unknown rule or language.
        DtypeError: an argument of a type that cannot be looked at.

    >>> import torch
    >>> z = torch.tensor([[4.0, 2.0, -2.0]], requires_grad=True)
    >>> loss = torch.nn.functional.cross_entropy(z.softmax(1), torch.tensor([0]))
    >>> report = doctor(loss)
    >>> report.verdict, report[0].code
    ('findings', 'LL001')
    >>> print(report[0].evidence.observed)
    the loss is 0.6333; without the extra softmax it would be 0.1291. Over 3 classes it cannot fall below 0.5514
    """
    asked = {
        "loss": loss is not _NOTHING,
        "logits": logits is not _NOTHING,
        "model": model is not None,
        "error": error is not None,
        "history": history is not None,
        "class_maps": class_maps is not None,
    }
    chosen = [name for name, given in asked.items() if given]
    if len(chosen) != 1:
        raise OptionError(
            "the doctor looks at one thing at a time: doctor(loss), doctor(logits=, target=, loss_fn=), "
            "doctor(model=, batch=, loss_fn=), doctor(error=), doctor(history=, classes=) or doctor(class_maps=); "
            f"got {' and '.join(chosen) if chosen else 'nothing'}."
        )
    looks: dict[str, Callable[[], looking.Look]] = {
        "loss": lambda: looking.at_loss(loss),
        "logits": lambda: looking.at_batch(logits, target, loss_fn),
        "model": lambda: looking.at_model(model, batch, loss_fn),
        "error": lambda: _at_error(error),
        "history": lambda: _at_history(history, classes, prior_entropy),
        "class_maps": lambda: _at_maps(class_maps or {}),
    }
    findings, reasons, looked = looks[chosen[0]]()
    return Report(findings, reasons, looked, select=select, ignore=ignore, language=language)


def _at_error(error: BaseException | str | None) -> looking.Look:
    if isinstance(error, BaseException):
        found = [finding for text in _chain(error) for finding in error_texts.findings(text)][:1]
    elif isinstance(error, str):
        found = list(error_texts.findings(error))
    else:
        raise DtypeError(f"error has to be an exception or its text, got {type(error).__name__}.")
    return found, [] if found else [reason("error")], say("doctor.looked.error")


def _chain(error: BaseException | None) -> list[str]:
    """Its own message first, then those of what caused it."""
    texts: list[str] = []
    while error is not None and len(texts) < 8:
        texts.append(str(error))
        error = error.__cause__ or error.__context__
    return texts


def _at_history(history: Any, classes: int | None, prior_entropy: float | None) -> looking.Look:
    curve = _curve(history, classes, prior_entropy)
    reasons: list[Message] = []
    if len(curve.loss) < 2 and len(curve.validation_loss) < 2:
        reasons.append(reason("short"))
    if classes is None:
        reasons.append(reason("classes"))
    if not all(map(math.isfinite, curve.loss)):
        reasons.append(reason("not_finite"))
    return list(run("curve", curve)), reasons, say("doctor.looked.history", steps=len(curve.loss))


_NAMES = {
    "loss": ("loss", "train_loss", "training_loss"),
    "validation_loss": ("validation_loss", "val_loss", "validation_log_loss", "eval_loss"),
    "validation_accuracy": ("validation_accuracy", "val_accuracy", "val_acc", "eval_accuracy"),
}


def _curve(history: Any, classes: int | None, prior_entropy: float | None) -> Curve:
    if isinstance(history, Tensor):
        history = history.reshape(-1).tolist()
    columns: dict[str, list[float]] = {}
    if isinstance(history, Sequence) and history and isinstance(history[0], Mapping):
        history = {name: [row[name] for row in history if name in row] for name in history[0]}
    try:
        if isinstance(history, Mapping):
            for name, others in _NAMES.items():
                given: Any = next((history[other] for other in others if other in history), [])
                columns[name] = [float(value) for value in given]
        else:
            columns["loss"] = [float(value) for value in history]
    except (TypeError, ValueError) as error:
        raise DtypeError(
            "history has to be losses, a mapping of them or a list of mappings: got "
            f"{type(history).__name__} ({error})."
        ) from None
    return Curve(**{"loss": [], **columns}, classes=classes, prior_entropy=prior_entropy)


def _at_maps(class_maps: Mapping[str, Any]) -> looking.Look:
    maps: dict[str, dict[Any, int]] = {}
    for split, given in class_maps.items():
        if isinstance(given, Mapping):
            maps[split] = {name: int(index) for name, index in given.items()}
        elif isinstance(given, Sequence) and not isinstance(given, str):
            maps[split] = {name: index for index, name in enumerate(given)}
        else:
            raise DtypeError(
                f"class_maps[{split!r}] has to be names in order or a mapping, got {type(given).__name__}."
            )
    reasons = [reason("maps")] if not any(maps.values()) else []
    found: list[Finding] = list(run("maps", ClassMaps(maps))) if not reasons else []
    return found, reasons, say("doctor.looked.maps", count=len(maps))
