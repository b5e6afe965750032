"""How good probabilities are: proper scores, which are best when the probabilities are true."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lastlayer import functional
from lastlayer.decisions._reliability import bin_edges, bin_of
from lastlayer.decisions._rows import check_probabilities, kind_of
from lastlayer.decisions.intervals import Interval, percentiles, reflected, resampled_sums
from lastlayer.errors import ShapeError


def row_losses(logits: Float[Tensor, "rows *classes"], target: Int[Tensor, "rows *labels"]) -> Tensor:
    """Surprise at the truth of each row, in nats, in float64; with a sigmoid per label, of each label of each row.

    Args:
        logits: (rows, classes) for softmax, (rows) for one sigmoid, (rows, labels) for a sigmoid per label.
        target: Class indices; 0 or 1 for one sigmoid; 0 or 1 per label.

    >>> row_losses(torch.tensor([[4.0, 2.0, -2.0]]), torch.tensor([0]))
    tensor([0.1291], dtype=torch.float64)
    """
    z = logits.detach().double()
    if kind_of(logits, target) == "multiclass":
        return functional.cross_entropy(z, target, reduction="none")
    return functional.binary_cross_entropy_with_logits(z, target.double(), reduction="none")


def log_loss(
    logits: Float[Tensor, "rows *classes"], target: Int[Tensor, "rows *labels"], temperature: float = 1.0
) -> float:
    """Mean surprise at the truth, in nats, in float64; with a sigmoid per label, the mean over labels too.

    Args:
        logits: (rows, classes) for softmax, (rows) for one sigmoid, (rows, labels) for a sigmoid per label.
        target: Class indices; 0 or 1 for one sigmoid; 0 or 1 per label.
        temperature: Divide the logits by this first.

    >>> import torch
    >>> round(log_loss(torch.tensor([[4.0, 2.0, -2.0]]), torch.tensor([0])), 4)
    0.1291
    """
    return float(row_losses(logits.detach().double() / temperature, target).mean())


def row_brier(probabilities: Float[Tensor, "rows classes"], target: Int[Tensor, "rows *labels"]) -> Tensor:
    """Squared distance of each row's probabilities from the truth, summed over the classes; of labels, their mean.

    >>> row_brier(torch.tensor([[0.7, 0.2, 0.1]]), torch.tensor([0]))
    tensor([0.1400], dtype=torch.float64)
    """
    gaps = (probabilities.double() - _truth(probabilities, target)).square()
    return gaps.sum(1) if target.dim() == 1 else gaps.mean(1)


def brier_score(probabilities: Float[Tensor, "rows classes"], target: Int[Tensor, "rows *labels"]) -> float:
    """Mean squared distance of the probabilities from the truth.

    Args:
        probabilities: (rows, classes); of one sigmoid those of no and yes.
        target: Class indices: the distance is summed over the classes, 0 to 2. Or 0 or 1 per label: it is the mean
            over the labels, 0 to 1.

    >>> import torch
    >>> round(brier_score(torch.tensor([[0.7, 0.2, 0.1]]), torch.tensor([0])), 4)
    0.14

    Source: Brier 1950.
    """
    return float(row_brier(probabilities, target).mean())


@dataclass(frozen=True)
class BrierParts:
    """Where a Brier score comes from: brier = reliability − resolution + uncertainty + within.

    Attributes:
        brier: The score.
        reliability: Squared gap between the probabilities of a bin and the share that was true there: 0 is best, and
            what a calibration can win.
        resolution: How far the shares of the bins are from the overall share: larger is better, and what only another
            model can win.
        uncertainty: The score of a model that knows only the overall shares; the same for every model.
        within: What is left since a bin holds different probabilities: their variance within the bins less twice
            their covariance with the truth there. 0 where each bin holds one probability.
    """

    brier: Interval
    reliability: Interval
    resolution: Interval
    uncertainty: Interval
    within: Interval


def brier_parts(
    probabilities: Float[Tensor, "rows classes"],
    target: Int[Tensor, "rows *labels"],
    *,
    bins: int | None = 15,
    equal_mass: bool = True,
) -> BrierParts:
    """Split a Brier score into reliability, resolution and uncertainty, each with a bootstrap interval.

    The three add up to the score only where every probability of a bin is the same. For bins of different
    probabilities the fourth part, `within`, is what is missing, so that the four always add up. The intervals keep the
    bins of these rows.

    Args:
        probabilities: (rows, classes); of one sigmoid those of no and yes.
        target: Class indices, or 0 or 1 per label; summed over classes, a mean over labels, as `brier_score`.
        bins: Per class; None makes one of each different probability, and `within` 0.
        equal_mass: Bins of equally many rows instead of equal width.

    >>> p = torch.tensor([[0.2, 0.8], [0.2, 0.8], [0.6, 0.4], [0.6, 0.4]])
    >>> parts = brier_parts(p, torch.tensor([1, 1, 0, 1]), bins=None)
    >>> [round(part.value, 4) for part in (parts.brier, parts.reliability, parts.resolution, parts.uncertainty)]
    [0.3, 0.05, 0.125, 0.375]

    Source: Murphy 1973; Stephenson, Coelho & Jolliffe 2008 (the part within bins).
    """
    check_probabilities(probabilities)
    truth, p = _truth(probabilities, target), probabilities.detach().double()
    rows, classes = p.shape
    share = 1.0 if target.dim() == 1 else 1 / classes
    one = torch.ones(1, rows, dtype=torch.float64)
    value = torch.zeros(1, 5, dtype=torch.float64)
    samples: Tensor | float = 0.0
    for index in range(classes):
        place = _places(p[:, index], bins, equal_mass)
        inside = functional.one_hot(place, int(place.max()) + 1).double()
        columns = torch.cat(
            [
                inside,
                inside * p[:, index : index + 1],
                inside * truth[:, index : index + 1],
                (p[:, index : index + 1] - truth[:, index : index + 1]).square(),
            ],
            1,
        )
        value = value + share * _parts(one @ columns, rows)
        samples = samples + share * _parts(resampled_sums(columns), rows)
    assert isinstance(samples, Tensor)  # noqa: S101 - there is at least one class
    brier, gap, spread, prior, rest = value[0].tolist()
    return BrierParts(
        percentiles(brier, samples[:, 0]),
        reflected(gap, samples[:, 1]),
        reflected(spread, samples[:, 2]),
        percentiles(prior, samples[:, 3]),
        percentiles(rest, samples[:, 4]),
    )


def _parts(sums: Tensor, rows: int) -> Tensor:
    """The five parts from sums per bin: rows, probabilities and truths, and the squared distances last."""
    bins = (sums.shape[1] - 1) // 3
    count, p, truth = (sums[:, start * bins : (start + 1) * bins] for start in range(3))
    there = count.clamp_min(1)
    prior = truth.sum(1, keepdim=True) / rows
    brier = sums[:, -1] / rows
    reliability = (count * ((p - truth) / there).square()).sum(1) / rows
    resolution = (count * (truth / there - prior).square()).sum(1) / rows
    uncertainty = (prior * (1 - prior)).squeeze(1)
    return torch.stack(
        [brier, reliability, resolution, uncertainty, brier - reliability + resolution - uncertainty], dim=1
    )


def _places(p: Tensor, bins: int | None, equal_mass: bool) -> Tensor:
    return torch.unique(p, return_inverse=True)[1] if bins is None else bin_of(p, bin_edges(p, bins, equal_mass))


def _truth(probabilities: Tensor, target: Tensor) -> Tensor:
    if probabilities.dim() != 2 or target.shape not in (probabilities.shape, probabilities.shape[:1]):
        raise ShapeError(
            "expected probabilities (rows, classes) with a class index per row or 0 or 1 per label, got "
            f"{tuple(probabilities.shape)} and {tuple(target.shape)}."
        )
    return target.double() if target.dim() == 2 else functional.one_hot(target, probabilities.shape[1]).double()
