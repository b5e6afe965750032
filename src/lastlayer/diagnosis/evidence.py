"""What rules look at: a batch before its loss, a term of a live loss, a model, a curve."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from lastlayer.diagnosis.loss_functions import LossFunction
from lastlayer.diagnosis.tensors import class_axis, is_floating_target, readable
from lastlayer.graph import Term


@dataclass(frozen=True)
class Batch:
    """What a loss is given, as the user passed it or as the graph kept it.

    Attributes:
        given: Logits, probabilities or log-probabilities: what the loss function takes first.
        target: What it takes second.
        loss: The function and its options.
        value: What it returned, where it did.
        term: What the graph says of it.
        from_graph: `given` is what the graph kept; for cross-entropy the logits up to a constant per row.
        maker: The activation that returned `given`, where calls were recorded.
    """

    given: Any
    target: Any
    loss: LossFunction
    value: Tensor | None = None
    term: Term | None = None
    from_graph: bool = False
    maker: str | None = None

    @property
    def kind(self) -> str:
        """The kind of the loss; with floating targets of the logits' shape cross-entropy is the soft one."""
        kind = self.loss.kind
        soft = kind == "cross_entropy" and is_floating_target(self.given, self.target)
        return "soft_cross_entropy" if soft else kind

    @property
    def axis(self) -> int:
        """The class axis of `given`."""
        if self.term is not None and self.from_graph and self.term.axis is not None:
            return self.term.axis
        return class_axis(self.given)

    @property
    def classes(self) -> int:
        """How many classes `given` has."""
        return int(self.given.shape[self.axis]) if self.given.dim() else 1

    @property
    def tensors(self) -> bool:
        """Whether both can be read."""
        return readable(self.given, self.target)

    @property
    def takes_indices(self) -> bool:
        """Whether the target is class indices, one per row."""
        return self.kind in ("cross_entropy", "nll") and self.tensors

    def indices(self) -> Tensor | None:
        """The class indices that count, flat; None where the target is no indices."""
        if not self.takes_indices or self.target.is_floating_point() or self.target.shape == self.given.shape:
            return None
        flat: Tensor = self.target.detach().reshape(-1)
        ignored = self.loss.ignore_index
        return flat if ignored is None else flat[flat != ignored]


@dataclass(frozen=True)
class Model:
    """A model, the batch that it was run on, and what came out."""

    module: Any
    inputs: Any
    target: Any
    output: Any = None
    grad_enabled: bool = True
    loss_fn: LossFunction | None = None


@dataclass(frozen=True)
class Curve:
    """Losses over time, in nats."""

    loss: list[float]
    validation_loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    classes: int | None = None
    prior_entropy: float | None = None


@dataclass(frozen=True)
class ClassMaps:
    """For each split the names of its classes in the order of their indices."""

    maps: dict[str, dict[Any, int]]
