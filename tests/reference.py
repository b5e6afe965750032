"""The judge: every function again, with its formula in sight, in float64 or mpmath. Too slow to ship."""

import mpmath
import torch
from torch import Tensor

mpmath.mp.prec = 240


def log_softmax(z: Tensor, dim: int) -> Tensor:
    z = z.double()
    return z - z.exp().sum(dim, keepdim=True).log()


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    temperature: float = 1.0,
) -> Tensor:
    """Every option, row by row and class by class, as PyTorch's documentation defines them. Logits must be small."""
    rows = input.double().movedim(1, -1) if input.dim() > 1 else input.double()
    classes = rows.shape[-1]
    if softcap is not None:
        rows = softcap * torch.tanh(rows / softcap)
    rows = rows / temperature
    w = torch.ones(classes, dtype=torch.float64) if weight is None else weight.double()
    one_hot = not target.is_floating_point()
    if one_hot:
        kept = target != ignore_index
        q = torch.nn.functional.one_hot(target.where(kept, 0), classes).double()
        counts = (q * w).sum(-1)
    else:
        kept = torch.ones(rows.shape[:-1], dtype=torch.bool)
        q = target.double().movedim(1, -1) if target.dim() > 1 else target.double()
        counts = torch.ones(rows.shape[:-1], dtype=torch.float64)
    smooth = (1 - label_smoothing) * q + label_smoothing / classes
    if one_hot:  # PyTorch: the true class is weighted by its own weight, the uniform part by every class's
        per_row = -((1 - label_smoothing) * q * w + label_smoothing / classes * w) * log_softmax(rows, -1)
    else:
        per_row = -smooth * w * log_softmax(rows, -1)
    per_row = per_row.sum(-1)
    penalty = z_loss * rows.exp().sum(-1).log() ** 2
    per_row, penalty, counts = (torch.where(kept, x, 0.0) for x in (per_row, penalty, counts))
    if reduction == "none":
        return per_row + penalty
    if reduction == "sum":
        return per_row.sum() + penalty.sum()
    return per_row.sum() / counts.sum() + penalty.sum() / kept.sum()


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | float = 1.0,
    *,
    pos_weight: Tensor | float = 1.0,
    reduction: str = "mean",
    focal_gamma: float = 0.0,
    label_smoothing: float = 0.0,
) -> Tensor:
    x, y = input.double(), target.double() * (1 - label_smoothing) + label_smoothing / 2
    p = 1 / (1 + torch.exp(-x))
    loss = -(pos_weight * y * p.log() + (1 - y) * (1 - p).log()) * weight
    loss = loss * (1 - (p * y + (1 - p) * (1 - y))) ** focal_gamma
    return {"none": loss, "sum": loss.sum(), "mean": loss.mean()}[reduction]


# Exact values of single numbers, to 240 bits.


def exact_cross_entropy(row: list[float], y: int) -> mpmath.mpf:
    z = [mpmath.mpf(v) for v in row]
    return mpmath.log(mpmath.fsum(mpmath.exp(v) for v in z)) - z[y]


def exact_gradient(row: list[float], y: int, j: int) -> mpmath.mpf:
    z = [mpmath.mpf(v) for v in row]
    total = mpmath.fsum(mpmath.exp(v) for v in z)
    if j != y:
        return mpmath.exp(z[j]) / total
    return -mpmath.fsum(mpmath.exp(v) for k, v in enumerate(z) if k != y) / total


def exact_softplus(x: float) -> mpmath.mpf:
    return mpmath.log1p(mpmath.exp(mpmath.mpf(x)))


def exact_sigmoid(x: float) -> mpmath.mpf:
    return 1 / (1 + mpmath.exp(-mpmath.mpf(x)))


def exact_logit(p: float) -> mpmath.mpf:
    return mpmath.log(mpmath.mpf(p)) - mpmath.log1p(-mpmath.mpf(p))


def ulps(found: float, exact: mpmath.mpf, dtype: torch.dtype) -> float:
    """Distance between `found` and `exact` in units in the last place of `dtype` at `exact`."""
    if exact == 0:
        return 0.0 if found == 0 else float("inf")
    info = torch.finfo(dtype)
    exponent = max(int(mpmath.floor(mpmath.log(abs(exact), 2))), int(mpmath.floor(mpmath.log(info.tiny, 2))))
    ulp = mpmath.mpf(2) ** exponent * mpmath.mpf(info.eps)
    return float(abs(mpmath.mpf(found) - exact) / ulp)
