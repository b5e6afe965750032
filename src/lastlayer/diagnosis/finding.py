"""What a rule found: data, with its texts in every language."""

from dataclasses import dataclass, replace
from typing import Any

from lastlayer.diagnosis.registry import CERTAIN, RULES, SEVERITY
from lastlayer.diagnosis.said import say
from lastlayer.messages import Message

_ORDER = {"error": 0, "warning": 1, "info": 2}


@dataclass(frozen=True)
class Evidence:
    """What was seen, and what a right set-up shows."""

    observed: Message
    expected: Message


@dataclass(frozen=True)
class Fix:
    """What to do: in words, for a source file also as a diff; `safe` changes nothing but the mistake."""

    text: Message
    diff: str | None = None
    safe: bool = False


@dataclass(frozen=True)
class Location:
    """Where: a file and a line from 1, and the line itself."""

    file: str
    line: int
    code: str = ""
    column: int = 0
    ends: int = 0  # the last line of the statement

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Finding:
    """One mistake.

    Attributes:
        code: "LL001".
        name: "softmax-before-cross-entropy".
        severity: "error", "warning" or "info".
        confidence: "certain", "likely" or "possible".
        message: What is wrong, in one sentence.
        evidence: What was observed, with numbers from the user's own data where there are any, and what was expected.
        why: Why it matters.
        fix: What to do.
        location: The place in a source file, where there is one.
        consequences: Findings that this one explains.
        explain_ref: What to look up: the rule's page.
    """

    code: str
    name: str
    severity: str
    confidence: str
    message: Message
    evidence: Evidence
    why: Message
    fix: Fix
    location: Location | None = None
    consequences: tuple["Finding", ...] = ()
    explain_ref: str = ""

    @property
    def rank(self) -> tuple[int, str]:
        """Errors first."""
        return _ORDER[self.severity], self.code

    def with_consequences(self, consequences: tuple["Finding", ...]) -> "Finding":
        """The same finding with others folded under it."""
        return replace(self, consequences=consequences)

    def to_dict(self) -> dict[str, Any]:
        """JSON's types only."""
        place = self.location
        return {
            "code": self.code,
            "name": self.name,
            "severity": self.severity,
            "confidence": self.confidence,
            "message": self.message.by_language(),
            "evidence": {
                "observed": self.evidence.observed.by_language(),
                "expected": self.evidence.expected.by_language(),
            },
            "why": self.why.by_language(),
            "fix": {
                "text": self.fix.text.by_language(),
                "diff": self.fix.diff,
                "safe": self.fix.safe,
            },
            "location": None if place is None else {"file": place.file, "line": place.line, "code": place.code},
            "consequences": [other.to_dict() for other in self.consequences],
            "explain_ref": self.explain_ref,
        }


def found(
    code: str,
    observed: str | Message = "",
    *,
    confidence: str | None = None,
    severity: str | None = None,
    location: Location | None = None,
    diff: str | None = None,
    fix: str = "",
    **values: Any,
) -> Finding:
    """A finding of rule `code`.

    `observed` and `fix` choose among the rule's texts: "" the plain one, "batch" the text `<code>.observed.batch`.
    """
    rule = RULES[code]
    sure = confidence or rule.confidence
    seen = observed if isinstance(observed, Message) else say(_id(code, "observed", observed), **values)
    title = say(f"{code}.title")
    return Finding(
        code,
        rule.name,
        severity or ("info" if rule.info else SEVERITY[sure]),
        sure,
        say("doctor.message", title=title, seen=seen),
        Evidence(seen, say(f"{code}.expected")),
        say(f"{code}.why"),
        Fix(say(_id(code, "fix", fix), **values), diff, rule.safe and sure == CERTAIN),
        location,
        (),
        f"lastlayer doctor --rule {code}",
    )


def _id(code: str, part: str, variant: str) -> str:
    return f"{code}.{part}.{variant}" if variant else f"{code}.{part}"
