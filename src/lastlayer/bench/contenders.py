"""Who takes part: lastlayer by each backend, and what a user would take instead, at its best settings."""

import importlib
import importlib.util
import logging
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from lastlayer import functional
from lastlayer.bench.cases import Case
from lastlayer.bench.work import Function, Work
from lastlayer.errors import LastLayerError, OptionError


class NotMeasuredError(LastLayerError):
    """A contender cannot take part; the message says why."""


class Contender(NamedTuple):
    """Somebody who takes part."""

    name: str
    build: Callable[[Case, str], Function]  # raises NotMeasuredError
    holds_logits: bool = True  # in a linear loss, all rows × classes of them at once
    compiles: bool = False
    overwrites: bool = False  # writes into the tensors that it is given


BACKENDS = ("eager", "cpu", "triton")


def contenders(case: Case, *, backends: bool = True) -> list[Contender]:
    """Everybody who might serve `case`, ours first."""
    found = [Contender("ours", _ours("auto"), holds_logits=False)]
    if backends:
        known = [name for name in BACKENDS if _is_known(name)]
        found += [Contender(f"ours: {name}", _ours(name), holds_logits=name == "eager") for name in known]
    found += [Contender("torch", _plain)]
    found += [Contender("torch.compile", _compiled, compiles=True)]
    if case.operation == "linear_cross_entropy":
        found += [
            Contender(name, _torch_chunked(**options), holds_logits=False)
            for name, options in {
                "torch chunked": {},
                "torch chunked 512": {"batch_chunk_size": 512, "chunking_method": None},
                "torch chunked 1024": {"batch_chunk_size": 1024, "chunking_method": None},
            }.items()
        ]
        found += [
            Contender("liger", _liger_linear(), holds_logits=False),
            Contender("liger, larger chunks", _liger_linear(chunk_mem_const=8), holds_logits=False),
            Contender("ml-cross-entropy", _cut_cross_entropy(), holds_logits=False),
            Contender("ml-cross-entropy exact", _cut_cross_entropy(filter_eps=None), holds_logits=False),
            Contender("quack", _quack_linear, holds_logits=False),
        ]
    if case.operation == "cross_entropy":
        found += [Contender("liger", _liger, overwrites=True), Contender("quack", _quack("cross_entropy"))]
    if case.operation == "softmax":
        found += [Contender("quack", _quack("softmax"))]
    return found


def _is_known(backend: str) -> bool:
    """Whether this version has it at all; one that does not serve a case says so when it is asked to."""
    try:
        functional.sigmoid(torch.zeros(1), backend=backend)
    except OptionError as error:
        return "backend has to be one of" not in str(error)
    return True


def _ours(backend: str) -> Callable[[Case, str], Function]:
    def build(case: Case, device: str) -> Function:
        function = getattr(functional, case.operation)
        if case.operation == "linear_binary_cross_entropy":
            sparse = _once(_sparse)
            return lambda work: function(work.input, work.weight, sparse(work), backend=backend)
        if case.features:
            return lambda work: function(work.input, work.weight, work.target, backend=backend)
        if case.operation in ("softmax", "log_softmax"):
            return lambda work: function(work.input, 1, backend=backend)
        if case.forward_only:
            return lambda work: function(work.input, backend=backend)
        return lambda work: function(work.input, work.target, backend=backend)

    return build


def _once(make: Callable[[Work], Tensor]) -> Callable[[Work], Tensor]:
    """Targets in the form that a contender takes are no part of its time."""
    made: dict[int, Tensor] = {}

    def get(work: Work) -> Tensor:
        key = id(work.target)
        if key not in made:
            made[key] = make(work)
        return made[key]

    return get


def _sparse(work: Work) -> Tensor:
    """The right answers as CSR, the form that never is rows × classes; equal answers of a row count once."""
    columns = work.target.sort(1).values
    kept = torch.ones_like(columns, dtype=torch.bool)
    kept[:, 1:] = columns[:, 1:] != columns[:, :-1]
    starts = torch.nn.functional.pad(kept.sum(1).cumsum(0), (1, 0))
    values = torch.ones(int(starts[-1]), dtype=work.input.dtype, device=columns.device)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state")
        return torch.sparse_csr_tensor(
            starts, columns[kept], values, (work.case.rows, work.case.classes), check_invariants=True
        )


def _dense(work: Work) -> Tensor:
    dense = torch.zeros(work.case.rows, work.case.classes, dtype=work.input.dtype, device=work.input.device)
    return dense.scatter_(1, work.target, 1.0)


# What everybody writes in plain PyTorch.
PLAIN: dict[str, Function] = {
    "cross_entropy": lambda work: F.cross_entropy(work.input, work.target),
    "binary_cross_entropy_with_logits": lambda work: F.binary_cross_entropy_with_logits(work.input, work.target),
    "softmax": lambda work: F.softmax(work.input, 1),
    "log_softmax": lambda work: F.log_softmax(work.input, 1),
    "sigmoid": lambda work: torch.sigmoid(work.input),
    "logit": lambda work: torch.logit(work.input),
    "linear_cross_entropy": lambda work: F.cross_entropy(F.linear(work.input, work.weight), work.target),
    "linear_binary_cross_entropy": lambda work: F.binary_cross_entropy_with_logits(
        F.linear(work.input, work.weight), work.target
    ),
}


def _plain(case: Case, device: str) -> Function:
    function = PLAIN[case.operation]
    if case.operation != "linear_binary_cross_entropy":
        return function
    dense = _once(_dense)
    return lambda work: function(work._replace(target=dense(work)))


def _compiled(case: Case, device: str) -> Function:
    plain = PLAIN[case.operation]
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # says that there is no GPU

    def on_tensors(input: Tensor, weight: Tensor, target: Tensor) -> Tensor:
        return plain(Work(case, input, weight, target))

    torch.compiler.reset()  # PyTorch compiles eight programs of one source, and runs the ninth as it is, unseen
    function: Any = torch.compile(on_tensors, dynamic=False, fullgraph=True)  # or an error
    target = _once(_dense if case.operation == "linear_binary_cross_entropy" else lambda work: work.target)
    return lambda work: function(work.input, work.weight, target(work))


def _torch_chunked(**options: Any) -> Callable[[Case, str], Function]:
    def build(case: Case, device: str) -> Function:
        if not hasattr(torch.nn, "LinearCrossEntropyOptions"):
            raise NotMeasuredError("needs PyTorch 2.13")
        size = options.get("batch_chunk_size")
        if size is not None and size >= case.rows:
            raise NotMeasuredError(f"one chunk of all {case.rows} rows")
        how = torch.nn.LinearCrossEntropyOptions(**options)
        return lambda work: F.linear_cross_entropy(work.input, work.weight, work.target, options=how)

    return build


def _installed(package: str, module: str, device: str) -> Any:
    """A kernel library for CUDA, if it is here and can run."""
    if importlib.util.find_spec(package) is None:
        raise NotMeasuredError("not installed: not measured")
    if not device.startswith("cuda"):
        raise NotMeasuredError("runs on CUDA only")
    try:
        return importlib.import_module(module)
    except (ImportError, OSError, RuntimeError, AssertionError) as error:  # each refuses unsuitable GPUs its own way
        raise NotMeasuredError(f"installed, and cannot be loaded: {error}") from error


def _liger(case: Case, device: str) -> Function:
    module = _installed("liger_kernel", "liger_kernel.transformers.functional", device)
    return lambda work: module.liger_cross_entropy(work.input, work.target)


def _liger_linear(**options: Any) -> Callable[[Case, str], Function]:
    def build(case: Case, device: str) -> Function:
        module = _installed("liger_kernel", "liger_kernel.transformers.functional", device)
        return lambda work: module.liger_fused_linear_cross_entropy(
            work.input, work.weight, work.target, accum_dtype=torch.float32, **options
        )

    return build


def _cut_cross_entropy(**options: Any) -> Callable[[Case, str], Function]:
    def build(case: Case, device: str) -> Function:
        module = _installed("cut_cross_entropy", "cut_cross_entropy", device)
        return lambda work: module.linear_cross_entropy(work.input, work.weight, work.target, **options)

    return build


def _quack(name: str) -> Callable[[Case, str], Function]:
    def build(case: Case, device: str) -> Function:
        function = getattr(_installed("quack", f"quack.{name}", device), name)
        if name == "softmax":
            return lambda work: function(work.input)
        return lambda work: function(work.input, work.target, reduction="mean")

    return build


def _quack_linear(case: Case, device: str) -> Function:
    module = _installed("quack", "quack.linear_cross_entropy", device)
    return lambda work: module.chunked_linear_cross_entropy(work.input, work.weight, work.target, reduction="mean")
