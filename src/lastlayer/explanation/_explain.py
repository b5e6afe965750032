"""The door: one row of logits or a batch of them, from raw scores to loss and gradient."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lastlayer.errors import OptionError, ShapeError
from lastlayer.explanation import reading
from lastlayer.explanation.plots import Arrows
from lastlayer.explanation.stories.batch import batch
from lastlayer.explanation.stories.multiclass import multiclass
from lastlayer.explanation.stories.parts import Asked, pipeline
from lastlayer.explanation.stories.yes_or_no import yes_or_no
from lastlayer.explanation.trace import Step, Trace

KINDS = ("multiclass", "binary", "multilabel")
BEFORE = ("softmax", "sigmoid")
REDUCTIONS = ("mean", "sum", "none")
Target = int | str | Sequence[int] | Sequence[str] | Sequence[float] | Tensor


def explain(
    logits: Sequence[float] | Sequence[Sequence[float]] | float | Tensor,
    target: Target | None = None,
    *,
    classes: Sequence[str] | None = None,
    kind: str = "multiclass",
    temperature: float = 1.0,
    label_smoothing: float = 0.0,
    weight: Sequence[float] | Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    threshold: float = 0.5,
    learning_rate: float | None = None,
    before: str | None = None,
    dtype: str | torch.dtype = "float64",
    by: str = "lastlayer",
) -> Trace:
    """Show how logits become probabilities, a loss and a gradient, step by step.

    Args:
        logits: One row of C numbers, or a batch (rows, C). For `kind="binary"` one number, or a tensor (rows,).
        target: The true class by index or name, one per row of a batch; or probabilities of the shape of the logits
            (floats: one-hot and soft targets). For "binary" 0, 1 or one of the two names; for "multilabel" the
            labels that hold, by index or name. None: stop at the probabilities.
        classes: A name per logit; for "binary" the names of no and yes. None: "class 0", "class 1", …
        kind: "multiclass" (softmax, cross-entropy), "binary" (one sigmoid) or "multilabel" (a sigmoid per label,
            binary cross-entropy). Nothing is guessed from the values.
        temperature: Divide the logits by this first.
        label_smoothing: ε in [0, 1]: the target becomes (1 − ε)·target + ε / classes; with sigmoids y(1 − ε) + ε / 2.
        weight: One non-negative factor per class; a batch is told, of one row if need be.
        ignore_index: Rows of a batch with this target count for nothing.
        reduction: "mean", "sum" or "none", for a batch.
        threshold: With sigmoids: from which probability on the answer is yes.
        learning_rate: Take one step of gradient descent on the logits of a row, and show the new loss.
        before: "softmax" or "sigmoid": what a model does by mistake that ends in an activation before the loss.
        dtype: What to compute in: "float64", "float32", "float16" or "bfloat16".
        by: "lastlayer", or "torch" for PyTorch's own functions.

    Returns:
        A trace: print it, index its steps by name (`trace["probabilities"].value`), compare it with another one, or
        keep it (`trace.save("page.html")`). The loss is in nats and is that of `cross_entropy` or
        `binary_cross_entropy_with_logits` on the same numbers.

    Raises:
        ShapeError: rows of different lengths, or a number of names that differs from the number of logits.
        DtypeError: `logits` or `target` are of a type that cannot be read.
        ProbabilityError: a logit is NaN or infinite, or a target is no distribution.
        TargetError: `target` is not one of the classes.
        OptionError: an option has a value that it cannot take.

    >>> trace = explain([4.0, 2.0, -2.0], target="dog", classes=["dog", "cat", "rabbit"])
    >>> round(trace.loss, 4)
    0.1291
    >>> [round(p, 4) for p in trace.probabilities.tolist()]
    [0.8789, 0.1189, 0.0022]
    >>> trace["decision"].facts["second"], trace["decision"].facts["margin"]
    ('cat', 2.0)
    """
    reading.one_of("kind", kind, KINDS)
    asked = _asked(temperature, label_smoothing, learning_rate, before, dtype, by, ignore_index, reduction)
    z = reading.logits(logits, kind, asked.dtype)
    found = reading.names(classes, z.shape[-1] if z.dim() else 1, kind)
    if kind == "multiclass":
        if weight is not None:
            factors = reading.numbers(weight, "weight", asked.dtype)
            _weight_fits(factors, len(found))
            asked, z = replace(asked, weight=factors), z if z.dim() == 2 else z.unsqueeze(0)
            if isinstance(target, int | str):
                target = torch.tensor([reading.index(target, found)])
        if z.dim() == 2:
            return _batch(z, target, found, asked)
        answer = None if target is None else _answer(target, z, found)
        steps = multiclass(z, answer, found, asked)
        kept = tuple(answer.tolist()) if isinstance(answer, Tensor) else answer
        return Trace(kind, _mark(steps, kept), {"j": found}, kept, asked.options(), plot=_way(kept is not None))
    if weight is not None:
        raise OptionError('class weights belong to kind="multiclass"; a sigmoid has one question per logit.')
    if not 0 < threshold < 1:
        raise OptionError(f"threshold has to lie between 0 and 1, got {threshold}.")
    return _sigmoids(z, target, found, kind, threshold, asked)


def _asked(
    temperature: float,
    label_smoothing: float,
    learning_rate: float | None,
    before: str | None,
    dtype: str | torch.dtype,
    by: str,
    ignore_index: int,
    reduction: str,
) -> Asked:
    reading.positive("temperature", temperature)
    if not 0 <= label_smoothing <= 1:
        raise OptionError(f"label_smoothing has to lie in [0, 1], got {label_smoothing}.")
    if learning_rate is not None:
        reading.positive("learning_rate", learning_rate)
    if before is not None:
        reading.one_of("before", before, BEFORE)
    return Asked(
        temperature,
        label_smoothing,
        learning_rate,
        before,
        reading.dtype_of(dtype),
        reading.one_of("by", by, ("lastlayer", "torch")),
        None,
        ignore_index,
        reading.one_of("reduction", reduction, REDUCTIONS),
    )


def _weight_fits(weight: Tensor, classes: int) -> None:
    if tuple(weight.shape) != (classes,):
        raise ShapeError(f"weight needs one number per class: expected shape ({classes},), got {tuple(weight.shape)}.")
    if bool((weight < 0).any()):
        raise OptionError(f"every class weight has to be 0 or more, got {float(weight.min())}.")


def _answer(target: Target, z: Tensor, names: tuple[str, ...]) -> int | Tensor:
    """An index, or probabilities."""
    spread = reading.soft(target, tuple(z.shape))
    return reading.index(target, names) if spread is None else spread.to(z.dtype)


def _batch(z: Tensor, target: Target | None, names: tuple[str, ...], asked: Asked) -> Trace:
    rows = tuple(f"row {row}" for row in range(len(z)))
    if target is None:
        raise ShapeError(f"a batch is explained up to its loss: {len(z)} rows need a target each. One row needs none.")
    if asked.learning_rate is not None:
        raise OptionError("learning_rate takes a step from one row; for a layer use explain_features.")
    spread = reading.soft(target, tuple(z.shape))
    answer = reading.rows_target(target, len(z), names, asked.ignore_index) if spread is None else spread
    kept = tuple(answer.tolist()) if spread is None else None
    return Trace(
        "batch", tuple(batch(z, answer, asked)), {"i": rows, "j": names}, kept, asked.options(), plot=_way(True)
    )


def _sigmoids(
    z: Tensor, target: Target | None, names: tuple[str, ...], kind: str, threshold: float, asked: Asked
) -> Trace:
    if asked.reduction == "none":
        raise OptionError('reduction "none" is told of classes; with sigmoids the losses stand in the step before it.')
    rows = len(z) if z.dim() == (1 if kind == "binary" else 2) else None
    letters = ("i" if rows is not None else "") + ("" if kind == "binary" else "j")
    axes = {"j": names} | ({} if rows is None else {"i": tuple(f"row {row}" for row in range(rows))})
    truth, kept = _truth(target, z, names, kind, rows)
    options = asked.options() | ({} if threshold == 0.5 else {"threshold": threshold})
    steps = yes_or_no(z, truth, letters, asked, threshold)
    way = pipeline((2, 3, 4, 5) if truth is not None else (2, 3), "sigmoid")
    return Trace(kind, _mark(steps, kept) if letters == "j" else tuple(steps), axes, kept, options, plot=way)


def _way(told: bool) -> Arrows:
    return pipeline((2, 3, 4, 5) if told else (2, 3))


def _truth(
    target: Target | None, z: Tensor, names: tuple[str, ...], kind: str, rows: int | None
) -> tuple[Tensor | None, int | tuple[float, ...] | None]:
    """Zeros and ones, or probabilities of yes, in the shape of `z`; and how the trace keeps them."""
    if target is None:
        return None, None
    if isinstance(target, Tensor) and tuple(target.shape) == tuple(z.shape) and (rows is not None or z.dim()):
        given = reading.probabilities(target, "target", total=False)
        return given, tuple(given.tolist()) if given.dim() == 1 and rows is None else None
    if rows is not None:
        raise ShapeError(f"{rows} rows of yes or no need a target tensor of shape {tuple(z.shape)}.")
    if kind == "binary":
        if isinstance(target, float) or (isinstance(target, Tensor) and target.is_floating_point()):
            return reading.probabilities(target, "target", total=False).reshape(()), None
        place = reading.index(target, names)
        return torch.tensor(float(place)), place
    held = reading.labels(target, names)
    return torch.tensor(held, dtype=torch.float64), held


def _mark(steps: Sequence[Step], target: int | tuple[float, ...] | None) -> tuple[Step, ...]:
    """The true classes are marked in every step that has an entry per class."""
    if target is None:
        return tuple(steps)
    if isinstance(target, int):
        marks: tuple[tuple[int, ...], ...] = ((target,),)
    else:
        marks = tuple((place,) for place, share in enumerate(target) if share == max(target) and share > 0)
    return tuple(replace(step, highlights=marks) if step.symbol.index == "j" else step for step in steps)
