"""Cross-entropy of a linear layer."""

import torch
from torch import Tensor

from lastlayer.kernels import _linear
from lastlayer.kernels._linear import Chunks, Gradients, Layer
from lastlayer.kernels._options import Options, Rows
from lastlayer.kernels.eager import _cross_entropy as dense
from lastlayer.kernels.eager._rows import Slice, Stats, losses, merge, row_scale, slope, stats
from lastlayer.kernels.eager._wide import wide


def linear_cross_entropy(
    rows: Rows, layer: Layer, target: Tensor, weight: Tensor | None, options: Options, with_lse: bool
) -> tuple[Tensor, Tensor]:
    """The loss, and the log-sum-exp per row; `rows` is the backend's way with a chunk.

    Without `with_lse` ignored rows cost nothing, and the log-sum-exp returned is not to be used.
    """
    weight = None if weight is None else wide(weight)
    loss, lse = _linear.apply(_LOSS, layer, target, weight, rows, options, with_lse)
    return loss, lse


def _formula(
    layer: Layer, target: Tensor, weight: Tensor | None, rows: Rows, options: Options, with_lse: bool
) -> tuple[Tensor, Tensor]:
    return dense.formula(layer.logits(), target, weight, options)


def _reduces(target: Tensor, weight: Tensor | None, rows: Rows, options: Options, with_lse: bool) -> bool:
    return options.reduction != "none" and not with_lse


def _walk(
    layer: Layer,
    wanted: tuple[bool, bool, bool],
    gradients: tuple[Tensor | None, ...] | None,
    target: Tensor,
    weight: Tensor | None,
    rows: Rows,
    options: Options,
    with_lse: bool,
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor | None, ...]]:
    guard = dense.guard_of(target, len(layer.weight), options.ignore_index)
    if guard is None or with_lse or bool(guard.kept.all()):
        return _walk_all(layer, wanted, gradients, target, guard, weight, rows, options)
    kept = guard.kept.nonzero().squeeze(1)
    if gradients is not None and options.reduction == "none":
        gradients = tuple(None if g is None else g[kept] for g in gradients)
    remaining = dense.Guard(*(x[kept] for x in guard))
    (loss, lse), (of_features, *of_rest) = _walk_all(
        layer.of_rows(kept), wanted, gradients, target[kept], remaining, weight, rows, options
    )
    if options.reduction == "none":
        loss = loss.new_zeros(len(target)).index_copy_(0, kept, loss)
    if of_features is not None:
        of_features = torch.zeros_like(layer.features).index_copy_(0, kept, of_features)
    return (loss, lse), (of_features, *of_rest)


def _walk_all(
    layer: Layer,
    wanted: tuple[bool, bool, bool],
    gradients: tuple[Tensor | None, ...] | None,
    target: Tensor,
    guard: dense.Guard | None,
    weight: Tensor | None,
    rows: Rows,
    options: Options,
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor | None, ...]]:
    safe = target if guard is None else guard.target
    chunks, sums = Chunks(layer), Gradients(layer, wanted)
    share = dense.shares(target, weight, guard, options, wide(chunks.layer.features[:0]).dtype)
    found = []
    for part in chunks.rows:
        of_part = None if gradients is None else _of(gradients, part, options)
        poison = None if guard is None else guard.poison[part].unsqueeze(-1)
        work = _whole_rows if len(chunks.classes) == 1 else _by_slices
        found.append(work(chunks, sums, part, safe, weight, rows, options, of_part, share.of(part), poison))
    loss, lse = (torch.cat(x) if len(x) > 1 else x[0] for x in zip(*found, strict=True))
    return (dense.reduced(loss, lse, target, weight, guard, options), lse), sums.results()


Pair = tuple[Tensor | None, Tensor | None]


def _whole_rows(
    chunks: Chunks,
    sums: Gradients,
    part: slice,
    target: Tensor,
    weight: Tensor | None,
    rows: Rows,
    options: Options,
    gradients: Pair | None,
    share: dense.Shares,
    poison: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Loss and log-sum-exp of the rows `part`, whose logits fit."""
    (classes,) = chunks.classes
    z, target = chunks.logits(part, classes), target[part]
    loss, lse, kept = rows.read(z, target, weight, options)
    if gradients is not None:
        rows.slope(z, target, weight, options, kept, *dense.per_row(gradients, lse, share, options))
        sums.add(chunks.layer, part, classes, z if poison is None else z.mul_(poison))
    return loss, lse


def _by_slices(
    chunks: Chunks,
    sums: Gradients,
    part: slice,
    target: Tensor,
    weight: Tensor | None,
    rows: Rows,
    options: Options,
    gradients: Pair | None,
    share: dense.Shares,
    poison: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """The same in slices of the classes: what they say is merged, and the gradient takes a second look at each."""
    seen: Stats | None = None
    for columns in chunks.classes:
        z = chunks.logits(part, columns)
        found = stats(z, _part(target, part, columns), _slice(chunks.layer, columns, weight), options)
        seen = found if seen is None else merge(seen, found)
    assert seen is not None  # noqa: S101 - there is always a slice, if of nothing
    loss, lse = losses(seen, target[part], weight, options)
    if gradients is None:
        return loss, lse
    upstream, scale = dense.per_row(gradients, lse, share, options), row_scale(target[part], weight, z)
    for columns in chunks.classes:
        z = chunks.logits(part, columns)
        aimed, of_slice = _part(target, part, columns), _slice(chunks.layer, columns, weight)
        slope(z, aimed, seen, of_slice, scale, options, *upstream, z)
        sums.add(chunks.layer, part, columns, z if poison is None else z.mul_(poison))
    return loss, lse


def _part(target: Tensor, part: slice, columns: slice) -> Tensor:
    return target[part, columns] if target.is_floating_point() else target[part]


def _slice(layer: Layer, columns: slice, weight: Tensor | None) -> Slice:
    return Slice(columns.start, len(layer.weight), None if weight is None else weight[columns])


def _of(gradients: tuple[Tensor | None, ...], part: slice, options: Options) -> tuple[Tensor | None, Tensor | None]:
    of_total, of_lse = gradients if len(gradients) == 2 else (gradients[0], None)
    if of_total is not None and options.reduction == "none":
        of_total = of_total[part]
    return of_total, None if of_lse is None else of_lse[part]


_LOSS = _linear.Loss(_formula, _walk, _reduces, "cross_entropy")
