"""Models of the shapes that people classify with: small, untrained, each giving 24 rows of 5 logits."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

CLASSES, ROWS = 5, 24


@dataclass(frozen=True)
class Shape:
    """A model, what goes in, and how its output becomes rows of logits."""

    name: str
    build: Callable[[], nn.Module]
    inputs: Callable[[], Tensor]
    rows: Callable[[Tensor], Tensor] = lambda logits: logits

    def logits(self) -> Tensor:
        """(24, 5), with a graph."""
        torch.manual_seed(0)
        model = self.build()
        return self.rows(model(self.inputs()))


def target(rows: int = ROWS, classes: int = CLASSES) -> Tensor:
    """One index per row; every class occurs."""
    generator = torch.Generator().manual_seed(1)
    index = torch.randint(classes, (rows,), generator=generator)
    index[:classes] = torch.arange(classes)
    return index


def labels(rows: int = ROWS, classes: int = CLASSES) -> Tensor:
    """Several labels may hold in a row; one row has none."""
    generator = torch.Generator().manual_seed(2)
    held = (torch.rand(rows, classes, generator=generator) > 0.5).float()
    held[0], held[1] = 0.0, 1.0
    return held


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.inner, self.head = nn.LayerNorm(8), nn.Linear(8, 8), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x + self.inner(self.norm(x)).relu())


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x)[:, 0])


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.inner, self.head = kind(8, 8, batch_first=True), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.inner(x)[0][:, -1])


class Tokens(nn.Module):
    """(batch, steps) → (batch, steps, classes)."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(11, 8), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.embedding(x))


class Cosine(nn.Module):
    """Cosine similarity to class centres, over a temperature."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.centres = nn.Linear(8, 8), nn.Parameter(torch.randn(CLASSES, 8))

    def forward(self, x: Tensor) -> Tensor:
        features = nn.functional.normalize(self.inner(x), dim=-1)
        return features @ nn.functional.normalize(self.centres, dim=-1).T / 0.07


def _features() -> Tensor:
    return torch.randn(ROWS, 8)


def _resnet() -> nn.Module:
    import timm

    return timm.create_model("resnet18", num_classes=CLASSES)


SHAPES = [
    Shape("linear", lambda: nn.Linear(8, CLASSES), _features),
    Shape("mlp", lambda: nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, CLASSES)), _features),
    Shape("residual mlp", Residual, _features),
    Shape(
        "cnn",
        lambda: nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(4, CLASSES),
        ),
        lambda: torch.randn(ROWS, 1, 8, 8),
    ),
    Shape("timm resnet18", _resnet, lambda: torch.randn(ROWS, 3, 32, 32)),
    Shape("transformer encoder", Encoder, lambda: torch.randn(ROWS, 4, 8)),
    Shape("lstm", lambda: Recurrent(nn.LSTM), lambda: torch.randn(ROWS, 4, 8)),
    Shape("gru", lambda: Recurrent(nn.GRU), lambda: torch.randn(ROWS, 4, 8)),
    Shape(
        "segmentation head",
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, CLASSES, 1)),
        lambda: torch.randn(2, 3, 3, 4),
        lambda logits: logits.permute(0, 2, 3, 1).reshape(-1, CLASSES),
    ),
    Shape(
        "token classifier",
        Tokens,
        lambda: torch.randint(11, (4, 6)),
        lambda logits: logits.view(-1, CLASSES),
    ),
    Shape(
        "bag of words",
        lambda: nn.Sequential(nn.EmbeddingBag(11, 8), nn.Linear(8, CLASSES)),
        lambda: torch.randint(11, (ROWS, 3)),
    ),
    Shape("cosine head", Cosine, _features),
]  # fmt: skip
