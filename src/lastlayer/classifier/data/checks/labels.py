"""Labels that mean the same and are spelt differently, that hold several classes, or that a split lacks."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from lastlayer.classifier.data.checks.finding import Finding
from lastlayer.classifier.data.checks.subject import PARTS, Subject
from lastlayer.classifier.data.labels import in_order
from lastlayer.classifier.data.rows import Label
from lastlayer.messages import Message, few
from lastlayer.messages.wording import option

_SEPARATORS = "|;,/+&"
_RARE = 0.25  # share of rows up to which a spelling looks like a slip of the other


def plain(label: Label) -> str:
    r"""A label without what the eye does not see: case, spaces, forms of one letter.

    >>> plain("Cat"), plain(" cat\u200b"), plain("Ｃａｔ")
    ('cat', 'cat', 'cat')
    """
    letters = unicodedata.normalize("NFKC", str(label)).casefold()
    return " ".join("".join(letter for letter in letters if unicodedata.category(letter) != "Cf").split())


def spelling(subject: Subject) -> Iterator[Finding]:
    """Classes that differ only in case, in spaces or in the form of a letter."""
    same: dict[str, list[Label]] = defaultdict(list)
    for label in in_order(subject.by_label):
        if isinstance(label, str):
            same[plain(label)].append(label)
    slips: list[tuple[Label, Label]] = []
    pairs: list[tuple[Label, Label]] = []
    for spellings in same.values():
        if len(spellings) < 2:
            continue
        common, *others = sorted(spellings, key=lambda label: -len(subject.by_label[label]))
        most = len(subject.by_label[common])
        for other in others:
            unseen = str(other).casefold() == str(common).casefold()
            slip = not unseen or len(subject.by_label[other]) <= _RARE * most
            (slips if slip else pairs).append((common, other))
    for found, severity, how in ((slips, "harms", "slips"), (pairs, "note", "case")):
        if not found:
            continue
        common, other = found[0]
        its_rows, other_rows = (len(subject.by_label[label]) for label in (common, other))
        yield Finding(
            "label-spelling",
            "harms" if severity == "harms" else "note",
            Message(
                f"label-spelling.{how}", pairs=len(found), one=common, ones=its_rows, other=other, others=other_rows
            ),
            Message(
                "label-spelling.fix",
                others=few([repr(other) for _, other in found]),
                ones=few([repr(one) for one, _ in found]),
            ),
            "kept",
            Message("label-spelling.how"),
            tuple(name for _, other in found for name in subject.names(subject.by_label[other])),
            len(found),
        )


def scripts(subject: Subject) -> Iterator[Finding]:
    """Classes with letters of two alphabets that look alike in one word, such as a Cyrillic а in "cat"."""
    mixed = [label for label in in_order(subject.by_label) if any(map(_mixes, str(label).split()))]
    if mixed:
        rows = [row for label in mixed for row in subject.by_label[label]]
        yield Finding(
            "mixed-alphabets",
            "note",
            Message("mixed-alphabets.what", classes=len(mixed), shown=few([repr(label) for label in mixed])),
            Message("mixed-alphabets.fix"),
            "kept",
            Message("mixed-alphabets.how"),
            subject.names(rows),
            len(mixed),
        )


def _mixes(word: str) -> bool:
    """Whether a word has letters of two of the alphabets that share shapes."""
    alphabets = {unicodedata.name(letter, "").split(" ")[0] for letter in word if letter.isalpha()}
    return len(alphabets & {"LATIN", "CYRILLIC", "GREEK"}) > 1


def several_in_one(subject: Subject) -> Iterator[Finding]:
    """Labels such as "cat|dog" beside "cat" and "dog": several labels in one cell."""
    if subject.several:
        return
    classes = [label for label in subject.by_label if isinstance(label, str)]
    best: tuple[int, str, list[str]] = (0, "", [])
    for separator in _SEPARATORS:
        combined = _combined(classes, separator)
        rows = sum(len(subject.by_label[label]) for label in combined)
        if len(combined) > 1 and rows > best[0]:
            best = (rows, separator, combined)
    rows, separator, combined = best
    if rows:
        yield Finding(
            "looks-multi-label",
            "harms",
            Message(
                "several-in-one.what",
                classes=len(combined),
                of=len(classes),
                rows=rows,
                separator=separator,
                shown=few([repr(label) for label in combined]),
            ),
            Message("several-in-one.fix", option=option("label_separator", separator)),
            "kept",
            Message("several-in-one.how"),
            tuple(name for label in combined for name in subject.names(subject.by_label[label])),
            rows,
            {"separator": separator},
        )


def _combined(classes: Sequence[str], separator: str) -> list[str]:
    """The labels whose parts are labels too, alone or in another combination."""
    parts = {label: [part.strip() for part in label.split(separator)] for label in classes if separator in label}
    known = Counter(part for pieces in parts.values() for part in set(pieces))
    known.update(label.strip() for label in classes if separator not in label)
    return [label for label, pieces in parts.items() if all(part and known[part] > 1 for part in pieces)]


def unseen(subject: Subject) -> Iterator[Finding]:
    """Classes that a split lacks."""
    if not any(subject.part):
        return
    where: dict[Label, set[str]] = defaultdict(set)
    for label, rows in subject.by_label.items():
        where[label] = {subject.part[row] for row in rows}
    untrained = [label for label in in_order(where) if "train" not in where[label]]
    if untrained:
        rows = [row for label in untrained for row in subject.by_label[label]]
        said = [Message("finding.named_rows", name=label, rows=len(subject.by_label[label])) for label in untrained]
        yield Finding(
            "unseen-class",
            "stops",
            Message("unseen-class.what", classes=len(untrained), shown=few(said, 5)),
            Message("unseen-class.fix"),
            "stops",
            Message("finding.stops"),
            subject.names(rows),
            len(untrained),
        )
    for part in PARTS[1:] if subject.is_split else ():  # a split that training makes holds what there is
        lacking = [label for label in in_order(where) if part not in where[label] and "train" in where[label]]
        if lacking and part in set(subject.part):
            yield Finding(
                f"class-not-in-{part}",
                "note",
                Message(
                    "class-not-in.what",
                    classes=len(lacking),
                    part=Message(f"part.{part}"),
                    shown=few([repr(label) for label in lacking], 5),
                    so=Message("class-not-in.measured" if part == "test" else "class-not-in.chosen"),
                ),
                Message("class-not-in.fix", part=Message(f"part.{part}")),
                "kept",
                Message("finding.kept"),
                count=len(lacking),
            )
