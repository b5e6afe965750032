"""A trace as JSON: every number exact, formulas both ways, texts in English."""

from typing import Any

from lastlayer.explanation import texts
from lastlayer.explanation.expressions import numbers, symbols
from lastlayer.explanation.trace import Step, Trace

VERSION = 1


def as_dict(trace: Trace) -> dict[str, Any]:
    """Return the trace as plain lists and dictionaries."""
    return {
        "format": "lastlayer-trace",
        "version": VERSION,
        "kind": trace.kind,
        "classes": list(trace.classes),
        "target": trace.target if trace.target is None or isinstance(trace.target, int) else list(trace.target),
        "temperature": trace.temperature,
        "loss": trace.loss,
        "context": trace.context,
        "steps": [_step(step, trace) for step in trace.steps],
    }


def _step(step: Step, trace: Trace) -> dict[str, Any]:
    return {
        "id": step.id,
        "title": texts.title(trace, step, "en"),
        "symbol": symbols(step.symbol),
        "formula": None if step.formula is None else symbols(step.formula),
        "substituted": _substituted(step, trace),
        "value": step.value.tolist(),
        "beside": {column.id: column.value.tolist() for column in step.beside},
        "checks": [
            {"id": check.id, "holds": check.holds, "residual": check.residual, "tolerance": check.tolerance}
            for check in step.invariants
        ],
    }


def _substituted(step: Step, trace: Trace) -> str | list[str] | None:
    if step.formula is None:
        return None
    if step.value.dim() == 0:
        return numbers(step.formula, trace.values)
    return [numbers(step.formula, trace.values, row) for row in range(len(step.value))]
