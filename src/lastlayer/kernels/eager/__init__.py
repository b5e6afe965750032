"""The functions in plain PyTorch: any device, any transform (autograd of any order, torch.func, torch.compile).

Float32 is computed in float64 and rounded once, half precision in float32 (docs/decisions/001). The formulas are
chosen so that float64 itself, which has nothing wider to go to, keeps its digits.
"""

from lastlayer.kernels.eager._binary_cross_entropy import (
    binary_cross_entropy,
    binary_cross_entropy_elements,
    binary_cross_entropy_with_logits,
)
from lastlayer.kernels.eager._cross_entropy import cross_entropy, nll_loss
from lastlayer.kernels.eager._information import cross_entropy_of, entropy, kl_div, kl_divergence, surprisal
from lastlayer.kernels.eager._rows import cross_entropy_rows
from lastlayer.kernels.eager._sigmoid import logit, logsigmoid, sigmoid, softplus
from lastlayer.kernels.eager._softmax import adjusted, log_softmax, logsumexp, softmax

__all__ = [
    "adjusted",
    "binary_cross_entropy",
    "binary_cross_entropy_elements",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "cross_entropy_of",
    "cross_entropy_rows",
    "entropy",
    "kl_div",
    "kl_divergence",
    "log_softmax",
    "logit",
    "logsigmoid",
    "logsumexp",
    "nll_loss",
    "sigmoid",
    "softmax",
    "softplus",
    "surprisal",
]
