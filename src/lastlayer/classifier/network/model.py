"""A classifier as a module: backbone and head, and what is needed to make it again."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lastlayer.classifier.data.columns import TableSpec
from lastlayer.classifier.data.pixels import ImageSpec
from lastlayer.classifier.journal import Journal
from lastlayer.classifier.network import backbones
from lastlayer.classifier.network.members import HeldOut, TableMembers
from lastlayer.classifier.network.objective import PLAIN, Objective
from lastlayer.classifier.task import Task
from lastlayer.decisions import Policy
from lastlayer.errors import RunError
from lastlayer.nn import BinaryHead, MultiClassHead, MultiLabelHead


@dataclass(frozen=True)
class ModelSpec:
    """Everything about a model but its weights.

    Attributes:
        task: Classes, and whether they are told apart by one sigmoid or a softmax.
        backbone: Its name.
        preprocessing: How inputs become tensors.
        policy: How its logits become probabilities and decisions.
        objective: The options of the loss that trained.
    """

    task: Task
    backbone: str
    preprocessing: ImageSpec | TableSpec
    policy: Policy
    objective: Objective = PLAIN

    @property
    def kind(self) -> str:
        """What the inputs are: "image" or "table"."""
        return "image" if isinstance(self.preprocessing, ImageSpec) else "table"

    def to_dict(self) -> dict[str, Any]:
        """Return the specification as plain values, for model.json."""
        return {
            "task": self.task.to_dict(),
            "activation": self.task.activation,
            "loss": "cross_entropy" if self.task.kind == "multiclass" else "binary_cross_entropy_with_logits",
            "policy": self.policy.to_dict(),
            "loss_options": self.objective.to_dict(),
            "backbone": self.backbone,
            "preprocessing": self.preprocessing.to_dict(),
        }

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "ModelSpec":
        """Undo `to_dict`."""
        try:
            preprocessing = plain["preprocessing"]
            spec = ImageSpec if preprocessing["kind"] == "image" else TableSpec
            task = Task.from_dict({"kind": plain["task"]["kind"], "classes": plain["task"]["classes"]})
            policy = _policy(plain, task)
            objective = Objective.from_dict(plain.get("loss_options", {}))
            return cls(task, plain["backbone"], spec.from_dict(preprocessing), policy, objective)
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"model.json does not describe a model: {type(error).__name__} {error}") from error


def _policy(plain: dict[str, Any], task: Task) -> Policy:
    if "policy" not in plain:  # runs of lastlayer 0.1 have a temperature, and nothing else to decide by
        return Policy(task.kind, len(task.classes), temperature=float(plain["temperature"]))
    policy = Policy.from_dict(plain["policy"])
    if (policy.kind, policy.classes) != (task.kind, len(task.classes)):
        raise ValueError(
            f"its policy is of {policy.classes} classes ({policy.kind}), its task of {len(task.classes)} ({task.kind})"
        )
    return policy


class Network(nn.Module):
    """Backbone and head. Called with a target it returns the loss, so that what wraps the module sees all of it."""

    def __init__(self, spec: ModelSpec, *, pretrained: bool = False, journal: Journal | None = None) -> None:
        super().__init__()
        self.backbone, features = backbones.build(
            spec.backbone, spec.preprocessing, pretrained=pretrained, journal=journal
        )
        self.task, self.objective = spec.task, spec.objective
        self.head = _head(spec.task, features, spec.objective)

    def forward(self, inputs: tuple[Tensor, ...], target: Tensor | None = None) -> Tensor:
        """Logits of `inputs`, or the mean loss against `target` in nats; each row counts by its class's weight.

        The weights are 1 on average over the training rows, not over those of a batch: the mean over a batch is the
        mean of its parts, however it is divided, and the gradient of an epoch is that of all its rows.
        """
        if target is not None and self.training and isinstance(self.backbone, TableMembers):
            features, row = self.backbone.taught(*inputs)
            target = target[row]
        else:
            features = self.backbone(*inputs)
        if target is None:
            logits: Tensor = self.head(features)
            return logits
        if isinstance(self.head, MultiClassHead) and self.head.weight is not None:
            summed: Tensor = self.head.loss(features, target, reduction="sum")
            return summed / len(target)
        return self.head.loss(features, target)

    def held_out(self) -> HeldOut | None:
        """The same network, answering for a training row by what has not learnt from it; None where there is none."""
        return HeldOut(self.backbone, self.head) if isinstance(self.backbone, TableMembers) else None


def _head(task: Task, features: int, options: Objective) -> BinaryHead | MultiClassHead | MultiLabelHead:
    smoothing, gamma = options.label_smoothing, options.focal_gamma
    if task.kind == "multiclass":
        weight = None if options.weight is None else torch.tensor(options.weight)
        return MultiClassHead(
            features, len(task.classes), weight=weight, label_smoothing=smoothing, z_loss=options.z_loss
        )
    yes = options.pos_weight
    if task.kind == "binary":
        return BinaryHead(
            features, pos_weight=None if yes is None else yes[0], focal_gamma=gamma, label_smoothing=smoothing
        )
    return MultiLabelHead(
        features,
        len(task.classes),
        pos_weight=None if yes is None else torch.tensor(yes),
        focal_gamma=gamma,
        label_smoothing=smoothing,
    )
