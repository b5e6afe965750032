"""What the stories share: who computes, how exact a check may be asked to be, and the usual pictures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lastlayer import functional
from lastlayer.explanation.expressions import Call, Expr, Number, Symbol, exp, total
from lastlayer.explanation.plots import Arrows, Bars, Curve, Matrix
from lastlayer.explanation.trace import Invariant, Naive, Numerics, Step

Z, U, P, Y = "z", "u", "p", "y"
_MOST_SHADES = 10_000


@dataclass(frozen=True)
class Asked:
    """How a computation is asked for: what `explain` was given besides logits and target."""

    temperature: float = 1.0
    label_smoothing: float = 0.0
    learning_rate: float | None = None
    before: str | None = None
    dtype: torch.dtype = torch.float64
    by: str = "lastlayer"
    weight: Tensor | None = None
    ignore_index: int = -100
    reduction: str = "mean"

    @property
    def library(self) -> Any:
        """The functions that compute: ours, or PyTorch's of the same names."""
        return functional if self.by == "lastlayer" else _Torch

    @property
    def dtype_name(self) -> str:
        """float64, float32, float16 or bfloat16."""
        return name_of(self.dtype)

    def options(self) -> dict[str, float | str]:
        """What differs from the default, for the trace."""
        plain = Asked()
        found: dict[str, float | str] = {}
        for name in ("temperature", "label_smoothing", "learning_rate", "before", "by", "reduction", "ignore_index"):
            if getattr(self, name) != getattr(plain, name):
                found[name] = getattr(self, name)
        if self.dtype is not plain.dtype:
            found["dtype"] = self.dtype_name
        return found

    def check(self, id: str, residual: Tensor | float, scale: Tensor | float = 1.0) -> Invariant:
        """An invariant that may be off by a few roundings of numbers as large as `scale`."""
        room = 16 * torch.finfo(self.dtype).eps * max(1.0, float(scale))
        return Invariant(id, float(residual), max(1e-12, room))

    def stable(self, shift: Tensor | float | None, *naive: Naive) -> Numerics:
        """How it was computed."""
        return Numerics(self.dtype_name, None if shift is None else float(shift), naive)


class _Torch:
    """PyTorch's own functions under the names that the stories call."""

    softmax = staticmethod(torch.softmax)
    log_softmax = staticmethod(torch.log_softmax)
    sigmoid = staticmethod(torch.sigmoid)
    logsumexp = staticmethod(torch.logsumexp)
    cross_entropy = staticmethod(torch.nn.functional.cross_entropy)

    @staticmethod
    def linear_cross_entropy(x: Tensor, weight: Tensor, target: Tensor, *, linear_bias: Tensor) -> Tensor:
        """The layer and the loss one after the other, as PyTorch before 2.13 has them."""
        return torch.nn.functional.cross_entropy(torch.nn.functional.linear(x, weight, linear_bias), target)

    binary_cross_entropy_with_logits = staticmethod(torch.nn.functional.binary_cross_entropy_with_logits)


def name_of(dtype: torch.dtype) -> str:
    """The dtype without "torch."."""
    return str(dtype).removeprefix("torch.")


def wide(value: Tensor) -> Tensor:
    """A copy in float64, for the trace."""
    return value.detach().double()


def naive(formula: Expr, compute: Callable[[Tensor], Tensor], z: Tensor, *dtypes: torch.dtype) -> tuple[Naive, ...]:
    """What `compute` gives where no care is taken, in each dtype."""
    return tuple(Naive(formula, name_of(dtype), wide(compute(z.detach().to(dtype)))) for dtype in dtypes)


def bars(value: Tensor, axis: str = "j", scale: float | None = None) -> Bars:
    """A bar per entry."""
    return Bars(axis, tuple(value.detach().double().tolist()), scale)


def heat(value: Tensor, rows: str, columns: str) -> Matrix | None:
    """A table of shades; none of a table too large to look at."""
    if value.numel() > _MOST_SHADES:
        return None
    return Matrix(rows, columns, tuple(map(tuple, wide(value).tolist())))


def curve(
    id: str,
    function: Callable[[Tensor], Tensor],
    low: float,
    high: float,
    at: Tensor | float | None = None,
    names: tuple[str, str] = ("z", "p"),
) -> Curve:
    """`function` from `low` to `high`, widened so that the point `at` lies on it."""
    point = None
    if at is not None:
        x = float(at)
        low, high = min(low, x), max(high, x)
        point = (x, float(function(torch.tensor(x, dtype=torch.float64))))
    x_values = torch.linspace(low, high, 121, dtype=torch.float64)
    return Curve(id, tuple(x_values.tolist()), tuple(function(x_values).tolist()), point, *names)


def surprisal_curve(at: Tensor | float | None = None) -> Curve:
    """−log p for p up to 1, which is log(1/p)."""
    return curve("surprisal", lambda p: -p.log(), 0.01, 1.0, at, ("q", "s"))


def pipeline(here: Sequence[int], activation: str = "softmax") -> Arrows:
    """From data to loss, and which of the stages a trace covers."""
    return Arrows(("data", "features", "logits", activation, "one_hot", "loss"), tuple(here))


def opening(z: Tensor, asked: Asked, letters: str, plot: Any = None) -> tuple[list[Step], Tensor, str]:
    """The first steps, the logits that the rest starts from, and what they are called.

    `before` is an activation applied first, which is the mistake of a model that ends in one.
    """
    steps = [Step("logits", Symbol(Z, letters), None, wide(z), plot=plot)]
    u, name = z, Z
    if asked.before is not None:
        # σ of each, or the softmax of the row: either way a second squashing before the loss's own
        u = torch.sigmoid(z) if asked.before == "sigmoid" else torch.softmax(z, -1)
        own = Symbol(Z, letters)
        formula = Call("σ", own) if asked.before == "sigmoid" else exp(own) / total(exp(Symbol(Z, letters[:-1] + "k")))
        steps.append(Step(f"before_{asked.before}", Symbol("a", letters), formula, wide(u), plot=_like(plot, u)))
        name = "a"
    if asked.temperature != 1.0:
        tempered = u / asked.temperature
        formula = Symbol(name, letters) / Number(asked.temperature)
        steps.append(Step("tempered", Symbol(U, letters), formula, wide(tempered), plot=_like(plot, tempered)))
        u, name = tempered, U
    return steps, u, name


def _like(plot: Any, value: Tensor) -> Any:
    return replace(plot, values=tuple(wide(value).tolist())) if isinstance(plot, Bars) else None


def moved(steps: list[Step], z: Tensor, gradient: Tensor, loss_of: Callable[[Tensor], Tensor], rate: float) -> None:
    """Append one step of gradient descent on the logits, and the loss that it leads to."""
    letters = steps[0].symbol.index
    new = z - rate * gradient
    down = Symbol(Z, letters) - Number(rate) * Symbol("g", letters)
    before = next(step for step in steps if step.id == "loss").value
    steps.append(Step("moved", Symbol("z′", letters), down, wide(new)))
    steps.append(new_loss(before, wide(loss_of(new))))


def new_loss(before: Tensor, after: Tensor) -> Step:
    """The loss after a step, beside the one before it."""
    gain = float(before - after)
    facts: dict[str, float | str] = {"before": float(before), "gain": gain}
    if gain < 0:
        facts |= {"note": "up", "rise": -gain}
    return Step("new_loss", Symbol("L′"), None, after, facts=facts)
