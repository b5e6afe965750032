"""Pictures that cannot be read, and pictures unlike the others."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from lastlayer.classifier.data.checks.finding import Finding
from lastlayer.classifier.data.checks.subject import Subject
from lastlayer.messages import Message, few

_MUCH = 4.0  # times smaller than the median
_LONG = 4.0  # longer side by shorter side
_RARE = 0.2  # share of pictures up to which a mode is odd
_OTHER_PLACES = ("in no class folder", "which is no split")  # how `images` names what stands outside


def unreadable(subject: Subject) -> Iterator[Finding]:
    """Files that are corrupt, empty or truncated, and pictures of no class."""
    outside = [each for each in subject.rows.left_out if each.reason.endswith(_OTHER_PLACES)]
    broken = [each for each in subject.rows.left_out if not each.reason.endswith(_OTHER_PLACES)]
    if subject.rows.kind != "image":
        return
    if broken:
        strict = subject.config.strict
        named = [Message("unreadable-image.one", name=each.name, reason=each.reason) for each in broken]
        yield Finding(
            "unreadable-image",
            "stops" if strict else "harms",
            Message("unreadable-image.what", images=len(broken), shown=few(named)),
            Message("unreadable-image.fix"),
            "stops" if strict else "left out",
            Message("finding.stops" if strict else "finding.left_out"),
            tuple(each.name for each in broken),
            numbers={"reasons": {each.name: each.reason for each in broken[:1000]}},
        )
    if outside:
        yield Finding(
            "outside-the-classes",
            "note",
            Message("outside-the-classes.what", images=len(outside), shown=few([each.name for each in outside])),
            Message("outside-the-classes.fix"),
            "left out",
            Message("outside-the-classes.how"),
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
        parts = [Message("odd-size.small", images=len(small), pixels=middle)] if small else []
        parts += [Message("odd-size.thin", images=len(thin))] if thin else []
        what = parts[0] if len(parts) == 1 else Message("odd-size.both", one=parts[0], other=parts[1])
        rows = sorted({*small, *thin})
        shown = [f"{subject.rows.names[row]} {subject.seen[row].size[0]}×{subject.seen[row].size[1]}" for row in rows]
        yield Finding(
            "odd-size",
            "note",
            Message("odd-size.what", what=what, shown=few(shown)),
            Message("odd-size.fix"),
            "kept",
            Message("odd-size.how"),
            subject.names(rows),
        )
    modes = Counter(one.mode for one in subject.seen)
    rare = {mode for mode, count in modes.items() if count <= _RARE * len(subject.seen)}
    if rare and len(modes) > 1:
        rows = [row for row, one in enumerate(subject.seen) if one.mode in rare]
        counts = [f"{count:,} {mode}" for mode, count in modes.most_common()]
        yield Finding(
            "odd-mode",
            "note",
            Message("odd-mode.what", modes=counts, shown=few(subject.names(rows))),
            Message("odd-mode.fix"),
            "kept",
            Message("odd-mode.how"),
            subject.names(rows),
        )
