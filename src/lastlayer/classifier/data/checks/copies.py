"""Rows that are equal: across splits, with different classes, within a split."""

from collections.abc import Iterator

from lastlayer.classifier.data.checks.finding import Finding
from lastlayer.classifier.data.checks.subject import Subject
from lastlayer.classifier.data.contents import different
from lastlayer.messages import Message
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
            Message("copies-across-splits.what", rows=len(pairs), one=shown[0], other=shown[1]),
            Message("copies-across-splits.fix"),
            "left out",
            Message("copies-across-splits.how"),
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
    pair = {"one": subject.rows.names[first[0]], "its": str(labels[first[0]]), "other": subject.rows.names[other]}
    of_images = subject.rows.kind == "image"
    yield Finding(
        "conflicting-labels",
        "harms",
        Message(
            "conflicting-labels.images" if of_images else "conflicting-labels.features",
            rows=sum(map(len, groups)),
            groups=len(groups),
            others=str(labels[other]),
            **pair,
        ),
        Message("conflicting-labels.fix"),
        "kept",
        Message("conflicting-labels.how"),
        tuple(name for rows in groups for name in subject.names(rows)),
    )
    contents = different(subject.contents)
    if not subject.several and len(groups) >= max(3, _MANY * contents):
        label_separator = option("label_separator", "|")
        yield Finding(
            "looks-multi-label",
            "harms",
            Message(f"looks-multi-label.{'folders' if of_images else 'classes'}", contents=len(groups), of=contents),
            Message("looks-multi-label.fix_images", option=label_separator, image=option("image"))
            if of_images
            else Message("looks-multi-label.fix", option=label_separator),
            "kept",
            Message("looks-multi-label.how"),
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
            Message("copies.what", rows=more, of=len(subject.rows), one=two, other=one),
            Message("copies.fix"),
            "kept",
            Message("copies.how"),
            subject.names(shown),
            more,
        )
