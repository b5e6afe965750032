"""What logits and targets look like, for each kind of classifier."""

from typing import Literal

import torch
from torch import Tensor

from lastlayer.errors import DtypeError, OptionError, ProbabilityError, ShapeError, TargetError

Kind = Literal["multiclass", "binary", "multilabel"]
KINDS: tuple[Kind, ...] = ("multiclass", "binary", "multilabel")


def check_kind(kind: str) -> None:
    """Refuse a kind that there is not."""
    if kind not in KINDS:
        raise OptionError(f"kind has to be one of {', '.join(KINDS)}, got {kind!r}.")


def check_logits(logits: Tensor, kind: Kind, classes: int | None = None) -> None:
    """Refuse logits whose shape is not that of the kind."""
    if not logits.is_floating_point():
        raise DtypeError(f"logits have to be a floating tensor, got {logits.dtype}.")
    expected = "(rows,)" if kind == "binary" else f"(rows, {'classes' if classes is None else classes})"
    fits = logits.dim() == 1 if kind == "binary" else logits.dim() == 2 and classes in (None, logits.shape[1])
    if not fits:
        raise ShapeError(f"logits of a {kind} classifier have the shape {expected}, got {tuple(logits.shape)}.")


def kind_of(logits: Tensor, target: Tensor) -> Kind:
    """What the shapes say: one logit per row, a class index per row, or an answer to every label.

    >>> import torch
    >>> kind_of(torch.zeros(4, 3), torch.zeros(4)), kind_of(torch.zeros(4, 3), torch.zeros(4, 3))
    ('multiclass', 'multilabel')
    """
    if logits.dim() not in (1, 2) or target.shape not in (logits.shape, logits.shape[:1]):
        raise ShapeError(
            "expected logits (rows, classes) with a class index per row, (rows,) with 0 or 1 per row, or "
            f"(rows, classes) with 0 or 1 per label; got logits {tuple(logits.shape)} and target "
            f"{tuple(target.shape)}."
        )
    if logits.dim() == 1:
        return "binary"
    return "multiclass" if target.dim() == 1 else "multilabel"


def check_yes_or_no(target: Tensor) -> None:
    """Refuse answers other than 0 and 1."""
    if bool(((target != 0) & (target != 1)).any()):
        raise TargetError("a target of yes or no has to be 0 or 1 everywhere; this one holds something else.")


def check_probabilities(p: Tensor) -> None:
    """Refuse what are no probabilities."""
    if not p.is_floating_point():
        raise DtypeError(f"probabilities have to be a floating tensor, got {p.dtype}.")
    if not bool(((p >= 0) & (p <= 1)).all()):
        raise ProbabilityError(
            "probabilities have to lie in [0, 1], and some of these are outside or NaN. Logits become probabilities "
            "by softmax or sigmoid."
        )


def check_finite(logits: Tensor) -> None:
    """Refuse logits that nothing can be fitted to."""
    if not bool(logits.isfinite().all()):
        row = int((~logits.isfinite()).reshape(len(logits), -1).any(1).nonzero()[0])
        raise ProbabilityError(
            f"row {row} has a logit that is NaN or infinite: nothing can be fitted to it. Leave such rows out."
        )


def folds_of(target: Tensor, folds: int) -> Tensor:
    """A fold per row, column by column, each class spread over all of them."""
    order = target.argsort(dim=0, stable=True)
    places = (torch.arange(len(target), device=target.device) % folds).unsqueeze(1).expand_as(order)
    return torch.empty_like(order).scatter_(0, order, places)
