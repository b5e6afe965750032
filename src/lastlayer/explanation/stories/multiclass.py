"""One of many: logits → shift → exp → sum → probabilities → truth → −log → loss → gradient."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lastlayer.explanation.expressions import Expr, Number, Over, Symbol, exp, largest, log, total
from lastlayer.explanation.plots import Plot
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
from lastlayer.explanation.trace import Column, Step

HALF, SINGLE = torch.float16, torch.float32


def multiclass(z: Tensor, target: int | Tensor | None, names: Sequence[str], asked: Asked) -> list[Step]:
    """Tell softmax and, with a target (an index, or probabilities), cross-entropy and its gradient."""
    steps, u, name = opening(z, asked, "j", bars(z))
    steps += softmax_steps(u, name, asked)
    p = steps[-1].value
    steps.append(decision(u, p, names))
    if target is None:
        return steps
    truth = target if isinstance(target, Tensor) else _one_hot(target, z)
    steps += _truth(truth, asked, hard=not isinstance(target, Tensor))
    steps += _loss(z, u, name, target, truth, steps, asked)
    if asked.learning_rate is not None:
        moved(steps, z, steps[-1].value.to(z.dtype), lambda new: _loss_of(new, target, asked), asked.learning_rate)
    return steps


def softmax_steps(u: Tensor, name: str, asked: Asked) -> list[Step]:
    """From logits to probabilities, kept from overflow by subtracting the largest."""
    top = u.max()
    d = torch.where(u == top, torch.zeros_like(u), u - top)  # ∞ is refused before; −0.0 would be shown as such
    e = d.exp()
    p = asked.library.softmax(u, 0)
    careless = naive(exp(Symbol(name, "j")), torch.exp, u, SINGLE, HALF)
    return [
        Step(
            "shift",
            Symbol("d", "j"),
            Symbol(name, "j") - largest(Symbol(name, "k")),
            wide(d),
            (asked.check("largest_is_zero", d.max()),),
        ),
        Step(
            "exp",
            Symbol("e", "j"),
            exp(Symbol("d", "j")),
            wide(e),
            (asked.check("positive", e.min().clamp(max=0)),),
            numerics=asked.stable(top, *careless),
        ),
        Step("sum", Symbol("S"), total(Symbol("e", "k")), wide(e.sum())),
        Step(
            "probabilities",
            Symbol(P, "j"),
            Symbol("e", "j") / Symbol("S"),
            wide(p),
            (asked.check("sum_is_one", p.double().sum() - 1, len(p) ** 0.5),),
            (Column("sigmoid", wide(asked.library.sigmoid(u))),),
            bars(p, scale=1.0),
            numerics=asked.stable(top),
            facts={"sigmoids": float(asked.library.sigmoid(u).double().sum())},
        ),
    ]


def decision(u: Tensor, p: Tensor, names: Sequence[str]) -> Step:
    """The largest, by how much, and whether it is alone."""
    first, second = (int(place) for place in u.double().argsort(descending=True, stable=True)[:2])
    tied = [int(place) for place in (u == u.max()).nonzero().reshape(-1)]
    facts: dict[str, float | str] = {
        "winner": names[first],
        "second": names[second],
        "margin": float(u[first] - u[second]),
        "confidence": float(p[first]),
    }
    if len(tied) > 1:
        facts |= {"note": "tie", "tied": ", ".join(names[place] for place in tied[:5])}
    formula = Over("argmax", "k", Symbol(P, "k"))
    return Step("decision", Symbol("ŷ"), formula, torch.tensor(first, dtype=torch.float64), facts=facts)


def _one_hot(target: int, z: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(torch.tensor(target), len(z)).to(z.dtype)


def _truth(truth: Tensor, asked: Asked, *, hard: bool) -> list[Step]:
    facts: dict[str, float | str] = {} if hard else {"note": "soft"}
    steps = [Step("truth", Symbol(Y, "j"), None, wide(truth), facts=facts)]
    if asked.label_smoothing:
        classes, share = len(truth), asked.label_smoothing
        formula = Number(1 - share) * Symbol(Y, "j") + Number(share) / Number(classes)
        value = truth.double() * (1 - share) + share / classes
        check = asked.check("sum_is_one", value.sum() - truth.double().sum())
        steps.append(Step("smoothed", Symbol("ỹ", "j"), formula, value, (check,)))
    return steps


def _loss_of(z: Tensor, target: int | Tensor, asked: Asked) -> Tensor:
    """The loss that the library computes of raw logits."""
    u = opening(z, asked, "j")[1]
    answer = target if isinstance(target, Tensor) else torch.tensor(target)
    loss: Tensor = asked.library.cross_entropy(u, answer, label_smoothing=asked.label_smoothing)
    return loss


def _loss(
    z: Tensor, u: Tensor, name: str, target: int | Tensor, truth: Tensor, done: list[Step], asked: Asked
) -> list[Step]:
    leaf = z.clone().requires_grad_()
    loss = _loss_of(leaf, target, asked)
    (gradient,) = torch.autograd.grad(loss, leaf)
    logs = asked.library.log_softmax(u, 0)
    y = "ỹ" if asked.label_smoothing else Y
    mixed = done[-1].value
    hard = not isinstance(target, Tensor) and not asked.label_smoothing
    log_sum = log(total(exp(Symbol(name, "k"))))
    careless = naive(log(Symbol(P, "j")), lambda x: torch.softmax(x, 0).log(), u, SINGLE, HALF)  # noqa: LL303 - the mistake itself, told
    terms = torch.where(mixed == 0, torch.zeros_like(mixed), -mixed * wide(logs))
    steps = [
        Step(
            "log_probabilities",
            Symbol("ℓ", "j"),
            Symbol(name, "j") - log_sum,
            wide(logs),
            (asked.check("not_positive", logs.max().clamp(min=0)),),
            (Column("terms", terms),),
            numerics=asked.stable(u.max(), *careless),
        )
    ]
    if hard:
        assert isinstance(target, int)  # noqa: S101 - `hard` says so
        q, s = softmax_at(u, target, asked), -logs[target]
        steps += [
            Step("pick", Symbol("q"), total(Symbol(Y, "k") * Symbol(P, "k")), wide(q)),
            Step("surprisal", Symbol("s"), -log(Symbol("q")), wide(s), plot=_surprisal(q)),
        ]
        whole: Expr = log_sum - total(Symbol(Y, "k") * Symbol(name, "k"))
        same = asked.check("equals_cross_entropy", wide(loss - s), s.abs())
        facts: dict[str, float | str] = {}
    else:
        entropy = -float(torch.xlogy(mixed, mixed).sum())
        whole = -total(Symbol(y, "k") * Symbol("ℓ", "k"))
        same = asked.check("equals_cross_entropy", wide(loss) - terms.sum(), terms.sum())
        facts = {"note": "soft", "floor": entropy, "above": float(loss.detach()) - entropy}
    steps.append(Step("loss", Symbol("L"), whole, wide(loss), (same,), facts=facts))
    steps.append(_gradient(gradient, mixed, done, y, asked))
    return steps


def softmax_at(u: Tensor, target: int, asked: Asked) -> Tensor:
    """The probability of one class."""
    p: Tensor = asked.library.softmax(u, 0)[target]
    return p


def _surprisal(q: Tensor) -> Plot:
    return surprisal_curve(q if q > 0 else None)


def _gradient(gradient: Tensor, mixed: Tensor, done: list[Step], y: str, asked: Asked) -> Step:
    p = next(step.value for step in done if step.id == "probabilities")
    slope: Expr = Symbol(P, "j") - Symbol(y, "j")
    if asked.temperature != 1.0:
        slope = slope / Number(asked.temperature)
    if asked.before is not None:  # the chain goes through the activation in front, and p − y is not the whole of it
        return Step("gradient", Symbol("g", "j"), None, wide(gradient), plot=bars(gradient), facts={"note": "before"})
    expected = (p - mixed) / asked.temperature
    checks = (
        asked.check("sum_is_zero", wide(gradient).sum(), len(p) ** 0.5),
        asked.check("is_probability_minus_truth", (wide(gradient) - expected).abs().max(), 1 / asked.temperature),
    )
    return Step("gradient", Symbol("g", "j"), slope, wide(gradient), checks, plot=bars(gradient))


def own_curve(u: Tensor, place: int) -> Plot:
    """The probability of a class as its own logit moves and the others stay."""

    def probability(x: Tensor) -> Tensor:
        others = torch.cat([u[:place], u[place + 1 :]]).double()
        return torch.sigmoid(x - torch.logsumexp(others, 0))

    return curve("own_logit", probability, float(u[place]) - 6, float(u[place]) + 6, u[place])
