"""Binary cross-entropy with logits by compiled kernels."""

from struct import Struct
from typing import NamedTuple

import torch
from torch import Tensor

from lastlayer.kernels._options import BinaryOptions, Elements
from lastlayer.kernels.cpu import _compile, _memory, _threads
from lastlayer.kernels.cpu._layout import NAMES, PER_TASK, address, computed_in, row_stride, rows_of
from lastlayer.kernels.eager import _autograd
from lastlayer.kernels.eager import _binary_cross_entropy as eager

_WORDS = Struct("17q4d")
_KEPT_UP_TO = 16_384
_BLOCK = 1024  # elements that a kernel sums before it widens


def binary_cross_entropy_with_logits(
    logits: Tensor, target: Tensor, weight: Tensor | None, pos_weight: Tensor | None, options: BinaryOptions
) -> Tensor:
    """As in kernels.eager."""
    return _autograd.apply(_RULE, logits, target, weight, pos_weight, options)[0]


class _Call(NamedTuple):
    """What forward and backward tell their kernel alike."""

    shape: tuple[int, int]
    tasks: int
    compute: str
    flags: tuple[bool, bool, bool]  # weighted, "yes" weighted, focal
    head: tuple[int, ...]
    tail: tuple[float, ...]
    alive: tuple[Tensor | None, ...]  # tensors of which the words hold only the address


def _call(
    logits: Tensor, target: Tensor, weight: Tensor | None, pos_weight: Tensor | None, options: BinaryOptions
) -> _Call:
    given = [tensor.dtype for tensor in (logits, target, weight, pos_weight) if tensor is not None]
    focal = options.focal_gamma != 0.0
    compute = computed_in(*given, wide=focal)
    x, y = logits, target
    if weight is None and pos_weight is None and x.is_contiguous() and y.is_contiguous():
        x, y = x.reshape(1, -1), y.reshape(1, -1)
    x, y = rows_of(x), rows_of(y)
    w, p = (_like_rows(factor, logits, compute) for factor in (weight, pos_weight))
    rows, columns = x.shape
    blocks, per_task = -(-columns // _BLOCK), max(1, PER_TASK // max(_BLOCK, 1) if columns >= _BLOCK else
        PER_TASK // max(columns, 1))  # fmt: skip
    head = (
        rows, columns, blocks, per_task, x.data_ptr(), row_stride(x), y.data_ptr(), row_stride(y),
        address(w), 0 if w is None else row_stride(w), address(p), 0 if p is None else row_stride(p),
    )  # fmt: skip
    smoothing = options.label_smoothing
    return _Call(
        (rows, columns), -(-rows * blocks // per_task), compute, (w is not None, p is not None, focal), head,
        (1 - smoothing, smoothing / 2, options.focal_gamma), (x, y, w, p),
    )  # fmt: skip


def _like_rows(factor: Tensor | None, logits: Tensor, compute: str) -> Tensor | None:
    """A weight as (rows, columns) beside the logits; one per class stays one row, repeated by a stride of 0."""
    if factor is None:
        return None
    factor = factor.to(torch.float64 if compute == "float64" else torch.float32)
    columns = logits.shape[-1] if logits.dim() else 1
    rows = logits.numel() // max(columns, 1)
    if factor.numel() == columns and (factor.dim() == 0 or factor.shape[-1] == columns):
        return factor.reshape(1, columns).contiguous().expand(rows, columns)
    return factor.expand(logits.shape).reshape(rows, columns).contiguous()


def _forward(
    logits: Tensor, target: Tensor, weight: Tensor | None, pos_weight: Tensor | None, options: BinaryOptions
) -> tuple[tuple[Tensor], tuple[_Call | None]]:
    call = _call(logits, target, weight, pos_weight, options)
    losses = _memory.empty(logits, *logits.shape, dtype=options.dtype) if options.reduction == "none" else None
    partial = bytearray(8 * call.tasks)
    name = "" if losses is None else NAMES[options.dtype]
    _threads.run(
        _compile.kernel(
            "binary_cross_entropy.forward", NAMES[logits.dtype], call.compute, NAMES[target.dtype], name, *call.flags
        ),
        _WORDS, call.tasks, logits.numel(),
        *call.head, address(losses), _threads.address_of(partial), 0, *call.tail, 1.0,
    )  # fmt: skip
    # A large call would hold on to logits that a checkpoint wants to let go.
    kept = call if logits.numel() <= _KEPT_UP_TO else None
    if losses is not None:
        return (losses,), (kept,)
    (total,) = _threads.sums_of(partial, 1)
    if options.reduction == "mean":
        total = total / logits.numel() if logits.numel() else float("nan")
    return (torch.scalar_tensor(total, dtype=options.dtype),), (kept,)


def _backward(
    gradients: tuple[Tensor],
    kept: tuple[_Call | None],
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    pos_weight: Tensor | None,
    options: BinaryOptions,
    out: Tensor | None = None,
) -> Tensor:
    call = kept[0] or _call(logits, target, weight, pos_weight, options)
    above, upstream = None, 1.0
    if options.reduction == "none":
        above = gradients[0].to(torch.float64 if call.compute == "float64" else torch.float32).contiguous()
    else:
        upstream = gradients[0].item() / (max(logits.numel(), 1) if options.reduction == "mean" else 1)
    result = _memory.empty(logits, *logits.shape) if out is None else out
    _threads.run(
        _compile.kernel(
            "binary_cross_entropy.backward", NAMES[logits.dtype], call.compute, NAMES[target.dtype], *call.flags
        ),
        _WORDS, call.tasks, logits.numel(),
        *call.head, result.data_ptr(), 0, address(above), *call.tail, upstream,
    )  # fmt: skip
    return result


def _losses(
    z: Tensor, target: Tensor, weight: Tensor | None, pos_weight: Tensor | None, options: BinaryOptions
) -> Tensor:
    return _forward(z, target, weight, pos_weight, options._replace(reduction="none"))[0][0]


def _total(
    z: Tensor, target: Tensor, weight: Tensor | None, pos_weight: Tensor | None, options: BinaryOptions
) -> Tensor:
    return _forward(z, target, weight, pos_weight, options._replace(reduction="sum", dtype=torch.float64))[0][0]


def _slope(
    z: Tensor,
    target: Tensor,
    weight: Tensor | None,
    pos_weight: Tensor | None,
    upstream: Tensor,
    options: BinaryOptions,
) -> None:
    options = options._replace(reduction="sum" if upstream.dim() == 0 else "none")
    _backward((upstream,), (None,), z, target, weight, pos_weight, options, out=z)


binary_cross_entropy_elements = Elements(_losses, _total, _slope)

_RULE = _autograd.Rule(eager.formula, _forward, _backward, eager._RULE.name)
