"""When a checkpoint is written: after each epoch and every few minutes, as long as that is cheap."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lastlayer.classifier.learning import checkpoints, processes
from lastlayer.classifier.learning.checkpoints import Checkpoint

_TIMES_ITS_COST = 25  # of the time, writing takes at most a twenty-fifth


class Keeper:
    """Writes the state of a training.

    Args:
        run: The folder of the run; None keeps nothing.
        minutes: At the latest so long after the last checkpoint the next one is due; 0 after every step.
        helper: The processes, all of which ask and one of which writes.
        about: What a checkpoint belongs to: fingerprints of the data and of the settings.
    """

    def __init__(
        self, run: Path | None, minutes: float = 10.0, helper: Any = None, about: dict[str, str] | None = None
    ) -> None:
        self.run, self.minutes, self.helper = run, minutes, helper
        self.about = about or {}
        self.last, self.cost = time.monotonic(), 0.0

    def due(self, *, after_epoch: bool) -> bool:
        """Whether to write one now, by the clock of the first process."""
        if self.run is None:
            return False
        since = time.monotonic() - self.last
        cheap = since >= _TIMES_ITS_COST * self.cost
        mine = self.minutes == 0 or (cheap and (after_epoch or since >= 60 * self.minutes))
        return processes.anywhere(mine and self.helper.is_main_process, self.helper)

    def keep(self, capture: Callable[[], Checkpoint]) -> None:
        """Write what `capture` returns, which every process has to call."""
        begun = time.monotonic()
        checkpoint = capture()
        with processes.same_fate(self.helper):
            if self.run is not None and self.helper.is_main_process:
                name = checkpoints.name_of(checkpoint.plain["epoch"], checkpoint.plain["step"])
                checkpoints.write(self.run, name, checkpoint)
        self.last = time.monotonic()
        self.cost = self.last - begun
