"""A run that was cut off goes on: what it began with, and what its training was when a checkpoint was written."""

import json
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lastlayer.classifier.config import Config
from lastlayer.classifier.data.rows import Rows, plural
from lastlayer.classifier.files import reading, write_whole
from lastlayer.classifier.journal import Epoch, Journal
from lastlayer.classifier.learning import checkpoints, processes
from lastlayer.classifier.learning.checkpoints import Checkpoint
from lastlayer.classifier.learning.keeping import Keeper
from lastlayer.classifier.network.objective import Objective
from lastlayer.errors import DataNotFoundError, LastLayerError, RunError
from lastlayer.messages import Message
from lastlayer.messages.kept import packed
from lastlayer.messages.wording import option

if TYPE_CHECKING:
    from lastlayer.classifier.learning.loop import Loop
    from lastlayer.classifier.learning.training import History

FORMAT = 1
_BEGUN, _LOCK, _FINISHED = "begun.json", "lock", "manifest.json"


@dataclass(frozen=True)
class Begun:
    """What a run began with.

    Attributes:
        config: Settings, resolved.
        data: What a person called the data; None where it was in memory.
        processes: That trained together.
        versions: Of lastlayer and the libraries under it.
        id: By which trackers know the run.
    """

    config: Config
    data: str | None
    processes: int = 1
    versions: dict[str, str] = field(default_factory=dict)
    id: str = ""

    @property
    def settings(self) -> str:
        """One text for the settings, equal where they are."""
        return sha256(json.dumps(asdict(self.config), sort_keys=True).encode()).hexdigest()


def begin(run: Path, begun: Begun) -> None:
    """Keep what the run begins with, before any of its data is read."""
    content = {**asdict(begun), "format": FORMAT}
    write_whole(run / checkpoints.FOLDER / _BEGUN, json.dumps({"sha256": _digest(content), "run": content}).encode())


def begun(run: Path) -> Begun:
    """Read what a run began with.

    Raises:
        RunError: the run is finished, began nothing, or the file is not as it was written.
        DataNotFoundError: there is no such folder.
    """
    path = run / checkpoints.FOLDER / _BEGUN
    with reading(run, RunError):
        if not run.is_dir():
            raise DataNotFoundError(f"there is no run folder {str(run)!r} to go on with.")
        if (run / _FINISHED).exists():
            raise RunError(
                f"the run {run} is finished: there is nothing to resume. To train with its settings again, name its "
                f"config.yaml with {option('config')}."
            )
        if not path.is_file():
            raise RunError(
                f"{run} holds no training that was cut off (there is no {checkpoints.FOLDER}/{_BEGUN}): remove it, "
                "and train anew."
            )
        text = path.read_bytes()
    try:
        whole = json.loads(text)
        content = whole["run"]
        if whole["sha256"] != _digest(content) or content.pop("format") != FORMAT:
            raise ValueError("it has changed since it was written")
        return Begun(**{**content, "config": Config.of(content["config"])})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, LastLayerError):
            raise
        raise RunError(
            f"{path} is not what lastlayer writes there ({error}): the settings of the run are lost. Train anew."
        ) from error


def _digest(content: Any) -> str:
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def check(run: Path, earlier: Begun, now: Begun, journal: Journal) -> None:
    """Refuse another number of processes; say where other libraries may give other last digits."""
    if earlier.processes != now.processes:
        raise RunError(
            f"{run} was begun by {plural(earlier.processes, 'process', 'processes')}, and here "
            f"{plural(now.processes, 'process goes', 'processes go')} on with it: their steps would not be the same. "
            f"Start it with {earlier.processes}."
        )
    other = [
        f"{name} {version} → {now.versions.get(name, 'none')}"
        for name, version in earlier.versions.items()
        if now.versions.get(name) != version
    ]
    if other:
        journal.say(Message("resume.versions", shown=other))


def marks(begun: Begun, *, data: str, loss: Objective) -> dict[str, str]:
    """What a checkpoint belongs to; the weights of a loss may come from a file, which may have changed."""
    return {"data": data, "settings": begun.settings, "loss": _digest(loss.to_dict())}


def newest(keeper: Keeper, journal: Journal) -> Checkpoint | None:
    """The newest whole checkpoint of the run; None where it began and none was written yet.

    Raises:
        RunError: none is whole, or it belongs to other data or settings.
    """
    run = keeper.run
    if run is None or not checkpoints.exists(run):
        journal.say(Message("resume.nothing"))
        return None
    flaws: list[str] = []

    def pass_over(folder: Path, flaw: str) -> None:
        flaws.append(f"{folder.name} ({flaw})")

    found = checkpoints.newest(run, pass_over)
    if found is None:
        raise RunError(
            f"no checkpoint of the run {run} can be used: {', '.join(flaws)}. Restore the folder from a copy, or train "
            "anew."
        )
    name, checkpoint = found
    _check_marks(run, checkpoint.plain["about"], keeper.about)
    if flaws:
        journal.say(Message("resume.passed_over", shown=flaws, name=name))
    return checkpoint


def _check_marks(run: Path, then: dict[str, str], now: dict[str, str]) -> None:
    changed = [name for name, mark in now.items() if then.get(name) != mark]
    if "data" in changed:
        raise RunError(
            f"the data is not what the run {run} was begun with (rows, classes or their split have changed): resuming "
            "would mix two trainings. Restore the data, or train anew."
        )
    if changed:
        raise RunError(
            f"the checkpoints of the run {run} belong to other {' and other '.join(changed)}: the folder, or a file of "
            "weights that the settings name, has been changed. Restore it from a copy, or train anew."
        )


@contextmanager
def held(run: Path | None) -> Iterator[None]:
    """Let no second process go on with the run meanwhile; the system releases it however the process ends."""
    if run is None:
        yield
        return
    try:
        from fcntl import LOCK_EX, LOCK_NB, lockf
    except ImportError:  # no such locks on this system
        yield
        return
    with reading(run, RunError):
        file = (run / checkpoints.FOLDER / _LOCK).open("wb")
    with file:
        try:
            lockf(file, LOCK_EX | LOCK_NB)
        except OSError as error:
            raise RunError(f"another process is training the run {run}: wait for it, or end it first.") from error
        yield


def fingerprint(rows: Rows, contents: Sequence[Hashable], parts: dict[str, list[int]], target: Tensor) -> str:
    """One text for all data that a training sees and is judged by, equal where the data is.

    Args:
        rows: All rows of the source that can be read.
        contents: What each holds, but its class.
        parts: Row numbers of each split.
        target: What is to be predicted of each row.
    """
    found = sha256(json.dumps(parts).encode())
    for name, content in zip(rows.names, contents, strict=True):
        found.update(f"{name}\0{content!r}\0".encode(errors="surrogateescape"))
    found.update(repr(target.shape).encode())
    found.update(target.contiguous().numpy().tobytes())
    return found.hexdigest()


def captured(loop: "Loop", history: "History", about: dict[str, str], notes: list[Message]) -> Checkpoint:
    """The state of a training between two steps; every process has to ask."""
    helper = loop.helper
    optimizer = loop.optimizer.state_dict()["state"]
    tensors = {f"weights/{name}": value for name, value in loop.network.state_dict().items()}
    plain: dict[str, Any] = {}
    for index, values in optimizer.items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{index}/{name}"] = value
            else:
                plain[f"{index}/{name}"] = value
    for name, value in _own(loop).items():
        tensors[f"process/{name}"] = processes.of_each(value, helper)
    best_is_current = loop.step == 0 and 0 < history.best_epoch == loop.number - 1
    if history.best_epoch and not best_is_current:
        tensors |= {f"best/{name}": value for name, value in history.best.items()}
    return Checkpoint(
        {name: value.detach().to("cpu", copy=True) for name, value in tensors.items()},
        {
            "about": about,
            "epoch": loop.number,
            "step": loop.step,
            "rows": loop.rows,
            "parts": loop.parts,
            "optimizer": plain,
            "scaler": None if helper.scaler is None else helper.scaler.state_dict(),
            "first_loss": loop.first_loss,
            "epochs": [asdict(epoch) for epoch in history.epochs],
            "best_epoch": history.best_epoch,
            "best_is_current": best_is_current,
            "seconds": loop.seconds(),
            "notes": packed(notes),
        },
    )


def restore(checkpoint: Checkpoint, loop: "Loop", history: "History") -> None:
    """Set a training that has not begun to the state of a checkpoint."""
    plain, weights = checkpoint.plain, checkpoint.part("weights")
    loop.network.load_state_dict(weights)
    _restore_optimizer(checkpoint, loop.optimizer)
    if loop.helper.scaler is not None:
        loop.helper.scaler.load_state_dict(plain["scaler"])
    # Cloned: PyTorch 2.15 reads a generator's state from the start of the storage that a view is of.
    own = {name: value[loop.helper.process_index].clone() for name, value in checkpoint.part("process").items()}
    loop.total = own["total"].to(loop.helper.device)
    torch.set_rng_state(own["torch"])
    if "cuda" in own:
        torch.cuda.set_rng_state(own["cuda"], loop.helper.device)
    if "mps" in own:
        torch.mps.set_rng_state(own["mps"])
    loop.number, loop.step, loop.rows, loop.parts = plain["epoch"], plain["step"], plain["rows"], plain["parts"]
    loop.first_loss = history.first_loss = plain["first_loss"]
    loop.spent = plain["seconds"]
    history.epochs = [Epoch(**epoch) for epoch in plain["epochs"]]
    history.best_epoch = plain["best_epoch"]
    if history.best_epoch:
        history.best = weights if plain["best_is_current"] else checkpoint.part("best")


def _restore_optimizer(checkpoint: Checkpoint, optimizer: Any) -> None:
    found: dict[int, dict[str, Any]] = {}
    for name, value in checkpoint.part("optimizer").items():
        index, _, key = name.partition("/")
        found.setdefault(int(index), {})[key] = value
    for name, value in checkpoint.plain["optimizer"].items():
        index, _, key = name.partition("/")
        found.setdefault(int(index), {})[key] = value
    now = optimizer.state_dict()
    optimizer.load_state_dict({"state": found, "param_groups": now["param_groups"]})


def _own(loop: "Loop") -> dict[str, Tensor]:
    """What each process has for itself: random numbers, and its part of the loss."""
    found = {"torch": torch.get_rng_state(), "total": loop.total.detach().clone()}
    device = loop.helper.device
    if device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(device)
    if device.type == "mps":
        found["mps"] = torch.mps.get_rng_state()
    return found


def where(checkpoint: Checkpoint, steps: int) -> Message:
    """A checkpoint's place in words."""
    epoch, step = checkpoint.plain["epoch"], checkpoint.plain["step"]
    if step == 0:
        return Message("resume.after", epoch=epoch - 1)
    return Message("resume.within", epoch=epoch, step=step, steps=steps)
