"""Which n-grams the training rows of a text column share, and how much each counts in a text (TF-IDF).

Two kinds, since each knows what the other does not: one and two subwords (of a tokenizer that is trained on the same
rows, so that Korean endings come apart), and two to five characters within a word (so that a misspelt word is near the
right one). Both are found by hashing whole arrays at once; the vocabulary itself is kept as text, for people and for
other programs.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from lastlayer.classifier.data.text_rows import LONGEST, TextRows, readable_text, tokenizer_of
from lastlayer.classifier.extras import need

SUBWORDS = 2_000  # of the tokenizer, at most: with more, Korean endings stay within their words
MOST = 32_768  # n-grams of each kind: those in the most training rows
_LEAST_ROWS = 2  # what stands in one row alone says nothing of others
_MOST_OF_A_TEXT = 4_096  # n-grams of one text, the heaviest: a long one costs no more
_CHUNK = 2_000_000  # characters at a time
_CANDIDATES = 4_000_000  # different n-grams held at once while counting
_CHARACTERS, _WORDS = range(2, 6), range(1, 3)
_UNKNOWN = "[UNK]"
_UINT = np.uint64


@dataclass(frozen=True)
class NGrams:
    """How a text becomes the numbers of its n-grams and their weights.

    Attributes:
        tokenizer: Of the `tokenizers` library, as JSON; normalises (NFKC, lower case) and splits into subwords.
        rows: Training rows that it was learnt from.
        words: One or two subwords, with a space between; and in how many training rows each stands.
        characters: Characters of one word, its spaces among them; and in how many training rows they stand.
    """

    tokenizer: str
    rows: int
    words: dict[str, int]
    characters: dict[str, int]
    kind: str = field(default="ngrams", init=False)

    @property
    def size(self) -> int:
        """How many n-grams there are."""
        return len(self.words) + len(self.characters)

    @property
    def names(self) -> list[str]:
        """The n-grams in the order of their numbers."""
        return [*self.words, *self.characters]

    def encode(self, texts: Sequence[str | None]) -> TextRows:
        """Return the known n-grams of each text with their weights.

        Within each kind they have length 1 together, but for a text longer than what is read of it.
        """
        words, characters = self._vocabularies
        parts = []
        for chunk in _chunks(texts):
            normal = self._normalised(chunk)
            found = [*words.found(self._tokens(normal)), *characters.found(_of_characters(normal))]
            parts.append(self._weighed(np.concatenate([np.zeros(0, np.int64), *found]), len(chunk)))
        return TextRows.joined(parts) if parts else TextRows(np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0))

    @classmethod
    def learn(cls, texts: Sequence[str | None]) -> "NGrams":
        """Train a tokenizer on the texts, and take the n-grams that most of them share."""
        tokenizer = _trained([readable_text(text) for text in texts])
        found = cls(tokenizer, len(texts), {}, {})
        counts: dict[str, Counter[str]] = {"words": Counter(), "characters": Counter()}
        for chunk in _chunks(texts):
            normal = found._normalised(chunk)
            counts["words"].update(_in_rows(found._tokens(normal), found._spelled))
            counts["characters"].update(_in_rows(_of_characters(normal), _letters))
            counts = {kind: _pruned(count) for kind, count in counts.items()}
        return cls(tokenizer, len(texts), _chosen(counts["words"]), _chosen(counts["characters"]))

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, for tokenizer.json."""
        return {
            "kind": self.kind,
            "rows": self.rows,
            "words": self.words,
            "characters": self.characters,
            "tokenizer": json.loads(self.tokenizer),
        }

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "NGrams":
        """Undo `to_dict`."""
        tokenizer = json.dumps(plain["tokenizer"], ensure_ascii=False)
        found = cls(tokenizer, int(plain["rows"]), dict(plain["words"]), dict(plain["characters"]))
        if not found._vocabularies:
            raise ValueError("no n-grams")
        return found

    @cached_property
    def _library(self) -> Any:
        return tokenizer_of(self.tokenizer)

    @cached_property
    def _vocabularies(self) -> tuple["_Vocabulary", "_Vocabulary"]:
        place = self._library.token_to_id
        tokens = [[place(token) + 1 for token in gram.split(" ")] for gram in self.words]
        letters = [[ord(letter) for letter in gram] for gram in self.characters]
        return (
            _Vocabulary(_hashes(tokens), 0, self.size),
            _Vocabulary(_hashes(letters), len(self.words), self.size),
        )

    def _normalised(self, texts: Sequence[str | None]) -> list[str]:
        normal = self._library.normalizer.normalize_str
        return [" ".join(normal(readable_text(text)).replace("\0", " ").split()) for text in texts]

    def _tokens(self, normal: Sequence[str]) -> "_Line":
        encoded = self._library.encode_batch_fast(list(normal), add_special_tokens=False)
        numbers = np.concatenate([np.array([*each.ids, -1], np.int64) for each in encoded]) + 1
        return _Line(numbers, numbers == 0, numbers == 0, _WORDS)

    def _weighed(self, pairs: np.ndarray, rows: int) -> TextRows:
        """Of row · size + n-gram, once each time: (1 + ln times) · (1 + ln((1 + rows) / (1 + count))), scaled."""
        pairs = np.sort(pairs)
        first = np.flatnonzero(np.diff(pairs, prepend=-1))
        row, gram = np.divmod(pairs[first], max(self.size, 1))
        weight = (1 + np.log(np.diff(first, append=len(pairs)))) * self._rarity[gram]
        block = 2 * row + (gram >= len(self.words))
        weight /= np.sqrt(np.bincount(block, weight * weight, minlength=2 * rows))[block]
        counts = np.bincount(row, minlength=rows)
        if counts.max(initial=0) > _MOST_OF_A_TEXT:
            heaviest = np.lexsort((-weight, row))
            rank = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
            kept = np.sort(heaviest[rank < _MOST_OF_A_TEXT])
            gram, weight, counts = gram[kept], weight[kept], np.bincount(row[kept], minlength=rows)
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return TextRows(starts, gram.astype(np.int32), weight.astype(np.float32))

    @cached_property
    def _rarity(self) -> np.ndarray:
        counts = np.array([*self.words.values(), *self.characters.values()])
        return np.asarray(1 + np.log((1 + self.rows) / (1 + counts)))

    def _spelled(self, numbers: np.ndarray) -> str:
        return " ".join(self._library.id_to_token(int(number) - 1) for number in numbers)


def _trained(texts: Sequence[str]) -> str:
    """A tokenizer as JSON: byte-pair encoding within words, and each sign of punctuation by itself.

    A word begins with "▁". Marking its other subwords instead ("##") would give another vocabulary in every process:
    the library then numbers letters in the order of a hash table, and breaks ties of pairs by these numbers.
    """
    library = need("tokenizers")
    tokenizer = library.Tokenizer(library.models.BPE(unk_token=_UNKNOWN))
    tokenizer.normalizer = library.normalizers.Sequence([library.normalizers.NFKC(), library.normalizers.Lowercase()])
    marked = library.pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.pre_tokenizer = library.pre_tokenizers.Sequence([library.pre_tokenizers.BertPreTokenizer(), marked])
    trainer = library.trainers.BpeTrainer(vocab_size=SUBWORDS, special_tokens=[_UNKNOWN], show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    made: str = tokenizer.to_str()
    return made


@dataclass(frozen=True)
class _Line:
    """All texts one behind the other, as numbers: of characters, or of subwords.

    Attributes:
        numbers: int64.
        ends: Where a text ends; no n-gram has such a place in it.
        gaps: What no n-gram has within, but may begin or end with: the ends, and spaces.
        sizes: Of the n-grams.
    """

    numbers: np.ndarray
    ends: np.ndarray
    gaps: np.ndarray
    sizes: range

    def windows(self) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """For each size, where its n-grams begin, and their hashes."""
        hashes = _mixed(self.numbers.astype(_UINT))
        within = np.zeros(len(self.numbers), bool)
        for size in range(1, self.sizes.stop):
            count = len(self.numbers) - size + 1
            if count < 1:
                return
            if size > 1:
                hashes = _extended(hashes[:count], self.numbers[size - 1 :])
                within = within[:count] | (self.gaps[size - 2 : size - 2 + count] if size > 2 else False)
            if size in self.sizes:
                fine = ~(within | self.ends[:count] | self.ends[size - 1 :])
                if size == 2:
                    fine &= ~(self.gaps[:-1] & self.gaps[1:])  # the two spaces around an empty text
                starts = np.flatnonzero(fine)
                yield size, starts, hashes[starts]

    @cached_property
    def rows(self) -> np.ndarray:
        """To which text each place belongs."""
        return np.asarray(np.cumsum(self.ends) - self.ends)


def _of_characters(normal: Sequence[str]) -> _Line:
    """Each text with a space before and behind, so that a word's beginning is told from its middle."""
    together = "".join(f" {text} \0" for text in normal)
    numbers = np.frombuffer(together.encode("utf-32-le"), np.uint32).astype(np.int64)
    return _Line(numbers, numbers == 0, (numbers == 0) | (numbers == ord(" ")), _CHARACTERS)


@dataclass(frozen=True)
class _Vocabulary:
    """Hashes of n-grams, the number of the first, and how many there are with those of the other kind."""

    hashes: np.ndarray
    first: int
    size: int

    @cached_property
    def _sorted(self) -> tuple[np.ndarray, np.ndarray]:
        order = np.argsort(self.hashes)
        return self.hashes[order], order

    def found(self, line: _Line) -> Iterator[np.ndarray]:
        """Row · size + n-gram of all that is known in a line."""
        known, order = self._sorted
        for _, starts, hashes in line.windows() if len(known) else ():
            near = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
            right = known[near] == hashes
            yield line.rows[starts[right]] * self.size + order[near[right]] + self.first


def _in_rows(line: _Line, spelled: Callable[[np.ndarray], str]) -> dict[str, int]:
    """In how many texts each n-gram stands."""
    found: dict[str, int] = {}
    for size, starts, hashes in line.windows():
        if not len(starts):
            continue
        order = np.argsort(hashes, kind="stable")  # equal ones stay in the order of the rows
        new = np.diff(hashes[order], prepend=~hashes[order[:1]]) != 0
        row = line.rows[starts[order]]
        first = np.flatnonzero(new)
        counts = np.add.reduceat((new | (np.diff(row, prepend=-1) != 0)).astype(np.int64), first)
        for start, count in zip(starts[order[first]].tolist(), counts.tolist(), strict=True):
            found[spelled(line.numbers[start : start + size])] = count
    return found


def _letters(numbers: np.ndarray) -> str:
    return "".join(map(chr, numbers))


def _pruned(counts: Counter[str]) -> Counter[str]:
    """Without the rarest, where there are too many to hold."""
    least = 1
    while len(counts) > _CANDIDATES:
        least += 1
        counts = Counter({gram: count for gram, count in counts.items() if count >= least})
    return counts


def _chosen(counts: Counter[str]) -> dict[str, int]:
    """Those in several rows, in the most rows; where none is, all."""
    shared = {gram: count for gram, count in counts.items() if count >= _LEAST_ROWS} or counts
    most = sorted(shared.items(), key=lambda each: (-each[1], each[0]))[:MOST]
    return dict(sorted(most))


def _chunks(texts: Sequence[str | None]) -> Iterator[list[str | None]]:
    """Texts in order, about so many characters at a time."""
    chunk: list[str | None] = []
    held = 0
    for text in texts:
        chunk.append(text)
        held += min(len(text or ""), LONGEST) + 2
        if held > _CHUNK:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk


def _hashes(grams: Sequence[Sequence[int]]) -> np.ndarray:
    """The hash of each n-gram, as `_Line.windows` finds it."""
    found = np.zeros(len(grams), _UINT)
    for size in {len(gram) for gram in grams}:
        places = [place for place, gram in enumerate(grams) if len(gram) == size]
        numbers = np.array([grams[place] for place in places], np.int64)
        hashes = _mixed(numbers[:, 0].astype(_UINT))
        for column in range(1, size):
            hashes = _extended(hashes, numbers[:, column])
        found[places] = hashes
    return found


def _extended(hashes: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """The hashes of n-grams that are one number longer."""
    return _mixed(hashes * _UINT(0x9E3779B97F4A7C15) + numbers.astype(_UINT))


def _mixed(numbers: np.ndarray) -> np.ndarray:
    """Each number as one of 2⁶⁴, evenly spread: the finaliser of SplitMix64 (Steele, Lea & Flood 2014)."""
    mixed = (numbers ^ (numbers >> _UINT(30))) * _UINT(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> _UINT(27))) * _UINT(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> _UINT(31)))
