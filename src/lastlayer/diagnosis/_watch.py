"""Looks over a training's shoulder: the same rules, where the mistakes happen, and never in the way.

The functions that it listens to are replaced while the block runs, each by one that calls the original with the same
arguments. After a place in the user's code was looked at a few times, nothing but that call is left.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the field's name for it
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from lastlayer.diagnosis import error_texts, looking
from lastlayer.diagnosis.evidence import Batch
from lastlayer.diagnosis.finding import Finding, Location, found
from lastlayer.diagnosis.loss_functions import LossFunction, loss_function, with_keywords
from lastlayer.diagnosis.registry import LIKELY, run
from lastlayer.diagnosis.report import Report, Selection, reason
from lastlayer.diagnosis.said import say
from lastlayer.diagnosis.training import Training
from lastlayer.messages import Message

_LOSSES = (
    "cross_entropy", "nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits", "kl_div", "mse_loss",
)  # fmt: skip
_SOFTMAXES = ("softmax", "log_softmax", "softmin")
_LOOKS = 2  # at each place: the first, and one more; a cost per call would add up
_OWN = __name__.rsplit(".", 1)[0]


class watch:  # noqa: N801 - used as a function: `with watch():`
    """Watch a training: `with lastlayer.watch() as report:`.

    Every loss, backward and optimizer step of the block is looked at the first times it comes from a place in the
    code. Nothing that is computed changes, no random number is drawn, and no exception of the block is swallowed: one
    that a rule knows is explained in the report.

    Args:
        select: Codes or beginnings of codes to keep.
        ignore: Codes or beginnings of codes to drop.
        language: "en" or "ko".
        show: Print the findings to standard error when the block ends.

    Returns:
        On entering: a report that fills while the block runs.

    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Softmax(1))
    >>> with watch(show=False) as report:
    ...     torch.nn.functional.cross_entropy(model(torch.ones(4, 2)), torch.tensor([0, 1, 2, 0])).backward()
    >>> report.codes
    ['LL001']
    """

    def __init__(
        self, *, select: Selection = None, ignore: Selection = None, language: str = "en", show: bool = True
    ) -> None:
        self._options: dict[str, Any] = {"select": select, "ignore": ignore, "language": language}
        self._show = show
        self.report = Report(**self._options)
        self._findings: list[Finding] = []
        self._reasons: list[Message] = []
        self._looks: dict[tuple[str, int, str], int] = {}
        self._training = Training()
        self._undo: list[Callable[[], None]] = []
        self._unequal: Finding | None = None  # told in the end, when it is known that there is one optimizer only
        self._inside = False
        self._losses = 0

    def __enter__(self) -> Report:
        for name in _LOSSES:
            self._replace(F, name, self._around_loss)
        for name in _SOFTMAXES:
            self._replace(F, name, self._around_softmax)
        for name in ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "batch_norm"):
            self._replace(F, name, self._around_mode)
        self._replace(Tensor, "backward", self._around_backward)
        self._replace(torch.optim.Optimizer, "zero_grad", self._around_clearing)
        self._replace(torch.nn.Module, "zero_grad", self._around_clearing)
        before = register_optimizer_step_pre_hook(self._before_step)
        after = register_optimizer_step_post_hook(self._after_step)
        self._undo += [before.remove, after.remove]
        return self.report

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        while self._undo:
            self._undo.pop()()
        if isinstance(error, Exception):
            known = list(error_texts.findings(str(error)))
            self._findings += [one for one in known if one.code not in {other.code for other in self._findings}]
            self._reasons.append(reason("ended", type=type(error).__name__))
        if self._unequal is not None and self._training.optimizers == 1:
            self._findings.append(self._unequal)
        if not self._losses:
            self._reasons.append(reason("nothing_watched"))
        looked = say("doctor.looked.watch", losses=self._losses, steps=self._training.steps)
        self.report.fill(self._findings, self._reasons, looked)
        if self._show and self.report.findings:
            sys.stderr.write(f"{self.report}\n")

    def _replace(self, owner: Any, name: str, around: Callable[[Callable[..., Any], str], Callable[..., Any]]) -> None:
        original = getattr(owner, name)
        replacement = around(original, name)
        replacement.__name__, replacement.__doc__ = name, original.__doc__
        replacement.__module__ = getattr(original, "__module__", "")
        setattr(owner, name, replacement)
        self._undo.append(lambda: setattr(owner, name, original))

    def _around_loss(self, original: Callable[..., Any], name: str) -> Callable[..., Any]:
        known = loss_function(original)

        def call(*args: Any, **kwargs: Any) -> Any:
            if torch.compiler.is_compiling() or self._inside:
                return original(*args, **kwargs)
            place = self._place(name)
            self._losses += 1
            if place is not None:
                self._look_before(place, known, args, kwargs)
            result = original(*args, **kwargs)
            self._quietly(lambda: self._look_after(result, place, known, args, kwargs))
            return result

        return call

    def _look_after(
        self, result: Any, place: Location | None, known: LossFunction, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """What the order of events shows once a loss is there."""
        training = self._training
        training.loss(result, args, kwargs, known.ignore_index)
        if not torch.is_grad_enabled() and training.judged_in_training:
            self._once(place, "LL502", "watch", kind=training.judged_in_training)
            training.judged_in_training = ""

    def _look_before(self, place: Location, known: LossFunction, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """What a batch shows before its loss, which may raise."""
        given = args[0] if args else kwargs.get("input")
        target = args[1] if len(args) > 1 else kwargs.get("target")
        loss = with_keywords(known, {**dict(zip(("weight",), args[2:], strict=False)), **kwargs})

        def look() -> None:
            batch = Batch(given, target, loss)
            if isinstance(given, Tensor) and isinstance(target, Tensor):
                # With a graph the values are not asked for what the graph will tell.
                for finding in run("batch", batch):
                    if given.grad_fn is None or finding.confidence != LIKELY:
                        self._keep(finding, place)
            else:
                for finding in looking.only_shapes(batch):
                    self._keep(finding, place)

        self._quietly(look)

    def _around_softmax(self, original: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if not torch.compiler.is_compiling() and not self._inside:
                dim = args[1] if len(args) > 1 else kwargs.get("dim")
                place = self._place(name) if dim is None else None
                if place is not None:
                    self._keep(found("LL201", say("doctor.observed.source", code=f"{name}(...)")), place)
            return original(*args, **kwargs)

        return call

    def _around_mode(self, original: Callable[..., Any], name: str) -> Callable[..., Any]:
        position = 5 if name == "batch_norm" else 2  # of `training` in PyTorch's signatures

        def call(*args: Any, **kwargs: Any) -> Any:
            if not torch.compiler.is_compiling():
                active = args[position] if len(args) > position else kwargs.get("training", name != "batch_norm")
                self._training.mode(name, bool(active), torch.is_grad_enabled())
            return original(*args, **kwargs)

        return call

    def _around_backward(self, original: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(loss: Tensor, *args: Any, **kwargs: Any) -> Any:
            if torch.compiler.is_compiling() or self._inside:
                return original(loss, *args, **kwargs)
            place = self._place(name)
            site = _site()
            self._quietly(lambda: self._before_backward(loss, place, site))
            return original(loss, *args, **kwargs)

        return call

    def _around_clearing(self, original: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(owner: Any, *args: Any, **kwargs: Any) -> Any:
            if not torch.compiler.is_compiling():
                self._training.cleared(owner if isinstance(owner, torch.optim.Optimizer) else None)
            return original(owner, *args, **kwargs)

        return call

    def _before_backward(self, loss: Tensor, place: Location | None, site: tuple[str, int]) -> None:
        if place is not None:
            findings, reasons, _ = looking.at_loss(loss)
            for finding in findings:
                self._keep(finding, place)
            self._reasons += reasons
        self._training.backward(site)

    def _before_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        def look() -> None:
            if trouble := self._training.before_step(optimizer):
                self._once(place, "LL501", trouble)

        if not torch.compiler.is_compiling():
            place = self._place("step")
            self._quietly(look)

    def _after_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        def look() -> None:
            counts, forgotten = self._training.after_step(optimizer)
            if counts and self._unequal is None:
                self._unequal = found("LL401", location=place, counts=counts)
            if forgotten:
                self._once(place, "LL502", "train", confidence=LIKELY)

        if not torch.compiler.is_compiling():
            place = self._place("step")
            self._quietly(look)

    def _once(self, place: Location | None, code: str, variant: str, **values: Any) -> None:
        if code not in {finding.code for finding in self._findings}:
            self._findings.append(found(code, variant, location=place, **values))

    def _keep(self, finding: Finding, place: Location) -> None:
        """A finding of the same rule at the same place is told once; the surer one."""
        placed = replace(finding, location=place)
        same = [other for other in self._findings if other.code == placed.code]
        if not same or (
            all(other.location != place for other in same) and not any(_near(other, place) for other in same)
        ):
            self._findings.append(placed)
        elif placed.confidence == "certain" and same[0].confidence != "certain":
            self._findings[self._findings.index(same[0])] = placed

    def _quietly(self, look: Callable[[], None]) -> None:
        """Whatever looking meets, the training goes on; what went wrong is said in the report."""
        self._inside = True
        try:
            look()
        except Exception as error:  # noqa: BLE001 - a training must not end because somebody looked at it
            self._reasons.append(reason("raised", type=type(error).__name__, text=str(error)[:200]))
        finally:
            self._inside = False

    def _place(self, name: str) -> Location | None:
        """Where in the user's code this is called from; None where it was looked at often enough."""
        file, line = _site()
        looks = self._looks.get((file, line, name), 0)
        if looks >= _LOOKS:
            return None
        self._looks[file, line, name] = looks + 1
        return Location(file, line)


def _site() -> tuple[str, int]:
    """The file and the line of the nearest code that is no library's."""
    frame = sys._getframe(1)
    while frame.f_back is not None and _is_library(frame.f_globals.get("__name__", "")):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


def _is_library(module: str) -> bool:
    return module.split(".")[0] in ("torch", "accelerate", "contextlib", "functools") or module.startswith(
        (_OWN, "lastlayer.nn", "lastlayer.functional")
    )


def _near(finding: Finding, place: Location) -> bool:
    """A loss and its backward are two places of one mistake: within a few lines of one file."""
    other = finding.location
    return other is not None and other.file == place.file and abs(other.line - place.line) <= 10
