"""What a run says of itself while it works, and who hears it."""

import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from lastlayer.errors import printable

Item = TypeVar("Item")


@dataclass(frozen=True)
class Epoch:
    """One pass over the training rows, as metrics.jsonl keeps it. Losses are in nats per row."""

    epoch: int
    train_loss: float
    validation_log_loss: float
    validation_accuracy: float
    seconds: float
    best: bool


class Listener(Protocol):
    """Hears what happens. The command line draws it; a program may collect it."""

    def note(self, text: str) -> None:
        """Hear one decision or finding, in one sentence."""

    def progress(self, doing: str, done: int, total: int) -> None:
        """Hear how far a long job is; `done` of `total` when it ends."""

    def epoch(self, epoch: Epoch, of: int, seconds_left: float) -> None:
        """Hear that an epoch is over."""


class Silent:
    """Hears nothing."""

    def note(self, text: str) -> None:
        """Ignore it."""

    def progress(self, doing: str, done: int, total: int) -> None:
        """Ignore it."""

    def epoch(self, epoch: Epoch, of: int, seconds_left: float) -> None:
        """Ignore it."""


class Lines(Silent):
    """Writes notes and epochs as plain lines to standard error."""

    def note(self, text: str) -> None:
        """Write the sentence."""
        sys.stderr.write(f"{printable(text)}\n")

    def epoch(self, epoch: Epoch, of: int, seconds_left: float) -> None:
        """Write the epoch's figures, under a heading before the first."""
        if epoch.epoch == 1:
            sys.stderr.write(f"{epoch_heading()}\n")
        sys.stderr.write(f"{epoch_line(epoch, of, seconds_left)}\n")


@dataclass
class Journal:
    """Passes everything on to a listener, and keeps the notes for the run folder."""

    listener: Listener
    notes: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        """Note one decision or finding."""
        self.notes.append(text)
        self.listener.note(text)

    def track(self, items: Iterable[Item], doing: str, total: int, first: int = 0) -> Iterator[Item]:
        """Pass `items` through and report the progress, at most ten times a second; `first` are done already."""
        last = 0.0
        try:
            for done, item in enumerate(items, first):
                now = time.monotonic()
                if now - last > 0.1:
                    self.listener.progress(doing, done, total)
                    last = now
                yield item
        finally:  # however it ends, the job is over
            self.listener.progress(doing, total, total)


def epoch_heading() -> str:
    """The heading of the columns of `epoch_line`."""
    return f"{'epoch':>9}  {'train loss':>10}  {'validation log-loss':>19}  {'accuracy':>8}  {'time left':>9}"


def epoch_line(epoch: Epoch, of: int, seconds_left: float) -> str:
    """An epoch's figures in columns; the best so far is marked."""
    return (
        f"{f'{epoch.epoch}/{of}':>9}  {epoch.train_loss:>10.4f}  {epoch.validation_log_loss:>19.4f}  "
        f"{epoch.validation_accuracy:>8.4f}  {clock(seconds_left):>9}{'  best' if epoch.best else ''}"
    )


def clock(seconds: float) -> str:
    """Seconds as minutes or hours.

    >>> clock(75.2), clock(3700)
    ('1:15', '1:01:40')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
