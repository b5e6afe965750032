"""Judging logits against the truth: scores with intervals, confusions, reliability, costs, and the worst rows."""

import math

import numpy as np
import torch
from torch import Tensor

from lastlayer.classifier.evaluation import ranking
from lastlayer.classifier.evaluation.judged import JudgedRows
from lastlayer.classifier.evaluation.result import Choice, ClassScores, Evaluation, Example
from lastlayer.classifier.evaluation.scores import BINS, risk_by_coverage, score
from lastlayer.classifier.policy.deciding import decided
from lastlayer.classifier.task import Task
from lastlayer.decisions import Interval, Policy, reliability
from lastlayer.messages import Message, few

_WORST = 12
_CHOICES = 3


def evaluate(logits: Tensor, target: Tensor, names: list[str], task: Task, policy: Policy, split: str) -> Evaluation:
    """Judge logits against the true classes, or the labels that hold."""
    return evaluate_rows(JudgedRows(logits, target, names, task, policy, split))


def evaluate_rows(judged: JudgedRows) -> Evaluation:
    """Judge rows."""
    task = judged.task
    scored = score(judged)
    intervals = scored.intervals(len(judged))
    by_class = _by_class(judged, scored.classes)
    sure = torch.from_numpy(judged.sure.ravel())
    right = torch.from_numpy((judged.predicted == judged.truth).ravel())
    return Evaluation(
        split=judged.split,
        kind=task.kind,
        classes=task.names,
        rows=len(judged),
        scores=intervals,
        undefined=_undefined(judged, intervals, by_class),
        confusion=() if judged.several else _confusion(judged),
        by_class=by_class,
        reliability=reliability(sure, right, bins=BINS),
        risk=risk_by_coverage(judged),
        log_classes=math.log(task.choices),
        prior_entropy=_prior_entropy(judged),
        worst=tuple(_example(judged, int(row)) for row in np.argsort(-judged.loss, kind="stable")[:_WORST]),
        decided=decided(judged.policy, judged.logits, judged.target),
    )


def _confusion(judged: JudgedRows) -> tuple[tuple[int, ...], ...]:
    classes = judged.p.shape[1]
    counts = np.bincount(judged.truth * classes + judged.predicted, minlength=classes * classes)
    return tuple(map(tuple, counts.reshape(classes, classes).tolist()))


def _prior_entropy(judged: JudgedRows) -> float:
    if judged.several:
        yes = judged.target.double().mean(0)
        return float(-(torch.xlogy(yes, yes) + torch.xlogy(1 - yes, 1 - yes)).mean())
    share = torch.bincount(judged.target).double() / max(len(judged), 1)
    return float(-torch.xlogy(share, share).sum())


def _by_class(judged: JudgedRows, ranked: list[tuple[float, float]]) -> tuple[ClassScores, ...]:
    """Each class against the rest, and what it adds to the loss."""
    classes = judged.p.shape[1]
    if judged.several:
        true, called = judged.truth.sum(0), judged.predicted.sum(0)
        both = (judged.truth & judged.predicted).sum(0)
        nats, judging = judged.each_loss.sum(0), np.full(classes, len(judged))
    else:
        true = judging = np.bincount(judged.truth, minlength=classes)
        called = np.bincount(judged.predicted, minlength=classes)
        both = np.bincount(judged.truth, weights=judged.correct, minlength=classes).astype(int)
        nats = np.bincount(judged.truth, weights=judged.loss, minlength=classes)
    total = float(nats.sum())
    found = []
    for place, name in enumerate(judged.task.names):
        holds, said, hits = int(true[place]), int(called[place]), int(both[place])
        area, precision = ranked[place] if ranked else (math.nan, math.nan)
        found.append(
            ClassScores(
                name=name,
                rows=holds,
                true_positives=hits,
                false_positives=said - hits,
                false_negatives=holds - hits,
                true_negatives=len(judged) - holds - said + hits,
                precision=_ratio(hits, said),
                recall=_ratio(hits, holds),
                f1=_ratio(2 * hits, holds + said),
                auroc=None if math.isnan(area) else area,
                average_precision=None if math.isnan(precision) else precision,
                log_loss=_ratio(float(nats[place]), int(judging[place])),
                nats=float(nats[place]),
                share=float(nats[place]) / total if total > 0 else 0.0,
            )
        )
    return tuple(found)


def _defined(score_: Interval) -> bool:
    return not math.isnan(score_.value)


def _ratio(part: float, whole: int) -> float | None:
    return part / whole if whole else None


def _undefined(
    judged: JudgedRows, scores: dict[str, Interval], by_class: tuple[ClassScores, ...]
) -> dict[str, Message]:
    """Why a score has no value, or which classes its mean leaves out."""
    rows, classes = judged.p.shape
    found: dict[str, Message] = {}
    for name, lacking in (
        ("auroc", [each.name for each in by_class if each.auroc is None]),
        ("average_precision", [each.name for each in by_class if each.average_precision is None]),
        ("balanced_accuracy", [each.name for each in by_class if each.recall is None]),
        ("macro_f1", [each.name for each in by_class if each.f1 is None]),
    ):
        if name not in scores or (judged.task.kind == "binary" and _defined(scores[name])):
            continue
        if name in ("auroc", "average_precision") and rows * classes > ranking.MOST:
            found[name] = Message("undefined.many", rows=rows, classes=classes)
        elif lacking:
            left = Message("undefined.lacking", lacking=len(lacking), classes=classes, shown=few(lacking))
            found[name] = Message("undefined.left_out", lacking=left) if _defined(scores[name]) else left
    for name, score_ in scores.items():
        if not _defined(score_):
            found.setdefault(name, Message("undefined.one_class"))
    return found


def _example(judged: JudgedRows, row: int) -> Example:
    task = judged.task
    return Example(
        row,
        judged.names[row],
        task.spelled(judged.target[row]),
        task.spelled(torch.from_numpy(judged.predicted[row : row + 1])[0]),
        float(judged.confidence[row]),
        float(judged.loss[row]),
        _choices(judged, row),
    )


def _choices(judged: JudgedRows, row: int) -> tuple[Choice, ...]:
    """The largest logits and the true class; the one logit of a binary task; of several labels the costliest."""
    task, loss = judged.task, judged.each_loss[row]
    logits = judged.policy.logits(judged.logits[row : row + 1])[0]  # calibrated, so that they give the p beside them
    if task.kind == "binary":
        return (Choice(task.names[1], float(logits), float(judged.p[row, 1]), bool(judged.truth[row]), float(loss)),)
    key = torch.from_numpy(loss) if judged.several else logits
    top = torch.argsort(key, descending=True, stable=True)[:_CHOICES].tolist()
    if not judged.several and int(judged.truth[row]) not in top:
        top.append(int(judged.truth[row]))
    found = []
    for place in top:
        holds = bool(judged.holds(place)[row])
        cost = float(loss[place]) if judged.several else float(loss) if holds else None
        found.append(Choice(task.names[place], float(logits[place]), float(judged.p[row, place]), holds, cost))
    return tuple(found)
