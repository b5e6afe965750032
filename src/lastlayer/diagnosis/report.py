"""What the doctor says in the end."""

from collections.abc import Iterable, Iterator
from typing import Any

from lastlayer import messages
from lastlayer.diagnosis.finding import Finding
from lastlayer.diagnosis.folding import fold
from lastlayer.diagnosis.registry import chosen
from lastlayer.diagnosis.said import say
from lastlayer.errors import OptionError
from lastlayer.messages import Message

HEALTHY, FINDINGS, CANNOT_TELL = "healthy", "findings", "cannot tell"
Selection = str | Iterable[str] | None


class Report:
    """Findings, worst first, with what they explain folded under them; print it, loop over it, or ask its verdict.

    Args:
        findings: What the rules found.
        reasons: Why something could not be looked at; a report with reasons is never healthy.
        looked: What was looked at, in one sentence.
        select: Keep only these codes or beginnings of codes.
        ignore: Drop these.
        language: Of the printed report.

    Attributes:
        findings: In order.
        reasons: Why something could not be looked at.
        looked_at_nothing: Source files that have nothing to do with a last layer: neither healthy nor a failure.
    """

    def __init__(
        self,
        findings: Iterable[Finding] = (),
        reasons: Iterable[Message] = (),
        looked: Message | None = None,
        *,
        select: Selection = None,
        ignore: Selection = None,
        language: str = "en",
    ) -> None:
        messages.text("doctor.healthy", language)  # an unknown language is said before any work is done
        self._kept = chosen(select, ignore)
        self.language = language
        self.fill(findings, reasons, looked)

    def fill(self, findings: Iterable[Finding], reasons: Iterable[Message], looked: Message | None) -> None:
        """Take what was found in the end, in place of what was there."""
        self.findings = [finding for finding in fold(findings) if finding.code in self._kept]
        self.reasons = list(dict.fromkeys(reasons))
        self.looked = looked
        self.looked_at_nothing = self.reasons == [reason("nothing")]

    @property
    def notes(self) -> list[Finding]:
        """What is told without being blamed."""
        return [finding for finding in self.findings if finding.severity == "info"]

    @property
    def codes(self) -> list[str]:
        """The codes of the findings, in their order."""
        return [finding.code for finding in self.findings]

    @property
    def verdict(self) -> str:
        """Say "findings" where there is an error or a warning, else "cannot tell" or "healthy"."""
        if any(finding.severity != "info" for finding in self.findings):
            return FINDINGS
        return CANNOT_TELL if self.reasons else HEALTHY

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    def __getitem__(self, place: int) -> Finding:
        return self.findings[place]

    def __bool__(self) -> bool:
        raise OptionError(
            'a report is neither true nor false: "cannot tell" is no "healthy". Compare report.verdict with '
            '"healthy", "findings" or "cannot tell", or loop over its findings.'
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON's types only."""
        return {
            "verdict": self.verdict,
            "looked": None if self.looked is None else self.looked.by_language(),
            "findings": [finding.to_dict() for finding in self.findings],
            "reasons": [reason.by_language() for reason in self.reasons],
        }

    def text(self, language: str | None = None, width: int = 100) -> str:
        """The report in words."""
        from lastlayer.diagnosis.text import lines

        return "\n".join("".join(piece for piece, _ in line) for line in lines(self, language or self.language, width))

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        # An interactive session shows the report itself, as it would a printed one.
        return self.text()


def verdict_text(report: Report, language: str) -> str:
    """The verdict in words."""
    names = {HEALTHY: "doctor.healthy", FINDINGS: "doctor.findings", CANNOT_TELL: "doctor.cannot_tell"}
    blamed = sum(finding.severity != "info" for finding in report.findings)
    return messages.text(names[report.verdict], language, count=blamed)


def reason(id: str, **values: object) -> Message:
    """Why something could not be looked at."""
    return say(f"doctor.reason.{id}", **values)
