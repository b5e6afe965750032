"""The functions of PyTorch in 240-bit arithmetic, on arrays of mpmath numbers: what a result is measured against.

Every function takes PyTorch's arguments and returns a NumPy array of `mpmath.mpf`, or a single one. Inputs are finite.
"""

import mpmath
import numpy as np
import torch
from torch import Tensor

from tests import reference  # noqa: F401 - it sets the precision

Array = np.ndarray
_exp, _log, _log1p, _number = (
    np.frompyfunc(function, 1, 1) for function in (mpmath.exp, mpmath.log, mpmath.log1p, mpmath.mpf)
)


def lift(x: Tensor | float | None) -> Array:
    """The same numbers, exactly."""
    values = x.detach().double().numpy() if isinstance(x, Tensor) else np.asarray(1.0 if x is None else x)
    return np.asarray(_number(values), dtype=object)


def sigmoid(input: Tensor) -> Array:
    return 1 / (1 + _exp(-lift(input)))


def logit(input: Tensor, eps: float | None = None) -> Array:
    p = lift(input)
    if eps is not None:
        p = np.minimum(np.maximum(p, mpmath.mpf(eps)), 1 - mpmath.mpf(eps))
    return _log(p) - _log1p(-p)


def logsigmoid(input: Tensor) -> Array:
    return -_log1p(_exp(-lift(input)))


def softplus(input: Tensor, beta: float = 1.0) -> Array:
    return _log1p(_exp(lift(input) * beta)) / beta


def log_softmax(input: Tensor, dim: int) -> Array:
    z = lift(input)
    return z - _log(np.sum(_exp(z), axis=dim, keepdims=True))


def softmax(input: Tensor, dim: int) -> Array:
    return _exp(log_softmax(input, dim))


def softmin(input: Tensor, dim: int) -> Array:
    return softmax(-input, dim)


def logsumexp(input: Tensor, dim: int | tuple[int, ...], keepdim: bool = False) -> Array:
    return _log(np.sum(_exp(lift(input)), axis=dim, keepdims=keepdim))


def nll_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean"
) -> Array:
    log_p, q, kept = _rows(lift(input), target, ignore_index)
    w = lift(weight)
    used = np.sum(q * w, -1) * kept
    return _reduced(-np.sum(q * w * log_p, -1) * kept, np.sum(used), reduction)


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Array:
    axis = min(1, input.dim() - 1)
    log_p, q, kept = _rows(log_softmax(input, axis), target, ignore_index)
    w, smoothing = lift(weight), mpmath.mpf(label_smoothing)
    spread = smoothing / input.shape[axis]
    per_row = -np.sum(((1 - smoothing) * q + spread) * w * log_p, -1) * kept
    if target.is_floating_point():
        return _reduced(per_row, kept.size, reduction)
    # An index is weighted by its own weight, its smoothing by every class's.
    return _reduced(per_row, np.sum(np.sum(q * w, -1) * kept), reduction)


def linear_cross_entropy(
    input: Tensor, linear_weight: Tensor, target: Tensor, linear_bias: Tensor | None = None, **options: object
) -> Array:
    """Of logits rounded to float64: each entry of the product is a sum of few exact products."""
    logits = input.double() @ linear_weight.double().t() + (0 if linear_bias is None else linear_bias.double())
    rows = tuple(logits.shape[:-1])
    if logits.dim() > 2:
        target = target.reshape(-1, logits.shape[-1]) if target.dim() == logits.dim() else target.reshape(-1)
        logits = logits.reshape(-1, logits.shape[-1])
    loss = cross_entropy(logits, target, **options)
    return loss.reshape(rows) if np.size(loss) > 1 else loss


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Array:
    x, y = lift(input), lift(target)
    loss = lift(weight) * (lift(pos_weight) * y * _log1p(_exp(-x)) + (1 - y) * _log1p(_exp(x)))
    return _reduced(loss, x.size, reduction)


def binary_cross_entropy(input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean") -> Array:
    p, y = lift(input), lift(target)
    return _reduced(-lift(weight) * (y * _log(p) + (1 - y) * _log1p(-p)), p.size, reduction)


def kl_div(input: Tensor, target: Tensor, reduction: str = "mean", log_target: bool = False) -> Array:
    log_q, t = lift(input), lift(target)
    loss = _exp(t) * (t - log_q) if log_target else t * (_log(t) - log_q)
    if reduction == "batchmean":
        return np.sum(loss) / (input.shape[0] if input.dim() else 1)
    return _reduced(loss, np.size(loss), reduction)


def _rows(log_p: Array, target: Tensor, ignore_index: int) -> tuple[Array, Array, Array]:
    """Classes on the last axis; the target as a distribution; 1 where the row counts."""
    axis = min(1, log_p.ndim - 1)
    log_p = np.moveaxis(log_p, axis, -1)
    if target.is_floating_point():
        return log_p, np.moveaxis(lift(target), axis, -1), np.ones(log_p.shape[:-1], dtype=object)
    target = target.long().reshape(log_p.shape[:-1])
    kept = target != ignore_index
    q = torch.nn.functional.one_hot(target.where(kept, 0), log_p.shape[-1])
    return log_p, lift(q), lift(kept)


def _reduced(loss: Array, count: object, reduction: str) -> Array:
    if reduction == "none":
        return loss
    return np.sum(loss) if reduction == "sum" else np.sum(loss) / count
