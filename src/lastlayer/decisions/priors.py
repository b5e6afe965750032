"""Probabilities for another mixture of classes than the one that trained.

A classifier trained with class weights answers for a world in which each class is as many times more frequent as its
weight says. What its logits learnt is ln w_c too high, exactly, so that taking ln w_c off gives back the
probabilities of the data; and a change of the classes' shares is the same correction with the ratio of the shares.
Both are numbers added to the logits: an offset.

Source: Bayes' rule; Elkan 2001, "The foundations of cost-sensitive learning"; Saerens et al. 2002 (new priors).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from lastlayer.decisions._rows import Kind, check_kind
from lastlayer.errors import OptionError, ShapeError


def unweighting(
    kind: Kind, *, weight: Float[Tensor, " classes"] | None = None, pos_weight: Float[Tensor, "*labels"] | None = None
) -> Float[Tensor, "*classes"] | None:
    """What to add to logits that were trained with weights, to have those of the data as it is.

    It is exact for the losses whose best logits are known in closed form: cross-entropy and binary cross-entropy, with
    or without label smoothing (then the smoothed probabilities come back). Focal losses have no such form; what is
    left there is for the temperature.

    Args:
        kind: "multiclass": −ln w_c per class. "binary": −ln(w_yes / w_no) − ln pos_weight. "multilabel":
            −ln pos_weight per label; a weight per label changes how much labels count against each other, and no
            probability.
        weight: Of each class in the loss, positive; (classes), of a binary task (no, yes).
        pos_weight: How often a yes counts; one number, or one per label.

    Returns:
        float64: (classes) or (labels), a single number for "binary"; None where nothing was weighted.

    Raises:
        OptionError: a weight that is not positive and finite, or `pos_weight` with softmax.

    >>> unweighting("multiclass", weight=torch.tensor([0.5, 10.0]))
    tensor([ 0.6931, -2.3026], dtype=torch.float64)
    >>> unweighting("binary", pos_weight=torch.tensor(10.0))
    tensor(-2.3026, dtype=torch.float64)
    """
    check_kind(kind)
    if kind == "multiclass" and pos_weight is not None:
        raise OptionError("pos_weight belongs to sigmoids; with softmax give each class a weight.")
    offset: Tensor | None = None
    if weight is not None and kind != "multilabel":
        logs = _positive("weight", weight).log()
        if kind == "binary" and logs.shape != (2,):
            raise ShapeError(f"the weights of a binary task are those of no and yes, (2,), got {tuple(logs.shape)}.")
        offset = -logs if kind == "multiclass" else logs[0] - logs[1]
    if pos_weight is not None:
        logs = _positive("pos_weight", pos_weight).log()
        logs = logs.reshape(()) if kind == "binary" and logs.numel() == 1 else logs
        offset = -logs if offset is None else offset - logs
    return offset


def reprior(
    kind: Kind, trained: Float[Tensor, "*classes"], deployed: Float[Tensor, "*classes"]
) -> Float[Tensor, "*classes"]:
    """What to add to logits of one mixture of classes, to have those of another.

    It holds where the classes themselves look the same in both, and only how frequent they are has changed.

    Args:
        kind: "multiclass": ln(π'_c / π_c) per class. "binary", "multilabel": the difference of the log-odds.
        trained: Shares that the logits were trained on: (classes) that sum to 1, or the share of yes: a single number
            for "binary", (labels) for "multilabel".
        deployed: Shares where it will be used, likewise.

    Returns:
        float64, of the shape of the shares.

    Raises:
        OptionError: a share outside (0, 1), or shares of softmax classes that do not sum to 1.

    >>> reprior("binary", torch.tensor(0.5), torch.tensor(0.01))  # one in a hundred instead of one in two
    tensor(-4.5951, dtype=torch.float64)

    Source: Saerens, Latinne & Decaestecker 2002.
    """
    check_kind(kind)
    before, after = _shares(kind, "trained", trained), _shares(kind, "deployed", deployed)
    if before.shape != after.shape:
        raise ShapeError(f"there are shares of {tuple(before.shape)} and of {tuple(after.shape)}: one per class each.")
    if kind == "multiclass":
        return after.log() - before.log()
    return torch.logit(after) - torch.logit(before)


def reprior_weights(
    kind: Kind, target: Tensor, trained: Float[Tensor, "*classes"], deployed: Float[Tensor, "*classes"]
) -> Tensor:
    """How often each row counts, so that rows of the trained mixture stand for the deployed one: π'_y / π_y.

    >>> reprior_weights("binary", torch.tensor([0, 1]), torch.tensor(0.5), torch.tensor(0.25)).tolist()
    [1.5, 0.5]
    """
    before, after = _shares(kind, "trained", trained), _shares(kind, "deployed", deployed)
    if kind == "multiclass":
        return (after / before)[target]
    return torch.where(target == 1, after / before, (1 - after) / (1 - before))


def _positive(name: str, values: Tensor) -> Tensor:
    found = torch.as_tensor(values).detach().double()
    if not bool((found > 0).all() & found.isfinite().all()):
        raise OptionError(
            f"{name} has to be positive and finite to be taken off the logits, got {found.tolist()}. A class of weight "
            "0 was never learnt."
        )
    return found


def _shares(kind: Kind, name: str, values: Tensor) -> Tensor:
    found = torch.as_tensor(values).detach().double()
    if not bool(((found > 0) & (found < 1)).all()):
        raise OptionError(f"the {name} shares have to lie between 0 and 1, got {found.tolist()}.")
    if kind == "multiclass" and abs(float(found.sum()) - 1) > 1e-6:
        raise OptionError(f"the {name} shares of the classes have to sum to 1, got {float(found.sum()):.6g}.")
    return found
