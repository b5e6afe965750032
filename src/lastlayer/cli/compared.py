"""Two runs side by side, for a terminal."""

import math

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lastlayer.classifier.evaluation import Comparison
from lastlayer.cli.scores import from_the_left
from lastlayer.cli.tables import plain
from lastlayer.errors import printable
from lastlayer.messages import text

_MOST = 10
_NAME = 28
_STYLES = {"first": "green", "second": "red", "neither": "bright_black"}


def show(found: Comparison, screen: Console, language: str = "en") -> None:
    """Print a comparison."""
    screen.print(f"A: {printable(found.first)}")
    screen.print(f"B: {printable(found.second)}")
    screen.print()
    screen.print(_scores(found, language))
    values = {"first": found.only_first, "second": found.only_second, "p": found.p_value}
    screen.print(text("compared.mcnemar", language, **values))
    if found.changed:
        screen.print()
        screen.print(_changed(found, language))


def _scores(found: Comparison, language: str) -> Table:
    """Every score of both, and the difference with its interval."""
    score_, interval = (text(f"scores.head.{name}", language) for name in ("score", "interval"))
    undefined = text("report.undefined", language)
    title, better_ = text("compared.same", language, rows=found.rows), text("compared.better", language)
    shown = plain(title, score_, ">A", ">B", ">A − B", f">{interval}", better_)
    for name, score in found.scores.items():
        gap = score.difference
        known = not math.isnan(gap.low)
        better = {"first": "A", "second": "B", "neither": "–"}[score.better]
        shown.add_row(
            text(f"score.{name}", language),
            *(undefined if math.isnan(value) else f"{value:.4f}" for value in (score.first, score.second)),
            f"{gap.value:+.4f}" if known else "",
            f"{gap.low:+.4f} – {gap.high:+.4f}" if known else undefined,
            Text(better, style=_STYLES[score.better]),
        )
    return shown


def _changed(found: Comparison, language: str) -> Table:
    """The rows with another answer, the largest change of the loss first."""
    title = text("compared.changed", language, rows=len(found.changed))
    if len(found.changed) > _MOST:
        title = text("compared.most", language, rows=len(found.changed), most=_MOST)
    losses = [f">{text('compared.loss', language, run=run)}" for run in "AB"]
    shown = plain(title, *(text(f"evaluated.{name}", language) for name in ("input", "true")), "A", "B", *losses)
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
