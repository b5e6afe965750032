"""The options of a loss that are numbers: what each may be. One may be a tensor of one number, and learnt."""

import numbers
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lastlayer.errors import OptionError
from lastlayer.functional import _checks

Number = float | Float[Tensor, ""]

_REAL = (numbers.Real, torch.SymInt, torch.SymFloat)
_INFINITY = float("inf")

# Results are Any: a kernel is told floats, and only the formula, which is asked where one is a tensor, meets a tensor.


def cross_entropy(
    label_smoothing: Number, z_loss: Number, softcap: Number | None, temperature: Number
) -> tuple[Any, Any, Any, Any]:
    """Return the options of cross-entropy, checked; a tensor of one number without its axes."""
    return (
        _fraction("label_smoothing", label_smoothing),
        _at_least_zero("z_loss", z_loss),
        None if softcap is None else positive("softcap", softcap),
        positive("temperature", temperature),
    )


def binary_cross_entropy(focal_gamma: Number, label_smoothing: Number) -> tuple[Any, Any]:
    """Return the options of binary cross-entropy, checked; a tensor of one number without its axes."""
    return _at_least_zero("focal_gamma", focal_gamma), _fraction("label_smoothing", label_smoothing)


def are_plain(options: tuple[object, ...]) -> bool:
    """Whether no option is a tensor, which may ask for a gradient."""
    for option in options:  # noqa: SIM110 - a generator takes three times as long
        if isinstance(option, Tensor):
            return False
    return True


def positive(name: str, value: Any) -> Any:
    """Return `value`, a positive finite number."""
    if type(value) is float and 0.0 < value < _INFINITY:  # nearly every call
        return value
    if _can_be_read(name, value) and not 0.0 < value < _INFINITY:
        raise OptionError(f"{name} must be a positive finite number. Got: {_shown(value)}")
    return _without_axes(value)


def _fraction(name: str, value: Number) -> Number:
    if _can_be_read(name, value) and not 0.0 <= value <= 1.0:
        raise OptionError(f"{name} must be between 0.0 and 1.0. Got: {_shown(value)}")
    return _without_axes(value)


def _at_least_zero(name: str, value: Number) -> Number:
    if _can_be_read(name, value) and not 0.0 <= value < _INFINITY:
        raise OptionError(f"{name} must be a finite number, 0 or more. Got: {_shown(value)}")
    return _without_axes(value)


def _can_be_read(name: str, value: object) -> bool:
    """Whether the value of this number is known; raise what it is if it is none."""
    if isinstance(value, Tensor):
        if value.numel() == 1 and not value.is_complex():
            return _checks.values_can_be_read(value)
        found = f"a tensor of shape {tuple(value.shape)} and {value.dtype}"
    elif isinstance(value, _REAL):
        return True
    else:
        found = f"{value!r}, of type {type(value).__name__}"
    raise OptionError(f"{name} must be a number, or a tensor of one number. Got: {found}")


def _without_axes(value: Number) -> Number:
    return value.reshape(()) if isinstance(value, Tensor) else value


def _shown(value: Number) -> object:
    return value.item() if isinstance(value, Tensor) else value
