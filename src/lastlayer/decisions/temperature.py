"""Temperature scaling: one number that makes a classifier's confidence honest.

Dividing every logit by T > 0 changes no decision, only how sure the probabilities are. T is fitted to labelled rows
that the model was not trained on, and kept only where rows that the fit has not seen get a lower log-loss from it.

Source: Guo et al. 2017, arXiv:1706.04599.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lastlayer import functional
from lastlayer.decisions.scores import log_loss

# Beyond these the fit says that the model is certain, or knows nothing; it is stopped there.
LEAST, MOST = 0.05, 20.0


@dataclass(frozen=True)
class Calibration:
    """What came of fitting a temperature.

    Attributes:
        temperature: What to divide logits by: the fitted one where it is kept, else 1.
        kept: Whether the fitted one helps rows that it was not fitted to.
        fitted: The temperature that all rows together ask for; NaN where there are too few to fit one, 0.05 or 20
            where they ask for none: every row is right, or they are predicted no better than at random.
        before: Mean log-loss at temperature 1, in nats.
        after: Mean log-loss of rows that the fit had not seen, each at the temperature of the others.
    """

    temperature: float
    kept: bool
    fitted: float
    before: float
    after: float


def fit_temperature(logits: Float[Tensor, "rows *classes"], target: Int[Tensor, " rows"]) -> float:
    """Return the T > 0 with the least mean log-loss of `logits` / T.

    Args:
        logits: (rows, classes) for softmax, or (rows) for one sigmoid; taken in float64.
        target: Class indices; 0 or 1 for one sigmoid.

    Returns:
        T in [0.05, 20]; an end of that range where the loss still falls there.

    >>> logits = torch.tensor([[3.0, 0.0], [3.0, 0.0], [0.0, 3.0], [3.0, 0.0]])
    >>> round(fit_temperature(logits, torch.tensor([0, 0, 1, 1])), 4)  # right 3 times of 4: 3 / log 3
    2.7307
    """
    z = logits.detach().double()
    low, high = 1 / MOST, 1 / LEAST  # in β = 1/T the loss is convex: its slope has one root
    if _slope(z, target, low)[0] >= 0:
        return MOST
    if _slope(z, target, high)[0] <= 0:
        return LEAST
    beta = 1.0
    for _ in range(200):
        slope, curvature = _slope(z, target, beta)
        low, high = (beta, high) if slope < 0 else (low, beta)
        step = beta - slope / curvature if curvature > 0 else low
        new = step if low < step < high else (low + high) / 2  # Newton's step, or half the bracket
        if abs(new - beta) <= 1e-14 * beta:
            break
        beta = new
    return 1 / beta


def calibrate(
    logits: Float[Tensor, "rows *classes"], target: Int[Tensor, "rows *labels"], *, folds: int = 5
) -> Calibration:
    """Fit a temperature, and keep it only if it helps rows that it was not fitted to.

    Args:
        logits: (rows, classes) for softmax; (rows) for one sigmoid, or (rows, classes) for one per label; of rows that
            the model was not trained on.
        target: Class indices; 0 or 1 in the shape of the logits for sigmoids.
        folds: Each of so many parts is scored at the temperature fitted to the others.

    >>> torch.manual_seed(0)  # doctest: +ELLIPSIS
    <...>
    >>> logits = torch.randn(2000, 4)
    >>> target = torch.distributions.Categorical(logits=logits).sample()
    >>> calibrate(3 * logits, target).kept
    True
    """
    z = logits.detach().double()
    if z.dim() == 2 and z.shape == target.shape:  # a sigmoid per label: as many questions of yes or no
        return calibrate(z.flatten(), target.flatten(), folds=folds)
    before = log_loss(z, target)
    if len(target) < 2 * folds:
        return Calibration(1.0, False, math.nan, before, before)  # too few to hold any back
    fold = torch.empty_like(target)
    fold[target.argsort(stable=True)] = torch.arange(len(target), device=target.device) % folds  # each class spread
    total = 0.0
    for part in range(folds):
        held = fold == part
        temperature = fit_temperature(z[~held], target[~held])
        total += log_loss(z[held], target[held], temperature) * int(held.sum())
    after = total / len(target)
    fitted = fit_temperature(z, target)
    kept = after < before and LEAST < fitted < MOST
    return Calibration(fitted if kept else 1.0, kept, fitted, before, after)


def _slope(z: Tensor, target: Tensor, beta: float) -> tuple[float, float]:
    """First and second derivative of the mean log-loss of βz in β."""
    if z.dim() == 1:
        p = functional.sigmoid(beta * z)
        return float(((p - target) * z).mean()), float((p * (1 - p) * z * z).mean())
    p = functional.softmax(beta * z, 1)
    mean = (p * z).sum(1)
    own = z.gather(1, target.unsqueeze(1)).squeeze(1)
    return float((mean - own).mean()), float(((p * z * z).sum(1) - mean * mean).mean())
