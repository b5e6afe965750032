"""One row, told from logits to probabilities and the decision, by what the policy says."""

from dataclasses import replace

from torch import Tensor

from lastlayer.classifier.network.model import ModelSpec
from lastlayer.classifier.task import Task
from lastlayer.decisions import ABSTAINED, Policy
from lastlayer.explanation import Trace, explain
from lastlayer.messages import Message, few


def explained(logits: Tensor, target: Tensor | None, spec: ModelSpec, name: str) -> Trace:
    """One row of logits, told from logits to probabilities, and to the loss where there is a target."""
    task, policy, alone = spec.task, spec.policy, logits.unsqueeze(0)
    truth = None if target is None else target.double() if task.kind == "multilabel" else int(target)
    if policy.corrects or isinstance(policy.temperature, tuple):  # more than one number between logits and these
        z, divided = policy.logits(alone)[0], 1.0
    else:
        z, divided = logits, policy.temperature
    trace = explain(
        z, truth, classes=task.names, kind=task.kind, temperature=divided, threshold=_one_threshold(policy) or 0.5
    )
    context = {"input": name, **_decided(policy.decide(alone)[0], policy, task)}
    if trace.kind == "multiclass":
        facts = trace["decision"].facts
        margin = float(facts["margin"])
        names = {"winner": facts["winner"], "second": facts["second"]}
        context["runner_up"] = Message("decisions.runner_up", margin=margin, **names)
    return replace(trace, context=context)


def _one_threshold(policy: Policy) -> float | None:
    """The threshold, where one serves all sigmoids and the story can show it."""
    different = set(policy.thresholds or ())
    return different.pop() if len(different) == 1 and 0 < min(different) < 1 else None


def _decided(decision: Tensor, policy: Policy, task: Task) -> dict[str, str]:
    """What is decided, what is left open, and by what, where that is not the most probable answer."""
    context = {"prediction": task.spelled(decision.clamp_min(0))}
    left = decision == ABSTAINED
    if left.dim() and bool(left.any()):
        context["undecided"] = ", ".join(
            name for name, is_open in zip(task.names, left.tolist(), strict=True) if is_open
        )
    elif bool(left.any()):
        context["prediction"] = Message("decisions.undecided")
    if policy.cost is not None:
        context["decided_by"] = Message("decisions.cost")
    elif policy.thresholds is not None and _one_threshold(policy) is None:
        limits = zip(task.names[-len(policy.thresholds) :], policy.thresholds, strict=True)
        shown = few([f"{name} {limit:.4f}" for name, limit in limits], 6)
        context["decided_by"] = Message("decisions.thresholds", shown=shown)
    return context
