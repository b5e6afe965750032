"""Rows that belong together and stand on both sides of the split."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator

from lastlayer.classifier.data.checks.finding import Finding
from lastlayer.classifier.data.checks.subject import Subject
from lastlayer.messages import Message, few
from lastlayer.messages.wording import option

_NAMES = re.compile(
    r"(^|[_\W])(patient|subject|user|customer|client|person|speaker|author|session|visit|family|household|device|"
    r"camera|site|hospital|school|store|group|animal|donor|participant|case|account)([_\W]?(u?u?id|no|nr|number|name))?$",
    re.IGNORECASE,
)
_LEAST_GROUPS, _MOST_OF_ROWS = 5, 0.7


def leakage(subject: Subject) -> Iterator[Finding]:
    """Groups that a given split has on both sides."""
    groups = subject.rows.groups
    if groups is None or not subject.is_split:
        return
    sides: dict[str, set[str]] = defaultdict(set)
    for group, part in zip(groups, subject.rows.given or [], strict=True):
        sides[group].add(part)
    torn = {group for group, parts in sides.items() if len(parts) > 1}
    if torn:
        rows = [row for row, group in enumerate(groups) if group in torn]
        yield Finding(
            "group-leakage",
            "harms",
            Message(
                "group-leakage.what",
                groups=len(torn),
                of=len(sides),
                rows=len(rows),
                shown=few(sorted(group[1:] for group in torn)),
            ),
            Message("group-leakage.fix"),
            "left out",
            Message("group-leakage.how"),
            subject.names(rows),
            len(torn),
        )


def suspects(subject: Subject) -> Iterator[Finding]:
    """Columns that look like the name of a group, where no group was named."""
    if subject.config.group is not None or subject.rows.kind == "image":
        return
    for name in subject.columns:
        if not _NAMES.search(name):
            continue
        cells = [cell for cell in subject.words(name) if cell is not None]
        counts = Counter(cells)
        if _LEAST_GROUPS <= len(counts) <= _MOST_OF_ROWS * len(cells):
            yield Finding(
                "possible-groups",
                "note",
                Message("possible-groups.what", name=name, values=len(counts), rows=len(cells)),
                Message("possible-groups.fix", option=option("group", name)),
                "kept",
                Message("possible-groups.how"),
                count=len(counts),
                numbers={"column": name},
            )
