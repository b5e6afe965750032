"""Every rule: its code, its name, how sure it is, and where it looks. The checks register themselves here."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from lastlayer.errors import OptionError, did_you_mean

CERTAIN, LIKELY, POSSIBLE = "certain", "likely", "possible"
SEVERITY = {CERTAIN: "error", LIKELY: "warning", POSSIBLE: "info"}
# Where a rule can look.
DETECTORS = {"G": "graph", "M": "modules", "B": "batch", "E": "error", "C": "curve", "S": "source", "W": "watch"}


@dataclass(frozen=True)
class Rule:
    """What the catalogue says of a rule; a finding may be less sure than its rule, never surer."""

    code: str
    name: str
    confidence: str
    detects: str
    info: bool = False  # told, not blamed, however certain
    safe: bool = False  # the fix changes nothing but the mistake

    @property
    def severity(self) -> str:
        """error, warning or info."""
        return "info" if self.info else SEVERITY[self.confidence]


_TABLE = [
    # 0 pairing
    Rule("LL001", "softmax-before-cross-entropy", CERTAIN, "GMBSW"),
    Rule("LL002", "sigmoid-before-bce-with-logits", CERTAIN, "GMBSW"),
    Rule("LL003", "nll-without-log", CERTAIN, "GBSW"),
    Rule("LL004", "logits-into-bce", CERTAIN, "GBEW"),
    Rule("LL005", "softmax-for-multi-label", CERTAIN, "GBW"),
    Rule("LL006", "bce-for-exclusive-classes", POSSIBLE, "B"),
    Rule("LL007", "softmax-of-one-unit", CERTAIN, "GBSW"),
    Rule("LL008", "relu-on-logits", CERTAIN, "GMSW"),
    Rule("LL009", "log-softmax-before-cross-entropy", CERTAIN, "GSW", info=True, safe=True),
    Rule("LL010", "sigmoid-before-cross-entropy", CERTAIN, "GMSW"),
    # 1 targets
    Rule("LL101", "index-out-of-range", CERTAIN, "BEW"),
    Rule("LL102", "index-dtype", CERTAIN, "BEW", safe=True),
    Rule("LL103", "target-column", CERTAIN, "BEW", safe=True),
    Rule("LL104", "integer-one-hot", CERTAIN, "BEW", safe=True),
    Rule("LL105", "labels-start-at-one", CERTAIN, "BW"),
    Rule("LL106", "void-label-not-ignored", CERTAIN, "BEW"),
    Rule("LL107", "ignored-class", LIKELY, "BGW"),
    Rule("LL108", "float-one-hot", CERTAIN, "BEW", info=True, safe=True),
    Rule("LL109", "binary-target-out-of-range", CERTAIN, "BW"),
    Rule("LL110", "soft-target-sum", CERTAIN, "BW"),
    Rule("LL111", "hand-written-smoothing", CERTAIN, "BW"),
    Rule("LL112", "mixed-labels-into-index-loss", CERTAIN, "BW"),
    Rule("LL113", "class-maps-differ", CERTAIN, "B"),
    # 2 shape and dim
    Rule("LL201", "softmax-without-dim", CERTAIN, "SEW", safe=True),
    Rule("LL202", "softmax-over-batch", CERTAIN, "GBW"),
    Rule("LL203", "classes-not-second", CERTAIN, "BEW"),
    Rule("LL204", "view-for-permute", POSSIBLE, "GS"),
    Rule("LL205", "batch-sizes-differ", CERTAIN, "BEW"),
    Rule("LL206", "mask-with-channel", CERTAIN, "BEW", safe=True),
    Rule("LL207", "column-against-row", CERTAIN, "BEGW"),
    Rule("LL208", "not-a-tensor", CERTAIN, "BESW"),
    # 3 numerics
    Rule("LL301", "bce-under-autocast", LIKELY, "SE"),
    Rule("LL302", "all-targets-ignored", CERTAIN, "BW"),
    Rule("LL303", "log-of-softmax", CERTAIN, "GSW"),
    Rule("LL304", "eps-vanishes", CERTAIN, "GS"),
    Rule("LL305", "row-of-minus-infinity", CERTAIN, "BW"),
    Rule("LL306", "infinite-logit", CERTAIN, "BW"),
    Rule("LL307", "half-precision-overflow", CERTAIN, "BW"),
    # 4 reduction and weights
    Rule("LL401", "mean-of-unequal-means", LIKELY, "SW"),
    Rule("LL402", "focal-on-reduced-loss", CERTAIN, "GSW"),
    Rule("LL403", "weight-cancels", CERTAIN, "BW"),
    Rule("LL404", "weight-and-smoothing", POSSIBLE, "BSW"),
    Rule("LL405", "weight-for-pos-weight", POSSIBLE, "BS"),
    Rule("LL406", "kl-div-arguments", CERTAIN, "GBESW"),
    Rule("LL407", "weight-dtype-or-size", CERTAIN, "BEW"),
    # 5 loop and curve
    Rule("LL501", "zero-grad-missing", LIKELY, "SW"),
    Rule("LL502", "validation-in-training-mode", CERTAIN, "BSW"),
    Rule("LL503", "argmax-in-training", CERTAIN, "BGESW"),
    Rule("LL504", "first-loss-too-high", POSSIBLE, "C"),
    Rule("LL505", "growing-overconfidence", POSSIBLE, "C"),
    Rule("LL506", "flat-loss", POSSIBLE, "C"),
    # 6 metrics and decisions
    Rule("LL601", "metric-guesses-sigmoid", LIKELY, "S"),
    Rule("LL602", "half-as-logit-threshold", LIKELY, "S"),
    # 7 language models
    Rule("LL701", "labels-shifted-wrongly", LIKELY, "B"),
    Rule("LL702", "end-of-text-masked", LIKELY, "BS"),
    Rule("LL703", "perplexity-of-means", LIKELY, "S"),
    Rule("LL704", "temperature-too-small", CERTAIN, "ES"),
    # 8 frameworks
    Rule("LL803", "num-labels-mismatch", CERTAIN, "MB"),
]
RULES = {rule.code: rule for rule in _TABLE}

Check = Callable[[Any], Iterable[Any]]
_CHECKS: dict[str, list[Check]] = {}
_FAMILIES = (
    "pairing", "pairing_source", "targets", "shapes", "shapes_source", "numerics", "reduction", "numerics_source",
    "loop", "loop_source", "metrics", "language", "language_source", "frameworks",
)  # fmt: skip


def check(kind: str) -> Callable[[Check], Check]:
    """Register a function that looks at one kind of evidence and yields findings."""

    def register(function: Check) -> Check:
        _CHECKS.setdefault(kind, []).append(function)
        return function

    return register


def run(kind: str, evidence: Any) -> Iterator[Any]:
    """Every finding of every check of this kind."""
    for family in _FAMILIES:
        import_module(f"lastlayer.diagnosis.families.{family}")
    for function in _CHECKS.get(kind, []):
        yield from function(evidence)


def chosen(select: str | Iterable[str] | None, ignore: str | Iterable[str] | None) -> frozenset[str]:
    """The codes that `select` keeps and `ignore` does not drop; both hold codes or their beginnings.

    >>> sorted(chosen("LL70", "LL702"))
    ['LL701', 'LL703', 'LL704']
    """
    wanted, unwanted = _prefixes(select), _prefixes(ignore)
    return frozenset(
        code
        for code in RULES
        if (not wanted or any(map(code.startswith, wanted))) and not any(map(code.startswith, unwanted))
    )


def _prefixes(given: str | Iterable[str] | None) -> list[str]:
    parts = [given] if isinstance(given, str) else list(given or ())
    prefixes = [prefix.strip().upper() for part in parts for prefix in str(part).split(",") if prefix.strip()]
    for prefix in prefixes:
        if not any(code.startswith(prefix) for code in RULES):
            raise OptionError(
                f"{prefix!r} is no rule and the beginning of none: rules are LL001 to LL803."
                f"{did_you_mean(prefix, RULES)}"
            )
    return prefixes
