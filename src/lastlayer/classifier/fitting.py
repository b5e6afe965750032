"""From labelled data to a finished run, step by step. Each decision is said and kept."""

import secrets
import time
from collections.abc import Callable, Hashable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lastlayer.classifier import diagnosis, run_folder
from lastlayer.classifier.config import APPLIES_TO, KINDS, Config
from lastlayer.classifier.data import images, sources
from lastlayer.classifier.data.checks import Finding
from lastlayer.classifier.data.checks import during as checks
from lastlayer.classifier.data.columns import TableSpec, check_features, learn_columns
from lastlayer.classifier.data.contents import contents_of
from lastlayer.classifier.data.groups import with_groups
from lastlayer.classifier.data.images import Seen
from lastlayer.classifier.data.pixels import ImageSpec, learn_pixels, median_size
from lastlayer.classifier.data.rows import Answer, Rows, plural
from lastlayer.classifier.data.splits import Split, split_rows
from lastlayer.classifier.evaluation import Evaluation, JudgedRows, evaluate, evaluate_rows
from lastlayer.classifier.extras import need
from lastlayer.classifier.folds import Judged, cross_validate, cut
from lastlayer.classifier.journal import Journal, Listener, Silent
from lastlayer.classifier.learning import augmentation, frozen, objective, processes, resuming, tracking, training
from lastlayer.classifier.learning.batches import Examples
from lastlayer.classifier.learning.checkpoints import Checkpoint
from lastlayer.classifier.learning.interrupts import StopRequest, stop_on_interrupt
from lastlayer.classifier.learning.keeping import Keeper
from lastlayer.classifier.learning.objective import Objective
from lastlayer.classifier.learning.resuming import Begun
from lastlayer.classifier.learning.tracking import Trackers
from lastlayer.classifier.network import backbones
from lastlayer.classifier.network.model import ModelSpec, Network
from lastlayer.classifier.policy import deciding, sentences
from lastlayer.classifier.policy.telling import explained
from lastlayer.classifier.report import Facts, card, report, views
from lastlayer.classifier.report.said import Said
from lastlayer.classifier.run_folder import Record
from lastlayer.classifier.task import Task, check_labels, infer_task
from lastlayer.decisions import Policy
from lastlayer.errors import ConfigError
from lastlayer.messages.wording import option

_LEARN_FROM = 100_000  # training rows: their means are known to a third of a percent of their spread


@dataclass
class _Prepared:
    """Rows ready to train on."""

    rows: Rows
    split: Split
    task: Task
    target: Tensor
    backbone: str
    preprocessing: ImageSpec | TableSpec
    findings: list[Finding]
    contents: Sequence[Hashable]  # equal where rows are
    seen: dict[str, Seen]
    fingerprint: str


def fit(
    source: Any, config: Config, listener: Listener, folder: Path | None, earlier: Begun | None = None
) -> tuple[Record, Network]:
    """Train a classifier on `source`; with a `folder`, keep it there while it trains and after.

    With `earlier`, go on with the run in `folder` that was cut off.
    """
    started = time.monotonic()
    tracking.check(config, folder)
    helper = training.accelerator(config, folder)
    journal = Journal(listener if helper.is_main_process else Silent())
    keeping, folder = folder, folder if helper.is_main_process else None
    about = _begun(source, config, helper, earlier)
    with ExitStack() as claims:
        with processes.same_fate(helper):
            backbones.check(config, checked_kind(source, config))
            deciding.check(config)
            objective.check(config)
            frozen.check(config)
            augmentation.check(config)
            if earlier is not None and keeping is not None:
                resuming.check(keeping, earlier, about, journal)
                claims.enter_context(resuming.held(folder))
            elif folder is not None:
                claims.enter_context(run_folder.claimed(folder))
                resuming.begin(folder, about)
                claims.enter_context(resuming.held(folder))
            ready = _prepare(source, config, journal)
            if config.folds is not None:
                cut(ready.rows, ready.contents, ready.split, config)  # what cannot be cut is said before any training
            loss = _objective(ready, config, journal)
            policy = _stated(ready, config, loss)
            config = deciding.portable(objective.portable(config, loss, ready.task), policy, ready.task)
            marks = resuming.marks(about, data=ready.fingerprint, loss=loss)
            keeper = Keeper(keeping, config.checkpoint_minutes, helper, marks)
            checkpoint = None if earlier is None else resuming.newest(keeper, journal)
        spec = ModelSpec(ready.task, ready.backbone, ready.preprocessing, policy, loss)
        claims.enter_context(torch.random.fork_rng())
        claims.enter_context(torch.backends.cudnn.flags(deterministic=True))
        request = claims.enter_context(stop_on_interrupt())
        torch.manual_seed(config.seed)
        network = Network(spec, pretrained=backbones.starts_from_weights(config), journal=journal)
        if helper.process_index:
            torch.manual_seed(config.seed + helper.process_index)  # each drops other features
        parts = {name: _examples(ready, rows) for name, rows in ready.split._asdict().items() if rows}
        trackers = Trackers(helper, keeping, config, about.id)
        history = _train(network, parts, ready, config, journal, request, helper, keeper, trackers, checkpoint)
        folds = None
        if config.folds is not None and not history.interrupted:
            folds = cross_validate(
                ready.rows,
                ready.contents,
                ready.split,
                ready.target,
                spec,
                config,
                journal,
                lambda split, fold: _judge_fold(ready, split, fold, config, request, helper),
            )
            history.interrupted = folds is None
        record = _finish(network, spec, parts, ready, config, history, journal, helper, source, started)
        if folds is not None:
            record.data["cross_validation"], record.folds = folds.to_dict(), folds.table
        with processes.same_fate(helper):
            if folder is not None:
                run_folder.write(folder, record)
    return record, network


def _begun(source: Any, config: Config, helper: Any, earlier: Begun | None) -> Begun:
    data = str(source) if isinstance(source, (str, Path)) else None
    name = secrets.token_hex(6) if earlier is None else earlier.id
    return Begun(config, data, helper.num_processes, run_folder.versions(), name)


def checked_kind(source: Any, config: Config) -> str:
    """What kind of data this is; settings that say nothing about that kind are refused, before any of it is read."""
    kind = sources.kind_of(source)
    of_images = kind.startswith("image") or config.image is not None
    for name in config.given():
        kinds = APPLIES_TO.get(name, (kind,))
        if kind not in kinds and not (of_images and "image" in kinds):
            raise ConfigError(
                f"{option(name)} is for {KINDS[kinds[0]]}, and {name_of(source)} is {KINDS[kind]}: leave it out."
            )
    return "image" if of_images else "table"


def _prepare(source: Any, config: Config, journal: Journal) -> _Prepared:
    rows = with_groups(sources.open_labelled(source, config, journal), config, journal)
    labels = rows.labels or []
    check_labels(labels, config, class_folders(source))
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
        check_labels(rows.labels or [], config, class_folders(source))
    contents: Sequence[Hashable] = [seen[name].digest for name in rows.names] if seen else contents_of(rows, config)
    whole = rows
    rows, split = split_rows(
        whole,
        contents,
        validation=config.validation,
        calibration=config.calibration,
        test=config.test,
        seed=config.seed,
        journal=journal,
    )
    found = checks.look(whole, contents, config, rows, split, list(seen.values()), class_folders(source), journal)
    contents = checks.of_kept(whole, rows, contents)
    labels = rows.labels or []
    task = infer_task(labels, split.train, config, journal)
    target = task.targets(labels)
    backbone, preprocessing = _learn(rows, split, seen, config, journal)
    fingerprint = resuming.fingerprint(rows, contents, split._asdict(), target)
    return _Prepared(rows, split, task, target, backbone, preprocessing, found, contents, seen, fingerprint)


def _learn(
    rows: Rows, split: Split, seen: dict[str, Seen], config: Config, journal: Journal
) -> tuple[str, ImageSpec | TableSpec]:
    """The backbone, and how inputs become tensors, from training rows only."""
    training_rows = rows.select(split.train)
    looks = [seen[name] for name in training_rows.names] if seen else []
    backbone, size = backbones.choose(config, rows.kind, median_size(looks) if looks else 0, journal)
    if rows.kind == "image":
        return backbone, learn_pixels(list(training_rows.data["image"]), looks, size, config.max_pixels)
    columns = learn_columns(_sample(training_rows.data, journal), config, journal)
    return backbones.for_columns(config, columns, journal), columns


def _sample(data: Any, journal: Journal) -> Any:
    """The rows that scales, categories and words are learnt from: all, or an even sample of very many."""
    step = -(-len(data) // _LEARN_FROM)
    if step < 2:
        return data
    journal.say(
        f"What columns hold is learnt from {-(-len(data) // step):,} training rows of {len(data):,}, evenly taken."
    )
    return data.select(range(0, len(data), step))


def _judge_fold(ready: _Prepared, split: Split, fold: int, config: Config, request: StopRequest, helper: Any) -> Judged:
    """Train as for the final model, in silence, and give calibrated logits of the rows that are held out."""
    quiet, config = Journal(Silent()), replace(config, seed=config.seed + fold)
    backbone, preprocessing = _learn(ready.rows, split, ready.seen, config, quiet)
    ready = replace(ready, split=split, backbone=backbone, preprocessing=preprocessing)
    loss = _objective(ready, config, quiet)
    spec = ModelSpec(ready.task, backbone, preprocessing, _stated(ready, config, loss), loss)
    torch.manual_seed(config.seed)
    network = Network(spec, pretrained=backbones.starts_from_weights(config), journal=quiet)
    parts = {name: _examples(ready, rows) for name, rows in split._asdict().items() if rows}
    keeper = Keeper(None, config.checkpoint_minutes, helper)
    history = _train(network, parts, ready, config, quiet, request, helper, keeper, Trackers(), None)
    workers = training.workers(config, ready.rows.kind)
    held_out = "calibration" if "calibration" in parts else "validation"
    logits = training.shared_logits(network, parts[held_out], "cpu", helper, workers)
    policy = deciding.fitted(spec.policy, logits, parts[held_out].labelled, ready.task, config).policy
    judged = training.shared_logits(network, parts["test"], "cpu", helper, workers)
    of_training = replace(policy, trained=None, deployed=None)  # the rows are of the world of training
    return Judged(of_training.logits(judged), not history.interrupted)


def class_folders(source: Any) -> Sequence[str]:
    """The class folders, so that empty ones count as classes too."""
    path = Path(source) if isinstance(source, (str, Path)) and source != sources.DIGITS else None
    is_images = path is not None and path.is_dir() and sources.kind_of(path) == "image"
    return images.class_folders(path) if path is not None and is_images else ()


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
    keeper: Keeper,
    trackers: Trackers,
    checkpoint: Checkpoint | None,
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
    history = frozen.train(
        network,
        parts,
        config,
        kind=ready.rows.kind,
        journal=journal,
        request=request,
        helper=helper,
        keeper=keeper,
        trackers=trackers,
        checkpoint=checkpoint,
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
    found = deciding.fitted(spec.policy, logits[held_out], parts[held_out].labelled, ready.task, config)
    for sentence in (found.calibration, *found.said):
        journal.say(sentence)
    spec = replace(spec, policy=found.policy)
    judge = "test" if "test" in logits else "validation"
    judged = ready.rows.select(getattr(ready.split, judge))
    target = parts[judge].labelled
    evaluation = evaluate(logits[judge], target, judged.names, ready.task, spec.policy, judge)
    if evaluation.decided is not None and evaluation.decided.coverage is not None:
        journal.say(sentences.covered(evaluation.decided.coverage, ready.task, judge))
    worst = evaluation.worst[0].row
    data: dict[str, Any] = {
        "rows": {name: len(rows) for name, rows in ready.split._asdict().items()},
        "classes": _class_counts(ready),
        "findings": [finding.to_dict() for finding in ready.findings],
        "left_out": [asdict(each) for each in ready.rows.left_out],
        "notes": journal.notes,
        **found.facts,
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
        calibration=found.calibration,
        notes=journal.notes,
        left_out=data["left_out"],
        evaluation=evaluation,
        rows=judged,
        explained=explained(logits[judge][worst], target[worst], spec, judged.names[worst]),
        explained_row=worst,
        written=time.strftime("%Y-%m-%d"),
    )
    versions = run_folder.versions()
    return Record(
        config=config,
        data_name=facts.data_name,
        versions=versions,
        spec=spec,
        weights=history.best,
        epochs=history.epochs,
        data=data,
        predictions=_predictions(logits, ready),
        report=report(facts, config.lang),
        card=card(facts, data, versions),
    )


def _stated(ready: _Prepared, config: Config, loss: Objective) -> Policy:
    rows = ready.split.train
    counts = _counts(ready.target[rows], len(ready.task.classes))
    return deciding.stated(ready.task, counts, len(rows), config, weight=loss.weight, pos_weight=loss.pos_weight)


def _objective(ready: _Prepared, config: Config, journal: Journal) -> Objective:
    rows = ready.split.train
    counts = _counts(ready.target[rows], len(ready.task.classes))
    found = objective.objective(config, ready.task, counts, len(rows))
    sentence = objective.said(found, ready.task)
    if sentence is not None:
        journal.say(sentence)
    return found


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


def name_of(source: Any) -> str:
    """What to call the data."""
    return str(source) if isinstance(source, (str, Path)) else type(source).__name__


def judged_again(record: Record) -> Evaluation:
    """The evaluation of a run's own test rows, or validation rows where it has none, from the logits it kept."""
    return evaluate_rows(kept_rows(record))


def kept_rows(record: Record) -> JudgedRows:
    """A run's own test rows, or validation rows where it has none, with the logits it kept."""
    table = record.predictions.to_pydict()
    judge = "test" if "test" in table["split"] else "validation"
    rows = [row for row, name in enumerate(table["split"]) if name == judge]
    task = record.spec.task
    target = task.targets([_answer(table["target"][row]) for row in rows])
    names = [table["input"][row] for row in rows]
    return JudgedRows(_kept_logits(record, table)[rows], target, names, task, record.spec.policy, judge)


def facts_of(record: Record, find: Callable[[str], Rows | None]) -> Facts:
    """What the report of a run is written from, from what the run keeps; `find` opens a row by its name."""
    rows = kept_rows(record)
    evaluation = evaluate_rows(rows)
    worst = evaluation.worst[0].row
    return Facts(
        data_name=record.data_name,
        spec=record.spec,
        config=record.config,
        epochs=record.epochs,
        best_epoch=record.data["training"]["best_epoch"],
        calibration=views.temperature(record.spec.policy, Said()),
        notes=record.data["notes"],
        left_out=record.data["left_out"],
        evaluation=evaluation,
        rows=None,
        explained=explained(rows.logits[worst], rows.target[worst], record.spec, rows.names[worst]),
        explained_row=worst,
        written=time.strftime("%Y-%m-%d"),
        find=find,
    )


def _answer(kept: str | list[str]) -> Answer:
    return kept if isinstance(kept, str) else tuple(kept)


def kept_row(record: Record, name: str) -> tuple[Tensor, Answer] | None:
    """The logits and the class of a row that a run has kept, by the row's name."""
    table = record.predictions.to_pydict()
    if name not in table["input"]:
        return None
    row = table["input"].index(name)
    return _kept_logits(record, table)[row], _answer(table["target"][row])


def kept_part(record: Record, part: str) -> tuple[Tensor, Tensor] | None:
    """The logits and the truth of one part of the rows, as a run keeps them; None where it has no such part."""
    table, task = record.predictions.to_pydict(), record.spec.task
    rows = [row for row, name in enumerate(table["split"]) if name == part]
    if not rows:
        return None
    return _kept_logits(record, table)[rows], task.targets([_answer(table["target"][row]) for row in rows])


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
