"""Rows that are equal: across splits, with different classes, within a split."""

from collections.abc import Iterator

from lastlayer.classifier.data.checks.finding import Finding
from lastlayer.classifier.data.checks.subject import Subject
from lastlayer.classifier.data.contents import different
from lastlayer.classifier.data.rows import plural
from lastlayer.messages.wording import option

_ORDER = {"test": 0, "calibration": 1, "validation": 2, "train": 3}  # who keeps a row that stands in several splits
_MANY = 0.05  # share of contents with several classes from which the question itself looks like another


def across_splits(subject: Subject) -> Iterator[Finding]:
    """Equal rows on both sides of a split that the source has."""
    if not subject.is_split:
        return
    pairs = []
    for rows in subject.copies:
        judge = min(rows, key=lambda row: _ORDER[subject.part[row]])
        pairs += [(row, judge) for row in rows if subject.part[row] != subject.part[judge]]
    if pairs:
        shown = [name for pair in pairs for name in subject.names(pair)]
        yield Finding(
            "copies-across-splits",
            "harms",
            f"{plural(len(pairs), 'row')} of training or validation also stand in a split that judges: {shown[0]} "
            f"is {shown[1]}.",
            "Remove them from training: scores on rows that were trained on say nothing.",
            "left out",
            "left out of what trains; the row that judges is kept",
            tuple(dict.fromkeys(shown)),
            len(pairs),
        )


def conflicts(subject: Subject) -> Iterator[Finding]:
    """Equal rows with different classes; many of them are a question with several answers."""
    labels = subject.labels
    groups = [rows for rows in subject.copies if len({labels[row] for row in rows}) > 1]
    if not groups:
        return
    first = groups[0]
    other = next(row for row in first if labels[row] != labels[first[0]])
    shown = f"{subject.rows.names[first[0]]} ({labels[first[0]]}) and {subject.rows.names[other]} ({labels[other]})"
    thing = "pictures" if subject.rows.kind == "image" else "features"
    yield Finding(
        "conflicting-labels",
        "harms",
        f"{plural(sum(map(len, groups)), 'row')} in {plural(len(groups), 'group')} of equal {thing} have different "
        f"classes, such as {shown}. No model can get them all right.",
        "Decide which class is right, and remove the others.",
        "kept",
        "kept; without a given split all of them train, and none judges",
        tuple(name for rows in groups for name in subject.names(rows)),
    )
    contents = different(subject.contents)
    if not subject.several and len(groups) >= max(3, _MANY * contents):
        where = "folders" if subject.rows.kind == "image" else "classes"
        yield Finding(
            "looks-multi-label",
            "harms",
            f"{plural(len(groups), 'content')} of {contents:,} stand in several class {where}: this looks like rows "
            "with several labels, not with one class each.",
            f"If a row can have several labels, give each once, with all its labels in one cell and "
            f"{option('label_separator', '|')}"
            + (f" (pictures: a table of paths, with {option('image')})." if subject.rows.kind == "image" else "."),
            "kept",
            "kept as rows with one class each",
            tuple(name for rows in groups for name in subject.names(rows)),
            len(groups),
        )


def within(subject: Subject) -> Iterator[Finding]:
    """Equal rows with one class: harmless where they stand on one side, and worth knowing."""
    labels, more, shown = subject.labels, 0, []
    for rows in subject.copies:
        sides = {subject.part[row] for row in rows} if subject.is_split else {""}
        if len(sides) == 1 and len({labels[row] for row in rows}) == 1:
            more += len(rows) - 1
            shown += rows
    if more:
        one, two = subject.names(shown[:2])
        yield Finding(
            "copies",
            "note",
            f"{plural(more, 'row')} of {len(subject.rows):,} repeat another with the same class: {two} is {one}.",
            "Remove the copies, unless each stands for an event of its own.",
            "kept",
            "kept; equal rows stand on one side of the split",
            subject.names(shown),
            more,
        )
