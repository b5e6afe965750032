"""The page of a rule: for the terminal, and for the documentation. Both are made of the same texts."""

import torch

from lastlayer import messages
from lastlayer.diagnosis.registry import DETECTORS, RULES, Rule
from lastlayer.diagnosis.report import Selection
from lastlayer.errors import OptionError, did_you_mean
from lastlayer.explanation import Trace, explain

FAMILIES = {
    "0": ("Pairing", "activation and loss"),
    "1": ("Targets", "what the loss is told to expect"),
    "2": ("Shapes", "axes and sizes"),
    "3": ("Numerics", "what the dtype can hold"),
    "4": ("Reduction and weights", "what is divided by what"),
    "5": ("Loop and curve", "training as it goes"),
    "6": ("Metrics and decisions", "after the model"),
    "7": ("Language models", "tokens, labels, perplexity"),
    "8": ("Frameworks", "what they are told"),
}
_LOGITS = [4.0, 2.0, -2.0]
# What the mistake makes of the logits before the loss sees them.
_MISTAKES = {
    "LL001": lambda z: z.softmax(0),
    "LL008": lambda z: z.relu(),
    "LL009": lambda z: z.log_softmax(0),
    "LL010": lambda z: z.sigmoid(),
}


def rule_of(code: str) -> Rule:
    """The rule of a code, or the nearest word to it."""
    rule = RULES.get(code.upper()) or next((rule for rule in RULES.values() if rule.name == code), None)
    if rule is None:
        names = [*RULES, *(rule.name for rule in RULES.values())]
        raise OptionError(f"there is no rule {code!r}: rules are LL001 to LL803.{did_you_mean(code, names)}")
    return rule


def markdown(code: str, language: str = "en") -> str:
    """The page of a rule."""
    rule = rule_of(code)
    said = _Texts(rule, language)
    where = ", ".join(messages.text(f"doctor.detector.{DETECTORS[letter]}", language) for letter in rule.detects)
    lines = [
        f"# {rule.code}: {said('title')}",
        "",
        f"`{rule.name}`",
        "",
        f"- {said.label('heading.severity')}: {said.label(rule.severity)}",
        f"- {said.label('heading.confidence')}: {said.label(rule.confidence)}",
        f"- {said.label('detected_in')}: {where}",
        "",
        said("why"),
        "",
        f"**{said.label('expected')}**: {said('expected')}",
        "",
        f"**{said.label('fix')}**: {said('fix')}",
        "",
    ]
    return "\n".join(lines)


class _Texts:
    """The texts of a rule, what a finding would fill in left as an ellipsis."""

    def __init__(self, rule: Rule, language: str) -> None:
        self.rule, self.language = rule, language

    def __call__(self, part: str) -> str:
        values = dict.fromkeys(("rows", "classes", "value", "last", "place", "better", "counts"), "…")
        values["last"] = "C − 1"
        return messages.text(f"{self.rule.code}.{part}", self.language, **values)

    def label(self, name: str) -> str:
        return messages.text(f"doctor.{name}", self.language)


def traces(code: str) -> tuple[Trace, Trace] | None:
    """The same row without the mistake and with it; None for a rule that is about no row."""
    code = rule_of(code).code
    if code == "LL002":
        wrong = torch.tensor(_LOGITS[0]).sigmoid().item()
        return explain(_LOGITS[0], 1, kind="binary"), explain(wrong, 1, kind="binary")
    if code not in _MISTAKES:
        return None
    z = torch.tensor(_LOGITS, dtype=torch.float64)
    return explain(z, 0), explain(_MISTAKES[code](z), 0)


def table(select: Selection = None, language: str = "en") -> list[tuple[str, str, str, str]]:
    """Code, severity, confidence and title of every rule chosen."""
    from lastlayer.diagnosis.registry import chosen

    kept = chosen(select, None)
    return [
        (
            rule.code,
            messages.text(f"doctor.{rule.severity}", language),
            messages.text(f"doctor.{rule.confidence}", language),
            messages.text(f"{rule.code}.title", language),
        )
        for rule in RULES.values()
        if rule.code in kept
    ]
