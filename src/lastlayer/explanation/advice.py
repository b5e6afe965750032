"""Which head, activation, loss and threshold, and why: from three answers, or from the targets themselves."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lastlayer import messages
from lastlayer.errors import DtypeError, OptionError, ShapeError

QUESTIONS = ("answer", "several", "classes")
_HEADS = {"binary": "BinaryHead", "multiclass": "MultiClassHead", "multilabel": "MultiLabelHead"}
_LOSSES = {
    "binary": "binary_cross_entropy_with_logits",
    "multiclass": "cross_entropy",
    "multilabel": "binary_cross_entropy_with_logits",
    "regression": "mse_loss",
}


@dataclass(frozen=True)
class Advice:
    """What to put behind the last hidden layer.

    Attributes:
        kind: "binary", "multiclass", "multilabel", or "regression", which is no classification.
        outputs: How many numbers the last layer gives; None where the answers do not say.
        seen: What was read off the targets, as ids of `messages` texts.
    """

    kind: str
    outputs: int | None = None
    seen: tuple[str, ...] = ()

    @property
    def head(self) -> str:
        """The module of `lastlayer.nn`; a plain linear layer for a quantity."""
        return f"lastlayer.nn.{_HEADS[self.kind]}" if self.kind in _HEADS else "torch.nn.Linear"

    @property
    def activation(self) -> str:
        """What makes probabilities of its outputs, after the loss and not before it."""
        return {"multiclass": "softmax", "regression": "none"}.get(self.kind, "sigmoid")

    @property
    def loss(self) -> str:
        """The loss function, which takes the raw outputs."""
        return f"{'torch.nn.functional' if self.kind == 'regression' else 'lastlayer'}.{_LOSSES[self.kind]}"

    def to_dict(self) -> dict[str, object]:
        """Return the advice as plain values, texts in English."""
        return {
            "kind": self.kind, "outputs": self.outputs, "head": self.head, "activation": self.activation,
            "loss": self.loss, **{part: self.say(part) for part in ("target", "decision", "why")},
            "seen": [messages.text(one, "en") for one in self.seen],
        }  # fmt: skip

    def say(self, part: str, language: str = "en") -> str:
        """The text for "target", "decision" or "why"."""
        return messages.text(f"advice.{part}.{self.kind}", language)

    def text(self, language: str = "en") -> str:
        """Return the advice as lines."""
        outputs = "C" if self.outputs is None else str(self.outputs)
        rows = [
            ("task", messages.text(f"advice.kind.{self.kind}", language)),
            ("head", f"{self.head}(features, {outputs})" if self.kind != "binary" else f"{self.head}(features)"),
            ("activation", messages.text(f"advice.activation.{self.activation}", language)),
            ("loss", self.loss),
            *((part, self.say(part, language)) for part in ("target", "decision", "why")),
            *(("seen", messages.text(one, language)) for one in self.seen),
        ]
        return "\n".join(f"{messages.text(f'advice.{name}', language)}: {value}" for name, value in rows)

    def __str__(self) -> str:
        return self.text()


def advise(
    target: Tensor | None = None,
    *,
    answer: str | None = None,
    several: bool | None = None,
    classes: int | None = None,
) -> Advice:
    """Say which head, activation, loss and threshold fit, and why.

    Args:
        target: The targets of some rows; their shape, dtype and values are read, and what was read is said.
        answer: Instead of targets: "class" for classes, "number" for a quantity such as a price.
        several: Whether several classes may hold at once.
        classes: How many there are; 2 that exclude each other are a yes or no.

    Raises:
        OptionError: neither targets nor answers, both, or an answer that is none.
        ShapeError: targets of more than two axes.
        DtypeError: `target` holds complex numbers.

    >>> advise(answer="class", several=False, classes=5).loss
    'lastlayer.cross_entropy'
    >>> advise(torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])).head
    'lastlayer.nn.MultiLabelHead'
    """
    answers = (answer, several, classes)
    if (target is None) == all(one is None for one in answers):
        raise OptionError("pass targets, or answers (answer, several, classes), one of them.")
    if target is not None:
        return _from_targets(target)
    if answer not in ("class", "number"):
        raise OptionError(f'answer has to be "class" or "number", got {answer!r}: is a class predicted, or a quantity?')
    if answer == "number":
        return Advice("regression", 1)
    if several is None:
        raise OptionError("may several classes hold at once? Pass several=True or several=False.")
    if classes is not None and classes < (1 if several else 2):
        raise OptionError(f"classes has to be at least {1 if several else 2}, got {classes}.")
    if several:
        return Advice("multilabel", classes)
    return Advice("binary", 1) if classes == 2 else Advice("multiclass", classes)


def _from_targets(target: Tensor) -> Advice:
    if target.is_complex():
        raise DtypeError(f"targets have to be real numbers, got {target.dtype}.")
    if target.dim() not in (1, 2) or target.numel() == 0:
        raise ShapeError(f"targets need the shape (rows,) or (rows, classes), got {tuple(target.shape)}.")
    y = target.double()
    within = bool(((y >= 0) & (y <= 1)).all())
    whole = bool((y == y.round()).all())
    if target.dim() == 2 and target.shape[1] > 1:
        return _from_table(y, target.shape[1], within)
    if not within and not whole:
        return Advice("regression", 1, ("advice.seen.quantity",))
    if target.is_floating_point() or target.dtype is torch.bool:
        if within:
            return Advice("binary", 1, ("advice.seen.float_column",))
        return Advice("multiclass", int(y.max()) + 1, ("advice.seen.float_indices",))
    if within:
        return Advice("binary", 1, ("advice.seen.zero_one",))
    return Advice("multiclass", int(y.max()) + 1, ("advice.seen.indices",))


def _from_table(y: Tensor, classes: int, within: bool) -> Advice:
    if not within:
        return Advice("regression", classes, ("advice.seen.quantity",))
    if bool(((y.sum(1) - 1).abs() < 1e-6).all()):
        hard = bool(((y == 0) | (y == 1)).all())
        return Advice("multiclass", classes, ("advice.seen.one_hot" if hard else "advice.seen.soft",))
    return Advice("multilabel", classes, ("advice.seen.several",))
