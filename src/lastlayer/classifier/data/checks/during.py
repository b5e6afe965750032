"""The checks that a training makes: what was found and decided is said, kept, and under --strict refused."""

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import TypeVar

from lastlayer.classifier.config import Config
from lastlayer.classifier.data.checks.all_checks import CHEAP, found
from lastlayer.classifier.data.checks.finding import Finding
from lastlayer.classifier.data.checks.subject import Subject
from lastlayer.classifier.data.images import Seen
from lastlayer.classifier.data.rows import Rows
from lastlayer.classifier.data.splits import Split
from lastlayer.classifier.journal import Journal
from lastlayer.errors import DataError
from lastlayer.messages import Message
from lastlayer.messages.wording import option

# Reading and splitting have said these already.
_SAID = ("unreadable-image", "copies-across-splits", "conflicting-labels", "group-leakage", "infinite-cells")

Value = TypeVar("Value")


def places_of(rows: Rows, kept: Rows) -> list[int]:
    """Where the kept rows, which are in the same order, stand among all."""
    left, places = Counter(each.name for each in kept.left_out), []
    left.subtract(each.name for each in rows.left_out)
    for row, name in enumerate(rows.names):
        if left[name] > 0:
            left[name] -= 1
        else:
            places.append(row)
    return places


def of_kept(rows: Rows, kept: Rows, values: Sequence[Value]) -> Sequence[Value]:
    """What belongs to the kept rows, of what belongs to all."""
    return values if kept is rows else [values[row] for row in places_of(rows, kept)]


def parts_of(rows: Rows, kept: Rows, split: Split) -> list[str]:
    """The split of each row; what was left out of a given split keeps the part that it was given."""
    found = list(rows.given or [""] * len(rows))
    places = range(len(rows)) if kept is rows else places_of(rows, kept)
    for part, members in split._asdict().items():
        for row in members:
            found[places[row]] = part
    return found


def look(
    rows: Rows,
    contents: Sequence[Hashable],
    config: Config,
    kept: Rows,
    split: Split,
    seen: Sequence[Seen],
    folders: Sequence[str],
    journal: Journal,
) -> list[Finding]:
    """Run the cheap checks on rows that are split; `kept` are those that the split numbers.

    Raises:
        DataError: something harms, and the settings are strict.
    """
    findings = found(Subject(rows, contents, config, parts_of(rows, kept, split), seen, folders), CHEAP)
    harmful = [finding for finding in findings if finding.harmful]
    if harmful and config.strict:
        more = f" ({len(harmful) - 1} more: lastlayer data names each)" if len(harmful) > 1 else ""
        raise DataError(
            f"{harmful[0].id}: {harmful[0].what} {harmful[0].fix} Leave {option('strict', True)} out to go on with "
            f"it{more}."
        )
    for finding in harmful:
        if finding.id not in _SAID:
            journal.say(Message("finding.journal", finding=finding.id, what=finding.what, fix=finding.fix))
    return findings
