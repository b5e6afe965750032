"""Everything between a model's logits and what is done about them, in one value that can be written down.

A policy is the only place where logits become probabilities and decisions: model → logits → (divided by a
temperature, corrected for weights and priors) → probabilities → (costs, thresholds, a price of abstaining) → a
decision, or a set.
"""

import math
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any, Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lastlayer import functional
from lastlayer.decisions import costs, priors
from lastlayer.decisions._rows import Kind, check_kind, check_logits
from lastlayer.decisions.prediction_sets import Score, check_coverage, set_limits, set_scores
from lastlayer.decisions.scores import row_losses
from lastlayer.errors import OptionError, ShapeError, did_you_mean


@dataclass(frozen=True)
class SetRule:
    """Which classes are named together, so that the true one is among them as often as promised.

    Attributes:
        coverage: How often, in (0, 1).
        score: How ill a class fits a row; see `set_scores`.
        per_class: Whether the promise is made to the rows of each class.
        limits: Per class; a class is named where its score does not exceed it. ∞: too few rows to promise anything.
    """

    coverage: float
    score: Score
    per_class: bool
    limits: tuple[float, ...]


@dataclass(frozen=True)
class Policy:
    """From logits to probabilities to decisions.

    Attributes:
        kind: "multiclass": a softmax. "binary": one sigmoid. "multilabel": a sigmoid per label.
        classes: How many; 2 of a binary task.
        temperature: What logits are divided by; of labels one each.
        weight: Of the classes in the loss that trained; their logarithms are taken off the logits.
        pos_weight: Of yes in the loss that trained, likewise; one number, or one per label.
        trained: Shares of the classes in training; of sigmoids the share of yes.
        deployed: Shares where the model is used; probabilities are of that world. Needs `trained`.
        thresholds: Yes above it: one for binary, one per label; None decides by costs.
        cost: (classes, decisions); of labels (2, 2) or (labels, 2, 2). None counts mistakes.
        abstain: The price of no decision; None decides always.
        sets: What is named where one class is too little.

    >>> policy = Policy("multiclass", 3, temperature=2.0)
    >>> z = torch.tensor([[4.0, 2.0, -2.0]])
    >>> policy.probabilities(z)
    tensor([[0.7054, 0.2595, 0.0351]], dtype=torch.float64)
    >>> policy.decide(z).tolist(), replace(policy, abstain=0.2).decide(z).tolist()
    ([0], [-1])
    >>> Policy.from_dict(policy.to_dict()) == policy
    True
    """

    kind: Kind
    classes: int
    temperature: float | tuple[float, ...] = 1.0
    weight: tuple[float, ...] | None = None
    pos_weight: tuple[float, ...] | None = None
    trained: tuple[float, ...] | None = None
    deployed: tuple[float, ...] | None = None
    thresholds: tuple[float, ...] | None = None
    cost: tuple[Any, ...] | None = None
    abstain: float | None = None
    sets: SetRule | None = None

    def __post_init__(self) -> None:
        check_kind(self.kind)
        temperatures = self.temperature if isinstance(self.temperature, tuple) else (self.temperature,)
        if len(temperatures) not in (1, self.classes) or (len(temperatures) > 1 and self.kind != "multilabel"):
            raise ShapeError(f"a temperature per label belongs to labels: got {len(temperatures)} for {self.kind}.")
        if not all(0 < each < math.inf for each in temperatures):
            raise OptionError(f"a temperature has to be positive and finite, got {self.temperature}.")
        if self.deployed is not None and self.trained is None:
            raise OptionError("deployed shares need the trained ones, which they are compared with.")
        self._check_decision()
        self._offset(1 if self.deployed is None else 2)  # weights and shares that cannot be corrected for are refused

    def _check_decision(self) -> None:
        if self.thresholds is not None:
            if self.kind == "multiclass":
                raise OptionError("thresholds belong to sigmoids; among several classes costs decide.")
            if self.cost is not None or self.abstain is not None:
                raise OptionError("thresholds and costs (or a price of abstaining) exclude each other: give one.")
            if len(self.thresholds) != self._answers:
                raise ShapeError(f"there are {len(self.thresholds)} thresholds for {self._answers} sigmoids.")
        if self.cost is not None:
            shape = tuple(self._cost.shape)
            many, square = (self.classes, 2, 2), (self.classes, self.classes)
            allowed = ((2, 2), many) if self.kind == "multilabel" else (square,)
            if shape not in allowed:
                raise ShapeError(f"costs have to be {' or '.join(map(str, allowed))} numbers, got {shape}.")
        if self.sets is not None:
            check_coverage(self.sets.coverage)
            if len(self.sets.limits) != self.classes:
                raise ShapeError(f"there are {len(self.sets.limits)} limits of sets for {self.classes} classes.")

    @property
    def _answers(self) -> int:
        """How many sigmoids there are."""
        return 1 if self.kind == "binary" else self.classes

    @cached_property
    def _cost(self) -> Tensor:
        return torch.tensor(self.cost, dtype=torch.float64)

    def _offset(self, steps: int) -> Tensor | None:
        """What is added to logits: for the weights of the loss, and in the second step for the shares of use."""
        offset = priors.unweighting(
            self.kind,
            weight=None if self.weight is None else torch.tensor(self.weight, dtype=torch.float64),
            pos_weight=None if self.pos_weight is None else torch.tensor(self.pos_weight, dtype=torch.float64),
        )
        if steps == 1 or self.trained is None or self.deployed is None:
            return offset
        trained, deployed = (torch.tensor(each, dtype=torch.float64) for each in (self.trained, self.deployed))
        if self.kind == "binary":
            trained, deployed = trained.reshape(()), deployed.reshape(())
        change = priors.reprior(self.kind, trained, deployed)
        return change if offset is None else offset + change

    @property
    def corrects(self) -> bool:
        """Whether logits are corrected for weights or shares, so that more than their scale changes."""
        return self._offset(2) is not None

    @property
    def unweighting(self) -> Tensor | None:
        """What is added to logits for the weights of the loss alone, float64: what calibration takes as given."""
        return self._offset(1)

    @property
    def class_ratio(self) -> Tensor | None:
        """How many times more frequent each class is in use than it was in training; None where nothing changes."""
        if self.kind == "multilabel" or self.trained is None or self.deployed is None:
            return None
        trained, deployed = (torch.tensor(each, dtype=torch.float64) for each in (self.trained, self.deployed))
        if self.kind == "binary":
            trained, deployed = torch.cat([1 - trained, trained]), torch.cat([1 - deployed, deployed])
        return deployed / trained

    def row_weights(self, target: Int[Tensor, "rows *labels"]) -> Tensor | None:
        """How much each row of the trained mixture counts for the deployed one; None where nothing changes."""
        if self.trained is None or self.deployed is None:
            return None
        trained, deployed = (torch.tensor(each, dtype=torch.float64) for each in (self.trained, self.deployed))
        return priors.reprior_weights(self.kind, target, trained, deployed)

    def logits(self, logits: Float[Tensor, "rows *classes"]) -> Float[Tensor, "rows *classes"]:
        """Calibrated and corrected logits, float64: their softmax or sigmoid is what the policy holds true."""
        check_logits(logits, self.kind, self.classes)
        temperature = torch.tensor(self.temperature, dtype=torch.float64, device=logits.device)
        return _added(logits.double() / temperature, self._offset(2))

    def probabilities(self, logits: Float[Tensor, "rows *classes"]) -> Float[Tensor, "rows classes"]:
        """Calibrated probabilities, (rows, classes), float64; of a binary task those of no and yes."""
        z = self.logits(logits)
        if self.kind == "multiclass":
            return functional.softmax(z, 1)
        return functional.sigmoid(z) if self.kind == "multilabel" else functional.sigmoid(torch.stack([-z, z], 1))

    def losses(
        self, logits: Float[Tensor, "rows *classes"], target: Int[Tensor, "rows *labels"]
    ) -> Float[Tensor, " rows"]:
        """Surprise at the truth of each row, in nats; of labels, their mean."""
        found = row_losses(self.logits(logits), target)
        return found.mean(1) if self.kind == "multilabel" else found

    def decide(self, logits: Float[Tensor, "rows *classes"], *, abstain: bool = True) -> Int[Tensor, "rows *labels"]:
        """The decision about each row: a class index; of labels 0 or 1 each; −1 where it is better to make none.

        Args:
            logits: Of the model.
            abstain: False decides always, whatever the price of abstaining.
        """
        return self.decide_by(self.probabilities(logits), abstain=abstain)

    def decide_by(self, p: Float[Tensor, "rows classes"], *, abstain: bool = True) -> Int[Tensor, "rows *labels"]:
        """The same from this policy's `probabilities`."""
        price = self.abstain if abstain else None
        if self.thresholds is not None:
            threshold = torch.tensor(self.thresholds, dtype=torch.float64, device=p.device)
            return ((p[:, 1] if self.kind == "binary" else p) > threshold).long()
        if self.kind == "multilabel":
            cost = costs.zero_one(2) if self.cost is None else self._cost
            return costs.least_cost_per_label(p, cost, abstain=price)
        return costs.least_cost(p, None if self.cost is None else self._cost, abstain=price)

    def decision_costs(
        self, logits: Float[Tensor, "rows *classes"], target: Int[Tensor, "rows *labels"]
    ) -> Float[Tensor, " rows"]:
        """What the decision about each row costs, the price of abstaining included; of labels, their sum."""
        cost = None if self.cost is None else self._cost
        return costs.realised_costs(self.decide(logits), target, cost, abstain=self.abstain or 0.0)

    def with_sets(
        self,
        logits: Float[Tensor, "rows *classes"],
        target: Int[Tensor, "rows *labels"],
        coverage: float,
        *,
        score: Score = "lac",
        per_class: bool = False,
    ) -> Self:
        """The policy with sets that hold the truth as often as `coverage` says.

        Args:
            logits: Of rows that the model has not seen.
            target: Class indices, or 0 or 1 per label.
            coverage: In (0, 1).
            score: "lac" or "aps"; labels have "lac".
            per_class: Promise it to the rows of each class; labels have no other promise.

        The scores leave the temperature out: it was fitted to these very rows, and a score that knows them would
        promise too much.
        """
        if self.kind == "multilabel" and score != "lac":
            raise OptionError(f"the sets of labels are made label by label, by 'lac': got {score!r}.")
        limits = set_limits(
            self._set_scores(logits, score), target, coverage, per_class=per_class, class_weight=self.class_ratio
        )
        per_class = per_class or self.kind == "multilabel"
        return replace(self, sets=SetRule(float(coverage), score, per_class, tuple(limits.tolist())))

    def set_of(self, logits: Float[Tensor, "rows *classes"]) -> Bool[Tensor, "rows classes"]:
        """Which classes are in the set of each row; of labels, which can not be ruled out.

        Raises:
            OptionError: the policy has no sets; `with_sets` makes them.
        """
        if self.sets is None:
            raise OptionError("this policy has no prediction sets: with_sets(logits, target, coverage) makes them.")
        limits = torch.tensor(self.sets.limits, dtype=torch.float64, device=logits.device)
        scores = self._set_scores(logits, self.sets.score)
        inside = scores <= limits
        if self.sets.per_class:
            return inside
        # Under other shares each class has a limit of its own. What fits a row better than a class in its set belongs
        # there too: a larger set keeps the promise.
        worst = scores.masked_fill(~inside, -math.inf).amax(1, keepdim=True)
        return scores <= worst

    def _set_scores(self, logits: Tensor, score: Score) -> Tensor:
        check_logits(logits, self.kind, self.classes)
        z = _added(logits.double(), self._offset(2))
        if self.kind == "multiclass":
            log_p = functional.log_softmax(z, 1)
        else:
            log_p = functional.logsigmoid(z if self.kind == "multilabel" else torch.stack([-z, z], 1))
        return set_scores(log_p, score)

    def to_dict(self) -> dict[str, Any]:
        """Return the policy as plain values for JSON; what was not chosen is left out, and ∞ is None."""
        plain = {name: _plain(value) for name, value in asdict(self).items() if value is not None}
        if self.sets is not None:
            plain["sets"]["limits"] = [None if each == math.inf else each for each in self.sets.limits]
        return plain

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Self:
        """Undo `to_dict`.

        Raises:
            OptionError: a key that no policy has, or a value that it cannot have.
        """
        known = [field.name for field in fields(cls)]
        for name in plain:
            if name not in known:
                raise OptionError(f"a policy has no {name!r}.{did_you_mean(name, known)}")
        try:
            found = {name: _frozen(value) for name, value in plain.items()}
            if "sets" in plain:
                rule = dict(plain["sets"])
                limits = tuple(math.inf if each is None else float(each) for each in rule.pop("limits"))
                found["sets"] = SetRule(limits=limits, **rule)
            return cls(**found)
        except (AttributeError, KeyError, TypeError) as error:
            raise OptionError(f"these values describe no policy: {type(error).__name__} {error}.") from error


def _added(z: Tensor, offset: Tensor | None) -> Tensor:
    return z if offset is None else z + offset.to(z.device)


def _plain(value: Any) -> Any:
    """Tuples as lists, all the way down."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, (tuple, list)) else value


def _frozen(value: Any) -> Any:
    """Lists as tuples, all the way down."""
    return tuple(_frozen(each) for each in value) if isinstance(value, (tuple, list)) else value
