"""How a formula gets a backward of its own without losing any of PyTorch's derivatives.

A formula in differentiable PyTorch operations already has every derivative: any order, forward mode, torch.func,
torch.compile. Its automatic backward is slow, though, and cancels where the formula does not. So a plain tensor takes
a forward and a backward written by hand, and whatever is not plain takes the formula. Under `create_graph=True` the
backward differentiates the formula, so that second order is exact too.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lastlayer.kernels._options import numbers, tensors_of
from lastlayer.kernels._plain import is_plain


class Guess:
    """The gradient that will reach a loss, as far as the last calls tell: it is 1 unless the loss is scaled."""

    def __init__(self) -> None:
        self.value = 1.0
        self._missed = 0

    def learn(self, upstream: float) -> None:
        """Compare with what came."""
        self._missed = 0 if upstream == self.value else self._missed + 1
        self.value = upstream

    def is_good(self) -> bool:
        """False while what comes changes from call to call."""
        return self._missed < 2


# Outputs; and, where it was asked for, the gradient of x that was made with them: it, what reaches the only output
# then, and who guessed that.
Early = tuple[tuple[Tensor, ...], tuple[Tensor | None, float, Guess]]


class Rule(NamedTuple):
    """A function of a tensor x and further arguments, of which only x is differentiated by hand."""

    formula: Callable[..., tuple[Tensor, ...]]  # (x, *rest) -> outputs, differentiable
    forward: Callable[..., tuple[tuple[Tensor, ...], tuple[Any, ...]]]  # (x, *rest) -> outputs, what to keep
    backward: Callable[..., Tensor]  # (gradients of the outputs or None, kept, x, *rest) -> gradient of x
    name: str = ""  # what it computes: `graph` reads it from the autograd node
    # (x, *rest, wanted) -> both at once where that is shorter, else None. Where it was taken and another gradient comes
    # than was guessed, the backward gets None for what was kept.
    early: Callable[..., Early | None] = lambda *arguments: None
    tensors: int = 0  # so many come first in `rest`, each a tensor or None; behind them are options, as plain numbers


def apply(rule: Rule, x: Tensor, *rest: Any, plain: bool = False) -> tuple[Tensor, ...]:
    """Compute `rule` at `x` by the shortest way that has the derivatives asked for.

    `plain` says that the caller has found all tensors so, none among the options, and that only `x` may ask for a
    gradient.
    """
    if not plain:
        others = tensors_of(rest)
        if not is_plain(x, *others):
            return rule.formula(x, *rest)
        if others:
            if torch.is_grad_enabled() and any(other.requires_grad for other in others):
                return rule.formula(x, *rest)
            rest = *rest[: rule.tensors], *map(numbers, rest[rule.tensors :])
    if x.requires_grad and torch.is_grad_enabled():
        outputs: tuple[Tensor, ...] = _by_hand(rule, x, *rest)
        return outputs
    early = rule.early(x, *rest, False)
    return (rule.forward(x, *rest) if early is None else early)[0]


class _ByHand(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rule: Rule, x: Tensor, *rest: Any) -> tuple[Tensor, ...]:
        early = rule.early(x, *rest, True)
        if early is None:
            outputs, kept = rule.forward(x, *rest)
            ctx.early = None
        else:
            # without the outputs, which hold on to this node: the cycle would keep a gradient that nobody asks for
            (outputs, ctx.early), kept = early, ()
        ctx.rule, ctx.options = rule, rest[rule.tensors :]
        # Tensors are saved, not merely referred to: PyTorch then notices when one is changed before the backward.
        ctx.kept = [None if isinstance(value, Tensor) else value for value in kept] if kept else ()
        of_kept = [value if isinstance(value, Tensor) else None for value in kept] if kept else ()
        ctx.save_for_backward(x, *rest[: rule.tensors], *of_kept)
        ctx.set_materialize_grads(False)
        return outputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors  # raises where one has changed; asked for once: a checkpoint hands them out once
        early, ctx.early = ctx.early, None  # the caller owns what is handed out
        # With create_graph=True the gradient itself will be differentiated; with is_grads_batched=True it is vmapped.
        plain = is_plain(*gradients) and not torch.is_grad_enabled()
        nothing = (None,) * (ctx.rule.tensors + len(ctx.options))
        if early is not None and plain and gradients[0] is not None:  # the only one
            gradient, expected, guess = early
            upstream = gradients[0].item()
            guess.learn(upstream)
            if upstream == expected:
                return None, gradient, *nothing
        if all(gradient is None for gradient in gradients):
            return None, None, *nothing
        x, *rest = _arguments(ctx, saved)
        if plain:
            of_kept = saved[1 + ctx.rule.tensors :]
            kept = [value if tensor is None else tensor for tensor, value in zip(of_kept, ctx.kept, strict=True)]
            gradient = ctx.rule.backward(gradients, kept or None, x, *rest)
        else:
            gradient = _through_formula(ctx.rule, gradients, x, rest)
        return None, gradient, *nothing

    @staticmethod
    def arguments(ctx: Any) -> list[Any]:
        """What the rule was called with: for those who read a live graph."""
        return _arguments(ctx, ctx.saved_tensors)


def _arguments(ctx: Any, saved: tuple[Tensor, ...]) -> list[Any]:
    return [*saved[: 1 + ctx.rule.tensors], *ctx.options]


# `Function.apply` first looks for torch.func's wrappers, of which a plain tensor has none.
_by_hand = super(torch.autograd.Function, _ByHand).apply


def _through_formula(rule: Rule, gradients: tuple[Tensor | None, ...], x: Tensor, rest: list[Any]) -> Tensor:
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        outputs = rule.formula(x, *rest)
    # the formula may return more than the forward was asked for
    used = [(output, gradient) for output, gradient in zip(outputs, gradients, strict=False) if gradient is not None]
    result: Tensor
    (result,) = torch.autograd.grad([o for o, _ in used], [x], [g for _, g in used], create_graph=create_graph)
    return result
