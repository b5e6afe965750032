"""A classifier as a module: backbone and head, and what is needed to make it again."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from lastlayer.classifier import backbones
from lastlayer.classifier.data.columns import TableSpec
from lastlayer.classifier.data.pixels import ImageSpec
from lastlayer.classifier.journal import Journal
from lastlayer.classifier.task import Task
from lastlayer.errors import RunError
from lastlayer.nn import BinaryHead, MultiClassHead, MultiLabelHead


@dataclass(frozen=True)
class ModelSpec:
    """Everything about a model but its weights.

    Attributes:
        task: Classes, and whether they are told apart by one sigmoid or a softmax.
        backbone: Its name.
        preprocessing: How inputs become tensors.
        temperature: What logits are divided by to give calibrated probabilities.
    """

    task: Task
    backbone: str
    preprocessing: ImageSpec | TableSpec
    temperature: float = 1.0

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
            "temperature": self.temperature,
            "thresholds": {} if self.task.kind == "multiclass" else {"yes": 0.5},
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
            return cls(task, plain["backbone"], spec.from_dict(preprocessing), float(plain["temperature"]))
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"model.json does not describe a model: {type(error).__name__} {error}") from error


class Network(nn.Module):
    """Backbone and head. Called with a target it returns the loss, so that what wraps the module sees all of it."""

    def __init__(self, spec: ModelSpec, *, pretrained: bool = False, journal: Journal | None = None) -> None:
        super().__init__()
        self.backbone, features = backbones.build(
            spec.backbone, spec.preprocessing, pretrained=pretrained, journal=journal
        )
        self.task = spec.task
        self.head = _head(spec.task, features)

    def forward(self, inputs: tuple[Tensor, ...], target: Tensor | None = None) -> Tensor:
        """Logits of `inputs`, or the mean loss against `target` in nats."""
        features = self.backbone(*inputs)
        return self.head(features) if target is None else self.head.loss(features, target)


def _head(task: Task, features: int) -> BinaryHead | MultiClassHead | MultiLabelHead:
    if task.kind == "binary":
        return BinaryHead(features)
    return (MultiLabelHead if task.kind == "multilabel" else MultiClassHead)(features, len(task.classes))
