"""Linear losses: the logits exist one chunk at a time.

Products are PyTorch's; between them a backend reads a chunk of logits and turns it into its gradient in place. The
gradients of features, weight and bias are computed in the forward where they will be needed, since the logits are
there; otherwise (one upstream gradient per row, or a log-sum-exp that is used) a backward computes the logits again.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from lastlayer.kernels import _memory
from lastlayer.kernels._chunks import Sum, for_products, pieces, plan
from lastlayer.kernels._options import numbers, tensors_of
from lastlayer.kernels._plain import is_plain


class Layer(NamedTuple):
    """The linear map: features (rows, features), weight (classes, features), bias (classes)."""

    features: Tensor
    weight: Tensor
    bias: Tensor | None

    def logits(self) -> Tensor:
        """All of them at once, differentiable."""
        bias = None if self.bias is None else for_products(self.bias)
        return F.linear(for_products(self.features), for_products(self.weight), bias)

    def of_rows(self, rows: slice | Tensor) -> "Layer":
        """Return the same map of some rows."""
        return self._replace(features=self.features[rows])


class Gradients:
    """Where the gradients of a layer are summed up; None for what needs none."""

    def __init__(self, layer: Layer, wanted: tuple[bool, bool, bool]) -> None:
        self.features, self.weight, self.bias = (
            Sum(x) if want and x is not None else None for x, want in zip(layer, wanted, strict=True)
        )

    def add(self, layer: Layer, rows: slice, classes: slice, slope: Tensor) -> None:
        """Add what the gradient `slope` of the logits (rows, classes) of `layer` gives."""
        if self.features is not None:
            self.features.add_product(rows, slope, layer.weight[classes])
        if self.weight is not None:
            self.weight.add_product(classes, slope.t(), layer.features[rows])
        if self.bias is not None:
            self.bias.add(classes, slope.sum(0, dtype=torch.promote_types(slope.dtype, torch.float32)))

    def results(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Return the gradients of features, weight and bias."""
        features, weight, bias = (None if x is None else x.result() for x in (self.features, self.weight, self.bias))
        return features, weight, bias


class Chunks:
    """The logits of a layer, chunk by chunk in one buffer."""

    def __init__(self, layer: Layer, steps: tuple[int, int] | None = None) -> None:
        """`steps` are the rows and classes of a chunk, where it is not for `plan` to say."""
        self.layer = Layer(*(None if x is None else for_products(x) for x in layer))  # type: ignore[arg-type]
        rows, classes = len(layer.features), len(layer.weight)
        like = self.layer.features
        row_step, class_step = plan(rows, classes, like.element_size()) if steps is None else steps
        self.rows, self.classes = pieces(rows, row_step), pieces(classes, class_step)
        shape = (min(rows, row_step), min(classes, class_step))
        self._buffer = _memory.empty(like, *shape)

    def logits(self, rows: slice, classes: slice) -> Tensor:
        """Those of a chunk; the chunk before is gone."""
        features, weight, bias = self.layer
        shape = (rows.stop - rows.start, classes.stop - classes.start)
        out = self._buffer.reshape(-1)[: shape[0] * shape[1]].view(shape)
        if bias is None:
            return torch.mm(features[rows], weight[classes].t(), out=out)
        return torch.addmm(bias[classes], features[rows], weight[classes].t(), out=out)


class Loss(NamedTuple):
    """A loss of a linear layer, as three functions of the same tensors."""

    # (layer, rest) -> outputs, from dense logits, differentiable in everything
    formula: Callable[..., tuple[Tensor, ...]]
    # (layer, wanted, gradients of the outputs or None, rest) -> outputs, gradients of the layer
    walk: Callable[..., tuple[tuple[Tensor, ...], tuple[Tensor | None, ...]]]
    # (rest) -> whether the gradient that reaches the first output is one number for all rows
    reduces: Callable[..., bool]
    name: str  # what it computes: `graph` reads it from the autograd node


def apply(loss: Loss, layer: Layer, *rest: Any) -> tuple[Tensor, ...]:
    """Compute `loss` by the shortest way that has the derivatives asked for."""
    others = tensors_of(rest)
    differentiating = torch.is_grad_enabled()
    hidden = layer.features.device.type == "meta" or not is_plain(*layer, *others)
    if hidden or (differentiating and any(other.requires_grad for other in others)):
        return loss.formula(layer, *rest)
    rest = (*(value if isinstance(value, Tensor) else numbers(value) for value in rest),)
    if differentiating and any(x is not None and x.requires_grad for x in layer):
        outputs: tuple[Tensor, ...] = _LinearByHand.apply(loss, *layer, *rest)
        return outputs
    with _no_autocast(layer.features.device):
        return loss.walk(layer, (False, False, False), None, *rest)[0]


def _no_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Products in the dtype of their factors; the caller has cast them as autocast would."""
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


class _LinearByHand(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, loss: Loss, features: Tensor, weight: Tensor, bias: Tensor | None, *rest: Any
    ) -> tuple[Tensor, ...]:
        layer, wanted = Layer(features, weight, bias), tuple(ctx.needs_input_grad[1:4])
        with _no_autocast(features.device):
            one = torch.ones((), dtype=torch.float64 if features.dtype is torch.float64 else torch.float32)
            upstream = (one.to(features.device),) if loss.reduces(*rest) else None
            outputs, ready = loss.walk(layer, wanted, upstream, *rest)
        ctx.save_for_backward(features, weight, bias, *(value for value in rest if isinstance(value, Tensor)))
        ctx.loss, ctx.wanted = loss, wanted
        ctx.rest = tuple(None if isinstance(value, Tensor) else value for value in rest)
        ctx.places = [place for place, value in enumerate(rest) if isinstance(value, Tensor)]
        ctx.ready = ready if upstream is not None else None
        ctx.set_materialize_grads(False)
        return outputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        nothing = (None,) * len(ctx.rest)
        if all(gradient is None for gradient in gradients):
            return None, None, None, None, *nothing
        features, weight, bias, *saved = ctx.saved_tensors  # asked for once: a checkpoint hands them out once
        layer, rest = Layer(features, weight, bias), _rest(ctx, saved)
        if torch.is_grad_enabled() or not is_plain(*gradients):
            return None, *_through_formula(ctx.loss, layer, ctx.wanted, gradients, rest), *nothing
        ready, ctx.ready = ctx.ready, None  # handed out once: the caller owns them, a second backward computes its own
        if ready is not None and gradients[0] is not None and all(g is None for g in gradients[1:]):
            return None, *(_scaled(x, gradients[0]) for x in ready), *nothing
        with _no_autocast(features.device):
            return None, *ctx.loss.walk(layer, ctx.wanted, gradients, *rest)[1], *nothing

    @staticmethod
    def arguments(ctx: Any) -> list[Any]:
        """What the loss was called with besides the layer: for those who read a live graph."""
        return _rest(ctx, ctx.saved_tensors[3:])


def _rest(ctx: Any, saved: Sequence[Tensor]) -> list[Any]:
    rest = list(ctx.rest)
    for place, tensor in zip(ctx.places, saved, strict=True):
        rest[place] = tensor
    return rest


def _scaled(gradient: Tensor | None, upstream: Tensor) -> Tensor | None:
    if gradient is None or (upstream.device.type == "cpu" and upstream.item() == 1):
        return gradient
    return gradient.mul_(upstream)


def _through_formula(
    loss: Loss, layer: Layer, wanted: tuple[bool, ...], gradients: tuple[Tensor | None, ...], rest: list[Any]
) -> tuple[Tensor | None, ...]:
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        outputs = loss.formula(layer, *rest)
    used = [(output, gradient) for output, gradient in zip(outputs, gradients, strict=True) if gradient is not None]
    inputs = [x for x, want in zip(layer, wanted, strict=True) if want and x is not None]
    found = iter(torch.autograd.grad([o for o, _ in used], inputs, [g for _, g in used], create_graph=create_graph))
    return tuple(next(found) if want and x is not None else None for x, want in zip(layer, wanted, strict=True))
