"""lastlayer beside PyTorch: one small program per case, and what it should give."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import NamedTuple

import torch
from torch import Tensor, tensor

from benchmarks.accuracy import exact
from benchmarks.accuracy.exact import Exact, Row, mp

Program = Callable[[SimpleNamespace], dict[str, Tensor]]


class Case(NamedTuple):
    """A program that runs with either library, and what it should give; a string says what no number can."""

    title: str
    program: Program
    exact: dict[str, Exact | float | str]


CASES: dict[str, Case] = {}


def case(title: str, **truth: Exact | float | str) -> Callable[[Program], Program]:
    """Enter a program under its own name; `truth` has one entry per result, underscores for spaces."""

    def enter(program: Program) -> Program:
        CASES[program.__name__.replace("_", "-")] = Case(title, program, truth)
        return program

    return enter


# Cross-entropy


@case("A confident row, float32", loss=exact.softplus(-80), gradient_at_the_target=-exact.sigmoid(-80))
def confident(f):
    """The loss of a logit ahead by 80 is small, and not 0. Training goes on where PyTorch's gradient is gone."""
    z = tensor([[80.0, 0.0]], requires_grad=True)
    loss = f.cross_entropy(z, tensor([0]))
    loss.backward()
    return {"loss": loss, "gradient_at_the_target": z.grad[0, 0]}


@case("A confident row, bfloat16", loss=exact.softplus(-8), gradient_at_the_target=-exact.sigmoid(-8))
def confident_bfloat16(f):
    """Half precision keeps eight bits: p − 1 of a p that was rounded first is 0 from p = 0.998 on."""
    z = tensor([[8.0, 0.0]], dtype=torch.bfloat16, requires_grad=True)
    loss = f.cross_entropy(z, tensor([0]))
    loss.backward()
    return {"loss": loss, "gradient_at_the_target": z.grad[0, 0]}


@case("A confident row, float16", loss=exact.softplus(-9), gradient_at_the_target=-exact.sigmoid(-9))
def confident_float16(f):
    """The same with eleven bits."""
    z = tensor([[9.0, 0.0]], dtype=torch.float16, requires_grad=True)
    loss = f.cross_entropy(z, tensor([0]))
    loss.backward()
    return {"loss": loss, "gradient_at_the_target": z.grad[0, 0]}


@case(
    "One confident class of 100,000",
    loss=mp.log1p(99_999 * mp.exp(-20)),
    gradient_at_the_target=-99_999 * mp.exp(-20) / (1 + 99_999 * mp.exp(-20)),
)
def wide_row(f):
    """100,000 small terms are added to one large term; in float32 most of each is rounded away."""
    z = torch.zeros(1, 100_000)
    z[0, 7] = 20.0
    z.requires_grad_()
    loss = f.cross_entropy(z, tensor([7]))
    loss.backward()
    return {"loss": loss, "gradient_at_the_target": z.grad[0, 7]}


@case(
    "log_softmax of a dominant logit",
    log_p_of_the_first=-exact.softplus(-30),
    log_p_of_the_second=-30 - exact.softplus(-30),
)
def log_softmax_dominant(f):
    """The log-probability of a class that is nearly certain is nearly 0, not 0."""
    log_p = f.log_softmax(tensor([30.0, 0.0]), 0)
    return {"log_p_of_the_first": log_p[0], "log_p_of_the_second": log_p[1]}


def _weighted() -> Exact:
    row, w = Row([2.0, 1.0, 0.5]), [mp.mpf("0.5"), mp.mpf(1), mp.mpf(2)]
    uniform = mp.fsum(w[j] * -row.log_p(j) for j in range(3))
    return (mp.mpf("0.75") * w[2] * -row.log_p(2) + mp.mpf("0.25") / 3 * uniform) / w[2]


@case("Class weights and label smoothing together", loss=_weighted())
def weight_and_smoothing(f):
    """PyTorch's definition: the uniform part is weighted class by class, the mean divides by the target's weight."""
    z, weight = tensor([[2.0, 1.0, 0.5]]), tensor([0.5, 1.0, 2.0])
    return {"loss": f.cross_entropy(z, tensor([2]), weight, label_smoothing=0.25)}


@case("Every row ignored", loss="0 / 0: NaN, as in PyTorch", gradient_at_the_target=0.0)
def all_ignored(f):
    """The mean of nothing. `empty="zero"` of lastlayer gives 0 instead."""
    z = tensor([[1.0, 2.0]], requires_grad=True)
    loss = f.cross_entropy(z, tensor([-100]))
    loss.backward()
    return {"loss": loss, "gradient_at_the_target": z.grad[0, 0]}


@case("A class that is ruled out, soft targets", loss=exact.softplus(-1))
def ruled_out(f):
    """A logit of −inf with a target probability of 0: 0 · ∞ is 0, its limit."""
    return {"loss": f.cross_entropy(tensor([[1.0, 0.0, -torch.inf]]), tensor([[1.0, 0.0, 0.0]]))}


@case("float16, the mean of 70,000 rows", loss=mp.log(3))
def float16_mean(f):
    """The sum passes 65,504, the largest float16; the mean does not."""
    z, target = torch.zeros(70_000, 3, dtype=torch.float16), torch.zeros(70_000, dtype=torch.long)
    return {"loss": f.cross_entropy(z, target)}


@case("A target out of range", loss="IndexError that names row and value")
def target_out_of_range(f):
    """Both raise on the CPU; lastlayer says which row. Its TargetError is an IndexError."""
    return {"loss": f.cross_entropy(torch.zeros(4, 3), tensor([0, 1, 7, 2]))}


# Binary


@case("logit near 0.5", logit=exact.logit(0.5 + 2.0**-24), logit_below=exact.logit(0.5 - 2.0**-25))
def logit_near_half(f):
    """log p − log(1 − p) cancels; the neighbours of 0.5 are probabilities like any other."""
    logits = f.logit(tensor([0.5 + 2**-24, 0.5 - 2**-25]))
    return {"logit": logits[0], "logit_below": logits[1]}


@case(
    "A confident and right binary answer",
    loss=exact.softplus(-15.25),
    gradient=exact.sigmoid(-15.25),
    farther=exact.softplus(-60),
)
def binary_tail(f):
    """Nearly every element of a multi-label problem is a "no" that the model is sure of."""
    x = tensor([-15.25], requires_grad=True)
    loss = f.binary_cross_entropy_with_logits(x, tensor([0.0]))
    loss.backward()
    farther = f.binary_cross_entropy_with_logits(tensor([-60.0]), tensor([0.0]))
    return {"loss": loss, "gradient": x.grad[0], "farther": farther}


@case("The gradient of a confident yes", gradient=-exact.sigmoid(-20), farther=-exact.sigmoid(-80))
def binary_gradient(f):
    """σ(x) − 1 cancels for x > 0; −σ(−x) is the same number and does not."""
    x = tensor([20.0, 80.0], requires_grad=True)
    f.binary_cross_entropy_with_logits(x, torch.ones(2), reduction="sum").backward()
    return {"gradient": x.grad[0], "farther": x.grad[1]}


@case("Infinite binary logits", right=0.0, wrong=mp.inf, gradient_where_right=0.0, gradient_where_wrong=-1.0)
def binary_infinite(f):
    """The limit of the formula, not inf − inf."""
    x = tensor([torch.inf, -torch.inf], requires_grad=True)
    loss = f.binary_cross_entropy_with_logits(x, torch.ones(2), reduction="none")
    loss.sum().backward()
    return {"right": loss[0], "wrong": loss[1], "gradient_where_right": x.grad[0], "gradient_where_wrong": x.grad[1]}


@case("sigmoid where its result is subnormal", sigmoid=exact.sigmoid(-90))
def sigmoid_subnormal(f):
    """1 + exp(90) overflows in float32, σ(−90) does not underflow."""
    return {"sigmoid": f.sigmoid(tensor([-90.0]))[0]}


@case("The derivative of sigmoid", derivative=exact.sigmoid(20) * exact.sigmoid(-20))
def sigmoid_derivative(f):
    """σ·(1 − σ) cancels where σ is near 1; σ(x)·σ(−x) does not."""
    x = tensor([20.0], requires_grad=True)
    f.sigmoid(x).sum().backward()
    return {"derivative": x.grad[0]}


@case("softplus in float64", softplus=exact.softplus(20.5))
def softplus_threshold(f):
    """PyTorch returns x itself above its threshold of 20, which is far too low for float64."""
    return {"softplus": f.softplus(tensor([20.5], dtype=torch.float64))[0]}


# Information


_P, _Q = [4.0, 2.0, 1.0], [4.0, 2.0, 1.0003]
_Q32 = tensor(_Q).tolist()


@case(
    "Entropy: a confident row, an offset",
    entropy=Row([40.0, 0.0]).entropy(),
    with_an_offset=Row([10_001.0, 10_000.0]).entropy(),
)
def entropy_offset(f):
    """A small entropy, and one of logits around 10,000: a common offset changes no probability."""
    small, offset = f.entropy(tensor([40.0, 0.0]), -1), f.entropy(tensor([10_001.0, 10_000.0]), -1)
    return {"entropy": small, "with_an_offset": offset}


@case("KL divergence of close distributions", divergence=Row(_P).kl_divergence(Row(_Q32)))
def kl_close(f):
    """Never negative: every term of Σ p·log(p/q) − p + q is at least 0."""
    return {"divergence": f.kl_divergence(tensor([4.0, 2.0, 1.0]), tensor([4.0, 2.0, 1.0003]), -1)}


_TARGET = tensor([0.7, 0.2, 0.1])
_TERMS = [exact.kl_term(q, t, False) for q, t in zip(_TARGET.log().tolist(), _TARGET.tolist(), strict=True)]


@case("kl_div of close distributions", term=_TERMS[0], sum=mp.fsum(_TERMS))
def kl_div_close(f):
    """The input is log p rounded to float32, so the terms are small and not 0."""
    p = tensor([0.7, 0.2, 0.1])
    terms = f.kl_div(p.log(), p, reduction="none")
    return {"term": terms[0], "sum": f.kl_div(p.log(), p, reduction="sum")}


_LN2 = tensor(0.6931472).item()


@case("logsumexp near 0", logsumexp=Row([-_LN2, -_LN2]).logsumexp())
def logsumexp_near_zero(f):
    """max + log Σ cancels; float32 is computed in float64."""
    return {"logsumexp": f.logsumexp(tensor([-0.6931472, -0.6931472]), 0)}
