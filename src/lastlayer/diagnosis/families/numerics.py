"""Family 3: numbers that the dtype cannot hold."""

from collections.abc import Iterator

import torch
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from lastlayer.diagnosis.evidence import Batch
from lastlayer.diagnosis.finding import Finding, found
from lastlayer.diagnosis.registry import check
from lastlayer.diagnosis.tensors import readable, rows_of

_CROSS_ENTROPY = ("cross_entropy", "soft_cross_entropy")
_HALF = (torch.float16, torch.bfloat16)


@check("batch")
def all_ignored(batch: Batch) -> Iterator[Finding]:
    """LL302: a mean over no rows."""
    if batch.kind not in ("cross_entropy", "nll") or not batch.tensors or batch.loss.empty == "zero":
        return
    if batch.loss.reduction != "mean" or batch.target.is_floating_point() or not batch.target.numel():
        return
    ignored = batch.loss.ignore_index
    if ignored is not None and batch.target.shape != batch.given.shape and bool((batch.target == ignored).all()):
        yield found("LL302", count=batch.target.numel(), ignored=ignored)


@check("term")
def log_of_softmax(batch: Batch) -> Iterator[Finding]:
    """LL303, LL304: a logarithm of what may have rounded to 0."""
    path = batch.term.path if batch.term else ()
    for place, op in enumerate(path):
        if op.name != "log":
            continue
        between, below = 0, None
        for other in path[place + 1 :]:
            if other.name in ("softmax", "sigmoid"):
                below = other
                break
            if other.name not in ("add", "clamp", "scale"):
                break
            between += 1
        if below is None:
            return
        taken = op.result  # what the logarithm was given
        zeros = int((taken == 0).sum()) if readable(taken) and taken is not None else 0
        if between and zeros and taken is not None and taken.dtype in _HALF:
            yield found("LL304", dtype=str(taken.dtype).removeprefix("torch."), zeros=zeros)
        variant = "zeros" if zeros else ("eps" if between else "")
        better = "log_softmax" if below.name == "softmax" else "logsigmoid"
        yield found("LL303", variant, activation=below.name, zeros=zeros, better=better)
        return


@check("batch")
def row_of_minus_infinity(batch: Batch) -> Iterator[Finding]:
    """LL305: a softmax over nothing."""
    if batch.kind not in _CROSS_ENTROPY or not readable(batch.given) or not batch.given.is_floating_point():
        return
    if (batch.from_graph and not (batch.term is not None and batch.term.ours)) or batch.given.dim() == 0:
        return  # PyTorch's graph keeps log-probabilities, and these are NaN for many reasons
    if batch.value is not None and not batch.value.dim() and bool(batch.value.isfinite()):
        return  # such a row would have made it NaN
    rows = rows_of(batch.given, batch.axis, 65_536)
    empty = (rows == -torch.inf).all(-1)
    if rows.shape[-1] and bool(empty.any()):
        yield found("LL305", row=int(empty.nonzero()[0, 0]), count=int(empty.sum()), rows=len(rows))


@check("batch")
def infinite_logit(batch: Batch) -> Iterator[Finding]:
    """LL306: PyTorch's BCE with logits multiplies 0 by infinity."""
    if batch.kind != "bce_with_logits" or batch.loss.ours or not readable(batch.given):
        return
    infinite = batch.given.detach().isinf()
    if bool(infinite.any()):
        yield found("LL306", count=int(infinite.sum()))


@check("batch")
def half_precision_sum(batch: Batch) -> Iterator[Finding]:
    """LL307: the sum of many rows passes what float16 can hold."""
    value, given = None if batch.value is None else batch.value.detach(), batch.given
    if batch.kind not in (*_CROSS_ENTROPY, "nll", "bce_with_logits") or not batch.tensors:
        return
    if given.dtype != torch.float16 or not readable(value) or value is None or value.dim() or value.isfinite():
        return
    if batch.loss.reduction not in ("mean", "sum") or not bool(given.detach().isfinite().all()):
        return
    try:
        wide = _in_float32(batch)
    except (RuntimeError, ValueError, IndexError):
        return
    if wide.isfinite():
        yield found("LL307", rows=given.numel() // max(batch.classes, 1), now=float(value), wide=float(wide))


def _in_float32(batch: Batch) -> torch.Tensor:
    given, target = batch.given.detach().float(), batch.target.detach()
    how = str(batch.loss.reduction)
    weight = None if batch.loss.weight is None else batch.loss.weight.detach().float()
    if batch.kind == "bce_with_logits":
        return F.binary_cross_entropy_with_logits(given, target.float(), weight, reduction=how)
    if batch.kind == "soft_cross_entropy":
        return F.cross_entropy(given, target.float(), weight, reduction=how)
    function = F.nll_loss if batch.kind == "nll" else F.cross_entropy
    ignored = -100 if batch.loss.ignore_index is None else batch.loss.ignore_index
    return function(given, target, weight, ignore_index=ignored, reduction=how)
