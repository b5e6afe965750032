"""Where the figures of each epoch go: metrics.csv in the run, and the trackers that a person asks for."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lastlayer.classifier.config import Config
from lastlayer.classifier.files import cannot_write
from lastlayer.classifier.journal import Epoch
from lastlayer.errors import ConfigError, MissingExtraError
from lastlayer.messages.wording import option

CSV = "metrics.csv"
TRACKERS = ("tensorboard", "wandb", "mlflow")
_PROJECT = "lastlayer"


def check(config: Config, run: Path | None) -> None:
    """Refuse a tracker that is not known, not installed, or has nowhere to write."""
    for name in config.track:
        if name not in TRACKERS:
            raise ConfigError(f"{option('track')} has to be one of {', '.join(TRACKERS)}, got {name!r}.")
        if find_spec(name) is None:
            raise MissingExtraError(
                f"{option('track', name)} needs the package {name!r}, which is not installed. Install it with: "
                f"pip install {name}"
            )
        if run is None:
            raise ConfigError(f"{option('track', name)} goes with a run that is kept: name its {option('output')}.")


def as_csv(epochs: Sequence[Epoch]) -> bytes:
    """A line per epoch under a heading.

    >>> print(as_csv([Epoch(1, 0.5, 0.25, 0.9, 2.0, True)]).decode())
    epoch,train_loss,validation_log_loss,validation_accuracy,seconds,best
    1,0.5,0.25,0.9,2.0,True
    <BLANKLINE>
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Epoch)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(epoch) for epoch in epochs)
    return text.getvalue().encode()


class Trackers:
    """Hears of each epoch.

    Args:
        helper: Accelerate's, whose trackers are used.
        run: The folder that metrics.csv is in while it trains; None writes none.
        config: Settings, which the trackers keep.
        id: Of the run, so that a run that is resumed goes on where the tracker can.
    """

    def __init__(self, helper: Any = None, run: Path | None = None, config: Config | None = None, id: str = "") -> None:
        self.helper, self.run = helper, run
        self.names = config.track if config is not None and run is not None else ()
        if self.names and config is not None and run is not None:
            plain = {name: value if isinstance(value, (int, float, str)) else str(value)
                     for name, value in asdict(config).items()}  # fmt: skip
            options = {
                "wandb": {"name": run.name, "dir": str(run), "id": id, "resume": "allow"},
                "mlflow": {"run_name": run.name},
            }
            helper.init_trackers(
                _PROJECT, config=plain, init_kwargs={name: options.get(name, {}) for name in self.names}
            )

    def epoch(self, epochs: Sequence[Epoch], rate: float) -> None:
        """Tell of the last of some epochs, and of the learning rate at its end."""
        if self.run is not None and self.helper.is_main_process:
            try:
                (self.run / CSV).write_bytes(as_csv(epochs))
            except OSError as error:
                raise cannot_write(self.run / CSV, error) from error
        if self.names:
            last = {name: value for name, value in asdict(epochs[-1]).items() if name not in ("epoch", "best")}
            self.helper.log({**last, "learning_rate": rate}, step=epochs[-1].epoch)

    def end(self) -> None:
        """Let the trackers finish what they write."""
        if self.names:
            self.helper.end_training()
