"""A backbone that stays as it was published: its features are computed once, the head is trained on them.

After that backbone and head may be trained together, more slowly: a head that has to learn from nothing would else
spoil in its first steps what the backbone brings.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lastlayer.classifier.config import Config
from lastlayer.classifier.data.columns import TableSpec
from lastlayer.classifier.journal import Journal
from lastlayer.classifier.learning import training
from lastlayer.classifier.learning.batches import Batch, Examples
from lastlayer.classifier.learning.checkpoints import Checkpoint
from lastlayer.classifier.learning.interrupts import StopRequest
from lastlayer.classifier.learning.keeping import Keeper
from lastlayer.classifier.learning.optimisation import SLOWER, step_size
from lastlayer.classifier.learning.tracking import Trackers, following
from lastlayer.classifier.learning.training import History
from lastlayer.classifier.network import backbones
from lastlayer.classifier.network.model import Network
from lastlayer.classifier.network.texts import TextTable
from lastlayer.errors import ConfigError
from lastlayer.messages import Message
from lastlayer.messages.wording import option

_NOTHING_LEARNT = (
    "{freeze} keeps what a backbone has learnt, and this one starts from random weights: name a timm model or a text "
    "encoder with {pretrained}, where its weights can be had, or a folder that holds an encoder."
)


def check(config: Config) -> None:
    """Refuse to freeze what has learnt nothing, before any data is read."""
    if config.freeze and not backbones.starts_from_weights(config):
        raise ConfigError(_NOTHING_LEARNT.format(freeze=option("freeze", True), pretrained=option("pretrained", True)))
    _check_variety(config)
    if config.finetune_epochs and not config.freeze:
        raise ConfigError(
            f"{option('finetune_epochs')} follows on a frozen backbone: add {option('freeze', True)}, or take "
            f"{option('epochs')} alone."
        )


def train(
    network: Network,
    parts: dict[str, Examples],
    config: Config,
    *,
    kind: str,
    journal: Journal,
    request: StopRequest,
    helper: Any,
    keeper: Keeper,
    trackers: Trackers,
    checkpoint: Checkpoint | None,
) -> History:
    """Train as `training.train` does, with a frozen backbone where the settings say so.

    A run that is resumed while it fine-tunes computes the features and trains the head again, which gives the same
    bits, and goes on from there.
    """
    run = partial(training.train, journal=journal, request=request, helper=helper, trackers=trackers)
    whole = partial(run, network, parts["train"], parts["validation"], kind=kind, keeper=keeper, checkpoint=checkpoint)
    if not config.freeze:
        return whole(config)
    _check_weights(network)
    features, head = _cached(network, parts, kind, config, journal, helper), _head_of(network)
    as_they_are = replace(config, augment="none", mixup=0.0, cutmix=0.0)
    of_head = partial(run, head, features["train"], features["validation"], as_they_are, kind="table")
    first = of_head() if config.finetune_epochs else of_head(keeper=keeper, checkpoint=checkpoint)
    first.best = _copied(network)
    if first.interrupted or not config.finetune_epochs:
        return first
    slow = replace(config, lr=step_size(network, config)[0] / SLOWER, epochs=config.finetune_epochs)
    trained = {"best": first.best_epoch, "last": len(first.epochs)}
    journal.say(Message("training.finetune", epochs=slow.epochs, rate=slow.lr, **trained))
    trackers.follow(first.epochs)
    together = _joined(first, whole(slow))
    network.load_state_dict(together.best)
    return together


def _check_variety(config: Config) -> None:
    """Features are computed once: only fine-tuning sees other pictures in each epoch."""
    plain = Config()
    varied = [name for name in ("augment", "mixup", "cutmix") if getattr(config, name) != getattr(plain, name)]
    if config.freeze and varied and not config.finetune_epochs:
        raise ConfigError(
            f"{option(varied[0])} changes the images in each epoch, and with {option('freeze', True)} each is read "
            f"once: leave one of them out, or add {option('finetune_epochs')}."
        )


def _check_weights(network: Network) -> None:
    if not getattr(network.backbone, "pretrained", False):
        raise ConfigError(_NOTHING_LEARNT.format(freeze=option("freeze", True), pretrained=option("pretrained", True)))


class Features(Examples):
    """Rows whose features are there already.

    Args:
        inputs: One entry per row each: features, and what else the rest of the network reads.
        target: Of each row.
    """

    def __init__(self, inputs: tuple[Tensor, ...], target: Tensor | None) -> None:
        self.inputs, self.target = inputs, target
        self.length = len(inputs[0])
        self.is_table = False
        self.spec = TableSpec((), ())

    def __getitems__(self, rows: Sequence[int]) -> Batch:
        places = torch.as_tensor(rows)
        return Batch(
            tuple(each[places] for each in self.inputs), None if self.target is None else self.target[places], {}
        )


class _Reader(nn.Module):
    """What is frozen, as a module of one argument."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, inputs: tuple[Tensor, ...]) -> Tensor:
        frozen = self.backbone.read_texts(*inputs[2:]) if isinstance(self.backbone, TextTable) else None
        features: Tensor = self.backbone(*inputs) if frozen is None else frozen
        return features


class _Rest(nn.Module):
    """What is left of a backbone behind its features: nothing, or the numbers and categories of the same rows."""

    def __init__(self, others: nn.Module | None) -> None:
        super().__init__()
        self.others = others

    def forward(self, features: Tensor, *columns: Tensor) -> Tensor:
        return features if self.others is None else torch.cat([features, self.others(*columns)], 1)


def _cached(
    network: Network, parts: dict[str, Examples], kind: str, config: Config, journal: Journal, helper: Any
) -> dict[str, Features]:
    reader, workers = _Reader(network.backbone).to(helper.device), training.workers(config, kind)
    found: dict[str, Features] = {}
    for name in ("train", "validation"):
        rows = parts[name]
        features = training.shared_logits(reader, rows, helper.device, helper, workers).float()
        beside = (rows.table.numbers, rows.table.indices) if rows.is_table else ()
        found[name] = Features((features, *beside), rows.target)
    reader.to("cpu")
    width = found["train"].inputs[0].shape[1]
    journal.say(Message("training.frozen", width=width, rows=sum(map(len, found.values()))))
    return found


def _head_of(network: Network) -> Network:
    """The same head behind features that are there already."""
    head = Network.__new__(Network)
    nn.Module.__init__(head)
    others = network.backbone.others if isinstance(network.backbone, TextTable) else None
    head.backbone, head.head = _Rest(others), network.head
    head.task, head.objective = network.task, network.objective
    return head


def _joined(first: History, second: History) -> History:
    """Both trainings as one, with the better of their best epochs."""
    last = len(first.epochs)
    epochs = following(first.epochs, second.epochs)
    better = any(epoch.best for epoch in epochs[last:])
    return replace(
        first,
        epochs=epochs,
        best=second.best if better else first.best,
        best_epoch=last + second.best_epoch if better else first.best_epoch,
        interrupted=second.interrupted,
    )


def _copied(network: nn.Module) -> training.Weights:
    return {name: weight.detach().to("cpu", copy=True) for name, weight in network.state_dict().items()}
