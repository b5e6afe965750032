"""Family 1: targets that are not what the loss takes them for."""

from collections.abc import Iterator

import torch

from lastlayer.diagnosis.evidence import Batch, ClassMaps
from lastlayer.diagnosis.finding import Finding, found
from lastlayer.diagnosis.registry import LIKELY, check
from lastlayer.diagnosis.tensors import is_one_hot, readable, rows_of

_INDEX_LOSSES = ("cross_entropy", "nll")
_INTEGERS = (torch.int64, torch.uint8)
_FEW_CLASSES = 256  # with more, an ignored class is a padding token of a vocabulary
_VOID = (255, -1)


@check("batch")
def indices_in_range(batch: Batch) -> Iterator[Finding]:
    """LL101, LL105, LL106: indices that name no class."""
    index = batch.indices()
    if index is None or not index.numel() or index.dtype == torch.bool:
        return
    classes = batch.classes
    outside = index[(index < 0) | (index >= classes)]
    if not outside.numel():
        return
    low, high = int(index.min()), int(index.max())
    yield found("LL101", count=outside.numel(), value=int(outside[0]), classes=classes, last=classes - 1)
    if low == 1 and high == classes:
        yield found("LL105", low=low, high=high, classes=classes, last=classes - 1)
    values = sorted(set(outside.tolist()))
    if len(values) == 1 and values[0] in _VOID:
        share = 100 * outside.numel() / index.numel()
        yield found("LL106", value=values[0], share=share, last=classes - 1)


@check("batch")
def index_dtype(batch: Batch) -> Iterator[Finding]:
    """LL102, LL112: class indices are int64."""
    if batch.kind not in _INDEX_LOSSES or not batch.tensors or batch.from_graph:
        return
    given, target = batch.given, batch.target
    if target.is_floating_point():
        whole = bool((target.detach() == target.detach().round()).all())
        if target.shape == given.shape:  # only NLL comes here
            if not whole or not is_one_hot(target, batch.axis):
                yield found("LL112", "rows", shape=tuple(target.shape), loss=_name(batch))
            return
        if not whole:
            example = float(target.detach().reshape(-1)[(target != target.round()).reshape(-1)][0])
            yield found("LL112", example=example, loss=_name(batch))
            return
    if target.dtype not in _INTEGERS and target.shape != given.shape:
        yield found("LL102", dtype=str(target.dtype).removeprefix("torch."))


def _name(batch: Batch) -> str:
    return "nll_loss" if batch.kind == "nll" else "cross_entropy"


@check("batch")
def target_shape(batch: Batch) -> Iterator[Finding]:
    """LL103, LL104, LL108: columns and one-hot rows where indices are meant."""
    if batch.kind not in (*_INDEX_LOSSES, "soft_cross_entropy") or not batch.tensors or batch.from_graph:
        return
    given, target = batch.given, batch.target
    if given.dim() == 2 and target.dim() == 2 and target.shape == (given.shape[0], 1) and given.shape[1] > 1:
        yield found("LL103", shape=tuple(target.shape), rows=given.shape[0])
    if target.shape != given.shape or given.dim() < 2 or batch.classes < 2:
        return
    if not target.is_floating_point():
        yield found("LL104", dtype=str(target.dtype).removeprefix("torch."), shape=tuple(target.shape))
    elif batch.kind == "nll":
        if is_one_hot(target, batch.axis):
            yield found("LL104", "nll", shape=tuple(target.shape))
    elif is_one_hot(target, batch.axis):
        yield found("LL108", shape=tuple(target.shape))


@check("batch")
def ignored_class(batch: Batch) -> Iterator[Finding]:
    """LL107: ignore_index is the value of a class."""
    ignored = batch.loss.ignore_index
    if batch.kind not in _INDEX_LOSSES or not batch.tensors or ignored is None or batch.target.is_floating_point():
        return
    classes = batch.classes
    if not 0 <= ignored < classes or classes >= _FEW_CLASSES or batch.target.shape == batch.given.shape:
        return
    hit = batch.target.detach() == ignored
    count = int(hit.sum())
    if not count or _is_padding(hit):
        return
    if not batch.from_graph and bool((rows_of(batch.given, batch.axis)[:, ignored] == -torch.inf).all()):
        return  # its logit is masked: nothing is left of it
    yield found("LL107", confidence=LIKELY, ignored=ignored, count=count, total=hit.numel())


def _is_padding(hit: torch.Tensor) -> bool:
    """Whether the ignored places come in runs, as padding does, and not one by one, as a class would."""
    if hit.dim() == 3 and hit.shape[1] == 1:
        hit = hit.squeeze(1)  # PyTorch keeps sequences as images of one line
    if hit.dim() > 2:
        return False
    if hit.dim() == 2 and bool((hit[:, 1:] >= hit[:, :-1]).all()):
        return True  # once padding has begun it goes on to the end of the row
    flat = hit.reshape(-1)
    count, total = int(flat.sum()), flat.numel()
    runs = int((flat[1:] & ~flat[:-1]).sum()) + int(flat[0])
    return count >= 4 and runs <= 0.7 * count * (1 - count / total)


@check("batch")
def binary_targets(batch: Batch) -> Iterator[Finding]:
    """LL109: a probability of yes is in [0, 1]."""
    if batch.kind not in ("bce", "bce_with_logits") or not readable(batch.target) or not batch.target.numel():
        return
    low, high = (float(end) for end in batch.target.detach().aminmax())
    if low < 0 or high > 1:
        yield found("LL109", low=low, high=high)


@check("batch")
def soft_target_sums(batch: Batch) -> Iterator[Finding]:
    """LL110, LL111: probabilities of a row sum to 1."""
    if batch.kind not in ("soft_cross_entropy", "kl_div") or not batch.tensors or batch.given.dim() < 2:
        return
    if not batch.target.is_floating_point() or batch.target.shape != batch.given.shape or batch.classes < 2:
        return
    if batch.kind == "kl_div" and batch.loss.log_target:
        return
    axis = batch.axis if batch.kind != "kl_div" else batch.target.dim() - 1
    rows = rows_of(batch.target, axis)
    sums = rows.sum(-1)
    slack = 3e-2 if batch.target.dtype in (torch.float16, torch.bfloat16) else 1e-2  # a teacher may be half
    wrong = (sums - 1).abs() > slack
    if batch.kind == "kl_div":
        wrong = wrong & (sums.numel() > 0) & bool(wrong.all())
    if not bool(wrong.any()):
        return
    row = int(wrong.nonzero()[0, 0])
    smoothed = _smoothing(rows[row])
    if smoothed is not None and batch.kind == "soft_cross_entropy":
        high, low = smoothed
        yield found("LL111", sum=float(sums[row]), high=high, low=low, classes=batch.classes)
    yield found("LL110", row=row, sum=float(sums[row]), count=int(wrong.sum()), rows=len(sums))


def _smoothing(row: torch.Tensor) -> tuple[float, float] | None:
    """One large entry and all others equal and above 0: label smoothing by hand."""
    if row.numel() < 3:
        return None
    ordered = row.sort(descending=True).values
    high, low = float(ordered[0]), float(ordered[1])
    alike = float((ordered[1:] - low).abs().max()) < 1e-6
    return (high, low) if alike and 0 < low < high <= 1.2 else None


@check("maps")
def class_maps(evidence: ClassMaps) -> Iterator[Finding]:
    """LL113: one index, one class, in every split."""
    names = list(evidence.maps)
    first = evidence.maps[names[0]]
    for other in names[1:]:
        theirs = evidence.maps[other]
        differing = [name for name in {**first, **theirs} if first.get(name) != theirs.get(name)]
        if differing:
            example = differing[0]
            yield found(
                "LL113",
                first=names[0],
                second=other,
                count=len(differing),
                example=example,
                one=first.get(example, "–"),
                two=theirs.get(example, "–"),
            )
    for split in names:
        yield from _sorted_as_text(split, evidence.maps[split])


def _sorted_as_text(split: str, classes: dict[object, int]) -> Iterator[Finding]:
    texts = [str(name) for name in classes]
    if not all(text.lstrip("-").isdigit() for text in texts):
        return
    by_index = [str(name) for name, _ in sorted(classes.items(), key=lambda item: item[1])]
    if by_index == sorted(texts) and by_index != sorted(texts, key=int):
        wrong = next(text for place, text in enumerate(by_index) if sorted(texts, key=int)[place] != text)
        yield found("LL113", "order", confidence=LIKELY, split=split, name=wrong, index=by_index.index(wrong))
