"""How a classifier decides: stated by settings, fitted on the calibration rows, kept in the run as a policy."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import Tensor

from lastlayer.classifier.config import Config
from lastlayer.classifier.data.rows import examples
from lastlayer.classifier.policy import sentences
from lastlayer.classifier.policy.stated import read_costs, read_shares, written
from lastlayer.classifier.task import Task
from lastlayer.decisions import (
    Calibration,
    Coverage,
    Interval,
    Policy,
    Threshold,
    best_threshold,
    best_thresholds,
    calibrate,
    calibrate_labels,
    check_metric,
    mean_interval,
    measured_coverage,
    share_interval,
)
from lastlayer.errors import ConfigError, OptionError
from lastlayer.messages import Message
from lastlayer.messages.wording import option

_MICRO = "micro_"
SETTINGS = ("threshold_for", "cost", "abstain", "coverage", "coverage_per_class", "set_score", "deploy_prior")


@dataclass(frozen=True)
class Fitted:
    """A policy that knows the calibration rows.

    Attributes:
        policy: From logits to decisions.
        calibration: One sentence on the temperature.
        said: One sentence on each other decision.
        facts: What data.json keeps of it.
    """

    policy: Policy
    calibration: Message
    said: tuple[Message, ...]
    facts: dict[str, Any]


@dataclass(frozen=True)
class Decided:
    """What came of the decisions on rows whose truth is known; None where the policy has no such decision.

    Attributes:
        abstained: Share of the rows, or of all labels of all rows, that are left undecided.
        accuracy: Of those that are decided.
        cost: Mean per row, what is left undecided included.
        coverage: Of the prediction sets.
    """

    abstained: Interval | None
    accuracy: Interval | None
    cost: Interval | None
    coverage: Coverage | None


def check(config: Config) -> None:
    """Refuse settings that exclude each other, before any data is read."""
    metric = config.threshold_for
    if metric is not None:
        try:
            check_metric(metric.removeprefix(_MICRO))
        except OptionError as error:
            raise ConfigError(f"{option('threshold_for', metric)}: {error}") from error
        for other in ("cost", "abstain"):
            if getattr(config, other) is not None:
                raise ConfigError(
                    f"{option('threshold_for')} and {option(other)} exclude each other: a threshold serves a metric, "
                    "costs serve the least expected cost. Leave one out."
                )
    if config.coverage is None and (config.coverage_per_class or config.set_score != "lac"):
        given = option("coverage_per_class", True) if config.coverage_per_class else option("set_score")
        raise ConfigError(f"{given} says how prediction sets are made: name their {option('coverage', 0.9)}, too.")


def overruling(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings that overrule those of a run: a metric takes the place of costs, and costs that of a metric."""
    if settings.get("threshold_for") is not None:
        return {"cost": None, "abstain": None, **settings}
    if settings.get("cost") is not None or settings.get("abstain") is not None:
        return {"threshold_for": None, **settings}
    return settings


def stated(
    task: Task,
    counts: Sequence[int],
    rows: int,
    config: Config,
    *,
    weight: Sequence[float] | None = None,
    pos_weight: Sequence[float] | None = None,
) -> Policy:
    """The policy that the settings ask for, before anything is fitted.

    Args:
        task: Its classes.
        counts: Training rows of each class, or for which each label holds.
        rows: All training rows.
        config: Settings.
        weight: Of each class in the loss that trains, (classes): its logarithm will be taken off the logits.
        pos_weight: Of yes in that loss: one number, or one per label.

    Raises:
        ConfigError: a setting that does not fit the task.
    """
    check(config)
    if config.threshold_for is not None and task.kind == "multiclass":
        raise ConfigError(
            f"{option('threshold_for')} is for yes or no, and here one of {len(task.classes)} classes is decided on, "
            f"the most probable one. {option('cost')} changes that: say what each mistake costs."
        )
    if config.threshold_for is not None and config.threshold_for.startswith(_MICRO) and task.kind != "multilabel":
        raise ConfigError(
            f"{option('threshold_for', config.threshold_for)} is one threshold for several labels, and here is one "
            f"question: say {option('threshold_for', config.threshold_for.removeprefix(_MICRO))}."
        )
    if config.set_score == "aps" and task.kind == "multilabel":
        raise ConfigError(f"{option('set_score', 'aps')} is for one class of many; labels have sets one by one.")
    trained = deployed = None
    if config.deploy_prior is not None:
        trained = _shares(task, counts, rows)
        deployed = read_shares(config.deploy_prior, task, trained)
    return Policy(
        task.kind,
        len(task.classes),
        weight=None if weight is None else tuple(map(float, weight)),
        pos_weight=None if pos_weight is None else tuple(map(float, pos_weight)),
        trained=trained,
        deployed=deployed,
        cost=None if config.cost is None else read_costs(config.cost, task),
        abstain=config.abstain,
    )


def portable(config: Config, policy: Policy, task: Task) -> Config:
    """The settings with costs written out, so that no file has to travel with them."""
    return config if policy.cost is None else replace(config, cost=written(policy.cost, task))


def fitted(policy: Policy, logits: Tensor, target: Tensor, task: Task, config: Config, *, alone: bool = True) -> Fitted:
    """Fit what the calibration rows decide: the temperature, then thresholds and prediction sets.

    Rows that serve something else, too, are not held out to what they have chosen: they are not `alone`, and the
    temperature stays 1.
    """
    if not alone:
        found = decided_again(policy, logits, target, task, config)
        return replace(found, calibration=Message("temperature.shared", option=option("calibration", 0.1)))
    offset = policy.unweighting
    kept: tuple[Calibration, ...]
    if task.kind == "multilabel":
        kept = calibrate_labels(logits, target, offset=offset)
        policy = replace(policy, temperature=tuple(each.temperature for each in kept))
    else:
        kept = (calibrate(logits, target, offset=offset),)
        policy = replace(policy, temperature=kept[0].temperature)
    found = decided_again(policy, logits, target, task, config)
    facts = [_numbers(asdict(each)) for each in kept]
    return replace(
        found,
        calibration=sentences.calibration(kept[0]) if task.kind != "multilabel" else sentences.calibrations(kept),
        facts={
            "calibration": dict(zip(task.names, facts, strict=True)) if task.kind == "multilabel" else facts[0],
            **found.facts,
        },
    )


def decided_again(policy: Policy, logits: Tensor, target: Tensor, task: Task, config: Config) -> Fitted:
    """Fit thresholds and prediction sets anew; weights and temperature stay."""
    said, facts = sentences.corrections(policy, task), {}
    policy = replace(policy, thresholds=None, sets=None)
    if config.threshold_for is not None:
        chosen = _thresholds(policy, logits, target, config.threshold_for)
        limits = tuple(each.threshold for each in chosen)
        one_for_all = task.kind == "multilabel" and len(limits) == 1
        policy = replace(policy, thresholds=limits * len(task.classes) if one_for_all else limits)
        said.append(sentences.thresholds(chosen, task, config.threshold_for))
        facts["thresholds"] = [_numbers(asdict(each)) for each in chosen]
    if policy.cost is not None or policy.abstain is not None:
        said.append(sentences.costs(policy))
    if config.coverage is not None:
        policy = policy.with_sets(
            logits, target, config.coverage, score=config.set_score, per_class=config.coverage_per_class
        )
        if policy.sets is not None:
            said.append(sentences.sets(policy.sets, len(logits), task))
    return Fitted(policy, sentences.divided(policy), tuple(said), facts)


def decided(policy: Policy, logits: Tensor, target: Tensor) -> Decided | None:
    """What the decisions are worth on these rows; None where every row gets its most probable answer."""
    if policy.cost is None and policy.abstain is None and policy.sets is None:
        return None
    decision = policy.decide(logits)
    open_, right = decision < 0, decision == target
    cost = None
    if policy.cost is not None or policy.abstain is not None:
        cost = mean_interval(policy.decision_costs(logits, target))
    return Decided(
        None if policy.abstain is None else share_interval(int(open_.sum()), open_.numel()),
        None if policy.abstain is None else share_interval(int(right.sum()), int((~open_).sum())),
        cost,
        None if policy.sets is None else measured_coverage(policy.set_of(logits), target),
    )


def _shares(task: Task, counts: Sequence[int], rows: int) -> tuple[float, ...]:
    if task.kind == "multiclass":
        return tuple(count / rows for count in counts)
    shares = tuple(count / rows for count in (counts[1:] if task.kind == "binary" else counts))
    always = [name for name, share in zip(task.names, shares, strict=False) if share in (0, 1)]
    if always:
        raise ConfigError(
            f"{option('deploy_prior')} changes how frequent a label is, and {examples(always)} holds for every "
            "training row or for none: there is nothing to change. Leave such labels out of the data."
        )
    return shares


def _thresholds(policy: Policy, logits: Tensor, target: Tensor, metric: str) -> tuple[Threshold, ...]:
    p, weight = policy.probabilities(logits), policy.row_weights(target)
    if policy.kind == "binary":
        return (best_threshold(p[:, 1], target, metric, row_weight=weight),)
    if metric.startswith(_MICRO):
        flat = None if weight is None else weight.flatten()
        return (best_threshold(p.flatten(), target.flatten(), metric.removeprefix(_MICRO), row_weight=flat),)
    return best_thresholds(p, target, metric, row_weight=weight)


def _numbers(plain: dict[str, Any]) -> dict[str, Any]:
    """Without what is not a number, which JSON has no word for."""
    return {
        name: _numbers(value) if isinstance(value, dict) else value
        for name, value in plain.items()
        if value == value or isinstance(value, dict)
    }
