"""The dtype that a computation runs in, one step wider than the dtype of its input."""

import torch
from torch import Tensor

_WIDER = {torch.float16: torch.float32, torch.bfloat16: torch.float32, torch.float32: torch.float64}


def wide(x: Tensor) -> Tensor:
    """Return `x` in the dtype that kernels compute in; float64 stays, and so does float32 where there is no float64."""
    if x.dtype is torch.float32 and x.device.type == "mps":
        return x
    return x.to(_WIDER.get(x.dtype, x.dtype))


def widest(x: Tensor) -> Tensor:
    """Return `x` in float64 (float32 where there is none): for differences that cancel in the inputs themselves."""
    return x.to(torch.float32 if x.device.type == "mps" else torch.float64)


_PIECE = 2**14


def summed(x: Tensor, dim: int = -1) -> Tensor:
    """x.sum(dim), added up in pieces of one size on a CPU: PyTorch splits a long sum by the number of its threads."""
    size = x.shape[dim]
    if x.device.type != "cpu" or size <= _PIECE:
        return x.sum(dim)
    rows = x.movedim(dim, -1)
    whole = size - size % _PIECE
    pieces = rows[..., :whole].reshape(*rows.shape[:-1], -1, _PIECE)
    return pieces.sum(-1).sum(-1) + rows[..., whole:].sum(-1)


def share(factor: Tensor, loss: Tensor) -> Tensor:
    """`factor` · `loss`, where no share of an infinite loss is 0."""
    return factor * loss.masked_fill((factor == 0) & (loss == float("inf")), 0.0)


def rounding_error(a: Tensor, b: Tensor, difference: Tensor) -> Tensor:
    """What `difference`, the rounded a − b, lacks to the exact one; 0 where it is not finite.

    Knuth's two-sum. In exp(a − b) this error is a relative one: at a difference of 100 worth 32 units in the last
    place.
    """
    b_used = a - difference
    a_used = difference + b_used
    error = (a - a_used) + (b_used - b)
    return error.masked_fill(~torch.isfinite(error), 0.0)
