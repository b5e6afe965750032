"""Findings about data, for a terminal."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from lastlayer.classifier.data.checks import SEVERITIES, Finding
from lastlayer.classifier.data.rows import examples, plural
from lastlayer.errors import printable

if TYPE_CHECKING:
    from lastlayer.classifier import Preflight

_STYLE = {"stops": "bold red", "harms": "yellow", "note": "bright_black"}
_NAMES = 6


def heading(found: "Preflight") -> Iterator[Text]:
    """What was looked at, and how many findings of which severity."""
    line = Text(printable(found.data_name), style="bold")
    if found.rows:
        said = ", ".join(f"{count:,} {part}" for part, count in found.rows.items())
        line.append(f": {plural(sum(found.rows.values()), 'row')} ({said}), ", style="not bold")
        line.append(plural(len(found.classes), "class", "classes"), style="not bold")
    yield line
    counts = {severity: sum(one.severity == severity for one in found) for severity in SEVERITIES}
    if not found.findings:
        yield Text("Nothing found.", style="green")
        return
    yield Text(
        f"{counts['stops']} that {'stops' if counts['stops'] == 1 else 'stop'} training, {counts['harms']} that "
        f"{'harms' if counts['harms'] == 1 else 'harm'}, {counts['note']} worth knowing."
    )


def tables(found: "Preflight") -> Iterator[Table]:
    """One table of all findings, worst first."""
    if not found.findings:
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_lines=False)
    table.add_column("")
    table.add_column("finding", overflow="fold")
    for place, finding in enumerate(found):
        if place:
            table.add_row("", "")
        table.add_row(Text(finding.severity, style=_STYLE[finding.severity]), _told(finding))
    yield table


def _told(finding: Finding) -> Text:
    text = Text(finding.id, style="bold")
    text.append(f"\n{printable(finding.what)}", style="not bold")
    if finding.rows:
        rows = examples([printable(name) for name in finding.rows], _NAMES)
        hidden = finding.count - len(finding.rows)
        text.append(f"\nRows: {rows}{f' (and {hidden:,} beyond)' if hidden > 0 else ''}", style="not bold bright_black")
    if finding.fix:
        text.append("\nDo: ", style="not bold green")
        text.append(printable(finding.fix), style="not bold")
    text.append("\nTraining: ", style="not bold cyan")
    text.append(f"{finding.how}.", style="not bold")
    return text
