"""Texts as rows of numbers of unequal length, and as batches of equal length."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lastlayer.classifier.extras import need

LONGEST = 1_000_000  # characters of a text that are read: what n-grams of more would need is no longer small


@dataclass(frozen=True)
class TextRows:
    """Of each row, the numbers of what stands in its text, and how much each counts.

    Attributes:
        starts: Where each row begins in the two others, and where the last ends: int64, (rows + 1).
        ids: Of n-grams or of tokens, int32.
        weights: float32; of a token 1.
        filler: What stands for nothing in a batch; its weight is 0.
    """

    starts: np.ndarray
    ids: np.ndarray
    weights: np.ndarray
    filler: int = 0

    def __len__(self) -> int:
        return len(self.starts) - 1

    def batch(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return ids, int64, and weights, float32, of some rows: both (rows, longest of them), the rest filled."""
        places = np.asarray(rows, dtype=np.int64)
        lengths = self.starts[places + 1] - self.starts[places]
        longest = max(int(lengths.max(initial=0)), 1)
        there = np.arange(longest) < lengths[:, None]
        ids = np.full((len(places), longest), self.filler, np.int64)
        weights = np.zeros((len(places), longest), np.float32)
        source = (self.starts[places][:, None] + np.arange(longest))[there]
        ids[there], weights[there] = self.ids[source], self.weights[source]
        return torch.from_numpy(ids), torch.from_numpy(weights)

    @classmethod
    def joined(cls, parts: Sequence["TextRows"]) -> "TextRows":
        """The rows of several, one after the other."""
        ends = np.concatenate([np.diff(part.starts) for part in parts]).cumsum()
        return cls(
            np.concatenate([[0], ends]).astype(np.int64),
            np.concatenate([part.ids for part in parts]),
            np.concatenate([part.weights for part in parts]),
            parts[0].filler,
        )


def readable_text(cell: str | None) -> str:
    r"""A cell as text that any tokenizer takes: a missing one is empty, and half a surrogate pair is no character.

    >>> readable_text(None), readable_text("a\ud800")
    ('', 'a?')
    """
    return "" if cell is None else cell[:LONGEST].encode("utf-8", "replace").decode("utf-8")


def tokenizer_of(text: str) -> Any:
    """A tokenizer of the `tokenizers` library from its JSON; what cannot be one is a ValueError."""
    try:
        return need("tokenizers").Tokenizer.from_str(text)
    except Exception as error:
        raise ValueError(f"no tokenizer: {error}") from error
