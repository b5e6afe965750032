"""Texts as the tokens of a published encoder: its own tokenizer and the settings that its network is built from."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from lastlayer.classifier.data.text_rows import TextRows, readable_text, tokenizer_of

_CHUNK = 2_000  # texts at a time


@dataclass(frozen=True)
class Tokens:
    """How a text becomes the numbers of its tokens.

    Attributes:
        tokenizer: Of the `tokenizers` library, as JSON.
        settings: What the encoder's network is built from: the config.json of transformers.
        filler: The token that stands for nothing.
        longest: Tokens of a text that are read, the special ones among them.
    """

    tokenizer: str
    settings: dict[str, Any]
    filler: int
    longest: int
    kind: str = field(default="tokens", init=False)

    def encode(self, texts: Sequence[str | None]) -> TextRows:
        """Return the tokens of each text, an empty one's special tokens too; each with weight 1."""
        ids: list[np.ndarray] = []
        for start in range(0, len(texts), _CHUNK):
            chunk = [readable_text(text) for text in texts[start : start + _CHUNK]]
            ids += [np.array(each.ids, np.int32) for each in self._library.encode_batch_fast(chunk)]
        starts = np.concatenate([[0], np.cumsum([len(each) for each in ids])]).astype(np.int64)
        together = np.concatenate(ids) if ids else np.zeros(0, np.int32)
        return TextRows(starts, together, np.ones(len(together), np.float32), self.filler)

    def lengths(self, texts: Sequence[str | None]) -> np.ndarray:
        """How many tokens of each text are read."""
        return np.diff(self.encode(texts).starts)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, for tokenizer.json."""
        return {
            "kind": self.kind,
            "settings": self.settings,
            "filler": self.filler,
            "longest": self.longest,
            "tokenizer": json.loads(self.tokenizer),
        }

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "Tokens":
        """Undo `to_dict`."""
        tokenizer = json.dumps(plain["tokenizer"], ensure_ascii=False)
        found = cls(tokenizer, dict(plain["settings"]), int(plain["filler"]), int(plain["longest"]))
        found.encode([""])  # a broken tokenizer is told here, not at the first prediction
        return found

    @cached_property
    def _library(self) -> Any:
        library = tokenizer_of(self.tokenizer)
        library.no_padding()
        library.enable_truncation(self.longest)
        return library
