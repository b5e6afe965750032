"""Binary cross-entropy, element by element.

y·softplus(−x) + (1 − y)·softplus(x) is a sum of terms that are never negative; PyTorch's (1 − y)·x + softplus(−x)
cancels for a confident negative, which is where most elements of a multi-label problem are.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lastlayer.kernels._options import BinaryOptions, Elements, counts
from lastlayer.kernels.eager import _autograd
from lastlayer.kernels.eager._sigmoid import stable_sigmoid, wide_softplus
from lastlayer.kernels.eager._softmax import blocks
from lastlayer.kernels.eager._wide import share, summed, wide


def binary_cross_entropy_with_logits(
    logits: Tensor, target: Tensor, weight: Tensor | None, pos_weight: Tensor | None, options: BinaryOptions
) -> Tensor:
    """The reduced loss; an infinite logit gives the limit of the formula. Weights broadcast to the logits."""
    return _autograd.apply(_RULE, logits, target, weight, pos_weight, options)[0]


def formula(
    logits: Tensor, target: Tensor, weight: Tensor | None, pos_weight: Tensor | None, options: BinaryOptions
) -> tuple[Tensor]:
    """The same from differentiable operations only."""
    return _formula(logits, *_wide_terms(target, weight, pos_weight, options), options)


def _wide_terms(
    target: Tensor, weight: Tensor | None, pos_weight: Tensor | None, options: BinaryOptions
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    return (
        _smooth(wide(target), options.label_smoothing),
        None if weight is None else wide(weight),
        None if pos_weight is None else wide(pos_weight),
    )


def binary_cross_entropy(
    probabilities: Tensor, target: Tensor, weight: Tensor | None, options: BinaryOptions
) -> Tensor:
    """The reduced loss of probabilities; as in PyTorch each logarithm is at least −100."""
    p, y = wide(probabilities), _smooth(wide(target), options.label_smoothing)
    yes = _surprisal(p, lambda inside: -torch.log(torch.where(inside, p, 1.0)))
    no = _surprisal(1 - p, lambda inside: -torch.log1p(-torch.where(inside, p, 0.0)))
    loss = y * yes + (1 - y) * no
    if counts(options.focal_gamma, 0.0):
        focus = p * (1 - y) + (1 - p) * y
        at_end = focus == 0  # the answer is certain and right: the loss is 0, and so is its slope
        loss = loss * torch.where(at_end, 0.0, torch.where(at_end, 1.0, focus) ** options.focal_gamma)
    return _reduced(loss if weight is None else loss * wide(weight), options)


_LARGEST, _STEEPEST = 100.0, 1e12


def _surprisal(p: Tensor, minus_log_p: Callable[[Tensor], Tensor]) -> Tensor:
    """−log p, at most 100; where that bound holds its derivative is PyTorch's −1e12, which still points back."""
    bounded = p < math.exp(-_LARGEST)
    return torch.where(bounded, _LARGEST - _STEEPEST * p, minus_log_p(~bounded))


def _formula(
    logits: Tensor, y: Tensor, weight: Tensor | None, pos_weight: Tensor | None, options: BinaryOptions
) -> tuple[Tensor]:
    x = wide(logits)
    loss = _unweighted(x, y, pos_weight)
    if counts(options.focal_gamma, 0.0):
        loss = loss * torch.exp(options.focal_gamma * _log_focus(x, y))
    return (_reduced(loss if weight is None else share(weight, loss), options),)


def _unweighted(x: Tensor, y: Tensor, pos_weight: Tensor | None) -> Tensor:
    return share(y if pos_weight is None else y * pos_weight, wide_softplus(-x)) + share(1 - y, wide_softplus(x))


def _log_focus(x: Tensor, y: Tensor) -> Tensor:
    """The logarithm of 1 − p_t, the probability of the wrong answer: it has a slope where 1 − p_t has become 0."""
    fixed = y.detach()
    yes, no = stable_sigmoid(x), stable_sigmoid(-x)
    mixed = (fixed > 0) & (fixed < 1)
    focus = yes * (1 - fixed) + no * fixed
    certain = torch.where(fixed == 1, -wide_softplus(x), -wide_softplus(-x))
    at_target = torch.where(mixed, torch.log(torch.where(mixed, focus, 1.0)), certain)
    # The rest is log 1 = 0: it carries the derivatives with respect to the target.
    possible = focus > 0
    moved = (y - fixed) * (no - yes) / torch.where(possible, focus, 1.0)
    return at_target + torch.log1p(torch.where(possible, moved, 0.0))


def _forward(logits: Tensor, *rest: Any) -> tuple[tuple[Tensor], tuple[()]]:
    return formula(logits, *rest), ()


def _backward(
    gradients: tuple[Tensor],
    kept: tuple[()],
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    pos_weight: Tensor | None,
    options: BinaryOptions,
) -> Tensor:
    upstream = wide(gradients[0])
    if options.reduction == "mean":
        upstream = upstream / logits.numel()
    terms = _wide_terms(target, weight, pos_weight, options)
    return _slope(wide(logits), *terms, upstream, options).to(logits.dtype)


def _slope(
    x: Tensor,
    y: Tensor,
    weight: Tensor | None,
    pos_weight: Tensor | None,
    upstream: Tensor,
    options: BinaryOptions,
) -> Tensor:
    p, rest = stable_sigmoid(x), stable_sigmoid(-x)
    yes = rest * y
    slope = (p * (1 - y)).sub_(yes if pos_weight is None else yes.mul_(pos_weight))
    if options.focal_gamma:
        slope = _focal_slope(slope, p, rest, x, y, pos_weight, options.focal_gamma)
    return (slope if weight is None else slope.mul_(weight)).mul_(upstream)


def _focal_slope(
    slope: Tensor, p: Tensor, rest: Tensor, x: Tensor, y: Tensor, pos_weight: Tensor | None, gamma: float
) -> Tensor:
    """∂(loss · m^γ)/∂x = m^γ · (slope + γ · loss · m′/m): m′/m is bounded where m itself is 0."""
    focus = p * (1 - y) + rest * y
    bend = (p * rest).div_(focus).masked_fill_(focus == 0, 0.0).mul_(1 - 2 * y)
    loss = _unweighted(x, y, pos_weight)
    # The loss grows like |x| where p·(1 − p) falls like exp(−|x|): the product of inf and 0 is 0.
    return share(bend, loss).mul_(gamma).add_(slope).mul_(focus**gamma)


def _reduced(loss: Tensor, options: BinaryOptions) -> Tensor:
    if options.reduction == "none":
        return loss.to(options.dtype)
    total = summed(loss.reshape(-1))
    return (total / loss.numel() if options.reduction == "mean" else total).to(options.dtype)


def _smooth(target: Tensor, smoothing: float) -> Tensor:
    return target * (1 - smoothing) + smoothing / 2 if counts(smoothing, 0.0) else target


# For a chunk (rows, columns) of plain logits whose weights have its shape: block by block, in little memory.


def _losses(
    z: Tensor, target: Tensor, weight: Tensor | None, pos_weight: Tensor | None, options: BinaryOptions
) -> Tensor:
    result = torch.empty(z.shape, dtype=options.dtype, device=z.device)
    each = options._replace(reduction="none")
    for block in blocks(z):
        y, w, pos_w = target[block], _part(weight, block), _part(pos_weight, block)
        result[block] = formula(z[block], y, w, pos_w, each)[0]
    return result


def _total(
    z: Tensor, target: Tensor, weight: Tensor | None, pos_weight: Tensor | None, options: BinaryOptions
) -> Tensor:
    whole = options._replace(reduction="sum", dtype=wide(z[:0]).dtype)
    parts = []
    for block in blocks(z):
        y, w, pos_w = target[block], _part(weight, block), _part(pos_weight, block)
        parts.append(formula(z[block], y, w, pos_w, whole)[0])
    return torch.stack(parts).sum()


def _write(
    z: Tensor,
    target: Tensor,
    weight: Tensor | None,
    pos_weight: Tensor | None,
    upstream: Tensor,
    options: BinaryOptions,
) -> None:
    for block in blocks(z):
        terms = _wide_terms(target[block], _part(weight, block), _part(pos_weight, block), options)
        of_block = upstream if upstream.dim() == 0 else upstream[block]
        z[block] = _slope(wide(z[block]), *terms, of_block, options)


def _part(factor: Tensor | None, block: tuple[slice, ...]) -> Tensor | None:
    return None if factor is None else factor[block]


binary_cross_entropy_elements = Elements(_losses, _total, _write)

_RULE = _autograd.Rule(formula, _forward, _backward, "bce_with_logits", tensors=3)
