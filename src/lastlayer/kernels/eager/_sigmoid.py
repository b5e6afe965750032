"""Sigmoid and its relatives, element by element."""

import torch
from torch import Tensor

from lastlayer.kernels.eager import _autograd
from lastlayer.kernels.eager._wide import wide


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
    return torch.where(x < 0, 0.0, x) + torch.log1p(torch.exp(torch.where(x < 0, x, -x)))


def logsigmoid(x: Tensor) -> Tensor:
    """log sigmoid(x) = −softplus(−x)."""
    return (-wide_softplus(-wide(x))).to(x.dtype)


def stable_sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(−x)) with exp never above 1: keeps subnormal results, and its derivative does not cancel."""
    e = torch.exp(torch.where(x < 0, x, -x))
    return torch.where(x < 0, e, 1.0) / (1 + e)


def logit(probability: Tensor, eps: float | None) -> Tensor:
    """log(p / (1 − p)).

    In the middle 2p − 1 is exact and the logit is 2·atanh(2p − 1); there the two logarithms would cancel.
    """
    p = wide(probability)
    if eps is not None:
        p = torch.where(p < eps, eps, torch.where(p > 1 - eps, 1 - eps, p))  # as PyTorch does for eps > ½ too
    p = p * torch.where((p >= 0) & (p <= 1), 1.0, float("nan"))  # no probability: NaN, and so is its derivative
    middle = (p > 0.25) & (p < 0.75)
    centred = torch.where(middle, 2 * p - 1, 0.0)
    outer = torch.where(middle, 0.25, p)
    result = torch.where(middle, 2 * torch.atanh(centred), torch.log(outer) - torch.log1p(-outer))
    return result.to(probability.dtype)


def _sigmoid(x: Tensor) -> tuple[Tensor]:
    return (stable_sigmoid(wide(x)).to(x.dtype),)


def _sigmoid_forward(x: Tensor) -> tuple[tuple[Tensor], tuple[()]]:
    if x.dtype is torch.float32 and wide(x) is not x:
        return (torch.sigmoid(wide(x)).to(x.dtype),), ()  # float64 reaches further than any float32
    return _sigmoid(x), ()


def _sigmoid_backward(gradients: tuple[Tensor], kept: tuple[()], x: Tensor) -> Tensor:
    z = wide(x)
    return torch.sigmoid(z).mul_(stable_sigmoid(-z)).mul_(gradients[0]).to(x.dtype)


_SIGMOID = _autograd.Rule(_sigmoid, _sigmoid_forward, _sigmoid_backward, "sigmoid")
