"""Whether the splits of the source look as if they came from one distribution."""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np

from lastlayer.classifier.data.checks.finding import Finding
from lastlayer.classifier.data.checks.leaks import as_numbers, targets
from lastlayer.classifier.data.checks.subject import PARTS, Subject
from lastlayer.classifier.data.images import THUMBNAIL
from lastlayer.classifier.extras import need
from lastlayer.messages import Message
from lastlayer.messages.wording import option

_LEVEL = 0.01  # family-wise, after Holm
_LEAST_EFFECT = 0.1  # of the Kolmogorov–Smirnov distance, Cramér's V, or 2 × accuracy − 1
_LEAST_ROWS = 20
_MOST_ROWS = 4_000  # of each side for the classifier of texts
_FEW_VALUES = 20
_OF_CLASSES = ("shift.class", "shift.label")
_EXPECTED = 5.0  # rows of a cell from which chi² holds


class Compared(NamedTuple):
    """One feature of two splits: the test's p-value, and how far apart they are, from 0 to 1."""

    feature: str
    part: str
    test: str
    p: float
    effect: float


def between_splits(subject: Subject) -> Iterator[Finding]:
    """Compare validation and test with training, feature by feature, and correct for the number of looks."""
    if not subject.is_split:
        return
    found = [
        compared
        for part in PARTS[1:]
        for compared in _compared(subject, part)
    ]  # fmt: skip
    apart = [
        one._replace(p=p)
        for one, p in zip(found, holm([one.p for one in found]), strict=True)
        if p <= _LEVEL and one.effect >= _LEAST_EFFECT
    ]
    for part in PARTS[1:]:
        here = sorted((one for one in apart if one.part == part), key=lambda one: -one.effect)
        if not here:
            continue
        more = Message("shift.more", more=len(here) - 5) if len(here) > 5 else ""
        shown = reduce(lambda one, rest: Message("shift.joined", one=one, rest=rest), map(_told, here[:5]))
        split = Message(f"part.{part}")
        of_classes = all(isinstance(one.feature, Message) and one.feature.id in _OF_CLASSES for one in here)
        yield Finding(
            "shifted-classes" if of_classes else "shifted-split",
            "note" if of_classes else "harms",
            Message("shift.what", part=split, features=len(here), shown=shown, more=more, tests=len(found)),
            Message("shift.classes_fix", part=split, option=option("deploy_prior"))
            if of_classes
            else Message("shift.fix", part=split),
            "kept",
            Message("shift.how"),
            count=len(here),
            numbers={"features": [one._asdict() for one in here]},
        )


def _told(one: Compared) -> Message:
    return Message("shift.one", feature=one.feature, test=one.test, effect=one.effect, p=_shown(one.p))


def _shown(p: float) -> str:
    return "< 1e-12" if p < 1e-12 else f"{p:.2g}"


def holm(p: Sequence[float]) -> list[float]:
    """P-values corrected so that the chance of any false alarm is kept (Holm 1979).

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    corrected, highest = [0.0] * len(p), 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=lambda index: p[index])):
        highest = max(highest, min(1.0, (len(p) - rank) * p[place]))
        corrected[place] = highest
    return corrected


def _compared(subject: Subject, part: str) -> Iterator[Compared]:
    rows = subject.sample if subject.rows.kind == "table" else np.arange(len(subject.rows))
    parts = np.array([subject.part[int(row)] for row in rows])
    train, judge = np.flatnonzero(parts == "train"), np.flatnonzero(parts == part)
    if min(len(train), len(judge)) < _LEAST_ROWS:
        return
    for what, target in targets(subject, rows):
        yield from _words(what, [str(one) for one in target], train, judge, part)
    if subject.rows.kind == "image":
        for look, values in _of_pictures(subject).items():
            yield from _values(look, values, train, judge, part)
        return
    for name in subject.columns:
        cells = subject.words(name)
        numbers = as_numbers(cells)
        if subject.is_text(name):
            yield _texts(name, [cell or "" for cell in cells], train, judge, part)
        elif numbers is not None and len(np.unique(numbers)) > _FEW_VALUES:
            yield from _values(name, numbers, train, judge, part)
        else:
            yield from _words(name, cells, train, judge, part)


def _of_pictures(subject: Subject) -> dict[Message, np.ndarray]:
    found = {
        Message("shift.width"): np.array([one.size[0] for one in subject.seen], float),
        Message("shift.height"): np.array([one.size[1] for one in subject.seen], float),
    }
    if all(len(one.thumbnail) == THUMBNAIL**2 for one in subject.seen):
        grey = np.stack([np.frombuffer(one.thumbnail, np.uint8) for one in subject.seen])
        found |= {Message("shift.brightness"): grey.mean(1), Message("shift.contrast"): grey.std(1)}
    return found


def _values(name: str, values: np.ndarray, train: np.ndarray, judge: np.ndarray, part: str) -> Iterator[Compared]:
    first, second = (values[rows][~np.isnan(values[rows])] for rows in (train, judge))
    if min(len(first), len(second)) >= _LEAST_ROWS:
        found = need("scipy.stats").ks_2samp(first, second, method="asymp")
        yield Compared(name, part, Message("shift.ks"), float(found.pvalue), float(found.statistic))


def _words(
    name: str, cells: Sequence[str | None], train: np.ndarray, judge: np.ndarray, part: str
) -> Iterator[Compared]:
    """Chi² of the counts of each word, rare words together."""
    first, second = (Counter(cells[int(row)] for row in rows) for rows in (train, judge))
    share = min(len(train), len(judge)) / (len(train) + len(judge))
    often = [word for word in first | second if (first[word] + second[word]) * share >= _EXPECTED]
    table = [[counts[word] for word in often] for counts in (first, second)]
    rest = [len(train) - sum(table[0]), len(judge) - sum(table[1])]
    if sum(rest) * share >= _EXPECTED:
        table = [[*row, other] for row, other in zip(table, rest, strict=True)]
    if len(table[0]) < 2:
        return
    found = need("scipy.stats").chi2_contingency(np.array(table), correction=False)
    effect = float(np.sqrt(found.statistic / np.sum(table)))
    yield Compared(name, part, Message("shift.cramer"), float(found.pvalue), effect)


def _texts(name: str, cells: Sequence[str], train: np.ndarray, judge: np.ndarray, part: str) -> Compared:
    """A classifier two-sample test: how well held-out texts can be told apart by their split.

    Source: Lopez-Paz & Oquab 2017, arXiv:1610.06545.
    """
    size = min(len(train), len(judge), _MOST_ROWS)
    random = np.random.default_rng(0)
    sides = [random.choice(rows, size, replace=False) for rows in (train, judge)]
    rows = np.concatenate(sides)
    target = np.repeat([0, 1], size)
    text = need("sklearn.feature_extraction.text")
    features = text.HashingVectorizer(ngram_range=(1, 2), n_features=2**16, alternate_sign=False).transform(
        [cells[int(row)] for row in rows]
    )
    order = random.permutation(len(rows))
    fitted, held = order[: len(order) // 2], order[len(order) // 2 :]
    model = need("sklearn.linear_model").LogisticRegression(C=1.0, max_iter=200)
    right = int((model.fit(features[fitted], target[fitted]).predict(features[held]) == target[held]).sum())
    p = need("scipy.stats").binomtest(right, len(held), 0.5, alternative="greater").pvalue
    return Compared(name, part, Message("shift.told_apart"), float(p), max(0.0, 2 * right / len(held) - 1))
