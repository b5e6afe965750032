"""What comes before the first softmax: probabilities as log-odds, a picture as a row of numbers, and sensitivity."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lastlayer import functional
from lastlayer.explanation.expressions import Binary, Call, Number, Symbol, log
from lastlayer.explanation.stories.multiclass import own_curve
from lastlayer.explanation.stories.parts import Asked, bars, curve, heat, pipeline
from lastlayer.explanation.trace import Step


def log_odds(p: Tensor) -> list[Step]:
    """Probability → odds → logit, and back through the sigmoid."""
    asked = Asked()
    z = functional.logit(p)
    odds = p / (1 - p)
    back = functional.sigmoid(z)
    logit_plot = curve("logit", functional.logit, 0.01, 0.99, p if z.isfinite() else None, ("p", "z"))
    sigmoid_plot = curve("sigmoid", functional.sigmoid, -6.0, 6.0, z if z.isfinite() else None)
    return [
        Step("p", Symbol("p"), None, p),
        Step("odds", Symbol("o"), Symbol("p") / (1 - Symbol("p")), odds, (asked.check("positive", odds.clamp(max=0)),)),
        Step("logit", Symbol("z"), log(Symbol("o")), z, plot=logit_plot),
        Step("back", Symbol("p′"), Call("σ", Symbol("z")), back, (asked.check("round_trip", back - p),),
             plot=sigmoid_plot),
    ]  # fmt: skip


def image(height: int, width: int, channels: int, row: int, column: int) -> list[Step]:
    """A picture as numbers: how many, where one of them stands when rows are laid end to end, and its range."""

    def number(value: float) -> Tensor:
        return torch.tensor(float(value), dtype=torch.float64)

    per_channel = height * width
    return [
        Step("height", Symbol("H"), None, number(height)),
        Step("width", Symbol("W"), None, number(width)),
        Step("channels", Symbol("C"), None, number(channels)),
        Step("per_channel", Symbol("n"), Symbol("H") * Symbol("W"), number(per_channel)),
        Step("all_values", Symbol("N"), Symbol("C") * Symbol("n"), number(channels * per_channel)),
        Step("brightest", Symbol("v"), Binary("^", Number(2.0), Number(8.0)) - 1, number(255)),
        Step("pixel_row", Symbol("r"), None, number(row)),
        Step("pixel_column", Symbol("c"), None, number(column)),
        Step("place", Symbol("m"), Symbol("r") * Symbol("W") + Symbol("c"), number(row * width + column),
             plot=pipeline((0, 1))),
    ]  # fmt: skip


def sensitivity(z: Tensor, names: Sequence[str], place: int) -> list[Step]:
    """How each probability answers to each logit: ∂pⱼ/∂zₖ = pⱼ([j = k] − pₖ)."""
    asked = Asked()
    p = functional.softmax(z, 0)
    jacobian: Tensor = torch.func.jacrev(lambda logits: functional.softmax(logits, 0))(z)
    by_hand = torch.diag(p) - torch.outer(p, p)
    own = jacobian.diagonal()
    return [
        Step("logits", Symbol("z", "j"), None, z, plot=bars(z)),
        Step("probabilities", Symbol("p", "j"), None, p, plot=own_curve(z, place),
             facts={"note": "own", "own": names[place]}),
        Step("own_slope", Symbol("g", "j"), Symbol("p", "j") * (1 - Symbol("p", "j")), own,
             (asked.check("positive", own.min().clamp(max=0)),), plot=bars(own)),
        Step("jacobian", Symbol("J", "ij"), None, jacobian,
             (asked.check("rows_sum_to_zero", jacobian.sum(1).abs().max()),
              asked.check("is_p_times_difference", (jacobian - by_hand).abs().max())),
             plot=heat(jacobian, "i", "j")),
    ]  # fmt: skip
