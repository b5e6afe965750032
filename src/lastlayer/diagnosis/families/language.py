"""Family 7: language models."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from lastlayer.diagnosis.evidence import Batch, Model
from lastlayer.diagnosis.finding import Finding, found
from lastlayer.diagnosis.registry import LIKELY, check
from lastlayer.diagnosis.tensors import readable

_MARGIN = 0.5  # nats: a smaller lead of another offset is noise
_TOKENS = 65_536
_MANY = 0.95  # share of tokens that have to agree


@check("batch")
def offset_of_labels(batch: Batch) -> Iterator[Finding]:
    """LL701 by values: at which offset the logits know the labels best."""
    if batch.kind not in ("cross_entropy", "nll") or batch.from_graph or not batch.tensors:
        return
    given, target = batch.given.detach(), batch.target.detach()
    if given.dim() != 3 or target.dim() != 2 or target.is_floating_point() or target.shape[1] < 8:
        return
    if given.shape[1] == target.shape[1] != given.shape[2]:
        given = given.movedim(-1, 1)
    if given.shape[2] != target.shape[1] or given.numel() > 20_000_000 or given.shape[1] < 8:
        return
    yield from _best_offset(given[: max(1, _TOKENS // target.shape[1])], target, batch.loss.ignore_index)


def _best_offset(given: Tensor, target: Tensor, ignored: int | None) -> Iterator[Finding]:
    target = target[: given.shape[0]]
    steps, classes = target.shape[1], given.shape[1]
    valid = (
        ((target >= 0) & (target < classes))
        if ignored is None
        else (target >= 0) & (target < classes) & (target != ignored)
    )
    losses = {}
    for offset in (-1, 0, 1, 2):
        z = given[:, :, max(-offset, 0) : steps - max(offset, 0)].float()
        y = torch.where(valid, target, -100)[:, max(offset, 0) : steps - max(-offset, 0)]
        if not bool((y != -100).any()):
            return
        losses[offset] = float(F.cross_entropy(z, y))
    best = min(losses, key=losses.__getitem__)
    if best != 0 and losses[best] < losses[0] - _MARGIN and losses[best] < 0.5 * losses[0]:
        variant = "twice" if best < 0 else "not"
        yield found("LL701", variant, now=losses[0], best=losses[best], offset=best)


@check("model")
def shift_of_labels(model: Model) -> Iterator[Finding]:
    """LL701 by comparing the labels with the tokens that went in."""
    tokens, labels = _tokens_and_labels(model)
    if tokens is None or labels is None or tokens.shape != labels.shape or tokens.dim() != 2 or tokens.shape[1] < 4:
        return
    shifts_itself = _is_causal_lm(model.module) and _has(model.inputs, "labels")
    if shifts_itself and _agree(tokens[:, 1:], labels[:, :-1]) and not _agree(tokens, labels):
        yield found("LL701", "model")
    elif not shifts_itself and _is_causal_lm(model.module) and _agree(tokens, labels):
        yield found("LL701", "unshifted")


def _tokens_and_labels(model: Model) -> tuple[Tensor | None, Tensor | None]:
    inputs = model.inputs
    tokens = inputs.get("input_ids") if hasattr(inputs, "get") else inputs
    labels = inputs.get("labels") if hasattr(inputs, "get") and inputs.get("labels") is not None else model.target
    if not readable(tokens, labels) or tokens.is_floating_point() or labels.is_floating_point():
        return None, None
    return tokens, labels


def _agree(one: Tensor, other: Tensor) -> bool:
    counted = other >= 0
    if int(counted.sum()) < 4 or bool((one == one.reshape(-1)[0]).all()):
        return False
    return float((one == other)[counted].double().mean()) >= _MANY


def _is_causal_lm(module: Any) -> bool:
    name = type(module).__name__
    return name.endswith(("ForCausalLM", "LMHeadModel"))


def _has(inputs: Any, key: str) -> bool:
    return hasattr(inputs, "get") and inputs.get(key) is not None


@check("model")
def end_of_text_masked(model: Model) -> Iterator[Finding]:
    """LL702: the padding token ends texts too, and all of it is masked."""
    config = getattr(model.module, "config", None)
    end, pad = getattr(config, "eos_token_id", None), getattr(config, "pad_token_id", None)
    if not isinstance(end, int) or end != pad:
        return
    tokens, labels = _tokens_and_labels(model)
    if tokens is None or labels is None or tokens.shape != labels.shape:
        return
    mask = model.inputs.get("attention_mask") if hasattr(model.inputs, "get") else None
    ends = tokens == end if not isinstance(mask, Tensor) else (tokens == end) & (mask != 0)
    if bool(ends.any()) and not bool((labels == end).any()):
        yield found("LL702", confidence=LIKELY, end=end, count=int(ends.sum()))
