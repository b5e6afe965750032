"""Every check, by what it costs."""

from collections.abc import Callable, Iterator

from lastlayer.classifier.data.checks import balance, cells, copies, groups, labels, leaks, near, pictures, shift
from lastlayer.classifier.data.checks.finding import SEVERITIES, Finding
from lastlayer.classifier.data.checks.subject import Subject

Check = Callable[[Subject], Iterator[Finding]]

# What a training can afford to look at each time.
CHEAP: tuple[Check, ...] = (
    pictures.unreadable,
    copies.across_splits,
    copies.conflicts,
    copies.within,
    groups.leakage,
    labels.unseen,
    labels.spelling,
    labels.scripts,
    labels.several_in_one,
    balance.few_rows,
    balance.imbalance,
    cells.columns,
    pictures.odd,
)
# What takes seconds: pairs of rows, a small model per column.
THOROUGH: tuple[Check, ...] = (near.pictures, near.texts, leaks.columns, groups.suspects, shift.between_splits)


def found(subject: Subject, checks: tuple[Check, ...]) -> list[Finding]:
    """All that some checks find, worst first, in the order of the checks."""
    everything = [finding for check in checks for finding in check(subject)]
    return sorted(everything, key=lambda finding: SEVERITIES.index(finding.severity))
