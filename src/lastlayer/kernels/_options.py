"""What every backend of a loss is told besides its tensors."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Options(NamedTuple):
    """Everything about the loss but its tensors. A number may be a tensor of one; a kernel is only told plain ones."""

    dtype: torch.dtype  # of the loss
    reduction: str = "mean"
    label_smoothing: float = 0.0
    z_loss: float = 0.0
    softcap: float | None = None
    temperature: float = 1.0
    empty: str = "nan"  # the mean over no rows: "nan" or "zero"
    # None when the caller has read the indices: all of them name a class and none is ignored. Otherwise a row whose
    # index is this gives loss 0 and gradient 0 whatever its logits hold, and a row whose index names no class NaN.
    ignore_index: int | None = None
    with_lse: bool = True  # whether the log-sum-exp is asked for; a backend may return None where it is not
    # All tensors are plain, no option is one, only the logits may ask for a gradient, and the kernel itself reads the
    # targets and raises OutOfRangeError where one is none: asked of backends of whom `kernels.reads_targets` says so.
    read: bool = False


class BinaryOptions(NamedTuple):
    """Everything about a binary loss but its tensors; of its numbers the same is true."""

    dtype: torch.dtype  # of the loss
    reduction: str = "mean"
    focal_gamma: float = 0.0
    label_smoothing: float = 0.0
    read: bool = False  # as above: a target below 0 or above 1 is none


_OPTIONS = (Options, BinaryOptions)


def tensors_of(arguments: Iterable[object]) -> list[Tensor]:
    """The tensors among the arguments of a function, and among its options: a temperature may be learnt."""
    found: list[Tensor] = []
    for value in arguments:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, _OPTIONS):
            options: Iterable[object] = value
            found += [option for option in options if isinstance(option, Tensor)]
    return found


def counts(option: object, default: float) -> bool:
    """Whether an option changes anything; a tensor does though it equal the default, for it may ask for a gradient."""
    return isinstance(option, Tensor) or option != default


def numbers(options: Any) -> Any:
    """An option, or all of them, with plain numbers for tensors of one: what changes later changes no backward."""
    if isinstance(options, Tensor):
        return options.item()
    if isinstance(options, _OPTIONS) and tensors_of((options,)):
        return type(options)(*map(numbers, options))
    return options


class OutOfRangeError(Exception):
    """A kernel met a target that is none. Who chose the kernel looks again, and says which."""


class Rows(NamedTuple):
    """How a backend reads a chunk of plain logits (rows, classes) and turns it into its gradient: for linear losses."""

    # (z, target, weight, options) -> loss (rows), log-sum-exp (rows), what to keep; no reduction and no z-loss
    read: Callable[..., tuple[Any, Any, Any]]
    # (z, target, weight, options, kept, of_loss () or (rows, 1), of_lse (rows, 1), either None) overwrites z
    slope: Callable[..., None]
    # both at once, where one number reaches the losses of all rows and nothing their log-sum-exp:
    # (z, indices, weight, options, of_loss) -> loss (rows), log-sum-exp (rows); overwrites z
    at_once: Callable[..., tuple[Any, Any]] | None = None


class Elements(NamedTuple):
    """The same for binary cross-entropy, whose elements do not know of each other."""

    # (z, target, weight, pos_weight, options) -> the loss of each element
    losses: Callable[..., Any]
    # the same -> their sum, wide
    total: Callable[..., Any]
    # (z, target, weight, pos_weight, upstream () or of the shape of z, options) overwrites z
    slope: Callable[..., None]
