"""Binary cross-entropy, element by element.

y·softplus(−x) + (1 − y)·softplus(x) is a sum of terms that are never negative; PyTorch's (1 − y)·x + softplus(−x)
cancels for a confident negative, which is where most elements of a multi-label problem are.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from lastlayer.kernels._options import BinaryOptions
from lastlayer.kernels.eager import _autograd
from lastlayer.kernels.eager._sigmoid import wide_softplus
from lastlayer.kernels.eager._wide import wide


def binary_cross_entropy_with_logits(
    logits: Tensor, target: Tensor, weight: Tensor | None, pos_weight: Tensor | None, options: BinaryOptions
) -> Tensor:
    """The reduced loss; an infinite logit gives the limit of the formula. Weights broadcast to the logits."""
    y = _smooth(wide(target), options.label_smoothing)
    weight = None if weight is None else wide(weight)
    pos_weight = None if pos_weight is None else wide(pos_weight)
    if options.focal_gamma:
        return _formula(logits, y, weight, pos_weight, options)[0]
    return _autograd.apply(_RULE, logits, y, weight, pos_weight, options)[0]


def binary_cross_entropy(
    probabilities: Tensor, target: Tensor, weight: Tensor | None, options: BinaryOptions
) -> Tensor:
    """The reduced loss of probabilities; as in PyTorch each logarithm is at least −100."""
    p, y = wide(probabilities), _smooth(wide(target), options.label_smoothing)
    loss: Tensor = F.binary_cross_entropy(p, y.to(p.dtype), reduction="none")
    if options.focal_gamma:
        loss = loss * (p * (1 - y) + (1 - p) * y) ** options.focal_gamma
    return _reduced(loss if weight is None else loss * wide(weight), options)


def _formula(
    logits: Tensor, y: Tensor, weight: Tensor | None, pos_weight: Tensor | None, options: BinaryOptions
) -> tuple[Tensor]:
    x = wide(logits)
    yes, no = _share(y, wide_softplus(-x)), _share(1 - y, wide_softplus(x))
    loss = (yes if pos_weight is None else yes * pos_weight) + no
    if options.focal_gamma:
        loss = loss * (torch.sigmoid(x) * (1 - y) + torch.sigmoid(-x) * y) ** options.focal_gamma
    return (_reduced(loss if weight is None else loss * weight, options),)


def _forward(logits: Tensor, *rest: Any) -> tuple[tuple[Tensor], tuple[()]]:
    return _formula(logits, *rest), ()


def _backward(
    gradients: tuple[Tensor],
    kept: tuple[()],
    logits: Tensor,
    y: Tensor,
    weight: Tensor | None,
    pos_weight: Tensor | None,
    options: BinaryOptions,
) -> Tensor:
    x, upstream = wide(logits), wide(gradients[0])
    if options.reduction == "mean":
        upstream = upstream / x.numel()
    yes = torch.sigmoid(-x).mul_(y)
    slope = torch.sigmoid(x).mul_(1 - y).sub_(yes if pos_weight is None else yes.mul_(pos_weight))
    return (slope if weight is None else slope.mul_(weight)).mul_(upstream).to(logits.dtype)


def _reduced(loss: Tensor, options: BinaryOptions) -> Tensor:
    if options.reduction == "none":
        return loss.to(options.dtype)
    return (loss.mean() if options.reduction == "mean" else loss.sum()).to(options.dtype)


def _smooth(target: Tensor, smoothing: float) -> Tensor:
    return target * (1 - smoothing) + smoothing / 2 if smoothing else target


def _share(share: Tensor, loss: Tensor) -> Tensor:
    """`share` · `loss`, where no share of an infinite loss is 0."""
    return share * loss.masked_fill((share == 0) & (loss == float("inf")), 0.0)


_RULE = _autograd.Rule(_formula, _forward, _backward, "bce_with_logits")
