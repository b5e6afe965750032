"""Findings about data, for a terminal."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from lastlayer.classifier.data.checks import SEVERITIES, Finding
from lastlayer.errors import printable
from lastlayer.messages import Message, few, said, text

if TYPE_CHECKING:
    from lastlayer.classifier import Preflight

_STYLE = {"stops": "bold red", "harms": "yellow", "note": "bright_black"}
_NAMES = 6


def heading(found: "Preflight", language: str = "en") -> Iterator[Text]:
    """What was looked at, and how many findings of which severity."""
    line = Text(printable(found.data_name), style="bold")
    if found.rows:
        parts = [Message("findings.part", rows=rows, part=Message(f"part.{part}")) for part, rows in found.rows.items()]
        counts = {"rows": sum(found.rows.values()), "classes": len(found.classes)}
        line.append(f": {text('findings.rows', language, parts=parts, **counts)}", style="not bold")
    yield line
    if not found.findings:
        yield Text(text("findings.none", language), style="green")
        return
    stops, harms, notes = (sum(one.severity == severity for one in found) for severity in SEVERITIES)
    yield Text(text("findings.counts", language, stops=stops, harms=harms, notes=notes))


def tables(found: "Preflight", language: str = "en") -> Iterator[Table]:
    """One table of all findings, worst first."""
    if not found.findings:
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_lines=False)
    table.add_column("")
    table.add_column(text("findings.heading", language), overflow="fold")
    for place, finding in enumerate(found):
        if place:
            table.add_row("", "")
        severity = text(f"findings.{finding.severity}", language)
        table.add_row(Text(severity, style=_STYLE[finding.severity]), _told(finding, language))
    yield table


def _told(finding: Finding, language: str) -> Text:
    shown = Text(finding.id, style="bold")
    shown.append(f"\n{printable(said(finding.what, language))}", style="not bold")
    if finding.rows:
        names = few([printable(name) for name in finding.rows], _NAMES)
        hidden = finding.count - len(finding.rows)
        which = "findings.named_beyond" if hidden > 0 else "findings.named"
        shown.append(f"\n{text(which, language, shown=names, hidden=hidden)}", style="not bold bright_black")
    if finding.fix:
        shown.append(f"\n{text('findings.do', language)} ", style="not bold green")
        shown.append(printable(said(finding.fix, language)), style="not bold")
    shown.append(f"\n{text('findings.training', language)} ", style="not bold cyan")
    shown.append(f"{finding.how.into(language)}.", style="not bold")
    return shown
