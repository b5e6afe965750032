"""Cross-entropy by compiled kernels: prepares their arguments, and reads what they return."""

import math
from functools import lru_cache
from struct import Struct, unpack
from typing import NamedTuple

import torch
from torch import Tensor

from lastlayer.kernels import _memory
from lastlayer.kernels._options import Options, OutOfRangeError, Rows
from lastlayer.kernels.cpu import _compile, _threads
from lastlayer.kernels.cpu._layout import NAMES, address, computed_in, room_per_row, row_stride, rows_of, rows_per_task
from lastlayer.kernels.cpu._small import MOST_ROWS, SMALL, UP_TO, Plan, Table, saved_elsewhere
from lastlayer.kernels.eager import _autograd
from lastlayer.kernels.eager import _cross_entropy as eager

# Addresses, sizes and flags, then the numbers of the options: as native/cross_entropy.py has them.
_WORDS = Struct("20q11d")
_NO_SCALES = (0.0,) * 5
_SUMS = 4  # that a forward leaves of each task: losses, penalties, rows that count, indices that name no class


def cross_entropy(
    logits: Tensor, target: Tensor, weight: Tensor | None, options: Options
) -> tuple[Tensor, Tensor | None]:
    """As in kernels.eager; the log-sum-exp only where it is asked for."""
    wide = None if weight is None else weight.to(torch.float64)
    loss, *lse = _autograd.apply(_RULE, logits, target, wide, options, plain=options.read)
    return loss, lse[0] if lse else None


@lru_cache
def _spec(
    stored: torch.dtype, target: torch.dtype, adjusted: bool, smoothed: bool, weighted: bool
) -> tuple[str, str, bool, bool, str]:
    """What the kernel is compiled for: dtype, dtype computed in, adjusted, spread, dtype of probabilities.

    A softcap or a temperature moves every logit by a rounding that its exponential multiplies, and the gradient of a
    spread target is a difference of near numbers: there float32 is computed in float64.
    """
    soft = target.is_floating_point
    spread = smoothed or (soft and weighted)
    return (
        NAMES[stored],
        computed_in(stored, target, wide=adjusted or spread or soft),
        adjusted,
        spread,
        NAMES[target] if soft else "",
    )


class _Call(NamedTuple):
    """What forward and backward tell their kernel alike."""

    z: Tensor
    rows: int
    tasks: int
    kernels: str  # the file of native/ that holds them
    spec: tuple[str, str, bool, bool, str]
    head: tuple[int, ...]
    tail: tuple[float, ...]
    alive: tuple[Tensor | None, ...]  # tensors of which the words hold only the address


def _call(logits: Tensor, target: Tensor, weight: Tensor | None, options: Options) -> _Call:
    z = rows_of(logits)
    weight = None if weight is None else weight.to(torch.float64)
    rows, classes = z.shape
    smoothing, adjusted = options.label_smoothing, options.softcap is not None or options.temperature != 1.0
    # options may be tensors of one number
    spec = _spec(logits.dtype, target.dtype, bool(adjusted), bool(smoothing != 0.0), weight is not None)
    spread, weight_sum = _spread(weight, classes, spec) if spec[3] else (None, 0.0)
    per_task, skipped = rows_per_task(rows, classes), options.ignore_index
    soft = spec[4] != ""
    t = rows_of(target) if soft else target if target.dim() == 1 else target.reshape(-1)
    t = t if soft or t.is_contiguous() else t.contiguous()
    return _Call(
        z, rows, -(-rows // per_task), "soft_cross_entropy" if soft else "cross_entropy", spec,
        (
            rows, per_task, classes, z.data_ptr(), row_stride(z), t.data_ptr(), row_stride(t) if soft else 0,
            skipped is not None, skipped or 0, 0 if weight is None else weight.data_ptr(), address(spread),
        ),
        (
            smoothing / (classes or 1), 1 - smoothing, options.z_loss, options.softcap or 0.0, options.temperature,
            weight_sum,
        ),
        (t, weight, spread),
    )  # fmt: skip


def _forward(
    logits: Tensor, target: Tensor, weight: Tensor | None, options: Options
) -> tuple[tuple[Tensor, ...], tuple[Tensor, _Call | None, tuple[float, float]]]:
    call = _call(logits, target, weight, options)
    saved = torch.empty((3 if call.spec[4] else 2, call.rows), dtype=torch.float64)  # top, rest; of probabilities: mass
    lse = torch.empty(call.rows, dtype=torch.float64) if options.with_lse else None
    per_row = torch.empty(call.rows, dtype=torch.float64) if options.reduction == "none" else None
    partial = bytearray(8 * _SUMS * call.tasks)
    _threads.run(
        _compile.kernel(call.kernels + ".forward", *call.spec), _WORDS, call.tasks,
        *call.head, saved.data_ptr(), address(per_row), address(lse), _threads.address_of(partial), 0, 0, 0,
        *call.tail, *_NO_SCALES,
    )  # fmt: skip
    sums = _threads.sums_of(partial, _SUMS)
    weighed = _weighed(call) if weight is not None and not call.spec[4] else None
    total, divisors = _reduced(sums, weighed, options)
    # A small call is kept as it stands. A large one would hold on to logits that a checkpoint wants to let go.
    kept = (saved, call if logits.numel() <= SMALL else None, divisors)
    if per_row is not None:
        loss = per_row.to(options.dtype).reshape(logits.shape[:-1])
    else:
        loss = torch.scalar_tensor(total, dtype=options.dtype)
    if lse is None:
        return (loss,), kept
    lse = _narrowed(lse, logits)
    return (loss, lse if logits.dim() == 2 else lse.reshape(logits.shape[:-1])), kept


def _narrowed(lse: Tensor, logits: Tensor) -> Tensor:
    """The log-sum-exp as it is returned: in float32 for half types."""
    return lse if logits.dtype in (torch.float32, torch.float64) else lse.to(torch.float32)


def _backward(
    gradients: tuple[Tensor | None, ...],
    kept: tuple[Tensor, _Call | None, tuple[float, float]] | None,
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    options: Options,
    out: Tensor | None = None,
) -> Tensor:
    saved, call, divisors = kept or _forward(logits, target, weight, options)[1]
    call = call or _call(logits, target, weight, options)
    of_total = gradients[0]
    of_lse = _doubles(gradients[1]) if options.with_lse and gradients[1] is not None else None
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
        _compile.kernel(call.kernels + ".backward", *call.spec), _WORDS, call.tasks,
        *call.head, saved.data_ptr(), 0, 0, 0, address(of_rows), address(of_lse), result.data_ptr(),
        *call.tail, of_loss, of_penalty, *_NO_SCALES[2:],
    )  # fmt: skip
    return result if logits.dim() == 2 else result.reshape(logits.shape)


# Loss and gradient in one read. Calls of few elements write the words of their plan anew.

_LOGITS, _TARGETS, _GRADIENT, _UPSTREAM = 5, 7, 19, 28
_UNNAMED, _LOSS = 31 + 3, 31 + 4
_PLANS, _GUESSES = Table[Plan](), Table[_autograd.Guess]()


def _early(x: Tensor, target: Tensor, weight: Tensor | None, options: Options, wanted: bool) -> _autograd.Early | None:
    if options.with_lse or options.reduction == "none" or target.is_floating_point():
        return None
    count = x.numel()
    if count > SMALL and (not wanted or saved_elsewhere()):
        return None
    if weight is None and count <= UP_TO and x.is_contiguous() and target.is_contiguous() and not x.is_neg():
        threads = torch.get_num_threads()  # asked for once: another thread may change their number meanwhile
        key = (x.shape, x.dtype, options, threads)
        plan = _PLANS.get(key)
        if plan is None and count and x.dim() == 2 and len(x) <= MOST_ROWS:
            plan = _planned(key, threads, x, target, options)
        if plan is not None:
            return _few(plan, x, target, options, wanted) if count <= SMALL or plan.guess.is_good() else None
    if count <= SMALL:
        return None
    larger = x.shape, x.dtype, options
    guess = _GUESSES.get(larger) or _GUESSES.put(larger, _autograd.Guess())
    return _large(x, target, weight, options, guess) if guess.is_good() else None


def _large(
    logits: Tensor, target: Tensor, weight: Tensor | None, options: Options, guess: _autograd.Guess
) -> _autograd.Early:
    call, upstream = _call(logits, target, weight, options), guess.value
    weighed = None if weight is None else _weighed(call)
    gradient = _memory.empty(call.z, *call.z.shape)
    ends = weighed or 0.0, float(gradient.nbytes >= _memory.LARGE), upstream, *_ends(options)
    total, _ = _reduced(_made_at_once(call, gradient, ends), weighed, options)
    gradient = gradient if logits.dim() == 2 else gradient.reshape(logits.shape)
    return (torch.scalar_tensor(total, dtype=options.dtype),), (gradient, upstream, guess)


def _made_at_once(
    call: _Call,
    gradient: Tensor,
    ends: tuple[float, ...],
    per_row: Tensor | None = None,
    lse: Tensor | None = None,
) -> list[float]:
    """Write the gradient and what is asked for of each row; return the sums that a forward leaves."""
    # behind the sums the kernel leaves the loss where there is one task
    partial, saved = bytearray(8 * (_SUMS * call.tasks + 1)), torch.empty((2, call.rows), dtype=torch.float64)
    size = room_per_row(call.z.shape[1], call.spec[1])
    threads = _threads.count(call.tasks)
    room = torch.empty(size * threads, dtype=torch.uint8)
    _threads.run(
        _compile.kernel("cross_entropy.both", *call.spec), _WORDS, call.tasks,
        *call.head, saved.data_ptr(), address(per_row), address(lse), _threads.address_of(partial), room.data_ptr(),
        size, gradient.data_ptr(), *call.tail, *ends, threads=threads,
    )  # fmt: skip
    return _threads.sums_of(partial[:-8], _SUMS)


def _ends(options: Options) -> tuple[float, float]:
    return float(options.reduction == "mean"), float(options.empty == "zero")


def _few(plan: Plan, x: Tensor, target: Tensor, options: Options, wanted: bool) -> _autograd.Early:
    workspace = plan.take()
    words, doubles = workspace.integers, workspace.doubles
    gradient = torch.empty_like(x) if wanted else None
    words[_LOGITS], words[_TARGETS] = x.data_ptr(), target.data_ptr()
    words[_GRADIENT] = 0 if gradient is None else gradient.data_ptr()
    upstream = doubles[_UPSTREAM] = plan.guess.value
    plan.run(workspace)
    tasks = words[1]
    if tasks == 1:
        loss, unnamed = doubles[_LOSS], doubles[_UNNAMED]
        plan.give_back(workspace)
        if unnamed and options.read:
            raise OutOfRangeError
    else:
        sums = _threads.sums_of(workspace.left(tasks * _SUMS), _SUMS)
        plan.give_back(workspace)
        loss, _ = _reduced(sums, None, options)
    return (torch.scalar_tensor(loss, dtype=options.dtype),), (gradient, upstream, plan.guess)


def _planned(key: tuple[object, ...], threads: int, x: Tensor, target: Tensor, options: Options) -> Plan:
    call = _call(x, target, None, options)
    size, threads = room_per_row(call.z.shape[1], call.spec[1]), min(threads, call.tasks)
    words = 0, call.tasks, *call.head, 0, 0, 0, 0, 0, size, 0, *call.tail, 0.0, 0.0, 1.0, *_ends(options)
    sums, saved = 8 * (_SUMS * call.tasks + 1), 16 * call.rows
    places, room = {16: 0, 13: sums, 17: sums + saved}, sums + saved + size * threads
    kernel = _compile.kernel("cross_entropy.both", *call.spec)
    return _PLANS.put(key, Plan(kernel, _WORDS.pack(*words), room, places, threads, call.alive[-1]))


def _weighed(call: _Call) -> float:
    """The class weights of the rows that count, added up in one order: no result depends on who asks."""
    total = bytearray(8)
    words = _WORDS.pack(
        0, call.tasks, *call.head, 0, 0, 0, _threads.address_of(total), 0, 0, 0, *call.tail, *_NO_SCALES
    )
    _compile.kernel("cross_entropy.weighed").call(words)
    return float(unpack("d", total)[0])


def _reduced(sums: list[float], weighed: float | None, options: Options) -> tuple[float, tuple[float, float]]:
    """The sum or the mean of a batch, and what losses and penalties are divided by in a mean."""
    losses, penalties, counted, unnamed = sums
    if unnamed and options.read:
        raise OutOfRangeError
    empty = float(options.empty == "zero")
    divisors = (counted if weighed is None else weighed) or empty, counted or empty
    if options.reduction != "mean":
        return losses + penalties, divisors
    total = _quotient(losses, divisors[0])
    return total + _quotient(penalties, divisors[1]) if options.z_loss else total, divisors


def _spread(weight: Tensor | None, classes: int, spec: tuple[str, str, bool, bool, str]) -> tuple[Tensor, float]:
    """What a spread target gives each class, and the sum of it."""
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


def _at_once(
    z: Tensor, target: Tensor, weight: Tensor | None, options: Options, of_loss: float
) -> tuple[Tensor, Tensor]:
    call = _call(z, target, weight, _each(options))
    loss, lse = torch.empty((2, call.rows), dtype=torch.float64)
    _made_at_once(call, z, (0.0, 0.0, of_loss, 0.0, 0.0), loss, lse)  # what follows reads the gradient at once
    return loss, _narrowed(lse, z)


def _each(options: Options) -> Options:
    """The loss of each row alone, in float64."""
    return options._replace(
        reduction="none", dtype=torch.float64, z_loss=0.0, ignore_index=None, with_lse=True, read=False
    )


cross_entropy_rows = Rows(_read, _slope, _at_once)

_RULE = eager._RULE._replace(forward=_forward, backward=_backward, early=_early)
