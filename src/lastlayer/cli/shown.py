"""How a training looks in a terminal, and in a pipe."""

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from lastlayer.classifier.journal import Epoch, Silent, epoch_heading, epoch_line
from lastlayer.cli.console import err
from lastlayer.errors import printable
from lastlayer.messages import Message, said


class Shown(Silent):
    """Shows notes, progress and epochs of a training on standard error, in English or Korean."""

    def __init__(self, language: str = "en") -> None:
        self.language = language
        self.console = err()
        self.progress_bar: Progress | None = None

    def note(self, text: Message) -> None:
        """Print the sentence, its first words before a colon in bold."""
        head, colon, rest = printable(said(text, self.language)).partition(": ")
        line = Text(head + colon, style="bold" if colon else "").append(rest, style="not bold")
        self.console.print(line)

    def progress(self, doing: Message, done: int, total: int) -> None:
        """Draw a bar that goes away when the work is done; a pipe gets none."""
        if not self.console.is_terminal:
            return
        if self.progress_bar is None:
            self.progress_bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(24),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
            )
            self.progress_bar.add_task("", total=total)
            self.progress_bar.start()
        what = said(doing, self.language)
        self.progress_bar.update(self.progress_bar.task_ids[0], description=what, completed=done, total=total)
        if done >= total:
            self.progress_bar.stop()
            self.progress_bar = None

    def epoch(self, epoch: Epoch, of: int, seconds_left: float) -> None:
        """Print a line of figures, under a heading before the first."""
        if epoch.epoch == 1:
            self.console.print(Text(epoch_heading(self.language), style="bright_black"))
        self.console.print(
            Text(epoch_line(epoch, of, seconds_left, self.language), style="green" if epoch.best else "")
        )
