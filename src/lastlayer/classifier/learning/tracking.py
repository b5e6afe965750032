"""Where the figures of each epoch go: metrics.csv in the run, and the trackers that a person asks for."""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from importlib.util import find_spec
from math import inf, isfinite
from pathlib import Path
from typing import Any

from lastlayer.classifier.config import Config
from lastlayer.classifier.extras import need
from lastlayer.classifier.files import cannot_write
from lastlayer.classifier.journal import Epoch
from lastlayer.errors import ConfigError, MissingExtraError
from lastlayer.messages import Message
from lastlayer.messages.wording import option

CSV = "metrics.csv"
TRACKERS = ("tensorboard", "wandb", "mlflow")
_PROJECT, _TAG = "lastlayer", "lastlayer.run"


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
    """Hears of each epoch, and at the end how the model was judged.

    Args:
        helper: Accelerate's, whose trackers are used.
        run: The folder that metrics.csv is in while it trains; None writes none.
        config: Settings, which the trackers keep.
        id: Of the run, so that a run that is resumed goes on where the tracker can.
        data: What the data was called.
    """

    def __init__(
        self,
        helper: Any = None,
        run: Path | None = None,
        config: Config | None = None,
        id: str = "",
        data: str | None = None,
    ) -> None:
        self.helper, self.run = helper, run
        self.names = config.track if config is not None and run is not None else ()
        self.before: list[Epoch] = []
        self._written: tuple[Epoch, ...] = ()
        self._open: list[Any] = []
        if self.names and config is not None and run is not None:
            plain = {name: value if isinstance(value, (int, float, str)) else str(value)
                     for name, value in {"data": data, **asdict(config)}.items()}  # fmt: skip
            made = {"wandb": _of_wandb, "mlflow": _of_mlflow}
            options = {name: made[name](run, id, helper) for name in self.names if name in made}
            helper.init_trackers(_PROJECT, config=plain, init_kwargs=options)
            self._open = list(helper.trackers)

    def said(self) -> Message | None:
        """Where to look."""
        if not self.names:
            return None
        where = {"tensorboard": Message("training.tensorboard", folder=str(self.run))}
        return Message("training.trackers", names=[where.get(name, name) for name in self.names])

    def follow(self, epochs: Sequence[Epoch]) -> None:
        """What is told from here on comes after these epochs, of a training before it."""
        self.before = list(epochs)

    def epoch(self, epochs: Sequence[Epoch], rate: float) -> None:
        """Tell of the last of some epochs, and of the learning rate at its end."""
        epochs = following(self.before, epochs)
        if self.run is not None and self.helper.is_main_process:
            self._write(self.run / CSV, epochs)
        if self.names:
            last = {name: value for name, value in asdict(epochs[-1]).items() if name not in ("epoch", "best")}
            self.helper.log({**last, "learning_rate": rate}, step=epochs[-1].epoch)

    def _write(self, file: Path, epochs: Sequence[Epoch]) -> None:
        """Add a line, so that who reads along reads each line once; write all of them where it is not the next."""
        content, is_next = as_csv(epochs), bool(self._written) and tuple(epochs[:-1]) == self._written
        try:
            if is_next:
                with file.open("ab") as lines:
                    lines.write(content.splitlines(keepends=True)[-1])
            else:
                file.write_bytes(content)
        except OSError as error:
            raise cannot_write(file, error) from error
        self._written = tuple(epochs)

    def judged(self, split: str, scores: Mapping[str, float]) -> None:
        """Tell the scores of the finished model on a split; those that are undefined are left out."""
        if self.names:
            defined = {f"{split}/{name}": value for name, value in scores.items() if isfinite(value)}
            self.helper.log(defined, step=self._written[-1].epoch if self._written else 0)

    def end(self) -> None:
        """Let the trackers finish what they write. Accelerate's own end would also part the processes."""
        while self._open:
            self._open.pop().finish()


def following(first: Sequence[Epoch], second: Sequence[Epoch]) -> list[Epoch]:
    """The epochs of one training and of the next as those of one: numbered through, the best the best of both."""
    lowest = min((epoch.validation_log_loss for epoch in first), default=inf)
    return [
        *first,
        *(
            replace(epoch, epoch=len(first) + epoch.epoch, best=epoch.best and epoch.validation_log_loss < lowest)
            for epoch in second
        ),
    ]


def _of_wandb(run: Path, id: str, helper: Any) -> dict[str, Any]:
    return {"name": run.name, "dir": str(run), "id": id, "resume": "allow"}


def _of_mlflow(run: Path, id: str, helper: Any) -> dict[str, Any]:
    """MLflow gives a run its number; ours is a tag, by which a run that goes on finds its beginning."""
    options: dict[str, Any] = {"run_name": run.name, "tags": {_TAG: id}}
    if helper.is_main_process:
        mlflow = need("mlflow")
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT)
        if mlflow.get_experiment_by_name(experiment) is not None:
            found = mlflow.search_runs(
                experiment_names=[experiment], filter_string=f"tags.`{_TAG}` = '{id}'", output_format="list"
            )
            options["run_id"] = found[0].info.run_id if found else None
    return options
