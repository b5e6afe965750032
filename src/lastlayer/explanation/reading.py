"""Reading what is to be explained: numbers, names of classes, targets; each refused with what to do instead."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from lastlayer.errors import DtypeError, OptionError, ProbabilityError, ShapeError, TargetError, did_you_mean

DTYPES = {"float64": torch.float64, "float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def numbers(values: object, what: str = "logits", dtype: torch.dtype = torch.float64) -> Tensor:
    """Finite numbers as a tensor on the CPU."""
    if isinstance(values, str):
        raise DtypeError(f"{what} have to be numbers, got str: {values!r}.")
    try:
        # a list goes to float64 at once: PyTorch's default float32 would lose digits on the way
        found = torch.as_tensor(values, dtype=None if isinstance(values, Tensor) else torch.float64)
        found = found.detach().to("cpu", torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        lengths = sorted({len(row) for row in values if hasattr(row, "__len__")}) if isinstance(values, list) else []
        if len(lengths) > 1:
            raise ShapeError(
                f"every row of {what} needs the same number of classes: got rows of {lengths[0]} and of {lengths[-1]} "
                "numbers."
            ) from None
        raise DtypeError(f"{what} have to be numbers: got {type(values).__name__} ({error}).") from None
    if not found.isfinite().all():
        wrong = found.reshape(-1)[~found.reshape(-1).isfinite()][0].item()
        raise ProbabilityError(f"every number of {what} has to be a finite number to be explained, got {wrong}.")
    narrow = found.to(dtype)
    if not narrow.isfinite().all():
        raise ProbabilityError(f"{what} do not fit into {dtype}: the largest is {found.abs().max().item():g}.")
    return narrow


def logits(values: object, kind: str, dtype: torch.dtype) -> Tensor:
    """(classes) or (rows, classes); for "binary" () or (rows)."""
    z = numbers(values, dtype=dtype)
    if kind == "binary":
        if z.numel() == 1:
            return z.reshape(())
        if z.dim() != 1 or not isinstance(values, Tensor):
            raise ShapeError(
                f"a binary classifier has one logit, got {z.numel()}. For two logits with softmax use "
                'kind="multiclass"; for several rows of one logit pass a tensor of shape (rows,).'
            )
        return z
    if z.dim() == 2 and z.shape[0] == 1:
        z = z[0]
    if z.dim() not in (1, 2):
        raise ShapeError(f"logits need the shape (classes,) or (rows, classes), got {tuple(z.shape)}.")
    if z.numel() == 0:
        raise ShapeError("there are no logits to explain.")
    if kind == "multiclass" and z.shape[-1] < 2:
        raise ShapeError(
            f"{kind} needs at least 2 logits, got {z.shape[-1]}: the softmax of one logit is 1 whatever it is. For yes "
            'or no use kind="binary".'
        )
    return z


def names(classes: Sequence[str] | None, count: int, kind: str = "multiclass") -> tuple[str, ...]:
    """A name per class."""
    expected = 2 if kind == "binary" else count
    if classes is None:
        return ("no", "yes") if kind == "binary" else tuple(f"class {index}" for index in range(expected))
    found = tuple(str(name) for name in classes)
    if len(found) != expected:
        what = "the names of no and yes" if kind == "binary" else "a name per logit"
        raise ShapeError(f"classes need {what}: expected {expected}, got {len(found)} ({', '.join(found[:5])}).")
    return found


def index(target: object, classes: Sequence[str]) -> int:
    """The class that `target` names or counts."""
    if isinstance(target, Tensor) and target.numel() == 1 and not target.is_floating_point():
        target = int(target)
    if isinstance(target, str):
        if target not in classes:
            raise TargetError(
                f"{target!r} is not one of the classes {', '.join(classes[:10])}{', …' if len(classes) > 10 else ''}."
                f"{did_you_mean(target, classes)}"
            )
        return list(classes).index(target)
    try:
        found = int(target.__index__())  # type: ignore[attr-defined]
    except (AttributeError, TypeError):
        raise DtypeError(
            f"target has to be a class index or a class name, got {type(target).__name__}: {target!r}."
        ) from None
    if not 0 <= found < len(classes):
        raise TargetError(f"Target {found} is out of bounds: the {len(classes)} classes are 0 to {len(classes) - 1}.")
    return found


def labels(target: object, classes: Sequence[str]) -> tuple[int, ...]:
    """A 0 or 1 per label."""
    chosen = list(target) if isinstance(target, Iterable) and not isinstance(target, str) else [target]
    held = {index(label, classes) for label in chosen}
    return tuple(int(place in held) for place in range(len(classes)))


def soft(target: object, shape: tuple[int, ...]) -> Tensor | None:
    """Probabilities of the shape of the logits, or None where `target` is something else."""
    if isinstance(target, Tensor):
        if not target.is_floating_point():
            return None
        found = target.detach().to("cpu", torch.float64)
    elif isinstance(target, Sequence) and not isinstance(target, str) and _holds_floats(target):
        found = numbers(target, "target")
    else:
        return None
    if tuple(found.shape) != shape:
        raise ShapeError(
            f"a target of probabilities needs the shape of the logits: expected {shape}, got {tuple(found.shape)}."
        )
    return probabilities(found, "target")


def probabilities(p: object, what: str, *, total: bool = True) -> Tensor:
    """Numbers in [0, 1] that sum to 1 along the last axis."""
    found = numbers(p, what)
    if bool((found < 0).any() or (found > 1).any()):
        wrong = found[(found < 0) | (found > 1)].reshape(-1)[0].item()
        raise ProbabilityError(f"{what} has to lie in [0, 1], got {wrong:g}. For raw scores pass them as logits.")
    if total and bool(((found.sum(-1) - 1).abs() > 1e-6).any()):
        raise ProbabilityError(
            f"{what} has to sum to 1, got {found.sum(-1).reshape(-1)[0].item():g}. Divide by the sum."
        )
    return found


def rows_target(target: object, rows: int, classes: Sequence[str], ignore_index: int) -> Tensor:
    """int64, an index per row; rows with `ignore_index` are let through."""
    given: object = target.detach().cpu().tolist() if isinstance(target, Tensor) else target
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise ShapeError(f"{rows} rows of logits need a target each: got {target!r}.")
    if len(given) != rows:
        raise ShapeError(f"{rows} rows of logits need a target each: got {len(given)}.")
    return torch.tensor([ignore_index if one == ignore_index else index(one, classes) for one in given])


def one_of(what: str, value: object, known: Sequence[str]) -> str:
    """A word out of a list."""
    if value not in known:
        raise OptionError(
            f"{what} has to be one of {', '.join(known)}, got {value!r}.{did_you_mean(str(value), known)}"
        )
    return str(value)


def positive(what: str, value: float) -> float:
    """A positive finite number."""
    if not 0 < value < float("inf"):
        raise OptionError(f"{what} has to be a positive finite number, got {value}.")
    return value


def dtype_of(dtype: str | torch.dtype) -> torch.dtype:
    """float64, float32, float16 or bfloat16, by name or as PyTorch's own."""
    return DTYPES[one_of("dtype", str(dtype).removeprefix("torch."), tuple(DTYPES))]


def _holds_floats(target: Sequence[object]) -> bool:
    flat = [one for row in target for one in (row if isinstance(row, (list, tuple)) else [row])]
    return bool(flat) and any(isinstance(one, float) for one in flat)
