"""Many rows at once: a loss per row, class weights, rows that are ignored, and one number in the end."""

from dataclasses import replace

import torch
from torch import Tensor

from lastlayer.explanation.expressions import Expr, Number, Symbol, exp, largest, log, total
from lastlayer.explanation.stories.parts import Asked, P, Y, heat, naive, opening, wide
from lastlayer.explanation.trace import Step


def batch(z: Tensor, target: Tensor, asked: Asked) -> list[Step]:
    """Tell cross-entropy over (rows, classes), with an index per row or a distribution per row as target."""
    steps, u, name = opening(z, asked, "ij")
    steps += _softmax(u, name, asked)
    soft = target.is_floating_point()
    used = torch.ones(len(z), dtype=torch.bool) if soft else target != asked.ignore_index
    marks = () if soft else tuple((row, int(y)) for row, y in enumerate(target.tolist()) if used[row])
    steps = [_marked(step, marks) for step in steps]
    steps.append(Step("truth", Symbol(Y, "ij" if soft else "i"), None, target.double(),
                      facts={"note": "soft"} if soft else {}))  # fmt: skip
    steps += _rows(u, target, used, asked) if not soft else _soft_rows(u, target, asked)
    leaf = z.clone().requires_grad_()
    loss = loss_of(leaf, target, asked)
    steps += _reduced(loss, u, target, used, asked, steps)
    (gradient,) = torch.autograd.grad(loss.sum(), leaf)
    steps.append(_gradient(gradient, steps, marks, asked, soft))
    return steps


def loss_of(z: Tensor, target: Tensor, asked: Asked) -> Tensor:
    """The loss that the library computes of raw logits."""
    u = opening(z, asked, "ij")[1]
    loss: Tensor = asked.library.cross_entropy(
        u,
        target.to(u.dtype) if target.is_floating_point() else target,
        None if asked.weight is None else asked.weight.to(u.dtype),
        ignore_index=asked.ignore_index,
        reduction=asked.reduction,
        label_smoothing=asked.label_smoothing,
    )
    return loss


def _softmax(u: Tensor, name: str, asked: Asked) -> list[Step]:
    top = u.amax(1)
    d = u - top.unsqueeze(1)
    e = d.exp()
    p = asked.library.softmax(u, 1)
    careless = naive(exp(Symbol(name, "ij")), torch.exp, u, torch.float32, torch.float16)
    off = (p.double().sum(1) - 1).abs().max()
    return [
        Step("shift", Symbol("d", "ij"), Symbol(name, "ij") - largest(Symbol(name, "ik")), wide(d),
             (asked.check("largest_is_zero", d.amax(1).abs().max()),)),
        Step("exp", Symbol("e", "ij"), exp(Symbol("d", "ij")), wide(e), numerics=asked.stable(top.max(), *careless)),
        Step("sum", Symbol("S", "i"), total(Symbol("e", "ik")), wide(e.sum(1))),
        Step(
            "probabilities", Symbol(P, "ij"), Symbol("e", "ij") / Symbol("S", "i"), wide(p),
            (asked.check("rows_sum_to_one", off, u.shape[1] ** 0.5),),
            plot=heat(p, "i", "j"),
        ),
    ]  # fmt: skip


def _rows(u: Tensor, target: Tensor, used: Tensor, asked: Asked) -> list[Step]:
    """−log p at the target of each row, and what the row weighs."""
    p, logs = asked.library.softmax(u, 1), wide(asked.library.log_softmax(u, 1))
    named = (target >= 0) & (target < u.shape[1])  # an ignored row may still name a class
    safe = torch.where(named, target, torch.zeros_like(target))
    gone = torch.full((len(u),), torch.nan, dtype=torch.float64)
    q = torch.where(named, wide(p).gather(1, safe.unsqueeze(1)).squeeze(1), gone)
    s = torch.where(named, -logs.gather(1, safe.unsqueeze(1)).squeeze(1), gone)
    steps = [
        Step("pick", Symbol("q", "i"), Symbol(P, "i", at=Symbol(Y, "i")), q),
        Step("surprisal", Symbol("s", "i"), -log(Symbol("q", "i")), s, numerics=asked.stable(None)),
    ]
    if asked.label_smoothing:
        w = torch.ones(u.shape[1], dtype=torch.float64) if asked.weight is None else wide(asked.weight)
        spread = -(logs * w).sum(1) / u.shape[1]
        weighed = (Symbol("w", "k") * log(Symbol(P, "ik"))) if asked.weight is not None else log(Symbol(P, "ik"))
        if asked.weight is not None:
            steps.append(Step("class_weights", Symbol("w", "j"), None, w))
        steps.append(Step("spread", Symbol("m", "i"), -total(weighed) / Number(u.shape[1]), spread))
    elif asked.weight is not None:
        steps.append(Step("class_weights", Symbol("w", "j"), None, wide(asked.weight)))
    if asked.weight is not None or not bool(used.all()):
        weight = torch.ones(u.shape[1], dtype=torch.float64) if asked.weight is None else wide(asked.weight)
        v = torch.where(used, weight[safe], torch.zeros_like(q))
        formula = None if not bool(used.all()) or asked.weight is None else Symbol("w", "", at=Symbol(Y, "i"))
        counts = {"ignored": float((~used).sum()), "rows": float(len(u)), "index": float(asked.ignore_index)}
        steps.append(Step("row_weights", Symbol("v", "i"), formula, v, facts=counts))
    return steps


def _soft_rows(u: Tensor, target: Tensor, asked: Asked) -> list[Step]:
    logs, classes = wide(asked.library.log_softmax(u, 1)), u.shape[1]
    y, name, steps = target.double(), Y, []
    if asked.label_smoothing:
        share, name = asked.label_smoothing, "ỹ"
        y = y * (1 - share) + share / classes
        steps.append(Step("smoothed", Symbol(name, "ij"),
                          Number(1 - share) * Symbol(Y, "ij") + Number(share) / Number(classes), y))  # fmt: skip
    term: Expr = Symbol(name, "ik") * log(Symbol(P, "ik"))
    w = torch.ones(classes, dtype=torch.float64)
    if asked.weight is not None:
        w, term = wide(asked.weight), Symbol("w", "k") * term
        steps.append(Step("class_weights", Symbol("w", "j"), None, w))
    s = -(torch.where(y == 0, torch.zeros_like(y), y * logs) * w).sum(1)
    return [*steps, Step("surprisal", Symbol("s", "i"), -total(term), s, facts={"note": "soft"})]


def _reduced(loss: Tensor, u: Tensor, target: Tensor, used: Tensor, asked: Asked, done: list[Step]) -> list[Step]:
    """The rows' losses put together."""
    names = {step.symbol.name for step in done}
    weighed, smooth = "v" in names, "m" in names
    values = {step.symbol.name: step.value for step in done}

    def row(letter: str) -> Expr:
        part: Expr = Symbol("v", letter) * Symbol("s", letter) if weighed else Symbol("s", letter)
        if not smooth:
            return part
        spread: Expr = Symbol("m", letter)
        if not bool(used.all()):
            spread = Symbol("c", letter) * spread
        return Number(1 - asked.label_smoothing) * part + Number(asked.label_smoothing) * spread

    steps: list[Step] = []
    s = values["s"].nan_to_num()
    v = values.get("v", torch.ones_like(s))
    each = v * s
    if smooth:
        if not bool(used.all()):
            steps.append(Step("counted", Symbol("c", "i"), None, used.double()))
        each = (1 - asked.label_smoothing) * each + asked.label_smoothing * values["m"] * used
    if asked.reduction == "none":
        same = asked.check("equals_cross_entropy", (wide(loss) - each).abs().max(), each.abs().max())
        return [*steps, Step("loss", Symbol("L", "i"), row("i"), wide(loss), (same,))]
    whole: Expr = total(row("n"), "n")
    expected = each.sum()
    if asked.reduction == "mean":
        count = v.sum() if weighed else torch.tensor(float(len(s)), dtype=torch.float64)
        whole = whole / (total(Symbol("v", "n"), "n") if weighed else Number(float(count)))
        expected = expected / count
    residual = 0.0 if expected.isnan() and loss.isnan() else wide(loss) - expected
    check = asked.check("equals_cross_entropy", residual, each.abs().sum() if each.numel() else 1.0)
    facts: dict[str, float | str] = {"note": asked.reduction, "rows": float(used.sum()), "chance": float(u.shape[1])}
    if not bool(used.any()):
        facts["note"] = "empty"
    return [*steps, Step("loss", Symbol("L"), whole, wide(loss), (check,), facts=facts)]


def _gradient(gradient: Tensor, done: list[Step], marks: tuple[tuple[int, ...], ...], asked: Asked, soft: bool) -> Step:
    values = {step.symbol.name: step.value for step in done}
    names = set(values)
    formula: Expr | None = None
    checks = [asked.check("rows_sum_to_zero", wide(gradient).sum(1).abs().max(), gradient.shape[1] ** 0.5)]
    if soft and asked.before is None and "w" not in names:
        formula = Symbol(P, "ij") - Symbol("ỹ" if "ỹ" in names else Y, "ij")
        if asked.temperature != 1.0:
            formula = formula / Number(asked.temperature)
        if asked.reduction == "mean":
            formula = formula / Number(gradient.shape[0])
    if asked.before is not None:
        checks = []
    return Step("gradient", Symbol("g", "ij"), formula, wide(gradient), tuple(checks), highlights=marks,
                plot=heat(gradient, "i", "j"), facts={"note": "batch"})  # fmt: skip


def _marked(step: Step, marks: tuple[tuple[int, ...], ...]) -> Step:
    return replace(step, highlights=marks) if step.symbol.index == "ij" else step
