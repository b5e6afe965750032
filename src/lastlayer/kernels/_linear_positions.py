"""Cross-entropy of a linear layer with K-dimensional predictions: at each of some positions, one of the same classes.

The weight is taken position by position, its classes side by side: then a chunk of logits (rows, positions · classes)
is a chunk of rows · positions rows to the kernel between the products.
"""

import torch
from torch import Tensor

from lastlayer.kernels import _linear
from lastlayer.kernels._chunks import pieces, plan_of_positions
from lastlayer.kernels._linear import Chunks, Gradients, Layer
from lastlayer.kernels._options import Options, Rows
from lastlayer.kernels.eager import _cross_entropy as dense
from lastlayer.kernels.eager._wide import wide


def linear_cross_entropy_of_positions(
    rows: Rows, layer: Layer, classes: int, target: Tensor, weight: Tensor | None, options: Options, with_lse: bool
) -> tuple[Tensor, Tensor]:
    """The loss, and the log-sum-exp (rows, positions).

    The weight of `layer` is (positions · classes, features); `target` holds indices (rows, positions) or probabilities
    (rows, positions, classes).
    """
    weight = None if weight is None else wide(weight)
    loss, lse = _linear.apply(_LOSS, layer, target, weight, rows, classes, options, with_lse)
    return loss, lse


def _formula(
    layer: Layer,
    target: Tensor,
    weight: Tensor | None,
    rows: Rows,
    classes: int,
    options: Options,
    with_lse: bool,
) -> tuple[Tensor, Tensor]:
    return dense.formula(
        layer.logits().reshape(len(layer.features), len(layer.weight) // classes, classes), target, weight, options
    )


def _reduces(target: Tensor, weight: Tensor | None, rows: Rows, classes: int, options: Options, with_lse: bool) -> bool:
    return options.reduction != "none" and not with_lse


def _walk(
    layer: Layer,
    wanted: tuple[bool, bool, bool],
    gradients: tuple[Tensor | None, ...] | None,
    target: Tensor,
    weight: Tensor | None,
    rows: Rows,
    classes: int,
    options: Options,
    with_lse: bool,
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor | None, ...]]:
    shape = (len(layer.features), len(layer.weight) // classes)
    guard = dense.guard_of(target, classes, options.ignore_index)
    safe = target if guard is None else guard.target
    steps = plan_of_positions(*shape, classes, layer.features.element_size())
    chunks = Chunks(layer, (steps[0], steps[1] * classes))
    sums = Gradients(layer, wanted)
    share = _shares(target, weight, guard, options, wide(chunks.layer.features[:0]).dtype, shape)
    found: list[tuple[Tensor, Tensor]] = []  # loss and log-sum-exp of a chunk
    for part in pieces(shape[0], steps[0]):
        for places in pieces(shape[1], steps[1]):
            columns = slice(places.start * classes, places.stop * classes)
            z = chunks.logits(part, columns).view(-1, classes)
            aimed = safe[part, places].flatten(0, 1)
            of_loss, of_lse, kept = rows.read(z, aimed, weight, options)
            size = (part.stop - part.start, places.stop - places.start)
            found.append((of_loss.view(size), of_lse.view(size)))
            if gradients is None:
                continue
            chosen = [_chosen(g, part, places, options.reduction == "none" or i == 1) for i, g in enumerate(gradients)]
            of_part = dense.Shares(*(x if x.dim() == 0 else x[part, places].reshape(-1, 1) for x in share))
            pair = chosen[0], chosen[1] if len(chosen) > 1 else None
            rows.slope(z, aimed, weight, options, kept, *dense.per_row(pair, of_lse, of_part, options))
            if guard is not None:
                z.mul_(guard.poison[part, places].reshape(-1, 1))
            sums.add(chunks.layer, part, columns, z.view(size[0], -1))
    loss, lse = (_joined(x, len(pieces(shape[1], steps[1]))) for x in zip(*found, strict=True))
    return (dense.reduced(loss, lse, target, weight, guard, options), lse), sums.results()


def _joined(chunks: tuple[Tensor, ...], in_a_row: int) -> Tensor:
    """Chunks (rows, positions), row by row of chunks."""
    bands = [torch.cat(chunks[start : start + in_a_row], 1) for start in range(0, len(chunks), in_a_row)]
    return torch.cat(bands)


def _shares(
    target: Tensor,
    weight: Tensor | None,
    guard: dense.Guard | None,
    options: Options,
    dtype: torch.dtype,
    shape: tuple[int, int],
) -> dense.Shares:
    """Those of every row and position."""
    flat = None if guard is None else dense.Guard(*(x.reshape(-1) for x in guard))
    found = dense.shares(target.flatten(0, 1), weight, flat, options, dtype)
    return dense.Shares(*(x if x.dim() == 0 else x.reshape(shape) for x in found))


def _chosen(gradient: Tensor | None, part: slice, places: slice, of_each: bool) -> Tensor | None:
    return gradient if gradient is None or not of_each else gradient[part, places].reshape(-1)


_LOSS = _linear.Loss(_formula, _walk, _reduces, "cross_entropy")
