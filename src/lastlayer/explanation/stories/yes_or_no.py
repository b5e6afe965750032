"""Yes or no, once or several times over: logit → exp → odds + 1 → probability → −log → loss → gradient."""

import torch
from torch import Tensor

from lastlayer.explanation.expressions import Expr, Number, Symbol, exp, log, total
from lastlayer.explanation.stories.parts import (
    Asked,
    P,
    Y,
    bars,
    curve,
    moved,
    naive,
    opening,
    surprisal_curve,
    wide,
)  # fmt: skip
from lastlayer.explanation.trace import Step

HALF, SINGLE = torch.float16, torch.float32


def yes_or_no(z: Tensor, truth: Tensor | None, letters: str, asked: Asked, threshold: float = 0.5) -> list[Step]:
    """Tell the sigmoid and, with the truth, binary cross-entropy and its gradient.

    `z` and `truth` have an axis per letter: "" one question, "j" one per label, "i" one per row, "ij" both.
    """
    steps, u, name = opening(z, asked, letters, bars(z) if letters == "j" else None)
    steps += _sigmoid(u, name, letters, asked)
    steps.append(_decision(u, letters, threshold))
    if truth is None:
        return steps
    steps += _truth(truth.to(z.dtype), letters, asked)
    steps += _loss(z, u, name, truth.to(z.dtype), steps[-1], letters, asked)
    if asked.learning_rate is not None:
        answer = truth.to(z.dtype)
        moved(steps, z, steps[-1].value.to(z.dtype), lambda new: _loss_of(new, answer, asked), asked.learning_rate)
    return steps


def _sigmoid(u: Tensor, name: str, letters: str, asked: Asked) -> list[Step]:
    e, p = torch.exp(-u), asked.library.sigmoid(u)
    logit = Symbol(name, letters)
    picture = bars(p, scale=1.0) if letters == "j" else None
    if not letters:
        picture_one = curve("sigmoid", torch.sigmoid, -6.0, 6.0, u)
    careless = naive(exp(-logit), lambda x: torch.exp(-x), u, SINGLE, HALF)
    return [
        Step(
            "exp",
            Symbol("e", letters),
            exp(-logit),
            wide(e),
            (asked.check("positive", e.min().clamp(max=0)),),
            numerics=asked.stable(None, *careless),
        ),
        Step("sum", Symbol("S", letters), 1 + Symbol("e", letters), wide(1 + e)),
        Step(
            "probabilities",
            Symbol(P, letters),
            1 / Symbol("S", letters),
            wide(p),
            (asked.check("within_0_1", (p.double() - p.double().clamp(0, 1)).abs().max()),),
            plot=picture if letters else picture_one,
            numerics=asked.stable(None),
            facts={"sigmoids": float(p.double().sum())},
        ),
    ]


def _decision(u: Tensor, letters: str, threshold: float) -> Step:
    """1 where the probability is above the threshold, judged on the logit, where it is the same and exact."""
    cut = float(torch.logit(torch.tensor(threshold, dtype=torch.float64)))
    value = (u.double() > cut).double()
    return Step("decision", Symbol("ŷ", letters), None, value, facts={"threshold": threshold, "cut": cut})


def _truth(truth: Tensor, letters: str, asked: Asked) -> list[Step]:
    steps = [Step("truth", Symbol(Y, letters), None, wide(truth))]
    if asked.label_smoothing:
        share = asked.label_smoothing
        formula = Number(1 - share) * Symbol(Y, letters) + Number(share) / Number(2)
        steps.append(Step("smoothed", Symbol("ỹ", letters), formula, truth.double() * (1 - share) + share / 2))
    return steps


def _loss_of(z: Tensor, truth: Tensor, asked: Asked) -> Tensor:
    """The loss that the library computes of raw logits; PyTorch has no smoothing here, so it is in the truth."""
    u = opening(z, asked, "")[1]
    share = asked.label_smoothing
    mixed = truth * (1 - share) + share / 2 if share else truth
    loss: Tensor = asked.library.binary_cross_entropy_with_logits(u, mixed, reduction=asked.reduction)
    return loss


def _loss(z: Tensor, u: Tensor, name: str, truth: Tensor, last: Step, letters: str, asked: Asked) -> list[Step]:
    y, mixed = last.symbol.name, last.value
    logit, probability, answer = Symbol(name, letters), Symbol(P, letters), Symbol(y, letters)
    leaf = z.clone().requires_grad_()
    loss = _loss_of(leaf, truth, asked)
    (gradient,) = torch.autograd.grad(loss, leaf)
    p = asked.library.sigmoid(u)
    s = wide(asked.library.binary_cross_entropy_with_logits(u, mixed.to(u.dtype), reduction="none"))
    whole: Expr = log(1 + exp(logit)) - answer * logit
    slope = _slope(probability - answer, z.numel(), asked)
    if letters:
        terms: Expr = Symbol("s", letters.replace("i", "n").replace("j", "k"))
        for letter in reversed(letters):
            terms = total(terms, {"i": "n", "j": "k"}[letter])
        whole = terms if asked.reduction == "sum" else terms / Number(z.numel())
    per_entry = Symbol("s", letters)
    careless = naive(-log(Symbol("q", letters)), lambda x: _log_naive(x, mixed), u, SINGLE, HALF)
    steps: list[Step] = []
    hard = bool(((mixed == 0) | (mixed == 1)).all())
    if hard:
        q = mixed * wide(p) + (1 - mixed) * wide(asked.library.sigmoid(-u))
        pick = answer * probability + (1 - answer) * (1 - probability)
        plot = surprisal_curve(q) if not letters and q > 0 else None
        steps.append(Step("pick", Symbol("q", letters), pick, q))
        steps.append(
            Step(
                "surprisal", per_entry, -log(Symbol("q", letters)), s, plot=plot, numerics=asked.stable(None, *careless)
            )
        )
    else:
        form = -(answer * log(probability) + (1 - answer) * log(1 - probability))
        steps.append(Step("surprisal", per_entry, form, s, numerics=asked.stable(None), facts={"note": "soft"}))
    same = asked.check(
        "equals_binary_cross_entropy", wide(loss) - (s.sum() if asked.reduction == "sum" else s.mean()), s.abs().sum()
    )
    facts: dict[str, float | str] = {"note": "entries_sum" if asked.reduction == "sum" else ""}
    steps.append(Step("loss", Symbol("L"), whole, wide(loss), (same,), facts=facts))
    steps.append(_gradient(gradient, wide(p), mixed, slope, letters, asked))
    return steps


def _slope(difference: Expr, count: int, asked: Asked) -> Expr:
    slope = difference if count == 1 or asked.reduction == "sum" else difference / Number(count)
    return slope if asked.temperature == 1.0 else slope / Number(asked.temperature)


def _gradient(gradient: Tensor, p: Tensor, mixed: Tensor, slope: Expr, letters: str, asked: Asked) -> Step:
    picture = bars(gradient) if letters == "j" else None
    if asked.before is not None:
        return Step("gradient", Symbol("g", letters), None, wide(gradient), plot=picture, facts={"note": "before"})
    share = 1 if asked.reduction == "sum" else p.numel()
    expected = (p - mixed) / share / asked.temperature
    off = (wide(gradient) - expected).abs().max()
    check = asked.check("is_probability_minus_truth", off, 1 / asked.temperature)
    return Step("gradient", Symbol("g", letters), slope, wide(gradient), (check,), plot=picture)


def _log_naive(x: Tensor, y: Tensor) -> Tensor:
    """−log of a probability that was rounded first."""
    p = torch.sigmoid(x)
    return -torch.where(y > 0.5, p, 1 - p).log()
