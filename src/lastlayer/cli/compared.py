"""Two runs side by side, for a terminal."""

import math

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lastlayer.classifier.data.rows import plural
from lastlayer.classifier.evaluation import Comparison
from lastlayer.classifier.report import SCORES
from lastlayer.cli.scores import from_the_left
from lastlayer.cli.tables import plain
from lastlayer.errors import printable

_MOST = 10
_NAME = 28
_STYLES = {"first": "green", "second": "red", "neither": "bright_black"}


def show(found: Comparison, screen: Console) -> None:
    """Print a comparison."""
    screen.print(f"A: {printable(found.first)}")
    screen.print(f"B: {printable(found.second)}")
    screen.print()
    screen.print(_scores(found))
    screen.print(_mcnemar(found))
    if found.changed:
        screen.print()
        screen.print(_changed(found))


def _scores(found: Comparison) -> Table:
    """Every score of both, and the difference with its interval."""
    shown = plain(f"The same {plural(found.rows, 'row')}", "score", ">A", ">B", ">A − B", ">95 % interval", "better")
    for name, score in found.scores.items():
        gap = score.difference
        known = not math.isnan(gap.low)
        better = {"first": "A", "second": "B", "neither": "–"}[score.better]
        shown.add_row(
            SCORES[name][0],
            _number(score.first),
            _number(score.second),
            f"{gap.value:+.4f}" if known else "",
            f"{gap.low:+.4f} – {gap.high:+.4f}" if known else "undefined",
            Text(better, style=_STYLES[score.better]),
        )
    return shown


def _number(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.4f}"


def _mcnemar(found: Comparison) -> str:
    return (
        f"Right in A alone: {plural(found.only_first, 'row')}; in B alone: {plural(found.only_second, 'row')} "
        f"(McNemar's p = {found.p_value:.3g})."
    )


def _changed(found: Comparison) -> Table:
    """The rows with another answer, the largest change of the loss first."""
    title = f"{plural(len(found.changed), 'row')} with another answer"
    title += f", the {_MOST} with the largest change of the loss" if len(found.changed) > _MOST else ""
    shown = plain(title, "input", "true", "A", "B", ">loss A", ">loss B")
    for row in found.changed[:_MOST]:
        shown.add_row(
            Text(from_the_left(printable(row.name), _NAME), no_wrap=True),
            printable(row.target),
            Text(printable(row.first), style="green" if row.right == "first" else "red"),
            Text(printable(row.second), style="green" if row.right == "second" else "red"),
            f"{row.first_loss:.3f}",
            f"{row.second_loss:.3f}",
        )
    return shown
