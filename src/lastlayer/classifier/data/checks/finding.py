"""What a check found: as data, with the rows that show it."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from lastlayer.messages import Message

Severity = Literal["stops", "harms", "note"]
SEVERITIES: tuple[Severity, ...] = ("stops", "harms", "note")
_KEPT = 1_000  # rows that a finding names; `count` is of all


@dataclass(frozen=True)
class Finding:
    """One thing that is worth knowing before training.

    Attributes:
        id: What kind of finding, such as "copies-across-splits".
        severity: "stops": training refuses it. "harms": training goes on and its model or its scores are worse for
            it. "note": worth knowing.
        what: What was found, in one or two sentences, with numbers; a message, or the text of an error.
        fix: What to do about it, as `what`.
        decision: What training does with it: "stops", "left out" or "kept".
        how: That decision in words.
        rows: Names of rows that show it, at most a thousand.
        count: How many rows (or columns, or classes) it is about.
        numbers: What was measured.
    """

    id: str
    severity: Severity
    what: str
    fix: str
    decision: Literal["stops", "left out", "kept"]
    how: Message
    rows: tuple[str, ...] = ()
    count: int = 0
    numbers: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "count", self.count or len(self.rows))
        object.__setattr__(self, "rows", self.rows[:_KEPT])

    @property
    def harmful(self) -> bool:
        """Whether it stops or harms."""
        return self.severity != "note"

    def to_dict(self) -> dict[str, Any]:
        """JSON's types only."""
        return {**asdict(self), "rows": list(self.rows)}


def names(rows: Iterable[str]) -> tuple[str, ...]:
    """Names of rows in their order, each once."""
    return tuple(dict.fromkeys(rows))
