"""One epoch: forward, loss, backward, step. A batch may be computed in parts; the step is the same."""

import math
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from lastlayer.classifier import diagnosis
from lastlayer.classifier.config import Config
from lastlayer.classifier.extras import need
from lastlayer.classifier.journal import Journal
from lastlayer.classifier.learning import augmentation, optimisation, processes
from lastlayer.classifier.learning.batches import Batch, Examples, SeededBatches, WithEpoch, loader
from lastlayer.classifier.learning.interrupts import StopRequest
from lastlayer.classifier.learning.keeping import Keeper
from lastlayer.classifier.network.model import Network
from lastlayer.errors import ConfigError
from lastlayer.messages import Message
from lastlayer.messages.wording import option

_STEPS_BETWEEN_QUESTIONS = 16


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

    Attributes:
        number: The epoch in progress, from 1.
        step: How many of its steps are done.
        total: Of the losses of its rows so far, in this process.
        rows: How many rows they are, in all processes together.
        parts: That each batch is computed in.
        step_size: The learning rate before warm-up and schedule.
        spent: Seconds that the epoch took before the run was resumed.
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
        self.network, self.helper, self.config = network, helper, config
        if helper.num_processes > 1:
            warnings.filterwarnings("ignore", "Grad strides do not match")  # a matter of speed alone
        self.order = SeededBatches(
            len(rows), batch_size(config, len(rows)), config.seed, helper.process_index, helper.num_processes
        )
        change = augmentation.augmentation(config, rows.spec, journal)
        self.batches = loader(
            rows if change is None else augmentation.Varied(rows, change),
            self.order if change is None else WithEpoch(self.order),
            workers(config, kind),
        )
        self.mixing = augmentation.mixing(config, network.task, journal)
        self.model, self.optimizer = helper.prepare(network, optimisation.optimizer_for(network, config))
        self.step_size = optimisation.step_size(network, config)[0]
        self.journal, self.request = journal, request
        self.task = network.task
        self.expected = expected_losses(rows.labelled, network.task.choices)
        self.first_loss = math.nan
        self.number, self.step, self.rows, self.parts = 1, 0, 0, config.accumulate
        self.total = torch.zeros((), device=helper.device)
        self.begun, self.spent = time.monotonic(), 0.0
        self.stopped = False

    def seconds(self) -> float:
        """How long the epoch in progress has taken."""
        return self.spent + time.monotonic() - self.begun

    def epoch(self, keeper: Keeper, keep: Callable[[], None]) -> float:
        """What is left of the epoch in progress; returns its mean loss, over all processes.

        `keep` is called between two steps where `keeper` says that a checkpoint is due.
        """
        self.begun = time.monotonic()
        self.order.epoch, self.order.first = self.number, self.step
        self.model.train()
        steps = len(self.order)
        batch: Batch
        doing = Message("training.progress", number=self.number)
        for batch in self.journal.track(self.batches, doing, steps, self.step):
            self._step(batch)
            self.step += 1
            if self._asked_to_stop():
                break
            if self.step < steps and self._may_ask() and keeper.due(after_epoch=False):
                keep()
        self.stopped = self.stopped or processes.anywhere(self.request.made, self.helper)
        return float(processes.total(self.total, self.helper)) / max(self.rows, 1)

    def next_epoch(self) -> None:
        """Go on to the first step of the next one."""
        self.number, self.step, self.rows, self.spent = self.number + 1, 0, 0, 0.0
        self.total = torch.zeros_like(self.total)

    def _step(self, batch: Batch) -> None:
        share, size = self.order.share(self.step), self.order.size_of(self.step)
        if self.mixing is not None:
            batch = self.mixing(batch, self.number, self.step)
        while True:
            try:
                loss = self._backward(batch, share)
                break
            except RuntimeError as error:
                self._compute_in_more_parts(error, len(batch.labelled))
        if self.config.clip_norm is not None:
            self.helper.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        optimisation.set_rate(self.optimizer, self.rate())
        self.optimizer.step()
        self.total += loss * (share * size)
        self.rows += size
        if math.isnan(self.first_loss):
            self._say_first(processes.total(loss * share, self.helper).item())

    def _backward(self, batch: Batch, share: float) -> Tensor:
        """Gradients of the batch, part by part; returns its mean loss. Each row counts as in the whole batch."""
        self.optimizer.zero_grad()
        rows = len(batch.labelled)
        total = torch.zeros((), device=self.helper.device)
        for part in in_parts(batch, self._parts(self.step)):
            loss = self._loss(part)
            if math.isnan(self.first_loss) and part is batch:
                diagnosis.of_first_batch(loss, self.journal)
            of_batch = len(part.labelled) / rows
            # The processes' gradients are averaged, each counted as often as the others.
            self.helper.backward(loss * (of_batch * share * self.helper.num_processes))
            total += loss.detach() * of_batch
        return total

    def _parts(self, step: int) -> int:
        """As many as asked for, while each has two rows, which batch norm needs; as many in every process."""
        return max(1, min(self.parts, self.order.least_share(step) // 2))

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

    def rate(self) -> float:
        """The learning rate of the next step."""
        steps, config = len(self.order), self.config
        now = (self.number - 1) * steps + self.step
        return self.step_size * optimisation.factor(now, config.epochs * steps, config.warmup * steps, config.schedule)

    def _compute_in_more_parts(self, error: RuntimeError, rows: int) -> None:
        """Where the memory of the device was too small for a part of a batch, halve the parts; the step stays."""
        if not _memory_is_full(error):
            raise error
        now = self._parts(self.step)
        self.parts = 2 * now
        advice = f"take a smaller backbone, or a smaller {option('image_size')}"
        if self.helper.num_processes > 1:
            raise ConfigError(
                f"the memory of {self.helper.device} is too small for {rows // now:,} rows at a time: say "
                f"{option('accumulate', 2 * now)}, or {advice}."
            ) from error
        if self._parts(self.step) == now:
            raise ConfigError(
                f"the memory of {self.helper.device} is too small even for {-(-rows // now)} rows at a time: {advice}."
            ) from error
        self.optimizer.zero_grad()
        if self.helper.device.type == "cuda":
            torch.cuda.empty_cache()
        at_once, device = -(-rows // now), str(self.helper.device)
        self.journal.say(Message("training.memory", device=device, rows=at_once, parts=self.parts, batch=rows))

    def _may_ask(self) -> bool:
        """Several processes have to agree, which they ask each other now and then."""
        return self.helper.num_processes == 1 or (self.step - 1) % _STEPS_BETWEEN_QUESTIONS == 0

    def _asked_to_stop(self) -> bool:
        if self._may_ask():
            self.stopped = processes.anywhere(self.request.made, self.helper)
        return self.stopped

    def _say_first(self, loss: float) -> None:
        self.first_loss = loss
        nothing, prior = self.expected
        if not self.network.objective.is_plain:
            self.journal.say(Message("training.first_changed", loss=loss))
            return
        known = {"nothing": nothing, "frequencies": self.task.frequencies, "prior": prior}
        self.journal.say(Message("training.first", loss=loss, choices=self.task.choices, **known))

    def finish(self) -> nn.Module:
        """The network as it was before the loop wrapped it, on the CPU."""
        network: nn.Module = self.helper.unwrap_model(self.model, keep_fp32_wrapper=False).to("cpu")
        return network


def in_parts(batch: Batch, parts: int) -> list[Batch]:
    """A batch in so many parts, which differ by one row at most; itself where it is one."""
    if parts == 1:
        return [batch]
    rows = len(batch.labelled)
    ends = [rows * part // parts for part in range(parts + 1)]
    return [
        replace(
            batch,
            inputs=tuple(each[start:stop] for each in batch.inputs),
            target=batch.labelled[start:stop],
        )
        for start, stop in pairwise(ends)
    ]


def _memory_is_full(error: RuntimeError) -> bool:
    full = need("accelerate.utils.memory").should_reduce_batch_size
    return isinstance(error, torch.OutOfMemoryError) or bool(full(error))
