"""What is decided about decisions, in one sentence each."""

import math
from collections.abc import Sequence

from lastlayer.classifier.task import Task
from lastlayer.decisions import Calibration, Coverage, Policy, SetRule, Threshold, temperature
from lastlayer.messages import Message, few


def calibration(found: Calibration) -> Message:
    """Whether a temperature is kept, and why."""
    if not found.kept and math.isnan(found.fitted):
        return Message("temperature.few")
    if not found.kept and found.fitted == temperature.LEAST:
        return Message("temperature.least")
    if not found.kept and found.fitted == temperature.MOST:
        return Message("temperature.most")
    gain = {"gain": found.gain.value, "low": found.gain.low, "high": found.gain.high}
    scores = {"before": found.before, "after": found.after, **gain}
    if found.kept:
        return Message("temperature.kept", temperature=found.temperature, **scores)
    if found.gain.above(0):
        return Message("temperature.risky", fitted=found.fitted, risk=found.risk, **scores)
    return Message("temperature.unsure", fitted=found.fitted, **scores)


def calibrations(found: Sequence[Calibration]) -> Message:
    """The same of a temperature per label."""
    kept = [each for each in found if each.kept]
    if not kept:
        return Message("temperature.none")
    return Message(
        "temperature.labels",
        kept=len(kept),
        labels=len(found),
        low=min(each.temperature for each in kept),
        high=max(each.temperature for each in kept),
        before=math.fsum(each.before for each in found) / len(found),
        after=math.fsum(each.after if each.kept else each.before for each in found) / len(found),
        others="" if len(kept) == len(found) else Message("temperature.others"),
    )


def divided(policy: Policy) -> Message:
    """What logits are divided by."""
    if not isinstance(policy.temperature, tuple):
        return Message("report.temperature", temperature=f"{policy.temperature:.4f}")
    low, high = min(policy.temperature), max(policy.temperature)
    if low == high:
        return Message("report.temperature", temperature=f"{low:.4f}")
    return Message("report.temperature.labels", low=f"{low:.4f}", high=f"{high:.4f}")


def corrections(policy: Policy, task: Task) -> list[Message]:
    """What is taken off the logits and put on them, if anything."""
    said = []
    if policy.unweighting is not None:
        said.append(Message("weights.taken_off"))
    if policy.trained is not None and policy.deployed is not None:
        names = task.names[1:] if task.kind == "binary" else task.names
        moved = [
            f"{name} {before:.4g} → {after:.4g}"
            for name, before, after in zip(names, policy.trained, policy.deployed, strict=True)
            if before != after
        ]
        said.append(Message("prior.deployed", shown=few(moved, 5)))
    return said


def thresholds(found: Sequence[Threshold], task: Task, metric: str) -> Message:
    """Which thresholds, and what they gain."""
    score, half, held_out = (math.fsum(part) / len(found) for part in zip(*map(_scores, found), strict=True))
    low, high = min(each.threshold for each in found), max(each.threshold for each in found)
    short = [name for name, each in zip(task.names, found, strict=False) if not each.reached]
    missed: str = ""
    if short:
        alone = len(found) == 1
        missed = Message("thresholds.missed") if alone else Message("thresholds.missed_labels", shown=few(short))
    unseen = "" if math.isnan(held_out) else Message("thresholds.unseen", score=held_out)
    scores = Message("thresholds.scores", score=score, half=half, unseen=unseen, missed=missed)
    if len(found) > 1 and low != high:
        return Message("thresholds.range", metric=metric, low=low, high=high, scores=scores)
    return Message("thresholds.one" if len(found) == 1 else "thresholds.same", metric=metric, low=low, scores=scores)


def _scores(found: Threshold) -> tuple[float, float, float]:
    return found.score, found.at_half, found.held_out


def costs(policy: Policy) -> Message:
    """What decides, and when nothing is decided."""
    what = Message("decisions.probable" if policy.cost is None else "decisions.cost")
    if policy.abstain is None:
        return Message("decisions", what=what)
    without_costs = "decisions.abstain_half" if policy.cost is None else "decisions.abstain"
    return Message(without_costs, what=what, price=policy.abstain)


def decides(policy: Policy, task: Task) -> Message | None:
    """What decides, where that is not the most probable answer."""
    if policy.cost is not None or policy.abstain is not None:
        return costs(policy)
    if policy.thresholds is None:
        return None
    names = task.names[-len(policy.thresholds) :]
    limits = [f"{name} {limit:.4f}" for name, limit in zip(names, policy.thresholds, strict=True)]
    return Message("decisions.thresholds_of", shown=few(limits, 6))


def sets(rule: SetRule, rows: int, task: Task) -> Message:
    """What the prediction sets promise, and to whom they cannot."""
    of_rows = "sets.rows_of_class" if rule.per_class else "sets.rows"
    promise = Message("sets.labels" if task.kind == "multilabel" else of_rows, coverage=rule.coverage)
    unlimited = [name for name, limit in zip(task.names, rule.limits, strict=True) if limit == math.inf]
    too_few: str = ""
    if unlimited:
        which = Message("sets.any") if len(unlimited) == len(task.names) else few(unlimited)
        too_few = Message("sets.few", shown=which)
    return Message("sets", promise=promise, rows=rows, few=too_few)


def covered(coverage: Coverage, task: Task, where: str, policy: Policy) -> Message:
    """One sentence on the measured coverage."""
    several, total = task.kind == "multilabel", coverage.total
    nobody = (math.nan, Message("coverage.none"))
    seen = [(each.value, name) for each, name in zip(coverage.per_class, task.names, strict=True) if each.value >= 0]
    (least, hardest), (most, easiest) = min(seen, default=nobody), max(seen, default=nobody)
    return Message(
        "coverage.labels" if several else "coverage.rows",
        where=Message(f"part.{where}"),
        own="" if policy.deployed is None else Message("coverage.own"),
        total=Message("coverage.total", value=total.value, low=total.low, high=total.high),
        least=f"{least:.1%}",
        hardest=hardest,
        most=f"{most:.1%}",
        easiest=easiest,
        size=coverage.size,
        empty=Message("coverage.empty", share=coverage.empty) if coverage.empty and not several else "",
    )
