"""Backbones that read text columns, beside the numbers and categories of the same rows."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from lastlayer.classifier.data.ngrams import NGrams
from lastlayer.classifier.data.tokens import Tokens
from lastlayer.classifier.journal import Journal
from lastlayer.classifier.network import encoders

if TYPE_CHECKING:
    from lastlayer.classifier.data.columns import TableSpec
    from lastlayer.classifier.network.backbones import TableNet

WIDTH = 256
_LOST_NGRAMS = 0.5  # share of the n-grams of a text that a step does not see
_LOST_FEATURES = 0.5


class BagOfNGrams(nn.Module):
    """The weighed sum of a vector per n-gram, through ReLU: a low-rank linear model, and a little more.

    Half of the n-grams and half of the features are dropped at each step. What else was tried and what it scored stands
    in docs/decisions/012.
    """

    def __init__(self, ngrams: int, width: int = WIDTH) -> None:
        super().__init__()
        self.vectors = nn.EmbeddingBag(max(ngrams, 1), width, mode="sum")
        nn.init.normal_(self.vectors.weight, std=width**-0.5)
        self.bias = nn.Parameter(torch.zeros(width))
        self.dropout = nn.Dropout(_LOST_FEATURES)
        self.features = width

    def forward(self, ids: Tensor, weights: Tensor) -> Tensor:
        """(rows, n-grams) int64 and their weights, 0 where a row has none, to (rows, features)."""
        weights = F.dropout(weights, _LOST_NGRAMS, self.training)
        if torch.compiler.is_exporting():
            summed = (weights.unsqueeze(1) @ self.vectors.weight[ids]).squeeze(1)
        else:  # only what is there: rows are filled up to the longest
            there = weights != 0
            ends = there.sum(1).cumsum(0)
            starts = torch.cat([ends.new_zeros(1), ends[:-1]])
            summed = self.vectors(ids[there], starts, weights[there])
        features: Tensor = self.dropout(torch.relu(summed + self.bias))
        return features


class TextTable(nn.Module):
    """The text columns of a row, each by its own bag of n-grams or all by one encoder, and its other columns."""

    def __init__(
        self, spec: "TableSpec", backbone: str, others: "TableNet | None", *, pretrained: bool, journal: Journal | None
    ) -> None:
        super().__init__()
        first = spec.texts[0]
        bags = [BagOfNGrams(text.size) for text in spec.texts if isinstance(text, NGrams)]
        self.readers = nn.ModuleList(bags)
        self.encoder = (
            encoders.build(first, backbone, pretrained=pretrained, journal=journal)
            if isinstance(first, Tokens)
            else None
        )
        self.others = others
        self.pretrained = pretrained and self.encoder is not None
        widths = [bag.features for bag in bags] + ([] if others is None else [others.features])
        widths += [] if self.encoder is None else [self.encoder.features] * len(spec.texts)
        self.features = sum(widths)

    def forward(self, numbers: Tensor, indices: Tensor, *texts: Tensor) -> Tensor:
        """(rows, numbers), (rows, categories), and ids and weights of each text column, to (rows, features)."""
        read = self.read_texts(*texts)
        return read if self.others is None else torch.cat([read, self.others(numbers, indices)], 1)

    def read_texts(self, *texts: Tensor) -> Tensor:
        """Ids and weights of each text column to (rows, features) of the texts alone."""
        pairs = list(zip(texts[::2], texts[1::2], strict=True))
        readers = self.readers if self.encoder is None else [self.encoder] * len(pairs)
        return torch.cat([reader(*pair) for reader, pair in zip(readers, pairs, strict=True)], 1)
