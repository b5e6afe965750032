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

from lastlayer.kernels._plain import is_plain


class Rule(NamedTuple):
    """A function of a tensor x and further arguments, of which only x is differentiated by hand."""

    formula: Callable[..., tuple[Tensor, ...]]  # (x, *rest) -> outputs, differentiable
    forward: Callable[..., tuple[tuple[Tensor, ...], tuple[Tensor, ...]]]  # (x, *rest) -> outputs, what to keep
    backward: Callable[..., Tensor]  # (gradients of the outputs or None, kept, x, *rest) -> gradient of x
    name: str = ""  # what it computes: `graph` reads it from the autograd node


def apply(rule: Rule, x: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    """Compute `rule` at `x` by the shortest way that has the derivatives asked for."""
    others = [value for value in rest if isinstance(value, Tensor)]
    differentiating = torch.is_grad_enabled()
    if not is_plain(x, *others) or (differentiating and any(other.requires_grad for other in others)):
        return rule.formula(x, *rest)
    if differentiating and x.requires_grad:
        outputs: tuple[Tensor, ...] = _ByHand.apply(rule, x, *rest)
        return outputs
    return rule.forward(x, *rest)[0]


class _ByHand(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rule: Rule, x: Tensor, *rest: Any) -> tuple[Tensor, ...]:
        outputs, kept = rule.forward(x, *rest)
        # Tensors are saved, not merely referred to: PyTorch then notices when one is changed before the backward.
        ctx.save_for_backward(x, *kept, *(value for value in rest if isinstance(value, Tensor)))
        ctx.rule, ctx.count = rule, 1 + len(kept)
        ctx.rest = tuple(None if isinstance(value, Tensor) else value for value in rest)
        ctx.places = [place for place, value in enumerate(rest) if isinstance(value, Tensor)]
        ctx.set_materialize_grads(False)
        return outputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        if all(gradient is None for gradient in gradients):
            return None, None, *(None for _ in ctx.rest)
        x, *kept = ctx.saved_tensors[: ctx.count]
        rest = list(ctx.rest)
        for place, tensor in zip(ctx.places, ctx.saved_tensors[ctx.count :], strict=True):
            rest[place] = tensor
        # With create_graph=True the gradient itself will be differentiated; with is_grads_batched=True it is vmapped.
        if torch.is_grad_enabled() or not is_plain(*gradients):
            gradient = _through_formula(ctx.rule, gradients, x, rest)
        else:
            gradient = ctx.rule.backward(gradients, tuple(kept), x, *rest)
        return None, gradient, *(None for _ in rest)


def _through_formula(rule: Rule, gradients: tuple[Tensor | None, ...], x: Tensor, rest: list[Any]) -> Tensor:
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        outputs = rule.formula(x, *rest)
    used = [(output, gradient) for output, gradient in zip(outputs, gradients, strict=True) if gradient is not None]
    result: Tensor
    (result,) = torch.autograd.grad([o for o, _ in used], [x], [g for _, g in used], create_graph=create_graph)
    return result
