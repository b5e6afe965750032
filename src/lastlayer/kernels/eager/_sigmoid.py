"""Sigmoid and its relatives, element by element."""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from lastlayer.kernels.eager import _autograd
from lastlayer.kernels.eager._wide import wide

# Above this, log(1 + exp x) equals x to the last digit: exp(-x) / x is below half an ulp.
_LINEAR_FROM = {torch.float32: 20.0, torch.float64: 50.0}


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(−x)), with the derivative σ(x)·σ(−x): PyTorch's σ·(1 − σ) cancels where σ is near 1."""
    return _autograd.apply(_SIGMOID, x)[0]


def softplus(x: Tensor, beta: float = 1.0, threshold: float | None = None) -> Tensor:
    """log(1 + exp(βx)) / β, or x itself where βx > `threshold`."""
    scaled = wide(x) * beta
    result = wide_softplus(scaled) / beta
    return (result if threshold is None else torch.where(scaled > threshold, wide(x), result)).to(x.dtype)


def wide_softplus(x: Tensor) -> Tensor:
    """log(1 + exp x) of a wide tensor: every digit, with the derivative right at 0 and in both tails."""
    return F.softplus(x, threshold=_LINEAR_FROM[x.dtype])


def logsigmoid(x: Tensor) -> Tensor:
    """log sigmoid(x) = −softplus(−x)."""
    return (-wide_softplus(-wide(x))).to(x.dtype)


def logit(probability: Tensor, eps: float | None) -> Tensor:
    """log(p / (1 − p)).

    In the middle 2p − 1 is exact and the logit is 2·atanh(2p − 1); there the two logarithms would cancel.
    """
    p = wide(probability)
    if eps is not None:
        p = p.clamp(eps, 1 - eps)
    middle = (p > 0.25) & (p < 0.75)
    centred = torch.where(middle, 2 * p - 1, 0.0)
    outer = torch.where(middle, 0.25, p)
    result = torch.where(middle, 2 * torch.atanh(centred), torch.log(outer) - torch.log1p(-outer))
    return result.to(probability.dtype)


def _sigmoid(x: Tensor) -> tuple[Tensor]:
    return (torch.sigmoid(wide(x)).to(x.dtype),)


def _sigmoid_forward(x: Tensor) -> tuple[tuple[Tensor], tuple[()]]:
    return _sigmoid(x), ()


def _sigmoid_backward(gradients: tuple[Tensor], kept: tuple[()], x: Tensor) -> Tensor:
    z = wide(x)
    return torch.sigmoid(z).mul_(torch.sigmoid(-z)).mul_(gradients[0]).to(x.dtype)


_SIGMOID = _autograd.Rule(_sigmoid, _sigmoid_forward, _sigmoid_backward, "sigmoid")
