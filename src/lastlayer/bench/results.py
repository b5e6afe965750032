"""What a run found, as data: to JSON and back."""

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from lastlayer.bench._judge import Judgement
from lastlayer.bench.cases import Case
from lastlayer.bench.timing import Seconds
from lastlayer.errors import DataError, DataNotFoundError

FORMAT = 1

Status = Literal["measured", "wrong", "not measured"]


@dataclass
class Entry:
    """One contender in one case. Only a contender that is right has a time."""

    name: str
    status: Status
    why: str = ""  # of the other two
    errors: Judgement | None = None
    seconds: Seconds | None = None
    extra_bytes: int | None = None  # peak memory beyond the inputs, results included

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Self:
        """The other way."""
        errors, seconds = found.pop("errors"), found.pop("seconds")
        return cls(
            **found,
            errors=None if errors is None else Judgement(**errors),
            seconds=None if seconds is None else Seconds(**seconds),
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            **asdict(self),
            "errors": None if self.errors is None else self.errors._asdict(),
            "seconds": None if self.seconds is None else self.seconds._asdict(),
        }


@dataclass
class CaseResult:
    """Everybody in one case, beside the limit."""

    case: Case
    limit: str = ""  # copy or products
    limit_seconds: Seconds | None = None
    entries: list[Entry] = field(default_factory=list)
    refused: str = ""  # why the case was not run

    def seconds(self, name: str) -> float | None:
        """Median of a contender; None if it has no time."""
        entry = self.entry(name)
        return None if entry is None or entry.seconds is None else entry.seconds.median

    def entry(self, name: str) -> Entry | None:
        """One contender."""
        return next((entry for entry in self.entries if entry.name == name), None)

    def share(self, entry: Entry) -> float | None:
        """Part of the limit that a contender reaches: 1 is as fast as the copy or the products alone."""
        if entry.seconds is None or self.limit_seconds is None:
            return None
        return self.limit_seconds.median / entry.seconds.median

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "case": self.case.to_dict(),
            "limit": self.limit,
            "limit_seconds": None if self.limit_seconds is None else self.limit_seconds._asdict(),
            "entries": [entry.to_dict() for entry in self.entries],
            "refused": self.refused,
        }

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Self:
        """The other way."""
        limit = found["limit_seconds"]
        return cls(
            Case.from_dict(found["case"]),
            found["limit"],
            None if limit is None else Seconds(**limit),
            [Entry.from_dict(dict(entry)) for entry in found["entries"]],
            found["refused"],
        )


@dataclass
class Report:
    """A run on a machine."""

    machine: dict[str, str | int]
    device: str
    results: list[CaseResult]
    date: str = field(default_factory=lambda: time.strftime("%Y-%m-%d"))

    def result(self, name: str) -> CaseResult | None:
        """One case."""
        return next((result for result in self.results if result.case.name == name), None)

    def wrong(self) -> list[tuple[Case, Entry]]:
        """Contenders of ours that are wrong."""
        return [
            (result.case, entry)
            for result in self.results
            for entry in result.entries
            if entry.status == "wrong" and entry.name.startswith("ours")
        ]

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "format": FORMAT,
            "date": self.date,
            "machine": self.machine,
            "device": self.device,
            "results": [result.to_dict() for result in self.results],
        }

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Self:
        """The other way."""
        if found.get("format") != FORMAT:
            raise DataError(f"results of format {found.get('format')!r}; this version reads format {FORMAT}.")
        results = [CaseResult.from_dict(result) for result in found["results"]]
        return cls(found["machine"], found["device"], results, found["date"])

    def save(self, path: Path) -> None:
        """Write a JSON file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.to_dict(), indent=1, allow_nan=False, default=str) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a JSON file.

        Raises:
            DataNotFoundError: there is no such file.
            DataError: it holds something else.
        """
        if not path.is_file():
            raise DataNotFoundError(f"there is no file {str(path)!r}: `lastlayer bench --json FILE` writes one.")
        return cls.from_dict(json.loads(path.read_text(encoding="utf-8")))
