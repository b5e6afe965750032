"""How fast a prediction goes and how long it takes yet; and what tells one prediction from another."""

import hashlib
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, Progress, TextColumn

from lastlayer import __version__
from lastlayer.cli.console import err
from lastlayer.messages import text

if TYPE_CHECKING:
    from lastlayer.classifier import Classifier
    from lastlayer.classifier.predicting.streaming import Options, Part


class Pace:
    """Rows a second since it was made."""

    def __init__(self) -> None:
        self.started, self.rows = time.monotonic(), 0

    def count(self, rows: int) -> None:
        """Add rows."""
        self.rows += rows

    @property
    def per_second(self) -> float:
        """Rows a second; 0 before the first."""
        return self.rows / max(time.monotonic() - self.started, 1e-9)

    def said(self, language: str) -> str:
        """A sentence, where there is a row."""
        return text("predict.pace", language, rows=self.per_second) if self.rows else ""


def paced(parts: Iterable["Part"], inputs: list[str], skipped: int, language: str) -> Iterator["Part"]:
    """Pass the parts on and draw on standard error how fast they come; a pipe gets nothing."""
    console = err()
    if not console.is_terminal:
        yield from parts
        return
    total = _Count(inputs)
    columns = (TextColumn(text("predict.doing", language)), BarColumn(24), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=None)
        pace = Pace()
        begun: float | None = None
        for part in parts:
            pace.count(len(part.predictions))
            share = part.done[0] / max(part.done[1], 1) if part.done else total.share(part.rows)
            begun = share if begun is None else begun
            left = _left(pace, share, begun, skipped, language)
            progress.update(
                task,
                description=f"{text('predict.progress', language, rows=part.rows, pace=pace.per_second)}  {left}",
                total=1.0 if share is not None else None,
                completed=share or 0.0,
            )
            yield part


def _left(pace: Pace, share: float | None, begun: float | None, skipped: int, language: str) -> str:
    """The time left, from the share that this process did itself."""
    from lastlayer.classifier.journal import clock

    if share is None or begun is None:
        return ""
    own = share - (begun if skipped else 0.0)
    if own <= 0:
        return ""
    return text("predict.left", language, time=clock((time.monotonic() - pace.started) / own * (1 - share)))


class _Count:
    """How many images a folder holds, counted beside the work."""

    def __init__(self, inputs: list[str]) -> None:
        self.total: int | None = None
        if len(inputs) == 1 and Path(inputs[0]).is_dir():
            threading.Thread(target=self._count, args=(Path(inputs[0]),), daemon=True).start()

    def _count(self, folder: Path) -> None:
        from lastlayer.classifier.data.streams import count

        try:
            self.total = count(folder)
        except (OSError, ValueError):
            self.total = None  # the reading of the folder says what is wrong with it

    def share(self, rows: int) -> float | None:
        """How much of the folder `rows` are; None while nobody knows."""
        return min(rows / self.total, 1.0) if self.total else None


def about(
    run: Path, model: "Classifier", inputs: list[str], options: "Options", shape: dict[str, Any]
) -> dict[str, Any]:
    """What the bits of a prediction depend on: model, decisions, inputs, settings, versions, device and threads."""
    import torch

    from lastlayer.classifier.run_folder import MANIFEST

    return {
        "model": hashlib.sha256((run / MANIFEST).read_bytes()).hexdigest(),
        "decision": model.policy.to_dict(),
        "inputs": inputs,
        "columns": [f"{name} {value}" for name, value in shape.items()],
        "batch_size": options.batch_size,
        "device": options.device,
        "encoding": options.encoding,
        "separator": options.separator,
        "lastlayer": __version__,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
