"""Whether confidence is earned: of the rows called 80 % sure, are 80 % right?

Source: DeGroot & Fienberg 1983; Naeini et al. 2015 (expected calibration error).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lastlayer.errors import OptionError


@dataclass(frozen=True)
class Bin:
    """Rows whose confidence lies in (low, high]: how sure the model was of them, and how often it was right."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram, and the expected calibration error: the mean gap between confidence and accuracy."""

    bins: tuple[Bin, ...]
    ece: float


def reliability(
    confidence: Float[Tensor, " rows"], correct: Bool[Tensor, " rows"], *, bins: int = 15, equal_mass: bool = False
) -> Reliability:
    """Compare confidence with accuracy, bin by bin.

    Args:
        confidence: Probability of the predicted class, per row, in [0, 1].
        correct: Whether the prediction was right, per row.
        bins: How many; empty ones are left out of the result.
        equal_mass: Bins of equally many rows instead of equal width.

    >>> found = reliability(torch.tensor([0.9, 0.9, 0.6, 0.6]), torch.tensor([True, True, True, False]))
    >>> round(found.ece, 6)
    0.1
    """
    if bins < 1:
        raise OptionError(f"bins has to be 1 or more, got {bins}.")
    p = confidence.detach().double()
    if equal_mass:
        inner = torch.quantile(p, torch.linspace(0, 1, bins + 1, dtype=torch.float64)[1:-1]) if len(p) else p
        edges = torch.cat([torch.zeros(1), torch.unique(inner), torch.ones(1)])
    else:
        edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64)
    # (low, high]: a confidence of exactly 1 belongs to the last bin, one of exactly 0 to the first
    place = torch.bucketize(p, edges[1:-1].contiguous())
    found = []
    for index in range(len(edges) - 1):
        rows = place == index
        if count := int(rows.sum()):
            confident, right = float(p[rows].mean()), float(correct[rows].double().mean())
            found.append(Bin(float(edges[index]), float(edges[index + 1]), count, confident, right))
    total = max(len(p), 1)
    ece = sum(each.count / total * abs(each.confidence - each.accuracy) for each in found)
    return Reliability(tuple(found), ece)
