"""Cross-entropy of a linear layer."""

from types import ModuleType

import torch
from torch import Tensor

from lastlayer.kernels import _linear
from lastlayer.kernels._linear import Chunks, Gradients, Layer
from lastlayer.kernels._options import Options
from lastlayer.kernels.eager import _cross_entropy as dense
from lastlayer.kernels.eager._rows import Slice, Stats, losses, merge
from lastlayer.kernels.eager._wide import wide


def linear_cross_entropy(
    rows: ModuleType, layer: Layer, target: Tensor, weight: Tensor | None, options: Options, with_lse: bool
) -> tuple[Tensor, Tensor]:
    """The loss, and the log-sum-exp per row.

    `rows` offers `stats` and `slope` as kernels/eager/_rows.py does. Without `with_lse` ignored rows cost nothing, and
    the log-sum-exp returned is not to be used.
    """
    weight = None if weight is None else wide(weight)
    loss, lse = _linear.apply(_LOSS, layer, target, weight, rows, options, with_lse)
    return loss, lse


def _formula(
    layer: Layer, target: Tensor, weight: Tensor | None, rows: ModuleType, options: Options, with_lse: bool
) -> tuple[Tensor, Tensor]:
    return dense.formula(layer.logits(), target, weight, options)


def _reduces(target: Tensor, weight: Tensor | None, rows: ModuleType, options: Options, with_lse: bool) -> bool:
    return options.reduction != "none" and not with_lse


def _walk(
    layer: Layer,
    wanted: tuple[bool, bool, bool],
    gradients: tuple[Tensor | None, ...] | None,
    target: Tensor,
    weight: Tensor | None,
    rows: ModuleType,
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
    rows: ModuleType,
    options: Options,
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor | None, ...]]:
    safe = target if guard is None else guard.target
    chunks, sums = Chunks(layer), Gradients(layer, wanted)
    like = wide(chunks.layer.features[:0])
    share = dense.shares(target, weight, guard, options, like.dtype)
    scale = dense.row_scale(safe, weight, like)
    found = []
    for part in chunks.rows:
        seen, last = _see(chunks, part, safe, weight, rows, options)
        found.append(seen)
        if gradients is None:
            continue
        of_loss, of_lse = dense.per_row(_of(gradients, part, options), seen, share.of(part), options)
        poison = None if guard is None else guard.poison[part].unsqueeze(-1)
        for columns in chunks.classes:
            z = last if len(chunks.classes) == 1 else chunks.logits(part, columns)
            aimed, of_slice = _part(safe, part, columns), _slice(layer, columns, weight)
            row_scale = scale if scale.dim() == 0 else scale[part]
            rows.slope(z, aimed, seen, of_slice, row_scale, options, of_loss, of_lse, z)
            if poison is not None:
                z.mul_(poison)
            sums.add(chunks.layer, part, columns, z)
    seen = found[0] if len(found) == 1 else Stats(*map(torch.cat, zip(*found, strict=True)))
    loss, lse = losses(seen, safe, weight, options)
    return (dense.reduced(loss, lse, target, weight, guard, options), lse), sums.results()


def _see(
    chunks: Chunks, part: slice, target: Tensor, weight: Tensor | None, rows: ModuleType, options: Options
) -> tuple[Stats, Tensor]:
    """What all classes say about the rows `part`, and the logits of the last slice of classes."""
    seen: Stats | None = None
    for columns in chunks.classes:
        z = chunks.logits(part, columns)
        found = rows.stats(z, _part(target, part, columns), _slice(chunks.layer, columns, weight), options)
        seen = found if seen is None else merge(seen, found)
    assert seen is not None  # noqa: S101 - there is always a slice, if of nothing
    return seen, z


def _part(target: Tensor, part: slice, columns: slice) -> Tensor:
    return target[part, columns] if target.is_floating_point() else target[part]


def _slice(layer: Layer, columns: slice, weight: Tensor | None) -> Slice:
    return Slice(columns.start, len(layer.weight), None if weight is None else weight[columns])


def _of(gradients: tuple[Tensor | None, ...], part: slice, options: Options) -> tuple[Tensor | None, Tensor | None]:
    of_total, of_lse = gradients if len(gradients) == 2 else (gradients[0], None)
    if of_total is not None and options.reduction == "none":
        of_total = of_total[part]
    return of_total, None if of_lse is None else of_lse[part]


_LOSS = _linear.Loss(_formula, _walk, _reduces)
