"""A trace as HTML: MathML, inline SVG, tables; no script, no network. It computes nothing.

`page` is a whole document; `fragment` is what a notebook or another page embeds, with its own scoped style.
"""

from collections.abc import Sequence
from html import escape

from lastlayer import messages
from lastlayer.explanation import layout, texts
from lastlayer.explanation.columns import number
from lastlayer.explanation.plots import Arrows, Bars, Curve
from lastlayer.explanation.printing import MATHML, numbers, symbols
from lastlayer.explanation.style import sheet
from lastlayer.explanation.svg import picture
from lastlayer.explanation.trace import Step, Trace


def page(trace: Trace, language: str = "en") -> str:
    """Return one HTML document."""
    title = escape(texts.heading(trace, language))
    links = "".join(
        f'<li><a href="#step-{escape(step.id)}">{escape(texts.title(trace, step, language))}</a></li>' for step in trace
    )
    return (
        f'<!DOCTYPE html>\n<html lang="{language}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{title}</title>\n<style>{sheet('page.css')}{sheet('trace.css')}</style>\n</head>\n<body>\n<main>\n"
        f'<nav class="lastlayer-steps" aria-label="{escape(messages.text("page.steps", language))}">'
        f"<ol>{links}</ol></nav>\n"
        f"{_body(trace, language, 1)}\n</main>\n</body>\n</html>\n"
    )


def fragment(trace: Trace, language: str = "en", level: int = 3, only: Sequence[str] = ()) -> str:
    """Return the trace for embedding, under headings of `level` and the one below; `only` some steps of it."""
    return f"<style>{sheet('trace.css')}</style>{_body(trace, language, level, only)}"


def _body(trace: Trace, language: str, level: int, only: Sequence[str] = ()) -> str:
    about = texts.circumstances(trace, language)
    if only:  # a part of a trace stands in somebody's text, which says what it is
        chosen = "".join(_step(step, trace, language, level + 1) for step in trace if step.id in only)
        return f'<div class="lastlayer-trace" lang="{language}"><ol>{chosen}</ol></div>'
    top = f"<h{level}>{escape(texts.heading(trace, language))}</h{level}>"
    top += f'<p class="note">{escape(about)}</p>' if about else ""
    if trace.plot is not None:
        top += f'<div class="scroll">{picture(trace.plot, language)}</div>'
    steps = "".join(_step(step, trace, language, level + 1) for step in trace)
    return f'<div class="lastlayer-trace" lang="{language}">{top}<ol>{steps}</ol></div>'


def _math(inner: str, label: str, block: bool = False) -> str:
    display = ' display="block"' if block else ""
    return f'<math{display} alttext="{escape(label)}">{inner}</math>'


def _step(step: Step, trace: Trace, language: str, level: int) -> str:
    equation, spoken = symbols(step.symbol, MATHML), symbols(step.symbol)
    if step.formula is not None:
        equation += f"<mo>=</mo>{symbols(step.formula, MATHML)}"
        spoken += f" = {symbols(step.formula)}"
    title = texts.title(trace, step, language)
    place = [one.id for one in trace].index(step.id) + 1
    note = texts.note(trace, step, language)
    parts = [
        f'<li id="step-{escape(step.id)}" style="counter-set: step {place}"><h{level}>{escape(title)}</h{level}>',
        f'<div class="scroll formula" tabindex="0" role="group" aria-label="{escape(spoken)}">'
        f"{_math(f'<mrow>{equation}</mrow>', spoken)}</div>",
        f'<p class="note">{escape(note)}</p>' if note else "",
    ]
    match step.value.dim():
        case 0:
            parts.append(_scalar(step, trace))
        case 1:
            parts.append(_table(step, trace, language, title))
        case _:
            parts.append(_matrix(step, trace, language, title))
    if isinstance(step.plot, Curve | Arrows):
        parts.append(f'<div class="scroll">{picture(step.plot, language)}</div>')
    if words := texts.numerics(step, language):
        parts.append(f'<p class="numerics">{escape(words)}</p>')
    if step.invariants:
        parts.append(f'<ul class="checks" aria-label="{escape(messages.text("page.checks", language))}">')
        for check in step.invariants:
            off = texts.residual(check)
            kind = "good" if check.holds else "bad"
            parts.append(
                f'<li class="{kind}">{escape(texts.check(check, language))}'
                f"{f' <small>{escape(off)}</small>' if off else ''}</li>"
            )
        parts.append("</ul>")
    return "".join(parts) + "</li>"


def _scalar(step: Step, trace: Trace) -> str:
    value = f"<b>{layout.entry(step, float(step.value))}</b>"
    if step.formula is None:
        return f'<p class="value">{value}</p>'
    order = layout.order(trace)
    inner = numbers(step.formula, trace.values, order=order, notation=MATHML)
    spoken = f"= {numbers(step.formula, trace.values, order=order)}"
    return (
        f'<div class="scroll value" tabindex="0" role="group" aria-label="{escape(spoken)}">{value} '
        f"{_math(f'<mrow><mo>=</mo>{inner}</mrow>', spoken)}</div>"
    )


def _region(table: str, title: str) -> str:
    """A table that may be wider than a phone scrolls on its own, by keyboard too."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(title)}">{table}</div>'


def _table(step: Step, trace: Trace, language: str, title: str) -> str:
    letter = step.symbol.index
    places = layout.shown(trace, letter)
    hidden = layout.hidden(trace, letter, places)
    drawn = step.plot if isinstance(step.plot, Bars) else None
    largest = (drawn.scale or max((abs(value) for value in drawn.values), default=1.0) or 1.0) if drawn else 1.0
    columns = 1 + bool(drawn) + (step.formula is not None)
    heads = "".join(f'<th scope="col">{escape(texts.column(one, language))}</th>' for one in step.beside)
    head = f"<thead><tr><td></td>{'<td></td>' * columns}{heads}</tr></thead>" if heads else ""
    rows = "".join(_row(step, trace, place, drawn, largest, language) for place in places)
    if hidden:
        rest = escape(_rest(letter, len(hidden), language))
        total = number(float(step.value[hidden].sum())) if step.id in layout.SUMMED else ""
        rows += f'<tr class="rest"><th scope="row">{rest}</th><td>{total}</td></tr>'
    return _region(f"<table>{head}<tbody>{rows}</tbody></table>", title)


def _row(step: Step, trace: Trace, place: int, drawn: Bars | None, largest: float, language: str) -> str:
    value, letter = float(step.value[place]), step.symbol.index
    true = layout.is_marked(step, place)
    spoken = f' <span class="hidden">({escape(messages.text("page.true", language))})</span>' if true else ""
    cells = [
        f'<th scope="row">{"<span aria-hidden=true>▸ </span>" if true else ""}'
        f"{escape(texts.name(trace, letter, place, language))}{spoken}</th>",
        f"<td>{layout.entry(step, value)}</td>",
    ]
    if drawn:
        share = 100 * min(abs(value) / largest, 1) if value == value else 0.0
        sign = "negative" if value < 0 else "positive"
        cells.append(
            '<td class="bar"><svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
            f"{_bar(share, sign, signed=any(one < 0 for one in drawn.values))}</svg></td>"
        )
    if step.formula is not None:
        inside = ""
        if layout.is_spelt_out(step, value):
            inner = numbers(step.formula, trace.values, {letter: place}, layout.order(trace), MATHML)
            plain = numbers(step.formula, trace.values, {letter: place}, layout.order(trace))
            inside = _math(f"<mrow><mo>=</mo>{inner}</mrow>", f"= {plain}")
        cells.append(f'<td class="inside">{inside}</td>')
    cells += [f"<td>{number(float(one.value[place]))}</td>" for one in step.beside]
    return f"<tr{' class=true' if true else ''}>{''.join(cells)}</tr>"


def _bar(share: float, sign: str, signed: bool) -> str:
    """A bar of `share` per cent; where some are negative they grow from a line in the middle."""
    if not signed:
        return f'<rect class="{sign}" width="{share:.2f}" height="8"/>'
    left = 50 - share / 2 if sign == "negative" else 50
    return (
        f'<rect class="{sign}" x="{left:.2f}" width="{share / 2:.2f}" height="8"/>'
        '<path class="axis" d="M50 0V8" vector-effect="non-scaling-stroke"/>'
    )


def _matrix(step: Step, trace: Trace, language: str, title: str) -> str:
    down, across = tuple(step.symbol.index)
    rows, columns = layout.shown(trace, down), sorted(layout.shown(trace, across, layout.MOST_COLUMNS))
    sizes = step.value[step.value.isfinite()].abs()
    largest = (float(sizes.max()) if sizes.numel() else 1.0) or 1.0
    heads = "".join(f'<th scope="col">{escape(texts.name(trace, across, place, language))}</th>' for place in columns)
    body = []
    for row in rows:
        cells = []
        for place in columns:
            value = float(step.value[row, place])
            true = layout.is_marked(step, row, place)
            kind = f"{'negative' if value < 0 else 'positive'}{' true' if true else ''}"
            heat = 0.55 * abs(value) / largest if value == value else 0.0
            spoken = f'<span class="hidden"> ({escape(messages.text("page.true", language))})</span>' if true else ""
            mark = '<span aria-hidden="true">▸</span>' if true else ""
            cells.append(
                f'<td class="cell {kind}" style="--heat:{heat:.3f}">{mark}{layout.entry(step, value)}{spoken}</td>'
            )
        body.append(f'<tr><th scope="row">{escape(texts.name(trace, down, row, language))}</th>{"".join(cells)}</tr>')
    for letter, places in ((down, rows), (across, columns)):
        if count := len(layout.hidden(trace, letter, places)):
            body.append(f'<tr class="rest"><th scope="row">{escape(_rest(letter, count, language))}</th></tr>')
    table = f"<table><thead><tr><td></td>{heads}</tr></thead><tbody>{''.join(body)}</tbody></table>"
    return _region(table, title)


def _rest(letter: str, count: int, language: str) -> str:
    name = f"trace.rest.{letter}" if messages.has(f"trace.rest.{letter}") else "trace.rest"
    return messages.text(name, language, count=count)
