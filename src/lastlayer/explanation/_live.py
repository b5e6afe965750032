"""Losses and models that are there already: read what they compute, then tell it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lastlayer.errors import DtypeError, OptionError, ShapeError
from lastlayer.explanation import reading
from lastlayer.explanation._doors import explain_features
from lastlayer.explanation._explain import explain
from lastlayer.explanation.trace import Invariant, Step, Trace
from lastlayer.graph import Calls, Term, read

MOST_NUMBERS = 4_000_000  # logits that are told in float64; beyond, a smaller batch says the same
_ACTIVATIONS = ("softmax", "sigmoid", "log_softmax", "logsigmoid", "relu", "log")


def explain_loss(loss: Tensor, *, classes: Sequence[str] | None = None) -> Trace:
    """Show what a live loss computes: its graph is read, and its rows are told from logits to loss.

    Args:
        loss: What cross-entropy, `nll_loss` of log-probabilities or binary cross-entropy with logits returned,
            PyTorch's or ours, before its backward; other terms may be added to it.
        classes: A name per class.

    Returns:
        The trace of the batch, with what was read in `options`: the function, rows, ignored rows, weights, smoothing,
        and the activations between the last layer and the loss. PyTorch keeps log-probabilities; they stand for the
        logits, from which they differ by a constant per row.

    Raises:
        DtypeError: `loss` is no tensor.
        OptionError: no loss of these kinds can be read from the graph, it is too large, or it was computed with
            options that the graph does not keep; the message says which.

    >>> z = torch.tensor([[4.0, 2.0, -2.0], [0.0, 1.0, 0.0]], requires_grad=True)
    >>> trace = explain_loss(torch.nn.functional.cross_entropy(z, torch.tensor([0, -100])))
    >>> trace.options["read"], trace.options["ignored"], round(trace.loss, 4)
    ('mean cross_entropy', 1.0, 0.1291)
    """
    wiring = read(loss)
    told = [term for term in wiring.terms if term.kind in _STORIES and term.given is not None]
    if not told:
        found = ", ".join(term.kind for term in wiring.terms) or "nothing"
        why = f" ({wiring.obstacle})" if wiring.obstacle else ""
        raise OptionError(
            f"expected cross-entropy or binary cross-entropy of logits in the graph of this loss, found {found}{why}. "
            "Pass the tensor that the loss function returned, before .backward(); lastlayer.explain takes logits."
        )
    term = told[0]
    assert term.given is not None  # noqa: S101 - chosen above
    if term.given.numel() > MOST_NUMBERS:
        raise OptionError(
            f"this loss has {term.given.numel():,} logits, more than the {MOST_NUMBERS:,} that are told. Explain the "
            "loss of a smaller batch."
        )
    trace = _told(term, loss, classes)
    alone = len(wiring.terms) == 1 and not set(term.above) & {"Mul", "Add", "Div", "Pow"}
    if _agrees(trace):
        return trace
    if alone:
        raise OptionError(
            f"the graph tells a loss of {trace.loss}, the one given is {loss.detach().tolist()}: it was computed with "
            "options that it does not keep, such as temperature, softcap or z_loss. Pass them to lastlayer.explain "
            "with the logits and targets."
        )
    if term.label_smoothing and not term.ours:
        # PyTorch's smoothing is read off a factor in front of the loss, which may be somebody's own factor instead
        trace = _told(replace(term, label_smoothing=0.0), loss, classes)
    # scaled on the way, or one of several terms: its own value is another than that of the whole
    return replace(trace, steps=tuple(map(_unchecked, trace.steps)))


def _told(term: Term, loss: Tensor, classes: Sequence[str] | None) -> Trace:
    trace = _STORIES[term.kind](term, loss, classes)
    between = [op.name for op in term.path if op.name in _ACTIVATIONS]
    options = {**trace.options, **({"found": ", ".join(reversed(between))} if between else {})}
    return replace(trace, steps=_checked(trace, loss), options=options)


def _agrees(trace: Trace) -> bool:
    return all(check.holds for check in trace["loss"].invariants)


def _unchecked(step: Step) -> Step:
    return replace(step, invariants=tuple(check for check in step.invariants if check.id != "equals_given"))


def _cross_entropy(term: Term, loss: Tensor, classes: Sequence[str] | None) -> Trace:
    given, axis = term.given, term.axis
    assert given is not None  # noqa: S101 - explain_loss chose it so
    if term.target is None:
        raise OptionError("the graph of this loss keeps no targets. Explain the logits and targets with explain().")
    at = given.dim() - 1 if axis is None else axis
    z = given.detach().movedim(at, -1).reshape(-1, given.shape[at])
    target = term.target.detach()
    soft = target.is_floating_point()
    target = target.movedim(at, -1).reshape(z.shape) if soft else target.reshape(-1)
    ignore = -100 if term.ignore_index is None else term.ignore_index
    how: dict[str, Any] = {
        "label_smoothing": term.label_smoothing or 0.0,
        "weight": term.weight,
        "ignore_index": ignore,
    }
    reduction = term.reduction or ("none" if loss.dim() else "mean")
    if term.reduction is None and not loss.dim():  # written by hand: whichever of the two it is
        mean, total = (explain(z, target, reduction=one, **how).loss or 0.0 for one in ("mean", "sum"))
        reduction = "mean" if abs(mean - float(loss)) <= abs(total - float(loss)) else "sum"
    trace = (
        explain(z, target, classes=classes, reduction=reduction, **how)
        if len(z) > 1 or term.weight is not None
        else explain(z[0], target[0], classes=classes, label_smoothing=term.label_smoothing or 0.0)
    )
    ignored = 0 if soft else int((target == ignore).sum())
    name = "nll_loss" if term.kind == "nll" else "cross_entropy"
    return replace(trace, options=_read(f"{reduction} {name}", len(z), ignored, term, trace))


def _binary(term: Term, loss: Tensor, classes: Sequence[str] | None) -> Trace:
    z, target = term.given, term.target
    assert z is not None  # noqa: S101 - explain_loss chose it so
    if term.weight is not None or term.pos_weight is not None:
        raise OptionError("a binary loss with weights is read, not told: explain() takes its logits without them.")
    if target is None or z.dim() > 2:
        raise OptionError(f"a binary loss of shape {tuple(z.shape)} is not told: (rows,) and (rows, labels) are.")
    reduction = term.reduction or "mean"
    z, target = z.detach(), target.detach().double()
    kind = "multilabel" if z.dim() == 2 and z.shape[1] > 1 else "binary"
    if kind == "binary":
        z, target = z.reshape(-1), target.reshape(-1)
    if z.numel() == 1:
        trace = explain(z.reshape(()), target.reshape(()), kind="binary")
    else:
        trace = explain(z, target, kind=kind, classes=classes, reduction="sum" if reduction == "sum" else "mean")
    return replace(trace, options=_read(f"{reduction} binary_cross_entropy_with_logits", len(z), 0, term, trace))


def _read(name: str, rows: int, ignored: int, term: Term, trace: Trace) -> dict[str, float | str]:
    """What was read, in the order in which it is said."""
    found: dict[str, float | str] = {"read": name, "rows": float(rows)}
    if ignored:
        found["ignored"] = float(ignored)
    if term.weight is not None:
        found["weighted"] = "weighted"
    rest = {key: value for key, value in trace.options.items() if key not in ("reduction", "ignore_index")}
    return {**found, **rest, "by": "lastlayer" if term.ours else "torch"}


def _checked(trace: Trace, loss: Tensor) -> tuple[Step, ...]:
    """The told loss is held against the live one, within the rounding of the dtype that it was computed in."""

    def with_check(step: Step) -> Step:
        if step.id != "loss" or step.value.shape != loss.shape:
            return step
        given = loss.detach().double().cpu()
        room = 64 * torch.finfo(loss.dtype).eps * max(1.0, float(given.abs().max()))
        off = float((step.value - given).abs().max()) if bool(given.isfinite().all()) else 0.0
        return replace(step, invariants=(*step.invariants, Invariant("equals_given", off, max(room, 1e-12))))

    return tuple(map(with_check, trace.steps))


_STORIES = {
    "cross_entropy": _cross_entropy,
    "soft_cross_entropy": _cross_entropy,
    "bce_with_logits": _binary,
}


class _LastLinear:
    """What went into the linear layer that ran last, and what came out of it."""

    def __init__(self, model: nn.Module) -> None:
        self.layer: nn.Linear | None = None
        self.inside: Tensor | None = None
        self.outside: Tensor | None = None
        layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
        self.handles = [layer.register_forward_hook(self._keep) for layer in layers]

    def _keep(self, layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(layer, nn.Linear):
            self.layer, self.inside, self.outside = layer, inputs[0], output


def explain_model(
    model: nn.Module,
    batch: Any,
    target: Any = None,
    *,
    classes: Sequence[str] | None = None,
    kind: str = "multiclass",
    row: int | None = None,
) -> Trace:
    """Run a model on a batch and show what its last layer's numbers become.

    Args:
        model: Any module whose output is one row of logits per input. It runs in evaluation mode, without a graph,
            and is left as it was.
        batch: What it takes: a tensor, or a tuple or dictionary of arguments.
        target: The true class of each row, as for `explain`. None: only up to the probabilities, of one row.
        classes: A name per class.
        kind: "multiclass", "binary" or "multilabel", as for `explain`.
        row: Tell this row alone; from its features on, where the model ends in a linear layer.

    Returns:
        A trace. A softmax or sigmoid at the end of the model stands in it as a step of its own, because a loss of
        logits would apply it twice.

    Raises:
        ShapeError: the output has not the shape (rows, classes), or there is no such row.
        DtypeError: the output is no tensor.

    >>> layer = nn.Linear(2, 3)
    >>> trace = explain_model(nn.Sequential(layer), torch.ones(4, 2), target=[0, 1, 2, 0])
    >>> trace.kind, len(trace.axes["i"])
    ('batch', 4)
    """
    out, last, maker = _run(model, batch)
    if not isinstance(out, Tensor):
        raise DtypeError(
            f"expected a tensor of logits from the model, got {type(out).__name__}: wrap it to return them."
        )
    ends_linear = last.outside is not None and out is last.outside
    before = maker if maker in ("softmax", "sigmoid") and last.outside is not None else None
    z = last.outside if before is not None and last.outside is not None else out
    if kind == "binary":
        z = z.reshape(-1)
    if z.dim() != (1 if kind == "binary" else 2):
        raise ShapeError(f"expected logits of shape (rows, classes) from the model, got {tuple(out.shape)}.")
    if row is None and (target is None or len(z) == 1):
        row = 0
    if row is None:
        return explain(z, target, classes=classes, kind=kind, before=before)
    if not 0 <= row < len(z):
        raise ShapeError(f"row {row} is not in a batch of {len(z)} rows, which are 0 to {len(z) - 1}.")
    answer = None if target is None else target[row]
    whole = ends_linear and last.layer is not None and last.inside is not None and last.inside.dim() == 2
    if whole and kind == "multiclass" and (answer is None or reading.soft(answer, (z.shape[1],)) is None):
        assert last.layer is not None  # noqa: S101 - `whole` says so
        assert last.inside is not None  # noqa: S101
        return explain_features(
            last.inside[row], last.layer.weight, answer, linear_bias=last.layer.bias, classes=classes
        )
    return explain(z[row], answer, classes=classes, kind=kind, before=before)


def _run(model: nn.Module, batch: Any) -> tuple[Any, _LastLinear, str | None]:
    """The output, the last linear layer, and the activation that made the output."""
    modes = {module: module.training for module in model.modules()}
    last = _LastLinear(model)
    try:
        model.eval()
        with torch.no_grad(), Calls() as calls:
            if isinstance(batch, dict):
                out = model(**batch)
            else:
                out = model(*batch) if isinstance(batch, tuple) else model(batch)
        return out, last, calls.maker(out)
    finally:
        for handle in last.handles:
            handle.remove()
        for module, training in modes.items():
            module.training = training
