"""The words of a trace: which text of `messages` belongs to which of its parts."""

from lastlayer import messages
from lastlayer.explanation.expressions import short
from lastlayer.explanation.trace import Step, Trace


def heading(trace: Trace, language: str) -> str:
    """What is computed."""
    return messages.text(f"trace.{trace.kind}", language, classes=len(trace.classes))


def circumstances(trace: Trace, language: str) -> str:
    """The true answer and the temperature, where there are any."""
    parts = []
    if trace.target is not None:
        parts.append(messages.text("trace.target", language, target=true_answer(trace)))
    if trace.temperature != 1.0:
        parts.append(messages.text("trace.temperature", language, temperature=short(trace.temperature)))
    return ", ".join(parts)


def true_answer(trace: Trace) -> str:
    """The name of the true class, or of the labels that hold."""
    if trace.target is None:
        return ""
    if isinstance(trace.target, int):
        return trace.classes[trace.target]
    held = [name for name, holds in zip(trace.classes, trace.target, strict=True) if holds]
    return " + ".join(held) if held else "∅"


def title(trace: Trace, step: Step, language: str) -> str:
    """The name of a step."""
    return messages.text(_id("step", trace, step) or f"step.{step.id}", language)


def note(trace: Trace, step: Step, language: str) -> str:
    """One line on why a step is taken, or nothing."""
    found = _id("note", trace, step)
    if found is None:
        return ""
    sigmoids = step.beside[0].value if step.beside else step.value
    return messages.text(found, language, sigmoids=short(float(sigmoids.sum())))


def _id(what: str, trace: Trace, step: Step) -> str | None:
    """A text of the trace's own kind goes before a common one."""
    for found in (f"{what}.{step.id}.{trace.kind}", f"{what}.{step.id}"):
        if messages.has(found):
            return found
    return None
