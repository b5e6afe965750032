"""Scores, confusions and reliability as tables for a terminal."""

from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from lastlayer.classifier.evaluation import Evaluation
from lastlayer.classifier.report import SCORES

_WHOLE_MATRIX = 12
_MOST_CONFUSED = 8
_BAR = 30


def score_table(found: Evaluation) -> Table:
    """Each score with its interval."""
    table = _table(f"{found.rows:,} {found.split} rows", "score", ">value", ">95 % interval", "")
    for name, (title, _) in SCORES.items():
        interval = found.scores[name]
        better = "higher is better" if name in ("accuracy", "balanced_accuracy", "macro_f1") else "lower is better"
        if name == "log_loss":
            better = f"lower is better; ln C {found.log_classes:.3f}"
        table.add_row(
            title,
            f"{interval.value:.4f}",
            f"{interval.low:.4f} – {interval.high:.4f}",
            Text(better, style="bright_black"),
        )
    return table


def confusion_table(found: Evaluation) -> Table | None:
    """The confusion matrix, where it fits a terminal."""
    if len(found.classes) > _WHOLE_MATRIX:
        return None
    table = _table("Confusion matrix (rows: true class)", "", *(f">{name[:8]}" for name in found.classes))
    for index, (name, row) in enumerate(zip(found.classes, found.confusion, strict=True)):
        cells = [
            Text(str(count) if count else "·", style=_style(count, place == index)) for place, count in enumerate(row)
        ]
        table.add_row(name[:14], *cells)
    return table


def _style(count: int, right: bool) -> str:
    return "bold green" if right else "bold red" if count else "bright_black"


def confused_lines(found: Evaluation) -> list[str]:
    """What is most often taken for what."""
    return [
        f"{count:>5} × {true} taken for {predicted}" for count, true, predicted in found.confused()[:_MOST_CONFUSED]
    ]


def reliability_table(found: Evaluation) -> Table:
    """Accuracy beside confidence, with a bar of each bin's accuracy and a mark where honesty would put it."""
    table = _table("Reliability", ">confidence", ">accuracy", ">rows", "0 – 1 (┃: where honest confidence would end)")
    for each in found.reliability.bins:
        full, honest = round(each.accuracy * _BAR), min(round(each.confidence * _BAR), _BAR - 1)
        bar = "".join("┃" if place == honest else "█" if place < full else " " for place in range(_BAR))
        table.add_row(f"{each.confidence:.3f}", f"{each.accuracy:.3f}", f"{each.count:,}", Text(bar, style="blue"))
    return table


def worst_table(found: Evaluation, most: int = 8) -> Table:
    """The rows with the largest loss."""
    table = _table("Largest losses", "input", "true", "predicted", ">probability", ">loss")
    for example in found.worst[:most]:
        right = example.target == example.prediction
        table.add_row(
            Text(example.name, overflow="ellipsis", no_wrap=True),
            example.target,
            Text(example.prediction, style="green" if right else "red"),
            f"{example.probability:.4f}",
            f"{example.loss:.4f}",
        )
    return table


def prediction_table(rows: list[dict[str, Any]]) -> Table:
    """Predictions as they come."""
    heads = [f">{name}" if name.startswith(("probability", "p(")) else name for name in rows[0]]
    table = _table("", *heads)
    for row in rows:
        table.add_row(*(Text(_cell(value), overflow="ellipsis", no_wrap=True) for value in row.values()))
    return table


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _table(title: str, *columns: str) -> Table:
    """A table without lines; a column whose heading begins with > is aligned right."""
    table = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", title_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left")
    return table
