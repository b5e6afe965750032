"""Binary cross-entropy of a linear layer: every element by itself, so any chunk will do."""

from typing import NamedTuple

import torch
from torch import Tensor

from lastlayer.kernels import _linear
from lastlayer.kernels._linear import Chunks, Gradients, Layer
from lastlayer.kernels._options import BinaryOptions, Elements
from lastlayer.kernels.eager import _binary_cross_entropy as dense
from lastlayer.kernels.eager._wide import wide


class Sparse(NamedTuple):
    """Targets (rows, classes) that are 0 but for a few, in compressed rows."""

    starts: Tensor  # (rows + 1) int64: where each row's entries begin
    columns: Tensor  # (entries) int64
    values: Tensor  # (entries)
    shape: tuple[int, int]

    def dense(self, rows: slice, columns: slice, dtype: torch.dtype) -> Tensor:
        """Return a chunk as a matrix."""
        starts = self.starts[rows.start : rows.stop + 1]
        entries = slice(int(starts[0]), int(starts[-1]))
        row = torch.repeat_interleave(torch.arange(len(starts) - 1, device=starts.device), starts.diff())
        column = self.columns[entries] - columns.start
        inside = (column >= 0) & (column < columns.stop - columns.start)
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        chunk = torch.zeros(shape, dtype=dtype, device=starts.device)
        chunk[row[inside], column[inside]] = self.values[entries][inside].to(dtype)
        return chunk


Target = Tensor | Sparse


def linear_binary_cross_entropy(
    elements: Elements,
    layer: Layer,
    target: Target,
    weight: Tensor | None,
    pos_weight: Tensor | None,
    options: BinaryOptions,
) -> Tensor:
    """The reduced loss; `weight` and `pos_weight` broadcast to the logits (rows, classes)."""
    return _linear.apply(_LOSS, layer, target, weight, pos_weight, elements, options)[0]


def _formula(
    layer: Layer,
    target: Target,
    weight: Tensor | None,
    pos_weight: Tensor | None,
    elements: Elements,
    options: BinaryOptions,
) -> tuple[Tensor]:
    z = layer.logits()
    y = target if isinstance(target, Tensor) else target.dense(slice(0, z.shape[0]), slice(0, z.shape[1]), z.dtype)
    return dense.formula(z, y, weight, pos_weight, options)


def _reduces(
    target: Target, weight: Tensor | None, pos_weight: Tensor | None, elements: Elements, options: BinaryOptions
) -> bool:
    return options.reduction != "none"


def _walk(
    layer: Layer,
    wanted: tuple[bool, bool, bool],
    gradients: tuple[Tensor, ...] | None,
    target: Target,
    weight: Tensor | None,
    pos_weight: Tensor | None,
    elements: Elements,
    options: BinaryOptions,
) -> tuple[tuple[Tensor], tuple[Tensor | None, ...]]:
    shape = (len(layer.features), len(layer.weight))
    chunks, sums = Chunks(layer), Gradients(layer, wanted)
    each = options.reduction == "none"
    results = torch.empty(shape, dtype=options.dtype, device=layer.features.device) if each else None
    totals = []
    upstream = None if gradients is None else wide(gradients[0])
    if upstream is not None and options.reduction == "mean":
        upstream = upstream / (shape[0] * shape[1])
    for rows in chunks.rows:
        for columns in chunks.classes:
            z = chunks.logits(rows, columns)
            y = target[rows, columns] if isinstance(target, Tensor) else target.dense(rows, columns, z.dtype)
            weights = [None if x is None else torch.broadcast_to(x, shape)[rows, columns] for x in (weight, pos_weight)]
            if results is not None:
                results[rows, columns] = elements.losses(z, y, *weights, options)
            else:
                totals.append(elements.total(z, y, *weights, options))
            if upstream is not None:
                scale = upstream[rows, columns] if each else upstream
                elements.slope(z, y, *weights, scale, options)
                sums.add(chunks.layer, rows, columns, z)
    if results is not None:
        return (results,), sums.results()
    total = torch.stack(totals).sum()
    return (
        (total / (shape[0] * shape[1]) if options.reduction == "mean" else total).to(options.dtype),
    ), sums.results()


_LOSS = _linear.Loss(_formula, _walk, _reduces, "bce_with_logits")
