"""Sigmoid and logit by compiled kernels."""

from functools import partial
from struct import Struct

import torch
from torch import Tensor

from lastlayer.kernels import _memory, eager
from lastlayer.kernels.cpu import _compile, _threads
from lastlayer.kernels.cpu._layout import NAMES, PER_TASK, address, computed_in, flat
from lastlayer.kernels.cpu._small import UP_TO, Plan, Table
from lastlayer.kernels.eager import _autograd

_WORDS = Struct("7qd")
_NO_EPS = -1.0
_PLANS = Table[Plan]()


def sigmoid(x: Tensor) -> Tensor:
    """As in kernels.eager."""
    return _autograd.apply(_SIGMOID, x, None)[0]


def logit(probability: Tensor, eps: float | None) -> Tensor:
    """As in kernels.eager."""
    if eps is not None and eps > 0.5:  # bounds that cross: PyTorch's meaning of that is eager's
        return eager.logit(probability, eps)
    return _autograd.apply(_LOGIT, probability, eps)[0]


def _each(kernel: str, x: Tensor, gradient: Tensor | None = None, eps: float | None = None) -> Tensor:
    source, above = flat(x), None if gradient is None else flat(gradient.to(x.dtype))
    result = _memory.empty(source, *x.shape)
    count = source.numel()
    _threads.run(
        _compile.kernel(kernel, NAMES[x.dtype], computed_in(x.dtype)), _WORDS, -(-count // PER_TASK),
        count, PER_TASK, source.data_ptr(), result.data_ptr(), address(above), _NO_EPS if eps is None else eps,
    )  # fmt: skip
    return result


def _early(kernel: str, x: Tensor, eps: float | None, wanted: bool) -> _autograd.Early | None:
    count = x.numel()
    if wanted or not 0 < count <= UP_TO or not x.is_contiguous() or x.is_neg():
        return None
    threads = torch.get_num_threads()  # asked for once: another thread may change their number meanwhile
    key = (kernel, count, x.dtype, (eps,), threads)
    plan = _PLANS.get(key)
    if plan is None:
        tasks = -(-count // PER_TASK)
        words = _WORDS.pack(0, tasks, count, PER_TASK, 0, 0, 0, _NO_EPS if eps is None else eps)
        found = _compile.kernel(kernel, NAMES[x.dtype], computed_in(x.dtype))
        plan = _PLANS.put(key, Plan(found, words, 0, {}, min(threads, tasks)))
    return (plan.of(x, 4, 5),), (None, 1.0, plan.guess)


def _sigmoid_forward(x: Tensor, eps: None) -> tuple[tuple[Tensor], tuple[()]]:
    return (_each("sigmoid.sigmoid", x),), ()


def _sigmoid_backward(gradients: tuple[Tensor], kept: tuple[()], x: Tensor, eps: None) -> Tensor:
    return _each("sigmoid.sigmoid_backward", x, gradients[0])


def _logit_forward(p: Tensor, eps: float | None) -> tuple[tuple[Tensor], tuple[()]]:
    return (_each("sigmoid.logit", p, eps=eps),), ()


def _logit_backward(gradients: tuple[Tensor], kept: tuple[()], p: Tensor, eps: float | None) -> Tensor:
    return _each("sigmoid.logit_backward", p, gradients[0], eps)


def _formula_of_sigmoid(x: Tensor, eps: None) -> tuple[Tensor]:
    return (eager.sigmoid(x),)


def _formula_of_logit(p: Tensor, eps: float | None) -> tuple[Tensor]:
    return (eager.logit(p, eps),)


_SIGMOID = _autograd.Rule(
    _formula_of_sigmoid, _sigmoid_forward, _sigmoid_backward, "sigmoid", partial(_early, "sigmoid.sigmoid")
)
_LOGIT = _autograd.Rule(_formula_of_logit, _logit_forward, _logit_backward, "logit", partial(_early, "sigmoid.logit"))
