"""A trace as a fragment of HTML: headings, formulas and tables with bars. It computes nothing; a page styles it."""

from html import escape
from math import isfinite

from lastlayer import messages
from lastlayer.explanation import texts
from lastlayer.explanation.expressions import numbers, symbols
from lastlayer.explanation.text import DRAWN, SUMMED, number, rows_shown, true_first
from lastlayer.explanation.trace import Step, Trace


def fragment(trace: Trace, language: str = "en") -> str:
    """Return the trace as an ordered list of steps, class "trace"."""
    rows = rows_shown(trace)
    steps = "".join(_step(step, trace, rows, language) for step in trace.steps)
    about = texts.circumstances(trace, language)
    heading = f"<p>{escape(texts.heading(trace, language))}{f', {escape(about)}' if about else ''}</p>"
    return f'{heading}<ol class="trace">{steps}</ol>'


def _step(step: Step, trace: Trace, rows: list[int], language: str) -> str:
    equation = symbols(step.symbol) + ("" if step.formula is None else f" = {symbols(step.formula)}")
    note = texts.note(trace, step, language)
    checks = "".join(_check(check.id, check.holds, language) for check in step.invariants)
    body = _scalar(step, trace, rows) if step.value.dim() == 0 else _table(step, trace, rows, language)
    return (
        f"<li><h4>{escape(texts.title(trace, step, language))} <code>{escape(equation)}</code></h4>"
        f"{f'<p>{escape(note)}</p>' if note else ''}{body}{checks}</li>"
    )


def _check(name: str, holds: bool, language: str) -> str:
    mark = "✓" if holds else "✗"
    return f'<p class="{"good" if holds else "bad"}">{mark} {escape(messages.text(f"check.{name}", language))}</p>'


def _scalar(step: Step, trace: Trace, rows: list[int]) -> str:
    value = f"<b>{number(float(step.value))}</b>"
    if step.formula is None:
        return f"<p>{value}</p>"
    inside = numbers(step.formula, trace.values, order=true_first(trace, rows))
    return f"<p>{value} <span>= {escape(inside)}</span></p>"


def _table(step: Step, trace: Trace, rows: list[int], language: str) -> str:
    sizes = step.value[step.value.isfinite()].abs()
    largest = 1.0 if step.id == "probabilities" else float(sizes.max()) if sizes.numel() else 1.0
    heads = "".join(f"<th>{escape(messages.text(f'column.{column.id}', language))}</th>" for column in step.beside)
    head = f"<tr><td></td><td></td>{'<td></td>' * (step.id in DRAWN)}<td></td>{heads}</tr>" if heads else ""
    body = "".join(_row(step, trace, row, rows, largest) for row in rows)
    hidden = [row for row in range(len(trace.classes)) if row not in rows]
    if hidden:
        rest = escape(messages.text("trace.rest", language, count=len(hidden)))
        total = number(float(step.value[hidden].sum())) if step.id in SUMMED else ""
        body += f'<tr><th scope="row">{rest}</th><td>{total}</td></tr>'
    return f"<table>{head}{body}</table>"


def _row(step: Step, trace: Trace, row: int, rows: list[int], largest: float) -> str:
    value = float(step.value[row])
    true = trace.holds(row)
    cells = [f'<th scope="row">{"▸ " if true else ""}{escape(trace.classes[row])}</th>', f"<td>{number(value)}</td>"]
    if step.id in DRAWN:
        share = 100 * min(abs(value) / largest, 1) if largest and isfinite(value) else 0
        sign = "negative" if value < 0 else "positive"
        cells.append(f'<td class="bar"><span class="{sign}" style="width:{share:.1f}%"></span></td>')
    inside = "" if step.formula is None else numbers(step.formula, trace.values, row, order=true_first(trace, rows))
    cells.append(f'<td class="inside">{f"= {escape(inside)}" if inside else ""}</td>')
    cells += [f"<td>{number(float(column.value[row]))}</td>" for column in step.beside]
    return f"<tr{' class=true' if true else ''}>{''.join(cells)}</tr>"
