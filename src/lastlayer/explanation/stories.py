"""How each kind of computation is told: the steps from logits to gradient, computed in float64.

Each loss and gradient is the library's own; the checks hold it against the step-by-step value.
"""

import torch
from torch import Tensor

from lastlayer import functional
from lastlayer.explanation.expressions import Call, Expr, Number, Sum, Symbol
from lastlayer.explanation.trace import Column, Invariant, Step


def multiclass(z: Tensor, target: int | None, temperature: float) -> list[Step]:
    """Logits → shift → exp → sum → probabilities; with a target → one-hot → its p → −log → loss → gradient."""
    steps, u, name = _logits(z, temperature, "j")
    top = u.max()
    d = torch.where(u == top, 0.0, u - top)
    e = d.exp()
    p = functional.softmax(u, 0)
    own, probability = Symbol(name, "j"), Symbol("p", "j")
    steps += [
        Step("shift", Symbol("d", "j"), own - Sum(Symbol(name, "k"), "max"), d, (_is("largest_is_zero", d.max()),)),
        Step("exp", Symbol("e", "j"), Call("exp", Symbol("d", "j")), e, (_is("positive", e.min().clamp(max=0)),)),
        Step("sum", Symbol("S"), Sum(Symbol("e", "k")), e.sum()),
        Step(
            "probabilities",
            probability,
            Symbol("e", "j") / Symbol("S"),
            p,
            (_is("sum_is_one", p.sum() - 1),),
            (Column("sigmoid", functional.sigmoid(u)),),
        ),
    ]
    if target is None:
        return steps

    truth = functional.one_hot(torch.tensor(target), len(z)).double()
    leaf = z.clone().requires_grad_()
    loss = functional.cross_entropy(leaf, torch.tensor(target), temperature=temperature)
    (gradient,) = torch.autograd.grad(loss, leaf)
    surprisal = -functional.log_softmax(u, 0)[target]
    log_sum = Call("log", Sum(Call("exp", Symbol(name, "k"))))
    slope = probability - Symbol("y", "j")
    return [
        *steps,
        Step("truth", Symbol("y", "j"), None, truth),
        Step("pick", Symbol("q"), Sum(Symbol("y", "k") * Symbol("p", "k")), p[target]),
        Step("surprisal", Symbol("s"), -Call("log", Symbol("q")), surprisal),
        Step(
            "loss",
            Symbol("L"),
            log_sum - Sum(Symbol("y", "k") * Symbol(name, "k")),
            loss.detach(),
            (_is("equals_cross_entropy", loss.detach() - surprisal),),
        ),
        Step(
            "gradient",
            Symbol("g", "j"),
            slope if temperature == 1.0 else slope / Number(temperature),
            gradient,
            (
                _is("sum_is_zero", gradient.sum()),
                _is("is_probability_minus_truth", (gradient - (p - truth) / temperature).abs().max()),
            ),
        ),
    ]


def yes_or_no(z: Tensor, truth: Tensor | None, temperature: float) -> list[Step]:
    """Logit → exp → odds + 1 → probability; with the truth → its p → −log → loss → gradient.

    `z` and `truth` are () for one question and (labels) for several.
    """
    j = "j" if z.dim() else None
    steps, u, name = _logits(z, temperature, j)
    e, total, p = torch.exp(-u), 1 + torch.exp(-u), functional.sigmoid(u)
    logit, probability, answer = Symbol(name, j), Symbol("p", j), Symbol("y", j)
    steps += [
        Step("exp", Symbol("e", j), Call("exp", -logit), e, (_is("positive", e.min().clamp(max=0)),)),
        Step("sum", Symbol("S", j), 1 + Symbol("e", j), total),
        Step("probabilities", probability, 1 / Symbol("S", j), p),
    ]
    if truth is None:
        return steps

    leaf = z.clone().requires_grad_()
    loss = functional.binary_cross_entropy_with_logits(leaf / temperature, truth)
    (gradient,) = torch.autograd.grad(loss, leaf)
    surprisal = functional.binary_cross_entropy_with_logits(u, truth, reduction="none")
    whole: Expr = Call("log", 1 + Call("exp", logit)) - answer * logit
    slope: Expr = probability - answer
    if z.dim():
        whole = Sum(Symbol("s", "k")) / Number(len(z))
        slope = slope / Number(len(z))
    return [
        *steps,
        Step("truth", answer, None, truth),
        Step(
            "pick",
            Symbol("q", j),
            answer * probability + (1 - answer) * (1 - probability),
            truth * p + (1 - truth) * functional.sigmoid(-u),
        ),
        Step("surprisal", Symbol("s", j), -Call("log", Symbol("q", j)), surprisal),
        Step(
            "loss",
            Symbol("L"),
            whole,
            loss.detach(),
            (_is("equals_binary_cross_entropy", loss.detach() - surprisal.mean()),),
        ),
        Step(
            "gradient",
            Symbol("g", j),
            slope if temperature == 1.0 else slope / Number(temperature),
            gradient,
            (_is("is_probability_minus_truth", (gradient - (p - truth) / z.numel() / temperature).abs().max()),),
        ),
    ]


def _logits(z: Tensor, temperature: float, j: str | None) -> tuple[list[Step], Tensor, str]:
    """The first steps, the logits that the rest starts from, and what they are called."""
    steps = [Step("logits", Symbol("z", j), None, z)]
    if temperature == 1.0:
        return steps, z, "z"
    u = z / temperature
    return [*steps, Step("tempered", Symbol("u", j), Symbol("z", j) / Number(temperature), u)], u, "u"


def _is(id: str, residual: Tensor) -> Invariant:
    return Invariant(id, float(residual))
