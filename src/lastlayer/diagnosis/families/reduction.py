"""Family 4: what the loss is divided by, and what it is weighted with."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from lastlayer.diagnosis.evidence import Batch
from lastlayer.diagnosis.finding import Finding, found
from lastlayer.diagnosis.registry import CERTAIN, LIKELY, check
from lastlayer.diagnosis.tensors import looks_like_probabilities, readable


@check("term")
def focal_on_reduced_loss(batch: Batch) -> Iterator[Finding]:
    """LL402: the factor (1 − p)^γ belongs to each row."""
    term = batch.term
    if term is None or term.kind not in ("cross_entropy", "bce_with_logits", "bce", "soft_cross_entropy", "nll"):
        return
    if term.focal and term.reduction in ("mean", "sum"):
        yield found("LL402", reduction=term.reduction)


@check("batch")
def weight_that_cancels(batch: Batch) -> Iterator[Finding]:
    """LL403: a weighted mean of one weight is no weighted mean."""
    loss = batch.loss
    if batch.kind not in ("cross_entropy", "nll") or loss.reduction != "mean" or not readable(loss.weight):
        return
    index = batch.indices()
    weight = loss.weight
    if index is None or weight is None or index.numel() != 1 or not 0 <= int(index[0]) < weight.numel():
        return
    own = float(weight.detach().reshape(-1)[int(index[0])])
    if own not in (0.0, 1.0):
        yield found("LL403", severity="warning", index=int(index[0]), weight=own)


@check("batch")
def weight_and_smoothing(batch: Batch) -> Iterator[Finding]:
    """LL404: weighted classes take their share of the smoothing with their weight."""
    loss = batch.loss
    if batch.kind not in ("cross_entropy", "soft_cross_entropy") or loss.weight is None or not loss.label_smoothing:
        return
    weight = loss.weight.detach()
    if readable(weight) and bool((weight != weight.reshape(-1)[0]).any()):
        yield found("LL404", smoothing=float(loss.label_smoothing))


@check("batch")
def weight_for_pos_weight(batch: Batch) -> Iterator[Finding]:
    """LL405: one number as weight of a binary loss scales yes and no alike."""
    loss = batch.loss
    if batch.kind != "bce_with_logits" or loss.pos_weight is not None or not readable(loss.weight):
        return
    weight = loss.weight
    if weight is not None and weight.numel() == 1 and float(weight) != 1.0:
        yield found("LL405", weight=float(weight))


@check("term")
def kl_divergence(batch: Batch) -> Iterator[Finding]:
    """LL406 from the graph: the input is no logarithm, or the mean is over all elements."""
    term = batch.term
    if term is None or batch.kind != "kl_div":
        return
    op = term.first
    if op is not None and op.name in ("softmax", "sigmoid"):
        value = None if batch.value is None or batch.value.dim() else float(batch.value.detach())
        yield found("LL406", "input" if value is None else "input.proof", value=value, activation=op.name)
    elif term.reduction == "mean" and batch.given is None and batch.target is not None and batch.target.dim() > 1:
        yield _mean(batch.target)


@check("batch")
def kl_divergence_of_values(batch: Batch) -> Iterator[Finding]:
    """LL406 by values and options."""
    if batch.kind != "kl_div" or batch.from_graph or not readable(batch.given) or batch.given.dim() < 2:
        return
    graph_says = batch.term is not None and batch.term.first is not None
    if looks_like_probabilities(batch.given, batch.given.dim() - 1) and not graph_says:
        yield found("LL406", "input", confidence=CERTAIN if batch.maker else LIKELY, activation="softmax")
    if batch.loss.reduction == "mean":
        yield _mean(batch.given)


def _mean(tensor: Tensor) -> Finding:
    return found("LL406", "mean", fix="mean", confidence=LIKELY, classes=tensor.shape[-1])


@check("batch")
def weight_of_wrong_size(batch: Batch) -> Iterator[Finding]:
    """LL407: one weight per class, in the dtype of the logits."""
    loss = batch.loss
    weight: Any = loss.weight  # a list or an array in the user's hands
    if batch.kind not in ("cross_entropy", "soft_cross_entropy", "nll") or batch.from_graph or weight is None:
        return
    if not isinstance(weight, Tensor) or not isinstance(batch.given, Tensor) or not batch.given.dim():
        return
    if weight.dim() != 1 or weight.numel() != batch.classes:
        yield found("LL407", shape=tuple(weight.shape), classes=batch.classes)
    elif not loss.ours and weight.dtype != batch.given.dtype and not _autocast(batch.given):
        yield found("LL407", "dtype", fix="dtype", weight=_short(weight.dtype), given=_short(batch.given.dtype))


def _autocast(given: Tensor) -> bool:
    """Under autocast PyTorch brings the logits to float32 itself."""
    return torch.is_autocast_enabled(given.device.type)


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
