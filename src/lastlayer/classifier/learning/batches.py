"""Rows in batches: the same order for the same seed, whoever fetches them."""

import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from lastlayer.classifier.data.columns import TableSpec
from lastlayer.classifier.data.encoding import encoded
from lastlayer.classifier.data.pixels import ImageSpec
from lastlayer.classifier.data.rows import Rows
from lastlayer.errors import DataError

Inputs = tuple[Tensor, ...]


@dataclass
class Batch:
    """Some rows: their inputs, their targets where they have any, and why some of them could not be read."""

    inputs: Inputs
    target: Tensor | None
    problems: dict[int, str]  # by place in the batch

    def inputs_on(self, device: Any) -> Inputs:
        """The inputs, moved."""
        return tuple(part.to(device) for part in self.inputs)

    @property
    def labelled(self) -> Tensor:
        """The class index of each row."""
        return _labelled(self.target)


class Examples(Dataset[Any]):
    """Rows as tensors. A whole batch is fetched at once (`__getitems__`)."""

    def __init__(self, rows: Rows, spec: ImageSpec | TableSpec, target: Tensor | None) -> None:
        self.target = target
        self.length = len(rows)
        self.spec = spec
        self.is_table = isinstance(spec, TableSpec)
        if isinstance(spec, TableSpec):
            self.table = encoded(spec, rows.data)
        else:
            self.pictures = list(rows.data["image"])

    @property
    def labelled(self) -> Tensor:
        """The class index of each row."""
        return _labelled(self.target)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, row: int) -> Batch:
        return self.__getitems__([row])

    def __getitems__(self, rows: Sequence[int]) -> Batch:
        places = torch.as_tensor(rows)
        target = None if self.target is None else self.target[places]
        if isinstance(self.spec, TableSpec):
            problems = {place: self.table.problems[row] for place, row in enumerate(rows) if row in self.table.problems}
            texts = [part for text in self.table.texts for part in text.batch(rows)]
            return Batch((self.table.numbers[places], self.table.indices[places], *texts), target, problems)
        return self._pictures(rows, target, self.spec)

    def changed(self, rows: Sequence[int], change: Callable[[int, Any], Any]) -> Batch:
        """Pictures of some rows, each changed by `change`, which gets its row and the decoded picture."""
        assert isinstance(self.spec, ImageSpec)  # noqa: S101 - tables are not changed
        target = None if self.target is None else self.target[torch.as_tensor(rows)]
        return self._pictures(rows, target, self.spec, change)

    def _pictures(
        self,
        rows: Sequence[int],
        target: Tensor | None,
        spec: ImageSpec,
        change: Callable[[int, Any], Any] | None = None,
    ) -> Batch:
        decoded, problems = [], {}
        for place, row in enumerate(rows):
            try:
                decoded.append(spec.pixels(self.pictures[row], change and partial(change, row)))
            except DataError as error:
                problems[place] = str(error)
                decoded.append(np.zeros((spec.size, spec.size, spec.channels), np.uint8))
        return Batch((spec.tensors(decoded),), target, problems)


class SeededBatches(Sampler[list[int]]):
    """Batches of shuffled rows; the order depends on the seed and the epoch alone. Several processes share a batch.

    A last batch of one row joins the one before, since batch norm needs two; for the same reason a batch that would
    leave a process with fewer than two rows is computed whole by each.

    Attributes:
        epoch: Whose order comes next.
        first: The batch that it begins with, where those before are done.
    """

    def __init__(self, rows: int, size: int, seed: int, process: int = 0, processes: int = 1) -> None:
        self.rows, self.size, self.seed = rows, size, seed
        self.process, self.processes = process, processes
        self.epoch, self.first = 0, 0

    def __len__(self) -> int:
        full, rest = divmod(self.rows, self.size)
        return max(full + (rest > 1), 1)

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.rows).tolist()
        for number in range(self.first, len(self)):
            start, mine = number * self.size, self._mine(number)
            yield order[start + mine.start : start + mine.stop]

    def size_of(self, number: int) -> int:
        """How many rows a batch has in all processes together."""
        return self.rows - number * self.size if number == len(self) - 1 else self.size

    def share(self, number: int) -> float:
        """How much the mean over this process's rows counts in the mean over the batch."""
        return len(self._mine(number)) / self.size_of(number) if self._divides(number) else 1 / self.processes

    def least_share(self, number: int) -> int:
        """How many rows of a batch a process has at least."""
        rows = self.size_of(number)
        return rows // self.processes if self._divides(number) else rows

    def _divides(self, number: int) -> bool:
        return self.size_of(number) >= 2 * self.processes

    def _mine(self, number: int) -> range:
        rows = self.size_of(number)
        if not self._divides(number):
            return range(rows)
        return range(rows * self.process // self.processes, rows * (self.process + 1) // self.processes)


class WithEpoch(Sampler[tuple[int, list[int]]]):
    """The batches of another, each with the epoch that it belongs to."""

    def __init__(self, order: SeededBatches) -> None:
        self.order = order

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        for rows in self.order:
            yield self.order.epoch, rows


def in_order(rows: range, size: int = 1024) -> list[list[int]]:
    """Batches of rows in their own order."""
    return [list(rows[start : start + size]) for start in range(0, len(rows), size)]


def loader(examples: Dataset[Any], batches: Any, workers: int) -> DataLoader[Batch]:
    """Fetch `batches` of `examples`, in `workers` processes where there are any."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create")  # who asks for more workers than cores may
        return DataLoader(
            examples,
            batch_sampler=batches,
            collate_fn=_as_it_is,
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=_leave_interrupts_to_the_parent,
            # Its own generator: a loader draws a seed for its workers, and dropout would see other numbers for it.
            generator=torch.Generator(),
        )


def _labelled(target: Tensor | None) -> Tensor:
    if target is None:
        raise DataError("these rows have no classes: only labelled rows can be trained on or judged.")
    return target


def _as_it_is(batch: Any) -> Any:
    return batch


def _leave_interrupts_to_the_parent(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
