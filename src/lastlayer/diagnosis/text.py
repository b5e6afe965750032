"""A report as lines of (text, role) pieces: the command line colours them, a program joins them."""

from textwrap import wrap

from lastlayer import messages
from lastlayer.diagnosis.finding import Finding
from lastlayer.diagnosis.report import Report, verdict_text

Line = list[tuple[str, str]]
_ROLE = {"error": "bad", "warning": "negative", "info": "note"}


def lines(report: Report, language: str = "en", width: int = 100) -> list[Line]:
    """All of it: a block per finding, then what could not be looked at, then the verdict."""
    shown: list[Line] = []
    for finding in report.findings:
        shown += [*_finding(finding, language, width), [("", "")]]
    for reason in report.reasons:
        shown += [[(line, "note")] for line in wrap(reason.into(language), width)]
    verdict = verdict_text(report, language)
    if report.verdict == "healthy" and report.looked is not None:
        verdict = f"{verdict} {report.looked.into(language)}"
    role = {"healthy": "good", "findings": "bad"}.get(report.verdict, "title")
    return [*shown, *([(line, role)] for line in wrap(verdict, width))]


def _finding(finding: Finding, language: str, width: int) -> list[Line]:
    severity = messages.text(f"doctor.{finding.severity}", language)
    confidence = messages.text(f"doctor.{finding.confidence}", language)
    place = f"{finding.location}: " if finding.location else ""
    title = messages.text(f"{finding.code}.title", language)
    head: Line = [
        (place, "title"),
        (f"{finding.code} ", "title"),
        (severity, _ROLE[finding.severity]),
        (f" ({confidence}): ", "note"),
        (title, "title"),
    ]
    body = [head]
    parts = [("observed", finding.evidence.observed), ("expected", finding.evidence.expected), ("why", finding.why)]
    for label, said in [*parts, ("fix", finding.fix.text)]:
        name = messages.text(f"doctor.{label}", language)
        body += _labelled(name, said.into(language), width)
    if finding.fix.diff:
        body += [[(f"      {line}", _diff_role(line))] for line in finding.fix.diff.splitlines()]
    if finding.consequences:
        explained = ", ".join(
            f"{other.code} ({messages.text(f'{other.code}.title', language)})" for other in finding.consequences
        )
        body += _labelled(messages.text("doctor.explains", language), explained, width)
    return body


def _labelled(label: str, text: str, width: int) -> list[Line]:
    first, *rest = wrap(text, max(width - 13, 40)) or [""]
    # Korean letters are two columns wide.
    pad = 11 - sum(2 if ord(letter) > 0x1100 else 1 for letter in label)
    return [[(f"  {label}{' ' * max(pad, 1)}", "note"), (first, "")], *([(" " * 13 + line, "")] for line in rest)]


def _diff_role(line: str) -> str:
    return {"+": "good", "-": "bad"}.get(line[:1], "note")
