"""From a probability of yes to yes or no."""

from jaxtyping import Bool, Float
from torch import Tensor

from lastlayer.errors import DtypeError, OptionError, ProbabilityError


def decide(p: Float[Tensor, "*shape"], threshold: float) -> Bool[Tensor, "*shape"]:
    """Say yes where the probability is above a threshold.

    Args:
        p: Probabilities of yes in [0, 1], of any shape; from sigmoids, not from a softmax over several classes.
        threshold: In (0, 1); there is no default, because it is a choice: lower finds more, higher is more often
            right. At 0.5 it is the same as a logit above 0.

    Returns:
        True where p > threshold.

    Raises:
        DtypeError: `p` is not a floating tensor.
        ProbabilityError: a value lies outside [0, 1].
        OptionError: the threshold lies outside (0, 1).

    >>> import torch
    >>> decide(torch.tensor([0.2, 0.462, 0.9]), threshold=0.4)
    tensor([False,  True,  True])
    """
    if not p.is_floating_point():
        raise DtypeError(f"p has to be a floating tensor of probabilities, got {p.dtype}.")
    if not 0 < threshold < 1:
        raise OptionError(f"threshold has to lie between 0 and 1, got {threshold}.")
    if bool((p < 0).any() | (p > 1).any()):
        raise ProbabilityError("p has to lie in [0, 1]; these look like logits. Apply the sigmoid first.")
    return p > threshold
