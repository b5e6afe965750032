"""From labelled data to a finished run, step by step. Each decision is said and kept."""

import math
import time
from collections.abc import Hashable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lastlayer.classifier import backbones, diagnosis, processes, run_folder, training
from lastlayer.classifier.batches import Examples
from lastlayer.classifier.config import APPLIES_TO, KINDS, Config
from lastlayer.classifier.data import images, sources
from lastlayer.classifier.data.columns import TableSpec, check_features, learn_columns
from lastlayer.classifier.data.images import Seen
from lastlayer.classifier.data.pixels import ImageSpec, learn_pixels, median_size
from lastlayer.classifier.data.rows import Answer, Rows, plural
from lastlayer.classifier.data.splits import Split, split_rows
from lastlayer.classifier.evaluation import Evaluation, Judged, evaluate, evaluate_rows
from lastlayer.classifier.extras import need
from lastlayer.classifier.interrupts import StopRequest, stop_on_interrupt
from lastlayer.classifier.journal import Journal, Listener, Silent
from lastlayer.classifier.model import ModelSpec, Network
from lastlayer.classifier.report import Facts, card, report
from lastlayer.classifier.run_folder import Record
from lastlayer.classifier.task import Task, check_labels, infer_task
from lastlayer.decisions import Calibration, calibrate, temperature
from lastlayer.errors import ConfigError
from lastlayer.explanation import Trace, explain
from lastlayer.messages.wording import option


@dataclass
class _Prepared:
    """Rows ready to train on."""

    rows: Rows
    split: Split
    task: Task
    target: Tensor
    backbone: str
    preprocessing: ImageSpec | TableSpec


def fit(source: Any, config: Config, listener: Listener, folder: Path | None) -> tuple[Record, Network]:
    """Train a classifier on `source`; with a `folder`, keep it there while it trains and after."""
    started = time.monotonic()
    helper = training.accelerator(config)
    journal = Journal(listener if helper.is_main_process else Silent())
    folder = folder if helper.is_main_process else None
    with ExitStack() as claims:
        with processes.same_fate(helper):
            backbones.check(config, _checked_kind(source, config))
            if folder is not None:
                claims.enter_context(run_folder.claimed(folder))
            ready = _prepare(source, config, journal)
        spec = ModelSpec(ready.task, ready.backbone, ready.preprocessing)
        claims.enter_context(torch.random.fork_rng())
        claims.enter_context(torch.backends.cudnn.flags(deterministic=True))
        request = claims.enter_context(stop_on_interrupt())
        torch.manual_seed(config.seed)
        network = Network(spec, pretrained=config.pretrained, journal=journal)
        if helper.process_index:
            torch.manual_seed(config.seed + helper.process_index)  # each drops other features
        parts = {name: _examples(ready, rows) for name, rows in ready.split._asdict().items() if rows}
        history = _train(network, parts, ready, config, journal, request, helper, folder)
        record = _finish(network, spec, parts, ready, config, history, journal, helper, source, started)
        with processes.same_fate(helper):
            if folder is not None:
                run_folder.write(folder, record)
    return record, network


def _checked_kind(source: Any, config: Config) -> str:
    """What kind of data this is; settings that say nothing about that kind are refused, before any of it is read."""
    kind = sources.kind_of(source)
    of_images = kind == "image" or config.image is not None
    for name in config.given():
        kinds = APPLIES_TO.get(name, (kind,))
        if kind not in kinds and not (of_images and "image" in kinds):
            raise ConfigError(
                f"{option(name)} is for {KINDS[kinds[0]]}, and {name_of(source)} is {KINDS[kind]}: leave it out."
            )
    return "image" if of_images else "table"


def _prepare(source: Any, config: Config, journal: Journal) -> _Prepared:
    rows = sources.open_labelled(source, config, journal)
    labels = rows.labels or []
    check_labels(labels, config, _folders(source))
    if rows.kind == "table":
        check_features(rows.data, config)
    seen: dict[str, Seen] = {}
    if rows.kind == "image":
        rows, looks = images.leave_out_unreadable(
            rows,
            max_pixels=config.max_pixels,
            strict=config.strict,
            journal=journal,
            advice=f", or leave {option('strict', True)} out to go on without",
        )
        seen = dict(zip(rows.names, looks, strict=True))
        check_labels(rows.labels or [], config, _folders(source))
    contents = [seen[name].digest for name in rows.names] if seen else _contents(rows, config)
    rows, split = split_rows(
        rows,
        contents,
        validation=config.validation,
        calibration=config.calibration,
        test=config.test,
        seed=config.seed,
        journal=journal,
    )
    labels = rows.labels or []
    task = infer_task(labels, split.train, config, journal)
    target = task.targets(labels)
    training_rows = rows.select(split.train)
    looks = [seen[name] for name in training_rows.names] if seen else []
    backbone, size = backbones.choose(config, rows.kind, median_size(looks) if looks else 0, journal)
    preprocessing: ImageSpec | TableSpec
    if rows.kind == "image":
        pictures = list(training_rows.data["image"])
        preprocessing = learn_pixels(pictures, looks, size, config.max_pixels)
    else:
        preprocessing = learn_columns(training_rows.data, config, journal)
    return _Prepared(rows, split, task, target, backbone, preprocessing)


def _folders(source: Any) -> Sequence[str]:
    """The class folders, so that empty ones count as classes too."""
    path = Path(source) if isinstance(source, (str, Path)) and source != sources.DIGITS else None
    is_images = path is not None and path.is_dir() and sources.kind_of(path) == "image"
    return images.class_folders(path) if path is not None and is_images else ()


def _contents(rows: Rows, config: Config) -> list[Hashable]:
    """One number per row of a table, equal where all features are that are looked at."""
    frame = rows.data.remove_columns([name for name in config.ignore if name in rows.data.column_names]).to_pandas()
    for name in frame.columns:
        if frame[name].dtype.kind == "O":
            frame[name] = frame[name].astype(str)  # lists and the like cannot be hashed as they are
    return [int(digest) for digest in need("pandas").util.hash_pandas_object(frame, index=False)]


def _examples(ready: _Prepared, rows: list[int]) -> Examples:
    return Examples(ready.rows.select(rows), ready.preprocessing, ready.target[rows])


def _train(
    network: Network,
    parts: dict[str, Examples],
    ready: _Prepared,
    config: Config,
    journal: Journal,
    request: StopRequest,
    helper: Any,
    folder: Path | None,
) -> training.History:
    odd = sum(len(part.table.problems) for name, part in parts.items() if name != "train" and part.is_table)
    if odd:
        journal.say(f"{plural(odd, 'validation or test row')} with cells that are no numbers: taken for missing.")
    rows = len(parts["train"])
    together = f" Processes: {helper.num_processes}, which share each batch." if helper.num_processes > 1 else ""
    journal.say(
        f"Training: at most {plural(config.epochs, 'epoch')}, each of {plural(rows, 'row')} in batches of "
        f"{training.batch_size(config, rows)}; it stops after {config.patience} without a lower validation log-loss."
        f"{together}"
    )

    def keep(weights: training.Weights) -> None:
        if folder is not None:
            run_folder.write_checkpoint(folder, weights)

    history = training.train(
        network,
        parts["train"],
        parts["validation"],
        config,
        kind=ready.rows.kind,
        journal=journal,
        request=request,
        helper=helper,
        on_best=keep,
    )
    journal.say(_how_it_ended(history, config))
    diagnosis.of_curve(history, ready.task.choices, journal)
    return history


def _how_it_ended(history: training.History, config: Config) -> str:
    last = history.epochs[-1].epoch if history.epochs else 0
    if history.interrupted:
        kept = f"epoch {history.best_epoch} is kept" if history.best_epoch else "the first epoch was not over"
        return f"Interrupted after {plural(last, 'epoch')}: {kept}."
    if last < config.epochs:
        return f"Stopped after epoch {last}: epoch {history.best_epoch} has the lowest validation log-loss and is kept."
    return f"Epoch {history.best_epoch} of {last} has the lowest validation log-loss and is kept."


def _finish(
    network: Network,
    spec: ModelSpec,
    parts: dict[str, Examples],
    ready: _Prepared,
    config: Config,
    history: training.History,
    journal: Journal,
    helper: Any,
    source: Any,
    started: float,
) -> Record:
    """Calibrate on validation rows, judge on test rows, and write it all down."""
    workers = training.workers(config, ready.rows.kind)
    logits: dict[str, Tensor] = {
        name: training.shared_logits(network, parts[name], "cpu", helper, workers)
        for name in ("validation", "calibration", "test")
        if name in parts
    }
    held_out = "calibration" if "calibration" in parts else "validation"
    found = calibrate(logits[held_out], parts[held_out].labelled)
    calibration = _calibration(found)
    journal.say(calibration)
    spec = replace(spec, temperature=found.temperature)
    judge = "test" if "test" in logits else "validation"
    judged = ready.rows.select(getattr(ready.split, judge))
    target = parts[judge].labelled
    evaluation = evaluate(logits[judge], target, judged.names, ready.task, found.temperature, judge)
    worst = evaluation.worst[0].row
    data: dict[str, Any] = {
        "rows": {name: len(rows) for name, rows in ready.split._asdict().items()},
        "classes": _class_counts(ready),
        "left_out": [asdict(each) for each in ready.rows.left_out],
        "notes": journal.notes,
        "calibration": {name: value for name, value in asdict(found).items() if value == value},
        "training": {
            "best_epoch": history.best_epoch,
            "interrupted": history.interrupted,
            "first_loss": history.first_loss,
            "expected_first_loss": history.expected_first_loss,
            "prior_entropy": history.prior_entropy,
            "seconds": round(time.monotonic() - started, 1),
        },
    }
    facts = Facts(
        data_name=name_of(source),
        spec=spec,
        config=config,
        epochs=history.epochs,
        best_epoch=history.best_epoch,
        calibration=calibration,
        notes=journal.notes,
        left_out=data["left_out"],
        evaluation=evaluation,
        rows=judged,
        explained=explained(logits[judge][worst], target[worst], spec, judged.names[worst]),
        explained_row=worst,
        written=time.strftime("%Y-%m-%d"),
    )
    return Record(
        config=config,
        data_name=facts.data_name,
        versions=run_folder.versions(),
        spec=spec,
        weights=history.best,
        epochs=history.epochs,
        data=data,
        predictions=_predictions(logits, ready),
        report=report(facts),
        card=card(facts),
    )


def _calibration(found: Calibration) -> str:
    scores = f"log-loss of held-out rows {found.before:.4f} → {found.after:.4f}"
    if found.kept:
        return f"Temperature {found.temperature:.4f} is kept: {scores}."
    if math.isnan(found.fitted):
        return "Temperature stays 1: there are too few rows to fit one."
    if found.fitted == temperature.LEAST:
        return "Temperature stays 1: every row that could tell is right, so nothing says how sure is too sure."
    if found.fitted == temperature.MOST:
        return "Temperature stays 1: rows that it is fitted to are predicted no better than at random."
    return f"Temperature stays 1: the fitted {found.fitted:.4f} does not help rows it was not fitted to ({scores})."


def _class_counts(ready: _Prepared) -> dict[str, dict[str, int]]:
    return {
        name: dict(zip(ready.task.names, _counts(ready.target[rows], len(ready.task.classes)), strict=True))
        for name, rows in ready.split._asdict().items()
        if rows
    }


def _counts(target: Tensor, classes: int) -> list[int]:
    found: list[int] = (target.sum(0) if target.dim() == 2 else torch.bincount(target, minlength=classes)).tolist()
    return found


def _predictions(logits: dict[str, Tensor], ready: _Prepared) -> Any:
    """An Arrow table of the raw logits of the rows that were not trained on."""
    columns: dict[str, list[Any]] = {"split": [], "input": [], "target": []}
    for name in logits:
        rows = getattr(ready.split, name)
        columns["split"] += [name] * len(rows)
        columns["input"] += [ready.rows.names[row] for row in rows]
        several = ready.task.kind == "multilabel"
        columns["target"] += [
            ready.task.held(target) if several else ready.task.names[int(target)] for target in ready.target[rows]
        ]
    together = torch.cat(list(logits.values()))
    arrays: dict[str, Any] = dict(columns)
    if together.dim() == 1:
        arrays["logit"] = together.numpy()
    else:
        arrays |= {f"logit({name})": together[:, place].numpy() for place, name in enumerate(ready.task.names)}
    return need("pyarrow").table(arrays)


def explained(logits: Tensor, target: Tensor | None, spec: ModelSpec, name: str) -> Trace:
    """One row of logits, told from logits to probabilities, and to the loss where there is a target."""
    task = spec.task
    truth = None if target is None else target.double() if task.kind == "multilabel" else int(target)
    trace = explain(logits, truth, classes=task.names, kind=task.kind, temperature=spec.temperature)
    context = {"input": name, "prediction": task.spelled(task.decided(logits.unsqueeze(0))[0])}
    if trace.kind == "multiclass":
        facts = trace["decision"].facts
        context["runner_up"] = f"{facts['winner']} by {float(facts['margin']):.1f} nats over {facts['second']}"
    return replace(trace, context=context)


def name_of(source: Any) -> str:
    """What to call the data."""
    return str(source) if isinstance(source, (str, Path)) else type(source).__name__


def judged_again(record: Record) -> Evaluation:
    """The evaluation of a run's own test rows, or validation rows where it has none, from the logits it kept."""
    return evaluate_rows(kept_rows(record))


def kept_rows(record: Record) -> Judged:
    """A run's own test rows, or validation rows where it has none, with the logits it kept."""
    table = record.predictions.to_pydict()
    judge = "test" if "test" in table["split"] else "validation"
    rows = [row for row, name in enumerate(table["split"]) if name == judge]
    task = record.spec.task
    target = task.targets([_answer(table["target"][row]) for row in rows])
    names = [table["input"][row] for row in rows]
    return Judged(_kept_logits(record, table)[rows], target, names, task, record.spec.temperature, judge)


def _answer(kept: str | list[str]) -> Answer:
    return kept if isinstance(kept, str) else tuple(kept)


def kept_row(record: Record, name: str) -> tuple[Tensor, Answer] | None:
    """The logits and the class of a row that a run has kept, by the row's name."""
    table = record.predictions.to_pydict()
    if name not in table["input"]:
        return None
    row = table["input"].index(name)
    return _kept_logits(record, table)[row], _answer(table["target"][row])


def _kept_logits(record: Record, table: dict[str, list[Any]]) -> Tensor:
    task = record.spec.task
    if task.kind == "binary":
        return torch.tensor(table["logit"], dtype=torch.float64)
    return torch.tensor([table[f"logit({name})"] for name in task.names], dtype=torch.float64).T


def where_was(record: Record, name: str) -> str:
    """What a row of the run's own data could be opened by, if the data still stands where it stood."""
    source = Path(record.data_name)
    if record.data_name == sources.DIGITS:
        return name
    return str((source if source.is_dir() else source.parent) / name)
