"""Everything after the last hidden layer of a classifier: logits, probabilities, losses, gradients, decisions.

Importing this package imports nothing else: each public name is loaded when it is first touched (PEP 562).
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from lastlayer import decisions, functional, nn
    from lastlayer.classifier import Classifier
    from lastlayer.diagnosis import doctor, watch
    from lastlayer.explanation import explain, explain_loss, explain_model
    from lastlayer.functional import (
        binary_cross_entropy,
        binary_cross_entropy_with_logits,
        cross_entropy,
        cross_entropy_of,
        entropy,
        hardmax,
        kl_div,
        kl_divergence,
        linear_binary_cross_entropy,
        linear_cross_entropy,
        log_softmax,
        logit,
        logsigmoid,
        logsumexp,
        nll_loss,
        one_hot,
        sigmoid,
        softmax,
        softmin,
        softplus,
        surprisal,
    )
    from lastlayer.nn._patched import patched

__all__ = [
    "Classifier",
    "__version__",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "cross_entropy_of",
    "decisions",
    "doctor",
    "entropy",
    "explain",
    "explain_loss",
    "explain_model",
    "functional",
    "hardmax",
    "kl_div",
    "kl_divergence",
    "linear_binary_cross_entropy",
    "linear_cross_entropy",
    "log_softmax",
    "logit",
    "logsigmoid",
    "logsumexp",
    "nll_loss",
    "nn",
    "one_hot",
    "patched",
    "sigmoid",
    "softmax",
    "softmin",
    "softplus",
    "surprisal",
    "watch",
]

_ROOMS = ("decisions", "functional", "nn")
_ELSEWHERE = {
    "Classifier": "lastlayer.classifier",
    "doctor": "lastlayer.diagnosis",
    "explain": "lastlayer.explanation",
    "explain_loss": "lastlayer.explanation",
    "explain_model": "lastlayer.explanation",
    "patched": "lastlayer.nn._patched",
    "watch": "lastlayer.diagnosis",
}


def __getattr__(name: str) -> object:
    if name in _ROOMS:
        return import_module(f"lastlayer.{name}")
    if name not in __all__:
        raise AttributeError(f"module 'lastlayer' has no attribute {name!r}")
    value = getattr(import_module(_ELSEWHERE.get(name, "lastlayer.functional")), name)
    globals()[name] = value  # the next look-up finds it without coming here
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
