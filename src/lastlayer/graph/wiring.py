"""What a loss computes, as data: its terms, and for each the way from the loss down to the logits."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

# What a term may be, and what it expects to be given.
FORMS = {
    "cross_entropy": "logits",
    "soft_cross_entropy": "logits",
    "bce_with_logits": "logits",
    "nll": "log-probabilities",
    "kl_div": "log-probabilities",
    "bce": "probabilities",
    "mse": "numbers",
    "unknown": "unknown",
}


@dataclass(frozen=True)
class Op:
    """One operation between the logits and the loss.

    Attributes:
        name: "softmax", "log_softmax", "sigmoid", "log", "relu", "scale", "add", …
        result: What it returned, where the graph keeps it; of "log" what it was given.
        dim: The axis it works along, counted from the front; None where it has none.
        shape: Of its result, where it is known.
        on_classes: Whether `dim` is the axis that the loss takes for the classes; None where that is not known.
        number: The constant of a "scale", or the lower bound of a "clamp".
    """

    name: str
    result: Tensor | None = None
    dim: int | None = None
    shape: tuple[int, ...] | None = None
    on_classes: bool | None = None
    number: float | None = None


@dataclass(frozen=True)
class Term:
    """One loss inside the loss: what it is, what it was told, and what lies between it and the logits.

    Attributes:
        kind: A key of `FORMS`.
        path: From the loss downwards; for "cross_entropy" from below its own log-softmax.
        end: How the way down ended: "layer", "leaf", "constant", "join" (several inputs, none of them an
            activation), "unclear" (something was seen that may be an activation, or hides one) or "hidden".
        given: What the loss was given, where the graph keeps it. For "cross_entropy" of PyTorch these are
            log-probabilities: the logits up to a constant per row.
        target: What the graph keeps as target.
        axis: The class axis of `given`.
        reduction: "none", "sum", "mean", "batchmean"; None where it is not known.
        weight: Of the classes, or of the elements of a binary loss.
        pos_weight: Of the "yes" term of a binary loss.
        ignore_index: None where the loss has none.
        label_smoothing: ε; None where it cannot be told.
        ours: Whether lastlayer computed it.
        empty: lastlayer's rule for a mean over nothing.
        by_hand: Written in plain operations, not by a loss function.
        moved: Whether an axis was moved between the layer and the loss.
        above: The names of the operations between the loss and this term.
        views: Sizes before and after each view on the way down.
        focal: Whether a factor (1 − exp(−this term))^γ was made of it.
    """

    kind: str
    path: tuple[Op, ...] = ()
    end: str = "unclear"
    given: Tensor | None = None
    target: Tensor | None = None
    axis: int | None = None
    reduction: str | None = None
    weight: Tensor | None = None
    pos_weight: Tensor | None = None
    ignore_index: int | None = None
    label_smoothing: float | None = None
    ours: bool = False
    empty: str = "nan"
    by_hand: bool = False
    moved: bool = False
    above: tuple[str, ...] = ()
    views: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = ()
    focal: bool = False

    @property
    def form(self) -> str:
        """What this kind of loss expects: logits, log-probabilities or probabilities."""
        return FORMS[self.kind]

    @property
    def first(self) -> Op | None:
        """The operation whose result the loss was given."""
        return self.path[0] if self.path else None


@dataclass(frozen=True)
class Wiring:
    """What could be read of a loss.

    Attributes:
        terms: The losses that it is made of.
        obstacle: Why something could not be read: "no_graph", "freed", "compiled", "checkpointed", "custom" or
            "no_loss"; None where all of it was.
        nodes: How many nodes of the graph were visited.
        detail: The name of the node in the way.
    """

    terms: tuple[Term, ...]
    obstacle: str | None = None
    nodes: int = 0
    detail: str = ""

    @property
    def kind(self) -> str:
        """The kind of the first term."""
        return self.terms[0].kind if self.terms else "unknown"

    def to_dict(self) -> dict[str, Any]:
        """Names and numbers only."""
        return {
            "obstacle": self.obstacle,
            "terms": [
                {
                    "kind": term.kind,
                    "reduction": term.reduction,
                    "path": [op.name for op in term.path],
                    "end": term.end,
                    "ignore_index": term.ignore_index,
                    "label_smoothing": term.label_smoothing,
                }
                for term in self.terms
            ],
        }
