"""Scores, confusions and reliability as tables for a terminal."""

import math
import re
from typing import Any

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lastlayer.classifier.evaluation import LOWER_IS_BETTER, Evaluation
from lastlayer.classifier.policy.deciding import Decided
from lastlayer.classifier.report import SCORES
from lastlayer.cli.tables import plain as _table
from lastlayer.errors import printable
from lastlayer.messages import has, text

_WHOLE_MATRIX, _WIDE_NAMES = 12, 3  # most classes of a matrix that fits a terminal, and with names of 14 letters
_MOST_CONFUSED = 8
_WORST_NAME = 40
_BAR = 30
_RANKED = re.compile(
    r"(prediction|probability)_(\d+)"
)  # headings of the second class and on, which a terminal shortens
_LEAST_INPUT, _ERROR, _BETWEEN = 16, 40, 3  # widths of a prediction table: of the input, an error, and between columns


def score_table(found: Evaluation, language: str = "en") -> Table:
    """Each score with its interval."""
    split = text(f"part.{found.split}", language) if has(f"part.{found.split}") else found.split
    title = text("scores.one" if found.rows == 1 else "scores.many", language, rows=found.rows, split=split)
    score, value, interval_ = (text(f"scores.head.{name}", language) for name in ("score", "value", "interval"))
    table = _table(printable(title), score, f">{value}", f">{interval_}", "")
    for name, interval in found.scores.items():
        title = text(f"score.{name}", language)
        better = text("scores.lower" if name in LOWER_IS_BETTER else "scores.higher", language)
        if math.isnan(interval.value):
            table.add_row(title, text("report.undefined", language), "", "")
            continue
        table.add_row(
            title,
            f"{interval.value:.4f}",
            f"{interval.low:.4f} – {interval.high:.4f}",
            Text(better, style="bright_black"),
        )
    return table


def folds_table(found: dict[str, Any], language: str = "en") -> Table:
    """Cross-validated scores: over all rows with their interval, and how far the folds lie apart."""
    title = text("scores.folds", language, rows=found["rows"], folds=found["folds"])
    heads = [text(f"scores.head.{name}", language) for name in ("score", "value", "interval", "folds", "std")]
    table = _table(title, heads[0], *(f">{head}" for head in heads[1:]))
    for name in SCORES:
        if name not in found["scores"]:
            continue
        score = found["scores"][name]
        values = [value for value in score["folds"] if value == value]
        table.add_row(
            text(f"score.{name}", language),
            f"{score['value']:.4f}",
            f"{score['low']:.4f} – {score['high']:.4f}",
            f"{min(values, default=float('nan')):.4f} – {max(values, default=float('nan')):.4f}",
            f"{score['standard_deviation_of_folds']:.4f}",
        )
    return table


def confusion_table(found: Evaluation, language: str = "en") -> Table | None:
    """The confusion matrix, where it fits a terminal."""
    if not found.confusion or len(found.classes) > _WHOLE_MATRIX:
        return None
    room = 14 if len(found.classes) <= _WIDE_NAMES else 8
    title = text("evaluated.matrix", language)
    table = _table(title, "", *(f">{printable(name[:room])}" for name in found.classes))
    for index, (name, row) in enumerate(zip(found.classes, found.confusion, strict=True)):
        cells = [
            Text(str(count) if count else "·", style=_style(count, place == index)) for place, count in enumerate(row)
        ]
        table.add_row(printable(name[:14]), *cells)
    return table


def _style(count: int, right: bool) -> str:
    return "bold green" if right else "bold red" if count else "bright_black"


def confused_lines(found: Evaluation, language: str = "en") -> list[str]:
    """What is most often taken for what."""
    return [
        printable(text("report.confusions.pair", language, count=f"{count:>5}", true=true, predicted=predicted))
        for count, true, predicted in found.confused()[:_MOST_CONFUSED]
    ]


def reliability_table(found: Evaluation, language: str = "en") -> Table:
    """Accuracy beside confidence, with a bar of each bin's accuracy and a mark where honesty would put it."""
    heads = [text(head, language) for head in ("report.axis.confidence", "report.axis.accuracy", "report.head.rows")]
    title, bar_of = text("report.reliability", language), text("evaluated.honest", language)
    table = _table(title, *(f">{head}" for head in heads), bar_of)
    for each in found.reliability.bins:
        full, honest = round(each.accuracy * _BAR), min(round(each.confidence * _BAR), _BAR - 1)
        bar = "".join("┃" if place == honest else "█" if place < full else " " for place in range(_BAR))
        table.add_row(f"{each.confidence:.3f}", f"{each.accuracy:.3f}", f"{each.count:,}", Text(bar, style="blue"))
    return table


def worst_table(found: Evaluation, language: str = "en", most: int = 8) -> Table:
    """The rows with the largest loss."""
    named = ("evaluated.input", "evaluated.true", "report.confusions.predicted")
    heads = [text(head, language) for head in (*named, "evaluated.probability", "report.worst.loss")]
    table = _table(text("report.worst", language), *heads[:3], *(f">{head}" for head in heads[3:]))
    for example in found.worst[:most]:
        right = example.target == example.prediction
        table.add_row(
            Text(from_the_left(printable(example.name), _WORST_NAME), overflow="ellipsis", no_wrap=True),
            printable(example.target),
            Text(printable(example.prediction), style="green" if right else "red"),
            f"{example.probability:.4f}",
            f"{example.loss:.4f}",
        )
    return table


def decision_table(found: Decided, classes: tuple[str, ...], language: str = "en") -> Table:
    """What decisions cost, how many are left open, and how often sets hold the truth, by class if they are few."""
    heads = [text(f"scores.head.{name}", language) for name in ("value", "interval")]
    table = _table(text("scores.decisions", language), "", *(f">{head}" for head in heads))
    facts = {"cost": found.cost, "abstained": found.abstained, "decided": found.accuracy}
    shown = {text(f"scores.{name}", language): interval for name, interval in facts.items()}
    if found.coverage is not None:
        shown[text("scores.covered", language)] = found.coverage.total
        by_class = list(zip(classes, found.coverage.per_class, found.coverage.rows, strict=True))
        by_class = [each for each in by_class if each[2]]
        if len(by_class) > _WHOLE_MATRIX:
            by_class = sorted(by_class, key=lambda each: each[1].value)[: _WHOLE_MATRIX // 2]
        shown |= {
            text("scores.covered_class", language, rows=rows, name=printable(name)[:24]): share
            for name, share, rows in by_class
        }
    for name, interval in shown.items():
        if interval is not None:
            known = not math.isnan(interval.value)
            between = f"{interval.low:.4f} – {interval.high:.4f}" if known else ""
            value = f"{interval.value:.4f}" if known else text("report.undefined", language)
            table.add_row(name, value, between)
    if found.coverage is not None:
        table.add_row(text("scores.set_size", language), f"{found.coverage.size:.2f}", "")
        table.add_row(text("scores.set_empty", language), f"{found.coverage.empty:.4f}", "")
    return table


def prediction_table(
    rows: list[dict[str, Any]], width: int, *, heading: bool = True, least: dict[str, int] | None = None
) -> RenderableType:
    """Predictions as they come: a table where it fits the width, else some lines per row. No number is cut.

    Where rows come page by page, `heading` is for the first, and `least` keeps how wide each column has been.
    """
    heads = list(rows[0])
    shown = [_RANKED.sub(lambda found: f"{found[2]}." if found[1] == "prediction" else "p", head) for head in heads]
    cells = [[printable(_cell(value)) for value in row.values()] for row in rows]
    before = {} if least is None else least
    wide = [
        max(before.get(head, 0), cell_len(title), *map(cell_len, column))
        for head, title, column in zip(heads, shown, zip(*cells, strict=True), strict=True)
    ]
    if heads[-1] == "error":
        wide[-1] = min(wide[-1], _ERROR)
    room = width - sum(wide[1:]) - _BETWEEN * len(wide)
    if room < min(wide[0], _LEAST_INPUT):
        return Group(*(_folded(heads, row, width) for row in cells))
    wide[0] = min(wide[0], room)
    before.update(zip(heads, wide, strict=True))
    numbers = [name.startswith(("probability", "p(")) for name in heads]
    table = _table("", *(f">{name}" if number else name for name, number in zip(shown, numbers, strict=True)))
    table.show_header = heading
    for column, least_width in zip(table.columns, wide, strict=True):
        column.min_width = least_width if least is not None else None
    for row in cells:
        table.add_row(from_the_left(row[0], room), *map(Text, row[1:]))
    return table


def _folded(heads: list[str], row: list[str], width: int) -> Text:
    """The input on a line of its own, and below it each class with its probability, as many as a line holds."""
    text = Text(from_the_left(row[0], width), style="bold")
    named = dict(zip(heads, row, strict=True))
    ranked = [
        f"{named[head]} {named[head.replace('prediction', 'probability')]}"
        for head in heads
        if head.startswith("prediction") and named[head]
    ]
    every = [f"{head} {value}" for head, value in named.items() if head.startswith("p(") and value]
    for pieces in filter(None, (ranked, every, [named["error"]] if named.get("error") else [])):
        line = " "
        for piece in pieces:
            if len(line) > 1 and cell_len(f"{line}  {piece}") > width:
                text.append(f"\n{line.rstrip()}", style="not bold")
                line = " "
            line += f" {piece} "
        text.append(f"\n{line.rstrip()}", style="not bold")
    return text


def from_the_left(name: str, width: int) -> str:
    """A name that loses its beginning where it is too long: the end of a path tells more.

    >>> from_the_left("photos/cat/1.png", 10)
    '…cat/1.png'
    """
    if cell_len(name) <= width:
        return name
    while name and cell_len(name) >= width:
        name = name[1:]
    return f"…{name}"


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return ", ".join(map(_cell, value))
    return f"{value:.4f}" if isinstance(value, float) else str(value)
