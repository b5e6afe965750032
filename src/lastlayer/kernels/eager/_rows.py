"""Cross-entropy by hand: a few numbers per row of logits in the forward, p computed anew in the backward.

A row may be seen whole or in slices of its classes: what two slices say is merged without a loss of digits, since
every number kept is a sum of terms of one sign.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from lastlayer.kernels._options import Options, Rows, counts
from lastlayer.kernels.eager._softmax import adjusted, blocks, row, terms_from
from lastlayer.kernels.eager._wide import share, summed, wide


class Stats(NamedTuple):
    """What a slice of logits says about each row: wide tensors of shape (rows, 1)."""

    top: Tensor  # the largest u
    others: Tensor  # S: Σ exp(u − top) over every class but the largest
    own: Tensor  # u of the class index; 0 where the slice does not hold it, or where targets are probabilities
    mass: Tensor  # Σ of what the target gives to each class: probabilities, or the smoothing; times the class weights
    rest: Tensor  # the same without the largest class
    dot: Tensor  # Σ mass · (top − u), where 0 · ∞ is 0


class Slice(NamedTuple):
    """Which classes a block of logits holds, and what is theirs."""

    first: int  # the class of its first column
    classes: int  # of the whole row
    weight: Tensor | None  # class weights of its columns, wide


def stats(z: Tensor, target: Tensor, part: Slice, options: Options) -> Stats:
    """Read plain logits (rows, columns); `target` holds indices (rows) or probabilities (rows, columns)."""
    found = [_stats(z[block], target[block], part, options) for block in blocks(z)]
    return found[0] if len(found) == 1 else Stats(*map(torch.cat, zip(*found, strict=True)))


def _stats(z: Tensor, target: Tensor, part: Slice, options: Options) -> Stats:
    seen = row(z, -1, options.softcap, options.temperature)
    nothing = torch.zeros_like(seen.top)
    own, mass, rest, dot = nothing, nothing, nothing, nothing
    if not target.is_floating_point():
        column, inside = _column(target, part, z.shape[1])
        own = adjusted(z.gather(-1, column), options.softcap, options.temperature)
        own = own if inside is None else own.where(inside, 0.0)
    if target.is_floating_point() or options.label_smoothing:
        given = _mass(target, part, options, seen.below)
        others = given.scatter(-1, seen.where, 0.0)
        apart = given * seen.below.neg().masked_fill_(given == 0, 0.0)
        mass, rest, dot = (summed(x).unsqueeze(-1) for x in (given, others, apart))
    return Stats(seen.top, seen.sum_of_others(seen.terms()), own, mass, rest, dot)


def _column(target: Tensor, part: Slice, columns: int) -> tuple[Tensor, Tensor | None]:
    """Where each index stands in the slice, and whether it does; None if the slice is the whole row."""
    column = target.unsqueeze(-1)
    if columns == part.classes:
        return column, None
    column = column - part.first
    inside = (column >= 0) & (column < columns)
    return column.where(inside, 0), inside


def _mass(target: Tensor, part: Slice, options: Options, like: Tensor) -> Tensor:
    """(rows, columns): the share of the loss that each class has, apart from a class index."""
    smoothing = options.label_smoothing
    if target.is_floating_point():
        given = smooth(wide(target), smoothing, part.classes)
    else:
        given = torch.full_like(like, smoothing / part.classes)
    return given if part.weight is None else given * part.weight


def smooth(probabilities: Tensor, smoothing: float, classes: int) -> Tensor:
    """(1 − ε) · q + ε / classes."""
    return probabilities * (1 - smoothing) + smoothing / classes if counts(smoothing, 0.0) else probabilities


def merge(one: Stats, other: Stats) -> Stats:
    """What two slices of the same rows say together."""
    top = torch.maximum(one.top, other.top)
    wins = one.top >= other.top
    return Stats(
        top,
        _sum_from(top, one, wins) + _sum_from(top, other, ~wins),
        one.own + other.own,
        one.mass + other.mass,
        torch.where(wins, one.rest + other.mass, one.mass + other.rest),
        _dot_from(top, one) + _dot_from(top, other),
    )


def _sum_from(top: Tensor, seen: Stats, holds_top: Tensor) -> Tensor:
    """Σ exp(u − top) of a slice; without its largest where that is the largest of all."""
    terms = torch.where(holds_top, seen.others, (1 + seen.others) * torch.exp(seen.top - top))
    return terms.masked_fill(_ruled_out(top, seen), 0.0)


def _dot_from(top: Tensor, seen: Stats) -> Tensor:
    moved = seen.dot + seen.mass * (top - seen.top).masked_fill(seen.mass == 0, 0.0)
    nothing = _ruled_out(top, seen)
    return torch.where(nothing, torch.where(seen.mass == 0, 0.0, float("inf")), moved)


def _ruled_out(top: Tensor, seen: Stats) -> Tensor:
    """Whether the slice is −inf throughout where the row is not."""
    return (seen.top == -float("inf")) & (top > seen.top)


def losses(seen: Stats, target: Tensor, weight: Tensor | None, options: Options) -> tuple[Tensor, Tensor]:
    """Loss and log-sum-exp of whole rows, (rows), wide; `weight` holds the weights of all classes."""
    log_sum = torch.log1p(seen.others)
    lse = (seen.top + log_sum).squeeze(-1)
    spread = (seen.mass * log_sum + seen.dot).squeeze(-1)
    if target.is_floating_point():
        return spread, lse
    loss = (log_sum - (seen.own - seen.top)).squeeze(-1)
    if weight is not None:
        loss = share(of_class(weight, target), loss)
    return (1 - options.label_smoothing) * loss + spread if options.label_smoothing else loss, lse


def of_class(weight: Tensor, target: Tensor) -> Tensor:
    """The weight of each target; indexing by a 0-dimensional tensor would read it."""
    return weight.index_select(0, target.reshape(-1)).reshape(target.shape)


def slope(
    z: Tensor,
    target: Tensor,
    seen: Stats,
    part: Slice,
    scale: Tensor,
    options: Options,
    of_loss: Tensor | None,
    of_lse: Tensor | None,
    out: Tensor,
) -> None:
    """Write the gradient into `out`, which may be `z`.

    Args:
        z: Logits (rows, columns), a slice of rows that `seen` tells all about.
        target: Indices (rows) or probabilities (rows, columns).
        seen: The merged numbers of whole rows.
        part: Which classes the columns are.
        scale: The class weight of each index (rows, 1), or 1.
        options: Of the loss.
        of_loss: What reaches each row's loss: () or (rows, 1).
        of_lse: What reaches each row's log-sum-exp: (rows, 1).
        out: (rows, columns).
    """
    for block in blocks(z):
        own = Stats(*(x[block] for x in seen))
        p = terms_from(z[block], own.top, options.softcap, options.temperature).div_(1 + own.others)
        result = None if of_lse is None else p * of_lse[block]
        if of_loss is not None:
            upstream = of_loss if of_loss.dim() == 0 else of_loss[block]
            row_scale = scale if scale.dim() == 0 else scale[block]
            through_loss = _slope(p, target[block], own, part, row_scale, options, upstream)
            result = through_loss if result is None else result.add_(through_loss)
        assert result is not None  # noqa: S101 - autograd calls a backward only when an output has a gradient
        if options.softcap is not None:
            result.mul_(1 - torch.tanh(wide(z[block]) / options.softcap) ** 2)
        if options.temperature != 1.0:
            result.div_(options.temperature)
        out[block] = result


def _slope(
    p: Tensor, target: Tensor, seen: Stats, part: Slice, scale: Tensor, options: Options, upstream: Tensor
) -> Tensor:
    """∂loss/∂u times `upstream`; `p` is used up. 1 − p of the largest class is S / (1 + S), what the others have."""
    share_of_others = seen.others / (1 + seen.others)
    if target.is_floating_point():
        given = _mass(target, part, options, p)
        largest = seen.rest - seen.mass * share_of_others
        return torch.where(p > 0.5, largest, p.mul_(seen.mass).sub_(given)).mul_(upstream)
    column, inside = _column(target, part, p.shape[1])
    own = p.gather(-1, column)
    own_slope = torch.where(seen.own == seen.top, -share_of_others, own - 1)
    own_slope = own_slope if inside is None else own_slope.where(inside, own)
    smoothing = options.label_smoothing
    if not smoothing:
        return p.scatter_(-1, column, own_slope).mul_(scale * upstream)
    each = smoothing / part.classes
    spread = p * seen.mass
    spread.sub_(each if part.weight is None else each * part.weight)
    return p.scatter_(-1, column, own_slope).mul_(scale * upstream * (1 - smoothing)).add_(spread.mul_(upstream))


def _read(
    z: Tensor, target: Tensor, weight: Tensor | None, options: Options
) -> tuple[Tensor, Tensor, tuple[Stats, Slice]]:
    part = Slice(0, z.shape[1], weight)
    seen = stats(z, target, part, options)
    return *losses(seen, target, weight, options), (seen, part)


def _write(
    z: Tensor,
    target: Tensor,
    weight: Tensor | None,
    options: Options,
    kept: tuple[Stats, Slice],
    of_loss: Tensor | None,
    of_lse: Tensor | None,
) -> None:
    slope(z, target, *kept, row_scale(target, weight, z), options, of_loss, of_lse, z)


def row_scale(target: Tensor, weight: Tensor | None, like: Tensor) -> Tensor:
    """The class weight of each index, (rows, 1); 1 without weights, or where the target spreads them itself."""
    if weight is None or target.is_floating_point():
        return torch.ones((), dtype=wide(like[:0]).dtype, device=like.device)
    return of_class(weight, target).unsqueeze(-1)


cross_entropy_rows = Rows(_read, _write)
