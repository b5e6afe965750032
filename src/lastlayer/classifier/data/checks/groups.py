"""Rows that belong together and stand on both sides of the split."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator

from lastlayer.classifier.data.checks.finding import Finding
from lastlayer.classifier.data.checks.subject import Subject
from lastlayer.classifier.data.rows import examples, plural
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
            f"{plural(len(torn), 'group')} of {len(sides):,} {'stands' if len(torn) == 1 else 'stand'} in several "
            f"splits ({plural(len(rows), 'row')}): {examples(sorted(group[1:] for group in torn))}. Scores on rows of "
            "a group that was trained on flatter.",
            "Split by group, or let training split: give it one table or one folder.",
            "left out",
            "rows of such a group are left out of what trains; those that judge are kept",
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
                f"Column {name!r} has {len(counts):,} values in {plural(len(cells), 'row')}: rows with the same one "
                "may belong together.",
                f"If the model will be used on others, keep them on one side of the split: {option('group', name)}.",
                "kept",
                "a column like any other",
                count=len(counts),
                numbers={"column": name},
            )
