"""What is measured: an operation, a shape and a dtype, and what it costs at the least."""

from dataclasses import asdict, dataclass
from typing import Any

from lastlayer.errors import OptionError, did_you_mean

FORWARD = ("softmax", "log_softmax", "sigmoid", "logit")
LINEAR = ("linear_cross_entropy", "linear_binary_cross_entropy")
BYTES = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}
_SHORT = {
    "cross_entropy": "ce",
    "binary_cross_entropy_with_logits": "bce",
    "linear_cross_entropy": "linear-ce",
    "linear_binary_cross_entropy": "linear-bce",
}
_DTYPES = {"float32": "", "bfloat16": "-bf16", "float16": "-fp16", "float64": "-fp64"}


@dataclass(frozen=True)
class Case:
    """One operation on one shape. Losses are forward and backward, the other functions forward only."""

    operation: str  # a name of lastlayer.functional
    rows: int
    classes: int
    features: int = 0  # of the linear losses
    dtype: str = "float32"
    reused: bool = False  # results land in memory that the process has used before: no page faults

    @property
    def name(self) -> str:
        """How the case is called: ce-2048x32000-bf16."""
        shape = f"{self.rows}x{self.features}x{self.classes}" if self.features else f"{self.rows}x{self.classes}"
        operation = _SHORT.get(self.operation, self.operation.replace("_", "-"))
        return f"{operation}-{shape}{_DTYPES[self.dtype]}{'-reused' if self.reused else ''}"

    @property
    def forward_only(self) -> bool:
        """No gradient is asked for."""
        return self.operation in FORWARD

    @property
    def logits_bytes(self) -> int:
        """Size of the rows × classes logits."""
        return self.rows * self.classes * BYTES[self.dtype]

    @property
    def weight_bytes(self) -> int:
        """Size of the linear map."""
        return self.features * self.classes * BYTES[self.dtype]

    @property
    def bytes(self) -> int:
        """The least memory traffic: each input read once, each result written once."""
        if self.features:
            return 2 * (self.weight_bytes + self.rows * self.features * BYTES[self.dtype])
        return 2 * self.logits_bytes

    @property
    def flops(self) -> int:
        """Of the three products of a linear loss; else subtract, exp, add and scale per logit, exp counted as one."""
        return 6 * self.rows * self.classes * self.features if self.features else 4 * self.rows * self.classes

    @property
    def isolated(self) -> bool:
        """Runs in a process of its own: a memory of its own kind, or so large that it may not fit."""
        return self.reused or self.rows * self.classes > 2**30

    def needs(self, *, holds_logits: bool) -> int:
        """Bytes that a run takes at its peak, about: inputs, gradients, what the judge holds, the logits if held."""
        held = 4 * self.logits_bytes if holds_logits else 0
        target = self.logits_bytes if self.operation == "binary_cross_entropy_with_logits" else 0
        own = 4 * self.weight_bytes if self.features else self.logits_bytes
        return own + target + held + 2**29

    def to_dict(self) -> dict[str, Any]:
        """As JSON, with what it costs."""
        return {"name": self.name, **asdict(self), "bytes": self.bytes, "flops": self.flops}

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> "Case":
        """The other way."""
        return cls(**{name: found[name] for name in cls.__dataclass_fields__})


_DENSE = ((2048, 32_000), (512, 128_256), (8192, 1000), (65_536, 10), (64, 1_000_000))
_SMALL = ((1, 2), (64, 5), (256, 10), (1024, 100))
_LOSSES = ("cross_entropy", "binary_cross_entropy_with_logits")
# The short run, in its order: what takes longest comes last.
QUICK = (
    "ce-64x5",
    "ce-8192x1000",
    "softmax-640x32000",
    "linear-ce-1024x256x8000",
    "ce-640x32000",
    "bce-640x32000",
)


def _all() -> list[Case]:
    halves = ("float32", "bfloat16")
    found = [Case(loss, *shape, dtype=dtype) for loss in _LOSSES for shape in _DENSE for dtype in halves]
    found += [
        Case(name, 2048, 32_000, dtype=dtype, reused=reused)
        for name in FORWARD
        for dtype in halves
        for reused in (False, True)
    ]
    found += [Case(name, *shape) for name in (*_LOSSES, *FORWARD) for shape in _SMALL]
    found += [Case("linear_cross_entropy", 2048, 32_000, 512, dtype) for dtype in halves]
    found += [
        Case("linear_binary_cross_entropy", 2048, 32_000, 512),
        Case("linear_cross_entropy", 1024, 3_000_000, 128),
    ]
    found += [Case(name, 640, 32_000) for name in (*_LOSSES, "softmax")]
    found += [Case("linear_cross_entropy", 1024, 8000, 256)]
    return found


CASES: dict[str, Case] = {case.name: case for case in _all()}


def chosen(names: list[str] | None = None, *, quick: bool = False) -> list[Case]:
    """Cases by name or by the beginning of their names; all of them, or the short list.

    >>> [case.name for case in chosen(["ce-64x5"])]
    ['ce-64x5']

    Raises:
        OptionError: a name fits no case.
    """
    if not names:
        return [CASES[name] for name in QUICK] if quick else list(CASES.values())
    found: dict[str, Case] = {}
    for name in names:
        fits = [CASES[name]] if name in CASES else [case for case in CASES.values() if case.name.startswith(name)]
        if not fits:
            raise OptionError(
                f"there is no case {name!r}.{did_you_mean(name, CASES)} `lastlayer bench --list` shows them all."
            )
        found |= {case.name: case for case in fits}
    return list(found.values())
