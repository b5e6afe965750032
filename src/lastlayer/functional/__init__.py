"""Logits, probabilities, losses and information, with the names, arguments and meaning of `torch.nn.functional`.

Each function checks its arguments, chooses a kernel and computes. Options beyond PyTorch's are keyword-only.
"""

from lastlayer.functional._binary_cross_entropy import binary_cross_entropy, binary_cross_entropy_with_logits
from lastlayer.functional._cross_entropy import cross_entropy, nll_loss
from lastlayer.functional._information import cross_entropy_of, entropy, kl_div, kl_divergence, surprisal
from lastlayer.functional._linear import linear_binary_cross_entropy, linear_cross_entropy
from lastlayer.functional._one_hot import hardmax, one_hot
from lastlayer.functional._options import Number
from lastlayer.functional._reduction import Empty, Loss, Reduction
from lastlayer.functional._sigmoid import logit, logsigmoid, sigmoid, softplus
from lastlayer.functional._softmax import log_softmax, logsumexp, softmax, softmin

__all__ = [
    # logits to probabilities
    "sigmoid",
    "logit",
    "logsigmoid",
    "softplus",
    "softmax",
    "log_softmax",
    "softmin",
    "logsumexp",
    # losses
    "cross_entropy",
    "nll_loss",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "linear_cross_entropy",
    "linear_binary_cross_entropy",
    "kl_div",
    # information
    "surprisal",
    "entropy",
    "cross_entropy_of",
    "kl_divergence",
    # for contrast
    "one_hot",
    "hardmax",
    # types of arguments and results
    "Empty",
    "Loss",
    "Number",
    "Reduction",
]
