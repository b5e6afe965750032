"""The judge: every function by its definition in 256-bit arithmetic, and the distance of a result from it.

Sums of terms of one sign are used where the definition cancels, because 256 bits are not enough for
log(1 + 1e-300). `tests/test_accuracy.py` holds these formulas to the plain definitions in 4,000 bits.
"""

from collections.abc import Sequence
from functools import cached_property

import mpmath
import torch

mp = mpmath.MPContext()  # a context of its own: nobody else's precision is touched
mp.prec = 256

Exact = mpmath.mpf


class Row:
    """The softmax of one row of logits, and what follows from it."""

    def __init__(self, logits: Sequence[Exact | float], exponentials: dict[float, Exact] | None = None) -> None:
        self.z = [mp.mpf(value) for value in logits]
        self.top = max(self.z)
        self.where = self.z.index(self.top)
        if exponentials is None:
            self.e = [mp.exp(value - self.top) for value in self.z]
        else:  # half precision has few distinct differences
            self.e = [_remembered(value - self.top, exponentials) for value in self.z]

    @cached_property
    def others(self) -> Exact:
        """Σ exp(z − max) without the largest."""
        return self.all_but(self.where)

    @cached_property
    def log_sum(self) -> Exact:
        """log Σ exp(z − max)."""
        return mp.log1p(self.others)

    def all_but(self, y: int) -> Exact:
        """Σ exp(z − max) without class y."""
        return mp.fsum(value for j, value in enumerate(self.e) if j != y)

    def log_p(self, j: int) -> Exact:
        return (self.z[j] - self.top) - self.log_sum

    def p(self, j: int) -> Exact:
        return self.e[j] / (1 + self.others)

    def not_p(self, j: int) -> Exact:
        """1 − p of class j."""
        return self.all_but(j) / (1 + self.others)

    def logsumexp(self) -> Exact:
        return self.top + self.log_sum

    def entropy(self) -> Exact:
        return mp.fsum(self.p(j) * -self.log_p(j) for j in range(len(self.z)))

    def cross_entropy(self, q: Sequence[Exact]) -> Exact:
        return mp.fsum(share * -self.log_p(j) for j, share in enumerate(q) if share)

    def slope(self, q: Sequence[Exact], j: int) -> Exact:
        """∂ cross_entropy(q) / ∂z_j."""
        return mp.fsum(q) * self.p(j) - q[j]

    def kl_divergence(self, other: "Row") -> Exact:
        return mp.fsum(self.p(j) * (self.log_p(j) - other.log_p(j)) for j in range(len(self.z)))


def _remembered(difference: Exact, exponentials: dict[float, Exact]) -> Exact:
    key = float(difference)
    if key not in exponentials:
        exponentials[key] = mp.exp(difference)
    return exponentials[key]


def sigmoid(x: float) -> Exact:
    return 1 / (1 + mp.exp(-mp.mpf(x)))


def softplus(x: float) -> Exact:
    return mp.log1p(mp.exp(mp.mpf(x)))


def logit(p: float) -> Exact:
    return mp.log(mp.mpf(p)) - mp.log1p(-mp.mpf(p))


def binary_cross_entropy(p: float, y: float) -> Exact:
    """From a probability; as PyTorch defines it, each logarithm is at least −100."""
    p, y = mp.mpf(p), mp.mpf(y)
    yes = -mp.log(p) if p > 0 else mp.inf
    no = -mp.log1p(-p) if p < 1 else mp.inf
    return y * min(yes, mp.mpf(100)) + (1 - y) * min(no, mp.mpf(100))


def binary_cross_entropy_with_logits(x: float, y: float) -> Exact:
    y = mp.mpf(y)
    return (y * softplus(-x) if y else 0) + ((1 - y) * softplus(x) if y != 1 else 0)


def binary_slope(x: float, y: float) -> Exact:
    """∂ binary_cross_entropy_with_logits / ∂x = σ(x) − y, which for a hard target is a term of one sign."""
    return sigmoid(x) if y == 0 else -sigmoid(-x) if y == 1 else sigmoid(x) - mp.mpf(y)


def kl_term(log_q: float, target: float, log_target: bool) -> Exact:
    """PyTorch's pointwise divergence."""
    if log_target:
        return mp.exp(mp.mpf(target)) * (mp.mpf(target) - mp.mpf(log_q))
    return mp.mpf(target) * (mp.log(mp.mpf(target)) - mp.mpf(log_q)) if target else mp.mpf(0)


def ulps(found: float, exact: Exact, dtype: torch.dtype) -> float:
    """The distance of `found` from `exact` in units of the spacing of `dtype` at `exact`; 0.5 is perfect."""
    info = torch.finfo(dtype)
    if mp.isinf(exact) or abs(exact) > info.max:  # the nearest number of the dtype may be infinite
        return 0.0 if found == float(exact) else float("inf")
    if found != found or abs(found) == float("inf"):
        return float("inf")
    exponent = int(mp.frexp(exact)[1]) - 1 if exact else -100_000
    spacing = mp.ldexp(info.eps, max(exponent, int(mp.frexp(info.tiny)[1]) - 1))
    return float(abs(mp.mpf(found) - exact) / spacing)
