"""From labelled data to a finished run, step by step. Each decision is said and kept."""

import secrets
import time
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lastlayer.classifier import diagnosis, run_folder
from lastlayer.classifier.config import Config
from lastlayer.classifier.data.splits import Split
from lastlayer.classifier.evaluation import evaluate
from lastlayer.classifier.extras import need
from lastlayer.classifier.folds import CrossValidation, Judged, cross_validate, cut
from lastlayer.classifier.journal import Journal, Listener, Silent
from lastlayer.classifier.learning import augmentation, frozen, processes, resuming, tracking, training
from lastlayer.classifier.learning.batches import Examples
from lastlayer.classifier.learning.checkpoints import Checkpoint
from lastlayer.classifier.learning.interrupts import StopRequest, stop_on_interrupt
from lastlayer.classifier.learning.keeping import Keeper
from lastlayer.classifier.learning.resuming import Begun
from lastlayer.classifier.learning.tracking import Trackers
from lastlayer.classifier.network import backbones, objective
from lastlayer.classifier.network.model import ModelSpec, Network
from lastlayer.classifier.network.objective import Objective
from lastlayer.classifier.policy import deciding, sentences
from lastlayer.classifier.policy.telling import explained
from lastlayer.classifier.predicting import occlusion
from lastlayer.classifier.preparing import Prepared, checked_kind, examples_of, learn, name_of, prepare
from lastlayer.classifier.report import Facts, card, report
from lastlayer.classifier.run_folder import Record
from lastlayer.decisions import Policy
from lastlayer.messages import Message


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
            ready = prepare(source, config, journal)
            config = ready.config
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
        parts = {name: examples_of(ready, rows) for name, rows in ready.split._asdict().items() if rows}
        trackers = Trackers(helper, keeping, config, about.id, about.data)
        claims.callback(trackers.end)
        if (where := trackers.said()) is not None:
            journal.say(where)
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
        record = _finish(
            network, spec, parts, ready, config, history, journal, helper, source, started, folds, trackers
        )
        with processes.same_fate(helper):
            if folder is not None:
                run_folder.write(folder, record)
    return record, network


def _begun(source: Any, config: Config, helper: Any, earlier: Begun | None) -> Begun:
    data = str(source) if isinstance(source, (str, Path)) else None
    name = secrets.token_hex(6) if earlier is None else earlier.id
    return Begun(config, data, helper.num_processes, run_folder.versions(), name)


def _judge_fold(ready: Prepared, split: Split, fold: int, config: Config, request: StopRequest, helper: Any) -> Judged:
    """Train as for the final model, in silence, and give calibrated logits of the rows that are held out."""
    quiet, config = Journal(Silent()), replace(config, seed=config.seed + fold)
    backbone, preprocessing = learn(ready.rows, split, ready.seen, config, quiet)
    ready = replace(ready, split=split, backbone=backbone, preprocessing=preprocessing)
    loss = _objective(ready, config, quiet)
    spec = ModelSpec(ready.task, backbone, preprocessing, _stated(ready, config, loss), loss)
    torch.manual_seed(config.seed)
    network = Network(spec, pretrained=backbones.starts_from_weights(config), journal=quiet)
    parts = {name: examples_of(ready, rows) for name, rows in split._asdict().items() if rows}
    keeper = Keeper(None, config.checkpoint_minutes, helper)
    history = _train(network, parts, ready, config, quiet, request, helper, keeper, Trackers(), None)
    workers = training.workers(config, ready.rows.kind)
    alone = "calibration" in parts
    held_out = "calibration" if alone else "validation"
    logits = training.shared_logits(network, parts[held_out], "cpu", helper, workers)
    policy = deciding.fitted(spec.policy, logits, parts[held_out].labelled, ready.task, config, alone=alone).policy
    judged = training.shared_logits(network, parts["test"], "cpu", helper, workers)
    of_training = replace(policy, trained=None, deployed=None)  # the rows are of the world of training
    return Judged(of_training.logits(judged), not history.interrupted)


def _train(
    network: Network,
    parts: dict[str, Examples],
    ready: Prepared,
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
        journal.say(Message("training.odd_cells", rows=odd))
    rows = len(parts["train"])
    several = Message("training.processes", processes=helper.num_processes) if helper.num_processes > 1 else ""
    journal.say(
        Message(
            "training.begins",
            epochs=config.epochs,
            rows=rows,
            batch=training.batch_size(config, rows),
            patience=config.patience,
            processes=several,
        )
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


def _how_it_ended(history: training.History, config: Config) -> Message:
    last, best = history.epochs[-1].epoch if history.epochs else 0, history.best_epoch
    if history.interrupted and not best:
        return Message("training.interrupted_early", last=last)
    if history.interrupted:
        return Message("training.interrupted", last=last, best=best)
    return Message("training.stopped" if last < config.epochs else "training.ended", last=last, best=best)


def _finish(
    network: Network,
    spec: ModelSpec,
    parts: dict[str, Examples],
    ready: Prepared,
    config: Config,
    history: training.History,
    journal: Journal,
    helper: Any,
    source: Any,
    started: float,
    folds: CrossValidation | None,
    trackers: Trackers,
) -> Record:
    """Calibrate, judge on test rows, and write it all down."""
    workers = training.workers(config, ready.rows.kind)
    logits: dict[str, Tensor] = {
        name: training.shared_logits(network, parts[name], "cpu", helper, workers)
        for name in ("validation", "calibration", "test")
        if name in parts
    }
    alone = "calibration" in parts
    held_out = "calibration" if alone else "validation"
    found = deciding.fitted(spec.policy, logits[held_out], parts[held_out].labelled, ready.task, config, alone=alone)
    for sentence in (found.calibration, *found.said):
        journal.say(sentence)
    spec = replace(spec, policy=found.policy)
    judge = "test" if "test" in logits else "validation"
    judged = ready.rows.select(getattr(ready.split, judge))
    target = parts[judge].labelled
    evaluation = evaluate(logits[judge], target, judged.names, ready.task, spec.policy, judge)
    evaluation = occlusion.with_words_of_worst(evaluation, lambda example: judged.select([example.row]), network, spec)
    trackers.judged(judge, {name: score.value for name, score in evaluation.scores.items()})
    if evaluation.decided is not None and evaluation.decided.coverage is not None:
        journal.say(sentences.covered(evaluation.decided.coverage, ready.task, judge, spec.policy))
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
            "linear": None if history.linear is None else history.linear._asdict(),
            "seconds": round(time.monotonic() - started, 1),
        },
        **({} if folds is None else {"cross_validation": folds.to_dict()}),
    }
    facts = Facts(
        data_name=name_of(source),
        spec=spec,
        config=config,
        epochs=history.epochs,
        best_epoch=history.best_epoch,
        calibration=found.calibration,
        data=data,
        evaluation=evaluation,
        rows=judged,
        explained=occlusion.told(
            explained(logits[judge][worst], target[worst], spec, judged.names[worst]),
            judged.select([worst]),
            network,
            spec,
        ),
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
        card=card(facts, versions),
        folds=None if folds is None else folds.table,
    )


def _stated(ready: Prepared, config: Config, loss: Objective) -> Policy:
    rows = ready.split.train
    counts = _counts(ready.target[rows], len(ready.task.classes))
    return deciding.stated(ready.task, counts, len(rows), config, weight=loss.weight, pos_weight=loss.pos_weight)


def _objective(ready: Prepared, config: Config, journal: Journal) -> Objective:
    rows = ready.split.train
    counts = _counts(ready.target[rows], len(ready.task.classes))
    found = objective.objective(config, ready.task, counts, len(rows))
    sentence = objective.said(found, ready.task)
    if sentence is not None:
        journal.say(sentence)
    return found


def _class_counts(ready: Prepared) -> dict[str, dict[str, int]]:
    return {
        name: dict(zip(ready.task.names, _counts(ready.target[rows], len(ready.task.classes)), strict=True))
        for name, rows in ready.split._asdict().items()
        if rows
    }


def _counts(target: Tensor, classes: int) -> list[int]:
    found: list[int] = (target.sum(0) if target.dim() == 2 else torch.bincount(target, minlength=classes)).tolist()
    return found


def _predictions(logits: dict[str, Tensor], ready: Prepared) -> Any:
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
