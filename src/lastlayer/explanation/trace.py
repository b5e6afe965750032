"""A computation as data: steps with their formulas, values and checks. Nothing here prints."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lastlayer.explanation.expressions import Expr, Symbol


@dataclass(frozen=True)
class Invariant:
    """Something that has to hold of a step, and by how much it does not."""

    id: str
    residual: float
    tolerance: float = 1e-12

    @property
    def holds(self) -> bool:
        """Whether the residual is within the tolerance; NaN is not."""
        return abs(self.residual) <= self.tolerance


@dataclass(frozen=True)
class Column:
    """A second value per class, for contrast."""

    id: str
    value: Tensor


@dataclass(frozen=True)
class Step:
    """One line of the computation: `symbol` = `formula`.

    Attributes:
        id: Names the step and, with the trace's kind, its texts in `messages`.
        symbol: What the value is called in later formulas.
        formula: How it was made from earlier values; None where it was given.
        value: float64, (classes) or ().
        invariants: What has to hold of it.
        beside: Values shown for contrast.
    """

    id: str
    symbol: Symbol
    formula: Expr | None
    value: Tensor
    invariants: tuple[Invariant, ...] = ()
    beside: tuple[Column, ...] = ()


@dataclass(frozen=True)
class Trace:
    """A computation from logits on, as `explain` returns it. `print(trace)` shows it; `to_json` keeps it.

    Attributes:
        kind: "multiclass", "binary" or "multilabel".
        classes: Names in the order of the logits; for "binary" the names of no and yes.
        target: Index of the true class, a 0 or 1 per label for "multilabel", or None.
        temperature: What the logits were divided by.
        steps: In order.
        context: What the caller adds: the name of the input, the model's prediction.
    """

    kind: str
    classes: tuple[str, ...]
    target: int | tuple[int, ...] | None
    temperature: float
    steps: tuple[Step, ...]
    context: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, id: str) -> Step:
        """Return the step `id`."""
        for step in self.steps:
            if step.id == id:
                return step
        raise KeyError(f"no step {id!r}: this trace has {', '.join(step.id for step in self.steps)}")

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def values(self) -> dict[str, Tensor]:
        """The value of each symbol."""
        return {step.symbol.name: step.value for step in self.steps}

    @property
    def probabilities(self) -> Tensor:
        """float64, one per class; for "binary" those of no and yes."""
        p = self["probabilities"].value
        return torch.stack([1 - p, p]) if self.kind == "binary" else p

    @property
    def loss(self) -> float | None:
        """In nats; None without a target."""
        return None if self.target is None else float(self["loss"].value)

    def holds(self, row: int) -> bool:
        """Whether class `row` is true."""
        return bool(self.target[row]) if isinstance(self.target, tuple) else row == self.target

    def text(self, language: str = "en", width: int = 80) -> str:
        """Return the trace as plain text."""
        from lastlayer.explanation.text import plain

        return plain(self, language, width)

    def to_dict(self) -> dict[str, Any]:
        """Return the trace as plain lists and dictionaries, with a version; numbers are exact."""
        from lastlayer.explanation.as_json import as_dict

        return as_dict(self)

    def to_json(self) -> str:
        """Return the trace as JSON text."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=2)

    def __str__(self) -> str:
        return self.text()
