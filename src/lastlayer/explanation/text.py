"""A trace as text of a given width: aligned numbers and bars. It computes nothing; roles are for colours."""

import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from lastlayer import messages
from lastlayer.explanation import texts
from lastlayer.explanation.expressions import numbers, short, symbols
from lastlayer.explanation.trace import Step, Trace

MOST_ROWS = 12  # more classes than this: the largest logits, the true class, and the rest in one line
_BAR = 16
_NUMBER = 11
_EIGHTHS = "▏▎▍▌▋▊▉█"
DRAWN = {"logits", "tempered", "probabilities", "gradient"}  # steps whose values get a bar
SUMMED = {"exp", "probabilities", "gradient"}  # steps where the sum of the classes left out means something


class Piece(NamedTuple):
    """Some text of a line and its role: title, formula, number, bar, negative, true, note, good or bad."""

    text: str
    role: str = ""


def plain(trace: Trace, language: str = "en", width: int = 80) -> str:
    """Return the trace as text without colours."""
    return "\n".join("".join(piece.text for piece in line).rstrip() for line in lines(trace, language, width))


def lines(trace: Trace, language: str = "en", width: int = 80) -> Iterator[list[Piece]]:
    """The lines of the trace, in pieces with roles."""
    yield [Piece(texts.heading(trace, language), "title")]
    if about := texts.circumstances(trace, language):
        yield [Piece(about, "note")]
    rows = rows_shown(trace)
    for count, step in enumerate(trace.steps, start=1):
        yield []
        equation = "" if step.formula is None else f" = {symbols(step.formula)}"
        yield [
            Piece(f"{count:>2}  {texts.title(trace, step, language)}", "title"),
            Piece(f"   {symbols(step.symbol)}{equation}", "formula"),
        ]
        if note := texts.note(trace, step, language):
            yield from ([Piece(f"    {part}", "note")] for part in _wrapped(note, width - 4))
        if step.value.dim() == 0:
            yield from _scalar(step, trace, rows, width)
        else:
            yield from _table(step, trace, rows, language, width)
        for check in step.invariants:
            name = messages.text(f"check.{check.id}", language)
            mark, role = ("✓", "good") if check.holds else ("✗", "bad")
            off = "" if check.residual == 0 else f" (± {abs(check.residual):.0e})".replace("-", "−")
            yield [Piece(f"    {mark} {name}", role), Piece(off, "note")]


def _scalar(step: Step, trace: Trace, rows: list[int], width: int) -> Iterator[list[Piece]]:
    value = Piece(f"    {number(float(step.value))}", "number")
    if step.formula is None:
        yield [value]
        return
    indent = len(value.text) + 4
    inside = numbers(step.formula, trace.values, order=true_first(trace, rows))
    for count, part in enumerate(_wrapped(inside, width - indent)):
        yield [Piece(" " * indent) if count else value, Piece(part if count else f"  = {part}", "formula")]


def _table(step: Step, trace: Trace, rows: list[int], language: str, width: int) -> Iterator[list[Piece]]:
    hidden = [row for row in range(len(trace.classes)) if row not in rows]
    rest = messages.text("trace.rest", language, count=len(hidden)) if hidden else ""
    column = max(min(max(display_width(trace.classes[row]) for row in rows), 20), display_width(rest))
    bar = _BAR if step.id in DRAWN else 0
    beside = {name.id: messages.text(f"column.{name.id}", language) for name in step.beside}
    left = width - (4 + 2 + column + _NUMBER) - (bar + 2 if bar else 0) - (_NUMBER + 2) * len(beside)
    if beside:
        heads = "".join(f"  {_padded_left(head, _NUMBER)}" for head in beside.values())
        yield [Piece(" " * (width - display_width(heads)) + heads, "note")]
    largest = float(step.value[step.value.isfinite()].abs().max()) if step.id != "probabilities" else 1.0
    signed = bool((step.value < 0).any())
    for row in rows:
        value = float(step.value[row])
        name = _padded(_cut(trace.classes[row], column), column)
        true = trace.holds(row)
        line = [
            Piece(f"    {'▸' if true else ' '} {name}", "true" if true else ""),
            Piece(_padded_left(number(value), _NUMBER), "number"),
        ]
        if bar:
            line.append(Piece(f"  {_bar(value, largest, bar, signed)}", "negative" if value < 0 else "bar"))
        if step.formula is not None and left > 8:
            inside = numbers(step.formula, trace.values, row, order=true_first(trace, rows))
            line.append(Piece(_padded(f"  = {inside}" if display_width(inside) <= left - 4 else "", left), "formula"))
        elif beside:
            line.append(Piece(" " * left))
        line += [Piece(f"  {_padded_left(number(float(c.value[row])), _NUMBER)}", "number") for c in step.beside]
        yield line
    if hidden:
        total = number(float(step.value[hidden].sum())) if step.id in SUMMED else ""
        yield [Piece(f"      {_padded(rest, column)}", "note"), Piece(_padded_left(total, _NUMBER), "number")]


def rows_shown(trace: Trace) -> list[int]:
    """All classes, or of many those with the largest logits, and the true one."""
    logits = trace["logits"].value
    if logits.dim() == 0 or len(logits) <= MOST_ROWS:
        return list(range(logits.numel()))
    rows = [int(row) for row in logits.argsort(descending=True, stable=True)[: MOST_ROWS - 2]]
    if isinstance(trace.target, int) and trace.target not in rows:
        rows.append(trace.target)
    return rows


def true_first(trace: Trace, rows: list[int]) -> list[int]:
    """A sum is spelt out from the classes that matter: the true one, then the largest logits."""
    logits = trace["logits"].value.reshape(-1)
    return sorted(rows, key=lambda row: (not trace.holds(row), -float(logits[row])))


def number(value: float) -> str:
    """A number with four decimals, so that decimal points stand under each other."""
    size = abs(value)
    if value == 0 or 1e-4 <= size < 1e6:
        return f"{value:.4f}".replace("-", "−")
    return short(value)


def _bar(value: float, largest: float, width: int, signed: bool) -> str:
    """A bar of eighths of a character; with negative values in the column it grows from an axis in the middle."""
    room = width // 2 - 1 if signed else width
    share = 0.0 if largest == 0 or value != value else min(abs(value) / largest, 1.0)
    full, eighths = divmod(round(share * room * 8), 8)
    if not signed:
        return _padded("█" * full + (_EIGHTHS[eighths - 1] if eighths else ""), width)
    if value < 0:
        bar = ("▐" if eighths >= 4 else "") + "█" * full
        return _padded(f"{_padded_left(bar, room)}│", width)
    return _padded(f"{' ' * room}│{'█' * full}{_EIGHTHS[eighths - 1] if eighths else ''}", width)


def display_width(text: str) -> int:
    """Columns of a terminal: Korean letters take two, combining marks none."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def _padded(text: str, width: int) -> str:
    return text + " " * (width - display_width(text))


def _padded_left(text: str, width: int) -> str:
    return " " * (width - display_width(text)) + text


def _cut(text: str, width: int) -> str:
    if display_width(text) <= width:
        return text
    while text and display_width(text) > width - 1:
        text = text[:-1]
    return f"{text}…"


def _wrapped(text: str, width: int) -> Iterator[str]:
    line = ""
    for word in text.split():
        if line and display_width(line) + 1 + display_width(word) > width:
            yield line
            line = ""
        line = f"{line} {word}" if line else word
    yield line
