"""How good probabilities are: proper scores, which are best when the probabilities are true."""

from jaxtyping import Float, Int
from torch import Tensor

from lastlayer import functional


def log_loss(
    logits: Float[Tensor, "rows *classes"], target: Int[Tensor, "rows *labels"], temperature: float = 1.0
) -> float:
    """Mean surprise at the true classes, in nats, in float64.

    Args:
        logits: (rows, classes) for softmax; (rows) for one sigmoid, or (rows, classes) for one per label.
        target: Class indices; 0 or 1 in the shape of the logits for sigmoids.
        temperature: Divide the logits by this first.

    >>> import torch
    >>> round(log_loss(torch.tensor([[4.0, 2.0, -2.0]]), torch.tensor([0])), 4)
    0.1291
    """
    z = logits.detach().double()
    if z.shape == target.shape:
        return float(functional.binary_cross_entropy_with_logits(z / temperature, target.double()))
    return float(functional.cross_entropy(z, target, temperature=temperature))


def brier_score(probabilities: Float[Tensor, "rows classes"], target: Int[Tensor, " rows"]) -> float:
    """Mean squared distance of the probabilities from the one-hot truth, summed over the classes: 0 to 2.

    >>> import torch
    >>> round(brier_score(torch.tensor([[0.7, 0.2, 0.1]]), torch.tensor([0])), 4)
    0.14

    Source: Brier 1950.
    """
    truth = functional.one_hot(target, probabilities.shape[1])
    return float((probabilities.double() - truth).square().sum(1).mean())
