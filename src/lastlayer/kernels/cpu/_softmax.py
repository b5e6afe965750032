"""Softmax, its logarithm and its normaliser by compiled kernels."""

from functools import partial
from struct import Struct

import torch
from torch import Tensor

from lastlayer.kernels import _memory, eager
from lastlayer.kernels.cpu import _compile, _threads
from lastlayer.kernels.cpu._layout import NAMES, computed_in, room_per_row, row_stride, rows_of, rows_per_task
from lastlayer.kernels.cpu._small import MOST_ROWS, UP_TO, Plan, Table
from lastlayer.kernels.eager import _autograd

_WORDS = Struct("13qd")


def softmax(z: Tensor, dim: int, temperature: float) -> Tensor:
    """As in kernels.eager."""
    return _along("softmax", z, dim, temperature)


def log_softmax(z: Tensor, dim: int, temperature: float) -> Tensor:
    """As in kernels.eager."""
    return _along("log_softmax", z, dim, temperature)


def logsumexp(z: Tensor, dim: tuple[int, ...], keepdim: bool, temperature: float) -> Tensor:
    """As in kernels.eager."""
    others = [axis for axis in range(z.dim()) if axis not in dim]
    # the axes summed over go last and become one
    moved = z.permute(*others, *sorted(set(dim))).reshape(*(z.shape[axis] for axis in others), -1) if z.numel() else z
    if z.numel() == 0 or z.dim() == 0:
        return eager.logsumexp(z, dim, keepdim, temperature)
    (result,) = _autograd.apply(_RULES["logsumexp"], moved, temperature)
    if not keepdim:
        return result
    return result.reshape([1 if axis in dim else size for axis, size in enumerate(z.shape)])


def _along(kind: str, z: Tensor, dim: int, temperature: float) -> Tensor:
    if z.numel() == 0 or z.dim() == 0:
        result: Tensor = getattr(eager, kind)(z, dim, temperature)
        return result
    last = dim in (-1, z.dim() - 1)
    (result,) = _autograd.apply(_RULES[kind], z if last else z.movedim(dim, -1), temperature)
    # in the memory order of the input, as PyTorch's: code that follows may call .view on it
    return result if last else torch.empty_like(z).copy_(result.movedim(-1, dim))


def _call(
    kernel: str, kind: str, z: Tensor, temperature: float, wide: bool, saved: Tensor, result: Tensor,
    gradient: Tensor | None,
) -> None:  # fmt: skip
    rows, classes = z.shape
    per_task = rows_per_task(rows, classes)
    adjusted = bool(temperature != 1.0)
    compute = computed_in(z.dtype, wide=wide or adjusted)
    size = room_per_row(classes, compute) if (kernel, kind) == ("forward", "softmax") else 0
    tasks = -(-rows // per_task)
    threads = _threads.count(tasks)
    room = torch.empty(size * threads, dtype=torch.uint8)
    _threads.run(
        _compile.kernel(f"softmax.{kernel}", kind, NAMES[z.dtype], compute, adjusted),
        _WORDS, tasks,
        rows, per_task, classes, z.data_ptr(), row_stride(z), saved.data_ptr(), result.data_ptr(),
        0 if gradient is None else gradient.data_ptr(), room.data_ptr(), size, result.nbytes >= _memory.LARGE,
        temperature, threads=threads,
    )  # fmt: skip


def _forward(kind: str, logits: Tensor, temperature: float) -> tuple[tuple[Tensor], tuple[Tensor]]:
    z = rows_of(logits)
    saved = torch.empty((2, z.shape[0]), dtype=torch.float64)  # largest logit, and the sum of the others' exponentials
    if kind == "logsumexp":
        per_row = torch.empty(z.shape[0], dtype=torch.float64)
        # near 0 the largest logit and the rest of the sum cancel: float32 in float64
        _call("forward", kind, z, temperature, True, saved, per_row, None)
        return (per_row.to(logits.dtype).reshape(logits.shape[:-1]),), (saved,)
    result = _memory.empty(z, *z.shape)
    _call("forward", kind, z, temperature, False, saved, result, None)
    return (result.reshape(logits.shape),), (saved,)


_PLANS = Table[Plan]()


def _early(kind: str, z: Tensor, temperature: float, wanted: bool) -> _autograd.Early | None:
    if wanted or z.numel() > UP_TO or not z.is_contiguous() or z.is_neg():
        return None
    threads = torch.get_num_threads()  # asked for once: another thread may change their number meanwhile
    key = (kind, z.shape, z.dtype, (temperature,), threads)
    plan = _PLANS.get(key)
    if plan is None:
        rows = rows_of(z)
        if len(rows) > MOST_ROWS:
            return None
        plan = _planned(key, threads, kind, rows, temperature)
    return (plan.of(z, 5, 8),), (None, 1.0, plan.guess)


def _planned(key: tuple[object, ...], threads: int, kind: str, z: Tensor, temperature: float) -> Plan:
    (rows, classes), adjusted = z.shape, bool(temperature != 1.0)
    per_task = rows_per_task(rows, classes)
    compute = computed_in(z.dtype, wide=adjusted)
    size = room_per_row(classes, compute) if kind == "softmax" else 0
    tasks, saved = -(-rows // per_task), 16 * rows
    words = _WORDS.pack(0, tasks, rows, per_task, classes, 0, row_stride(z), 0, 0, 0, 0, size, 0, temperature)
    kernel, threads = _compile.kernel("softmax.forward", kind, NAMES[z.dtype], compute, adjusted), min(threads, tasks)
    return _PLANS.put(key, Plan(kernel, words, saved + size * threads, {7: 0, 10: saved}, threads))


def _backward(kind: str, gradients: tuple[Tensor], kept: tuple[Tensor], logits: Tensor, temperature: float) -> Tensor:
    z = rows_of(logits)
    (gradient,), (saved,) = gradients, kept
    # a sum of g·p that is taken from g again: float32 in float64
    if kind == "logsumexp":
        above = gradient.reshape(-1).to(torch.float64).contiguous()
    else:
        above = rows_of(gradient.to(logits.dtype)).contiguous()
    result = _memory.empty(z, *z.shape)
    _call("backward", kind, z, temperature, kind != "logsumexp", saved, result, above)
    return result.reshape(logits.shape)


def _rule(kind: str) -> _autograd.Rule:
    def formula(z: Tensor, temperature: float) -> tuple[Tensor]:
        last = z.dim() - 1
        if kind == "logsumexp":
            return (eager.logsumexp(z, (last,), False, temperature),)
        return (getattr(eager, kind)(z, last, temperature),)

    early = () if kind == "logsumexp" else (partial(_early, kind),)
    return _autograd.Rule(formula, partial(_forward, kind), partial(_backward, kind), kind, *early)


_RULES = {kind: _rule(kind) for kind in ("softmax", "log_softmax", "logsumexp")}
