"""The door: what may be explained, and how it is asked for."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lastlayer.errors import DtypeError, OptionError, ProbabilityError, ShapeError, TargetError, did_you_mean
from lastlayer.explanation import stories
from lastlayer.explanation.trace import Step, Trace

KINDS = ("multiclass", "binary", "multilabel")
Target = int | str | Sequence[int] | Sequence[str] | Tensor


def explain(
    logits: Sequence[float] | float | Tensor,
    target: Target | None = None,
    *,
    classes: Sequence[str] | None = None,
    kind: str = "multiclass",
    temperature: float = 1.0,
) -> Trace:
    """Show how one row of logits becomes probabilities, a loss and a gradient, step by step.

    Args:
        logits: One row of C numbers; a single number for `kind="binary"`.
        target: The true class by index or name. For "binary" 0, 1 or one of the two names; for "multilabel" the
            labels that hold, by index or name. None: stop at the probabilities.
        classes: A name per logit; for "binary" the names of no and yes. None: "class 0", "class 1", …
        kind: "multiclass" (softmax, cross-entropy), "binary" (one sigmoid) or "multilabel" (a sigmoid per label,
            binary cross-entropy). Nothing is guessed from the values.
        temperature: Divide the logits by this first.

    Returns:
        A trace: print it, index its steps by name (`trace["probabilities"].value`), or keep it (`trace.to_json()`).
        Everything is computed in float64; the loss is in nats and equals `cross_entropy` of the same logits.

    Raises:
        ShapeError: not one row, or a number of names that differs from the number of logits.
        DtypeError: `logits` or `target` are of a type that cannot be read.
        ProbabilityError: a logit is NaN or infinite.
        TargetError: `target` is not one of the classes.
        OptionError: an unknown `kind`, or a temperature that is not positive.

    >>> trace = explain([4.0, 2.0, -2.0], target="dog", classes=["dog", "cat", "rabbit"])
    >>> round(trace.loss, 4)
    0.1291
    >>> [round(p, 4) for p in trace.probabilities.tolist()]
    [0.8789, 0.1189, 0.0022]
    """
    if kind not in KINDS:
        raise OptionError(f"kind has to be one of {', '.join(KINDS)}, got {kind!r}.{did_you_mean(str(kind), KINDS)}")
    if not 0 < temperature < float("inf"):
        raise OptionError(f"temperature has to be a positive finite number, got {temperature}.")
    z = _row(logits, kind)
    names = _names(classes, z, kind)
    answer, steps = _story(z, target, names, kind, temperature)
    return Trace(kind, names, answer, temperature, tuple(steps))


def _row(logits: object, kind: str) -> Tensor:
    try:
        z = torch.as_tensor(logits).detach().to("cpu", torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DtypeError(
            f"logits have to be numbers, one row of them: got {type(logits).__name__} ({error})."
        ) from error
    if kind == "binary":
        if z.numel() != 1:
            raise ShapeError(
                f"a binary classifier has one logit, got {z.numel()}. For two logits with softmax use "
                'kind="multiclass".'
            )
        z = z.reshape(())
    elif z.dim() == 2 and z.shape[0] == 1:
        z = z[0]
    elif z.dim() != 1:
        raise ShapeError(f"one row of logits is explained at a time: expected shape (classes,), got {tuple(z.shape)}.")
    if z.numel() < (2 if kind == "multiclass" else 1):
        raise ShapeError(
            f"{kind} needs at least 2 logits, got {z.numel()}: the softmax of one logit is 1 whatever it is. For yes "
            'or no use kind="binary".'
            if z.numel()
            else "there are no logits to explain."
        )
    if not z.isfinite().all():
        wrong = z.reshape(-1)[~z.reshape(-1).isfinite()][0].item()
        raise ProbabilityError(f"every logit has to be a finite number to be explained, got {wrong}.")
    return z


def _names(classes: Sequence[str] | None, z: Tensor, kind: str) -> tuple[str, ...]:
    expected = 2 if kind == "binary" else z.numel()
    if classes is None:
        return ("no", "yes") if kind == "binary" else tuple(f"class {index}" for index in range(expected))
    names = tuple(str(name) for name in classes)
    if len(names) != expected:
        what = "the names of no and yes" if kind == "binary" else "a name per logit"
        raise ShapeError(f"classes need {what}: expected {expected}, got {len(names)} ({', '.join(names[:5])}).")
    return names


def _story(
    z: Tensor, target: Target | None, names: tuple[str, ...], kind: str, temperature: float
) -> tuple[int | tuple[int, ...] | None, list[Step]]:
    if kind == "multilabel":
        if target is None:
            return None, stories.yes_or_no(z, None, temperature)
        held = _labels(target, names)
        return held, stories.yes_or_no(z, torch.tensor(held, dtype=torch.float64), temperature)
    index = None if target is None else _index(target, names)
    if kind == "multiclass":
        return index, stories.multiclass(z, index, temperature)
    truth = None if index is None else torch.tensor(float(index), dtype=torch.float64)
    return index, stories.yes_or_no(z, truth, temperature)


def _index(target: object, names: tuple[str, ...]) -> int:
    """The class that `target` names or counts."""
    if isinstance(target, Tensor) and target.numel() == 1 and not target.is_floating_point():
        target = int(target)
    if isinstance(target, str):
        if target not in names:
            raise TargetError(
                f"{target!r} is not one of the classes {', '.join(names[:10])}{', …' if len(names) > 10 else ''}."
                f"{did_you_mean(target, names)}"
            )
        return names.index(target)
    try:
        index = int(target.__index__())  # type: ignore[attr-defined]
    except AttributeError:
        raise DtypeError(
            f"target has to be a class index or a class name, got {type(target).__name__}: {target!r}."
        ) from None
    if not 0 <= index < len(names):
        raise TargetError(f"Target {index} is out of bounds: the {len(names)} classes are 0 to {len(names) - 1}.")
    return index


def _labels(target: object, names: tuple[str, ...]) -> tuple[int, ...]:
    """A 0 or 1 per label."""
    chosen = [target] if isinstance(target, (int, str)) else list(target)  # type: ignore[call-overload]
    held = {_index(label, names) for label in chosen}
    return tuple(int(index in held) for index in range(len(names)))
