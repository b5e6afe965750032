"""The decision with the least expected cost, and when it is better to make none.

Source: Chow 1970, "On optimum recognition error and reject tradeoff"; Elkan 2001.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lastlayer.decisions._rows import check_probabilities
from lastlayer.errors import OptionError, ShapeError

ABSTAINED = -1  # the decision of a row, or of a label, that is left to somebody else


def zero_one(classes: int) -> Float[Tensor, "classes classes"]:
    """The costs of counting mistakes: 0 for the true class, 1 for every other.

    >>> zero_one(2)
    tensor([[0., 1.],
            [1., 0.]], dtype=torch.float64)
    """
    return 1 - torch.eye(classes, dtype=torch.float64)


def expected_costs(
    p: Float[Tensor, "rows classes"], cost: Float[Tensor, "classes decisions"]
) -> Float[Tensor, "rows decisions"]:
    """What each decision costs on average, where the probabilities are true: Σ_c p_c · cost[c, decision].

    Args:
        p: Calibrated probabilities, (rows, classes).
        cost: cost[true class, decision], in any unit; there may be other decisions than the classes.

    Raises:
        ShapeError: not one row of costs per class.
        ProbabilityError: `p` outside [0, 1].
        OptionError: a cost that is not finite.

    >>> p = torch.tensor([[0.8, 0.2]])
    >>> expected_costs(p, torch.tensor([[0.0, 1.0], [10.0, 0.0]])).tolist()  # missing class 1 costs 10
    [[2.0000000298023224, 0.800000011920929]]
    """
    check_probabilities(p)
    if cost.dim() != 2 or p.dim() != 2 or len(cost) != p.shape[1]:
        raise ShapeError(
            f"costs have a row per class and a column per decision: expected ({p.shape[-1]}, decisions), got "
            f"{tuple(cost.shape)}."
        )
    _check_costs(cost)
    return p.double() @ cost.double().to(p.device)


def least_cost(
    p: Float[Tensor, "rows classes"],
    cost: Float[Tensor, "classes decisions"] | None = None,
    *,
    abstain: float | None = None,
) -> Int[Tensor, " rows"]:
    """Take the decision with the least expected cost, or none where even that costs more than to abstain.

    Args:
        p: Calibrated probabilities, (rows, classes).
        cost: cost[true class, decision]; None counts mistakes, which takes the most probable class.
        abstain: The price of no decision, in the unit of the costs; None decides always. With mistakes counted, a row
            is decided where its class is more probable than 1 − price.

    Returns:
        The index of the decision, −1 where there is none; the first of several that cost the same.

    >>> p = torch.tensor([[0.9, 0.1], [0.6, 0.4]])
    >>> least_cost(p).tolist(), least_cost(p, abstain=0.3).tolist()
    ([0, 0], [0, -1])
    >>> least_cost(p, torch.tensor([[0.0, 1.0], [5.0, 0.0]])).tolist()
    [0, 1]
    """
    if cost is None:
        check_probabilities(p)
        best, decision = p.double().max(1)
        least = 1 - best
    else:
        least, decision = expected_costs(p, cost).min(1)
    return _or_abstain(decision, least, abstain)


def least_cost_per_label(
    p: Float[Tensor, "rows labels"], cost: Float[Tensor, "labels 2 2"], *, abstain: float | None = None
) -> Int[Tensor, "rows labels"]:
    """Decide yes or no for each label by its own costs.

    Costs add up over the labels, so that the best decision of each label is the best of all together.

    Args:
        p: Calibrated probabilities of yes.
        cost: cost[label, truth, decision], truth and decision 0 (no) or 1 (yes); (2, 2) are those of every label.
        abstain: The price of leaving one label undecided.

    Returns:
        0, 1, or −1 where a label is left undecided; no where both cost the same.

    >>> p = torch.tensor([[0.2, 0.2]])
    >>> cost = torch.tensor([[[0.0, 1.0], [1.0, 0.0]], [[0.0, 1.0], [10.0, 0.0]]])
    >>> least_cost_per_label(p, cost).tolist()
    [[0, 1]]
    """
    check_probabilities(p)
    labels = p.shape[-1]
    if p.dim() != 2 or tuple(cost.shape) not in ((2, 2), (labels, 2, 2)):
        raise ShapeError(f"costs of labels have the shape (2, 2) or ({labels}, 2, 2), got {tuple(cost.shape)}.")
    _check_costs(cost)
    q, each = p.double(), cost.double().to(p.device).expand(labels, 2, 2)
    no = (1 - q) * each[:, 0, 0] + q * each[:, 1, 0]
    yes = (1 - q) * each[:, 0, 1] + q * each[:, 1, 1]
    return _or_abstain((yes < no).long(), torch.minimum(no, yes), abstain)


def realised_costs(
    decision: Int[Tensor, "rows *labels"],
    target: Int[Tensor, "rows *labels"],
    cost: Tensor | None = None,
    *,
    abstain: float = 0.0,
) -> Float[Tensor, " rows"]:
    """What the decisions cost, once the truth is known; of labels, the sum over them.

    Args:
        decision: Class indices, or 0 or 1 per label; −1 where there is none.
        target: Class indices, or 0 or 1 per label.
        cost: (classes, decisions), or (2, 2) or (labels, 2, 2); None counts mistakes.
        abstain: The price of no decision.

    >>> realised_costs(torch.tensor([0, 1, -1]), torch.tensor([0, 0, 1]), abstain=0.2).tolist()
    [0.0, 1.0, 0.2]
    """
    made = decision.clamp_min(0)
    if cost is None:
        found = (decision != target).double()
    elif target.dim() == 1:
        found = cost.double()[target, made]
    else:
        labels = torch.arange(target.shape[1])
        found = cost.double().expand(target.shape[1], 2, 2)[labels, target.long(), made.long()]
    found = torch.where(decision == ABSTAINED, abstain, found)
    return found if found.dim() == 1 else found.sum(1)


def _or_abstain(decision: Tensor, least: Tensor, abstain: float | None) -> Tensor:
    if abstain is None:
        return decision
    if not 0 <= abstain < float("inf"):
        raise OptionError(f"abstain is the price of no decision, 0 or more and finite: got {abstain}.")
    return torch.where(least > abstain, ABSTAINED, decision)


def _check_costs(cost: Tensor) -> None:
    if not bool(cost.isfinite().all()):
        raise OptionError("every cost has to be a finite number.")


def top_k(p: Float[Tensor, "rows classes"], k: int) -> tuple[Int[Tensor, "rows k"], Float[Tensor, "rows k"]]:
    """The k most probable classes of each row and their probabilities; of equal ones the first stands first.

    >>> classes, values = top_k(torch.tensor([[0.2, 0.5, 0.3]]), 2)
    >>> classes.tolist(), values.tolist() == [[0.5, torch.tensor(0.3).item()]]
    ([[1, 2]], True)
    """
    if not 1 <= k <= p.shape[1]:
        raise OptionError(f"k has to lie between 1 and the {p.shape[1]} classes, got {k}.")
    order = p.argsort(dim=1, descending=True, stable=True)[:, :k]
    return order, p.gather(1, order)
