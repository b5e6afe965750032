"""Two ways side by side: what people try first, and why the field does it otherwise."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lastlayer import functional
from lastlayer.explanation.expressions import (
    Binary,
    Call,
    Number,
    Over,
    Symbol,
    exp,
    largest,
    log,
    total,
)  # fmt: skip
from lastlayer.explanation.stories.parts import Asked, bars, naive, surprisal_curve, wide
from lastlayer.explanation.trace import Column, Invariant, Step

_CHECKS = Asked()
_Z, _ZK, _P, _PK, _Y, _YK = (Symbol(name, letter) for name in "zpy" for letter in "jk")


def sigmoids_or_softmax(z: Tensor, names: Sequence[str], target: int | None) -> list[Step]:
    """Each class for itself, or all classes together; and what adding 1 to every logit does to both."""
    alone, together = functional.sigmoid(z), functional.softmax(z, 0)
    up = z + 1
    moved = functional.softmax(up, 0)
    return [
        Step("logits", _Z, None, z, plot=bars(z)),
        Step("sigmoids", Symbol("a", "j"), Call("σ", _Z), alone, plot=bars(alone, scale=1.0)),
        Step("sigmoid_sum", Symbol("A"), total(Symbol("a", "k")), alone.sum()),
        Step("probabilities", _P, exp(_Z) / total(exp(_ZK)), together, (_sums_to_one(together),),
             (Column("sigmoid", alone),), bars(together, scale=1.0), facts={"note": "together"}),
        Step("lifted", Symbol("u", "j"), _Z + 1, up),
        Step("lifted_sigmoids", Symbol("a′", "j"), Call("σ", Symbol("u", "j")), functional.sigmoid(up), (),
             (Column("sigmoid", alone),)),
        Step("lifted_softmax", Symbol("p′", "j"), exp(Symbol("u", "j")) / total(exp(Symbol("u", "k"))), moved,
             (_CHECKS.check("unchanged", (moved - together).abs().max()),)),
    ]  # fmt: skip


def ratio_or_exp(z: Tensor, names: Sequence[str], target: int | None) -> list[Step]:
    """Divide by the sum at once, or after the exponential."""
    share = z / z.sum()
    e, p = z.exp(), functional.softmax(z, 0)
    low = share.min().clamp(max=0) if bool(share.isfinite().all()) else torch.tensor(torch.nan)
    return [
        Step("logits", _Z, None, z, plot=bars(z)),
        Step("plain_sum", Symbol("T"), total(_ZK), z.sum()),
        Step("ratio", Symbol("r", "j"), _Z / Symbol("T"), share, (_CHECKS.check("positive", low),)),
        Step("exp", Symbol("e", "j"), exp(_Z), e, (_CHECKS.check("positive", e.min().clamp(max=0)),), plot=bars(e),
             facts={"note": "contrast"}),
        Step("sum", Symbol("S"), total(Symbol("e", "k")), e.sum(), facts={"note": "contrast"}),
        Step("probabilities", _P, Symbol("e", "j") / Symbol("S"), p, (_sums_to_one(p),), plot=bars(p, scale=1.0),
             facts={"note": "together"}),
    ]  # fmt: skip


def max_argmax_softmax(z: Tensor, names: Sequence[str], target: int | None) -> list[Step]:
    """Three views of one vector, and softmax turning into the hard one as the temperature falls."""
    hard, tied = functional.hardmax(z, 0, return_ties=True)
    p, cold, soft_max = functional.softmax(z, 0), functional.softmax(z, 0, temperature=0.1), functional.logsumexp(z, 0)
    best = int(hard.argmax())
    equal = ", ".join(names[place] for place in (z == z.max()).nonzero().reshape(-1).tolist())
    facts: dict[str, float | str] = {"note": "tie" if bool(tied) else "plain", "tied": equal, "winner": names[best]}
    return [
        Step("logits", _Z, None, z, plot=bars(z)),
        Step("largest", Symbol("m"), largest(_ZK), z.max()),
        Step("soft_maximum", Symbol("M"), log(total(exp(_ZK))), soft_max),
        Step("decision", Symbol("ŷ"), Over("argmax", "k", _ZK), torch.tensor(best, dtype=torch.float64), facts=facts),
        Step("hardmax", Symbol("h", "j"), Call("[]", Binary("=", _Z, Symbol("m"))) if not bool(tied) else None,
             wide(hard)),
        Step("probabilities", _P, exp(_Z) / total(exp(_ZK)), p, (_sums_to_one(p),), plot=bars(p, scale=1.0),
             facts={"note": "together"}),
        Step("cold", Symbol("c", "j"), exp(_Z / Number(0.1)) / total(exp(_ZK / Number(0.1))), cold,
             (_sums_to_one(cold),), plot=bars(cold, scale=1.0)),
    ]  # fmt: skip


def squared_error_or_cross_entropy(z: Tensor, names: Sequence[str], target: int | None) -> list[Step]:
    """What each makes of the same wrong answer, and of its gradient."""
    truth = functional.one_hot(torch.tensor(target or 0), len(z)).double()
    p = functional.softmax(z, 0)

    def slope(loss: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        leaf = z.clone().requires_grad_()
        value = loss(leaf)
        return value.detach(), torch.autograd.grad(value, leaf)[0]

    squared, flat = slope(lambda x: (functional.softmax(x, 0) - truth).square().sum())
    cross, steep = slope(lambda x: functional.cross_entropy(x, torch.tensor(target or 0)))
    q = p[target or 0]
    chain = Number(2.0) * _P * ((_P - _Y) - total((_PK - _YK) * _PK))
    return [
        Step("logits", _Z, None, z, plot=bars(z)),
        Step("probabilities", _P, exp(_Z) / total(exp(_ZK)), p, (_sums_to_one(p),), plot=bars(p, scale=1.0),
             facts={"note": "together"}),
        Step("truth", _Y, None, truth),
        Step("squared", Symbol("Q"), total((_PK - _YK) ** 2), squared),
        Step("cross_entropy", Symbol("C"), -total(_YK * log(_PK)), cross, plot=surprisal_curve(q if q > 0 else None),
             facts={"note": "contrast"}),
        Step("squared_gradient", Symbol("f", "j"), chain, flat, plot=bars(flat)),
        Step("gradient", Symbol("g", "j"), _P - _Y, steep, (_CHECKS.check("sum_is_zero", steep.sum()),),
             plot=bars(steep)),
    ]  # fmt: skip


def three_ways_to_nll(z: Tensor, names: Sequence[str], target: int | None) -> list[Step]:
    """Two published "methods", and what the negative log-likelihood is."""
    index = torch.tensor(target or 0)
    truth = functional.one_hot(index, len(z)).double()
    p, logs = functional.softmax(z, 0), functional.log_softmax(z, 0)
    loss = functional.nll_loss(logs, index)
    return [
        Step("logits", _Z, None, z, plot=bars(z)),
        Step("probabilities", _P, exp(_Z) / total(exp(_ZK)), p, (_sums_to_one(p),), plot=bars(p, scale=1.0),
             facts={"note": "together"}),
        Step("truth", _Y, None, truth),
        Step("largest_only", Symbol("a"), -log(largest(_PK)), -logs.max()),
        Step("all_outputs", Symbol("b"), -total(_YK * log(_PK) + (1 - _YK) * log(1 - _PK)),
             functional.binary_cross_entropy(p, truth, reduction="sum")),
        Step("no_log", Symbol("c"), -total(_YK * _PK), functional.nll_loss(p, index)),
        Step("loss", Symbol("L"), -total(_YK * log(_PK)), loss,
             (_CHECKS.check("equals_cross_entropy", loss - functional.cross_entropy(z, index)),),
             facts={"note": "contrast"}),
    ]  # fmt: skip


def bases(z: Tensor, names: Sequence[str], target: int | None) -> list[Step]:
    """Any base above 1 makes probabilities; base b is base e at logits z · ln b."""
    two, rough = torch.pow(2.0, z), torch.pow(2.7, z)
    p2 = two / two.sum()
    p = functional.softmax(z, 0)
    same = functional.softmax(z * torch.log(torch.tensor(2.0, dtype=torch.float64)), 0)
    power = Binary("^", Number(2.0), _Z)
    return [
        Step("logits", _Z, None, z, plot=bars(z)),
        Step("powers_of_two", Symbol("t", "j"), power, two, (_CHECKS.check("positive", two.min().clamp(max=0)),)),
        Step("powers_of_2_7", Symbol("w", "j"), Binary("^", Number(2.7), _Z), rough),
        Step("base_two", Symbol("b", "j"), Symbol("t", "j") / total(Symbol("t", "k")), p2, (_sums_to_one(p2),),
             plot=bars(p2, scale=1.0)),
        Step("rescaled", Symbol("a", "j"), exp(_Z * log(Number(2.0))) / total(exp(_ZK * log(Number(2.0)))), same,
             (_CHECKS.check("same_as_base_two", (same - p2).abs().max()),)),
        Step("probabilities", _P, exp(_Z) / total(exp(_ZK)), p, (_sums_to_one(p),), plot=bars(p, scale=1.0),
             facts={"note": "base_e"}),
    ]  # fmt: skip


def naive_or_stable(z: Tensor, names: Sequence[str], target: int | None) -> list[Step]:
    """The formula as it is written, in float32, against the same with the largest subtracted; and the eps trick."""
    single = z.float()
    whole = naive(exp(_Z) / total(exp(_ZK)), lambda x: x.exp() / x.exp().sum(), z, torch.float32, torch.float16)
    careless_log = single.softmax(0).log()  # noqa: LL303 - the mistake itself, told
    logs = functional.log_softmax(z, 0)
    p = functional.softmax(z, 0)
    patched = (single.softmax(0) + 1e-8).log()  # noqa: LL303, LL304 - the same
    half = torch.tensor(1e-8, dtype=torch.float64).half().double()
    return [
        Step("logits", _Z, None, z, plot=bars(z)),
        Step("naive_exp", Symbol("e", "j"), exp(_Z), wide(single.exp()), facts={"note": "float32"}),
        Step("naive_softmax", Symbol("n", "j"), Symbol("e", "j") / total(Symbol("e", "k")),
             wide(single.exp() / single.exp().sum())),
        Step("probabilities", _P, exp(_Z - largest(_ZK)) / total(exp(_ZK - largest(_ZK))), p, (_sums_to_one(p),),
             plot=bars(p, scale=1.0), numerics=_CHECKS.stable(z.max(), *whole), facts={"note": "stable"}),
        Step("naive_log", Symbol("l", "j"), None, wide(careless_log)),
        Step("eps", Symbol("ε"), None, torch.tensor(1e-8, dtype=torch.float64), facts={"half": float(half)}),
        Step("patched_log", Symbol("x", "j"), None, wide(patched)),
        Step("log_probabilities", Symbol("ℓ", "j"), _Z - log(total(exp(_ZK))), logs,
             (_CHECKS.check("not_positive", logs.max().clamp(min=0)),),
             numerics=_CHECKS.stable(z.max()), facts={"note": "stable"}),
    ]  # fmt: skip


Contrast = Callable[[Tensor, Sequence[str], int | None], list[Step]]
CONTRASTS: dict[str, Contrast] = {
    "sigmoid-softmax": sigmoids_or_softmax,
    "ratio-exp": ratio_or_exp,
    "argmax-softmax": max_argmax_softmax,
    "squared-error": squared_error_or_cross_entropy,
    "nll": three_ways_to_nll,
    "base": bases,
    "naive-stable": naive_or_stable,
}
NEEDS_TARGET = ("squared-error", "nll")


def _sums_to_one(p: Tensor) -> Invariant:
    return _CHECKS.check("sum_is_one", p.sum() - 1, len(p) ** 0.5)
