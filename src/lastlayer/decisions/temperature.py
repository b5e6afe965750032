"""Temperature scaling: one number that makes a classifier's confidence honest; with sigmoids one per label.

Dividing every logit by T > 0 changes no decision, only how sure the probabilities are. T is fitted to labelled rows
that the model was not trained on, and kept only where rows that the fit has not seen gain from it, by more than their
gain varies from sample to sample, and by more than one row of another kind could lose.

Source: Guo et al. 2017, arXiv:1706.04599.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lastlayer import functional
from lastlayer.decisions._rows import check_finite, check_yes_or_no, folds_of, kind_of
from lastlayer.decisions.intervals import STEADY, Interval, corrected, resampled_sums
from lastlayer.decisions.scores import row_losses
from lastlayer.errors import OptionError, ShapeError

# Beyond these the fit says that the model is certain, or knows nothing; it is stopped there.
LEAST, MOST = 0.05, 20.0
_Slopes = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Calibration:
    """What came of fitting a temperature.

    Attributes:
        temperature: What to divide logits by: the fitted one where it is kept, else 1.
        kept: Whether the interval of the gain lies above `risk`, and the fitted temperature inside its range.
        fitted: The temperature that all rows together ask for; NaN where there are too few to fit one, 0.05 or 20
            where they ask for none: every row is right, or they are predicted no better than at random.
        before: Mean log-loss at temperature 1, in nats.
        after: Mean log-loss of rows that the fit had not seen, each at the temperature of the others.
        gain: before − after, with the interval of the paired bootstrap over the rows (BCa).
        risk: What one more row could take off the gain: the most that any of the rows would lose by the fitted
            temperature, were its truth another, divided by the rows. The bootstrap cannot draw what no row shows.
    """

    temperature: float
    kept: bool
    fitted: float
    before: float
    after: float
    gain: Interval
    risk: float


def fit_temperature(
    logits: Float[Tensor, "rows *classes"], target: Int[Tensor, " rows"], *, offset: Tensor | None = None
) -> float:
    """Return the T > 0 with the least mean log-loss of `logits` / T + `offset`.

    Args:
        logits: (rows, classes) for softmax, or (rows) for one sigmoid; taken in float64.
        target: Class indices; 0 or 1 for one sigmoid.
        offset: What is added after dividing, (classes) or a single number: the correction of class weights or priors
            (`lastlayer.decisions.unweighting`). The weights are known; only the model's own confidence is not.

    Returns:
        T in [0.05, 20]; an end of that range where the loss still falls there.

    Raises:
        ShapeError: the shapes of `logits` and `target` do not belong together.

    >>> logits = torch.tensor([[3.0, 0.0], [3.0, 0.0], [0.0, 3.0], [3.0, 0.0]])
    >>> round(fit_temperature(logits, torch.tensor([0, 0, 1, 1])), 4)  # right 3 times of 4: 3 / log 3
    2.7307
    """
    if kind_of(logits, target) == "multilabel":
        raise ShapeError("a target for every label needs a temperature for every label: use fit_temperatures.")
    check_finite(logits)
    z = logits.detach().double()
    return float(_best(_slopes(z, target, _none_or_double(offset, z), None), z, 1))


def fit_temperatures(
    logits: Float[Tensor, "rows labels"], target: Int[Tensor, "rows labels"], *, offset: Tensor | None = None
) -> Float[Tensor, " labels"]:
    """Return for each label the T > 0 with the least mean log-loss of its logits / T + `offset`.

    Args:
        logits: One sigmoid per label; taken in float64.
        target: 0 or 1.
        offset: What is added after dividing, (labels) or a single number.

    >>> logits = torch.tensor([[2.0, 4.0], [2.0, 4.0], [2.0, 4.0], [2.0, 4.0]])
    >>> target = torch.tensor([[1, 1], [1, 1], [1, 1], [0, 0]])
    >>> [round(t, 4) for t in fit_temperatures(logits, target).tolist()]  # right 3 times of 4: z / log 3
    [1.8205, 3.641]
    """
    _labels(logits, target)
    z = logits.detach().double()
    return _best(_slopes(z, target, _none_or_double(offset, z), torch.ones_like(z)), z, z.shape[1])


def calibrate(
    logits: Float[Tensor, "rows *classes"],
    target: Int[Tensor, " rows"],
    *,
    offset: Tensor | None = None,
    folds: int = 5,
) -> Calibration:
    """Fit a temperature, and keep it only if it helps rows that it was not fitted to.

    Each of `folds` parts is scored at the temperature fitted to the others. That gives a gain per row, and the
    temperature is kept where the bootstrap interval of the mean gain lies above what one more row could take off it.

    Args:
        logits: (rows, classes) for softmax, or (rows) for one sigmoid, of rows that the model was not trained on.
        target: Class indices; 0 or 1 for one sigmoid.
        offset: As for `fit_temperature`.
        folds: At least 2.

    Raises:
        ShapeError: the shapes of `logits` and `target` do not belong together.
        OptionError: fewer than two folds.

    >>> torch.manual_seed(0)  # doctest: +ELLIPSIS
    <...>
    >>> logits = torch.randn(2000, 4)
    >>> target = torch.distributions.Categorical(logits=logits).sample()
    >>> calibrate(3 * logits, target).kept
    True
    """
    if kind_of(logits, target) == "multilabel":
        raise ShapeError("a target for every label needs a temperature for every label: use calibrate_labels.")
    check_finite(logits)
    z, add = logits.detach().double(), _none_or_double(offset, logits)
    before = row_losses(_scaled(z, 1.0, add), target)
    if _too_few(len(z), folds):
        return _uncalibrated(before.unsqueeze(1))[0]
    fold = folds_of(target.unsqueeze(1), folds).squeeze(1)
    after = torch.empty_like(before)
    for part in range(folds):
        held = fold == part
        temperature = fit_temperature(z[~held], target[~held], offset=add)
        after[held] = row_losses(_scaled(z[held], temperature, add), target[held])
    fitted = torch.tensor([fit_temperature(z, target, offset=add)], dtype=torch.float64)
    return _judged(before.unsqueeze(1), after.unsqueeze(1), fitted, _largest_loss(z, fitted, add))[0]


def calibrate_labels(
    logits: Float[Tensor, "rows labels"],
    target: Int[Tensor, "rows labels"],
    *,
    offset: Tensor | None = None,
    folds: int = 5,
) -> tuple[Calibration, ...]:
    """Fit a temperature to each label, and keep those that help rows that they were not fitted to.

    Each label is judged by itself, as `calibrate` judges one sigmoid; a rare one keeps temperature 1 until enough
    rows speak for another.

    Args:
        logits: One sigmoid per label, of rows that the model was not trained on.
        target: 0 or 1.
        offset: As for `fit_temperatures`.
        folds: At least 2.

    >>> torch.manual_seed(0)  # doctest: +ELLIPSIS
    <...>
    >>> logits = torch.randn(2000, 2)
    >>> target = torch.bernoulli(logits.sigmoid()).long()
    >>> [label.kept for label in calibrate_labels(logits * torch.tensor([1.0, 3.0]), target)]
    [False, True]
    """
    _labels(logits, target)
    z, add = logits.detach().double(), _none_or_double(offset, logits)
    before = row_losses(_scaled(z, 1.0, add), target)
    if _too_few(len(z), folds):
        return _uncalibrated(before)
    fold = folds_of(target, folds)
    after = torch.empty_like(before)
    for part in range(folds):
        held = fold == part
        temperature = _best(_slopes(z, target, add, (~held).double()), z, z.shape[1])
        after = torch.where(held, row_losses(_scaled(z, temperature, add), target), after)
    fitted = fit_temperatures(z, target, offset=add)
    return _judged(before, after, fitted, _largest_loss(z, fitted, add, several=True))


def _labels(logits: Tensor, target: Tensor) -> None:
    if logits.dim() != 2 or kind_of(logits, target) != "multilabel":
        raise ShapeError(
            f"expected logits and target of one shape (rows, labels), got {tuple(logits.shape)} and "
            f"{tuple(target.shape)}."
        )
    check_yes_or_no(target)
    check_finite(logits)


def _none_or_double(offset: Tensor | None, like: Tensor) -> Tensor | None:
    return None if offset is None else offset.detach().to(like.device, torch.float64)


def _scaled(z: Tensor, temperature: float | Tensor, offset: Tensor | None) -> Tensor:
    return z / temperature if offset is None else z / temperature + offset


def _too_few(rows: int, folds: int) -> bool:
    if folds < 2:
        raise OptionError(f"folds has to be 2 or more, so that rows can be held back: got {folds}.")
    return rows < 2 * folds


def _uncalibrated(before: Tensor) -> tuple[Calibration, ...]:
    nothing = Interval(0.0, math.nan, math.nan)
    means = before.mean(0).tolist()
    return tuple(Calibration(1.0, False, math.nan, mean, mean, nothing, math.nan) for mean in means)


def _largest_loss(z: Tensor, fitted: Tensor, offset: Tensor | None, *, several: bool = False) -> Tensor:
    """The most that dividing by `fitted` adds to the surprise at any answer, of any row: one number per temperature."""
    before, after = _scaled(z, 1.0, offset), _scaled(z, fitted, offset)
    if z.dim() == 2 and not several:
        return (functional.log_softmax(before, 1) - functional.log_softmax(after, 1)).max().reshape(1)
    answers = [functional.logsigmoid(sign * before) - functional.logsigmoid(sign * after) for sign in (-1, 1)]
    return torch.stack(answers).flatten(0, 1).amax(0).reshape(-1)


def _judged(before: Tensor, after: Tensor, fitted: Tensor, largest_loss: Tensor) -> tuple[Calibration, ...]:
    """One verdict per column of losses per row."""
    gain = before - after
    risks = (largest_loss.clamp_min(0) / len(gain)).tolist()
    sums = resampled_sums(gain, times=STEADY)
    found = []
    for column, (temperature, risk) in enumerate(zip(fitted.tolist(), risks, strict=True)):
        interval = corrected(gain[:, column], sums[:, column])
        kept = interval.above(risk) and LEAST < temperature < MOST
        scores = float(before[:, column].mean()), float(after[:, column].mean())
        found.append(Calibration(temperature if kept else 1.0, kept, temperature, *scores, interval, risk))
    return tuple(found)


def _best(slopes: _Slopes, z: Tensor, columns: int) -> Tensor:
    """The temperatures at which all slopes are 0, or the end of the range that they point to."""

    def at(beta: float) -> Tensor:
        return slopes(torch.full((columns,), beta, dtype=torch.float64, device=z.device))[0]

    low = torch.full((columns,), 1 / MOST, dtype=torch.float64, device=z.device)
    high = torch.full_like(low, 1 / LEAST)  # in β = 1/T the loss is convex: its slope has one root
    hopeless, certain = at(1 / MOST) >= 0, at(1 / LEAST) <= 0
    beta = torch.ones_like(low)
    for _ in range(200):
        slope, curvature = slopes(beta)
        low, high = torch.where(slope < 0, beta, low), torch.where(slope < 0, high, beta)
        step = beta - slope / curvature.clamp_min(torch.finfo(torch.float64).tiny)
        new = torch.where((step > low) & (step < high), step, (low + high) / 2)  # Newton's step, or half the bracket
        settled = ((new - beta).abs() <= 1e-14 * beta) | (slope == 0) | hopeless | certain
        beta = torch.where(settled, beta, new)
        if bool(settled.all()):
            break
    found = torch.where(certain, LEAST, torch.where(hopeless, MOST, 1 / beta))
    return found if columns > 1 else found.reshape(columns)


def _slopes(z: Tensor, target: Tensor, offset: Tensor | None, share: Tensor | None) -> _Slopes:
    """First and second derivative in β of the mean log-loss of βz + offset; of each label where there is a `share`.

    `share` (rows, labels) is what each row counts for in each label.
    """
    if z.dim() == 2 and share is None:
        return lambda beta: _softmax_slopes(z, target, _scaled(z, 1 / beta, offset))
    answers = target.double()

    def slopes(beta: Tensor) -> tuple[Tensor, Tensor]:
        p = functional.sigmoid(_scaled(z, 1 / beta, offset))
        first, second = (p - answers) * z, p * (1 - p) * z * z
        if share is None:
            return first.mean().reshape(1), second.mean().reshape(1)
        rows = share.sum(0)
        return (share * first).sum(0) / rows, (share * second).sum(0) / rows

    return slopes


def _softmax_slopes(z: Tensor, target: Tensor, scaled: Tensor) -> tuple[Tensor, Tensor]:
    p = functional.softmax(scaled, 1)
    mean = (p * z).sum(1)
    own = z.gather(1, target.unsqueeze(1)).squeeze(1)
    # about its mean, so that large logits leave digits of a small variance
    spread = (p * (z - mean.unsqueeze(1)).square()).sum(1)
    return (mean - own).mean().reshape(1), spread.mean().reshape(1)
