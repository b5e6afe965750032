"""Which rule an error message or a warning belongs to: patterns per rule, with the versions they were seen in.

The texts are PyTorch's; `tests/diagnosis/test_errors.py` provokes each of them in the installed version.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lastlayer.diagnosis.finding import Finding, found
from lastlayer.diagnosis.registry import LIKELY, RULES
from lastlayer.diagnosis.said import say
from lastlayer.messages import Message


@dataclass(frozen=True)
class Pattern:
    """A text and the rule that it speaks for.

    Attributes:
        code: The rule.
        regex: Of the message; groups are passed to the rule's text.
        seen: The oldest and the newest release of PyTorch that it was seen in.
        variant: Of the rule's fix.
        confidence: None for the rule's own.
    """

    code: str
    regex: str
    seen: tuple[str, str] = ("2.11", "2.15")
    variant: str = ""
    confidence: str | None = None


PATTERNS = [
    Pattern("LL004", r"all elements of input should be between 0 and 1"),
    Pattern("LL004", r"Assertion `?\s*input_val >= zero && input_val <= one"),
    Pattern("LL106", r"Target (?P<value>255|-1) is out of bounds"),
    Pattern("LL101", r"Target -?\d+ is out of bounds"),
    Pattern("LL101", r"Assertion `?\s*(?:cur_target|t) >= 0 && (?:cur_target|t) < n_classes"),
    Pattern("LL101", r"index -?\d+ is out of bounds for dimension 1 with size \d+", confidence=LIKELY),
    Pattern("LL102", r"expected target dtype to be Long or Byte, but got \w+", seen=("2.13", "2.15")),
    Pattern("LL102", r"expected scalar type Long but found (?:Float|Int|Double|Half|Bool)", seen=("1.8", "2.12")),
    Pattern(
        "LL102",
        r'"nll_loss\w*" not implemented for \'(?:Int|Float|Bool|Double|Half|Short|Char)\'',
        seen=("1.8", "2.12"),
    ),
    Pattern("LL102", r'"nll_loss\w*index\w*" not implemented for', seen=("1.8", "2.12")),
    Pattern("LL103", r"0D or 1D target tensor expected, multi-target not supported"),
    Pattern("LL104", r"Expected floating point type for target with class probabilities, got \w+"),
    Pattern("LL108", r"ignore_index is not supported for floating point target"),
    Pattern("LL201", r"Implicit dimension choice for (?:log_)?soft(?:max|min) has been deprecated"),
    Pattern("LL203", r"Expected target size \[\d+(?:, \d+)+\], got \[\d+(?:, \d+)+\]"),
    Pattern("LL205", r"Expected input batch_size \((?P<rows>\d+)\) to match target batch_size \((?P<targets>\d+)\)"),
    Pattern(
        "LL206", r"only batches of spatial targets supported \(3D tensors\) but got targets of (?:dimension|size):?"
    ),
    Pattern("LL207", r"Target size \(torch\.Size\(\[[\d, ]*\]\)\) must be the same as input size"),
    Pattern("LL207", r"Using a target size \(torch\.Size\(\[[\d, ]*\]\)\) that is different to the input size"),
    Pattern("LL208", r"argument 'target' \(position \d+\) must be Tensor, not \w+", variant="target"),
    Pattern("LL208", r"argument 'input' \(position \d+\) must be Tensor, not (?:\w*Output\w*)", variant="logits"),
    Pattern("LL208", r"argument 'input' \(position \d+\) must be Tensor, not [\w.]+"),
    Pattern("LL208", r"'(?:tuple|list)' object has no attribute '(?:size|log_softmax|dim)'", confidence=LIKELY),
    Pattern("LL301", r"binary_cross_entropy and torch\.nn\.BCELoss are unsafe to autocast"),
    Pattern(
        "LL406", r"reduction: 'mean' divides the total loss by both the batch size and the support size", variant="mean"
    ),
    Pattern("LL407", r"weight tensor should be defined either for all \d+ classes or no classes"),
    Pattern(
        "LL407",
        r"expected scalar type (?:Float|Half|BFloat16) but found (?:Double|Long|Int|Half)",
        variant="dtype",
        confidence=LIKELY,
    ),
    Pattern("LL503", r"element 0 of tensors does not require grad and does not have a grad_fn"),
    Pattern("LL704", r"probability tensor contains either `?inf`?, `?nan`? or element < 0"),
    Pattern("LL704", r"Assertion `?\s*probability tensor contains"),
]
_COMPILED = [(pattern, re.compile(pattern.regex)) for pattern in PATTERNS]


def findings(text: str) -> Iterator[Finding]:
    """What the last message of a traceback says; the first rule that knows it."""
    for pattern, regex in _COMPILED:
        hit = regex.search(text)
        if hit is None:
            continue
        sizes = {name: int(value) for name, value in hit.groupdict().items()}
        fix = pattern.variant
        if pattern.code == "LL205" and _is_multiple(sizes):
            fix, sizes = "one_hot", {**sizes, "classes": sizes["targets"] // sizes["rows"]}
        observed: Message = say("doctor.observed.error", text=_line_of(text, hit.start()))
        values: dict[str, Any] = {"value": "", "last": "C − 1", "place": 0, **sizes}
        yield found(pattern.code, observed, fix=fix, confidence=_sure(pattern), **values)
        return


def _sure(pattern: Pattern) -> str:
    return pattern.confidence or RULES[pattern.code].confidence


def _is_multiple(sizes: dict[str, int]) -> bool:
    rows, targets = sizes.get("rows", 0), sizes.get("targets", 0)
    return rows > 0 and targets > rows and targets % rows == 0


def _line_of(text: str, place: int) -> str:
    start = text.rfind("\n", 0, place) + 1
    end = text.find("\n", place)
    return text[start : end if end >= 0 else len(text)].strip()[:300]
