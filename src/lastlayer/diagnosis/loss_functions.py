"""What a loss function is, told from the function itself."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn

_MODULES: list[tuple[type[nn.Module], str]] = [
    (nn.CrossEntropyLoss, "cross_entropy"),
    (nn.NLLLoss, "nll"),
    (nn.BCELoss, "bce"),
    (nn.BCEWithLogitsLoss, "bce_with_logits"),
    (nn.KLDivLoss, "kl_div"),
    (nn.MSELoss, "mse"),
]
_FUNCTIONS = {
    "cross_entropy": "cross_entropy",
    "nll_loss": "nll",
    "binary_cross_entropy": "bce",
    "binary_cross_entropy_with_logits": "bce_with_logits",
    "kl_div": "kl_div",
    "mse_loss": "mse",
}
_OPTIONS = (
    "weight", "pos_weight", "ignore_index", "reduction", "label_smoothing", "empty", "log_target",
)  # fmt: skip


@dataclass(frozen=True)
class LossFunction:
    """A kind as in `graph`, and its options; "unknown" for a function of the user's own."""

    kind: str
    reduction: str = "mean"
    weight: Tensor | None = None
    pos_weight: Tensor | None = None
    ignore_index: int | None = None
    label_smoothing: float = 0.0
    ours: bool = False
    empty: str = "nan"
    log_target: bool = False
    call: Callable[..., Any] | None = field(default=None, compare=False)


def loss_function(given: Any) -> LossFunction:
    """What `given` computes: a PyTorch or lastlayer module or function, or a partial of one."""
    if isinstance(given, functools.partial):
        inner = loss_function(given.func)
        return replace(inner, call=given, **{name: given.keywords[name] for name in _OPTIONS if name in given.keywords})
    for module, kind in _MODULES:
        if isinstance(given, module):
            options = {name: getattr(given, name) for name in _OPTIONS if hasattr(given, name)}
            cls: Any = type(given)
            own = cls.__module__
            if own.split(".")[0] not in ("torch", "lastlayer") and cls.forward is not module.forward:
                kind = "unknown"
            return LossFunction(kind, ours=own.startswith("lastlayer"), call=given, **options)
    name, home = getattr(given, "__name__", ""), getattr(given, "__module__", "") or ""
    if name in _FUNCTIONS and home.startswith(("torch", "lastlayer")):
        index = -100 if _FUNCTIONS[name] in ("cross_entropy", "nll") else None
        return LossFunction(_FUNCTIONS[name], ignore_index=index, ours=home.startswith("lastlayer"), call=given)
    return LossFunction("unknown", call=given)


def with_keywords(base: LossFunction, options: dict[str, Any]) -> LossFunction:
    """The same with the keywords of a call."""
    return replace(base, **{name: options[name] for name in _OPTIONS if options.get(name) is not None})
