"""Surprisal, entropy, cross-entropy and divergence of distributions."""

import math

import torch
from torch import Tensor

from lastlayer.kernels.eager._log import log_above
from lastlayer.kernels.eager._softmax import shift
from lastlayer.kernels.eager._wide import wide, widest


def surprisal(p: Tensor) -> Tensor:
    """−log p."""
    return (-torch.log(wide(p))).to(p.dtype)


def entropy(logits: Tensor, dim: int, temperature: float) -> Tensor:
    """H(softmax u) = log1p(S) + Σ p·(max − u): no term is negative, so a common offset costs no digits."""
    seen = shift(logits, dim, temperature=temperature)
    p = seen.terms / seen.total
    surprise = seen.log_sum.squeeze(dim) - (p * seen.below.masked_fill(p == 0, 0.0)).sum(dim)
    return surprise.to(logits.dtype)


def cross_entropy_of(p: Tensor, q: Tensor, dim: int) -> Tensor:
    """Σ p·(−log q), where 0 · ∞ is 0."""
    wide_p, wide_q = wide(p), wide(q)
    ruled_out = (wide_p == 0) & (wide_q == 0)
    return (wide_p * -torch.log(torch.where(ruled_out, 1.0, wide_q))).sum(dim).to(torch.promote_types(p.dtype, q.dtype))


def kl_divergence(p_logits: Tensor, q_logits: Tensor, dim: int) -> Tensor:
    """Σ p·log(p/q) − p + q: with r = log(p/q) every term is p·(exp(−r) − 1 + r) ≥ 0."""
    p, q = shift(p_logits, dim), shift(q_logits, dim)
    log_p, log_q = p.below - p.log_sum, q.below - q.log_sum
    ruled_out = log_p == -float("inf")  # p = 0: the term is q, and the ratio has no logarithm
    r = torch.where(ruled_out, 0.0, log_p - log_q)
    terms = torch.where(ruled_out, q.terms / q.total, p.terms / p.total * _exp_above_tangent(r))
    return terms.sum(dim).to(torch.promote_types(p_logits.dtype, q_logits.dtype))


def kl_div(log_q: Tensor, target: Tensor, log_target: bool) -> Tensor:
    """target · (log target − log_q) per element in the widest dtype, as PyTorch defines it."""
    log_q, t = widest(log_q), widest(target)
    if log_target:
        return torch.exp(t) * (t - log_q).masked_fill((t == -float("inf")) & ~torch.isnan(log_q), 0.0)
    # What the target never draws costs nothing, though it be impossible.
    drawn = log_q.masked_fill((t == 0) & (log_q == -float("inf")), 0.0)
    exact = (t > 0) & torch.isfinite(t) & torch.isfinite(drawn)
    above = log_above(torch.where(exact, t, 1.0), torch.where(exact, drawn, 0.0))
    return torch.where(exact, t * above, torch.xlogy(t, t) - t * drawn)


def _exp_above_tangent(r: Tensor) -> Tensor:
    """exp(−r) − 1 + r: by its series near 0, where the three terms cancel."""
    small = r.abs() < 0.03125
    s = torch.where(small, r, 0.0)
    series = torch.zeros_like(s)
    for n in range(9, 1, -1):  # s²/2! − s³/3! + … ; the next term is below 2⁻⁶⁰ of the sum
        series = series * s + (-1) ** n / math.factorial(n)
    far = torch.where(small, 1.0, r)
    return torch.where(small, series * s * s, torch.expm1(-far) + far)
