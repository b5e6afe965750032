"""What a run says of itself while it works, and who hears it."""

import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol, TypeVar
from unicodedata import east_asian_width

from lastlayer.errors import printable
from lastlayer.messages import Message, said, text

Item = TypeVar("Item")
_COLUMNS = {"epoch": 9, "train_loss": 10, "validation_log_loss": 19, "accuracy": 8, "time_left": 9}  # and widths


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

    def note(self, text: Message) -> None:
        """Hear one decision or finding, in one sentence: a string in English, and `text.into("ko")` in Korean."""

    def progress(self, doing: Message, done: int, total: int) -> None:
        """Hear how far a long job is; `done` of `total` when it ends."""

    def epoch(self, epoch: Epoch, of: int, seconds_left: float) -> None:
        """Hear that an epoch is over."""


class Silent:
    """Hears nothing."""

    def note(self, text: Message) -> None:
        """Ignore it."""

    def progress(self, doing: Message, done: int, total: int) -> None:
        """Ignore it."""

    def epoch(self, epoch: Epoch, of: int, seconds_left: float) -> None:
        """Ignore it."""


class Lines(Silent):
    """Writes notes and epochs as plain lines to standard error, in English or Korean."""

    def __init__(self, language: str = "en") -> None:
        self.language = language

    def note(self, text: Message) -> None:
        """Write the sentence."""
        sys.stderr.write(f"{printable(said(text, self.language))}\n")

    def epoch(self, epoch: Epoch, of: int, seconds_left: float) -> None:
        """Write the epoch's figures, under a heading before the first."""
        if epoch.epoch == 1:
            sys.stderr.write(f"{epoch_heading(self.language)}\n")
        sys.stderr.write(f"{epoch_line(epoch, of, seconds_left, self.language)}\n")


@dataclass
class Journal:
    """Passes everything on to a listener, and keeps the notes for the run folder."""

    listener: Listener
    notes: list[Message] = field(default_factory=list)

    def say(self, text: Message) -> None:
        """Note one decision or finding."""
        self.notes.append(text)
        self.listener.note(text)

    def track(self, items: Iterable[Item], doing: Message, total: int, first: int = 0) -> Iterator[Item]:
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


def epoch_heading(language: str = "en") -> str:
    """The heading of the columns of `epoch_line`."""
    heads = [text(f"epoch.{name}", language) for name in _COLUMNS]
    return "  ".join(_right(head, width) for head, width in zip(heads, _COLUMNS.values(), strict=True))


def epoch_line(epoch: Epoch, of: int, seconds_left: float, language: str = "en") -> str:
    """An epoch's figures in columns; the best so far is marked."""
    best = f"  {text('epoch.best', language)}" if epoch.best else ""
    return (
        f"{f'{epoch.epoch}/{of}':>9}  {epoch.train_loss:>10.4f}  {epoch.validation_log_loss:>19.4f}  "
        f"{epoch.validation_accuracy:>8.4f}  {clock(seconds_left):>9}{best}"
    )


def _right(word: str, width: int) -> str:
    """A word at the right of so many places; a Korean syllable takes two."""
    return " " * (width - sum(1 + (east_asian_width(letter) in "WF") for letter in word)) + word


def clock(seconds: float) -> str:
    """Seconds as minutes or hours.

    >>> clock(75.2), clock(3700)
    ('1:15', '1:01:40')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
