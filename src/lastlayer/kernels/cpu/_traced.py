"""The losses as operators of PyTorch's dispatcher: how torch.compile calls the compiled kernels.

Python in a trace is followed; an operator is a node of the graph. Each loss has three. The front is composite: where
derivatives are asked for that no kernel has (inside a torch.func transform, a dual level, or of the target and the
weights) it is the formula, else a function whose forward and backward are the other two. Those are opaque, and a rule
says what they return without computing it. Outside a trace nothing here is used: a call through the dispatcher costs
more than the kernel of a small loss.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from lastlayer.kernels._options import BinaryOptions, Options, tensors_of
from lastlayer.kernels.cpu import _binary_cross_entropy as binary
from lastlayer.kernels.cpu import _compile
from lastlayer.kernels.cpu import _cross_entropy as dense
from lastlayer.kernels.eager import _binary_cross_entropy as binary_formula
from lastlayer.kernels.eager import _cross_entropy as dense_formula

_library: Any = torch.library.Library("lastlayer", "DEF")  # type: ignore[no-untyped-call]
_OPTIONS = (
    "ScalarType dtype, str reduction, float label_smoothing, float z_loss, float? softcap, float temperature, "
    "str empty, int? ignore_index"
)
_BINARY_OPTIONS = "ScalarType dtype, str reduction, float focal_gamma, float label_smoothing"
_ROWS = "Tensor logits, Tensor target, Tensor? weight"
_ELEMENTS = "Tensor logits, Tensor target, Tensor? weight, Tensor? pos_weight"
_COMPOSITE = "CompositeImplicitAutograd"


def cross_entropy(logits: Tensor, target: Tensor, weight: Tensor | None, options: Options) -> tuple[Tensor, Tensor]:
    """As in kernels.eager."""
    if tensors_of((options,)):
        return dense_formula.cross_entropy(logits, target, weight, options)
    wide = None if weight is None else weight.to(torch.float64)
    loss, lse = torch.ops.lastlayer.cross_entropy(logits, target, wide, *options[:8])
    return loss, lse


def binary_cross_entropy_with_logits(
    logits: Tensor, target: Tensor, weight: Tensor | None, pos_weight: Tensor | None, options: BinaryOptions
) -> Tensor:
    """As in kernels.eager."""
    if tensors_of((options,)):
        return binary_formula.binary_cross_entropy_with_logits(logits, target, weight, pos_weight, options)
    loss: Tensor = torch.ops.lastlayer.binary_cross_entropy_with_logits(
        logits, target, weight, pos_weight, *options[:4]
    )
    return loss


def _by_hand(x: Tensor, *others: Tensor | None) -> bool:
    """Whether a kernel has all derivatives that may be asked for."""
    given = [x, *(other for other in others if other is not None)]
    if _compile.why_not() is not None or any(_is_wrapped(tensor) for tensor in given):
        return False
    return not (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in given[1:]))


def _is_wrapped(tensor: Tensor) -> bool:
    if torch.func.debug_unwrap(tensor) is not tensor:
        return True
    return forward_ad.unpack_dual(tensor).tangent is not None  # type: ignore[no-untyped-call]


def _differentiated(gradients: tuple[Tensor | None, ...], *inputs: Tensor) -> bool:
    """Whether a backward is itself differentiated, or transformed."""
    tensors = [*(gradient for gradient in gradients if gradient is not None), *inputs]
    if any(_is_wrapped(tensor) for tensor in tensors):
        return True
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def _through(formula: Any, gradients: tuple[Tensor | None, ...], x: Tensor, *rest: Any) -> Tensor:
    """The gradient of a formula, differentiable."""
    with torch.enable_grad():
        outputs = formula(x, *rest)
    used = [(output, gradient) for output, gradient in zip(outputs, gradients, strict=True) if gradient is not None]
    result: Tensor
    (result,) = torch.autograd.grad([o for o, _ in used], [x], [g for _, g in used], create_graph=True)
    return result


# Cross-entropy. What is kept of the rows and what the reduction divides by are tensors here: nodes hold nothing else.

_library.define(f"cross_entropy({_ROWS}, {_OPTIONS}) -> (Tensor, Tensor)")
_library.define(f"cross_entropy_read({_ROWS}, {_OPTIONS}) -> (Tensor, Tensor, Tensor, Tensor)")
_library.define(
    "cross_entropy_slope(Tensor? of_loss, Tensor? of_lse, Tensor saved, Tensor divisors, "
    f"{_ROWS}, {_OPTIONS}) -> Tensor"
)


def _read(
    logits: Tensor, target: Tensor, weight: Tensor | None, *options: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    (loss, lse), (saved, _, divisors) = dense._forward(logits, target, weight, Options(*options))
    return loss, lse, saved, torch.tensor(divisors, dtype=torch.float64)


def _read_nothing(
    logits: Tensor, target: Tensor, weight: Tensor | None, *options: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rows = logits.shape[:-1]
    wide = torch.float64 if logits.dtype in (torch.float32, torch.float64) else torch.float32
    loss = logits.new_empty(rows if options[1] == "none" else (), dtype=options[0])
    # not rows.numel(), which would tie the graph to this number of rows
    saved = logits.new_empty((3 if target.is_floating_point() else 2, math.prod(rows)), dtype=torch.float64)
    return loss, logits.new_empty(rows, dtype=wide), saved, logits.new_empty(2, dtype=torch.float64)


def _slope(
    of_loss: Tensor | None, of_lse: Tensor | None, saved: Tensor, divisors: Tensor, logits: Tensor, target: Tensor,
    weight: Tensor | None, *options: Any,
) -> Tensor:  # fmt: skip
    kept = saved, None, tuple(divisors.tolist())
    return dense._backward((of_loss, of_lse), kept, logits, target, weight, Options(*options))


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, weight: Tensor | None, *options: Any) -> Any:
        loss, lse, saved, divisors = torch.ops.lastlayer.cross_entropy_read(logits, target, weight, *options)
        ctx.save_for_backward(saved, divisors, logits, target, weight)
        ctx.options = options
        ctx.set_materialize_grads(False)
        return loss, lse

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        saved, divisors, logits, target, weight = ctx.saved_tensors
        if all(gradient is None for gradient in gradients):
            slope = None
        elif _differentiated(gradients, logits):
            options = Options(*ctx.options)
            slope = _through(dense_formula.formula, gradients, logits, target, weight, options)
        else:
            arguments = saved, divisors, logits, target, weight, *ctx.options
            slope = torch.ops.lastlayer.cross_entropy_slope(*gradients, *arguments)
        return slope, None, None, *(None,) * len(ctx.options)


def _cross_entropy(logits: Tensor, target: Tensor, weight: Tensor | None, *options: Any) -> Any:
    if not logits.shape[-1] or not _by_hand(logits, target, weight):
        return dense_formula.cross_entropy(logits, target, weight, Options(*options))
    if torch.is_grad_enabled() and logits.requires_grad:
        return _CrossEntropy.apply(logits, target, weight, *options)
    return torch.ops.lastlayer.cross_entropy_read(logits, target, weight, *options)[:2]


# Binary cross-entropy.

_library.define(f"binary_cross_entropy_with_logits({_ELEMENTS}, {_BINARY_OPTIONS}) -> Tensor")
_library.define(f"binary_cross_entropy_with_logits_read({_ELEMENTS}, {_BINARY_OPTIONS}) -> Tensor")
_library.define(f"binary_cross_entropy_with_logits_slope(Tensor of_loss, {_ELEMENTS}, {_BINARY_OPTIONS}) -> Tensor")


def _binary_read(
    logits: Tensor, target: Tensor, weight: Tensor | None, pos_weight: Tensor | None, *options: Any
) -> Tensor:
    return binary._forward(logits, target, weight, pos_weight, BinaryOptions(*options))[0][0]


def _binary_read_nothing(logits: Tensor, *rest: Any) -> Tensor:
    dtype, reduction, *_ = rest[3:]
    return logits.new_empty(logits.shape if reduction == "none" else (), dtype=dtype)


def _binary_slope(
    of_loss: Tensor, logits: Tensor, target: Tensor, weight: Tensor | None, pos_weight: Tensor | None, *options: Any
) -> Tensor:
    return binary._backward((of_loss,), None, logits, target, weight, pos_weight, BinaryOptions(*options))


class _BinaryCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Any:
        ctx.save_for_backward(*arguments[:4])
        ctx.options = arguments[4:]
        return torch.ops.lastlayer.binary_cross_entropy_with_logits_read(*arguments)

    @staticmethod
    def backward(ctx: Any, of_loss: Tensor) -> Any:
        logits, *rest = ctx.saved_tensors
        if _differentiated((of_loss,), logits):
            slope = _through(binary_formula.formula, (of_loss,), logits, *rest, BinaryOptions(*ctx.options))
        else:
            slope = torch.ops.lastlayer.binary_cross_entropy_with_logits_slope(of_loss, logits, *rest, *ctx.options)
        return slope, *(None,) * (len(rest) + len(ctx.options))


def _binary_cross_entropy(
    logits: Tensor, target: Tensor, weight: Tensor | None, pos_weight: Tensor | None, *options: Any
) -> Any:
    if not _by_hand(logits, target, weight, pos_weight):
        return binary_formula.formula(logits, target, weight, pos_weight, BinaryOptions(*options))[0]
    arguments = logits, target, weight, pos_weight, *options
    if torch.is_grad_enabled() and logits.requires_grad:
        return _BinaryCrossEntropy.apply(*arguments)
    return torch.ops.lastlayer.binary_cross_entropy_with_logits_read(*arguments)


def _slope_nothing(*arguments: Any) -> Tensor:
    return torch.empty_like(arguments[4], memory_format=torch.contiguous_format)


def _binary_slope_nothing(*arguments: Any) -> Tensor:
    return torch.empty_like(arguments[1], memory_format=torch.contiguous_format)


for _name, _implementation, _shapes in (
    ("cross_entropy_read", _read, _read_nothing),
    ("cross_entropy_slope", _slope, _slope_nothing),
    ("binary_cross_entropy_with_logits_read", _binary_read, _binary_read_nothing),
    ("binary_cross_entropy_with_logits_slope", _binary_slope, _binary_slope_nothing),
):
    _library.impl(_name, _implementation, "CPU")
    torch.library.register_fake(f"lastlayer::{_name}", _shapes, lib=_library)
_library.impl("cross_entropy", _cross_entropy, _COMPOSITE)
_library.impl("binary_cross_entropy_with_logits", _binary_cross_entropy, _COMPOSITE)
