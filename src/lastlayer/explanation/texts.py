"""The words of a trace: which text of `messages` belongs to which of its parts."""

import re
from typing import TYPE_CHECKING

from torch import Tensor

from lastlayer import messages
from lastlayer.explanation.printing import short
from lastlayer.explanation.trace import Column, Invariant, Step, Trace

if TYPE_CHECKING:
    from lastlayer.explanation.comparison import Pair

_NAIVE_SHOWN = 2
_LOOKED_AT = 1_000
_UNNAMED = re.compile(r"\b(class|row) (\d+)")


def heading(trace: Trace, language: str) -> str:
    """What is computed."""
    known = f"trace.{trace.kind}"
    if not messages.has(known):
        return trace.kind
    return messages.text(known, language, classes=len(trace.classes), rows=len(trace.axes.get("i", ())))


def circumstances(trace: Trace, language: str) -> str:
    """The true answer and what was chosen, where anything was."""
    answer = true_answer(trace, language)
    parts = [messages.text("trace.target", language, target=answer)] if answer else []
    for option, value in trace.options.items():
        shown = short(value) if isinstance(value, float | int) else value
        parts.append(messages.text(f"trace.{option}", language, **{option: shown}))
    return ", ".join(parts)


def true_answer(trace: Trace, language: str) -> str:
    """The name of the true class, or of the labels that hold; "" where there is none or several rows have one."""
    target = trace.target
    if target is None or "i" in trace.axes:
        return ""
    if isinstance(target, int):
        return _numbered(trace.classes[target], language)
    if set(target) <= {0, 1}:
        held = [one for one, holds in zip(trace.classes, target, strict=True) if holds]
        return _numbered(" + ".join(held), language) or "∅"
    shares = [f"{one} {short(share)}" for one, share in zip(trace.classes, target, strict=True) if share]
    return _numbered(" + ".join([*shares[:5], "…"] if len(shares) > 5 else shares), language)


def name(trace: Trace, letter: str, place: int, language: str) -> str:
    """The name of an entry of an axis; those that nobody gave a name are numbered in the language."""
    return _numbered(trace.axes[letter][place], language)


def _numbered(text: str, language: str) -> str:
    return _UNNAMED.sub(lambda found: messages.text(f"name.{found[1]}", language, number=found[2]), text)


def title(trace: Trace, step: Step, language: str) -> str:
    """The name of a step."""
    found = _id("step", trace, step)
    return messages.text(found or "step.unnamed", language, step=step.id)


def note(trace: Trace, step: Step, language: str) -> str:
    """One line on why a step is taken, or nothing."""
    found = _id("note", trace, step)
    if found is None:
        return ""
    facts = {
        key: short(fact) if isinstance(fact, float | int) else _numbered(fact, language)
        for key, fact in step.facts.items()
    }
    if messages.placeholders(found) - set(facts):
        return ""  # a step that somebody else made need not know what our note mentions
    return messages.text(found, language, **facts)


def check(invariant: Invariant, language: str) -> str:
    """What was checked, with a mark."""
    return f"{'✓' if invariant.holds else '✗'} {messages.text(f'check.{invariant.id}', language)}"


def residual(invariant: Invariant) -> str:
    """By how much a check is off; empty where it is exact."""
    return "" if invariant.residual == 0 else f"± {abs(invariant.residual):.0e}".replace("-", "−")


def column(one: Column, language: str) -> str:
    """The heading of a second column."""
    return messages.text(f"column.{one.id}", language)


def verdict(pair: "Pair", language: str) -> str:
    """What came of comparing one step."""
    if pair.where != "both":
        return messages.text(f"compare.only_{pair.where}", language)
    if pair.same:
        return messages.text("compare.equal", language)
    if pair.difference != pair.difference:
        return messages.text("compare.shapes", language)
    return messages.text("compare.differs", language, difference=short(pair.difference))


def stage(id: str, language: str) -> str:
    """The name of a stage on the way from data to loss."""
    return messages.text(f"stage.{id}", language)


def numerics(step: Step, language: str) -> str:
    """Dtype, shift, and what the naive form would have given where that is another number; or nothing."""
    found = step.numerics
    if found is None:
        return ""
    parts = [messages.text("numerics.dtype", language, dtype=found.dtype)]
    if found.shift is not None:
        parts.append(messages.text("numerics.shift", language, shift=short(found.shift)))
    wrong = ((one.dtype, _wrong(step, one.value)) for one in found.naive)
    parts += [messages.text("numerics.naive", language, dtype=dtype, values=said) for dtype, said in wrong if said]
    return "; ".join(parts)


def is_naive_worse(step: Step) -> bool:
    """Whether the naive form overflows or underflows somewhere: then the numerics are worth a line."""
    return step.numerics is not None and any(_wrong(step, one.value) for one in step.numerics.naive)


def _wrong(step: Step, values: Tensor) -> str:
    """Values that are not finite, or zero where the true one is not."""
    lost = ~values.isfinite()
    if step.id != "exp":  # the naive form of that step is another quantity: only overflow counts
        lost = lost | ((values == 0) != (step.value == 0))
    different = dict.fromkeys(short(value) for value in values[lost].reshape(-1)[:_LOOKED_AT].tolist())
    return ", ".join(list(different)[:_NAIVE_SHOWN])


def _id(what: str, trace: Trace, step: Step) -> str | None:
    """The text that the step asks for goes before one of the trace's kind, and that before a common one."""
    asked = step.facts.get("note")
    for found in (f"{what}.{step.id}.{asked}", f"{what}.{step.id}.{trace.kind}", f"{what}.{step.id}"):
        if messages.has(found):
            return found
    return None
