"""Pictures as inline SVG. Colours come from the page's style sheet; `title` speaks to screen readers."""

from html import escape

from lastlayer import messages
from lastlayer.explanation import texts
from lastlayer.explanation.plots import Arrows, Curve
from lastlayer.explanation.printing import short

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 420, 200, 52, 26, 12


def picture(plot: Curve | Arrows, language: str) -> str:
    """The plot as one `svg` element; bars and matrices stand in the tables of their numbers."""
    return _curve(plot, language) if isinstance(plot, Curve) else _arrows(plot, language)


def described(plot: Curve | Arrows, language: str) -> str:
    """The plot in words."""
    if isinstance(plot, Arrows):
        return messages.text(
            "plot.arrows", language, stages=" → ".join(texts.stage(one, language) for one in plot.stages)
        )
    about = messages.text(f"plot.{plot.id}", language)
    if plot.point is None:
        return about
    x, y = (f"{name} = {short(at)}" for name, at in zip((plot.x_symbol, plot.y_symbol), plot.point, strict=True))
    return f"{about}; {messages.text('plot.point', language, x=x, y=y)}"


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
    return _svg(_WIDTH, _HEIGHT, "".join(body), described(plot, language), "curve")


def _arrows(plot: Arrows, language: str) -> str:
    names = [texts.stage(stage, language) for stage in plot.stages]
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
    return _svg(x + 2, 36, "".join(body), described(plot, language), "arrows")
