"""A training: epochs, each with a look at rows that it does not train on, the best of them kept."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lastlayer.classifier.config import Config
from lastlayer.classifier.extras import need
from lastlayer.classifier.journal import Epoch, Journal
from lastlayer.classifier.learning import linear_share, optimisation, processes, resuming
from lastlayer.classifier.learning.batches import Examples, in_order, loader
from lastlayer.classifier.learning.checkpoints import Checkpoint
from lastlayer.classifier.learning.interrupts import StopRequest
from lastlayer.classifier.learning.keeping import Keeper
from lastlayer.classifier.learning.linear_share import LinearShare
from lastlayer.classifier.learning.loop import Loop, batch_size, expected_losses, workers
from lastlayer.classifier.learning.tracking import Trackers
from lastlayer.classifier.network import objective
from lastlayer.classifier.network.members import MEMBERS
from lastlayer.classifier.network.model import Network
from lastlayer.decisions import log_loss
from lastlayer.errors import ConfigError, DataError
from lastlayer.messages import Message
from lastlayer.messages.kept import unpacked
from lastlayer.messages.wording import option

__all__ = [
    "History", "Weights", "accelerator", "batch_size", "expected_losses", "predict_logits", "shared_logits",
    "train", "workers",
]  # fmt: skip

Weights = dict[str, Tensor]
FEW = 1_000  # with fewer validation rows, training rows help to choose the epoch, where members have not seen them


@dataclass
class History:
    """How a training went.

    Attributes:
        epochs: One entry each.
        first_loss: Of the first batch, before any step.
        expected_first_loss: What a head that knows nothing costs: log C, in nats.
        prior_entropy: What a model costs that knows only how frequent each class is.
        best: The weights of the epoch with the lowest validation log-loss.
        best_epoch: Its number, from 1; 0 where training was interrupted before the first was over.
        interrupted: Whether somebody stopped it.
        linear: What part logistic regression has in the best weights; None where it has none.
    """

    epochs: list[Epoch]
    first_loss: float
    expected_first_loss: float
    prior_entropy: float
    best: Weights
    best_epoch: int
    interrupted: bool = False
    linear: LinearShare | None = None


def accelerator(config: Config, run: Path | None = None) -> Any:
    """The device, the precision and the processes to train with, and the trackers of a run that is kept."""
    accelerate = need("accelerate")
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)  # an earlier run may have had others
    if config.device != "auto":
        check_device(config.device)
    # A static graph lets the processes train a backbone that does not use all of its weights.
    together = accelerate.DistributedDataParallelKwargs(static_graph=True)
    helper = accelerate.Accelerator(
        cpu=processes.on_cpu(config.device),
        mixed_precision=config.precision,
        kwargs_handlers=[together],
        log_with=list(config.track) or None,
        project_dir=None if run is None else run,
    )
    processes.check_met(helper)
    if config.precision == "fp16" and helper.device.type == "cpu":
        raise ConfigError(
            f"{option('precision', 'fp16')} needs a GPU, and training runs on the CPU here: take "
            f"{option('precision', 'bf16')}, or leave it out."
        )
    return helper


def check_device(device: str) -> None:
    """Refuse a device that is not here."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there[device]:
        found = ", ".join(name for name, is_there in there.items() if is_there)
        raise DataError(
            f"there is no device {device!r} here: found {found}. Say {option('device', 'auto')} to take the best."
        )


def train(
    network: Network,
    rows: Examples,
    validation: Examples,
    config: Config,
    *,
    kind: str,
    journal: Journal,
    request: StopRequest,
    helper: Any,
    keeper: Keeper | None = None,
    trackers: Trackers | None = None,
    checkpoint: Checkpoint | None = None,
) -> History:
    """Train `network` in place and return what happened.

    Args:
        network: With its first weights.
        rows: To train on.
        validation: Rows that choose the epoch.
        config: Settings.
        kind: "image" or "table".
        journal: Hears of the progress.
        request: Whether to stop at the next step.
        helper: Device and processes, of `accelerator`.
        keeper: Writes checkpoints.
        trackers: Hear of each epoch.
        checkpoint: Where to go on from, of the same run.
    """
    loop = Loop(network, rows, config, kind, journal, request, helper)
    judge_each_other = network.held_out() is not None and len(validation) < FEW
    if judge_each_other:
        journal.say(Message("training.members", validation=len(validation), rows=len(rows), members=MEMBERS))
    held_back = optimisation.is_held_back(network, config)
    if held_back:
        decay, factor, most = optimisation.step_size(network, config)[1], optimisation.GROWTH, optimisation.MOST_DECAY
        fixing = option("weight_decay")
        journal.say(Message("training.decay", decay=decay, factor=factor, most=most, option=fixing))
    history = History([], math.nan, *loop.expected, _copied(network), 0)
    keeper, trackers = keeper or Keeper(None), trackers or Trackers()
    first_note = len(journal.notes)
    if checkpoint is not None:
        resuming.restore(checkpoint, loop, history)
        _go_on(checkpoint, len(loop.order), journal)

    def keep() -> None:
        notes = journal.notes[first_note:]
        keeper.keep(lambda: resuming.captured(loop, history, keeper.about, notes))

    while loop.number <= config.epochs and not _had_enough(history, config):
        if held_back:
            optimisation.hold_back(network, loop.optimizer, [epoch.best for epoch in history.epochs], config)
        loss = loop.epoch(keeper, keep)
        history.first_loss = loop.first_loss
        if loop.stopped:
            history.interrupted = True
            if not history.epochs:
                history.best = _copied(network)
            break
        if not math.isfinite(loss):
            _diverged(loop.number, loss, loop.step_size, history, journal)
            break
        epoch = _judge(loop, loss, network, rows, validation, history)
        if epoch.best:
            history.best, history.best_epoch = _copied(network), loop.number
        history.epochs.append(epoch)
        trackers.epoch(history.epochs, loop.rate())
        journal.listener.epoch(epoch, config.epochs, _seconds_left(history, config))
        loop.next_epoch()
        if keeper.due(after_epoch=True):
            keep()
    loop.finish().load_state_dict(history.best)
    if judge_each_other and not history.interrupted:
        _add_linear(network, rows, history, helper, journal)
    return history


def _add_linear(network: Network, rows: Examples, history: History, helper: Any, journal: Journal) -> None:
    """Give logistic regression the part of the answer that the rows ask for, the same in every process."""
    found = processes.of_first(lambda: (linear_share.add(network, rows), _copied(network)), helper)
    history.linear, history.best = found
    network.load_state_dict(history.best)
    if history.linear is not None:
        journal.say(Message("training.linear", **history.linear._asdict()))


def _had_enough(history: History, config: Config) -> bool:
    """Whether the validation log-loss has not fallen for so many epochs."""
    return bool(history.epochs) and history.epochs[-1].epoch - history.best_epoch >= config.patience


def _seconds_left(history: History, config: Config) -> float:
    done = len(history.epochs)
    return sum(epoch.seconds for epoch in history.epochs) / done * (config.epochs - done)


def _go_on(checkpoint: Checkpoint, steps: int, journal: Journal) -> None:
    """What the training has said so far is kept, and not said again."""
    journal.notes.extend(unpacked(checkpoint.plain["notes"]))
    journal.say(resuming.where(checkpoint, steps))


def _judge(loop: Loop, loss: float, network: Network, rows: Examples, validation: Examples, history: History) -> Epoch:
    processes.share_buffers(network, loop.helper)
    logits = shared_logits(network, validation, loop.helper.device, loop.helper)
    logits = objective.unweighted(logits, network.objective, network.task)
    judged = [(logits, validation.labelled)]
    held_out = network.held_out()
    if held_out is not None and len(validation) < FEW:
        own = shared_logits(held_out, rows, loop.helper.device, loop.helper)
        judged.append((objective.unweighted(own, network.objective, network.task), rows.labelled))
    logits, target = (torch.cat(parts) for parts in zip(*judged, strict=True))
    score = log_loss(logits, target)
    accuracy = float((network.task.decided(logits) == target).double().mean())
    best = all(score < epoch.validation_log_loss for epoch in history.epochs)
    return Epoch(loop.number, loss, score, accuracy, loop.seconds(), best)


def _diverged(number: int, loss: float, rate: float, history: History, journal: Journal) -> None:
    if not history.epochs:
        raise DataError(
            f"The training loss became {loss} in epoch {number}: the steps are too large. Lower {option('lr')} "
            f"(now {rate:g})."
        )
    journal.say(Message("training.diverged", loss=str(loss), epoch=number, option=option("lr"), rate=rate))


def shared_logits(network: nn.Module, examples: Examples, device: Any, helper: Any, workers: int = 0) -> Tensor:
    """Logits in float64 of all rows in order, a part of them by each process."""
    rows = processes.my_rows(len(examples), helper)
    return processes.joined(predict_logits(network, examples, device, workers, rows)[0], len(examples), helper)


def predict_logits(
    network: nn.Module, examples: Examples, device: Any, workers: int = 0, rows: range | None = None
) -> tuple[Tensor, dict[int, str]]:
    """Logits in float64 of all rows in order, or of some, and why some of them could not be read."""
    training = network.training
    network.eval()
    rows = range(len(examples)) if rows is None else rows
    parts: list[Tensor] = []
    problems: dict[int, str] = {}
    row = 0
    try:
        with torch.no_grad():
            for batch in loader(examples, in_order(rows), workers):
                parts.append(network(batch.inputs_on(device)).to("cpu", torch.float64))
                problems |= {row + place: reason for place, reason in batch.problems.items()}
                row += len(parts[-1])
    finally:
        network.train(training)
    return torch.cat(parts), problems


def _copied(network: nn.Module) -> Weights:
    return {name: weight.detach().to("cpu", copy=True) for name, weight in network.state_dict().items()}
