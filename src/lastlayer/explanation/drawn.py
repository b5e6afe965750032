"""Pictures out of characters: bars of eighths, curves of Braille dots, stages with arrows."""

from lastlayer.explanation import texts
from lastlayer.explanation.columns import number, padded, padded_left
from lastlayer.explanation.plots import Arrows, Curve
from lastlayer.explanation.printing import short

_EIGHTHS = "▏▎▍▌▋▊▉█"
_HEIGHT = 6
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))


def bar(value: float, largest: float, width: int, signed: bool) -> str:
    """A bar of eighths of a character; with negative values in the column it grows from an axis in the middle."""
    room = width // 2 - 1 if signed else width
    share = 0.0 if largest == 0 or value != value else min(abs(value) / largest, 1.0)
    full, eighths = divmod(round(share * room * 8), 8)
    if not signed:
        return padded("█" * full + (_EIGHTHS[eighths - 1] if eighths else ""), width)
    if value < 0:
        half = ("▐" if eighths >= 4 else "") + "█" * full
        return padded(f"{padded_left(half, room)}│", width)
    return padded(f"{' ' * room}│{'█' * full}{_EIGHTHS[eighths - 1] if eighths else ''}", width)


def graph(curve: Curve, width: int) -> list[str]:
    """The curve in dots, its point as ●, the ends of both axes named."""
    low, high = min(curve.y), max(curve.y)
    names = [number(high), number(low)]
    left = max(map(len, names)) + 1
    columns = width - left - 1
    cells = [[0] * columns for _ in range(_HEIGHT)]

    def place(x: float, y: float) -> tuple[int, int]:
        across = (x - curve.x[0]) / (curve.x[-1] - curve.x[0])
        up = (y - low) / (high - low) if high > low else 0.5
        return round(across * (2 * columns - 1)), round((1 - up) * (4 * _HEIGHT - 1))

    for x, y in zip(curve.x, curve.y, strict=True):
        across, down = place(x, y)
        cells[down // 4][across // 2] |= _DOTS[down % 4][across % 2]
    rows = [[chr(0x2800 + cell) if cell else " " for cell in row] for row in cells]
    if curve.point is not None:
        across, down = place(*curve.point)
        rows[down // 4][across // 2] = "●"
    drawn = []
    for count, row in enumerate(rows):
        name = names[0] if count == 0 else names[1] if count == _HEIGHT - 1 else ""
        drawn.append(f"{padded_left(name, left)}│{''.join(row)}".rstrip())
    start, end = short(curve.x[0]), short(curve.x[-1])
    gap = " " * max(columns - len(start) - len(end), 1)
    return [*drawn, " " * (left + 1) + start + gap + end]


def arrows(plot: Arrows, language: str) -> str:
    """The stages in a line, those that are covered in brackets."""
    names = [texts.stage(stage, language) for stage in plot.stages]
    return " → ".join(f"[{name}]" if place in plot.here else name for place, name in enumerate(names))
