"""What the set-ups are collected by."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lastlayer import doctor
from lastlayer.diagnosis import Report
from tests.diagnosis.models import CLASSES, ROWS, target

Setup = Callable[[], Report]
CE = nn.CrossEntropyLoss()
ZOO: dict[str, Setup] = {}


def setup(build: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """Add a loss that is right; it is asked about before its backward."""
    ZOO[build.__name__.replace("_", " ")] = lambda: doctor(build())
    return build


def asked(build: Setup) -> Setup:
    """Add a whole question."""
    ZOO[build.__name__.replace("_", " ")] = build
    return build


def logits(rows: int = ROWS, classes: int = CLASSES) -> Tensor:
    torch.manual_seed(0)
    return nn.Linear(8, classes)(torch.randn(rows, 8))


def soft() -> Tensor:
    return torch.randn(ROWS, CLASSES).softmax(1)


def one_hot() -> Tensor:
    return F.one_hot(target(), CLASSES).float()


def blamed(report: Report) -> list[str]:
    """Codes of errors and warnings."""
    return [finding.code for finding in report if finding.severity != "info"]
