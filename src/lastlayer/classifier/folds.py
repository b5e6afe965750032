"""Cross-validation: every row judged once, by a model that has not seen it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lastlayer.classifier.config import Config
from lastlayer.classifier.data.groups import folds as grouped_folds
from lastlayer.classifier.data.groups import joined
from lastlayer.classifier.data.rows import Rows
from lastlayer.classifier.data.splits import Split, strata, taken
from lastlayer.classifier.evaluation import Evaluation, evaluate
from lastlayer.classifier.extras import need
from lastlayer.classifier.journal import Journal
from lastlayer.classifier.network.model import ModelSpec
from lastlayer.classifier.task import Task
from lastlayer.decisions import Policy
from lastlayer.errors import DataError
from lastlayer.messages import Message
from lastlayer.messages.wording import option

SHOWN = ("log_loss", "accuracy", "micro_f1")


class Judged(NamedTuple):
    """What the model of one fold said of that fold's rows."""

    logits: Tensor  # float64, calibrated by that fold's own rows, weights of the loss taken off
    finished: bool  # False where an interrupt cut the training short


@dataclass(frozen=True)
class CrossValidation:
    """The scores of all folds together, and of each.

    Attributes:
        together: Of all rows, each judged by the model that has not seen it; the intervals are over rows.
        each: Of every fold.
        table: An Arrow table: fold, input, target and calibrated logits of every row.
    """

    together: Evaluation
    each: tuple[Evaluation, ...]
    table: Any

    def spread(self, score: str) -> tuple[float, float]:
        """The least and the greatest value of a score over the folds that have it."""
        values = [one[score] for one in self.each if one[score] == one[score]]
        return min(values, default=float("nan")), max(values, default=float("nan"))

    def to_dict(self) -> dict[str, Any]:
        """JSON's types only: per score its value, its interval over rows, and every fold's value."""
        scores = {}
        for name, found in self.together.scores.items():
            values = [one[name] for one in self.each]
            scores[name] = {
                "value": found.value,
                "low": found.low,
                "high": found.high,
                "folds": values,
                "mean_of_folds": float(np.mean(values)),
                "standard_deviation_of_folds": float(np.std(values, ddof=1)),
            }
        return {"folds": len(self.each), "rows": self.together.rows, "scores": scores}

    def said(self) -> Message:
        """The two scores that matter most, in a sentence."""
        parts = []
        for name in (name for name in SHOWN if name in self.together.scores):
            found, (least, most) = self.together.scores[name], self.spread(name)
            span = {"value": found.value, "low": found.low, "high": found.high, "least": least, "most": most}
            parts.append(Message("fold.score", name=Message(f"fold.name.{name}"), **span))
        return Message("fold.scores", folds=len(self.each), rows=self.together.rows, scores=parts)


def cut(rows: Rows, contents: Sequence[Any], split: Split, config: Config) -> list[list[int]]:
    """The rows of each fold: all but those of a test split that the source has; groups and equal rows stay together.

    Raises:
        DataError: fewer groups of rows than folds.
    """
    given_test = set(split.test) if rows.given is not None else set()
    places = [row for row in range(len(rows)) if row not in given_test]
    labels = strata([(rows.labels or [])[row] for row in places])
    inner = [contents[row] for row in places]
    together = joined(inner, inner if rows.groups is None else [rows.groups[row] for row in places])
    count = config.folds or 2
    if len(set(together)) < count:
        raise DataError(
            f"{option('folds', count)} needs at least as many rows that can be told apart, or groups: there are "
            f"{len(set(together))}."
        )
    if len(set(together)) == len(together):
        return [[places[row] for row in fold] for fold in _stratified(labels, count, config.seed)]
    return [[places[row] for row in fold] for fold in grouped_folds(labels, together, count, config.seed)]


def _stratified(labels: Sequence[Any], count: int, seed: int) -> list[list[int]]:
    """Deal the rows of each class to the folds in turn, and go on where the class before stopped."""
    random = np.random.default_rng(seed)
    codes = np.unique([str(label) for label in labels], return_inverse=True)[1]
    order = random.permutation(len(labels))
    order = order[np.argsort(codes[order], kind="stable")]
    return [sorted(order[fold::count].tolist()) for fold in range(count)]


def inner_split(rows: Rows, contents: Sequence[Any], held: Sequence[int], split: Split, config: Config) -> Split:
    """The rows that a fold's model may use, in the shares that any training has; `held` are judged."""
    gone = {*held, *(split.test if rows.given is not None else ())}
    rest = [row for row in range(len(rows)) if row not in gone]
    labels = strata([(rows.labels or [])[row] for row in rest])
    groups = None if rows.groups is None else [rows.groups[row] for row in rest]
    chosen, calibrating = taken(labels, [contents[row] for row in rest], groups, config.shares, config.seed)
    train = [row for place, row in enumerate(rest) if place not in chosen and place not in calibrating]
    return Split(
        train,
        sorted(rest[place] for place in chosen),
        sorted(rest[place] for place in calibrating),
        list(held),
    )


def cross_validate(
    rows: Rows,
    contents: Sequence[Any],
    split: Split,
    target: Tensor,
    spec: ModelSpec,
    config: Config,
    journal: Journal,
    judge: Callable[[Split, int], Judged],
) -> CrossValidation | None:
    """Train a model per fold and judge its rows; None where somebody asked to stop.

    Args:
        rows: All rows that can be used.
        contents: Equal where rows are.
        split: The ordinary split; a test part that the source gave takes no part.
        target: Of all rows.
        spec: Of the final model: every fold has its classes, and its costs decide.
        config: Settings; `folds` of them.
        journal: Hears which fold is being trained.
        judge: Trains on a split and judges its test part; the number of the fold is added to the seed.
    """
    task, policy = spec.task, Policy(spec.task.kind, len(spec.task.classes), cost=spec.policy.cost)
    held = cut(rows, contents, split, config)
    judged: list[Judged] = []
    for number, fold in enumerate(held, start=1):
        journal.say(Message("fold.begins", number=number, of=len(held), rows=len(fold)))
        found = judge(inner_split(rows, contents, fold, split, config), number)
        if not found.finished:
            journal.say(Message("fold.interrupted"))
            return None
        judged.append(found)
    places = [row for fold in held for row in fold]
    names = [rows.names[row] for row in places]
    logits = torch.cat([one.logits for one in judged])
    together = evaluate(logits, target[places], names, task, policy, f"{len(held)} folds")
    each = [
        evaluate(one.logits, target[fold], [rows.names[row] for row in fold], task, policy, f"fold {number}")
        for number, (one, fold) in enumerate(zip(judged, held, strict=True), start=1)
    ]
    numbers = [number for number, fold in enumerate(held, start=1) for _ in fold]
    spelled = [task.spelled(target[row]) for row in places]
    scores = CrossValidation(together, tuple(each), _table(numbers, names, spelled, logits, task))
    journal.say(scores.said())
    return scores


def _table(numbers: list[int], names: list[str], spelled: list[str], logits: Tensor, task: Task) -> Any:
    columns: dict[str, Any] = {"fold": numbers, "input": names, "target": spelled}
    if logits.dim() == 1:
        columns["logit"] = logits.numpy()
    else:
        columns |= {f"logit({name})": logits[:, place].numpy() for place, name in enumerate(task.names)}
    return need("pyarrow").table(columns)
