"""Targets of which few classes are "yes": lists of class indices, or a matrix in compressed rows."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lastlayer import kernels
from lastlayer.errors import DtypeError, ProbabilityError, ShapeError, TargetError
from lastlayer.functional import _checks


def compressed(
    target: Tensor | Sequence[Sequence[int] | Tensor], shape: tuple[int, int], device: torch.device
) -> kernels.Sparse:
    """Return sparse targets of a matrix (rows, classes) as the kernels take them.

    Raises:
        ShapeError: there is not one list per row, or the matrix has another shape.
        DtypeError: it is neither lists of integers nor a floating CSR tensor.
        TargetError: an index names no class.
        ProbabilityError: a stored value lies outside [0, 1].
    """
    if isinstance(target, Tensor):
        return _from_csr(target, shape)
    if not isinstance(target, Sequence):
        raise DtypeError(
            f"target has to be a tensor, or one list of class indices per row: got {type(target).__name__}. "
            "Pass [[3, 17], [], [4]] for three rows."
        )
    if len(target) != shape[0]:
        raise ShapeError(
            f"target needs one list of class indices per row: expected {shape[0]}, got {len(target)}. "
            "A row without any class is an empty list."
        )
    rows = [torch.as_tensor(row, dtype=torch.int64) for row in target]
    counts = torch.tensor([0, *(row.numel() for row in rows)])
    columns = torch.cat(rows) if rows else torch.empty(0, dtype=torch.int64)
    starts = counts.cumsum(0)
    _named(columns, starts, shape[1])
    return kernels.Sparse(starts.to(device), columns.to(device), torch.ones(len(columns), device=device), shape)


def _from_csr(target: Tensor, shape: tuple[int, int]) -> kernels.Sparse:
    if target.layout is not torch.sparse_csr:
        raise DtypeError(
            f"a sparse target has to be in CSR layout, got {target.layout}. Convert it: target.to_sparse_csr()."
        )
    if tuple(target.shape) != shape:
        raise ShapeError(f"target has to be of the shape of the logits, {shape}, got {tuple(target.shape)}.")
    values = target.values()
    _checks.is_floating("linear_binary_cross_entropy", target=values)
    if values.numel() and _checks.values_can_be_read(values) and not bool(((values >= 0) & (values <= 1)).all()):
        raise ProbabilityError(
            f"all elements of target should be between 0 and 1: found values from {float(values.min()):.4g} to "
            f"{float(values.max()):.4g}. Rescale the targets."
        )
    return kernels.Sparse(target.crow_indices().long(), target.col_indices().long(), values, shape)


def _named(columns: Tensor, starts: Tensor, classes: int) -> None:
    wrong = ((columns < 0) | (columns >= classes)).nonzero()
    if len(wrong):
        place = int(wrong[0])
        row = int(torch.searchsorted(starts, place, right=True)) - 1
        raise TargetError(
            f"Target {int(columns[place])} is out of bounds. Row {row} names class {int(columns[place])}, but the "
            f"{classes} classes are 0 to {classes - 1}. Relabel them from 0, or give the layer more outputs."
        )
