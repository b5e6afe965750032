"""What a table of cases is, and how a rule is held to it."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from lastlayer import doctor
from lastlayer.diagnosis import Finding, Report
from lastlayer.diagnosis.registry import RULES
from lastlayer.diagnosis.source import examine
from tests.diagnosis.planted import CERTAIN, codes

Ask = Callable[[], Report]
SURE = ("certain", "likely", "possible")


class Case(NamedTuple):
    """Where a rule speaks, where it is silent though it is close, and where it cannot tell."""

    positive: dict[str, Ask]
    near_miss: dict[str, Ask]
    cannot_tell: dict[str, Ask]


def table(cases: dict[str, Case]) -> tuple[Callable[..., None], Callable[..., None], Callable[..., None]]:
    """The three tests of a table."""

    @pytest.mark.parametrize(("code", "name"), _parameters(cases, "positive"))
    def test_speaks(code: str, name: str) -> None:
        report = cases[code].positive[name]()
        assert code in codes(report), report.text()
        for finding in (one for root in report for one in (root, *root.consequences) if one.code == code):
            _is_whole(finding)
        assert code in report.text("ko")
        assert code in str(report.to_dict())

    @pytest.mark.parametrize(("code", "name"), _parameters(cases, "near_miss"))
    def test_is_silent_at_a_near_miss(code: str, name: str) -> None:
        report = cases[code].near_miss[name]()
        assert code not in codes(report), report.text()

    @pytest.mark.parametrize(("code", "name"), _parameters(cases, "cannot_tell"))
    def test_cannot_tell(code: str, name: str) -> None:
        report = cases[code].cannot_tell[name]()
        assert code not in codes(report), report.text()
        assert report.verdict == "cannot tell", report.text()

    return test_speaks, test_is_silent_at_a_near_miss, test_cannot_tell


def _parameters(cases: dict[str, Case], part: str) -> list[tuple[str, str]]:
    assert all(getattr(case, part) for case in cases.values())
    return [(code, name) for code, case in cases.items() for name in getattr(case, part)]


def _is_whole(finding: Finding) -> None:
    rule = RULES[finding.code]
    assert finding.name == rule.name
    assert finding.severity == ("info" if rule.info else finding.severity)
    assert SURE.index(finding.confidence) >= SURE.index(rule.confidence)  # never surer than its rule
    texts = (finding.message, finding.evidence.observed, finding.evidence.expected, finding.why, finding.fix.text)
    for said in texts:
        for language in ("en", "ko"):
            assert said.into(language)
            assert "{" not in said.into(language)


def planted(code: str) -> dict[str, Ask]:
    """The planted mistakes of a rule, over a linear layer."""
    return {f"planted {place}": lambda plant=plant: plant(logits()) for place, plant in enumerate(CERTAIN[code])}


def source(text: str, folder: Path | None = None) -> Report:
    """What the doctor says of a source file with this text, imports added."""
    import tempfile

    head = "import math\nimport torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n"
    with tempfile.TemporaryDirectory(dir=folder) as where:
        path = Path(where) / "user.py"
        path.write_text(head + text)
        return examine([path])


def compiled(build: Callable[[Tensor], Tensor]) -> Report:
    """A loss whose operations hide in compiled code."""
    torch._dynamo.reset()
    logits = torch.randn(24, 5, requires_grad=True)
    return doctor(torch.compile(build, backend="aot_eager")(logits))


def without_graph(build: Callable[[Tensor], Tensor]) -> Report:
    with torch.no_grad():
        return doctor(build(torch.randn(24, 5)))


def dropped(z: Tensor) -> Tensor:
    """Dropout in its plain form: a product with a mask."""
    return nn.functional.dropout(z, 0.5)


def on_meta(target: Tensor, loss_fn: Callable[..., Tensor], shape: tuple[int, ...] = (24, 5)) -> Report:
    """Tensors without values."""
    return doctor(logits=torch.empty(shape, device="meta"), target=target.to("meta"), loss_fn=loss_fn)


def unknown_error(text: str) -> Report:
    return doctor(error=f"RuntimeError: {text}")


LINEAR = nn.Linear(7, 5)


def logits(rows: int = 24) -> Tensor:
    """Of a linear layer, with a graph."""
    generator = torch.Generator().manual_seed(3)
    return LINEAR(torch.randn(rows, 7, generator=generator))
