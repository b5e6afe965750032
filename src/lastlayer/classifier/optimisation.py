"""The optimizer, and how its learning rate goes over a training: a function of the step, which needs no memory."""

import math
from typing import Any

import torch
from torch import nn

from lastlayer.classifier.config import Config
from lastlayer.classifier.members import TableMembers

_LEAST = 0.01  # of the learning rate is what a falling one ends with


def optimizer_for(network: nn.Module, config: Config) -> torch.optim.Optimizer:
    """AdamW over all weights."""
    rate, decay = step_size(network, config)
    return torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=decay)


def step_size(network: nn.Module, config: Config) -> tuple[float, float]:
    """Learning rate and weight decay: the given ones, or what serves the network (docs/decisions/013)."""
    of_members = isinstance(getattr(network, "backbone", None), TableMembers)
    rate, decay = (1e-3, 0.3) if of_members else (2e-3, 0.01)
    return rate if config.lr is None else config.lr, decay if config.weight_decay is None else config.weight_decay


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


def set_rate(optimizer: Any, rate: float) -> None:
    """Give every group of weights a learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
