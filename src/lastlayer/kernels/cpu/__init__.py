"""The functions compiled for this machine's processor: one trip through memory, every digit (README.md here).

`why_not()` says why this machine cannot have them. Importing this imports no compiler.
"""

from lastlayer.kernels.cpu import _traced
from lastlayer.kernels.cpu._binary_cross_entropy import binary_cross_entropy_elements, binary_cross_entropy_with_logits
from lastlayer.kernels.cpu._compile import why_not as why_not
from lastlayer.kernels.cpu._cross_entropy import cross_entropy, cross_entropy_rows
from lastlayer.kernels.cpu._sigmoid import logit, sigmoid
from lastlayer.kernels.cpu._softmax import log_softmax, logsumexp, softmax

traced = _traced

__all__ = [
    "binary_cross_entropy_elements",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "cross_entropy_rows",
    "log_softmax",
    "logit",
    "logsumexp",
    "sigmoid",
    "softmax",
]
