"""What a finished run still knows of its own rows, from the logits that it keeps."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lastlayer.classifier.data import sources
from lastlayer.classifier.data.rows import Answer, Rows
from lastlayer.classifier.evaluation import Evaluation, JudgedRows, evaluate_rows
from lastlayer.classifier.network.model import Network
from lastlayer.classifier.policy import sentences
from lastlayer.classifier.policy.telling import explained
from lastlayer.classifier.predicting import occlusion
from lastlayer.classifier.report import Facts
from lastlayer.classifier.run_folder import Record


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


def facts_of(record: Record, find: Callable[[str], Rows | None], network: Network) -> Facts:
    """What the report of a run is written from, from what the run keeps; `find` opens a row by its name."""
    rows = kept_rows(record)
    evaluation = occlusion.with_words_of_worst(
        evaluate_rows(rows), lambda example: find(example.name), network, record.spec
    )
    worst = evaluation.worst[0].row
    trace = explained(rows.logits[worst], rows.target[worst], record.spec, rows.names[worst])
    opened = find(rows.names[worst])
    return Facts(
        data_name=record.data_name,
        spec=record.spec,
        config=record.config,
        epochs=record.epochs,
        best_epoch=record.data["training"]["best_epoch"],
        calibration=sentences.divided(record.spec.policy),
        data=record.data,
        evaluation=evaluation,
        rows=None,
        explained=trace if opened is None else occlusion.told(trace, opened, network, record.spec),
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
