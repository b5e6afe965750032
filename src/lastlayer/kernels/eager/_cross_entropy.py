"""Cross-entropy, classes on the last axis.

For a class index y the loss is log1p(S) − (z_y − max z): two terms that are never negative, so nothing cancels,
whether y is the confident class (the first term is all there is) or a hopeless one (the second is). Its gradient at y
is p_y − 1, or −S / (1 + S) where y is the confident class: what the other classes have.

The reduction belongs to the kernel: each autograd node around it would cost a small batch as much as the loss itself.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from lastlayer.kernels._options import Options
from lastlayer.kernels.eager import _autograd
from lastlayer.kernels.eager._softmax import blocks, log_sum_exp, row, shift
from lastlayer.kernels.eager._wide import wide


def cross_entropy(logits: Tensor, target: Tensor, weight: Tensor | None, options: Options) -> tuple[Tensor, Tensor]:
    """The loss, and the log-sum-exp per row in the wide dtype.

    `logits` are (*rows, classes), `target` indices (*rows) or probabilities (*rows, classes), `weight` (classes).
    """
    if not logits.shape[-1]:  # a sum over no classes
        nothing = wide(logits).sum(-1)
        return _total(nothing, nothing, target, None, None, options), nothing - float("inf")
    loss, lse = _autograd.apply(_RULE, logits, target, None if weight is None else wide(weight), options)
    return loss, lse


def nll_loss(log_probabilities: Tensor, target: Tensor, weight: Tensor | None, options: Options) -> Tensor:
    """−w_y · log p_y of log-probabilities (*rows, classes), reduced."""
    guard = _guard(target, log_probabilities.shape[-1], options.ignore_index)
    safe = target if guard is None else guard.target
    loss = -wide(log_probabilities.gather(-1, safe.unsqueeze(-1)).squeeze(-1))
    row_weight = None if weight is None else _of(wide(weight), safe)
    return _reduced(loss if row_weight is None else loss * row_weight, row_weight, guard, options).to(options.dtype)


class Guard(NamedTuple):
    """Indices that nobody has read."""

    target: Tensor  # 0 where the row is ignored or its index names no class: safe to gather with
    kept: Tensor  # whether the row counts
    poison: Tensor  # 1, or NaN where the index names no class


def _guard(target: Tensor, classes: int, ignore_index: int | None) -> Guard | None:
    if ignore_index is None or target.is_floating_point():
        return None
    kept = target != ignore_index
    named = (target >= 0) & (target < classes)
    return Guard(torch.where(named & kept, target, 0), kept, torch.where(named | ~kept, 1.0, float("nan")))


def _reduced(loss: Tensor, row_weight: Tensor | None, guard: Guard | None, options: Options) -> Tensor:
    """Reduce a loss per row."""
    if guard is not None:
        # A factor, not torch.where: the gradient of a row with a bad index has to be NaN as well.
        loss = torch.where(guard.kept, loss * guard.poison, 0.0)
    if options.reduction == "none":
        return loss
    if options.reduction == "sum":
        return loss.sum()
    return loss.sum() / _count(loss.shape.numel(), row_weight, guard, options)


def _of(weight: Tensor, target: Tensor) -> Tensor:
    """The weight of each target; indexing by a 0-dimensional tensor would read it."""
    return weight.index_select(0, target.reshape(-1)).reshape(target.shape)


def _count(rows: int, row_weight: Tensor | None, guard: Guard | None, options: Options) -> Tensor | int:
    """What "mean" divides by: the weights of the rows kept."""
    if row_weight is not None:
        counted = row_weight if guard is None else torch.where(guard.kept, row_weight, 0.0)
    elif guard is not None:
        counted = guard.kept
    else:
        return rows or int(options.empty == "zero")
    count = counted.sum()
    return torch.where(count == 0, 1, count) if options.empty == "zero" else count


# The formula: differentiable in the logits, the probabilities and the weight.


def _formula(logits: Tensor, target: Tensor, weight: Tensor | None, options: Options) -> tuple[Tensor, Tensor]:
    guard = _guard(target, logits.shape[-1], options.ignore_index)
    # An ignored row is replaced before anything is computed from it: 0 · NaN would be NaN.
    counted = logits if guard is None else logits.masked_fill(~guard.kept.unsqueeze(-1), 0.0)
    seen = shift(counted, -1, options.softcap, options.temperature)
    lse = seen.lse.squeeze(-1)
    safe = target if guard is None else guard.target
    loss = _loss_per_row(seen.below, seen.log_sum, safe, weight, options)
    total = _total(loss, lse, target, weight, guard, options)
    return total, lse if guard is None else log_sum_exp(logits, options.softcap, options.temperature)


def _loss_per_row(below: Tensor, log_sum: Tensor, target: Tensor, weight: Tensor | None, options: Options) -> Tensor:
    smoothing = options.label_smoothing
    if target.is_floating_point():
        return _expected(log_sum - below, _smooth(wide(target), smoothing), weight)
    loss = (log_sum - below.gather(-1, target.unsqueeze(-1))).squeeze(-1)
    if weight is not None:
        loss = loss * _of(weight, target)
    if not smoothing:
        return loss
    uniform = torch.full((), smoothing / below.shape[-1], dtype=below.dtype, device=below.device)
    return (1 - smoothing) * loss + _expected(log_sum - below, uniform, weight)


def _expected(surprise: Tensor, q: Tensor, weight: Tensor | None) -> Tensor:
    """Surprise expected under `q`; a class that `q` rules out adds 0, though its surprise be infinite."""
    terms = q * surprise.masked_fill((q == 0) & (surprise == float("inf")), 0.0)
    return (terms if weight is None else terms * weight).sum(-1)


def _smooth(probabilities: Tensor, smoothing: float) -> Tensor:
    return probabilities * (1 - smoothing) + smoothing / probabilities.shape[-1] if smoothing else probabilities


def _total(
    loss: Tensor, lse: Tensor, target: Tensor, weight: Tensor | None, guard: Guard | None, options: Options
) -> Tensor:
    """The reduced loss in its own dtype, the z-loss included."""
    total = _reduced(loss, _row_weight(target, weight, guard), guard, options)
    if options.z_loss:
        total = total + _reduced(options.z_loss * lse**2, None, guard, options)
    return total.to(options.dtype)


def _row_weight(target: Tensor, weight: Tensor | None, guard: Guard | None) -> Tensor | None:
    if weight is None or target.is_floating_point():
        return None
    return _of(weight, target if guard is None else guard.target)


# The same by hand, block by block of rows. The forward keeps two numbers per row, the backward computes p anew.


def _forward(
    logits: Tensor, target: Tensor, weight: Tensor | None, options: Options
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    z, t, guard = _flat(logits, target, options)
    safe = t if guard is None else guard.target
    parts = [_forward_block(z[block], safe[block], weight, options) for block in blocks(z)]
    loss, others, top = parts[0] if len(parts) == 1 else map(torch.cat, zip(*parts, strict=True))
    lse = (top + torch.log1p(others)).squeeze(-1)
    total = _total(loss, lse, t, weight, guard, options)
    if logits.dim() == 2:
        return (total, lse), (others, top)
    rows = logits.shape[:-1]
    return (total.reshape(rows) if options.reduction == "none" else total, lse.reshape(rows)), (others, top)


def _forward_block(z: Tensor, target: Tensor, weight: Tensor | None, options: Options) -> tuple[Tensor, Tensor, Tensor]:
    """Loss per row, S and the largest logit of a block."""
    seen = row(z, -1, options.softcap, options.temperature)
    if target.is_floating_point() or options.label_smoothing:
        below = seen.below.clone()
        others = seen.sum_of_others(seen.terms())
        return _loss_per_row(below, torch.log1p(others), target, weight, options), others, seen.top
    own = seen.below.gather(-1, target.unsqueeze(-1))
    others = seen.sum_of_others(seen.terms())
    loss = (torch.log1p(others) - own).squeeze(-1)
    return loss if weight is None else loss * _of(weight, target), others, seen.top


def _backward(
    gradients: tuple[Tensor | None, Tensor | None],
    kept: tuple[Tensor, Tensor],
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    options: Options,
) -> Tensor:
    z, t, guard = _flat(logits, target, options)
    safe = t if guard is None else guard.target
    others, top = kept
    of_loss, of_lse = _per_row(gradients, t, weight, guard, top + torch.log1p(others), options)
    result = torch.empty_like(z)
    for block in blocks(z):
        seen = row(z[block], -1, options.softcap, options.temperature)
        at_largest = seen.below.gather(-1, safe[block].unsqueeze(-1)) == 0 if not t.is_floating_point() else None
        p = seen.terms().div_(1 + others[block])
        slope = None if of_lse is None else p * of_lse[block]
        if of_loss is not None:
            upstream = of_loss if of_loss.dim() == 0 else of_loss[block]
            of_target = _slope(p, at_largest, others[block], safe[block], weight, options.label_smoothing, upstream)
            slope = of_target if slope is None else slope.add_(of_target)
        assert slope is not None  # noqa: S101 - autograd calls a backward only when an output has a gradient
        if options.softcap is not None:
            slope.mul_(1 - torch.tanh(wide(z[block]) / options.softcap) ** 2)
        if options.temperature != 1.0:
            slope.div_(options.temperature)
        result[block] = slope
    if guard is not None:
        # Nothing reaches an ignored row, unless its log-sum-exp is used: 0 · NaN would be NaN.
        idle = ~guard.kept if of_lse is None else ~guard.kept & (of_lse == 0).squeeze(-1)
        result.masked_fill_(idle.unsqueeze(-1), 0.0).mul_(guard.poison.unsqueeze(-1))
    return result.reshape(logits.shape)


def _per_row(
    gradients: tuple[Tensor | None, Tensor | None],
    target: Tensor,
    weight: Tensor | None,
    guard: Guard | None,
    lse: Tensor,
    options: Options,
) -> tuple[Tensor | None, Tensor | None]:
    """Undo the reduction: what reaches each row's loss (a scalar where all are alike) and each row's log-sum-exp."""
    of_total, of_lse = gradients
    of_lse = None if of_lse is None else of_lse.reshape(-1, 1)
    if of_total is None:
        return None, of_lse
    upstream = wide(of_total)
    if options.reduction == "none":
        upstream = upstream.reshape(-1, 1)
    of_loss = of_penalty = upstream if guard is None else torch.where(guard.kept.unsqueeze(-1), upstream, 0.0)
    if options.reduction == "mean":
        of_loss = of_loss / _count(len(target), _row_weight(target, weight, guard), guard, options)
        of_penalty = of_penalty / _count(len(target), None, guard, options)
    if options.z_loss:
        of_penalty = of_penalty * 2 * options.z_loss * lse
        if guard is not None:
            of_penalty = of_penalty.masked_fill(~guard.kept.unsqueeze(-1), 0.0)
        of_lse = of_penalty if of_lse is None else of_lse + of_penalty
    return of_loss, of_lse


def _slope(
    p: Tensor,
    at_largest: Tensor | None,
    others: Tensor,
    target: Tensor,
    weight: Tensor | None,
    smoothing: float,
    upstream: Tensor,
) -> Tensor:
    """∂loss/∂u of a block of rows times the `upstream` gradient, a scalar or (rows, 1); `p` is used up.

    1 − p of the largest class is S / (1 + S), the share of the other classes.
    """
    rest = others / (1 + others)
    if at_largest is None:
        q = _smooth(wide(target), smoothing)
        mass = q if weight is None else q * weight
        total = mass.sum(-1, keepdim=True)
        near = p > 0.5
        largest = mass.masked_fill(near, 0.0).sum(-1, keepdim=True) - total * rest
        return torch.where(near, largest, p.mul_(total).sub_(mass)).mul_(upstream)
    index = target.unsqueeze(-1)
    own = torch.where(at_largest, -rest, p.gather(-1, index) - 1)
    scale = upstream if weight is None else upstream * _of(weight, index)
    if not smoothing:
        return p.scatter_(-1, index, own).mul_(scale)
    share, classes = smoothing / p.shape[-1], p.shape[-1]
    spread = (classes * p - 1 if weight is None else weight.sum() * p - weight).mul_(share * upstream)
    return p.scatter_(-1, index, own).mul_(scale * (1 - smoothing)).add_(spread)


def _flat(logits: Tensor, target: Tensor, options: Options) -> tuple[Tensor, Tensor, Guard | None]:
    """The rows as one axis, and their targets alike."""
    z = logits if logits.dim() == 2 else logits.reshape(-1, logits.shape[-1])
    if target.is_floating_point():
        return z, target.reshape(z.shape), None
    t = target if target.dim() == 1 else target.reshape(-1)
    return z, t, _guard(t, z.shape[1], options.ignore_index)


_RULE = _autograd.Rule(_formula, _forward, _backward)
