"""Every option with every other: the loss and each derivative that there is, against the reference, on every backend.

A grid runs in one test, because ten thousand tests would cost more than what they test. A failure names its
combination.
"""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from lastlayer import functional as ours
from tests import reference
from tests.functional.cases import class_axis, distributions, indices, numbers, probabilities
from tests.functional.judging import EACH_BACKEND, combinations, device, gradients, naming, served_dtype, upstream_of

WEIGHT = torch.tensor([0.5, 2.0, 0.0, 1.0, 3.0], dtype=torch.float64)  # one class counts for nothing
REDUCTIONS = ["none", "mean", "sum"]


def levels(**options: list[Any]) -> list[dict[str, Any]]:
    return [dict(zip(options, values, strict=True)) for values in itertools.product(*options.values())]


MULTICLASS = {
    "weight": [None, WEIGHT],
    "label_smoothing": [0.0, 0.1],
    "reduction": REDUCTIONS,
    "z_loss": [0.0, 0.3],
    "softcap": [None, 4.0],
    "temperature": [1.0, 0.7],
    "return_lse": [False, True],
}
GRIDS = {
    # −100: PyTorch's default; 2: a class of its own, whose rows are then left out; −1: outside the classes
    "index": levels(ignore_index=[-100, 2, -1], **MULTICLASS),
    "one-hot": levels(**MULTICLASS),
    "probabilities": levels(**MULTICLASS),
}


def target_of(kind: str, shape: tuple[int, ...], options: dict[str, Any]) -> Tensor:
    if kind == "probabilities":
        return distributions(shape, torch.float64)
    target, axis = indices(shape), class_axis(shape)
    if kind == "one-hot":
        return torch.nn.functional.one_hot(target, shape[axis]).movedim(-1, axis).double()
    if target.dim():
        target.view(-1)[1::3] = options["ignore_index"]
    return target


def with_lse(result: Tensor | tuple[Tensor, Tensor]) -> Tensor:
    """One tensor, so that both outputs get a gradient at once."""
    if isinstance(result, Tensor):
        return result
    loss, lse = result
    return torch.cat([loss.reshape(-1), lse.reshape(-1).to(loss.dtype)])


def by_reference(z: Tensor, target: Tensor, options: dict[str, Any]) -> Tensor:
    plain = {key: value for key, value in options.items() if key != "return_lse"}
    loss = reference.cross_entropy(z, target, plain.pop("weight"), **plain)
    if not options["return_lse"]:
        return loss
    u = z if options["softcap"] is None else options["softcap"] * torch.tanh(z / options["softcap"])
    lse = (u / options["temperature"]).exp().sum(class_axis(z.shape)).log()
    return with_lse((loss, lse))


def agree(found: tuple[Tensor, list[Tensor]], exact: tuple[Tensor, list[Tensor]], dtype: torch.dtype) -> None:
    tolerance = {torch.float64: 1e-12, torch.float32: 2e-6}[dtype]
    for mine, theirs in zip([found[0], *found[1]], [exact[0], *exact[1]], strict=False):
        torch.testing.assert_close(mine.cpu().double(), theirs, rtol=tolerance, atol=tolerance)


@EACH_BACKEND
@pytest.mark.parametrize("kind", GRIDS)
@pytest.mark.parametrize("shape", [(5,), (4, 5), (3, 5, 2)], ids=str)
def test_cross_entropy(shape, kind, backend):
    dtype, place = served_dtype(backend, "cross_entropy"), device(backend)
    z = numbers(shape, dtype).double()
    for options in combinations(backend, GRIDS[kind]):
        target = target_of(kind, shape, options)
        # Derivatives in the logits, then in the probabilities and the weight as well.
        variables = [x for x in (target, options["weight"]) if x is not None and x.is_floating_point()]

        def call(x, *others, options=options, target=target):
            others = list(others)
            t = others.pop(0) if others and target.is_floating_point() else target.to(place)
            if t.is_floating_point():
                t = t.to(dtype)
            weight = others.pop(0) if others else options["weight"]
            weight = None if weight is None else weight.to(place, dtype)
            rest = {key: value for key, value in options.items() if key != "weight"}
            return with_lse(ours.cross_entropy(x, t, weight, **rest, backend=backend))

        def judge(x, *others, options=options, target=target):
            others = list(others)
            t = others.pop(0) if others and target.is_floating_point() else target
            return by_reference(x, t, {**options, "weight": others.pop(0) if others else options["weight"]})

        with naming(options):
            exact = gradients(judge, [z, *variables])
            assert exact[1][0].abs().max() > 0
            logits = z.to(place, dtype)
            agree(gradients(call, [logits]), exact, dtype)
            if variables:
                agree(gradients(call, [logits, *(x.to(place, dtype) for x in variables)]), exact, dtype)
            else:  # the formula that transforms differentiate has to mean the same as the backward made by hand
                found, pullback = torch.func.vjp(call, logits)
                agree((found, list(pullback(upstream_of(found)))), exact, dtype)


LINEAR = {kind: [{**o, "bias": b} for o in grid for b in (False, True)] for kind, grid in GRIDS.items()}


@EACH_BACKEND
@pytest.mark.parametrize("kind", LINEAR)
def test_linear_cross_entropy(kind, backend):
    dtype, place = served_dtype(backend, "linear_cross_entropy"), device(backend)
    features, matrix, bias = numbers((4, 3), dtype, scale=1.0), numbers((5, 3), dtype, seed=8), numbers((5,), dtype)
    for options in combinations(backend, LINEAR[kind]):
        target = target_of(kind, (4, 5), options)
        rest = {key: value for key, value in options.items() if key not in ("bias", "weight")}

        def call(x, w, *b, options=options, target=target, rest=rest):
            t = target.to(place, dtype) if target.is_floating_point() else target.to(place)
            weight = None if options["weight"] is None else options["weight"].to(place, dtype)
            found = ours.linear_cross_entropy(
                x, w, t, linear_bias=b[0] if b else None, weight=weight, **rest, backend=backend
            )
            return with_lse(found)

        def judge(x, w, *b, options=options, target=target, rest=rest):
            logits = x @ w.t() + (b[0] if b else 0)
            return by_reference(logits, target, {**rest, "weight": options["weight"]})

        with naming(options):
            tensors = [features, matrix, bias] if options["bias"] else [features, matrix]
            exact = gradients(judge, [x.double() for x in tensors])
            assert all(gradient.abs().max() > 0 for gradient in exact[1])
            agree(gradients(call, [x.to(place) for x in tensors]), exact, dtype)


BINARY = levels(
    weight=[None, (5,), (4, 5), (4, 1)],  # shapes that broadcast to the logits
    pos_weight=[None, (5,), (4, 1)],
    focal_gamma=[0.0, 0.5, 1.0, 2.5],
    label_smoothing=[0.0, 0.1],
    reduction=REDUCTIONS,
)


def weights_of(options: dict[str, Any]) -> dict[str, Tensor]:
    """Tensors in place of their shapes."""
    return {
        name: probabilities(options[name], torch.float64, seed=seed) * 2
        for seed, name in enumerate(("weight", "pos_weight"), start=10)
        if options.get(name) is not None
    }


@EACH_BACKEND
@pytest.mark.parametrize("hard", [False, True], ids=["probabilities", "zeros and ones"])
@pytest.mark.parametrize("name", ["binary_cross_entropy_with_logits", "binary_cross_entropy"])
def test_binary_cross_entropy(name, hard, backend):
    """From probabilities: the same loss through a sigmoid, without pos_weight, which PyTorch has for logits only."""
    dtype, place = served_dtype(backend, name), device(backend)
    z, y = numbers((4, 5), dtype).double(), probabilities((4, 5), dtype).double()
    y = y.round() if hard else y
    of_logits = name.endswith("logits")
    for options in combinations(backend, BINARY):
        if not of_logits and options["pos_weight"] is not None:
            continue
        weights = weights_of(options)
        rest = {key: value for key, value in options.items() if key not in ("weight", "pos_weight")}

        def call(x, t=None, *others, weights=weights, rest=rest):
            t = y.to(place, dtype) if t is None else t
            used = dict(zip(weights, others or (w.to(place, dtype) for w in weights.values()), strict=True))
            return getattr(ours, name)(x if of_logits else torch.sigmoid(x), t, **used, **rest, backend=backend)

        def judge(x, t=y, *others, weights=weights, rest=rest):
            used = dict(zip(weights, others or weights.values(), strict=True))
            return reference.binary_cross_entropy_with_logits(x, t, used.pop("weight", 1.0), **used, **rest)

        with naming(options):
            exact = gradients(judge, [z, y, *weights.values()])
            assert all(gradient.abs().max() > 0 for gradient in exact[1])
            logits = z.to(place, dtype)
            agree(gradients(call, [logits]), exact, dtype)
            agree(gradients(call, [x.to(place, dtype) for x in (z, y, *weights.values())]), exact, dtype)


LINEAR_BINARY = [
    {**options, "bias": bias, "single": single}
    for options in BINARY
    for bias in (False, True)
    for single in (False, True)
    if not single or {options["weight"], options["pos_weight"]} <= {None, (4, 5)}
]


@EACH_BACKEND
def test_linear_binary_cross_entropy(backend):
    dtype, place = served_dtype(backend, "linear_binary_cross_entropy"), device(backend)
    features = numbers((4, 3), dtype, scale=1.0)
    for options in combinations(backend, LINEAR_BINARY):
        classes = () if options["single"] else (5,)
        matrix, bias = numbers((*classes, 3), dtype, seed=8), numbers(classes, dtype)
        weights = weights_of(options)
        weights = {name: w[:, 0] if options["single"] else w for name, w in weights.items()}
        y = probabilities((4, *classes), dtype)
        rest = {key: options[key] for key in ("focal_gamma", "label_smoothing", "reduction")}

        def call(x, w, *b, y=y, weights=weights, rest=rest):
            used = {name: value.to(place, dtype) for name, value in weights.items()}
            linear_bias = b[0] if b else None
            return ours.linear_binary_cross_entropy(
                x, w, y.to(place), linear_bias=linear_bias, **used, **rest, backend=backend
            )

        def judge(x, w, *b, y=y, weights=weights, rest=rest):
            used = dict(weights)
            logits = x @ w.t() if w.dim() > 1 else x @ w
            return reference.binary_cross_entropy_with_logits(
                logits + (b[0] if b else 0), y, used.pop("weight", 1.0), **used, **rest
            )

        with naming(options):
            tensors = [features, matrix, bias] if options["bias"] else [features, matrix]
            exact = gradients(judge, [x.double() for x in tensors])
            assert all(gradient.abs().max() > 0 for gradient in exact[1])
            agree(gradients(call, [x.to(place) for x in tensors]), exact, dtype)


NLL = levels(ignore_index=[-100, 2, -1], weight=[None, WEIGHT], reduction=REDUCTIONS)


@EACH_BACKEND
@pytest.mark.parametrize("shape", [(5,), (4, 5), (3, 5, 2)], ids=str)
def test_nll_loss(shape, backend):
    """Of log-probabilities it is the cross-entropy: the reference sees the same numbers as logits."""
    dtype, place = served_dtype(backend, "nll_loss"), device(backend)
    log_p = numbers(shape, torch.float64).log_softmax(class_axis(shape))
    for options in combinations(backend, NLL):
        target = target_of("index", shape, options)
        rest = {key: options[key] for key in ("ignore_index", "reduction")}

        def call(x, *w, target=target, options=options, rest=rest):
            weight = w[0] if w else None if options["weight"] is None else options["weight"].to(place, dtype)
            return ours.nll_loss(x, target.to(place), weight, **rest, backend=backend)

        def judge(x, w=options["weight"], target=target, rest=rest):
            return torch.nn.functional.nll_loss(x, target, w, **rest)

        with naming(options):
            exact = gradients(judge, [log_p])
            agree(gradients(call, [log_p.to(place, dtype)]), exact, dtype)
            through_reference = reference.cross_entropy(log_p, target, options["weight"], **rest)
            torch.testing.assert_close(exact[0], through_reference)
            if options["weight"] is not None:  # PyTorch has no derivative in the weight; the formula has
                z, w = (x.clone().requires_grad_() for x in (log_p, WEIGHT))
                expected = reference.cross_entropy(z, target, w, **rest)
                found = gradients(call, [log_p.to(place, dtype), WEIGHT.to(place, dtype)])
                (slope,) = torch.autograd.grad(expected, w, upstream_of(expected))
                agree((found[0], found[1][1:]), (expected.detach(), [slope]), dtype)
