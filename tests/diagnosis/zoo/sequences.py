"""Segmentation and sequences."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.diagnosis.models import CLASSES, ROWS, target
from tests.diagnosis.zoo.setups import logits, setup


@setup
def segmentation_with_void() -> Tensor:
    mask = torch.where(torch.rand(2, 6, 6) > 0.8, 255, torch.randint(CLASSES, (2, 6, 6)))
    return F.cross_entropy(nn.Conv2d(3, CLASSES, 1)(torch.randn(2, 3, 6, 6)), mask, ignore_index=255)


@setup
def segmentation_upsampled() -> Tensor:
    low = nn.Conv2d(3, CLASSES, 1)(torch.randn(2, 3, 3, 3))
    return F.cross_entropy(F.interpolate(low, scale_factor=2, mode="bilinear"), torch.randint(CLASSES, (2, 6, 6)))


@setup
def segmentation_binary() -> Tensor:
    z = nn.Conv2d(3, 1, 1)(torch.randn(2, 3, 6, 6))
    return F.binary_cross_entropy_with_logits(z, (torch.rand(2, 1, 6, 6) > 0.5).float())


@setup
def volume() -> Tensor:
    z = nn.Conv3d(1, CLASSES, 1)(torch.randn(2, 1, 3, 3, 3))
    return F.cross_entropy(z, torch.randint(CLASSES, (2, 3, 3, 3)))


def _language_model() -> tuple[Tensor, Tensor]:
    tokens = torch.randint(1, 50, (4, 12))
    tokens[1, 9:], tokens[2, 7:] = 0, 0
    return nn.Linear(8, 50)(nn.Embedding(50, 8)(tokens)), tokens


@setup
def language_model() -> Tensor:
    z, tokens = _language_model()
    return F.cross_entropy(z[:, :-1].reshape(-1, 50), tokens[:, 1:].reshape(-1))


@setup
def language_model_with_padding() -> Tensor:
    z, tokens = _language_model()
    return F.cross_entropy(z[:, :-1].reshape(-1, 50), tokens[:, 1:].reshape(-1), ignore_index=0)


@setup
def language_model_moved() -> Tensor:
    z, tokens = _language_model()
    return F.cross_entropy(z[:, :-1].transpose(1, 2), tokens[:, 1:], ignore_index=0)


@setup
def masked_words() -> Tensor:
    z, tokens = _language_model()
    return F.cross_entropy(z.view(-1, 50), torch.where(torch.rand(4, 12) > 0.3, -100, tokens).view(-1))


@setup
def tied_embedding() -> Tensor:
    embedding = nn.Embedding(50, 8)
    tokens = torch.randint(50, (4, 12))
    return F.cross_entropy((embedding(tokens) @ embedding.weight.T).flatten(0, 1), tokens.flatten())


@setup
def chunks_of_rows() -> Tensor:
    z, y = logits().chunk(3), target().chunk(3)
    return sum(F.cross_entropy(a, b, reduction="sum") for a, b in zip(z, y, strict=True)) / ROWS  # type: ignore[return-value]
