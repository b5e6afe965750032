"""What may be read of a user's tensors, and how little of it is enough."""

import math
from typing import Any

import torch
from torch import Tensor

ROWS = 256  # as many rows tell what the others look like
LEAST = 32  # fewer values in [0, 1] are no evidence that they are probabilities


def readable(*values: Any) -> bool:
    """Whether these are plain tensors with numbers in them: no meta, fake or wrapped ones."""
    return all(
        isinstance(value, Tensor)
        and type(value) in (Tensor, torch.nn.Parameter)
        and value.device.type != "meta"
        and value.layout == torch.strided
        and not value.is_complex()
        and torch.func.debug_unwrap(value) is value
        for value in values
    )


def class_axis(tensor: Tensor) -> int:
    """Where PyTorch's losses look for the classes."""
    return 1 if tensor.dim() > 1 else 0


def rows_of(tensor: Tensor, axis: int | None = None, most: int = ROWS) -> Tensor:
    """The first rows in float64, classes last: (rows, classes)."""
    tensor = tensor.detach()
    axis = class_axis(tensor) if axis is None else axis
    if not tensor.numel():
        return torch.zeros(0, tensor.shape[axis] if tensor.dim() else 1, dtype=torch.float64)
    if tensor.dim() > 1 and axis != 0 and tensor.shape[0] > most:
        tensor = tensor[:most]
    flat = tensor.movedim(axis, -1).reshape(-1, tensor.shape[axis]) if tensor.dim() > 1 else tensor.reshape(1, -1)
    return flat[:most].double()


def tolerance(dtype: torch.dtype, terms: int) -> float:
    """How far from 1 a sum of that many rounded probabilities may be."""
    eps = torch.finfo(dtype).eps if dtype.is_floating_point else 0.0
    return min(max(1e-4, eps * math.sqrt(max(terms, 4)) * 4), 0.05)


def sums_to_one(tensor: Tensor, axis: int) -> bool:
    """Whether the entries along `axis` are non-negative and sum to 1, row for row."""
    rows = rows_of(tensor, axis)
    if rows.numel() == 0:
        return False
    near = (rows.sum(-1) - 1).abs() <= tolerance(tensor.dtype, rows.shape[-1])
    return bool((rows >= 0).all() and near.all())


def looks_like_probabilities(tensor: Any, axis: int) -> bool:
    """Rows that sum to 1, and enough values that it is no accident."""
    return (
        readable(tensor)
        and tensor.is_floating_point()
        and tensor.numel() >= LEAST
        and tensor.dim() > 1
        and tensor.shape[axis] > 1
        and sums_to_one(tensor, axis)
    )


def is_one_hot(target: Tensor, axis: int) -> bool:
    """Every row has a single 1 and zeros."""
    rows = rows_of(target, axis, 4096)
    return bool(rows.numel() and ((rows == 0) | (rows == 1)).all() and (rows.sum(-1) == 1).all())


def is_floating_target(given: Any, target: Any) -> bool:
    """Whether `target` would be taken for probabilities."""
    return isinstance(given, Tensor) and isinstance(target, Tensor) and target.shape == given.shape
