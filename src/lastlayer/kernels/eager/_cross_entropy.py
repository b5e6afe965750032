"""Cross-entropy, classes on the last axis.

For a class index y the loss is log1p(S) − (z_y − max z): two terms that are never negative, so nothing cancels,
whether y is the confident class (the first term is all there is) or a hopeless one (the second is). Its gradient at y
is p_y − 1, or −S / (1 + S) where y is the confident class: what the other classes have.

The reduction belongs to the kernel: each autograd node around it would cost a small batch as much as the loss itself.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from lastlayer.kernels._options import Options, counts
from lastlayer.kernels.eager import _autograd
from lastlayer.kernels.eager._rows import Slice, Stats, losses, of_class, row_scale, slope, smooth, stats
from lastlayer.kernels.eager._softmax import log_sum_exp, shift
from lastlayer.kernels.eager._wide import share, summed, wide


def cross_entropy(logits: Tensor, target: Tensor, weight: Tensor | None, options: Options) -> tuple[Tensor, Tensor]:
    """The loss, and the log-sum-exp per row in the wide dtype.

    `logits` are (*rows, classes), `target` indices (*rows) or probabilities (*rows, classes), `weight` (classes).
    """
    if not logits.shape[-1]:  # a sum over no classes
        nothing = wide(logits).sum(-1)
        return reduced(nothing, nothing, target, None, None, options), nothing - float("inf")
    loss, lse = _autograd.apply(_RULE, logits, target, None if weight is None else wide(weight), options)
    return loss, lse


def nll_loss(log_probabilities: Tensor, target: Tensor, weight: Tensor | None, options: Options) -> Tensor:
    """−w_y · log p_y of log-probabilities (*rows, classes), reduced."""
    guard = guard_of(target, log_probabilities.shape[-1], options.ignore_index)
    safe = target if guard is None else guard.target
    loss = -wide(log_probabilities.gather(-1, safe.unsqueeze(-1)).squeeze(-1))
    row_weight = None if weight is None else of_class(wide(weight), safe)
    return _reduced(loss if row_weight is None else loss * row_weight, row_weight, guard, options).to(options.dtype)


class Guard(NamedTuple):
    """Indices that nobody has read."""

    target: Tensor  # 0 where the row is ignored or its index names no class: safe to gather with
    kept: Tensor  # whether the row counts
    poison: Tensor  # 1, or NaN where the index names no class


def guard_of(target: Tensor, classes: int, ignore_index: int | None) -> Guard | None:
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
        return summed(loss.reshape(-1))
    return summed(loss.reshape(-1)) / _count(loss.shape.numel(), row_weight, guard, options)


def _count(rows: int, row_weight: Tensor | None, guard: Guard | None, options: Options) -> Tensor | int:
    """What "mean" divides by: the weights of the rows kept."""
    if row_weight is not None:
        counted = row_weight if guard is None else torch.where(guard.kept, row_weight, 0.0)
    elif guard is not None:
        counted = guard.kept
    else:
        return rows or int(options.empty == "zero")
    count = summed(counted.reshape(-1))
    return torch.where(count == 0, 1, count) if options.empty == "zero" else count


# The formula: differentiable in the logits, the probabilities and the weight.


def formula(logits: Tensor, target: Tensor, weight: Tensor | None, options: Options) -> tuple[Tensor, Tensor]:
    guard = guard_of(target, logits.shape[-1], options.ignore_index)
    # An ignored row is replaced before anything is computed from it: 0 · NaN would be NaN.
    counted = logits if guard is None else logits.masked_fill(~guard.kept.unsqueeze(-1), 0.0)
    seen = shift(counted, -1, options.softcap, options.temperature)
    lse = seen.lse.squeeze(-1)
    safe = target if guard is None else guard.target
    loss = _loss_per_row(seen.below, seen.log_sum, safe, weight, options)
    total = reduced(loss, lse, target, weight, guard, options)
    return total, lse if guard is None else log_sum_exp(logits, options.softcap, options.temperature)


def _loss_per_row(below: Tensor, log_sum: Tensor, target: Tensor, weight: Tensor | None, options: Options) -> Tensor:
    smoothing = options.label_smoothing
    if target.is_floating_point():
        return _expected(log_sum - below, smooth(wide(target), smoothing, below.shape[-1]), weight)
    loss = (log_sum - below.gather(-1, target.unsqueeze(-1))).squeeze(-1)
    if weight is not None:
        loss = share(of_class(weight, target), loss)
    if not counts(smoothing, 0.0):
        return loss
    uniform = torch.as_tensor(smoothing / below.shape[-1], dtype=below.dtype, device=below.device)
    return (1 - smoothing) * loss + _expected(log_sum - below, uniform, weight)


def _expected(surprise: Tensor, q: Tensor, weight: Tensor | None) -> Tensor:
    """Surprise expected under `q`; a class that `q` or a weight of 0 rules out adds 0, though it be infinite."""
    return share(q if weight is None else q * weight, surprise).sum(-1)


def reduced(
    loss: Tensor, lse: Tensor, target: Tensor, weight: Tensor | None, guard: Guard | None, options: Options
) -> Tensor:
    """The reduced loss in its own dtype, the z-loss included."""
    total = _reduced(loss, _row_weight(target, weight, guard), guard, options)
    if counts(options.z_loss, 0.0):
        total = total + _reduced(options.z_loss * lse**2, None, guard, options)
    return total.to(options.dtype)


def _row_weight(target: Tensor, weight: Tensor | None, guard: Guard | None) -> Tensor | None:
    if weight is None or target.is_floating_point():
        return None
    return of_class(weight, target if guard is None else guard.target)


# The same by hand.


def _forward(
    logits: Tensor, target: Tensor, weight: Tensor | None, options: Options
) -> tuple[tuple[Tensor, Tensor], Stats]:
    z, t, guard = _flat(logits, target, options)
    safe = t if guard is None else guard.target
    seen = stats(z, safe, Slice(0, z.shape[1], weight), options)
    loss, lse = losses(seen, safe, weight, options)
    total = reduced(loss, lse, t, weight, guard, options)
    if logits.dim() == 2:
        return (total, lse), seen
    rows = logits.shape[:-1]
    return (total.reshape(rows) if options.reduction == "none" else total, lse.reshape(rows)), seen


def _backward(
    gradients: tuple[Tensor | None, Tensor | None],
    kept: tuple[Tensor, ...],
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    options: Options,
) -> Tensor:
    z, t, guard = _flat(logits, target, options)
    safe = t if guard is None else guard.target
    seen = Stats(*kept)
    lse = seen.top + torch.log1p(seen.others)
    of_loss, of_lse = per_row(gradients, lse, shares(t, weight, guard, options, seen.top.dtype), options)
    result = torch.empty_like(z)
    scale = row_scale(safe, weight, z)
    slope(z, safe, seen, Slice(0, z.shape[1], weight), scale, options, of_loss, of_lse, result)
    if guard is not None:
        # Nothing reaches an ignored row, unless its log-sum-exp is used: 0 · NaN would be NaN.
        idle = ~guard.kept if of_lse is None else ~guard.kept & (of_lse == 0).squeeze(-1)
        result.masked_fill_(idle.unsqueeze(-1), 0.0).mul_(guard.poison.unsqueeze(-1))
    return result.reshape(logits.shape)


class Shares(NamedTuple):
    """How much of each row's loss, and of its log-sum-exp's penalty, is in the reduced total: () or (rows, 1)."""

    loss: Tensor
    penalty: Tensor

    def of(self, rows: slice) -> "Shares":
        """Those of some rows."""
        return Shares(*(x if x.dim() == 0 else x[rows] for x in self))


def shares(target: Tensor, weight: Tensor | None, guard: Guard | None, options: Options, dtype: torch.dtype) -> Shares:
    """Undo the reduction."""
    one = torch.ones((), dtype=dtype, device=target.device)
    each = one if guard is None else guard.kept.unsqueeze(-1).to(dtype)
    if options.reduction != "mean":
        return Shares(each, each)
    of_loss = each / _count(len(target), _row_weight(target, weight, guard), guard, options)
    return Shares(of_loss, each / _count(len(target), None, guard, options) if options.z_loss else of_loss)


def per_row(
    gradients: tuple[Tensor | None, Tensor | None], lse: Tensor, share: Shares, options: Options
) -> tuple[Tensor | None, Tensor | None]:
    """What reaches each row's loss, () or (rows, 1), and each row's log-sum-exp, (rows, 1)."""
    of_total, of_lse = gradients
    of_lse = None if of_lse is None else of_lse.reshape(-1, 1)
    if of_total is None:
        return None, of_lse
    upstream = wide(of_total)
    if options.reduction == "none":
        upstream = upstream.reshape(-1, 1)
    if options.z_loss:
        penalty = (upstream * share.penalty) * (2 * options.z_loss * lse.reshape(-1, 1))
        penalty = penalty.masked_fill(share.penalty == 0, 0.0)
        of_lse = penalty if of_lse is None else of_lse + penalty
    return upstream * share.loss, of_lse


def _flat(logits: Tensor, target: Tensor, options: Options) -> tuple[Tensor, Tensor, Guard | None]:
    """The rows as one axis, and their targets alike."""
    z = logits if logits.dim() == 2 else logits.reshape(-1, logits.shape[-1])
    if target.is_floating_point():
        return z, target.reshape(z.shape), None
    t = target if target.dim() == 1 else target.reshape(-1)
    return z, t, guard_of(t, z.shape[1], options.ignore_index)


_RULE = _autograd.Rule(formula, _forward, _backward, "cross_entropy", tensors=2)
