"""Cross-entropy of a linear layer."""

from typing import NamedTuple

import torch
from torch import Tensor

from lastlayer.kernels import _linear
from lastlayer.kernels._linear import Chunks, Gradients, Layer
from lastlayer.kernels._options import Options, Rows
from lastlayer.kernels.eager import _cross_entropy as dense
from lastlayer.kernels.eager._rows import Slice, losses, merge, row_scale, slope, stats
from lastlayer.kernels.eager._wide import wide

Pair = tuple[Tensor | None, Tensor | None]


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


class _Job(NamedTuple):
    """What every part of the rows is worked on with."""

    chunks: Chunks
    sums: Gradients
    target: Tensor  # safe to gather with
    weight: Tensor | None
    rows: Rows
    options: Options
    of_loss: float | None  # what reaches every loss, if it is one number and reaches nothing else


class _Part(NamedTuple):
    """Some rows, and what reaches them."""

    rows: slice
    gradients: Pair | None  # of loss and log-sum-exp; None in a forward that makes no gradients
    share: dense.Shares
    poison: Tensor | None


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
    chunks = Chunks(layer)
    share = dense.shares(target, weight, guard, options, wide(chunks.layer.features[:0]).dtype)
    of_loss = None if rows.at_once is None else _of_every_loss(gradients, target, guard, share, options)
    job = _Job(chunks, Gradients(layer, wanted), safe, weight, rows, options, of_loss)
    work = _whole_rows if len(job.chunks.classes) == 1 else _by_slices
    found = []
    for part in job.chunks.rows:
        of_part = None if gradients is None else _of(gradients, part, options)
        poison = None if guard is None else guard.poison[part].unsqueeze(-1)
        found.append(work(job, _Part(part, of_part, share.of(part), poison)))
    loss, lse = (torch.cat(x) if len(x) > 1 else x[0] for x in zip(*found, strict=True))
    return (dense.reduced(loss, lse, target, weight, guard, options), lse), job.sums.results()


def _of_every_loss(
    gradients: tuple[Tensor | None, ...] | None,
    target: Tensor,
    guard: dense.Guard | None,
    share: dense.Shares,
    options: Options,
) -> float | None:
    if gradients is None or gradients[0] is None or any(of_lse is not None for of_lse in gradients[1:]):
        return None
    if target.is_floating_point() or options.reduction == "none" or options.z_loss or not len(target):
        return None
    if guard is not None and not bool(guard.kept.all()):
        return None
    return float(gradients[0]) * float(share.loss.reshape(-1)[0])


def _whole_rows(job: _Job, part: _Part) -> tuple[Tensor, Tensor]:
    """Loss and log-sum-exp of some rows, whose logits fit."""
    (classes,) = job.chunks.classes
    z, target = job.chunks.logits(part.rows, classes), job.target[part.rows]
    if job.of_loss is not None and job.rows.at_once is not None:
        loss, lse = job.rows.at_once(z, target, job.weight, job.options, job.of_loss)
    else:
        loss, lse, kept = job.rows.read(z, target, job.weight, job.options)
        if part.gradients is not None:
            reaches = dense.per_row(part.gradients, lse, part.share, job.options)
            job.rows.slope(z, target, job.weight, job.options, kept, *reaches)
    if part.gradients is not None:
        job.sums.add(job.chunks.layer, part.rows, classes, z if part.poison is None else z.mul_(part.poison))
    return loss, lse


def _by_slices(job: _Job, part: _Part) -> tuple[Tensor, Tensor]:
    """The same in slices of the classes: what they say is merged, and the gradient takes a second look at each."""
    chunks, weight, options = job.chunks, job.weight, job.options
    target, seen = job.target[part.rows], None
    for columns in chunks.classes:
        z = chunks.logits(part.rows, columns)
        found = stats(z, _aimed(target, columns), _slice(chunks.layer, columns, weight), options)
        seen = found if seen is None else merge(seen, found)
    assert seen is not None  # noqa: S101 - there is always a slice, if of nothing
    loss, lse = losses(seen, target, weight, options)
    if part.gradients is None:
        return loss, lse
    upstream, scale = dense.per_row(part.gradients, lse, part.share, options), row_scale(target, weight, z)
    for columns in chunks.classes:
        z = chunks.logits(part.rows, columns)
        slope(z, _aimed(target, columns), seen, _slice(chunks.layer, columns, weight), scale, options, *upstream, z)
        job.sums.add(chunks.layer, part.rows, columns, z if part.poison is None else z.mul_(part.poison))
    return loss, lse


def _aimed(target: Tensor, columns: slice) -> Tensor:
    return target[:, columns] if target.is_floating_point() else target


def _slice(layer: Layer, columns: slice, weight: Tensor | None) -> Slice:
    return Slice(columns.start, len(layer.weight), None if weight is None else weight[columns])


def _of(gradients: tuple[Tensor | None, ...], part: slice, options: Options) -> Pair:
    of_total, of_lse = gradients if len(gradients) == 2 else (gradients[0], None)
    if of_total is not None and options.reduction == "none":
        of_total = of_total[part]
    return of_total, None if of_lse is None else of_lse[part]


_LOSS = _linear.Loss(_formula, _walk, _reduces, "cross_entropy")
