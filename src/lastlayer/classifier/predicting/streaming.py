"""Inputs of any size through a model: rows in, predictions out, in order, in bounded memory."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lastlayer.classifier.config import Config
from lastlayer.classifier.data.chunks import Chunk
from lastlayer.classifier.data.rows import Rows
from lastlayer.classifier.data.streams import Door
from lastlayer.classifier.learning.batches import Examples
from lastlayer.classifier.network.model import ModelSpec, Network
from lastlayer.classifier.predicting.prediction import Predictions
from lastlayer.classifier.predicting.predictor import Predictor
from lastlayer.classifier.run_folder import Record
from lastlayer.errors import RunError
from lastlayer.messages.wording import option


@dataclass(frozen=True)
class Options:
    """How a stream is predicted.

    Attributes:
        batch_size: Rows of each forward pass; None takes what is fast.
        workers: Threads that read pictures; None takes one per core.
        device: "auto", "cpu", "cuda" or "mps".
        encoding: Of text tables; None takes the run's.
        separator: Between the cells of text tables; None takes the run's.
        skip: Rows that an earlier stream has predicted, and that are read but not predicted again.
        digest: What identified the inputs up to there.
    """

    batch_size: int | None = None
    workers: int | None = None
    device: str = "cpu"
    encoding: str | None = None
    separator: str | None = None
    skip: int = 0
    digest: bytes = b""


@dataclass(frozen=True)
class Part:
    """Predictions of the next rows of a stream.

    Attributes:
        predictions: Of these rows.
        rows: How many rows there were so far, these included.
        digest: Identifies the inputs up to here.
        done: How far a single input is read, as (so much, of so much); None where nobody knows.
    """

    predictions: Predictions
    rows: int
    digest: bytes
    done: tuple[int, int] | None

    def table(self, *, top_k: int = 1, every_class: bool = False) -> list[dict[str, Any]]:
        """One dictionary per row; all rows of a stream have the same columns, the last of them "error"."""
        rows = self.predictions.table(top_k=top_k, every_class=every_class)
        for row in rows:
            row.setdefault("error", None)
        return rows


def predicted(x: Any, record: Record, network: Network, options: Options) -> Iterator[Part]:
    """Predict inputs chunk by chunk.

    Raises:
        DataError: an input cannot be read at all.
        ConfigError: a setting that cannot be.
        RunError: the rows to skip are not those that an earlier stream has predicted.
    """
    config = _config(record.config, options)
    predictor = Predictor(
        network, record.spec, batch_size=options.batch_size, workers=options.workers, device=options.device
    )
    door = Door(record.spec.kind, record.spec.preprocessing, config)
    return _parts(door.several(_inputs(x)), predictor, options)


def _parts(chunks: Iterator[Chunk], predictor: Predictor, options: Options) -> Iterator[Part]:
    rows, digest = 0, b""
    for chunk in chunks:
        digest = chunk.digest(digest)
        rows += len(chunk)
        if rows <= options.skip:
            if rows == options.skip:
                _check(digest, options)
            continue
        if rows - len(chunk) < options.skip:
            _check(b"", options)
        yield Part(of_chunk(chunk, predictor, rows - len(chunk)), rows, digest, chunk.done)
    if rows < options.skip:
        _check(b"", options)


def _check(digest: bytes, options: Options) -> None:
    if digest != options.digest:
        raise RunError(
            "the inputs have changed since the prediction that was to go on: the rows that it has written are not "
            f"those that stand there now. Restore the inputs, or leave out {option('resume', True)} to start again."
        )


def of_chunk(chunk: Chunk, predictor: Predictor, first: int) -> Predictions:
    """Predict a chunk; rows that could not be read stand in their places."""
    spec = predictor.spec
    width = () if spec.task.kind == "binary" else (len(spec.task.classes),)
    logits = torch.full((len(chunk), *width), torch.nan, dtype=torch.float64)
    problems = dict(chunk.problems)
    if chunk.rows is not None:
        places = chunk.readable
        # A row's place in its batch is that of its number among all, so rows in between take up room as well.
        found, why = _logits(chunk.rows, predictor, first, places)
        logits[places] = found
        problems |= {places[row]: reason for row, reason in why.items()}
    return judged(chunk.names, logits, problems, spec, chunk.left_out)


def _logits(rows: Rows, predictor: Predictor, first: int, places: Sequence[int]) -> tuple[Tensor, dict[int, str]]:
    examples = Examples(rows, predictor.spec.preprocessing, None)
    return predictor.logits(examples, [first + place for place in places])


def of_rows(rows: Rows, predictor: Predictor, first: int) -> Predictions:
    """Predict rows that are all there."""
    logits, problems = _logits(rows, predictor, first, range(len(rows)))
    return judged(rows.names, logits, problems, predictor.spec, rows.left_out)


def judged(
    names: Sequence[str], logits: Tensor, problems: dict[int, str], spec: ModelSpec, left_out: tuple[Any, ...] = ()
) -> Predictions:
    """Logits with their calibrated probabilities; rows without finite logits join the problems."""
    if not math.isfinite(float(logits.sum())):  # a look at each row only where one is odd
        odd = ~(logits if logits.dim() == 1 else logits.sum(1)).isfinite()
        for row in odd.nonzero().flatten().tolist():
            problems.setdefault(row, "the model gives no finite logits for it")
    p = spec.policy.probabilities(logits)
    return Predictions(names, spec.task, logits, p, spec.policy, dict(sorted(problems.items())), left_out)


def _config(config: Config, options: Options) -> Config:
    """The run's settings, with those of the stream; all are checked as settings are."""
    given = {
        name: getattr(options, name)
        for name in ("encoding", "separator", "batch_size", "workers", "device")
        if getattr(options, name) is not None
    }
    return Config.of(given, config)


def _inputs(x: Any) -> Sequence[Any]:
    """Several inputs, or one."""
    several = isinstance(x, (list, tuple)) and bool(x)
    if several and all(isinstance(one, (str, Path, bytes)) or hasattr(one, "read") for one in x):
        return list(x)
    return [x]
