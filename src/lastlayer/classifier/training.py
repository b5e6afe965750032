"""The loop: forward, loss, backward, step; after each epoch a look at rows that it does not train on."""

import math
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lastlayer.classifier import diagnosis, processes
from lastlayer.classifier.batches import Batch, Examples, SeededBatches, in_order, loader
from lastlayer.classifier.config import Config
from lastlayer.classifier.extras import need
from lastlayer.classifier.interrupts import StopRequest
from lastlayer.classifier.journal import Epoch, Journal
from lastlayer.classifier.model import Network
from lastlayer.decisions import log_loss
from lastlayer.errors import ConfigError, DataError
from lastlayer.messages.wording import option

Weights = dict[str, Tensor]
_STEPS_BETWEEN_QUESTIONS = 16


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
    """

    epochs: list[Epoch]
    first_loss: float
    expected_first_loss: float
    prior_entropy: float
    best: Weights
    best_epoch: int
    interrupted: bool = False


def accelerator(config: Config) -> Any:
    """The device, the precision and the processes to train with."""
    accelerate = need("accelerate")
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)  # an earlier run may have had others
    if config.device != "auto":
        check_device(config.device)
    # A static graph lets the processes train a backbone that does not use all of its weights.
    together = accelerate.DistributedDataParallelKwargs(static_graph=True)
    helper = accelerate.Accelerator(
        cpu=config.device == "cpu", mixed_precision=config.precision, kwargs_handlers=[together]
    )
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


def batch_size(config: Config, rows: int) -> int:
    """About 50 steps an epoch, in powers of two from 32 to 2,048."""
    if config.batch_size is not None:
        return config.batch_size
    return int(min(2048, max(32, 2 ** round(math.log2(max(rows, 1) / 50)))))


def workers(config: Config, kind: str) -> int:
    """Processes that read images; tables are in memory."""
    if config.workers is not None:
        return config.workers
    return 0 if kind == "table" else min(4, (os.cpu_count() or 1) // 2)


def expected_losses(target: Tensor, choices: int) -> tuple[float, float]:
    """The log of the number of answers to choose from, and the entropy of their frequencies, in nats.

    Of several labels (rows, classes) the mean over the labels.

    >>> [round(loss, 4) for loss in expected_losses(torch.tensor([0, 0, 0, 1]), 2)]
    [0.6931, 0.5623]
    """
    if target.dim() == 2:
        yes = target.double().mean(0)
        share = torch.stack([yes, 1 - yes])
    else:
        share = torch.bincount(target).double() / max(len(target), 1)
    entropy = -torch.xlogy(share, share).sum(0)
    return math.log(choices), float(entropy.mean())


class Loop:
    """The epochs of one training: the network, its optimizer and its batches, on the device.

    Args:
        network: Trained in place.
        rows: To train on.
        config: Settings.
        kind: "image" or "table".
        journal: Hears of the progress.
        request: Whether to stop at the next step.
        helper: The device and the processes, of `accelerator`.
    """

    def __init__(
        self,
        network: Network,
        rows: Examples,
        config: Config,
        kind: str,
        journal: Journal,
        request: StopRequest,
        helper: Any,
    ) -> None:
        self.helper = helper
        if helper.num_processes > 1:
            warnings.filterwarnings("ignore", "Grad strides do not match")  # a matter of speed alone
        self.order = SeededBatches(
            len(rows), batch_size(config, len(rows)), config.seed, self.helper.process_index, self.helper.num_processes
        )
        self.batches = loader(rows, self.order, workers(config, kind))
        optimizer = torch.optim.AdamW(network.parameters(), lr=config.lr, weight_decay=config.weight_decay)
        self.model, self.optimizer = self.helper.prepare(network, optimizer)
        self.journal, self.request = journal, request
        self.first_loss = math.nan
        self.task = network.task
        self.expected = expected_losses(rows.labelled, network.task.choices)
        self.stopped = False

    def epoch(self, number: int) -> float:
        """One pass over the training rows; returns the mean loss, over all processes."""
        self.order.epoch = number
        self.model.train()
        total, rows = torch.zeros((), device=self.helper.device), 0
        batch: Batch
        for step, batch in enumerate(self.journal.track(self.batches, f"epoch {number}", len(self.batches))):
            share, size = self.order.share(step), self.order.size_of(step)
            self.optimizer.zero_grad()
            loss = self._loss(batch)
            if math.isnan(self.first_loss):
                diagnosis.of_first_batch(loss, self.journal)
            # The processes' gradients are averaged, each counted as often as the others.
            self.helper.backward(loss * (share * self.helper.num_processes))
            self.optimizer.step()
            total += loss.detach() * (share * size)
            rows += size
            if math.isnan(self.first_loss):
                self._say_first(processes.total(loss.detach() * share, self.helper).item())
            if self._asked_to_stop(step):
                break
        self.stopped = self.stopped or processes.anywhere(self.request.made, self.helper)
        return float(processes.total(total, self.helper)) / max(rows, 1)

    def _loss(self, batch: Batch) -> Tensor:
        try:
            loss: Tensor = self.model(batch.inputs_on(self.helper.device), batch.labelled.to(self.helper.device))
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise ConfigError(
                "this backbone normalises over the rows of a batch and cannot train on one row at a time: raise "
                f"{option('batch_size')} to 2 or more."
            ) from error
        return loss

    def _asked_to_stop(self, step: int) -> bool:
        """Whether to stop now; several processes have to agree, which they ask each other now and then."""
        alone = self.helper.num_processes == 1
        if alone or step % _STEPS_BETWEEN_QUESTIONS == 0:
            self.stopped = processes.anywhere(self.request.made, self.helper)
        return self.stopped

    def _say_first(self, loss: float) -> None:
        self.first_loss = loss
        nothing, prior = self.expected
        self.journal.say(
            f"First batch: loss {loss:.4f}. A head that knows nothing pays about ln {self.task.choices} = "
            f"{nothing:.4f}; one that knows only the {self.task.frequencies} {prior:.4f}."
        )

    def finish(self) -> nn.Module:
        """The network as it was before the loop wrapped it, on the CPU."""
        network: nn.Module = self.helper.unwrap_model(self.model, keep_fp32_wrapper=False).to("cpu")
        return network


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
    on_best: Callable[[Weights], None],
) -> History:
    """Train `network` in place and return what happened; `on_best` gets the weights of each new best epoch."""
    loop = Loop(network, rows, config, kind, journal, request, helper)
    history = History([], math.nan, *loop.expected, _copied(network), 0)
    started = time.monotonic()
    for number in range(1, config.epochs + 1):
        begun = time.monotonic()
        loss = loop.epoch(number)
        history.first_loss = loop.first_loss
        if loop.stopped:
            history.interrupted = True
            if not history.epochs:
                history.best = _copied(network)
            break
        if not math.isfinite(loss):
            _diverged(number, loss, config, history, journal)
            break
        epoch = _judge(number, loss, network, validation, helper, begun, history)
        if epoch.best:
            history.best, history.best_epoch = _copied(network), number
            on_best(history.best)
        history.epochs.append(epoch)
        left = (time.monotonic() - started) / number * (config.epochs - number)
        journal.listener.epoch(epoch, config.epochs, left)
        if number - history.best_epoch >= config.patience:
            break
    loop.finish().load_state_dict(history.best)
    return history


def _judge(
    number: int, loss: float, network: Network, validation: Examples, helper: Any, begun: float, history: History
) -> Epoch:
    processes.share_buffers(network, helper)
    logits = shared_logits(network, validation, helper.device, helper)
    score = log_loss(logits, validation.labelled)
    accuracy = float((network.task.decided(logits) == validation.labelled).double().mean())
    best = all(score < epoch.validation_log_loss for epoch in history.epochs)
    return Epoch(number, loss, score, accuracy, time.monotonic() - begun, best)


def _diverged(number: int, loss: float, config: Config, history: History, journal: Journal) -> None:
    said = (
        f"the training loss became {loss} in epoch {number}: the steps are too large. Lower {option('lr')} "
        f"(now {config.lr:g})."
    )
    if not history.epochs:
        raise DataError(said[0].upper() + said[1:])
    journal.say(f"Stopped: {said} The best epoch so far is kept.")


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
