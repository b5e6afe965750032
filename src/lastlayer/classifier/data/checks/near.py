"""Rows that are almost equal and stand on both sides of the split: pictures by thumbnails, texts by MinHash."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from lastlayer.classifier.data.checks.finding import Finding
from lastlayer.classifier.data.checks.subject import Subject
from lastlayer.classifier.data.images import THUMBNAIL
from lastlayer.messages import Message
from lastlayer.messages.wording import option

_ALIKE = 0.995  # correlation of two thumbnails
_FLAT = 3.0  # standard deviation, of 255 grey levels, below which a picture shows nothing to compare
_GRAM = 3  # letters of a shingle
_SAME_WORDS = 0.8  # Jaccard similarity of two sets of shingles
_BANDS, _ROWS = 16, 4  # of a MinHash signature; pairs of Jaccard similarity 0.8 meet with probability 0.9998
_LONGEST = 2_000  # letters of a text that are compared
_MOST_IN_A_BUCKET = 30
_SLACK = 0.15  # three standard deviations of what a signature says of a similarity of 0.8
_MOST_COMPARED = 5
_CHUNK = 2_000
_MOST_TRAINING, _MOST_JUDGES = 60_000, 20_000  # rows that are compared, the first of each


class Pair(NamedTuple):
    """A row that judges, the row of training that is most like it, and how alike they are."""

    judge: int
    train: int
    alike: float


def pictures(subject: Subject) -> Iterator[Finding]:
    """Pictures that look like one of training: another size, another compression, a little brighter."""
    if subject.rows.kind != "image" or not any(subject.part) or not any(one.thumbnail for one in subject.seen):
        return
    grey = np.stack([np.frombuffer(one.thumbnail, np.uint8) for one in subject.seen]).astype(np.float32)
    spread = grey.std(1)
    unit = (grey - grey.mean(1, keepdims=True)) / np.maximum(spread * THUMBNAIL, 1e-6)[:, None]
    train, judges = _sides(subject)
    train = [row for row in train if spread[row] > _FLAT]
    judges = [row for row in judges if spread[row] > _FLAT]
    pairs = []
    for start in range(0, len(judges) if train else 0, _CHUNK):
        some = judges[start : start + _CHUNK]
        alike = unit[some] @ unit[train].T
        best = alike.argmax(1)
        pairs += [
            Pair(row, train[place], float(alike[number, place]))
            for number, (row, place) in enumerate(zip(some, best, strict=True))
            if alike[number, place] >= _ALIKE
        ]
    yield from _said(subject, pairs, Message("near-copies-across-splits.pictures", least=_ALIKE))


def texts(subject: Subject) -> Iterator[Finding]:
    """Texts that share almost all their words with one of training."""
    if len(subject.sample) < len(subject.rows) or not any(subject.part):
        return
    train, judges = _sides(subject)
    for column in subject.columns:
        if subject.is_text(column):
            pairs = near_texts(subject.words(column), train, judges)
            alike = Message("near-copies-across-splits.texts", column=column, least=_SAME_WORDS)
            yield from _said(subject, pairs, alike)


def _sides(subject: Subject) -> tuple[list[int], list[int]]:
    train = [row for row, part in enumerate(subject.part) if part == "train"]
    judges = [row for row, part in enumerate(subject.part) if part not in ("train", "")]
    return train[:_MOST_TRAINING], judges[:_MOST_JUDGES]


def _said(subject: Subject, pairs: Sequence[Pair], alike: Message) -> Iterator[Finding]:
    different = [pair for pair in pairs if subject.contents[pair.judge] != subject.contents[pair.train]]
    if not different:
        return
    first = max(different, key=lambda pair: pair.alike)
    judge, train = subject.names((first.judge, first.train))
    judges = sum(part not in ("train", "") for part in subject.part)
    others = sum(subject.labels[pair.judge] != subject.labels[pair.train] for pair in different)
    classes = Message("near-copies-across-splits.classes", pairs=others) if others else ""
    those = {"rows": len(different), "of": judges, "one": judge, "other": train}
    yield Finding(
        "near-copies-across-splits",
        "harms",
        Message("near-copies-across-splits.what", alike=alike, classes=classes, **those),
        Message("near-copies-across-splits.fix", option=option("group")),
        "kept",
        Message("near-copies-across-splits.how"),
        tuple(dict.fromkeys(name for pair in different for name in subject.names((pair.judge, pair.train)))),
        len(different),
        {"share_of_judging_rows": len(different) / judges, "most_alike": first.alike},
    )


def near_texts(cells: Sequence[str | None], train: Sequence[int], judges: Sequence[int]) -> list[Pair]:
    """For each judging row the training row whose text is most like it, where that is alike enough.

    >>> cells = ["How do I activate my new card?", "Where is my money", "how do I activate my new card"]
    >>> near_texts(cells, [0, 1], [2])
    [Pair(judge=2, train=0, alike=1.0)]
    """
    plain = {row: _plain(cells[row] or "") for row in (*train, *judges)}
    train, judges = ([row for row in rows if plain[row]] for rows in (train, judges))
    if not train or not judges:
        return []
    mine, theirs = (_signatures([plain[row] for row in rows]) for rows in (judges, train))
    pairs = []
    for place, candidates in enumerate(_candidates(mine, theirs)):
        if len(candidates) == 0:
            continue
        likely = (theirs[candidates] == mine[place]).mean(1)
        best = candidates[np.argsort(-likely, kind="stable")][: int((likely >= _SAME_WORDS - _SLACK).sum())]
        text = plain[judges[place]]
        alike, other = max(((_jaccard(text, plain[train[one]]), -one) for one in best[:_MOST_COMPARED]), default=(0, 0))
        if alike >= _SAME_WORDS:
            pairs.append(Pair(judges[place], train[-other], alike))
    return pairs


def _candidates(mine: np.ndarray, theirs: np.ndarray) -> list[np.ndarray]:
    """For each of my signatures, the places of theirs that agree with it in all rows of some band."""
    found: list[set[int]] = [set() for _ in mine]
    for band in range(_BANDS):
        part = slice(band * _ROWS, (band + 1) * _ROWS)
        buckets: dict[bytes, list[int]] = defaultdict(list)
        for place, signature in enumerate(theirs[:, part]):
            buckets[signature.tobytes()].append(place)
        for place, signature in enumerate(mine[:, part]):
            found[place].update(buckets.get(signature.tobytes(), ())[:_MOST_IN_A_BUCKET])
    return [np.array(sorted(places), dtype=np.int64) for places in found]


def _plain(text: str) -> str:
    """Letters and digits in one case, with single spaces between words."""
    folded = unicodedata.normalize("NFKC", text[:_LONGEST]).casefold()
    return " ".join("".join(letter if letter.isalnum() else " " for letter in folded).split())


def _pieces(text: str) -> set[str]:
    padded = f" {text} "
    return {padded[start : start + _GRAM] for start in range(len(padded) - _GRAM + 1)}


def _jaccard(one: str, other: str) -> float:
    first, second = _pieces(one), _pieces(other)
    return len(first & second) / len(first | second)


def _signatures(texts: Sequence[str]) -> np.ndarray:
    """MinHash signatures, (texts, bands × rows) uint64: two agree in a place as often as their shingles do.

    Source: Broder 1997, On the resemblance and containment of documents.
    """
    random = np.random.default_rng(0)
    factors = random.integers(1, 2**63, _BANDS * _ROWS, dtype=np.uint64) | np.uint64(1)
    shifts = random.integers(0, 2**63, _BANDS * _ROWS, dtype=np.uint64)
    found = np.empty((len(texts), _BANDS * _ROWS), np.uint64)
    for start in range(0, len(texts), _CHUNK):
        some = [f" {text} " for text in texts[start : start + _CHUNK]]
        letters = np.frombuffer("".join(some).encode("utf-32-le"), np.uint32).astype(np.uint64)
        ends = np.cumsum([len(text) for text in some])
        starts = np.concatenate([[0], ends[:-1]])
        hashes = _mixed(letters[:-2] + (letters[1:-1] << np.uint64(21)) + (letters[2:] << np.uint64(42)))
        hashes = np.concatenate([hashes, np.full(2, np.uint64(2**64 - 1))])
        for end in ends[:-1]:  # a window over two texts belongs to neither
            hashes[end - 2 : end] = np.uint64(2**64 - 1)
        for place, (factor, shift) in enumerate(zip(factors, shifts, strict=True)):
            permuted = hashes * factor + shift
            permuted[hashes == np.uint64(2**64 - 1)] = np.uint64(2**64 - 1)
            found[start : start + len(some), place] = np.minimum.reduceat(permuted, starts)
    return found


def _mixed(values: np.ndarray) -> np.ndarray:
    """Spread the bits of 64-bit integers (the finaliser of SplitMix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = values ^ (values >> np.uint64(31))
    return mixed
