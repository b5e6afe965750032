"""Classes with few rows, and what unequal shares mean for the loss."""

import math
from collections import Counter
from collections.abc import Iterator

from lastlayer.classifier.data.checks.finding import Finding
from lastlayer.classifier.data.checks.subject import Subject
from lastlayer.classifier.data.labels import in_order
from lastlayer.classifier.data.rows import Label
from lastlayer.classifier.data.splits import holding
from lastlayer.messages import Message, few
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
            Message("one-class.what", name=next(iter(subject.by_label))),
            Message("one-class.fix"),
            "stops",
            Message("one-class.how"),
        )
    different = {label: len({subject.contents[row] for row in rows}) for label, rows in subject.by_label.items()} | {
        folder: 0 for folder in subject.folders if folder not in subject.by_label
    }
    for least, most, severity in ((1, _PARTS, "harms"), (_PARTS, _FEW, "note")):
        scarce = [label for label in in_order(different) if least <= different[label] < most]
        if scarce:
            said = [Message("finding.named", name=label, count=different[label]) for label in scarce]
            yield Finding(
                "few-rows-of-a-class",
                "harms" if severity == "harms" else "note",
                Message(f"few-rows-of-a-class.{severity}", classes=len(scarce), least=most, shown=few(said, 5)),
                Message("few-rows-of-a-class.fix"),
                "kept",
                Message("few-rows-of-a-class.how"),
                tuple(name for label in scarce for name in subject.names(subject.by_label[label])),
                len(scarce),
            )
    empty = [label for label in in_order(different) if not different[label]]
    if empty:
        yield Finding(
            "empty-class-folder",
            "harms",
            Message("empty-class-folder.what", folders=len(empty), shown=few([repr(label) for label in empty], 5)),
            Message("empty-class-folder.fix"),
            "left out",
            Message("empty-class-folder.how"),
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
        Message(
            "class-imbalance.classes",
            largest=largest,
            most=most,
            smallest=smallest,
            least=least,
            rows=total,
            entropy=entropy,
            equal=equal,
            accuracy=most / total,
        ),
        Message("class-imbalance.classes_fix", option=option("cost")),
        "kept",
        Message("class-imbalance.classes_how"),
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
        Message(
            "class-imbalance.labels",
            often=often,
            most=most,
            rarely=rarely,
            least=least,
            rows=rows,
            entropy=entropy,
            equal=math.log(2),
        ),
        Message("class-imbalance.labels_fix"),
        "kept",
        Message("class-imbalance.labels_how"),
        count=len(counts),
        numbers={"prior_entropy": entropy, "ln_classes": math.log(2), "ratio": most / least},
    )
