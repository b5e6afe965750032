"""What is decided about decisions, in one sentence each."""

import math
from collections.abc import Sequence

from lastlayer.classifier.data.rows import examples, plural
from lastlayer.classifier.task import Task
from lastlayer.decisions import Calibration, Coverage, Policy, SetRule, Threshold, temperature


def calibration(found: Calibration) -> str:
    """Whether a temperature is kept, and why."""
    scores = f"log-loss of held-out rows {found.before:.4f} → {found.after:.4f}"
    gain = f"gain {found.gain.value:.4f}, 95 % interval {found.gain.low:.4f} to {found.gain.high:.4f}"
    if found.kept:
        return f"Temperature {found.temperature:.4f} is kept: {scores} ({gain})."
    if math.isnan(found.fitted):
        return "Temperature stays 1: there are too few rows to fit one."
    if found.fitted == temperature.LEAST:
        return "Temperature stays 1: every row that could tell is right, so nothing says how sure is too sure."
    if found.fitted == temperature.MOST:
        return "Temperature stays 1: rows that it is fitted to are predicted no better than at random."
    if found.gain.above(0):
        return (
            f"Temperature stays 1: the fitted {found.fitted:.4f} helps rows it was not fitted to ({scores}; {gain}), "
            f"but one more row that is wrong could take {found.risk:.4f} off the gain: too few rows to be so sure."
        )
    return (
        f"Temperature stays 1: the fitted {found.fitted:.4f} does not surely help rows it was not fitted to "
        f"({scores}; {gain})."
    )


def calibrations(found: Sequence[Calibration]) -> str:
    """The same of a temperature per label."""
    kept = [each for each in found if each.kept]
    if not kept:
        return "Temperature stays 1 for every label: no fitted one surely helps rows it was not fitted to."
    low, high = min(each.temperature for each in kept), max(each.temperature for each in kept)
    before = math.fsum(each.before for each in found) / len(found)
    after = math.fsum(each.after if each.kept else each.before for each in found) / len(found)
    others = "" if len(kept) == len(found) else " The others stay 1."
    return (
        f"Temperatures of {len(kept)} of {plural(len(found), 'label')} are kept, {low:.4f} to {high:.4f}: log-loss of "
        f"held-out rows {before:.4f} → {after:.4f}.{others}"
    )


def corrections(policy: Policy, task: Task) -> list[str]:
    """What is taken off the logits and put on them, if anything."""
    said = []
    if policy.unweighting is not None:
        said.append(
            "Weights of the loss: their logarithms are taken off the logits, so that probabilities are those of the "
            "data as it is (with a focal factor only nearly so)."
        )
    if policy.trained is not None and policy.deployed is not None:
        names = task.names[1:] if task.kind == "binary" else task.names
        moved = [
            f"{name} {before:.4g} → {after:.4g}"
            for name, before, after in zip(names, policy.trained, policy.deployed, strict=True)
            if before != after
        ]
        said.append(
            f"Shares where it is used: {examples(moved, 5)}. Probabilities and decisions are of that mixture; the "
            "scores are of rows in the data's own."
        )
    return said


def thresholds(found: Sequence[Threshold], task: Task, metric: str) -> str:
    """Which thresholds, and what they gain."""
    score, half, held_out = (math.fsum(part) / len(found) for part in zip(*map(_scores, found), strict=True))
    low, high = min(each.threshold for each in found), max(each.threshold for each in found)
    which = (
        f"Threshold for {metric}: {low:.4f}"
        if len(found) == 1
        else f"Thresholds for {metric}: {low:.4f}{'' if low == high else f' to {high:.4f}'}, one per label"
    )
    short = [name for name, each in zip(task.names, found, strict=False) if not each.reached]
    missed = ""
    if short:
        missed = f"; out of reach{'' if len(found) == 1 else f' for {examples(short)}'}, this comes nearest"
    unseen = "" if math.isnan(held_out) else f", {held_out:.4f} on rows that the choice had not seen"
    return f"{which}; {score:.4f} on the rows of the choice ({half:.4f} at 0.5){unseen}{missed}."


def _scores(found: Threshold) -> tuple[float, float, float]:
    return found.score, found.at_half, found.held_out


def costs(policy: Policy) -> str:
    """What decides, and when nothing is decided."""
    what = "the least expected cost" if policy.cost is not None else "the most probable answer"
    if policy.abstain is None:
        return f"Decisions: {what}."
    return (
        f"Decisions: {what}, and none where even that costs more than {policy.abstain:g} on average"
        f"{'' if policy.cost is not None else ' (each mistake costs 1)'}."
    )


def sets(rule: SetRule, rows: int, task: Task) -> str:
    """What the prediction sets promise, and to whom they cannot."""
    of = f"{rule.coverage:.4g} of the rows"
    if task.kind == "multilabel":
        of += " that have a label have it in their set, label by label"
    else:
        of += f"{' of each class' if rule.per_class else ''} have their class in their set"
    unlimited = [name for name, limit in zip(task.names, rule.limits, strict=True) if limit == math.inf]
    few = ""
    if unlimited:
        which = "any class" if len(unlimited) == len(task.names) else examples(unlimited)
        few = f" They are too few to promise it for {which}, which is in every set."
    return f"Prediction sets: {of}, by {plural(rows, 'calibration row')}.{few}"


def covered(coverage: Coverage, task: Task, where: str, policy: Policy) -> str:
    """One sentence on the measured coverage."""
    own = "" if policy.deployed is None else ", which are in the data's own shares and not in those of the promise"
    total = f"{coverage.total.value:.1%} ({coverage.total.low:.1%} to {coverage.total.high:.1%})"
    seen = [(each.value, name) for each, name in zip(coverage.per_class, task.names, strict=True) if each.value >= 0]
    (least, hardest), (most, easiest) = min(seen, default=(math.nan, "none")), max(seen, default=(math.nan, "none"))
    empty = f", {coverage.empty:.1%} of the sets are empty" if coverage.empty and task.kind != "multilabel" else ""
    what = "labels that hold" if task.kind == "multilabel" else "rows"
    return (
        f"Coverage measured on {where} {what}{own}: {total}, from {least:.1%} ({hardest}) to {most:.1%} ({easiest}); "
        f"{coverage.size:.2f} {'labels' if task.kind == 'multilabel' else 'classes'} in a set on average{empty}."
    )
