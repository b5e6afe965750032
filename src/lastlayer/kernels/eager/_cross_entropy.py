"""Cross-entropy, classes on the last axis.

For a class index y the loss is log1p(S) − (z_y − max z): two terms that are never negative, so nothing cancels,
whether y is the confident class (the first term is all there is) or a hopeless one (the second is). Its gradient at y
is p_y − 1 = expm1(log p_y), which keeps its digits for the same reason.

The reduction belongs to the kernel: each autograd node around it would cost a small batch as much as the loss itself.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from lastlayer.kernels._options import Options
from lastlayer.kernels.eager import _autograd
from lastlayer.kernels.eager._softmax import adjusted, shift
from lastlayer.kernels.eager._wide import wide

# Logits worked on at a time: what fits a core's cache on a CPU, and what keeps a GPU busy.
_BLOCK_ON_CPU, _BLOCK_ELSEWHERE = 2**17, 2**25


def cross_entropy(logits: Tensor, target: Tensor, weight: Tensor | None, options: Options) -> tuple[Tensor, Tensor]:
    """The loss, and the log-sum-exp per row in the wide dtype.

    `logits` are (*rows, classes), `target` indices (*rows) or probabilities (*rows, classes), `weight` (classes).
    """
    loss, lse = _autograd.apply(_RULE, logits, target, None if weight is None else wide(weight), options)
    return loss, lse


def nll_loss(log_probabilities: Tensor, target: Tensor, weight: Tensor | None, options: Options) -> Tensor:
    """−w_y · log p_y of log-probabilities (*rows, classes), reduced."""
    guard = _guard(target, log_probabilities.shape[-1], options.ignore_index)
    safe = target if guard is None else guard.target
    loss = -wide(log_probabilities.gather(-1, safe.unsqueeze(-1)).squeeze(-1))
    row_weight = None if weight is None else wide(weight)[safe]
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
    u = adjusted(logits, options.softcap, options.temperature)
    guard = _guard(target, logits.shape[-1], options.ignore_index)
    # An ignored row is replaced before anything is computed from it: 0 · NaN would be NaN.
    below, log_sum, top = shift(u if guard is None else u.masked_fill(~guard.kept.unsqueeze(-1), 0.0))
    lse = (top + log_sum).squeeze(-1)
    loss = _loss_per_row(below, log_sum, target if guard is None else guard.target, weight, options)
    return _total(loss, lse, target, weight, guard, options), lse if guard is None else torch.logsumexp(u, -1)


def _loss_per_row(below: Tensor, log_sum: Tensor, target: Tensor, weight: Tensor | None, options: Options) -> Tensor:
    smoothing = options.label_smoothing
    if target.is_floating_point():
        return _expected(log_sum - below, _smooth(wide(target), smoothing), weight)
    loss = (log_sum - below.gather(-1, target.unsqueeze(-1))).squeeze(-1)
    if weight is not None:
        loss = loss * weight[target]
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
    return weight[target if guard is None else guard.target]


# The same by hand, block by block of rows, each in one buffer where the loss allows it: a fresh tensor costs more in
# page faults than in arithmetic. The forward keeps two numbers per row, the backward computes p anew.


def _forward(
    logits: Tensor, target: Tensor, weight: Tensor | None, options: Options
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    z, t, guard = _flat(logits, target, options)
    safe = t if guard is None else guard.target
    parts = [_forward_block(z[block], safe[block], weight, options) for block in _blocks(z)]
    loss, log_sum, top = parts[0] if len(parts) == 1 else map(torch.cat, zip(*parts, strict=True))
    lse = (top + log_sum).squeeze(-1)
    total = _total(loss, lse, t, weight, guard, options)
    if logits.dim() == 2:
        return (total, lse), (log_sum, top)
    rows = logits.shape[:-1]
    return (total.reshape(rows) if options.reduction == "none" else total, lse.reshape(rows)), (log_sum, top)


def _forward_block(z: Tensor, target: Tensor, weight: Tensor | None, options: Options) -> tuple[Tensor, Tensor, Tensor]:
    """Loss per row, log1p(S) and the largest logit of a block."""
    u = adjusted(z, options.softcap, options.temperature)
    top, where = u.max(dim=-1, keepdim=True)
    below = u - top if u is z else u.sub_(top)
    if target.is_floating_point() or options.label_smoothing:
        others = torch.exp(below).scatter_(-1, where, 0.0)
        log_sum = torch.log1p(others.sum(-1, keepdim=True))
        return _loss_per_row(below, log_sum, target, weight, options), log_sum, top
    own = below.gather(-1, target.unsqueeze(-1))
    others = below.exp_().scatter_(-1, where, 0.0)
    log_sum = torch.log1p(others.sum(-1, keepdim=True))
    loss = (log_sum - own).squeeze(-1)
    return loss if weight is None else loss * weight[target], log_sum, top


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
    log_sum, top = kept
    of_loss, of_lse = _per_row(gradients, t, weight, guard, top + log_sum, options)
    result = torch.empty_like(z)
    for block in _blocks(z):
        part = z[block]
        u = adjusted(part, options.softcap, options.temperature)
        log_p = (u - top[block] if u is part else u.sub_(top[block])).sub_(log_sum[block])
        through_lse = None if of_lse is None else torch.exp(log_p).mul_(of_lse[block])
        slope = through_lse
        if of_loss is not None:
            upstream = of_loss if of_loss.dim() == 0 else of_loss[block]
            slope = _slope(log_p, safe[block], weight, options.label_smoothing, upstream)
            slope = slope if through_lse is None else slope.add_(through_lse)
        assert slope is not None  # noqa: S101 - autograd calls a backward only when an output has a gradient
        if options.softcap is not None:
            slope.mul_(1 - torch.tanh(wide(part) / options.softcap) ** 2)
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


def _slope(log_p: Tensor, target: Tensor, weight: Tensor | None, smoothing: float, upstream: Tensor) -> Tensor:
    """∂loss/∂u of a block of rows times the `upstream` gradient, a scalar or (rows, 1); `log_p` is used up."""
    if target.is_floating_point():
        p, q = torch.exp(log_p), _smooth(wide(target), smoothing)
        mass = q if weight is None else q * weight
        total = mass.sum(-1, keepdim=True)
        # total·p − mass, with 1 − p by expm1 where p is near 1: nothing is lost when p approaches its target.
        near = (total - mass) + total * torch.expm1(log_p)
        return torch.where(p > 0.5, near, total * p - mass).mul_(upstream)
    index = target.unsqueeze(-1)
    scale = upstream if weight is None else upstream * weight[index]
    own = torch.expm1(log_p.gather(-1, index))
    p = log_p.exp_()
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


def _blocks(z: Tensor) -> Iterator[slice]:
    rows, classes = z.shape
    block = max(1, (_BLOCK_ON_CPU if z.device.type == "cpu" else _BLOCK_ELSEWHERE) // max(classes, 1))
    return (slice(start, start + block) for start in range(0, max(rows, 1), block))


_RULE = _autograd.Rule(_formula, _forward, _backward, "cross_entropy")
