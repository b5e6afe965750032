"""Logistic regression as a part of what the members of a table's network answer, as large as the held-out rows ask for.

What is linear in a small table a network has not learnt to the end when it has to stop; logistic regression has, and
its penalty is all there is to choose. Each member gets the regression of the rows that it learns from itself, so that
it still answers for the others as one who has not seen them (docs/decisions/024).
"""

import copy
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lastlayer.classifier.extras import need
from lastlayer.classifier.learning.batches import Examples
from lastlayer.classifier.network import objective
from lastlayer.classifier.network.members import TableMembers
from lastlayer.classifier.network.model import Network
from lastlayer.decisions import row_losses

_SHARES = tuple(step / 20 for step in range(21))
_STRENGTHS: tuple[float, ...] = tuple(10.0 ** (half / 2) for half in range(-5, 6))
_ENOUGH = 0.5  # standard errors from the lowest log-loss
_MOST_WORK = 2e7  # rows × width × logits: about ten seconds


class LinearShare(NamedTuple):
    """What part of the logits is logistic regression, and what it is worth.

    Attributes:
        share: From 0 to 1.
        strength: C of scikit-learn, 1 / penalty.
        before: The log-loss of the training rows, each by the member that has not seen it, without the regression.
        after: The same with it.
    """

    share: float
    strength: float
    before: float
    after: float


class Regression(NamedTuple):
    """Of each member, in float64: weight (members, width, logits), bias (members, 1, logits)."""

    weight: Tensor
    bias: Tensor


def add(network: Network, rows: Examples) -> LinearShare | None:
    """Make logistic regression a part of the answer of `network`, in place; None where the rows ask for none.

    Args:
        network: Trained. One that is not of members stays as it is, as does one with another loss than log-loss.
        rows: That it was trained on, each by all members but one.
    """
    members, head = network.backbone, network.head.linear
    if not isinstance(members, TableMembers) or not _is_logistic(network) or head.out_features > members.features:
        return None
    if len(rows) * members.cells.width * head.out_features > _MOST_WORK:
        return None
    network.eval()  # what is judged answers as it will in use, without dropout
    with torch.no_grad():
        held_out = _HeldOut(network, members, rows)
        strength = _best(lambda strength: float(held_out.losses(held_out.regression(strength)[1]).mean()))
        regression, logits = held_out.regression(strength)
        own = held_out.own()
        losses = torch.stack([held_out.losses((1 - share) * own + share * logits) for share in _SHARES])
        share = _smallest(losses) if bool(losses.isfinite().all()) else 0.0
        if share == 0:
            return None
        before = copy.deepcopy(members.state_dict())
        _blend(members, head, regression, share)
        found = LinearShare(share, strength, float(losses[0].mean()), float(held_out.losses(held_out.own()).mean()))
        if found.after < found.before:
            return found
        members.load_state_dict(before)  # a head that has no inverse gives other logits than were judged
        return None


def _is_logistic(network: Network) -> bool:
    """Whether the loss that trained is that of logistic regression, with weights of classes or without."""
    return replace(network.objective, weight=None, pos_weight=None).is_plain


class _HeldOut:
    """The training rows, each answered by the member that has not seen it."""

    def __init__(self, network: Network, members: TableMembers, rows: Examples) -> None:
        self.network, self.members = network, members
        self.cells, self.target = (rows.table.numbers, rows.table.indices), rows.labelled
        self.x, self.owner = members.cells(*self.cells).double(), members.owner(*self.cells)
        self.regression = cache(self._regression)

    def own(self) -> Tensor:
        """The logits of the network, in float64."""
        logits: Tensor = self.network.head(self.members.held_out(*self.cells)).double()
        return logits.reshape(len(self.target), -1)

    def losses(self, logits: Tensor) -> Tensor:
        """(rows, logits) to the log-loss of each row; of several labels their mean."""
        if self.network.task.kind == "binary":
            logits = logits.squeeze(1)
        losses = row_losses(objective.unweighted(logits, self.network.objective, self.network.task), self.target)
        return losses.reshape(len(self.target), -1).mean(1)

    def _regression(self, strength: float) -> tuple[Regression, Tensor]:
        """The regressions at one C, and their logits."""
        each = []
        for member, x in enumerate(self.x):
            learns = self.owner != member
            each.append(fitted(x[learns].numpy(), self.target[learns].numpy(), self.network, strength))
        weight, bias = (torch.from_numpy(np.stack(parts)) for parts in zip(*each, strict=True))
        found = Regression(weight, bias.unsqueeze(1))
        x = self.x[self.owner, torch.arange(len(self.owner))].unsqueeze(1)
        return found, (x @ found.weight[self.owner] + found.bias[self.owner]).squeeze(1)


def _best(loss_of: Callable[[float], float]) -> float:
    """The strength of the lowest loss: downhill from 1, by tens, then by their roots.

    >>> _best(lambda strength: abs(np.log10(strength) + 1.5)) == 10**-1.5
    True
    """
    place = _STRENGTHS.index(1.0)
    for step in (2, 1):
        while True:
            near = [each for each in (place, place - step, place + step) if 0 <= each < len(_STRENGTHS)]
            lowest = min((loss_of(_STRENGTHS[each]), each != place, each) for each in near)[-1]
            if lowest == place:
                break
            place = lowest
    return _STRENGTHS[place]


def _smallest(losses: Tensor) -> float:
    """The smallest share whose mean loss is within half a standard error of the lowest; `losses` is (shares, rows).

    Members are judged one by one but answer together, which helps them, and not the regressions.
    """
    gaps = losses - losses[losses.mean(1).argmin()]
    near = gaps.mean(1) <= _ENOUGH * gaps.std(1) / gaps.shape[1] ** 0.5
    return _SHARES[int(near.nonzero()[0])]


def fitted(x: np.ndarray, target: np.ndarray, network: Network, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """Logistic regression with the question and the class weights of `network`: weight (width, logits), bias (logits).

    An answer that no row gives is as likely as half a row in all; without rows all are equally likely.
    """
    options = network.objective
    if network.task.kind == "multiclass":
        weight = np.ones(len(network.task.classes)) if options.weight is None else np.array(options.weight)
        return _classes(x, target, weight, strength)
    labels = np.atleast_2d(target.T)
    yes = np.broadcast_to(options.pos_weight or 1.0, len(labels))
    both = [_classes(x, label, np.array([1.0, each]), strength) for label, each in zip(labels, yes, strict=True)]
    return (
        np.stack([weight[:, 1] - weight[:, 0] for weight, _ in both], 1),
        np.array([bias[1] - bias[0] for _, bias in both]),
    )


def _classes(x: np.ndarray, target: np.ndarray, weight: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """Weight (width, classes) and bias (classes) of a softmax."""
    there = np.unique(target)
    factors, bias = np.zeros((x.shape[1], len(weight))), np.full(len(weight), -np.log(2 * max(1, len(target))))
    if len(there) < 2:
        bias[there] = 0.0
        return factors, bias
    model = need("sklearn.linear_model").LogisticRegression(C=strength, max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of steps that were not enough: what they led to is judged as it is
        model.fit(x, target, sample_weight=weight[target])
    found, at = model.coef_, model.intercept_
    if len(there) == 2:  # the log-odds of the second alone
        found, at = np.concatenate([-found / 2, found / 2]), np.concatenate([-at / 2, at / 2])
    factors[:, there], bias[there] = found.T, at
    return factors, bias


def _blend(members: TableMembers, head: nn.Linear, found: Regression, share: float) -> None:
    """Make `found` such a part of the logits, through the features, so that there is one head."""
    inverse = torch.linalg.pinv(head.weight.double()).T  # (logits, features)
    members.blend(share, found.weight @ inverse, (found.bias - head.bias.double()) @ inverse)
