"""Softmax and its relatives.

Everything starts from two numbers per row: the largest logit, and S, the sum of exp(z − max) over the *other*
classes. Keeping the largest class out of S is what saves the digits of a confident row: 1 + 1e-30 is 1, but
log1p(1e-30) is 1e-30.
"""

import torch
from torch import Tensor

from lastlayer.kernels.eager._wide import wide


def adjusted(logits: Tensor, softcap: float | None = None, temperature: float = 1.0) -> Tensor:
    """Return u = softcap·tanh(z / softcap) / temperature in the wide dtype."""
    u = wide(logits)
    if softcap is not None:
        u = softcap * torch.tanh(u / softcap)
    return u if temperature == 1.0 else u / temperature


def shift(u: Tensor, dim: int = -1) -> tuple[Tensor, Tensor, Tensor]:
    """Return (u − max, log1p(S), max) of a wide tensor; the last two keep the axis `dim` with length 1.

    log Σⱼ exp uⱼ is max + log1p(S), and log pⱼ is (uⱼ − max) − log1p(S): sums of terms of one sign.
    """
    top, where = u.max(dim=dim, keepdim=True)
    below = u - top
    others = torch.exp(below).scatter(dim, where, 0.0)
    return below, torch.log1p(others.sum(dim=dim, keepdim=True)), top


def softmax(z: Tensor, dim: int, temperature: float) -> Tensor:
    """exp(uⱼ) / Σₖ exp(uₖ) along `dim`, of u = z / temperature."""
    return torch.softmax(adjusted(z, temperature=temperature), dim).to(z.dtype)


def log_softmax(z: Tensor, dim: int, temperature: float) -> Tensor:
    """The logarithm of softmax."""
    if z.numel() == 0:
        return torch.log_softmax(z, dim)  # no largest logit to start from
    below, log_sum, _ = shift(adjusted(z, temperature=temperature), dim)
    return (below - log_sum).to(z.dtype)


def logsumexp(z: Tensor, dim: tuple[int, ...], keepdim: bool, temperature: float) -> Tensor:
    """log Σ exp(u) over the axes `dim`, of u = z / temperature."""
    return torch.logsumexp(adjusted(z, temperature=temperature), dim=dim, keepdim=keepdim).to(z.dtype)
