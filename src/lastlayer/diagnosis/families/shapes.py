"""Family 2: axes that are not where the loss looks for them."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from lastlayer.diagnosis.evidence import Batch
from lastlayer.diagnosis.finding import Finding, found
from lastlayer.diagnosis.registry import LIKELY, POSSIBLE, check
from lastlayer.diagnosis.tensors import LEAST, readable, rows_of, sums_to_one
from lastlayer.graph import Op

_INDEX_LOSSES = ("cross_entropy", "nll")


@check("term")
def softmax_over_another_axis(batch: Batch) -> Iterator[Finding]:
    """LL202: the saved axis is not the classes'."""
    if batch.term is None:
        return
    op = batch.term.first
    if op is None or op.name not in ("softmax", "log_softmax"):
        return
    if op.on_classes is False or (op.on_classes is None and op.dim == 0 and op.shape and len(op.shape) > 1):
        yield _wrong_axis(op)


def _wrong_axis(op: Op) -> Finding:
    variant = "batch_axis" if op.dim == 0 else ""
    return found("LL202", variant, activation=op.name, dim=op.dim, shape=op.shape)


@check("batch")
def columns_sum_to_one(batch: Batch) -> Iterator[Finding]:
    """LL202 by values: columns sum to 1, rows do not."""
    if batch.from_graph or not readable(batch.given) or batch.given.dim() != 2 or batch.given.numel() < LEAST:
        return
    if batch.kind not in ("cross_entropy", "soft_cross_entropy", "nll", "bce") or 1 in batch.given.shape:
        return
    values = batch.given.detach()
    values = values.exp() if batch.kind == "nll" and float(values.max()) <= 0 else values
    if sums_to_one(values, 0) and not sums_to_one(values, 1):
        low, high = (float(end) for end in rows_of(values, 1).sum(-1).aminmax())
        yield found("LL202", "columns", low=low, high=high)


@check("batch")
def classes_in_second_place(batch: Batch) -> Iterator[Finding]:
    """LL203: for more than two axes the classes are at dim 1."""
    if batch.kind not in _INDEX_LOSSES or batch.from_graph or not _tensors(batch):
        return
    given, target = tuple(batch.given.shape), tuple(batch.target.shape)
    if len(given) < 3 or len(target) != len(given) - 1:
        return
    fits_last, fits_second = target == given[:-1], target == (given[0], *given[2:])
    if fits_last and not fits_second:
        yield found("LL203", given=given, target=target, wanted=(given[0], given[-1], *given[1:-1]))
    elif fits_last and _made_by_linear(batch):
        yield found("LL203", "equal", confidence=LIKELY, given=given, classes=given[-1])


@check("term")
def classes_last_in_the_graph(batch: Batch) -> Iterator[Finding]:
    """LL203 where as many steps as classes hide it: the layer below puts the classes last."""
    term = batch.term
    if term is None or not batch.from_graph or batch.kind not in _INDEX_LOSSES or not term.views:
        return
    _, after = term.views[-1]
    if batch.given.dim() > 2 and len(after) == 3 and after[1] == after[2] and _made_by_linear(batch):
        yield found("LL203", "equal", confidence=LIKELY, given=after, classes=after[-1])


def _made_by_linear(batch: Batch) -> bool:
    """Whether a linear layer made (batch, steps, classes) and nothing was moved since."""
    term = batch.term
    if term is None or term.end != "layer" or term.moved or not term.views:
        return False
    before, after = term.views[-1]
    return len(before) == 2 and len(after) >= 3 and before[1] == after[-1]


@check("term")
def view_for_permute(batch: Batch) -> Iterator[Finding]:
    """LL204: a view swaps the sizes of two axes and not their contents."""
    if batch.term is None:
        return
    for before, after in batch.term.views:
        if len(before) == len(after) >= 3 and before != after and sorted(before) == sorted(after) and 1 not in before:
            yield found("LL204", confidence=POSSIBLE, before=before, after=after)
            return


@check("batch")
def batch_sizes(batch: Batch) -> Iterator[Finding]:
    """LL205: one target per row."""
    if batch.kind not in _INDEX_LOSSES or batch.from_graph or not _tensors(batch):
        return
    given, target = batch.given, batch.target
    if given.dim() < 2 or not target.dim() or target.shape[0] == given.shape[0]:
        return
    rows, targets, classes = given.shape[0], target.shape[0], given.shape[1]
    if target.dim() == 1 and targets == rows * classes and not target.is_floating_point() and given.dim() == 2:
        yield found("LL205", "one_hot", fix="one_hot", rows=rows, targets=targets, classes=classes)
    else:
        yield found("LL205", rows=rows, targets=targets)


@check("batch")
def mask_with_channel(batch: Batch) -> Iterator[Finding]:
    """LL206: a mask has no channel axis."""
    if batch.kind not in _INDEX_LOSSES or batch.from_graph or not _tensors(batch):
        return
    given, target = tuple(batch.given.shape), tuple(batch.target.shape)
    if len(given) >= 4 and given[1] > 1 and target == (given[0], 1, *given[2:]):
        yield found("LL206", target=target, wanted=(given[0], *given[2:]))


@check("batch")
def column_against_row(batch: Batch) -> Iterator[Finding]:
    """LL207: (N, 1) and (N) are not the same shape."""
    if batch.kind not in ("bce", "bce_with_logits", "mse") or batch.from_graph or not _tensors(batch):
        return
    given, target = tuple(batch.given.shape), tuple(batch.target.shape)
    column = {given, target} == {(given[0], 1), (given[0],)} if given else False
    if column and given != target:
        variant = "mse" if batch.kind == "mse" else ""
        yield found("LL207", variant, given=given, target=target, rows=given[0])


@check("term")
def broadcast_in_the_graph(batch: Batch) -> Iterator[Finding]:
    """LL207 for MSE: PyTorch broadcasts both to N × N before it compares them."""
    term = batch.term
    if term is None or not batch.from_graph or batch.kind != "mse" or not readable(batch.given, batch.target):
        return
    given, target = batch.given, batch.target
    if given.dim() != 2 or given.shape[0] != given.shape[1] or given.shape[0] < 2:
        return
    if {_spread(given), _spread(target)} == {0, 1}:
        rows = given.shape[0]
        yield found("LL207", "mse", given=(rows, 1), target=(rows,), rows=rows)


def _spread(tensor: Tensor) -> int | None:
    """The axis along which a square was broadcast."""
    flat = [axis for axis in (0, 1) if tensor.stride(axis) == 0]
    return flat[0] if len(flat) == 1 else None


@check("batch")
def not_a_tensor(batch: Batch) -> Iterator[Finding]:
    """LL208: the loss takes tensors."""
    if batch.kind == "unknown":
        return
    for role, value in (("given", batch.given), ("target", batch.target)):
        if not isinstance(value, Tensor):
            fix = _advice(value) if role == "given" else "target"
            yield found("LL208", role, fix=fix, type=type(value).__name__, **_tensor_in(value))


def _advice(value: Any) -> str:
    if hasattr(value, "logits"):
        return "logits"
    return "first" if isinstance(value, (tuple, list)) and any(isinstance(part, Tensor) for part in value) else ""


def _tensor_in(value: Any) -> dict[str, Any]:
    parts = list(value) if isinstance(value, (tuple, list)) else []
    place = next((place for place, part in enumerate(parts) if isinstance(part, Tensor)), 0)
    return {"place": place}


def _tensors(batch: Batch) -> bool:
    return isinstance(batch.given, Tensor) and isinstance(batch.target, Tensor)
