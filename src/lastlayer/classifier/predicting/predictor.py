"""The forward pass over rows that are only predicted: batches of one shape, so that a row's bits depend on it alone.

A matrix product of 1 row and one of 1,024 rows may be computed by different routines, whose last bits differ. So
every batch has the same shape: one that is not full is filled up with copies of a row, and a row stands at the place
in its batch that its number among all rows gives it. How the rows came (a table at once, in chunks, one by one) then
changes nothing.
"""

import copy
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from lastlayer.classifier.data.pixels import ImageSpec
from lastlayer.classifier.learning.batches import Batch, Examples, Inputs
from lastlayer.classifier.learning.training import check_device
from lastlayer.classifier.network.model import ModelSpec, Network
from lastlayer.errors import DataError, ShapeError
from lastlayer.messages.wording import option

_NUMBERS, _PIXELS = 2**20, 2**19  # values in a batch: what one that is partly filled may cost
_TEXT = 2**13  # what a text counts as, in numbers
_LEAST, _MOST_ROWS, _MOST_PICTURES = 8, 1024, 256
_ON_GPU = 8  # a GPU is busy only with so many times more


class Predictor:
    """A network in evaluation mode, on a device.

    Args:
        network: On the CPU; a copy of it moves to another device.
        spec: Of the model.
        batch_size: Rows of each batch; None takes 1,024 rows of a table, 256 pictures, and fewer of wide rows
            and large pictures.
        workers: Threads that read pictures; None takes one per core, at most 8; 0 reads between batches.
        device: "auto", "cpu", "cuda" or "mps".

    Raises:
        DataError: there is no such device.
    """

    def __init__(
        self,
        network: Network,
        spec: ModelSpec,
        *,
        batch_size: int | None = None,
        workers: int | None = None,
        device: str = "cpu",
    ) -> None:
        self.device = torch.device(_best() if device == "auto" else device)
        check_device(self.device.type)
        self.spec = spec
        self.network = (network if self.device.type == "cpu" else copy.deepcopy(network).to(self.device)).eval()
        self.batch = batch_size or default_batch(spec, self.device.type)
        pictures = isinstance(spec.preprocessing, ImageSpec)
        self.workers = (min(8, os.cpu_count() or 1) if pictures else 0) if workers is None else workers

    def logits(self, examples: Examples, numbers: Sequence[int]) -> tuple[Tensor, dict[int, str]]:
        """Logits in float64 of all rows in order, and why some could not be read.

        Args:
            examples: The rows.
            numbers: Of each row among all that are predicted, ascending: it decides the row's place in its batch.
        """
        parts: list[Tensor] = []
        problems: dict[int, str] = {}
        before = 0
        for batch in self._fetched(examples, _cuts(numbers, self.batch)):
            rows = len(batch.inputs[0])
            places = [number % self.batch for number in numbers[before : before + rows]]
            parts.append(self.of_batch(batch.inputs, places))
            problems |= {before + place: reason for place, reason in batch.problems.items()}
            before += rows
        return torch.cat(parts), problems

    def of_tensors(self, inputs: Inputs) -> Tensor:
        """Logits in float64 of rows that are tensors already, as `Classifier.read` returns them."""
        _check_inputs(inputs, self.spec)
        rows = len(inputs[0])
        with torch.inference_mode():
            parts = [
                self._raw(tuple(part[start : start + self.batch] for part in inputs), range(rows - start))
                for start in range(0, rows, self.batch)
            ]
        return torch.cat(parts)[:rows].double()

    def of_batch(self, inputs: Inputs, places: Sequence[int]) -> Tensor:
        """Logits in float64 of at most a batch of rows, by the place of each in the batch."""
        with torch.inference_mode():
            logits = self._raw(inputs, places)
        logits = logits.double()
        return logits if len(places) == self.batch else logits[torch.tensor(places)]

    def _raw(self, inputs: Inputs, places: Sequence[int]) -> Tensor:
        """Logits of a batch of full size, on the CPU."""
        try:
            logits: Tensor = self.network(tuple(self._filled(part, places).to(self.device) for part in inputs))
            return logits.cpu()
        except torch.OutOfMemoryError as error:
            raise DataError(
                f"the memory of {self.device} is too small for batches of {self.batch:,} rows: lower "
                f"{option('batch_size', max(1, self.batch // 2))}. The last bits of the logits may then differ."
            ) from error

    def _filled(self, part: Tensor, places: Sequence[int]) -> Tensor:
        """A batch of full size; copies of the first row stand where it has none."""
        if len(part) == self.batch:
            return part
        full = part[:1].expand(self.batch, *part.shape[1:]).clone()
        full[torch.tensor(places)] = part
        return full

    def _fetched(self, examples: Examples, cuts: Sequence[Sequence[int]]) -> Iterator[Batch]:
        """The rows of each cut; some are read ahead, in threads."""
        if self.workers == 0:
            yield from map(examples.__getitems__, cuts)
            return
        ahead: deque[Future[Batch]] = deque()
        with ThreadPoolExecutor(self.workers) as pool:
            try:
                for cut in cuts:
                    ahead.append(pool.submit(examples.__getitems__, cut))
                    if len(ahead) > self.workers:
                        yield ahead.popleft().result()
                while ahead:
                    yield ahead.popleft().result()
            finally:
                for waiting in ahead:
                    waiting.cancel()


def default_batch(spec: ModelSpec, device: str) -> int:
    """Rows of a batch: a power of two, fewer of wide rows and large pictures.

    A prediction of one row costs a whole batch; so a batch is as small as is still fast.
    """
    how = spec.preprocessing
    if isinstance(how, ImageSpec):
        rows = min(_MOST_PICTURES, _PIXELS // (how.channels * how.size**2))
    else:
        rows = min(
            _MOST_ROWS, _NUMBERS // max(1, how.number_width + 16 * len(how.index_sizes) + _TEXT * len(how.texts))
        )
    return int(2 ** (max(_LEAST, rows).bit_length() - 1)) * (1 if device == "cpu" else _ON_GPU)


def _best() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _cuts(numbers: Sequence[int], size: int) -> list[Sequence[int]]:
    """The rows of each batch: one ends where a multiple of the batch size lies between two numbers.

    >>> _cuts([5, 6, 8, 9, 31], 8)
    [range(0, 2), range(2, 4), range(4, 5)]
    """
    batches = [number // size for number in numbers]
    starts = [row for row in range(len(batches)) if row == 0 or batches[row] != batches[row - 1]]
    return [range(start, end) for start, end in zip(starts, [*starts[1:], len(batches)], strict=True)]


def _check_inputs(inputs: Inputs, spec: ModelSpec) -> None:
    """Refuse tensors that are not what the model's own reading gives."""
    how = spec.preprocessing
    expected: list[tuple[tuple[int, ...], torch.dtype]]
    if isinstance(how, ImageSpec):
        expected = [((how.channels, how.size, how.size), torch.uint8)]
    elif how.texts:
        return  # ids and weights of each text, as long as the longest
    else:
        expected = [((how.number_width,), torch.float32), ((len(how.index_sizes),), torch.int64)]
    found = [(tuple(part.shape[1:]), part.dtype) for part in inputs]
    rows = {len(part) if part.dim() else 0 for part in inputs}
    if found != expected or len(rows) != 1 or rows == {0}:
        shapes = " and ".join(f"(rows, {', '.join(map(str, shape))}) of {dtype}" for shape, dtype in expected)
        got = " and ".join(f"{tuple(part.shape)} of {part.dtype}" for part in inputs) or "none"
        raise ShapeError(f"tensors have to be what read(x) returns: expected {shapes}, with at least a row, got {got}.")
