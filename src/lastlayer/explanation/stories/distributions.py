"""Two distributions: information, entropy, cross-entropy both ways, and what believing q costs beyond p."""

import math

import torch
from torch import Tensor

from lastlayer import functional
from lastlayer.explanation.expressions import Number, Symbol, log, total
from lastlayer.explanation.stories.parts import Asked, bars, surprisal_curve
from lastlayer.explanation.trace import Column, Step


def distributions(p: Tensor, q: Tensor) -> list[Step]:
    """`p` and `q` are probabilities of the same classes, in float64."""
    asked = Asked()
    information, code = functional.surprisal(p), functional.surprisal(q)
    entropy, other = functional.cross_entropy_of(p, p), functional.cross_entropy_of(q, p)
    cross = functional.cross_entropy_of(p, q)
    terms = torch.where(p == 0, torch.zeros_like(p), p * code)
    divergence = _divergence(p, q)
    both = Symbol("p", "k")
    picked = q[p.argmax()]
    return [
        Step("p", Symbol("p", "j"), None, p, (asked.check("sum_is_one", p.sum() - 1, 1e3),), plot=bars(p, scale=1.0)),
        Step("q", Symbol("q", "j"), None, q, (asked.check("sum_is_one", q.sum() - 1, 1e3),), plot=bars(q, scale=1.0)),
        Step("information", Symbol("s", "j"), log(1 / Symbol("p", "j")), information),
        Step("entropy", Symbol("H"), total(both * Symbol("s", "k")), entropy,
             (asked.check("at_least_zero", entropy.clamp(max=0)),), facts=_bits(entropy)),
        Step("code", Symbol("r", "j"), -log(Symbol("q", "j")), code, (), (Column("terms", terms),),
             plot=surprisal_curve(picked if picked > 0 else None)),
        Step("cross_entropy", Symbol("C"), total(both * Symbol("r", "k")), cross,
             (asked.check("at_least_entropy", (cross - entropy).clamp(max=0)),), facts=_bits(cross)),
        Step("reversed", Symbol("C′"), total(Symbol("q", "k") * Symbol("s", "k")), other, facts=_bits(other)),
        Step("kl", Symbol("D"), total(both * log(both / Symbol("q", "k"))), divergence,
             (asked.check("at_least_zero", divergence.clamp(max=0)),
              asked.check("is_difference", 0.0 if cross.isinf() else divergence - (cross - entropy))),
             facts=_bits(divergence)),
        Step("bits", Symbol("B"), Symbol("C") / log(Number(2.0)), cross / math.log(2)),
    ]  # fmt: skip


def _divergence(p: Tensor, q: Tensor) -> Tensor:
    """The library's own where it takes these: its logits are log-probabilities, which have to be finite."""
    if bool((p > 0).all() and (q > 0).all()):
        return functional.kl_divergence(p.log(), q.log())
    return torch.where(p == 0, torch.zeros_like(p), p * (p.log() - q.log())).sum()


def _bits(nats: Tensor) -> dict[str, float | str]:
    return {"bits": float(nats) / math.log(2)}
