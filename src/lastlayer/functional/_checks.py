"""What a call may look like. Messages begin with PyTorch's wording, then say what was found and what to do."""

import torch
from torch import Tensor

from lastlayer import kernels
from lastlayer.errors import DeviceError, DtypeError, OptionError, ProbabilityError, ShapeError, TargetError

INDEX_DTYPES = (torch.int64, torch.uint8)


def values_can_be_read(tensor: Tensor) -> bool:
    """Whether looking at the values is free and allowed: not on a GPU, not while tracing or inside a transform."""
    return kernels.is_plain(tensor) and tensor.device.type == "cpu"


def are_rows_and_indices(input: object, target: object) -> bool:
    """Whether these are what nearly every loss is called with, so that nothing about them is left to check.

    Plain logits (batch, classes) on the CPU, with one int64 index each.
    """
    return (
        isinstance(input, Tensor)
        and isinstance(target, Tensor)
        and target.dtype is torch.int64
        and input.is_cpu
        and target.is_cpu
        and input.dim() == 2
        and target.dim() == 1
        and target.numel() == input.shape[0]
        and input.is_floating_point()
        and kernels.is_plain(input, target)
    )


def are_alike(input: object, target: object) -> bool:
    """Whether these are plain floating tensors of one shape on the CPU: the same for binary losses."""
    return (
        isinstance(input, Tensor)
        and isinstance(target, Tensor)
        and input.shape == target.shape
        and input.is_cpu
        and target.is_cpu
        and input.is_floating_point()
        and target.is_floating_point()
        and kernels.is_plain(input, target)
    )


def is_floating_tensor(value: object) -> bool:
    """Whether `is_floating` would find nothing."""
    return isinstance(value, Tensor) and value.is_floating_point()


def is_tensor(function: str, **arguments: object) -> None:
    """Every argument is a tensor."""
    for position, (name, value) in enumerate(arguments.items(), start=1):
        if not isinstance(value, Tensor):
            raise DtypeError(
                f"{function}(): argument '{name}' (position {position}) must be Tensor, not {type(value).__name__}. "
                f"{_instead_of(value)}"
            )


def _instead_of(value: object) -> str:
    if isinstance(value, (list, int, float)):
        return "Wrap it: torch.tensor(...)."
    if hasattr(value, "logits"):
        return "Pass its .logits."
    return "Pass the tensor that it holds."


def is_floating(function: str, **tensors: Tensor) -> None:
    """Every tensor is floating."""
    is_tensor(function, **tensors)
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise DtypeError(
                f"{function} is not implemented for {_name(tensor)} {name}: expected float16, bfloat16, float32 or "
                f"float64. Convert it: {name}.float()."
            )


def not_complex(function: str, tensor: Tensor) -> None:
    """No imaginary part is dropped on the way to a real dtype."""
    if tensor.is_complex():
        raise DtypeError(
            f"{function} is not implemented for {_name(tensor)}: expected float16, bfloat16, float32 or float64. "
            "A complex number has no place among probabilities; pass input.real if its real part is meant."
        )


def same_device(**tensors: Tensor | None) -> None:
    """Every tensor that is there is where the first is."""
    (first, reference), *others = tensors.items()
    for name, tensor in others:
        if tensor is not None and reference is not None and tensor.device != reference.device:
            raise DeviceError(
                f"Expected all tensors to be on the same device, but found at least two devices: {first} is on "
                f"{reference.device} and {name} on {tensor.device}. Move it: {name}.to({first}.device)."
            )


def dimension(tensor: Tensor, dim: int) -> int:
    """Return `dim` counted from the front."""
    if not isinstance(dim, int):
        raise DtypeError(
            f"argument 'dim' must be int, not {type(dim).__name__}: which axis holds the classes is for you to say. "
            "Pass dim=1 for (batch, classes), or dim=-1 for the last axis."
        )
    rank = tensor.dim() or 1
    if not -rank <= dim < rank:
        raise _DimensionError(
            f"Dimension out of range (expected to be in range of [{-rank}, {rank - 1}], but got {dim}): "
            f"the tensor has shape {tuple(tensor.shape)}."
        )
    return dim % rank


class _DimensionError(ShapeError, IndexError):
    """PyTorch raises IndexError for an axis that is not there."""


def class_axis(input: Tensor) -> int:
    """Axis 1 of a batch, the only axis of a single row."""
    if input.dim() == 0:
        raise ShapeError(
            "Expected 1 or more dimensions (got 0): input needs a class axis, shape (classes,) or (batch, classes, …)."
        )
    return 0 if input.dim() == 1 else 1


def rows_of(input: Tensor, axis: int) -> tuple[int, ...]:
    """The shape of `input` without its class axis."""
    return (*input.shape[:axis], *input.shape[axis + 1 :])


def index_target(input: Tensor, target: Tensor, axis: int, ignore_index: int, check: bool | None) -> int | None:
    """`target` holds one class index per row of `input`; see `indices_named` for what is returned."""
    if input.dim() == 2 and target.dim() == 1 and len(target) == len(input) and target.dtype is torch.int64:
        return indices_named(target, input.shape[1], ignore_index, check)  # what nearly every call is
    expected = rows_of(input, axis)
    found = tuple(target.shape)
    if found != expected and not (input.dim() == 1 and found == (1,)):  # PyTorch takes (1,) for a single row too
        raise ShapeError(_wrong_shape(input, target, expected))
    if target.dtype not in INDEX_DTYPES:
        raise DtypeError(
            f"expected target dtype to be Long or Byte, but got {_name(target)}: class indices are int64. "
            "Convert them: target.long(). Probabilities need the shape of input, "
            f"{tuple(input.shape)}, and a floating-point dtype."
        )
    return indices_named(target, input.shape[axis], ignore_index, check)


def _wrong_shape(input: Tensor, target: Tensor, expected: tuple[int, ...]) -> str:
    found = tuple(target.shape)
    if input.dim() == 1 and len(found) == 1:
        opening = f"For 1D input, 1D target must have size 1, but got target size: {found[0]}"
    elif input.dim() <= 2 and len(found) > 1:
        opening = "0D or 1D target tensor expected, multi-target not supported"
    elif input.dim() > 2 and len(found) != len(expected):
        only = "only batches of spatial targets supported"
        opening = f"{only} (3D tensors) but got targets of dimension: {len(found)}"
        if input.dim() != 4:
            opening = f"{only} but got targets of dimension: {len(found)}"
    elif found and expected and found[0] != expected[0]:
        opening = f"Expected input batch_size ({expected[0]}) to match target batch_size ({found[0]})"
    else:
        opening = f"Expected target size {list(expected)}, got {list(found)}"
    return (
        f"{opening}. target needs one class index per row: expected shape {expected}, got {found}."
        f"{_shape_advice(input, found, expected)}"
    )


def _shape_advice(input: Tensor, found: tuple[int, ...], expected: tuple[int, ...]) -> str:
    for axis, size in enumerate(found):
        if size == 1 and found[:axis] + found[axis + 1 :] == expected:
            return f" Drop the extra axis: target.squeeze({axis})."
    if input.dim() == 2 and found == (input.numel(),):
        return f" It has one entry per class, a flattened one-hot? Use target.view(-1, {input.shape[1]}).argmax(1)."
    if input.dim() == 3 and found == tuple(input.shape[:2]):
        return " Classes belong on axis 1: pass input.transpose(1, 2)."
    if len(found) == input.dim():
        return f" Probabilities need the shape of input, {tuple(input.shape)}."
    return ""


def probability_target(input: Tensor, target: Tensor, ignore_index: int) -> None:
    """`target` holds one probability per class, in the shape of `input`."""
    if not target.is_floating_point():
        raise DtypeError(
            f"Expected floating point type for target with class probabilities, got {_name(target)}: the target has "
            f"the shape of input, {tuple(input.shape)}. For one-hot integers pass target.argmax(dim) as class indices "
            "or target.float() as probabilities."
        )
    if ignore_index >= 0:
        raise OptionError(
            f"ignore_index is not supported for floating point target (got ignore_index={ignore_index}): a row of "
            "probabilities has no index to compare. Pass class indices, or set the rows to leave out to zeros."
        )


def indices_named(target: Tensor, classes: int, ignore_index: int, check: bool | None) -> int | None:
    """Look at the indices where that is free; return None when all are in range and none is ignored.

    Otherwise returns `ignore_index`, for kernels that then guard every row.
    """
    if not (values_can_be_read(target) if check is None else check):
        return ignore_index
    if target.numel() == 0:
        return None
    smallest, largest = torch.aminmax(target)
    low, high = smallest.item(), largest.item()
    if low >= 0 and high < classes:
        return ignore_index if 0 <= ignore_index < classes else None
    if bool(_names_none(target.to(torch.int64), classes, ignore_index).any()):
        raise unnamed(target, classes, ignore_index)
    return ignore_index


def _names_none(target: Tensor, classes: int, ignore_index: int) -> Tensor:
    flat = target.reshape(-1)
    return ((flat < 0) | (flat >= classes)) & (flat != ignore_index)


def unnamed(target: Tensor, classes: int, ignore_index: int) -> TargetError:
    """The error for an index that names no class; there is one."""
    flat = target.reshape(-1).to(torch.int64)
    bad = _names_none(flat, classes, ignore_index)
    row = int(bad.nonzero()[0])
    value = int(flat[row])
    others = int(bad.sum()) - 1
    return TargetError(
        f"Target {value} is out of bounds. Row {row}{f' (and {others} more)' if others else ''} names class "
        f"{value}, but the {classes} classes are 0 to {classes - 1}. {_relabel(flat, classes, value)}"
    )


def _relabel(flat: Tensor, classes: int, value: int) -> str:
    if int(flat.min()) == 1 and int(flat.max()) == classes:
        return "Labels that start at 1: subtract 1."
    if value in (-1, 255):
        return f"If {value} marks rows to leave out, pass ignore_index={value}."
    return f"Relabel them from 0, or give the layer {int(flat.max()) + 1} outputs."


def class_weight(weight: Tensor | None, classes: int, check: bool | None = None) -> None:
    """`weight` is None or holds one non-negative number per class."""
    if weight is None:
        return
    is_floating("weight", weight=weight)
    if tuple(weight.shape) != (classes,):
        raise ShapeError(
            f"weight tensor should be defined either for all {classes} classes or no classes but got weight tensor of "
            f"shape: {list(weight.shape)}. Pass one number per class, shape ({classes},)."
        )
    if values_can_be_read(weight) if check is None else check:
        wrong = ~(weight.detach() >= 0)  # True for NaN as well
        if wrong.any():
            index = int(wrong.nonzero()[0])
            raise OptionError(
                f"weight has to be non-negative, got {weight[index].item()} for class {index}. A negative weight would "
                "reward a wrong answer; to leave a class out give it weight 0."
            )


def non_negative(name: str, tensor: Tensor | None) -> None:
    """`tensor` is None or holds no negative number and no NaN."""
    if tensor is None:
        return
    is_tensor(name, **{name: tensor})
    if values_can_be_read(tensor) and not bool((tensor.detach() >= 0).all()):
        raise OptionError(f"{name} has to be non-negative, got {tensor.detach().min().item()} as its smallest value.")


def broadcast_shape(first: Tensor, second: Tensor) -> torch.Size | None:
    """The shape that two tensors broadcast to, or None."""
    try:
        return torch.broadcast_shapes(first.shape, second.shape)  # type: ignore[no-untyped-call, no-any-return]
    except RuntimeError:
        return None


def broadcasts(name: str, tensor: Tensor | None, input: Tensor) -> None:
    """`tensor` is None or broadcasts to the shape of `input`."""
    if tensor is not None and broadcast_shape(tensor, input) != input.shape:
        raise ShapeError(
            f"{name} of shape {tuple(tensor.shape)} cannot be broadcast to input of shape {tuple(input.shape)}. "
            "Pass one number per class (the last axis), or one per element."
        )


def probabilities(function: str, name: str, tensor: Tensor) -> None:
    """Every value lies in [0, 1]; a NaN is let through and gives NaN, but for the losses that PyTorch guards too."""
    if tensor.numel() == 0 or not values_can_be_read(tensor):
        return
    low, high = (float(bound) for bound in torch.aminmax(tensor.detach()))
    if low < 0 or high > 1 or (function == "binary_cross_entropy" and low != low):
        raise improbable(function, name, tensor)


def improbable(function: str, name: str, tensor: Tensor) -> ProbabilityError:
    """The error for values outside [0, 1]; there are some."""
    low, high = (float(bound) for bound in torch.aminmax(tensor.detach()))
    advice = "For logits use binary_cross_entropy_with_logits." if name == "input" else "Rescale the targets."
    return ProbabilityError(
        f"all elements of {name} should be between 0 and 1: {function} found values from {low:.4g} to {high:.4g}. "
        f"{advice}"
    )


def _name(tensor: Tensor) -> str:
    """PyTorch's name for a dtype in its messages: Long, Float, Half."""
    return {
        torch.int64: "Long",
        torch.int32: "Int",
        torch.int16: "Short",
        torch.int8: "Char",
        torch.uint8: "Byte",
        torch.bool: "Bool",
        torch.float16: "Half",
        torch.bfloat16: "BFloat16",
        torch.float32: "Float",
        torch.float64: "Double",
    }.get(tensor.dtype, str(tensor.dtype).removeprefix("torch."))
