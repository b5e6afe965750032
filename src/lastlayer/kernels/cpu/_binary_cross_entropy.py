"""Binary cross-entropy with logits by compiled kernels."""

from struct import Struct
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lastlayer.kernels import _memory
from lastlayer.kernels._options import BinaryOptions, Elements, OutOfRangeError
from lastlayer.kernels.cpu import _compile, _threads
from lastlayer.kernels.cpu._layout import NAMES, PER_TASK, address, computed_in, row_stride, rows_of
from lastlayer.kernels.cpu._small import SMALL, UP_TO, Plan, Table, saved_elsewhere
from lastlayer.kernels.eager import _autograd
from lastlayer.kernels.eager import _binary_cross_entropy as eager

_WORDS = Struct("17q5d")
_SUMS = 3  # that a kernel leaves of each task: the losses, the smallest and the largest target
_BLOCK = 1024  # elements that a kernel sums before it widens


def binary_cross_entropy_with_logits(
    logits: Tensor, target: Tensor, weight: Tensor | None, pos_weight: Tensor | None, options: BinaryOptions
) -> Tensor:
    """As in kernels.eager."""
    return _autograd.apply(_RULE, logits, target, weight, pos_weight, options, plain=options.read)[0]


class _Call(NamedTuple):
    """What forward and backward tell their kernel alike."""

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
    focal = bool(options.focal_gamma != 0.0)
    compute = computed_in(*given, wide=focal)
    x, y = logits, target
    if weight is None and pos_weight is None and x.is_contiguous() and y.is_contiguous():
        x, y = x.reshape(1, -1), y.reshape(1, -1)
    x, y = rows_of(x), rows_of(y)
    w, p = (_like_rows(factor, logits, compute) for factor in (weight, pos_weight))
    rows, columns = x.shape
    blocks, per_task = -(-columns // _BLOCK), PER_TASK // min(max(columns, 1), _BLOCK)
    head = (
        rows, columns, blocks, per_task, x.data_ptr(), row_stride(x), y.data_ptr(), row_stride(y),
        address(w), 0 if w is None else row_stride(w), address(p), 0 if p is None else row_stride(p),
    )  # fmt: skip
    smoothing = options.label_smoothing
    return _Call(
        -(-rows * blocks // per_task), compute, (w is not None, p is not None, focal), head,
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
    name = "" if losses is None else NAMES[options.dtype]
    kernel = _compile.kernel(
        "binary_cross_entropy.forward", NAMES[logits.dtype], call.compute, NAMES[target.dtype], name, *call.flags
    )
    total = _summed(kernel, call, losses, 1.0, options)
    # A large call would hold on to logits that a checkpoint wants to let go.
    kept = call if logits.numel() <= SMALL else None
    if losses is not None:
        return (losses,), (kept,)
    return (_reduced(total, logits.numel(), options),), (kept,)


def _summed(
    kernel: _compile.Kernel, call: _Call, result: Tensor | None, upstream: float, options: BinaryOptions
) -> float:
    """Run a kernel that adds up losses and has read every target."""
    partial = bytearray(8 * _SUMS * call.tasks)
    _threads.run(
        kernel, _WORDS, call.tasks,
        *call.head, address(result), _threads.address_of(partial), 0, *call.tail, upstream, _is_large(result),
    )  # fmt: skip
    return _total_of(partial, options)


def _total_of(partial: bytearray, options: BinaryOptions) -> float:
    """The sum of the losses, if every target is a probability; `partial` is what the tasks left."""
    found = np.frombuffer(partial).reshape(-1, _SUMS)
    if options.read and len(found) and (found[:, 1].min() < 0.0 or found[:, 2].max() > 1.0):
        raise OutOfRangeError
    return float(found[:, 0].sum())


def _reduced(total: float, count: int, options: BinaryOptions) -> Tensor:
    if options.reduction == "mean":
        total = total / count if count else float("nan")
    return torch.scalar_tensor(total, dtype=options.dtype)


def _backward(
    gradients: tuple[Tensor],
    kept: tuple[_Call | None] | None,
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    pos_weight: Tensor | None,
    options: BinaryOptions,
    out: Tensor | None = None,
) -> Tensor:
    call = (kept[0] if kept else None) or _call(logits, target, weight, pos_weight, options)
    above, upstream = None, 1.0
    if options.reduction == "none":
        above = gradients[0].to(torch.float64 if call.compute == "float64" else torch.float32).contiguous()
    else:
        upstream = _of_each(gradients[0].item(), logits, options)
    result = _memory.empty(logits, *logits.shape) if out is None else out
    _threads.run(
        _compile.kernel(
            "binary_cross_entropy.backward", NAMES[logits.dtype], call.compute, NAMES[target.dtype], *call.flags
        ),
        _WORDS, call.tasks,
        *call.head, result.data_ptr(), 0, address(above), *call.tail, upstream, _is_large(result) if out is None else 0,
    )  # fmt: skip
    return result


def _is_large(result: Tensor | None) -> float:
    """1 for what goes past the caches."""
    return float(result is not None and result.nbytes >= _memory.LARGE)


def _of_each(upstream: float, logits: Tensor, options: BinaryOptions) -> float:
    return upstream / (max(logits.numel(), 1) if options.reduction == "mean" else 1)


# Loss and gradient in one read. Calls of few elements write the words of their plan anew.

_LOGITS, _TARGETS, _RESULT, _UPSTREAM, _TOTAL = 6, 8, 14, 20, 22
_PLANS, _GUESSES = Table[Plan](), Table[_autograd.Guess]()


def _early(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    pos_weight: Tensor | None,
    options: BinaryOptions,
    wanted: bool,
) -> _autograd.Early | None:
    if not wanted or options.reduction == "none":
        return None
    count = logits.numel()
    if count > SMALL and saved_elsewhere():
        return None
    as_they_lie = logits.is_contiguous() and target.is_contiguous() and not (logits.is_neg() or target.is_neg())
    if weight is None and pos_weight is None and count <= UP_TO and as_they_lie:
        threads = torch.get_num_threads()  # asked for once: another thread may change their number meanwhile
        key = (logits.shape, logits.dtype, target.dtype, options, threads)
        plan = _PLANS.get(key)
        if plan is None and count:
            plan = _planned(key, threads, logits, target, options)
        if plan is not None:
            return _few(plan, logits, target, options) if count <= SMALL or plan.guess.is_good() else None
    if count <= SMALL:
        return None
    larger = logits.shape, logits.dtype, target.dtype, options
    guess = _GUESSES.get(larger) or _GUESSES.put(larger, _autograd.Guess())
    if not guess.is_good():
        return None
    call, upstream = _call(logits, target, weight, pos_weight, options), guess.value
    gradient = _memory.empty(logits, *logits.shape)
    total = _summed(_both(logits, target, call), call, gradient, _of_each(upstream, logits, options), options)
    return (_reduced(total, count, options),), (gradient, upstream, guess)


def _both(logits: Tensor, target: Tensor, call: _Call) -> _compile.Kernel:
    names = NAMES[logits.dtype], call.compute, NAMES[target.dtype]
    return _compile.kernel("binary_cross_entropy.both", *names, *call.flags)


def _few(plan: Plan, x: Tensor, target: Tensor, options: BinaryOptions) -> _autograd.Early:
    workspace = plan.take()
    words, doubles = workspace.integers, workspace.doubles
    gradient, upstream = torch.empty_like(x), plan.guess.value
    words[_LOGITS], words[_TARGETS], words[_RESULT] = x.data_ptr(), target.data_ptr(), gradient.data_ptr()
    doubles[_UPSTREAM] = _of_each(upstream, x, options)
    plan.run(workspace)
    tasks = words[1]
    if tasks == 1:
        total, least, most = doubles[_TOTAL], doubles[_TOTAL + 1], doubles[_TOTAL + 2]
        plan.give_back(workspace)
        if options.read and (least < 0.0 or most > 1.0):
            raise OutOfRangeError
    else:
        left = workspace.left(tasks * _SUMS)
        plan.give_back(workspace)
        total = _total_of(left, options)
    return (_reduced(total, x.numel(), options),), (gradient, upstream, plan.guess)


def _planned(key: tuple[object, ...], threads: int, x: Tensor, target: Tensor, options: BinaryOptions) -> Plan:
    call = _call(x, target, None, None, options)
    words = 0, call.tasks, *call.head, 0, 0, 0, *call.tail, 0.0, 0.0
    room, threads = 8 * _SUMS * call.tasks, min(threads, call.tasks)
    return _PLANS.put(key, Plan(_both(x, target, call), _WORDS.pack(*words), room, {15: 0}, threads))


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

_RULE = eager._RULE._replace(forward=_forward, backward=_backward, early=_early)
