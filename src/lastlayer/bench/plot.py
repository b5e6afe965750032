"""A picture of a run: how many times its limit each contender takes, case by case, as SVG or a page with it."""

import math
from html import escape

from lastlayer.bench.results import CaseResult, Report
from lastlayer.bench.table import machine_lines, seconds

_LEFT, _WIDTH, _ROW, _TOP = 250, 860, 26, 64
_COLOURS = ("#c2410c", "#57534e", "#2563eb", "#059669", "#9333ea", "#ca8a04", "#0891b2", "#f472b6")
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:currentColor}.grid{stroke:currentColor;opacity:.15}"
    ".limit{stroke:currentColor;stroke-width:1.5}.spread{stroke-width:2;opacity:.5}"
)


def svg(report: Report) -> str:
    """A row per case, a dot per contender; left is better, and the line at 1 is the limit. The axis is logarithmic."""
    results = [result for result in report.results if result.limit_seconds and any(e.seconds for e in result.entries)]
    names = list(dict.fromkeys(entry.name for result in results for entry in result.entries if entry.seconds))
    colour = {name: _COLOURS[place % len(_COLOURS)] for place, name in enumerate(names)}
    most = max((_most(result) for result in results), default=10.0)
    scale = _Scale(math.log10(max(most, 10.0)))
    height = _TOP + _ROW * len(results) + 40
    parts = [_legend(names, colour), *_axis(scale, height)]
    for place, result in enumerate(results):
        parts.append(_row(result, _TOP + _ROW * (place + 0.5), scale, colour))
    label = escape(f"Time over the limit of each case. {', '.join(machine_lines(report.machine))}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{label}">'
        f"<style>{_STYLE}</style>{''.join(parts)}</svg>\n"
    )


def page(report: Report) -> str:
    """The picture in a page that follows the reader's light or dark."""
    machine = escape(" ".join(machine_lines(report.machine)))
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
        f"<title>lastlayer bench</title><body><p>{machine}, {report.date}</p>{svg(report)}</body></html>\n"
    )


class _Scale:
    """From times over the limit to places; half the limit stands at the left edge."""

    def __init__(self, powers: float) -> None:
        self.low, self.high = math.log10(0.5), powers + 0.05

    def x(self, times: float) -> float:
        at = min(max(math.log10(times), self.low), self.high)
        return round(_LEFT + (at - self.low) / (self.high - self.low) * (_WIDTH - _LEFT - 20), 1)

    def ticks(self) -> list[int]:
        return [step * 10**power for power in range(int(self.high) + 1) for step in (1, 2, 5)]


def _most(result: CaseResult) -> float:
    limit = result.limit_seconds.median if result.limit_seconds else 1.0
    return max(entry.seconds.high / limit for entry in result.entries if entry.seconds)


def _legend(names: list[str], colour: dict[str, str]) -> str:
    parts, x, y = [], 10.0, 16
    for name in names:
        if x + 8 * len(name) + 30 > _WIDTH:
            x, y = 10.0, y + 18
        parts.append(f'<circle cx="{x}" cy="{y - 4}" r="5" fill="{colour[name]}"/>')
        parts.append(f'<text x="{x + 9}" y="{y}">{escape(name)}</text>')
        x += 8 * len(name) + 30
    return "".join(parts)


def _axis(scale: _Scale, height: int) -> list[str]:
    parts = []
    for tick in scale.ticks():
        if math.log10(tick) <= scale.high:
            kind, x = "limit" if tick == 1 else "grid", scale.x(tick)
            parts.append(f'<line class="{kind}" x1="{x}" x2="{x}" y1="{_TOP}" y2="{height - 36}"/>')
            parts.append(f'<text x="{x}" y="{height - 20}" text-anchor="middle">{tick:g}×</text>')
    middle = (_LEFT + _WIDTH) / 2
    parts.append(f'<text x="{middle}" y="{height - 4}" text-anchor="middle">times the limit (log scale)</text>')
    return parts


def _row(result: CaseResult, y: float, scale: _Scale, colour: dict[str, str]) -> str:
    limit = result.limit_seconds.median if result.limit_seconds else 1.0
    parts = [f'<text x="{_LEFT - 12}" y="{y + 4}" text-anchor="end">{escape(result.case.name)}</text>']
    for entry in reversed(result.entries):  # ours on top
        if entry.seconds is None:
            continue
        low, middle, high = (
            scale.x(max(value / limit, 1e-9)) for value in (entry.seconds.low, entry.seconds.median, entry.seconds.high)
        )
        tint = colour[entry.name]
        parts.append(f'<line class="spread" stroke="{tint}" x1="{low}" x2="{high}" y1="{y}" y2="{y}"/>')
        parts.append(
            f'<circle cx="{middle}" cy="{y}" r="5" fill="{tint}">'
            f"<title>{escape(entry.name)}: {seconds(entry.seconds.median)}</title></circle>"
        )
    return "".join(parts)
