"""Whether confidence is earned: of the rows called 80 % sure, are 80 % right?

Source: DeGroot & Fienberg 1983; Naeini et al. 2015 (expected calibration error); Kull et al. 2019 (classwise).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lastlayer.decisions._rows import check_probabilities
from lastlayer.decisions.intervals import Interval, reflected, resampled_sums
from lastlayer.errors import OptionError, ShapeError

_HONEST_TIMES = 1_000
_AT_ONCE = 4_000_000


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


@dataclass(frozen=True)
class CalibrationError:
    """A calibration error, and what a classifier without one would show on as many rows.

    Attributes:
        error: Mean gap between confidence and accuracy, with its bootstrap interval.
        honest: The 95th percentile of the error of rows whose truth is drawn from the probabilities themselves: below
            it, what was found is no more than chance makes.
    """

    error: Interval
    honest: float


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
    p = confidence.detach().double()
    edges = bin_edges(p, bins, equal_mass)
    place = bin_of(p, edges)
    found = []
    for index in range(len(edges) - 1):
        rows = place == index
        if count := int(rows.sum()):
            confident, right = float(p[rows].mean()), float(correct[rows].double().mean())
            found.append(Bin(float(edges[index]), float(edges[index + 1]), count, confident, right))
    total = max(len(p), 1)
    ece = sum(each.count / total * abs(each.confidence - each.accuracy) for each in found)
    return Reliability(tuple(found), ece)


def calibration_error(
    confidence: Float[Tensor, " rows"], correct: Bool[Tensor, " rows"], *, bins: int = 15, equal_mass: bool = True
) -> CalibrationError:
    """The expected calibration error of the predicted class, with its interval.

    A mean of absolute gaps cannot be negative, so that chance alone makes it positive: more so in fewer rows. The
    interval takes that off (`lastlayer.decisions.intervals.reflected`), and `honest` says how much it may be.

    Args:
        confidence: Probability of the predicted class, per row, in [0, 1].
        correct: Whether the prediction was right, per row.
        bins: How many.
        equal_mass: Bins of equally many rows; False makes them equally wide.

    Raises:
        ProbabilityError: a confidence outside [0, 1].
        OptionError: no bins, or no rows.

    >>> found = calibration_error(torch.tensor([0.9, 0.6] * 50), torch.tensor([True, True, True, False] * 25))
    >>> round(found.error.value, 6), found.error.low > 0
    (0.1, True)

    Source: Naeini et al. 2015; Bröcker & Smith 2007 (the error of an honest classifier).
    """
    return classwise_calibration_error(
        confidence.unsqueeze(1), correct.long().unsqueeze(1), bins=bins, equal_mass=equal_mass
    )


def classwise_calibration_error(
    probabilities: Float[Tensor, "rows classes"],
    target: Int[Tensor, "rows *labels"],
    *,
    bins: int = 15,
    equal_mass: bool = True,
) -> CalibrationError:
    """The mean over the classes of the gap between the probability of a class and how often it was the true one.

    The error of the predicted class can be small while every single class is far off; this one sees that.

    Args:
        probabilities: (rows, classes), in [0, 1].
        target: Class indices, or 0 or 1 per label.
        bins: Per class.
        equal_mass: Bins of equally many rows; False makes them equally wide.

    >>> p = torch.tensor([[0.8, 0.2], [0.8, 0.2], [0.2, 0.8], [0.2, 0.8]] * 25)
    >>> round(classwise_calibration_error(p, torch.tensor([0, 0, 1, 1] * 25)).error.value, 6)
    0.2

    Source: Kull et al. 2019, arXiv:1910.12656.
    """
    check_probabilities(probabilities)
    p = probabilities.detach().to("cpu", torch.float64)
    if p.dim() != 2 or len(p) == 0 or target.shape not in (p.shape, p.shape[:1]):
        raise ShapeError(
            "expected probabilities (rows, classes) of one row or more, with a class index per row or 0 or 1 per "
            f"label; got {tuple(p.shape)} and {tuple(target.shape)}."
        )
    rows, classes = p.shape
    truth = target.cpu()
    value, samples = 0.0, torch.zeros((), dtype=torch.float64)
    honest = torch.zeros((), dtype=torch.float64)
    for index in range(classes):
        q = p[:, index]
        answer = (truth == index) if truth.dim() == 1 else truth[:, index] == 1
        place = bin_of(q, bin_edges(q, bins, equal_mass))
        gaps = torch.zeros(rows, int(place.max()) + 1, dtype=torch.float64)
        gaps[torch.arange(rows), place] = q - answer.double()
        value += float(gaps.sum(0).abs().sum()) / rows / classes
        times = max(100, _HONEST_TIMES // classes)  # the mean over the classes is steadier than one of them
        samples = samples + resampled_sums(gaps, times=times).abs().sum(1) / rows / classes
        honest = honest + _honest_gaps(q, place, times, index) / classes
    return CalibrationError(reflected(value, samples), float(torch.quantile(honest, 0.95)))


def _honest_gaps(p: Tensor, place: Tensor, times: int, seed: int) -> Tensor:
    """The error in samples whose truth is drawn from the probabilities `p`."""
    rows = len(p)
    times = max(100, min(times, 50_000_000 // rows))
    generator = torch.Generator().manual_seed(seed)
    parts = []
    at_once = max(1, _AT_ONCE // rows)
    for start in range(0, times, at_once):
        count = min(at_once, times - start)
        gaps = p - (torch.rand(count, rows, generator=generator, dtype=torch.float64) < p).double()
        per_bin = torch.zeros(count, int(place.max()) + 1, dtype=torch.float64)
        per_bin.scatter_add_(1, place.expand(count, rows), gaps)
        parts.append(per_bin.abs().sum(1) / rows)
    return torch.cat(parts)


def bin_edges(p: Float[Tensor, " rows"], bins: int, equal_mass: bool) -> Float[Tensor, " edges"]:
    """From 0 to 1: equally wide, or with equally many rows between; equal probabilities are never parted."""
    if bins < 1:
        raise OptionError(f"bins has to be 1 or more, got {bins}.")
    if not equal_mass or len(p) == 0:
        return torch.linspace(0, 1, bins + 1, dtype=torch.float64)
    ordered = p.detach().double().sort().values
    last = (torch.arange(1, bins) * len(ordered)) // bins - 1  # the last row of each bin but the last
    inner = torch.unique(ordered[last[last >= 0]])
    return torch.cat([torch.zeros(1), inner[inner > 0], torch.ones(1)]).double()


def bin_of(p: Float[Tensor, " rows"], edges: Float[Tensor, " edges"]) -> Int[Tensor, " rows"]:
    """The bin of each probability, (low, high]: exactly 1 belongs to the last bin, exactly 0 to the first."""
    return torch.bucketize(p.detach().double().contiguous(), edges[1:-1].contiguous().to(p.device))
