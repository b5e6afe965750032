"""Softmax and its relatives.

Everything starts from two numbers per row: the largest logit, and S, the sum of exp(z − max) over the *other*
classes. Keeping the largest class out of S is what saves the digits of a confident row: 1 + 1e-30 is 1, but
log1p(1e-30) is 1e-30. The derivatives are kept in the same way: 1 − p of the largest class is S / (1 + S).
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from lastlayer.kernels._options import counts
from lastlayer.kernels.eager import _autograd
from lastlayer.kernels.eager._wide import rounding_error, summed, wide, widest

# Logits worked on at a time: what fits a core's cache on a CPU, and what keeps a GPU busy.
_BLOCK_ON_CPU, _BLOCK_ELSEWHERE = 2**17, 2**25


def softmax(z: Tensor, dim: int, temperature: float) -> Tensor:
    """exp(uⱼ) / Σₖ exp(uₖ) along `dim`, of u = z / temperature."""
    return _along(_SOFTMAX, z, dim, temperature)


def log_softmax(z: Tensor, dim: int, temperature: float) -> Tensor:
    """The logarithm of softmax."""
    return _along(_LOG_SOFTMAX, z, dim, temperature)


def logsumexp(z: Tensor, dim: tuple[int, ...], keepdim: bool, temperature: float) -> Tensor:
    """log Σ exp(u) over the axes `dim`, of u = z / temperature."""
    if z.numel() == 0 or z.dim() == 0:
        return torch.logsumexp(adjusted(z, temperature=temperature), dim, keepdim).to(z.dtype)
    rows = z.movedim(dim, tuple(range(-len(dim), 0))).flatten(-len(dim))
    (result,) = _autograd.apply(_LOGSUMEXP, rows, temperature)
    for axis in sorted(dim) if keepdim else ():
        result = result.unsqueeze(axis)
    return result


def _along(rule: _autograd.Rule, z: Tensor, dim: int, temperature: float) -> Tensor:
    if z.dim() == 0:
        return _autograd.apply(rule, z.reshape(1), 0, temperature)[0].reshape(())
    if z.numel() == 0:
        return z.to(z.dtype, copy=True)  # no row has a largest logit, and none has a result
    return _autograd.apply(rule, z, dim, temperature)[0]


# What the losses build on.


def adjusted(logits: Tensor, softcap: float | None = None, temperature: float = 1.0) -> Tensor:
    """Return u = softcap·tanh(z / softcap) / temperature in the wide dtype."""
    u = wide(logits)
    if softcap is not None:
        u = softcap * torch.tanh(u / softcap)
    return u / temperature if counts(temperature, 1.0) else u


class Shifted(NamedTuple):
    """Logits u seen from the largest: differentiable, and each derivative as exact as its value."""

    below: Tensor  # u − max
    terms: Tensor  # exp(u − max)
    total: Tensor  # Σ exp(u − max) = 1 + S
    log_sum: Tensor  # log1p(S); −log pⱼ is log_sum − belowⱼ, a sum of terms that are never negative
    lse: Tensor  # log Σ exp u


def shift(z: Tensor, dim: int = -1, softcap: float | None = None, temperature: float = 1.0) -> Shifted:
    """See `z` from its largest entry along `dim`; what is one number per row keeps that axis with length 1.

    Where the largest class has more than half of the probability, distances are measured from it, and its own is a
    constant 0: its derivative is then a sum over the other classes. Elsewhere they are measured from a constant: then
    every derivative is its own term. So no derivative is a difference of nearly equal numbers.
    """
    u = adjusted(z, softcap, temperature)
    top, where = u.max(dim=dim, keepdim=True)
    largest = torch.zeros_like(u, dtype=torch.bool).scatter(dim, where, 1)
    fixed = top.detach()
    sum_of_others = torch.exp(u.detach() - fixed).masked_fill(largest, 0.0).sum(dim, keepdim=True)
    confident = (sum_of_others < 1) & torch.isfinite(fixed)  # a largest logit of ±inf has no distances: inf − inf
    anchor = torch.where(confident, top, fixed)
    below = torch.where(confident & largest, 0.0, u - anchor)
    terms = torch.exp(below)
    if u.dtype is z.dtype:  # nothing wider is left
        terms = terms * (1 + rounding_error(u.detach(), fixed, below.detach()))
    own = torch.where(
        confident, 0.0, torch.expm1(top - anchor)
    )  # the largest's term − 1: the value 0, the derivative 1
    others = terms.masked_fill(largest, 0.0).sum(dim, keepdim=True) + own
    log_sum = torch.log1p(others)
    return Shifted(below, terms, 1 + others, log_sum, anchor + log_sum)


def log_sum_exp(z: Tensor, softcap: float | None = None, temperature: float = 1.0) -> Tensor:
    """log Σ exp u along the last axis, differentiable, wide; where the largest logit is infinite, it."""
    u = adjusted(z, softcap, temperature)
    finite = torch.isfinite(u.detach().amax(-1, keepdim=True))
    exact = shift(torch.where(finite, u, 0.0)).lse.squeeze(-1)
    return torch.where(finite.squeeze(-1), exact, torch.logsumexp(u, -1))


class Row(NamedTuple):
    """The same by hand and without a copy: `below` may be overwritten."""

    below: Tensor
    error: Tensor | None  # what rounding took from `below`, where the dtype is the widest that there is
    where: Tensor  # of the largest
    top: Tensor  # the largest

    def terms(self) -> Tensor:
        """exp(u − max), in the memory of `below`."""
        return _terms(self.below, self.error)

    def sum_of_others(self, terms: Tensor, dim: int = -1) -> Tensor:
        """S, from `terms`, of which the largest is overwritten with 0; NaN where the largest logit is infinite."""
        return summed(terms.scatter_(dim, self.where, 0.0), dim).unsqueeze(dim).add_(self.top - self.top)


def row(z: Tensor, dim: int = -1, softcap: float | None = None, temperature: float = 1.0) -> Row:
    """See plain `z` from its largest entry along `dim`."""
    u = adjusted(z, softcap, temperature)
    top, where = u.max(dim=dim, keepdim=True)
    return Row(*_below(z, u, top), where, top)


def terms_from(z: Tensor, top: Tensor, softcap: float | None, temperature: float) -> Tensor:
    """exp(u − top) of plain `z`, from a largest entry that is known already."""
    return _terms(*_below(z, adjusted(z, softcap, temperature), top))


def _below(z: Tensor, u: Tensor, top: Tensor) -> tuple[Tensor, Tensor | None]:
    """u − top and what rounding took from it, where no wider dtype holds it; otherwise in the memory of u."""
    if u.dtype is not z.dtype:
        return u.sub_(top), None
    below = u - top
    return below, rounding_error(u, top, below)


def _terms(below: Tensor, error: Tensor | None) -> Tensor:
    terms = below.exp_()
    return terms if error is None else terms.addcmul_(terms, error)


def blocks(z: Tensor, dim: int = -1) -> Iterator[tuple[slice, ...]]:
    """Parts of `z`, whole along `dim`, that are worked on at a time: fresh memory costs more than arithmetic."""
    if z.dim() == 1:
        yield (slice(None),)
        return
    axis = max((axis for axis in range(z.dim()) if axis != dim % z.dim()), key=lambda axis: z.shape[axis])
    entries = z.numel() // max(z.shape[axis], 1)
    step = max(1, (_BLOCK_ON_CPU if z.device.type == "cpu" else _BLOCK_ELSEWHERE) // max(entries, 1))
    for start in range(0, max(z.shape[axis], 1), step):
        yield (*(slice(None),) * axis, slice(start, start + step))


# Softmax.


def _softmax(z: Tensor, dim: int, temperature: float) -> tuple[Tensor]:
    _, terms, total, _, _ = shift(z, dim, temperature=temperature)
    return ((terms / total).to(z.dtype),)


def _softmax_forward(z: Tensor, dim: int, temperature: float) -> tuple[tuple[Tensor], tuple[()]]:
    result = torch.empty_like(z)
    for part in blocks(z, dim):
        result[part] = _probabilities(z[part], dim, temperature)[0]
    return (result,), ()


def _probabilities(z: Tensor, dim: int, temperature: float) -> tuple[Tensor, Tensor]:
    seen = row(z, dim, temperature=temperature)
    terms = seen.terms()
    total = seen.sum_of_others(terms, dim).add_(1)
    return terms.scatter_(dim, seen.where, 1.0).div_(total), seen.where


def _softmax_backward(gradients: tuple[Tensor], kept: tuple[()], z: Tensor, dim: int, temperature: float) -> Tensor:
    """pⱼ·(gⱼ − Σ p·g), with g counted from the largest class: for it the textbook's 1 − p would cancel."""
    result = torch.empty_like(z)
    for part in blocks(z, dim):
        p, where = _probabilities(z[part], dim, temperature)
        g = wide(gradients[0][part])
        g = g - g.gather(dim, where)
        result[part] = g.sub_((p * g).sum(dim, keepdim=True)).mul_(p).div_(temperature)
    return result


# Log-softmax.


def _log_softmax(z: Tensor, dim: int, temperature: float) -> tuple[Tensor]:
    below, _, _, log_sum, _ = shift(z, dim, temperature=temperature)
    return ((below - log_sum).to(z.dtype),)


def _log_softmax_forward(z: Tensor, dim: int, temperature: float) -> tuple[tuple[Tensor], tuple[()]]:
    result = torch.empty_like(z)
    for part in blocks(z, dim):
        seen = row(z[part], dim, temperature=temperature)
        below = seen.below.clone()
        result[part] = below.sub_(torch.log1p(seen.sum_of_others(seen.terms(), dim)))
    return (result,), ()


def _log_softmax_backward(gradients: tuple[Tensor], kept: tuple[()], z: Tensor, dim: int, temperature: float) -> Tensor:
    """gⱼ − pⱼ·Σ g; for the largest class (g·S − Σ of the other g) / (1 + S), which says the same without 1 − p."""
    result = torch.empty_like(z)
    for part in blocks(z, dim):
        g = wide(gradients[0][part])
        seen = row(z[part], dim, temperature=temperature)
        terms = seen.terms()
        others = seen.sum_of_others(terms, dim)
        own = g.gather(dim, seen.where)
        other_g = g.scatter(dim, seen.where, 0.0).sum(dim, keepdim=True)
        share = 1 + others
        slope = g - terms.mul_(other_g + own).div_(share)
        result[part] = slope.scatter_(dim, seen.where, (own * others - other_g) / share).div_(temperature)
    return result


# Log-sum-exp of rows, the last axis; near 0 the largest logit and the rest of the sum cancel.


def _logsumexp(rows: Tensor, temperature: float) -> tuple[Tensor]:
    return (log_sum_exp(widest(rows), temperature=temperature).to(rows.dtype),)


def _logsumexp_forward(rows: Tensor, temperature: float) -> tuple[tuple[Tensor], tuple[()]]:
    z = rows.reshape(-1, rows.shape[-1])
    result = torch.empty(len(z), dtype=rows.dtype, device=rows.device)
    for part in blocks(z):
        seen = row(widest(z[part]), temperature=temperature)
        top, others = seen.top, seen.sum_of_others(seen.terms())
        result[part] = torch.where(torch.isfinite(top), top + torch.log1p(others), top).squeeze(-1)
    return (result.reshape(rows.shape[:-1]),), ()


def _logsumexp_backward(gradients: tuple[Tensor], kept: tuple[()], rows: Tensor, temperature: float) -> Tensor:
    z, g = rows.reshape(-1, rows.shape[-1]), wide(gradients[0]).reshape(-1, 1)
    result = torch.empty_like(z)
    for part in blocks(z):
        seen = row(z[part], temperature=temperature)
        terms = seen.terms()
        p = terms.div_(terms.sum(-1, keepdim=True)).masked_fill_(seen.top == -float("inf"), 0.0)
        result[part] = p.mul_(g[part]).div_(temperature)
    return result.reshape(rows.shape)


_SOFTMAX = _autograd.Rule(_softmax, _softmax_forward, _softmax_backward, "softmax")
_LOG_SOFTMAX = _autograd.Rule(_log_softmax, _log_softmax_forward, _log_softmax_backward, "softmax")
_LOGSUMEXP = _autograd.Rule(_logsumexp, _logsumexp_forward, _logsumexp_backward, "logsumexp")
