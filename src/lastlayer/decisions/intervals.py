"""A figure, and where it lies in 95 of 100 samples of as many rows."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lastlayer.errors import OptionError

_TIMES, _BUDGET = 1_000, 50_000_000  # samples drawn at most, and rows drawn in all of them
_LEAST_TIMES = 100
STEADY = 2_000  # samples for `corrected`, which estimates the bias from them, too
_AT_ONCE = 4_000_000  # row counts held in memory at a time


@dataclass(frozen=True)
class Interval:
    """A figure of some rows, with a 95 % interval; both ends are NaN where there are no rows to say it of."""

    value: float
    low: float
    high: float

    def above(self, bound: float) -> bool:
        """Whether the whole interval lies above `bound`."""
        return self.low > bound


def resampled_sums(
    columns: Float[Tensor, "rows figures"], *, times: int = _TIMES, seed: int = 0
) -> Float[Tensor, "times figures"]:
    """Sums of each column over `times` samples of the rows, drawn with replacement: the bootstrap.

    Every figure that is made of sums over rows (a mean, a gap per bin, a share) follows from these, so that all
    figures of one call are of the same samples and can be compared.

    Args:
        columns: What to sum, per row; taken in float64.
        times: Samples; fewer (at least 100) where there are so many rows that 50 million would be drawn.
        seed: Of the samples: the same seed draws the same.

    >>> sums = resampled_sums(torch.ones(20, 1, dtype=torch.float64))
    >>> sums.shape, bool((sums == 20).all())
    (torch.Size([1000, 1]), True)

    Source: Efron 1979.
    """
    values = columns.detach().to("cpu", torch.float64)
    rows = len(values)
    if rows == 0:
        raise OptionError("a bootstrap needs rows to draw from, got none.")
    times = max(_LEAST_TIMES, min(times, _BUDGET // rows))
    generator = torch.Generator().manual_seed(seed)
    parts: list[Tensor] = []
    at_once = max(1, _AT_ONCE // rows)
    for start in range(0, times, at_once):
        samples = min(at_once, times - start)
        drawn = torch.randint(0, rows, (samples, rows), generator=generator)
        counts = torch.zeros(samples, rows, dtype=torch.float64)
        counts.scatter_add_(1, drawn, torch.ones((), dtype=torch.float64).expand(samples, rows))
        parts.append(counts @ values)
    return torch.cat(parts)


def percentiles(value: float, samples: Float[Tensor, " times"]) -> Interval:
    """The percentile bootstrap: the middle 95 % of the figure in the samples."""
    low, high = torch.quantile(samples, torch.tensor([0.025, 0.975], dtype=samples.dtype)).tolist()
    return Interval(value, low, high)


def reflected(value: float, samples: Float[Tensor, " times"]) -> Interval:
    """The basic bootstrap, for a figure that can only err upwards: the percentiles, reflected at the value.

    A mean of absolute gaps is too large in a sample by about as much as the samples of that sample are larger still;
    the reflection takes it off. Nothing below 0 is reported.

    Source: Davison & Hinkley 1997, section 5.2.
    """
    found = percentiles(value, samples)
    return Interval(value, max(0.0, 2 * value - found.high), max(0.0, 2 * value - found.low))


def corrected(values: Float[Tensor, " rows"], sums: Float[Tensor, " times"]) -> Interval:
    """The interval of a mean, corrected for bias and skewness (BCa), from `resampled_sums` of its values.

    Where a few rows gain much and many lose a little, or the other way round, the middle 95 % of the samples lies too
    low, or too high; which percentiles to take instead follows from the skewness.

    Source: Efron 1987, "Better bootstrap confidence intervals".
    """
    x, samples = values.detach().double().cpu(), sums / len(values)
    mean = x.mean()
    apart = x - mean
    spread = apart.square().sum()
    if len(x) == 0 or float(spread) <= len(x) * (1e-15 * float(mean.abs())) ** 2:  # all alike, but for rounding
        return Interval(float(mean), float(mean), float(mean))
    below = ((samples < mean).double().mean() + (samples == mean).double().mean() / 2).clamp(1e-3, 1 - 1e-3)
    bias = torch.special.ndtri(below)
    acceleration = apart.pow(3).sum() / (6 * spread.pow(1.5))
    ends = bias + torch.special.ndtri(torch.tensor([0.025, 0.975], dtype=torch.float64))
    places = torch.special.ndtr(bias + ends / (1 - acceleration * ends).clamp_min(1e-3))
    low, high = torch.quantile(samples, places).tolist()
    return Interval(float(mean), low, high)


def mean_interval(values: Float[Tensor, " rows"], *, seed: int = 0) -> Interval:
    """The mean of a figure per row, such as a loss or a gain, with its bootstrap interval (`corrected`).

    Of the difference of two figures per row it is the paired interval: where it excludes 0, one is better than the
    other on more than these rows.

    >>> gain = torch.tensor([0.2, 0.1, 0.3, 0.2] * 10)
    >>> mean_interval(gain).above(0)
    True
    """
    x = values.detach().double()
    if len(x) == 0:
        return Interval(math.nan, math.nan, math.nan)
    return corrected(x, resampled_sums(x.unsqueeze(1), times=STEADY, seed=seed)[:, 0])


def wilson(share: float, rows: int, z: float = 1.959964) -> tuple[float, float]:
    """Where a share lies in 95 of 100 samples; unlike the bootstrap's it has a width where all rows are right.

    >>> [round(end, 4) for end in wilson(1.0, 100)]
    [0.963, 1.0]

    Source: Wilson 1927.
    """
    middle = share + z * z / (2 * rows)
    spread = z * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows))
    scale = 1 + z * z / rows
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def share_interval(hits: int, rows: int) -> Interval:
    """A share of rows with Wilson's interval.

    >>> found = share_interval(9, 10)
    >>> found.value, round(found.low, 4), round(found.high, 4)
    (0.9, 0.5958, 0.9821)
    """
    return Interval(hits / rows, *wilson(hits / rows, rows)) if rows else Interval(math.nan, math.nan, math.nan)
