"""From the last hidden layer: logits = W x + b, their loss, and one step of gradient descent on W and b."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lastlayer.explanation.expressions import Number, Symbol, total
from lastlayer.explanation.plots import Matrix
from lastlayer.explanation.stories.multiclass import multiclass
from lastlayer.explanation.stories.parts import Asked, heat, new_loss, wide
from lastlayer.explanation.trace import Step


def features(
    x: Tensor, weight: Tensor, bias: Tensor, target: int | None, names: Sequence[str], asked: Asked
) -> list[Step]:
    """`x` is (features), `weight` (classes, features), `bias` (classes)."""
    z = weight @ x + bias
    made = total(Symbol("W", "jm") * Symbol("x", "m"), "m") + Symbol("b", "j")
    plain = Asked(dtype=asked.dtype, by=asked.by)
    rest = multiclass(z, target, names, plain)
    steps = [
        Step("features", Symbol("x", "m"), None, wide(x)),
        Step("weight", Symbol("W", "jm"), None, wide(weight), plot=_heat(weight)),
        Step("bias", Symbol("b", "j"), None, wide(bias)),
        Step("logits", Symbol("z", "j"), made, wide(z), plot=rest[0].plot, facts={"note": "features"}),
        *rest[1:],
    ]
    if target is None:
        return steps
    steps += _gradients(x, weight, bias, target, steps[-1].value, asked)
    if asked.learning_rate is not None:
        steps += _step(x, weight, bias, target, steps, asked, asked.learning_rate)
    return steps


def _gradients(x: Tensor, weight: Tensor, bias: Tensor, target: int, g: Tensor, asked: Asked) -> list[Step]:
    w, b = weight.clone().requires_grad_(), bias.clone().requires_grad_()
    loss = asked.library.linear_cross_entropy(x.unsqueeze(0), w, torch.tensor([target]), linear_bias=b)
    of_weight, of_bias = torch.autograd.grad(loss, (w, b))
    outer = g.unsqueeze(1) * wide(x)
    scale = outer.abs().max()
    return [
        Step("weight_gradient", Symbol("G", "jm"), Symbol("g", "j") * Symbol("x", "m"), wide(of_weight),
             (asked.check("is_outer_product", (wide(of_weight) - outer).abs().max(), scale),), plot=_heat(of_weight)),
        Step("bias_gradient", Symbol("h", "j"), Symbol("g", "j"), wide(of_bias),
             (asked.check("is_gradient_of_logits", (wide(of_bias) - g).abs().max()),)),
    ]  # fmt: skip


def _step(
    x: Tensor, weight: Tensor, bias: Tensor, target: int, done: list[Step], asked: Asked, rate: float
) -> list[Step]:
    values = {step.symbol.name: step.value for step in done}
    w, b = wide(weight) - rate * values["G"], wide(bias) - rate * values["h"]
    z = w @ wide(x) + b
    loss = wide(asked.library.cross_entropy(z, torch.tensor(target)))
    step = Number(rate)
    made = total(Symbol("W′", "jm") * Symbol("x", "m"), "m") + Symbol("b′", "j")
    return [
        Step("new_weight", Symbol("W′", "jm"), Symbol("W", "jm") - step * Symbol("G", "jm"), w, plot=_heat(w)),
        Step("new_bias", Symbol("b′", "j"), Symbol("b", "j") - step * Symbol("h", "j"), b),
        Step("moved", Symbol("z′", "j"), made, z, facts={"note": "features"}),
        new_loss(values["L"], loss),
    ]


def _heat(value: Tensor) -> Matrix | None:
    return heat(value, "j", "m")
