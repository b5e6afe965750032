"""The optimizer, and how learning rate and weight decay go over a training, by step and history: neither is state."""

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import nn

from lastlayer.classifier.config import Config
from lastlayer.classifier.network.members import TableMembers
from lastlayer.classifier.network.texts import TextTable

SLOWER = 40  # times: published weights change at 5e-5 where others change at 2e-3
_LEAST = 0.01  # of the learning rate is what a falling one ends with
GROWTH, MOST_DECAY = 1.5, 10.0  # of the weight decay of members: by epoch without a lower loss, and where it ends
PATIENT, LOSS, MOST_LOST = 2, 0.1, 0.3  # epochs in a row without a lower loss; of the cells, by each further one


def optimizer_for(network: nn.Module, config: Config) -> torch.optim.Optimizer:
    """AdamW over all weights; those that a text encoder was published with change more slowly than the rest."""
    rate, decay = step_size(network, config)
    slow = [] if config.freeze else list(published(network))
    own = {id(weight) for weight in slow}
    groups: list[dict[str, Any]] = [{"params": [each for each in network.parameters() if id(each) not in own]}]
    if slow:
        groups.append({"params": slow, "lr": rate / SLOWER, "slower": SLOWER})
    return torch.optim.AdamW(groups, lr=rate, weight_decay=decay, fused=True)


def step_size(network: nn.Module, config: Config) -> tuple[float, float]:
    """Learning rate and weight decay: the given ones, or what serves the network (docs/decisions/013)."""
    of_members = isinstance(getattr(network, "backbone", None), TableMembers)
    rate, decay = (1e-3, 0.3) if of_members else (2e-3, 0.01)
    return rate if config.lr is None else config.lr, decay if config.weight_decay is None else config.weight_decay


def is_held_back(network: nn.Module, config: Config) -> bool:
    """Whether weight decay and lost cells follow the validation log-loss: of members, where no decay is named."""
    return isinstance(getattr(network, "backbone", None), TableMembers) and config.weight_decay is None


def hold_back(network: nn.Module, optimizer: Any, best: Sequence[bool], config: Config) -> None:
    """Set weight decay and lost cells for the next epoch, by which epochs had the lowest log-loss so far."""
    backbone = network.backbone
    if not isinstance(backbone, TableMembers):
        raise TypeError(f"members are held back, not {type(backbone).__name__}")
    set_decay(optimizer, decay_after(best.count(False), step_size(network, config)[1]))
    backbone.lost = lost_after(best)


def decay_after(worse: int, start: float) -> float:
    """Weight decay after so many epochs whose validation log-loss was not the lowest so far.

    A table of much noise needs a hundred times the decay of a clean one, and only the rows that are held out tell
    which it is (docs/decisions/021).

    >>> [round(decay_after(worse, 0.3), 4) for worse in (0, 1, 2, 20)]
    [0.3, 0.45, 0.675, 10.0]
    """
    return max(start, min(MOST_DECAY, start * GROWTH**worse))


def lost_after(best: Sequence[bool]) -> float:
    """Which share of the cells of each row a member does not see, after such epochs.

    Three epochs in a row that lower nothing mean that members learn rows by heart; one or two mean nothing.

    >>> [round(lost_after([True] + [False] * worse + [True]), 2) for worse in (0, 2, 3, 4, 9)]
    [0.0, 0.0, 0.1, 0.2, 0.3]
    """
    longest = max((len(list(run)) for was_best, run in groupby(best) if not was_best), default=0)
    return min(MOST_LOST, LOSS * max(0, longest - PATIENT))


def published(network: nn.Module) -> Iterator[nn.Parameter]:
    """The weights of a text encoder that did not start at random."""
    backbone = getattr(network, "backbone", None)
    if isinstance(backbone, TextTable) and backbone.pretrained and backbone.encoder is not None:
        yield from backbone.encoder.parameters()


def factor(step: int, steps: int, warmup: float, schedule: str) -> float:
    """What the learning rate is multiplied by at a step.

    Args:
        step: From 0.
        steps: Of the whole training.
        warmup: Steps in which it rises in even parts to 1.
        schedule: "constant"; "cosine" or "linear" fall from there to 1 % at the last step.

    >>> [round(factor(step, 5, 2, "linear"), 3) for step in range(5)]
    [0.5, 1.0, 1.0, 0.505, 0.01]

    Source: the cosine without restarts of Loshchilov & Hutter 2017, arXiv:1608.03983.
    """
    if step < warmup:
        return (step + 1) / math.ceil(warmup)
    if schedule == "constant":
        return 1.0
    share = min(1.0, (step - math.ceil(warmup)) / max(1, steps - 1 - math.ceil(warmup)))
    fallen = share if schedule == "linear" else (1 - math.cos(math.pi * share)) / 2
    return 1 - (1 - _LEAST) * fallen


def set_decay(optimizer: Any, decay: float) -> None:
    """Give every group of weights a weight decay."""
    for group in optimizer.param_groups:
        group["weight_decay"] = decay


def set_rate(optimizer: Any, rate: float) -> None:
    """Give every group of weights a learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate / group.get("slower", 1)
