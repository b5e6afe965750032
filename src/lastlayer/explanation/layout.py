"""What every renderer decides alike: which entries are shown, from where sums are spelt out, what is marked."""

from collections.abc import Sequence

from torch import Tensor

from lastlayer.explanation.columns import number
from lastlayer.explanation.expressions import Symbol
from lastlayer.explanation.printing import Order, short
from lastlayer.explanation.trace import Step, Trace

MOST_ROWS = 12  # more entries than this: the largest, the true one, and the rest in one line
MOST_COLUMNS = 8
SUMMED = {"exp", "probabilities", "gradient", "q", "p"}  # steps where the sum of what is left out means something

COUNTED = {"truth", "decision", "counted", "hardmax"}  # steps whose values are indices or counts, or zeros and ones


def entry(step: Step, value: float) -> str:
    """A value as it stands in a table, or alone; a row that is ignored has none."""
    if value != value and step.symbol.index == "i":
        return "–"
    whole = value == value and abs(value) < float("inf") and value == int(value)
    return short(value) if whole and (step.id in COUNTED or not step.value.dim()) else number(value)


def is_spelt_out(step: Step, value: float) -> bool:
    """Whether the formula with its numbers says more than the value does."""
    return step.formula is not None and not isinstance(step.formula, Symbol) and value == value


def shown(trace: Trace, letter: str, most: int = MOST_ROWS) -> list[int]:
    """The entries of an axis to show: all, or of many classes those with the largest logits and the true ones."""
    count = len(trace.axes[letter])
    if count <= most:
        return list(range(count))
    if letter != "j":
        return list(range(most - 2))
    by_size = _sizes(trace).argsort(descending=True, stable=True)[:most].tolist()
    if "i" in trace.axes:  # of a batch: the true classes of the rows that are shown, then the largest
        pairs = (place for step in trace for place in step.highlights if len(place) == 2)
        own = (column for row, column in pairs if row < MOST_ROWS - 2)
        return list(dict.fromkeys([*own, *by_size]))[:most]
    true = sorted({place[-1] for step in trace for place in step.highlights})
    chosen = by_size[: most - 2]
    return chosen + [place for place in true if place not in chosen][:2]


def order(trace: Trace) -> Order:
    """A sum over classes is spelt out from those that matter: the true one, then the largest logits."""
    if "v" in trace.values:  # rows that weigh nothing are left out of a sum that is spelt out
        return {"n": trace.values["v"].nonzero().reshape(-1).tolist()}
    if "j" not in trace.axes or "logits" not in trace or not trace["logits"].value.dim():
        return {}
    true = {place[-1] for step in trace for place in step.highlights if step.symbol.index == "j"}
    places, sizes = shown(trace, "j"), _sizes(trace)
    return {"k": sorted(places, key=lambda place: (place not in true, -float(sizes[place])))}


def is_marked(step: Step, *place: int) -> bool:
    """Whether an entry is one that matters."""
    return tuple(place) in step.highlights


def hidden(trace: Trace, letter: str, places: Sequence[int]) -> list[int]:
    """The entries of an axis that are not among `places`."""
    kept = set(places)
    return [place for place in range(len(trace.axes[letter])) if place not in kept]


def _sizes(trace: Trace) -> Tensor:
    """The logit of each class; its largest one over the rows of a batch."""
    value = trace["logits"].value if "logits" in trace else trace.steps[0].value
    return value.reshape(-1, value.shape[-1]).amax(0)
