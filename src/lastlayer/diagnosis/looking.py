"""How a loss, a batch and a model are looked at: gather the evidence, run the rules, say what could not be seen."""

import copy
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lastlayer import graph
from lastlayer.diagnosis import error_texts
from lastlayer.diagnosis.evidence import Batch, Model
from lastlayer.diagnosis.finding import Finding
from lastlayer.diagnosis.loss_functions import LossFunction, loss_function
from lastlayer.diagnosis.registry import run
from lastlayer.diagnosis.report import reason
from lastlayer.diagnosis.said import say
from lastlayer.diagnosis.tensors import readable
from lastlayer.errors import DtypeError, OptionError
from lastlayer.graph import Calls, Term, Wiring
from lastlayer.messages import Message

Look = tuple[list[Finding], list[Message], Message | None]
_SEEN_THROUGH = ("layer", "leaf", "join")


def at_loss(loss: Any) -> Look:
    """A live loss: its graph, and the tensors that the graph keeps."""
    wiring = graph.read(loss)
    findings: list[Finding] = []
    for term in wiring.terms:
        findings += _of_term(term, loss)
    return findings, _obstacles(wiring), _looked(wiring)


def _of_term(term: Term, loss: Tensor) -> list[Finding]:
    batch = Batch(term.given, term.target, _told(term), loss.detach(), term, from_graph=True)
    if not isinstance(term.given, Tensor):
        return list(run("term", batch))
    return [*run("term", batch), *run("batch", batch)]


def _told(term: Term) -> LossFunction:
    return LossFunction(
        term.kind,
        term.reduction or "mean",
        term.weight,
        term.pos_weight,
        term.ignore_index,
        term.label_smoothing or 0.0,
        term.ours,
        term.empty,
    )


def _obstacles(wiring: Wiring) -> list[Message]:
    reasons = []
    if wiring.obstacle is not None:
        reasons.append(reason(wiring.obstacle, detail=wiring.detail))
    for term in wiring.terms:
        if term.kind == "unknown":
            continue
        if term.end == "unclear":
            reasons.append(reason("unclear"))
        elif term.kind in ("bce", "nll", "kl_div") and not term.path and term.end in ("join", "leaf", "constant"):
            reasons.append(reason("given"))
    return reasons


def _looked(wiring: Wiring) -> Message | None:
    known = [term for term in wiring.terms if term.kind != "unknown"]
    if not known:
        return None
    way = " ← ".join([known[0].kind, *(op.name for op in known[0].path), known[0].end])
    return say("doctor.looked.loss", way=way)


def at_batch(logits: Any, target: Any, loss_fn: Callable[..., Any] | None, maker: str | None = None) -> Look:
    """What a loss function is about to be given; then its loss, computed on a copy of the wiring."""
    if loss_fn is None or not callable(loss_fn):
        raise OptionError(
            "loss_fn has to be the loss function that takes the logits and the target, such as "
            f"torch.nn.CrossEntropyLoss(): got {type(loss_fn).__name__}."
        )
    known = loss_function(loss_fn)
    batch = Batch(logits, target, known, maker=maker)
    findings: list[Finding] = []
    if known.kind != "unknown":
        findings += _checked(batch)
        if any(finding.severity == "error" for finding in findings):
            return findings, [], None  # the loss would raise, or on a GPU end the process
    if not readable_inputs(logits, target):
        return findings, [reason("values")], None
    try:
        with torch.enable_grad(), _Warned(findings):
            leaf = logits if logits.requires_grad else _leaf(logits)
            value = loss_fn(leaf, target)
    except Exception as error:  # noqa: BLE001 - whatever the user's function raises is what is to be explained
        told = list(error_texts.findings(str(error)))
        said = [] if told or findings else [reason("raised", type=type(error).__name__, text=str(error)[:300])]
        return [*findings, *told], said, None
    return _with_value(replace(batch, given=leaf, value=value), findings)


def readable_inputs(logits: Any, target: Any) -> bool:
    """Whether the values can be read; targets may be no tensors where the function is the user's own."""
    return readable(logits) and (not isinstance(target, Tensor) or readable(target))


def _leaf(logits: Tensor) -> Tensor:
    leaf = logits.detach()
    return leaf.requires_grad_() if leaf.is_floating_point() else leaf


def _checked(batch: Batch) -> list[Finding]:
    """The rules of a batch; where no more than its shapes can be read, these."""
    return list(run("batch", batch)) if isinstance(batch.given, Tensor) else only_shapes(batch)


def only_shapes(batch: Batch) -> list[Finding]:
    """The rule that needs no tensor: LL208."""
    from lastlayer.diagnosis.families.shapes import not_a_tensor

    return list(not_a_tensor(batch))


def _with_value(batch: Batch, before: list[Finding]) -> Look:
    value = batch.value
    if not isinstance(value, Tensor):
        return before, [reason("no_tensor", type=type(value).__name__)], None
    if value.grad_fn is None:
        return [*before, *run("batch", batch)], [reason("no_graph", detail="")], None
    wiring = graph.read(value)
    findings = list(before)
    for term in wiring.terms:
        if term.kind == batch.kind and len(wiring.terms) == 1:
            seen = replace(batch, term=term)
            findings = [*run("batch", seen), *run("term", replace(seen, given=_of_graph(term, batch.given)))]
        else:
            findings += _of_term(term, value)
    obstacles = _obstacles(wiring)
    if all(term.end in ("leaf", "hidden") and not term.path for term in wiring.terms) and batch.maker is None:
        obstacles += [] if _enough(batch) else [reason("few")]
    return findings, obstacles, _looked(wiring)


def _of_graph(term: Term, given: Any) -> Any:
    return given if term.given is None or term.given.shape != given.shape else term.given


def _enough(batch: Batch) -> bool:
    """Whether the values themselves say that they are logits: some lie outside [0, 1]."""
    given = batch.given.detach()
    if batch.kind in ("bce", "nll", "kl_div", "mse"):
        return True
    return bool(((given < 0) | (given > 1)).any())


def at_model(model: Any, batch: Any, loss_fn: Callable[..., Any] | None) -> Look:
    """A model run once on a batch, its buffers and the random numbers put back."""
    if not callable(model):
        raise DtypeError(f"model has to be callable, got {type(model).__name__}.")
    inputs, target = _split(batch)
    grad = torch.is_grad_enabled()
    warned: list[Finding] = []
    with Calls() as calls, _untouched(model), _Warned(warned):
        try:
            output = model(**inputs) if isinstance(inputs, Mapping) else model(inputs)
        except Exception as error:  # noqa: BLE001 - whatever the user's model raises is what is to be explained
            told = [*warned, *error_texts.findings(str(error))]
            told += list(run("model", Model(model, inputs, target, None, grad)))
            said = [] if told else [reason("model_raised", type=type(error).__name__, text=str(error)[:300])]
            return told, said, None
    known = None if loss_fn is None else loss_function(loss_fn)
    own_loss = getattr(output, "loss", None)
    findings = [*warned, *run("model", _model(model, inputs, target, output, grad, None))]
    if loss_fn is None:
        if not isinstance(own_loss, Tensor):
            return findings, [reason("no_loss_fn")], None
        more, reasons, looked = at_loss(own_loss)
        return [*findings, *more], reasons, looked
    more, reasons, looked = at_batch(output, target, loss_fn, calls.maker(output))
    if reasons:
        findings += list(run("model", _model(model, inputs, target, output, grad, known)))
    return [*findings, *more], reasons, looked


def _model(module: Any, inputs: Any, target: Any, output: Any, grad: bool, known: LossFunction | None) -> Model:
    return Model(module, inputs, target, output, grad, known)


def _split(batch: Any) -> tuple[Any, Any]:
    if isinstance(batch, Mapping):
        return batch, batch.get("labels")
    if isinstance(batch, (tuple, list)) and len(batch) == 2:
        return batch[0], batch[1]
    raise OptionError(
        f"batch has to be (inputs, target) or a mapping as the model takes it, got {type(batch).__name__}."
    )


class _Warned:
    """Read the warnings of a block: those that a rule knows become findings, the others are given on."""

    def __init__(self, findings: list[Finding]) -> None:
        self.findings = findings
        self.caught = warnings.catch_warnings(record=True)

    def __enter__(self) -> None:
        self.seen = self.caught.__enter__()
        warnings.simplefilter("always")

    def __exit__(self, *why: Any) -> None:
        self.caught.__exit__(*why)
        for one in self.seen or []:
            told = list(error_texts.findings(str(one.message)))
            self.findings += told
            if not told:
                warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)


class _untouched:  # noqa: N801 - used as a function: `with _untouched(model):`
    """Put back what running a model changes: its buffers, and the state of the random numbers."""

    def __init__(self, model: Any) -> None:
        self.module = model if isinstance(model, nn.Module) else None

    def __enter__(self) -> None:
        buffers = [] if self.module is None else self.module.named_buffers()
        self.buffers = {name: copy.deepcopy(buffer.detach()) for name, buffer in buffers}
        devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
        self.random = torch.random.fork_rng(devices)
        self.random.__enter__()

    def __exit__(self, *why: Any) -> None:
        self.random.__exit__(*why)
        if self.module is None:
            return
        with torch.no_grad():
            for name, buffer in self.module.named_buffers():
                if name in self.buffers and readable(buffer):
                    buffer.copy_(self.buffers[name])
