"""Root causes first: what a finding explains is folded under it."""

from collections.abc import Iterable

from lastlayer.diagnosis.finding import Finding
from lastlayer.diagnosis.registry import CERTAIN, LIKELY

# cause: what it explains
EXPLAINS = {
    "LL001": ("LL504", "LL506"),
    "LL002": ("LL506",),
    "LL003": ("LL504", "LL506", "LL303"),
    "LL005": ("LL110", "LL001", "LL108"),
    "LL007": ("LL001", "LL010", "LL101", "LL506"),
    "LL008": ("LL506",),
    "LL010": ("LL506",),
    "LL104": ("LL102",),
    "LL105": ("LL101",),
    "LL106": ("LL101",),
    "LL111": ("LL110",),
    "LL112": ("LL102", "LL103"),
    "LL202": ("LL001", "LL003"),
    "LL203": ("LL101", "LL205"),
    "LL205": ("LL101",),
    "LL208": ("LL102",),
    "LL304": ("LL303",),
    "LL402": ("LL003",),
    "LL501": ("LL506",),
    "LL803": ("LL101", "LL102", "LL207"),
}
_SURE = {CERTAIN: 0, LIKELY: 1}


def fold(findings: Iterable[Finding]) -> list[Finding]:
    """One finding per rule and place, causes before consequences, errors before warnings."""
    best: dict[tuple[str, str], Finding] = {}
    for finding in findings:
        key = finding.code, str(finding.location or "")
        if key not in best or _surer(finding, best[key]):
            best[key] = finding
    kept = list(best.values())
    folded = {
        id(other)
        for cause in kept
        for other in kept
        if other.code in EXPLAINS.get(cause.code, ()) and _one_place(cause, other)
    }
    roots = [
        cause.with_consequences(
            tuple(other for other in kept if other.code in EXPLAINS.get(cause.code, ()) and _one_place(cause, other))
        )
        for cause in kept
        if id(cause) not in folded
    ]
    return sorted(roots, key=lambda finding: finding.rank)


def _surer(one: Finding, other: Finding) -> bool:
    return _SURE.get(one.confidence, 2) < _SURE.get(other.confidence, 2)


def _one_place(one: Finding, other: Finding) -> bool:
    """In a source file a cause explains only what is wrong in the same statement."""
    if one.location is None or other.location is None:
        return True
    return (one.location.file, one.location.line) == (other.location.file, other.location.line)
