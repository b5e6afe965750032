"""`patched()`: lastlayer's functions in the place of PyTorch's, for code that already exists.

A replacement stands wherever PyTorch's function stood: in `torch.nn.functional`, in `torch`, and in every module that
imported the name from there. It decides at each call whether ours or PyTorch's runs, so a name that was imported
inside the block and is used after it is PyTorch's again.
"""

import sys
import threading
from collections.abc import Callable
from contextlib import ContextDecorator
from functools import update_wrapper
from inspect import Parameter, signature
from types import ModuleType, TracebackType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.jit import _builtins, _recursive
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from lastlayer import functional
from lastlayer.errors import LastLayerError

Function = Callable[..., Any]


class _Form(NamedTuple):
    """The part of a PyTorch signature that has the same meaning in ours; a call beyond it is PyTorch's."""

    positional: int
    keywords: str = ""
    wide_under_autocast: str = ""  # devices on which autocast computes this one in float32


_LOSS = "input target weight size_average ignore_index reduce reduction label_smoothing"
_BINARY = "input target weight size_average reduce reduction pos_weight"

_FORMS: dict[ModuleType, dict[str, _Form]] = {
    F: {
        "cross_entropy": _Form(8, _LOSS, "cpu cuda"),
        "nll_loss": _Form(7, _LOSS.removesuffix(" label_smoothing"), "cpu cuda"),
        "binary_cross_entropy": _Form(6, _BINARY.removesuffix(" pos_weight"), "cpu"),
        "binary_cross_entropy_with_logits": _Form(7, _BINARY, "cpu cuda"),
        "kl_div": _Form(6, "input target size_average reduce reduction log_target", "cpu cuda"),
        "softmax": _Form(2, "input dim dtype", "cuda"),  # the third positional argument is _stacklevel
        "log_softmax": _Form(2, "input dim dtype", "cuda"),
        "softmin": _Form(2, "input dim dtype", "cuda"),
        "sigmoid": _Form(1, "input"),
        "logsigmoid": _Form(1, "input"),
        "softplus": _Form(3, "input beta threshold", "cuda"),
        "linear_cross_entropy": _Form(
            3, "input linear_weight target linear_bias weight reduction ignore_index label_smoothing"
        ),
    },
    torch: {
        "softmax": _Form(3, "input dim dtype", "cuda"),
        "log_softmax": _Form(3, "input dim dtype", "cuda"),
        "sigmoid": _Form(1, "input"),
        "logit": _Form(2, "input eps"),
        "logsumexp": _Form(3, "input dim keepdim"),
    },
}

_PLAIN = (Tensor, torch.nn.Parameter)
_HALF = (torch.float16, torch.bfloat16)
_SERVED = (*_HALF, torch.float32, torch.float64)
_REFUSALS = (RuntimeError, ValueError, TypeError, IndexError)  # what PyTorch raises for a call that it cannot take

_OURSELVES = ("lastlayer.kernels.", "lastlayer.functional.", "lastlayer.bench.")  # bench compares with PyTorch's

_lock = threading.RLock()
_enabled = 0  # how many blocks are open, in all threads
_compiling_depth = 0  # while Dynamo traces ours: what our kernels call is PyTorch's
_replacements: dict[int, tuple[Function, Function]] = {}  # id of PyTorch's function -> it and what stands for it
_originals: dict[int, Function] = {}  # id of what stands for it -> PyTorch's function


def patched() -> "Patched":
    r"""Put lastlayer's functions in the place of PyTorch's, for code that already exists.

    As a block, a decorator, or for good::

        with lastlayer.patched():
            train(model)              # timm, transformers, torch.nn.CrossEntropyLoss: all of it

        lastlayer.patched().enable()  # until .disable()

    Replaced are `cross_entropy`, `nll_loss`, `binary_cross_entropy`, `binary_cross_entropy_with_logits`, `kl_div`,
    `softmax`, `log_softmax`, `softmin`, `sigmoid`, `logsigmoid`, `softplus` and `linear_cross_entropy` of
    `torch.nn.functional`, and `softmax`, `log_softmax`, `sigmoid`, `logit` and `logsumexp` of `torch`: there, and in
    every loaded module outside of PyTorch that holds one of them under a name (`from torch.nn.functional import
    cross_entropy`). Blocks nest and may be open in several threads: the functions are replaced in the whole process
    while at least one is open, and then the very objects that were there before are back. A name that somebody else
    has replaced in between keeps what they gave it.

    PyTorch's own function still runs, with the call as it came, for

    * arguments that ours does not have: `out=`, `_stacklevel`, the chunking `options` of `linear_cross_entropy`;
    * tensors that are not float16, bfloat16, float32 or float64, strided, and of PyTorch's own class: integers,
      complex, sparse, nested and quantized tensors, subclasses, tensors on the meta device;
    * values that ours refuses and PyTorch takes, such as negative class weights or targets outside [0, 1]. Where
      both refuse, the error is ours; it is also the class that PyTorch raises;
    * `torch.jit.trace`, `torch.jit.script` and `torch.fx`: what they make is what it was without the patch.

    Not replaced are methods of tensors (`z.softmax(1)`), `torch.special`, `torch.ops`, scripted or traced code, and
    names kept in a class, a closure or a container before the block.

    Under `torch.compile` a function that is traced inside the block is compiled with ours. Code compiled before is
    traced again where it looks names up in a module; `torch._dynamo.reset()` makes sure of it.

    Returns:
        The switch: a context manager and decorator with `enable()` and `disable()`.

    >>> z, y = torch.tensor([[80.0, 0.0]]), torch.tensor([0])
    >>> torch.nn.functional.cross_entropy(z, y)
    tensor(0.)
    >>> with patched():
    ...     torch.nn.functional.cross_entropy(z, y)
    tensor(1.8049e-35)
    """
    return Patched()


class Patched(ContextDecorator):
    """What `patched()` returns; every one of them counts the same blocks."""

    def enable(self) -> "Patched":
        """Open a block: replace the functions unless they are replaced already."""
        global _enabled
        with _lock:
            if _enabled == 0:
                _put(_prepared())
            _enabled += 1
        return self

    def disable(self) -> None:
        """Close a block: the last one to close restores PyTorch's functions. Without an open block, does nothing."""
        global _enabled
        with _lock:
            if _enabled == 1:
                _put({id(ours): (ours, theirs) for theirs, ours in _replacements.values()})
            _enabled = max(_enabled - 1, 0)

    def __enter__(self) -> "Patched":
        return self.enable()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.disable()


def _prepared() -> dict[int, tuple[Function, Function]]:
    """Make the replacements, once per process."""
    # Dynamo lists PyTorch's functions by identity when it is imported, so it has to see them before they are replaced.
    # Every torch.optim.Optimizer imports it too.
    import torch._dynamo  # noqa: F401

    if not _replacements:
        _replacements[id(_recursive.try_compile_fn)] = (_recursive.try_compile_fn, _scripting())
        for module, forms in _FORMS.items():
            for name, form in forms.items():
                theirs = getattr(module, name, None)  # linear_cross_entropy came with PyTorch 2.13
                if theirs is not None:
                    _replacements[id(theirs)] = (theirs, _replacement(theirs, getattr(functional, name), form))
    return _replacements


def _put(exchange: dict[int, tuple[Function, Function]]) -> None:
    """In `torch`, `torch.nn.functional` and every module outside of PyTorch: each key's function becomes its value."""
    for module in [torch, F, _recursive, *_others()]:
        namespace = vars(module)
        for name, value in list(namespace.items()):
            found = exchange.get(id(value))
            if found is not None:
                namespace[name] = found[1]


def _others() -> list[ModuleType]:
    loaded: list[tuple[str, object]] = list(sys.modules.items())  # a program may put anything there
    return [
        module
        for name, module in loaded
        if isinstance(module, ModuleType) and name.split(".")[0] not in ("torch", "lastlayer", "functorch")
    ]


def _replacement(theirs: Function, ours: Function, form: _Form) -> Function:
    keywords = frozenset(form.keywords.split())
    required = [name for name, each in signature(ours).parameters.items() if each.default is Parameter.empty]
    wide = tuple(form.wide_under_autocast.split())

    def replacement(*args: Any, **kwargs: Any) -> Any:
        if not _enabled or len(args) > form.positional or not kwargs.keys() <= keywords:
            return theirs(*args, **kwargs)
        if any(name not in kwargs for name in required[len(args) :]):  # softmax without dim
            return theirs(*args, **kwargs)
        if torch.compiler.is_dynamo_compiling():
            return _compiled(theirs, ours, args, kwargs)
        if _called_by_ourselves() or _is_tracing() or not _is_served(args, kwargs):
            return theirs(*args, **kwargs)
        given = (args, kwargs) if not wide else _widened(wide, args, kwargs)
        try:
            return ours(*given[0], **given[1])
        except LastLayerError as error:
            refusal = error
        try:
            return theirs(*args, **kwargs)
        except _REFUSALS:
            raise refusal from None

    update_wrapper(replacement, theirs)
    _originals[id(replacement)] = theirs
    operator = _builtins._find_builtin(theirs)  # type: ignore[no-untyped-call]
    if operator is not None:  # TorchScript knows it as an operator, not as source
        _builtins._register_builtin(replacement, operator)
    return replacement


def _compiled(theirs: Function, ours: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Dynamo traces through here, and no frame can be asked who called."""
    global _compiling_depth
    first = _first(args, kwargs)
    if _compiling_depth or not isinstance(first, Tensor) or first.dtype not in _SERVED:
        return theirs(*args, **kwargs)
    _compiling_depth += 1
    try:
        return ours(*args, **kwargs)
    finally:
        _compiling_depth -= 1


def _called_by_ourselves() -> bool:
    """Our kernels are written with PyTorch's functions; two frames up is who called the replacement."""
    return str(sys._getframe(2).f_globals.get("__name__", "")).startswith(_OURSELVES)


def _first(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return args[0] if args else kwargs.get("input")


def _is_tracing() -> bool:
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]


def _is_served(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    first = _first(args, kwargs)
    if type(first) not in _PLAIN or first.dtype not in _SERVED or first.device.type == "meta":
        return False
    return all(_is_ordinary(value) for value in args) and all(_is_ordinary(value) for value in kwargs.values())


def _is_ordinary(value: object) -> bool:
    if type(value) not in _PLAIN:
        return not hasattr(value, "__torch_function__")
    assert isinstance(value, Tensor)  # noqa: S101 - for the type checker
    return value.layout is torch.strided and not value.is_nested


def _widened(
    devices: tuple[str, ...], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Under autocast: floating half tensors become float32, as PyTorch does for this function on this device."""
    first = _first(args, kwargs)
    device = first.device.type
    if device not in devices or first.dtype not in _HALF or not torch.is_autocast_enabled(device):
        return args, kwargs
    return tuple(map(_float, args)), {name: _float(value) for name, value in kwargs.items()}


def _float(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype in _HALF else value


def _scripting() -> Function:
    """What stands for the entry of TorchScript's compiler: it compiles PyTorch's function where it meets ours."""
    theirs = _recursive.try_compile_fn

    def try_compile_fn(fn: Function, loc: Any) -> Any:
        return theirs(_originals.get(id(fn), fn), loc)  # type: ignore[no-untyped-call]

    return update_wrapper(try_compile_fn, theirs)
