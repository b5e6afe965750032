"""Classes with few rows, and what unequal shares mean for the loss."""

import math
from collections import Counter
from collections.abc import Iterator

from lastlayer.classifier.data.checks.finding import Finding
from lastlayer.classifier.data.checks.subject import Subject
from lastlayer.classifier.data.labels import in_order
from lastlayer.classifier.data.rows import Label, examples, plural
from lastlayer.classifier.data.splits import holding
from lastlayer.messages.wording import option

_PARTS = 3  # training, validation, test
_FEW = 10
_UNEQUAL = 10  # times as many rows
_FAR_FROM_EQUAL = 0.9  # prior entropy as a share of ln C


def few_rows(subject: Subject) -> Iterator[Finding]:
    """Classes that are nearly empty, or that are alone."""
    if len(subject.by_label) == 1 and not subject.several:
        yield Finding(
            "one-class",
            "stops",
            f"All rows are {next(iter(subject.by_label))!r}: there is nothing to tell apart.",
            "Add rows of another class, or name another target.",
            "stops",
            "stops: a classifier needs at least two classes",
        )
    different = {label: len({subject.contents[row] for row in rows}) for label, rows in subject.by_label.items()} | {
        folder: 0 for folder in subject.folders if folder not in subject.by_label
    }
    for least, most, severity in ((1, _PARTS, "harms"), (_PARTS, _FEW, "note")):
        few = [label for label in in_order(different) if least <= different[label] < most]
        if few:
            said = [f"{label!r} ({different[label]})" for label in few]
            yield Finding(
                "few-rows-of-a-class",
                "harms" if severity == "harms" else "note",
                f"{plural(len(few), 'class', 'classes')} {'has' if len(few) == 1 else 'have'} fewer than {most} "
                f"different rows: {examples(said, 5)}. "
                + (
                    "So few cannot train, choose and judge."
                    if severity == "harms"
                    else "Scores of so few are uncertain."
                ),
                "Add rows, join each to a near class, or remove it.",
                "kept",
                "kept; at least one row of each trains",
                tuple(name for label in few for name in subject.names(subject.by_label[label])),
                len(few),
            )
    empty = [label for label in in_order(different) if not different[label]]
    if empty:
        yield Finding(
            "empty-class-folder",
            "harms",
            f"{plural(len(empty), 'class folder')} {'holds' if len(empty) == 1 else 'hold'} no images: "
            f"{examples([repr(label) for label in empty], 5)}.",
            "Add images, or remove the folder.",
            "left out",
            "no class of the model",
            tuple(map(str, empty)),
        )


def imbalance(subject: Subject) -> Iterator[Finding]:
    """Shares of the classes that are far from equal."""
    training = [label for label, part in zip(subject.labels, subject.part, strict=True) if part in ("train", "")]
    counts = holding(training)
    if subject.several:
        yield from _of_labels(counts, len(training))
        return
    if len(counts) < 2:
        return
    (largest, most), (smallest, least) = counts.most_common()[0], counts.most_common()[-1]
    total = len(training)
    entropy = -sum(count / total * math.log(count / total) for count in counts.values())
    equal = math.log(len(counts))
    if most < _UNEQUAL * least and entropy >= _FAR_FROM_EQUAL * equal:
        return
    yield Finding(
        "class-imbalance",
        "note",
        f"{largest!r} has {most:,} of {total:,} training rows, {smallest!r} {least:,}. A model that knows nothing but "
        f"these shares has a log-loss of {entropy:.3f} nats (the prior entropy; ln C is {equal:.3f}) and an accuracy "
        f"of {most / total:.3f}.",
        "Compare with these numbers, and look at balanced accuracy. Where mistakes on a rare class cost more, say "
        f"what they cost: {option('cost')}.",
        "kept",
        "kept: the loss counts every row once",
        count=len(counts),
        numbers={
            "prior_entropy": entropy, "ln_classes": equal, "majority_accuracy": most / total, "ratio": most / least
        },
    )  # fmt: skip


def _of_labels(counts: Counter[Label], rows: int) -> Iterator[Finding]:
    """What the frequencies of labels mean for the loss of a row and label."""
    if not counts:
        return
    (often, most), (rarely, least) = counts.most_common()[0], counts.most_common()[-1]
    if most < _UNEQUAL * least:
        return
    shares = [count / rows for count in counts.values()]
    entropy = sum(-share * math.log(share) - (1 - share) * math.log1p(-share) for share in shares if share < 1)
    entropy /= len(shares)
    yield Finding(
        "class-imbalance",
        "note",
        f"Label {often!r} holds for {most:,} of {rows:,} training rows, {rarely!r} for {least:,}. A model that knows "
        f"nothing but these frequencies has a log-loss of {entropy:.3f} nats per row and label (the prior entropy; "
        f'ln 2 is {math.log(2):.3f}), and answers "no" to the rare labels.',
        "Compare with this number, and look at each label's average precision. Choose thresholds per label by what "
        "mistakes cost.",
        "kept",
        "kept: the loss counts every row and label once",
        count=len(counts),
        numbers={"prior_entropy": entropy, "ln_classes": math.log(2), "ratio": most / least},
    )
