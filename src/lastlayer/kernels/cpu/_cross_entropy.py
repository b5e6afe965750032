"""Cross-entropy by compiled kernels: prepares their arguments, and reads what they return."""

import math
from struct import Struct
from typing import NamedTuple

import torch
from torch import Tensor

from lastlayer.kernels._options import Options, Rows
from lastlayer.kernels.cpu import _compile, _memory, _threads
from lastlayer.kernels.cpu._layout import NAMES, address, computed_in, row_stride, rows_of, rows_per_task
from lastlayer.kernels.eager import _autograd
from lastlayer.kernels.eager import _cross_entropy as eager

# The words of each kernel: addresses, sizes and flags, then the numbers of the options.
_FORWARD, _BACKWARD = Struct("16q6d"), Struct("16q8d")
_SOFT_FORWARD, _SOFT_BACKWARD = Struct("14q5d"), Struct("14q7d")


def cross_entropy(logits: Tensor, target: Tensor, weight: Tensor | None, options: Options) -> tuple[Tensor, Tensor]:
    """As in kernels.eager."""
    wide = None if weight is None else weight.to(torch.float64)
    loss, lse = _autograd.apply(_RULE, logits, target, wide, options)
    return loss, lse


def _spec(logits: Tensor, target: Tensor, weight: Tensor | None, options: Options) -> tuple[str, str, bool, bool, str]:
    """What the kernel is compiled for: dtype, dtype computed in, adjusted, spread, dtype of probabilities.

    A softcap or a temperature moves every logit by a rounding that its exponential multiplies, and the gradient of a
    spread target is a difference of near numbers: there float32 is computed in float64.
    """
    soft = target.is_floating_point()
    adjusted = options.softcap is not None or options.temperature != 1.0
    spread = options.label_smoothing != 0.0 or (soft and weight is not None)
    dtypes = (logits.dtype, target.dtype)
    return (
        NAMES[logits.dtype],
        computed_in(*dtypes, wide=adjusted or spread or soft),
        adjusted,
        spread,
        NAMES[target.dtype] if soft else "",
    )


_KEPT_UP_TO = 16_384


class _Call(NamedTuple):
    """What forward and backward tell their kernel alike."""

    z: Tensor
    rows: int
    tasks: int
    soft: bool
    spec: tuple[str, str, bool, bool, str]
    head: tuple[int, ...]
    tail: tuple[float, ...]
    alive: tuple[Tensor | None, ...]  # tensors of which the words hold only the address


def _call(logits: Tensor, target: Tensor, weight: Tensor | None, options: Options) -> _Call:
    z, soft = rows_of(logits), target.is_floating_point()
    rows, classes = z.shape
    per_task = rows_per_task(classes)
    spec = _spec(logits, target, weight, options)
    spread, weight_sum = _spread(weight, classes, spec)
    head: tuple[int, ...] = (rows, per_task, classes, z.data_ptr(), row_stride(z))
    tail: tuple[float, ...] = (
        options.label_smoothing / max(classes, 1), 1 - options.label_smoothing, options.z_loss,
        options.softcap or 0.0, options.temperature,
    )  # fmt: skip
    if soft:
        t = rows_of(target)
        head = (*head, t.data_ptr(), row_stride(t), address(spread))
    else:
        t = target if target.dim() == 1 else target.reshape(-1)
        t = t if t.is_contiguous() else t.contiguous()
        skipped = options.ignore_index
        head = (*head, t.data_ptr(), skipped is not None, skipped or 0, address(weight), address(spread))
        tail = (*tail, weight_sum)
    return _Call(z, rows, -(-rows // per_task), soft, spec, head, tail, (t, weight, spread))


def _forward(
    logits: Tensor, target: Tensor, weight: Tensor | None, options: Options
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, _Call | None, tuple[float, float]]]:
    call = _call(logits, target, weight, options)
    rows = call.rows
    saved = torch.empty((4 if call.soft else 3, rows), dtype=torch.float64)  # top, rest, lse, mass
    per_row = torch.empty(rows, dtype=torch.float64) if options.reduction == "none" else None
    partial = bytearray(32 * call.tasks)
    where = saved.data_ptr()
    _threads.run(
        _compile.kernel("soft_cross_entropy.forward" if call.soft else "cross_entropy.forward", *call.spec),
        _SOFT_FORWARD if call.soft else _FORWARD, call.tasks, call.z.numel(),
        *call.head, where, address(per_row), where + 16 * rows, _threads.address_of(partial), *call.tail,
    )  # fmt: skip
    losses, weights, penalties, counted = _threads.sums_of(partial, 4)
    lse = saved[2] if logits.dtype in (torch.float32, torch.float64) else saved[2].to(torch.float32)
    lse = lse if logits.dim() == 2 else lse.reshape(logits.shape[:-1])
    empty = float(options.empty == "zero")
    divisors = (counted if weight is None or call.soft else weights) or empty, counted or empty
    # A small call is kept as it stands. A large one would hold on to logits that a checkpoint wants to let go.
    kept = (saved, call if call.z.numel() <= _KEPT_UP_TO else None, divisors)
    if per_row is not None:
        return (per_row.to(options.dtype).reshape(logits.shape[:-1]), lse), kept
    total = losses + penalties
    if options.reduction == "mean":
        total = _quotient(losses, divisors[0])
        if options.z_loss:
            total += _quotient(penalties, divisors[1])
    return (torch.scalar_tensor(total, dtype=options.dtype), lse), kept


def _backward(
    gradients: tuple[Tensor | None, Tensor | None],
    kept: tuple[Tensor, _Call | None, tuple[float, float]],
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    options: Options,
    out: Tensor | None = None,
) -> Tensor:
    saved, call, divisors = kept
    call = call or _call(logits, target, weight, options)
    of_total, of_lse = gradients
    of_lse = None if of_lse is None else _doubles(of_lse)
    of_rows, upstream = None, 0.0
    if of_total is not None and options.reduction == "none":
        of_rows, upstream = _doubles(of_total), 1.0
    elif of_total is not None:
        upstream = of_total.item()
    of_loss, of_penalty = upstream, upstream
    if options.reduction == "mean":
        of_loss, of_penalty = _quotient(upstream, divisors[0]), _quotient(upstream, divisors[1])
    result = _memory.empty(call.z, *call.z.shape) if out is None else out
    _threads.run(
        _compile.kernel("soft_cross_entropy.backward" if call.soft else "cross_entropy.backward", *call.spec),
        _SOFT_BACKWARD if call.soft else _BACKWARD, call.tasks, call.z.numel(),
        *call.head, saved.data_ptr(), address(of_rows), address(of_lse), result.data_ptr(),
        *call.tail, of_loss, of_penalty,
    )  # fmt: skip
    return result if logits.dim() == 2 else result.reshape(logits.shape)


def _spread(weight: Tensor | None, classes: int, spec: tuple[str, str, bool, bool, str]) -> tuple[Tensor | None, float]:
    """What label smoothing gives each class, and the sum of it."""
    if not spec[3]:
        return None, 0.0
    dtype = torch.float64 if spec[1] == "float64" else torch.float32
    if weight is None:
        return torch.ones(classes, dtype=dtype), float(classes)
    return weight.to(dtype), float(weight.sum())


def _quotient(a: float, b: float) -> float:
    """a / b as IEEE has it."""
    if b:
        return a / b
    return math.nan if not a or math.isnan(a) else math.copysign(math.inf, a)


def _doubles(per_row: Tensor) -> Tensor:
    return per_row.reshape(-1).to(torch.float64).contiguous()


def _read(
    z: Tensor, target: Tensor, weight: Tensor | None, options: Options
) -> tuple[Tensor, Tensor, tuple[Tensor, _Call | None, tuple[float, float]]]:
    (loss, lse), kept = _forward(z, target, weight, _each(options))
    return loss, lse, kept


def _slope(
    z: Tensor,
    target: Tensor,
    weight: Tensor | None,
    options: Options,
    kept: tuple[Tensor, _Call | None, tuple[float, float]],
    of_loss: Tensor | None,
    of_lse: Tensor | None,
) -> None:
    if of_loss is not None:
        of_loss = of_loss.expand(len(z), 1)
    _backward((of_loss, of_lse), kept, z, target, weight, _each(options), out=z)


def _each(options: Options) -> Options:
    """The loss of each row alone, in float64."""
    return options._replace(reduction="none", dtype=torch.float64, z_loss=0.0, ignore_index=None)


cross_entropy_rows = Rows(_read, _slope)

_RULE = eager._RULE._replace(forward=_forward, backward=_backward)
