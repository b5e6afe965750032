"""Labelled rows and what a model said of them: what every score and every comparison is made of."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from lastlayer import functional
from lastlayer.classifier.task import Task
from lastlayer.decisions import Policy, row_losses


@dataclass(frozen=True)
class JudgedRows:
    """Labelled rows and a model's logits for them.

    Attributes:
        logits: (rows, classes), or (rows) of a binary task.
        target: int64: class indices (rows), or 0 and 1 (rows, classes) where several labels may hold.
        names: Of the rows.
        task: Their question.
        policy: What makes probabilities and decisions of logits.
        split: Which rows these are: "test", "validation", or the name of the data.
    """

    logits: Tensor
    target: Tensor
    names: list[str]
    task: Task
    policy: Policy
    split: str

    def __len__(self) -> int:
        return len(self.names)

    @property
    def several(self) -> bool:
        """Whether several labels may hold for a row."""
        return self.task.kind == "multilabel"

    @cached_property
    def p(self) -> np.ndarray:
        """Calibrated probabilities, (rows, classes)."""
        return self.policy.probabilities(self.logits).numpy()

    @cached_property
    def order(self) -> np.ndarray:
        """What ranks the rows for each class, (rows, classes): finer than probabilities, which round to 1."""
        z = self.policy.logits(self.logits)
        if self.task.kind == "binary":
            return torch.stack([-z, z], 1).numpy()
        return (z if self.several else functional.log_softmax(z, 1)).numpy()

    @cached_property
    def truth(self) -> np.ndarray:
        """The target as int64."""
        return self.target.numpy()

    @cached_property
    def predicted(self) -> np.ndarray:
        """The decision about each row, none left undecided, in the shape of the target."""
        return self.policy.decide(self.logits, abstain=False).numpy()

    @cached_property
    def each_loss(self) -> np.ndarray:
        """The loss of each row, or of each row and label, in nats."""
        return row_losses(self.policy.logits(self.logits), self.target).numpy()

    @cached_property
    def loss(self) -> np.ndarray:
        """The loss of each row, in nats."""
        return self.each_loss.mean(1) if self.several else self.each_loss

    @cached_property
    def correct(self) -> np.ndarray:
        """Whether each row is right, with all its labels."""
        right = np.asarray(self.predicted == self.truth)
        return np.asarray(right.all(1)) if self.several else right

    @cached_property
    def sure(self) -> np.ndarray:
        """The probability of the answer, (rows); of every label's, (rows, labels)."""
        if self.several:
            return np.where(self.predicted == 1, self.p, 1 - self.p)
        return np.asarray(np.take_along_axis(self.p, self.predicted[:, None], 1)[:, 0])

    @cached_property
    def confidence(self) -> np.ndarray:
        """The probability that the whole answer is right, (rows)."""
        return np.asarray(self.sure.prod(1)) if self.several else self.sure

    def holds(self, place: int) -> np.ndarray:
        """For which rows a class holds."""
        found: np.ndarray = self.truth[:, place] == 1 if self.several else self.truth == place
        return found
