"""Pictures that cannot be read, and pictures unlike the others."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from lastlayer.classifier.data.checks.finding import Finding
from lastlayer.classifier.data.checks.subject import Subject
from lastlayer.classifier.data.rows import examples, plural

_MUCH = 4.0  # times smaller than the median
_LONG = 4.0  # longer side by shorter side
_RARE = 0.2  # share of pictures up to which a mode is odd
_OTHER_PLACES = ("in no class folder", "which is no split")  # how `images` names what stands outside


def unreadable(subject: Subject) -> Iterator[Finding]:
    """Files that are corrupt, empty or truncated, and pictures of no class."""
    broken = [each for each in subject.rows.left_out if not each.reason.endswith(_OTHER_PLACES)]
    outside = [each for each in subject.rows.left_out if each.reason.endswith(_OTHER_PLACES)]
    if subject.rows.kind != "image":
        return
    if broken:
        strict = subject.config.strict
        yield Finding(
            "unreadable-image",
            "stops" if strict else "harms",
            f"{plural(len(broken), 'image')} cannot be read: "
            f"{examples([f'{each.name} ({each.reason})' for each in broken])}.",
            "Copy them again, or remove them.",
            "stops" if strict else "left out",
            "stops" if strict else "left out",
            tuple(each.name for each in broken),
            numbers={"reasons": {each.name: each.reason for each in broken[:1000]}},
        )
    if outside:
        yield Finding(
            "outside-the-classes",
            "note",
            f"{plural(len(outside), 'image')} stand in no class folder of a split: "
            f"{examples([each.name for each in outside])}.",
            "Move them to a class folder, or away.",
            "left out",
            "left out: nobody says which class they have",
            tuple(each.name for each in outside),
        )


def odd(subject: Subject) -> Iterator[Finding]:
    """Sizes, shapes and modes that stand out: often another source, a scan, an icon."""
    if subject.rows.kind != "image" or not subject.seen:
        return
    short = np.array([min(one.size) for one in subject.seen], float)
    long = np.array([max(one.size) for one in subject.seen], float)
    middle = float(np.median(short))
    small = [int(row) for row in np.flatnonzero(short * _MUCH < middle)]
    thin = [int(row) for row in np.flatnonzero((long > _LONG * short) & (np.median(long / short) < 2))]
    if small or thin:
        parts = [f"{plural(len(small), 'image')} much smaller than most ({middle:.0f} pixels)"] if small else []
        parts += [f"{plural(len(thin), 'image')} more than four times as long as wide"] if thin else []
        rows = sorted({*small, *thin})
        shown = [f"{subject.rows.names[row]} {subject.seen[row].size[0]}×{subject.seen[row].size[1]}" for row in rows]
        yield Finding(
            "odd-size",
            "note",
            f"{' and '.join(parts)}: {examples(shown)}.",
            "Look whether they belong here.",
            "kept",
            "kept: brought to one size, the rest of the longer side cropped",
            subject.names(rows),
        )
    modes = Counter(one.mode for one in subject.seen)
    rare = {mode for mode, count in modes.items() if count <= _RARE * len(subject.seen)}
    if rare and len(modes) > 1:
        rows = [row for row, one in enumerate(subject.seen) if one.mode in rare]
        said = ", ".join(f"{count:,} {mode}" for mode, count in modes.most_common())
        yield Finding(
            "odd-mode",
            "note",
            f"Images of several modes ({said}): {examples(subject.names(rows))}.",
            "Look whether one class has most of them.",
            "kept",
            "kept: all are brought to grey or to colour, what is transparent to white",
            subject.names(rows),
        )
