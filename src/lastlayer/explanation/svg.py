"""Pictures as inline SVG. Colours come from the page's style sheet; `title` speaks to screen readers."""

from html import escape

from lastlayer import messages
from lastlayer.explanation import layout, texts
from lastlayer.explanation.plots import Arrows, Bars, Curve, Matrix, Plot
from lastlayer.explanation.printing import short
from lastlayer.explanation.trace import Trace

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 420, 200, 52, 26, 12


def picture(plot: Plot, trace: Trace, language: str) -> str:
    """The plot as one `svg` element."""
    match plot:
        case Curve():
            return _curve(plot, language)
        case Bars():
            return _bars(plot, trace, language)
        case Matrix():
            return _matrix(plot, trace, language)
        case Arrows():
            return _arrows(plot, language)


def described(plot: Plot, trace: Trace, language: str) -> str:
    """The plot in words."""
    match plot:
        case Curve():
            about = messages.text(f"plot.{plot.id}", language)
            if plot.point is None:
                return about
            x, y = (
                f"{name} = {short(at)}" for name, at in zip((plot.x_symbol, plot.y_symbol), plot.point, strict=True)
            )
            return f"{about}; {messages.text('plot.point', language, x=x, y=y)}"
        case Bars():
            places = layout.shown(trace, plot.axis)
            values = ", ".join(
                f"{texts.name(trace, plot.axis, place, language)} {short(plot.values[place])}" for place in places
            )
            return messages.text("plot.bars", language, values=values)
        case Matrix():
            return messages.text("plot.matrix", language, rows=len(plot.values), columns=len(plot.values[0]))
        case Arrows():
            stages = " → ".join(messages.text(f"stage.{stage}", language) for stage in plot.stages)
            return messages.text("plot.arrows", language, stages=stages)


def _svg(width: float, height: float, body: str, about: str, kind: str) -> str:
    return (
        f'<svg class="{kind}" viewBox="0 0 {width:g} {height:g}" role="img" xmlns="http://www.w3.org/2000/svg">'
        f"<title>{escape(about)}</title>{body}</svg>"
    )


def _curve(plot: Curve, language: str) -> str:
    low, high = min(plot.y), max(plot.y)
    room = (high - low) or 1.0

    def at(x: float, y: float) -> tuple[float, float]:
        across = (x - plot.x[0]) / (plot.x[-1] - plot.x[0])
        return _LEFT + across * (_WIDTH - _LEFT - 12), _TOP + (1 - (y - low) / room) * (_HEIGHT - _TOP - _BOTTOM)

    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*pair) for pair in zip(plot.x, plot.y, strict=True)))
    floor = _HEIGHT - _BOTTOM
    body = [
        f'<path class="axis" d="M{_LEFT} {_TOP}V{floor}H{_WIDTH - 12}"/>',
        f'<text x="{_LEFT - 6}" y="{_TOP + 4}" text-anchor="end">{short(high)}</text>',
        f'<text x="{_LEFT - 6}" y="{floor}" text-anchor="end">{short(low)}</text>',
        f'<text x="{_LEFT}" y="{_HEIGHT - 8}">{plot.x_symbol} = {short(plot.x[0])}</text>',
        f'<text x="{_WIDTH - 12}" y="{_HEIGHT - 8}" text-anchor="end">{short(plot.x[-1])}</text>',
        f'<polyline class="line" points="{line}"/>',
    ]
    if plot.point is not None:
        x, y = at(*plot.point)
        anchor, shift = ("end", -8) if x > _WIDTH * 0.6 else ("start", 8)
        label = f"{plot.y_symbol} = {short(plot.point[1])}"
        high_up = y < _TOP + 24
        body.append(f'<path class="guide" d="M{x:.1f} {floor}V{y:.1f}H{_LEFT}"/>')
        body.append(f'<circle class="point" cx="{x:.1f}" cy="{y:.1f}" r="5"/>')
        body.append(
            f'<text class="label" x="{x + shift:.1f}" y="{y + (20 if high_up else -8):.1f}" text-anchor="{anchor}">'
            f"{escape(label)}</text>"
        )
    return _svg(_WIDTH, _HEIGHT, "".join(body), described(plot, Trace("", (), {}), language), "curve")


def _bars(plot: Bars, trace: Trace, language: str) -> str:
    places = layout.shown(trace, plot.axis)
    names = {place: texts.name(trace, plot.axis, place, language) for place in places}
    values = [plot.values[place] for place in places]
    full = plot.scale or max((abs(value) for value in values), default=1.0) or 1.0
    signed = any(value < 0 for value in values)
    label = 9 + 7 * min(max(len(names[place]) for place in places), 20)
    room = 240
    axis = label + (room / 2 if signed else 0)
    body = []
    for count, (place, value) in enumerate(zip(places, values, strict=True)):
        y, length = 6 + 22 * count, abs(value) / full * (room / 2 if signed else room)
        left = axis - length if value < 0 else axis
        body.append(f'<text x="{label - 6}" y="{y + 11}" text-anchor="end">{escape(names[place][:20])}</text>')
        body.append(
            f'<rect class="{"negative" if value < 0 else "positive"}" x="{left:.1f}" y="{y}" '
            f'width="{length:.1f}" height="14" rx="2"/>'
        )
        body.append(f'<text class="label" x="{label + room + 8}" y="{y + 11}">{short(value)}</text>')
    height = 22 * len(places) + 8
    body.append(f'<path class="axis" d="M{axis} 2V{height - 2}"/>')
    return _svg(label + room + 76, height, "".join(body), described(plot, trace, language), "bars")


def _matrix(plot: Matrix, trace: Trace, language: str) -> str:
    rows = layout.shown(trace, plot.rows)
    columns = sorted(layout.shown(trace, plot.columns, layout.MOST_COLUMNS))
    largest = max((abs(plot.values[r][c]) for r in rows for c in columns), default=1.0) or 1.0
    body = []
    for down, row in enumerate(rows):
        name = escape(texts.name(trace, plot.rows, row, language)[:12])
        body.append(f'<text x="86" y="{42 + 26 * down}" text-anchor="end">{name}</text>')
        for across, column in enumerate(columns):
            value = plot.values[row][column]
            body.append(
                f'<rect class="{"negative" if value < 0 else "positive"}" x="{92 + 64 * across}" y="{24 + 26 * down}" '
                f'width="62" height="24" rx="2" opacity="{abs(value) / largest * 0.8:.3f}"/>'
                f'<text class="label" x="{123 + 64 * across}" y="{41 + 26 * down}" text-anchor="middle">'
                f"{short(value)}</text>"
            )
    for across, column in enumerate(columns):
        name = escape(texts.name(trace, plot.columns, column, language)[:9])
        body.append(f'<text x="{123 + 64 * across}" y="16" text-anchor="middle">{name}</text>')
    return _svg(100 + 64 * len(columns), 30 + 26 * len(rows), "".join(body), described(plot, trace, language), "matrix")


def _arrows(plot: Arrows, language: str) -> str:
    names = [messages.text(f"stage.{stage}", language) for stage in plot.stages]
    # Korean letters are about twice as wide as Latin ones
    widths = [16 + sum(13 if letter > "ᄀ" else 7.5 for letter in name) for name in names]
    body, x = [], 2.0
    for place, (name, width) in enumerate(zip(names, widths, strict=True)):
        here = ' class="here"' if place in plot.here else ' class="stage"'
        body.append(f'<rect{here} x="{x:.1f}" y="4" width="{width:.1f}" height="28" rx="6"/>')
        body.append(f'<text class="label" x="{x + width / 2:.1f}" y="22" text-anchor="middle">{escape(name)}</text>')
        x += width
        if place + 1 < len(names):
            body.append(f'<path class="axis" d="M{x + 3:.1f} 18h14m-5 -4l5 4l-5 4"/>')
            x += 20
    return _svg(x + 2, 36, "".join(body), described(plot, Trace("", (), {}), language), "arrows")
