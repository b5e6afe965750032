"""What a caller may ask for: how a loss is reduced, and the types of the answers."""

import warnings
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from lastlayer.errors import OptionError

Reduction = Literal["none", "mean", "sum"]
Empty = Literal["nan", "zero"]

_REDUCTIONS = ("none", "mean", "sum")

# A loss, or (loss, lse) with return_lse=True. Type checkers see a tensor: callers of .backward() need no cast, and
# unpacking two values from it is fine with them too, since tensors are iterable.
if TYPE_CHECKING:
    Loss = Tensor
else:
    Loss = Tensor | tuple[Tensor, Tensor]


def choose(reduction: str, size_average: bool | None, reduce: bool | None, *, also: tuple[str, ...] = ()) -> str:
    """Return the reduction that was asked for, PyTorch's two deprecated flags included."""
    if size_average is not None or reduce is not None:
        averaged = size_average is None or size_average
        reduction = "none" if reduce is False else "mean" if averaged else "sum"
        warnings.warn(
            f"size_average and reduce args will be deprecated, please use reduction='{reduction}' instead.",
            stacklevel=3,
        )
    if reduction not in _REDUCTIONS and reduction not in also:
        allowed = ", ".join(map(repr, (*_REDUCTIONS, *also)))
        raise OptionError(f"{reduction} is not a valid value for reduction: expected one of {allowed}.")
    return reduction


def loss_dtype(input: Tensor) -> torch.dtype:
    """The dtype of `input`; under autocast the loss of half-precision logits is float32, as in PyTorch."""
    if input.dtype not in (torch.float16, torch.bfloat16):
        return input.dtype
    return torch.float32 if autocasts(input.device.type) else input.dtype


def autocasts(device: str) -> bool:
    """Whether `torch.autocast` is on there; it is never on a type of device that it does not know, such as "meta"."""
    # not torch.amp.is_autocast_available: the Dynamo of PyTorch 2.11 cannot trace it
    try:
        return torch.is_autocast_enabled(device)
    except RuntimeError:
        return False


def empty_rule(empty: str) -> None:
    """`empty` is one of the two rules for a mean over nothing."""
    if empty not in ("nan", "zero"):
        raise OptionError(f"{empty!r} is not a valid value for empty: expected 'nan' (PyTorch's 0 / 0) or 'zero'.")
