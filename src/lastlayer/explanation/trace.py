"""A computation as data: steps with their formulas, values, checks and pictures. Nothing here prints."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lastlayer.errors import OptionError, ShapeError
from lastlayer.explanation.expressions import Expr, Symbol, leaves
from lastlayer.explanation.plots import Arrows, Plot

if TYPE_CHECKING:
    from lastlayer.explanation.comparison import Comparison


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
    """A second value per entry, for contrast."""

    id: str
    value: Tensor


@dataclass(frozen=True)
class Naive:
    """What the same quantity would have been without care: `formula` as it is written, in `dtype`.

    `value` has the shape of the step's value, held in float64.
    """

    formula: Expr
    dtype: str
    value: Tensor


@dataclass(frozen=True)
class Numerics:
    """How a value was kept from rounding and overflow.

    Attributes:
        dtype: What it was computed in.
        shift: What was subtracted before the exponential, if anything.
        naive: What carelessness would have given.
    """

    dtype: str
    shift: float | None = None
    naive: tuple[Naive, ...] = ()


@dataclass(frozen=True)
class Step:
    """One line of the computation: `symbol` = `formula`.

    Attributes:
        id: Names the step and, with the trace's kind, its title and note in `messages`.
        symbol: What the value is called in later formulas; its indices name the axes of the value.
        formula: How it was made from earlier values; None where it was given.
        value: float64, of as many axes as `symbol` has indices.
        invariants: What has to hold of it.
        beside: Values shown for contrast.
        plot: A picture of it.
        highlights: Entries that matter, as indices: the true class.
        numerics: Dtype, shift and what the naive form would have given.
        facts: Numbers and names that the note mentions.
    """

    id: str
    symbol: Symbol
    formula: Expr | None
    value: Tensor
    invariants: tuple[Invariant, ...] = ()
    beside: tuple[Column, ...] = ()
    plot: Plot | None = None
    highlights: tuple[tuple[int, ...], ...] = ()
    numerics: Numerics | None = None
    facts: Mapping[str, float | str] = field(default_factory=dict)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the values that the formula uses, in its order."""
        return () if self.formula is None else tuple(dict.fromkeys(leaf.name for leaf in leaves(self.formula)))


@dataclass(frozen=True)
class Trace:
    """A computation from logits on, as `explain` returns it. `print(trace)` shows it; `to_json` keeps it.

    Attributes:
        kind: Which story is told: "multiclass", "binary", "multilabel", "batch", …
        steps: In order.
        axes: The names along each axis, by its letter: j classes, i rows, m features, or the words of a text.
        target: Index of the true class; a number per class for several labels or soft targets; an index per row for
            a batch; or None.
        options: What was chosen besides: temperature, label_smoothing, reduction, dtype, …
        context: What the caller adds: the name of the input, the model's prediction.
        plot: The way from data to loss, and which of its stages these steps are.
    """

    kind: str
    steps: tuple[Step, ...]
    axes: Mapping[str, tuple[str, ...]]
    target: int | tuple[float, ...] | None = None
    options: Mapping[str, float | str] = field(default_factory=dict)
    context: Mapping[str, str] = field(default_factory=dict)
    plot: Arrows | None = None

    def __getitem__(self, id: str) -> Step:
        """Return the step `id`."""
        for step in self.steps:
            if step.id == id:
                return step
        raise KeyError(f"no step {id!r}: this trace has {', '.join(step.id for step in self.steps)}")

    def __contains__(self, id: object) -> bool:
        return any(step.id == id for step in self.steps)

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def values(self) -> dict[str, Tensor]:
        """The value of each symbol."""
        return {step.symbol.name: step.value for step in self.steps}

    def substituted(self, id: str, *place: int) -> str:
        """Return the formula of the step `id` with the numbers in it, for the entry at `place`.

        >>> from lastlayer import explain
        >>> explain([4.0, 2.0, -2.0], 0).substituted("gradient", 1)
        '0.1189 − 0'
        """
        from lastlayer.explanation.printing import numbers

        step = self[id]
        if step.formula is None:
            raise OptionError(f"the step {id!r} was given, not computed: it has no formula.")
        if len(place) != len(step.symbol.index):
            raise ShapeError(f"the step {id!r} needs {len(step.symbol.index)} indices, got {len(place)}.")
        return numbers(step.formula, self.values, dict(zip(step.symbol.index, place, strict=True)))

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the logits; for "binary" those of no and yes."""
        return self.axes.get("j", ())

    @property
    def temperature(self) -> float:
        """What the logits were divided by."""
        return float(self.options.get("temperature", 1.0))

    @property
    def probabilities(self) -> Tensor:
        """float64, one per class; for "binary" those of no and yes."""
        p = self["probabilities"].value
        return torch.stack([1 - p, p], -1) if self.kind == "binary" else p

    @property
    def loss(self) -> float | None:
        """In nats; None without a target."""
        return float(self["loss"].value) if "loss" in self and self["loss"].value.dim() == 0 else None

    def compare(self, other: "Trace") -> "Comparison":
        """Line this computation up with another one, step by step, and mark the first that differs."""
        from lastlayer.explanation.comparison import compare

        return compare(self, other)

    def text(self, language: str = "en", width: int = 80) -> str:
        """Return the trace as plain text."""
        from lastlayer.explanation.text import plain

        return plain(self, language, width)

    def latex(self, language: str = "en") -> str:
        """Return the trace as a LaTeX document whose formulas are in `align`."""
        from lastlayer.explanation.latex import document

        return document(self, language)

    def html(self, language: str = "en") -> str:
        """Return the trace as one page of HTML: MathML, inline SVG, no script and no network."""
        from lastlayer.explanation.html import page

        return page(self, language)

    def to_dict(self) -> dict[str, Any]:
        """Return the trace as plain lists and dictionaries, with a version; numbers are exact."""
        from lastlayer.explanation.as_json import as_dict

        return as_dict(self)

    def to_json(self) -> str:
        """Return the trace as JSON text."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=2, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Trace":
        """Read what `to_json` wrote.

        Raises:
            TraceError: the text is no trace, or one of another version.
        """
        from lastlayer.explanation.as_json import from_text

        return from_text(text)

    def save(self, file: Any, language: str = "en") -> None:
        """Write the trace to a file; its ending says how: .html, .tex, .json, .txt, .png or .svg (pictures only).

        Raises:
            OptionError: another ending, or a picture of a trace that has none.
            MissingExtraError: .png and .svg need matplotlib.
        """
        from lastlayer.explanation.files import save

        save(self, file, language)

    def _repr_html_(self) -> str:
        from lastlayer.explanation.html import fragment

        return fragment(self)

    def __str__(self) -> str:
        return self.text()
