"""Proofs: the user's loss as it is, and as it would be without the mistake, from the same numbers."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from lastlayer.diagnosis.evidence import Batch
from lastlayer.diagnosis.tensors import readable
from lastlayer.graph import Op

_LARGEST = 4_000_000  # logits; more would take longer than a person waits for a side remark
_KEPT = ("mean", "sum")


def cross_entropy(batch: Batch, logits: Tensor) -> float | None:
    """The user's loss with other `logits`; None where it cannot be computed cheaply."""
    if not readable(logits, batch.target) or logits.numel() > _LARGEST:
        return None
    loss = batch.loss
    options: dict[str, Any] = {"ignore_index": -100 if loss.ignore_index is None else loss.ignore_index}
    target = batch.target.detach()
    if target.shape == logits.shape:
        target, options = target.double().movedim(batch.axis, -1), {}
        z = logits.detach().double().movedim(batch.axis, -1)
        target, z = target.reshape(-1, z.shape[-1]), z.reshape(-1, z.shape[-1])
    else:
        z = logits.detach().double().movedim(batch.axis, -1).reshape(-1, logits.shape[batch.axis])
        target = target.reshape(-1)
    try:
        value = F.cross_entropy(
            z,
            target,
            None if loss.weight is None else loss.weight.detach().double(),
            reduction=loss.reduction if loss.reduction in _KEPT else "mean",
            label_smoothing=loss.label_smoothing or 0.0,
            **options,
        )
    except (RuntimeError, ValueError, IndexError):
        return None
    return float(value)


def picked(batch: Batch, log_probabilities: Tensor) -> float | None:
    """−log p of the true classes, as `nll_loss` reduces it."""
    if not readable(log_probabilities, batch.target) or log_probabilities.numel() > _LARGEST:
        return None
    axis = batch.axis
    rows = log_probabilities.detach().double().movedim(axis, -1).reshape(-1, log_probabilities.shape[axis])
    loss = batch.loss
    weight = None if loss.weight is None else loss.weight.detach().double()
    how = loss.reduction if loss.reduction in _KEPT else "mean"
    ignored = -100 if loss.ignore_index is None else loss.ignore_index
    try:
        return float(F.nll_loss(rows, batch.target.detach().reshape(-1), weight, ignore_index=ignored, reduction=how))
    except (RuntimeError, ValueError, IndexError):
        return None


def binary(batch: Batch, given: Tensor, logits: bool) -> float | None:
    """The user's binary loss of `given`, read as logits or as probabilities."""
    if not readable(given, batch.target) or given.numel() > _LARGEST or given.shape != batch.target.shape:
        return None
    how = batch.loss.reduction if batch.loss.reduction in _KEPT else "mean"
    x, y = given.detach().double(), batch.target.detach().double()
    if not logits and not bool(((x >= 0) & (x <= 1)).all()):
        return None
    function = F.binary_cross_entropy_with_logits if logits else F.binary_cross_entropy
    return float(function(x, y, reduction=how))


def probabilities(batch: Batch, op: Op) -> Tensor | None:
    """What a softmax returned, in the shape that the loss was given it in."""
    given, result = batch.given, op.result
    if not readable(given):
        return None
    moved = batch.term is not None and batch.term.moved
    if result is not None and result.shape == given.shape and not moved:
        return result.detach()
    if result is not None and result.numel() == given.numel() and not moved:
        return result.detach().reshape(given.shape)
    # From what PyTorch keeps, log-softmax of p: p up to a constant per row, and p sums to 1.
    z = given.detach().double()
    p = z + (1 - z.sum(batch.axis, keepdim=True)) / z.shape[batch.axis]
    return p if bool((p > -1e-5).all()) else None


def logarithm(p: Tensor) -> Tensor:
    """log p that stays finite where p has rounded to 0."""
    return p.double().clamp_min(torch.finfo(torch.float64).tiny).log()


def softmax_floor(classes: int, smoothing: float) -> float:
    """What cross-entropy of probabilities cannot go below, in nats.

    >>> round(softmax_floor(10, 0.0), 3), round(softmax_floor(10, 0.1), 3)
    (1.461, 1.551)
    """
    return math.log(math.e + classes - 1) - 1 + smoothing * (1 - 1 / classes)
