"""A trace as text of a given width: aligned numbers, bars and curves. It computes nothing; roles are for colours."""

from collections.abc import Iterator

from lastlayer import messages
from lastlayer.explanation import layout, texts
from lastlayer.explanation.columns import Piece, cut, display_width, number, padded, padded_left, wrapped
from lastlayer.explanation.comparison import Comparison
from lastlayer.explanation.drawn import arrows, bar, graph
from lastlayer.explanation.plots import Arrows, Bars, Curve
from lastlayer.explanation.printing import numbers, symbols
from lastlayer.explanation.trace import Step, Trace

_BAR = 16
_NUMBER = 11
_LABEL = 20


def plain(trace: Trace, language: str = "en", width: int = 80) -> str:
    """Return the trace as text without colours."""
    return _joined(lines(trace, language, width))


def plain_comparison(found: Comparison, language: str = "en", width: int = 80) -> str:
    """Return the comparison as text without colours."""
    return _joined(comparison_lines(found, language, width))


def lines(trace: Trace, language: str = "en", width: int = 80) -> Iterator[list[Piece]]:
    """The lines of the trace, in pieces with roles."""
    yield from _heading(trace, language, width)
    for count, step in enumerate(trace.steps, start=1):
        yield []
        yield from _step(step, trace, count, language, width)


def comparison_lines(found: Comparison, language: str = "en", width: int = 80) -> Iterator[list[Piece]]:
    """The comparison step by step, then both versions of the first step that differs."""
    for part, trace in (("first_name", found.first), ("second_name", found.second)):
        name = messages.text(f"compare.{part}", language)
        about = texts.circumstances(trace, language)
        yield [Piece(f"{name}: ", "title"), Piece(cut(texts.heading(trace, language), width - display_width(name) - 2))]
        if about:
            yield from ([Piece(f"    {part}", "note")] for part in wrapped(about, width - 4))
    yield []
    column = max(display_width(_title_of(pair, found, language)) for pair in found.pairs)
    for pair in found.pairs:
        says = texts.verdict(pair, language)
        mark, role = ("  ", "") if pair.same else ("✗ ", "bad")
        here = "  ◀" if pair is found.parting else ""
        yield [
            Piece(f"  {mark}{padded(_title_of(pair, found, language), column)}  ", role),
            Piece(cut(says, width - column - 9), "note" if pair.same else "bad"),
            Piece(here, "bad"),
        ]
    yield []
    if found.parting is None:
        yield [Piece(messages.text("compare.same", language), "good")]
        return
    title = _title_of(found.parting, found, language)
    yield [Piece(messages.text("compare.first", language, title=title), "title")]
    for name, trace in (("compare.first_name", found.first), ("compare.second_name", found.second)):
        if found.parting.id in trace:
            yield []
            yield [Piece(messages.text(name, language), "title")]
            count = [step.id for step in trace].index(found.parting.id) + 1
            yield from _step(trace[found.parting.id], trace, count, language, width)


def _title_of(pair: object, found: Comparison, language: str) -> str:
    trace = found.first if pair.id in found.first else found.second  # type: ignore[attr-defined]
    return texts.title(trace, trace[pair.id], language)  # type: ignore[attr-defined]


def _heading(trace: Trace, language: str, width: int) -> Iterator[list[Piece]]:
    yield from ([Piece(part, "title")] for part in wrapped(texts.heading(trace, language), width))
    if about := texts.circumstances(trace, language):
        yield from ([Piece(part, "note")] for part in wrapped(about, width))
    if trace.plot is not None:
        yield from ([Piece(part, "formula")] for part in wrapped(arrows(trace.plot, language), width))


def _step(step: Step, trace: Trace, count: int, language: str, width: int) -> Iterator[list[Piece]]:
    equation = symbols(step.symbol) + ("" if step.formula is None else f" = {symbols(step.formula)}")
    title = f"{count:>2}  {texts.title(trace, step, language)}"
    if display_width(title) + 3 + display_width(equation) <= width:
        yield [Piece(title, "title"), Piece(f"   {equation}", "formula")]
    else:
        yield [Piece(title, "title")]
        yield from ([Piece(f"    {part}", "formula")] for part in wrapped(equation, width - 4))
    if note := texts.note(trace, step, language):
        yield from ([Piece(f"    {part}", "note")] for part in wrapped(note, width - 4))
    match step.value.dim():
        case 0:
            yield from _scalar(step, trace, width)
        case 1:
            yield from _table(step, trace, language, width)
        case _:
            yield from _matrix(step, trace, language, width)
    if isinstance(step.plot, Curve):
        yield from ([Piece(f"    {row}", "bar")] for row in graph(step.plot, min(width - 4, 60)))
    elif isinstance(step.plot, Arrows):
        yield from ([Piece(f"    {part}", "formula")] for part in wrapped(arrows(step.plot, language), width - 4))
    if texts.is_naive_worse(step):
        yield from ([Piece(f"    {part}", "note")] for part in wrapped(texts.numerics(step, language), width - 4))
    for check in step.invariants:
        off = texts.residual(check)
        yield [
            Piece(f"    {texts.check(check, language)}", "good" if check.holds else "bad"),
            Piece(f" ({off})" if off else "", "note"),
        ]


def _scalar(step: Step, trace: Trace, width: int) -> Iterator[list[Piece]]:
    value = float(step.value)
    first = Piece(f"    {layout.entry(step, value)}", "number")
    if step.formula is None:
        yield [first]
        return
    indent = len(first.text) + 4
    inside = numbers(step.formula, trace.values, order=layout.order(trace))
    for count, part in enumerate(wrapped(inside, width - indent)):
        yield [Piece(" " * indent) if count else first, Piece(part if count else f"  = {part}", "formula")]


def _table(step: Step, trace: Trace, language: str, width: int) -> Iterator[list[Piece]]:
    letter = step.symbol.index
    places = layout.shown(trace, letter)
    names = {place: texts.name(trace, letter, place, language) for place in places}
    hidden = layout.hidden(trace, letter, places)
    rest = _rest(letter, len(hidden), language) if hidden else ""
    column = max(min(max(display_width(names[place]) for place in places), _LABEL), display_width(rest))
    drawn = step.plot if isinstance(step.plot, Bars) else None
    left = width - (4 + 2 + column + _NUMBER) - (_BAR + 2 if drawn else 0) - (_NUMBER + 2) * len(step.beside)
    if step.beside:
        heads = "".join(f"  {padded_left(texts.column(one, language), _NUMBER)}" for one in step.beside)
        yield [Piece(" " * (width - display_width(heads)) + heads, "note")]
    largest, signed = _scale(step, drawn), bool((step.value < 0).any())
    for place in places:
        value, true = float(step.value[place]), layout.is_marked(step, place)
        line = [
            Piece(f"    {'▸' if true else ' '} {padded(cut(names[place], column), column)}", "true" if true else ""),
            Piece(padded_left(layout.entry(step, value), _NUMBER), "number"),
        ]
        if drawn:
            line.append(Piece(f"  {bar(value, largest, _BAR, signed)}", "negative" if value < 0 else "bar"))
        inside = ""
        if left > 8 and layout.is_spelt_out(step, value):
            inside = numbers(step.formula, trace.values, {letter: place}, layout.order(trace))  # type: ignore[arg-type]  # is_spelt_out
        fits = inside and display_width(inside) <= left - 4
        line.append(Piece(padded(f"  = {inside}" if fits else "", left if step.beside else 0), "formula"))
        line += [Piece(f"  {padded_left(number(float(one.value[place])), _NUMBER)}", "number") for one in step.beside]
        yield line
    if hidden:
        total = number(float(step.value[hidden].sum())) if step.id in layout.SUMMED else ""
        yield [Piece(f"      {padded(rest, column)}", "note"), Piece(padded_left(total, _NUMBER), "number")]


def _matrix(step: Step, trace: Trace, language: str, width: int) -> Iterator[list[Piece]]:
    down, across = tuple(step.symbol.index)
    rows = layout.shown(trace, down)
    room = (width - 4 - _LABEL // 2 - 2) // (_NUMBER + 1)
    columns = sorted(layout.shown(trace, across, max(3, min(layout.MOST_COLUMNS, room))))[:room]
    label = min(max(display_width(texts.name(trace, down, row, language)) for row in rows), _LABEL // 2)
    heads = (padded_left(cut(texts.name(trace, across, place, language), _NUMBER), _NUMBER + 1) for place in columns)
    yield [Piece(f"    {' ' * label}{''.join(heads)}", "note")]
    for row in rows:
        line = [Piece(f"    {padded(cut(texts.name(trace, down, row, language), label), label)}")]
        for place in columns:
            true = layout.is_marked(step, row, place)
            shown = f"{'▸' if true else ''}{number(float(step.value[row, place]))}"
            line.append(Piece(padded_left(shown, _NUMBER + 1), "true" if true else "number"))
        yield line
    for letter, places in ((down, rows), (across, columns)):
        if count := len(layout.hidden(trace, letter, places)):
            yield [Piece(f"    {_rest(letter, count, language)}", "note")]


def _rest(letter: str, count: int, language: str) -> str:
    name = f"trace.rest.{letter}" if messages.has(f"trace.rest.{letter}") else "trace.rest"
    return messages.text(name, language, count=count)


def _scale(step: Step, drawn: Bars | None) -> float:
    """What a full bar is."""
    if drawn is not None and drawn.scale is not None:
        return drawn.scale
    sizes = step.value[step.value.isfinite()].abs()
    return float(sizes.max()) if sizes.numel() else 1.0


def _joined(lines: Iterator[list[Piece]]) -> str:
    return "\n".join("".join(piece.text for piece in line).rstrip() for line in lines)
