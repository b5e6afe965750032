"""Small charts as SVG: they take their colours from the page, so that light and dark both work."""

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from lastlayer.classifier.journal import Epoch
from lastlayer.classifier.report.said import Said
from lastlayer.decisions import Bin, Reliability

_ENGLISH = Said()
_WIDTH, _HEIGHT = 420, 260
_LEAST_TICKS = 3
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 12, 12, 36


class _Frame(NamedTuple):
    """From values to places in the picture; `log_y` measures upwards in powers of ten."""

    low_x: float
    high_x: float
    low_y: float
    high_y: float
    log_y: bool = False

    def x(self, value: float) -> float:
        share = (value - self.low_x) / ((self.high_x - self.low_x) or 1)
        return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        low, high, at = self.low_y, self.high_y, min(max(value, self.low_y), self.high_y)
        if self.log_y:
            low, high, at = math.log10(low), math.log10(high), math.log10(at)
        share = (at - low) / ((high - low) or 1)
        return round(_HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM), 1)

    def y_ticks(self) -> list[float]:
        if not self.log_y:
            return _ticks(self.low_y, self.high_y)
        powers = range(math.floor(math.log10(self.low_y)), math.floor(math.log10(self.high_y)) + 1)
        for steps in ((1,), (1, 3), (1, 2, 5)):  # few powers of ten need numbers between
            found = [float(f"{step}e{power}") for power in powers for step in steps]
            found = [value for value in found if self.low_y <= value <= self.high_y]
            if len(found) >= _LEAST_TICKS:
                break
        return found


def loss_curves(epochs: Sequence[Epoch], best_epoch: int, log_classes: float, say: Said = _ENGLISH) -> str:
    """Training and validation loss by epoch, with the best epoch and the loss of knowing nothing."""
    if not epochs:
        return ""
    losses = [loss for e in epochs for loss in (e.train_loss, e.validation_log_loss) if 0 < loss < math.inf]
    highest = min(max([log_classes, *losses]), 3 * log_classes)
    lowest = max(min([log_classes / 2, *losses]), highest / 10_000)
    frame = _Frame(1, max(len(epochs), 2), lowest / 1.5, highest * 1.5, log_y=True)
    parts = [
        *_axes(frame, say("axis.epoch"), say("axis.loss"), whole_x=True),
        _line(frame, [(e.epoch, e.train_loss) for e in epochs], "train"),
        _line(frame, [(e.epoch, e.validation_log_loss) for e in epochs], "validation"),
        f'<line class="guide" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{frame.y(log_classes)}" '
        f'y2="{frame.y(log_classes)}"/>',
        f'<text class="label" x="{_WIDTH - _RIGHT}" y="{frame.y(log_classes) - 4}" text-anchor="end">'
        f"{escape(say('axis.nothing', loss=f'{log_classes:.3f}'))}</text>",
    ]
    if best_epoch:
        loss = epochs[best_epoch - 1].validation_log_loss
        place = (best_epoch - 1) / max(len(epochs) - 1, 1)
        anchor = "end" if place > 0.9 else "start" if place < 0.1 else "middle"  # inside the picture
        parts.append(f'<circle class="best" cx="{frame.x(best_epoch)}" cy="{frame.y(loss)}" r="4"/>')
        parts.append(
            f'<text class="label" x="{frame.x(best_epoch)}" y="{frame.y(loss) + 16}" text-anchor="{anchor}">'
            f"{loss:.4f}</text>"
        )
    last = epochs[-1]
    summary = f"{say('curves.train')} {last.train_loss:.4f}, {say('curves.validation')} {last.validation_log_loss:.4f}"
    return _svg("".join(parts), summary)


def reliability_diagram(found: Reliability, say: Said = _ENGLISH) -> str:
    """Accuracy of the rows of each confidence, against the diagonal of honest confidence."""
    frame = _Frame(0, 1, 0, 1)
    most = max((each.count for each in found.bins), default=1)
    parts = _axes(frame, say("axis.confidence"), say("axis.accuracy"))
    for each in found.bins:
        left, right = frame.x(each.low) + 1, frame.x(each.high) - 1
        weight = 0.25 + 0.75 * math.sqrt(each.count / most)
        parts.append(
            f'<rect class="bin" x="{left}" y="{frame.y(each.accuracy)}" width="{max(right - left, 1):.1f}" '
            f'height="{frame.y(0) - frame.y(each.accuracy):.1f}" opacity="{weight:.2f}">'
            f"<title>{escape(_bin(each, say))}</title></rect>"
        )
        x = frame.x(each.confidence)
        parts.append(
            f'<line class="gap" x1="{x}" x2="{x}" y1="{frame.y(each.confidence)}" y2="{frame.y(each.accuracy)}"/>'
        )
        parts.append(f'<circle class="best" cx="{x}" cy="{frame.y(each.accuracy)}" r="3"/>')
    parts.append(f'<line class="guide" x1="{frame.x(0)}" y1="{frame.y(0)}" x2="{frame.x(1)}" y2="{frame.y(1)}"/>')
    return _svg("".join(parts), f"{say.score('ece')} {found.ece:.4f}")


def _bin(each: Bin, say: Said) -> str:
    confidence, accuracy = f"{each.confidence:.3f}", f"{each.accuracy:.3f}"
    return say("reliability.bin", count=each.count, confidence=confidence, accuracy=accuracy)


def risk_curve(points: Sequence[tuple[float, float]], say: Said = _ENGLISH) -> str:
    """The share of errors among the rows that the model is surest of, by the share of rows kept."""
    highest = max((risk for _, risk in points), default=0.0)
    frame = _Frame(0, 1, 0, min(1.0, 1.15 * highest) or 0.01)
    parts = [*_axes(frame, say("axis.coverage"), say("axis.risk")), _line(frame, points, "validation")]
    coverage, risk = points[-1]
    parts.append(f'<circle class="best" cx="{frame.x(coverage)}" cy="{frame.y(risk)}" r="4"/>')
    above = frame.y(risk) - 8
    place = above if above > _TOP else frame.y(risk) + 18  # below the line where there is no room above it
    parts.append(f'<text class="label" x="{frame.x(coverage)}" y="{place}" text-anchor="end">{risk:.1%}</text>')
    return _svg("".join(parts), f"{say('axis.risk')}: {risk:.1%}")


def _line(frame: _Frame, points: Sequence[tuple[float, float]], name: str) -> str:
    places = " ".join(f"{frame.x(x)},{frame.y(y)}" for x, y in points if math.isfinite(y))
    return f'<polyline class="{name}" points="{places}"/>'


def _axes(frame: _Frame, x: str, y: str, *, whole_x: bool = False) -> list[str]:
    parts = []
    for value in frame.y_ticks():
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{frame.y(value)}" y2="{frame.y(value)}"/>'
        )
        parts.append(f'<text x="{_LEFT - 6}" y="{frame.y(value) + 4}" text-anchor="end">{value:g}</text>')
    parts += [
        f'<text x="{frame.x(value)}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{value:g}</text>'
        for value in _ticks(frame.low_x, frame.high_x)
        if value.is_integer() or not whole_x
    ]
    middle_x, middle_y = (_LEFT + _WIDTH - _RIGHT) / 2, (_TOP + _HEIGHT - _BOTTOM) / 2
    parts.append(f'<text class="axis" x="{middle_x}" y="{_HEIGHT - 4}" text-anchor="middle">{escape(x)}</text>')
    parts.append(
        f'<text class="axis" x="12" y="{middle_y}" text-anchor="middle" '
        f'transform="rotate(-90 12 {middle_y})">{escape(y)}</text>'
    )
    return parts


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers, about five of them."""
    span = (high - low) or 1
    size = 10 ** math.floor(math.log10(span / 5))
    step = next(size * factor for factor in (1, 2, 5, 10) if span / (size * factor) <= 6)
    first = math.ceil(low / step - 1e-9)
    count = math.floor((high - first * step) / step + 1e-9) + 1
    return [float(round((first + index) * step, 10)) for index in range(count)]


def _svg(content: str, summary: str) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(summary)}">'
        f"<title>{escape(summary)}</title>{content}</svg>"
    )
