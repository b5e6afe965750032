"""The report: its verdict, its order, its forms."""

import json
import string

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import lastlayer
from lastlayer import doctor, messages
from lastlayer.diagnosis import Report, pages
from lastlayer.diagnosis.finding import found
from lastlayer.diagnosis.folding import EXPLAINS
from lastlayer.diagnosis.registry import RULES, chosen
from lastlayer.diagnosis.report import reason
from lastlayer.diagnosis.sarif import to_sarif
from lastlayer.diagnosis.source import examine
from lastlayer.errors import DtypeError, OptionError
from lastlayer.messages import rules_en
from tests.diagnosis import (
    test_loop,
    test_metrics,
    test_numerics,
    test_pairing,
    test_reduction,
    test_shapes,
    test_targets,
)
from tests.diagnosis.cases import logits
from tests.diagnosis.models import target
from tests.diagnosis.planted import CE, batch

FAMILIES = (test_pairing, test_targets, test_shapes, test_numerics, test_reduction, test_loop, test_metrics)


def wrong():
    return doctor(F.cross_entropy(logits().softmax(1), target()))


def test_there_are_58_rules_and_every_one_has_its_cases():
    assert len(RULES) == 58
    cased = [code for family in FAMILIES for code in family.CASES]
    assert sorted(cased) == sorted(RULES)


@pytest.mark.parametrize("code", RULES)
@pytest.mark.parametrize("language", messages.LANGUAGES)
def test_every_rule_has_a_page(code, language):
    page = pages.markdown(code, language)
    assert code in page
    assert "{" not in page
    for part in ("title", "expected", "why", "fix"):
        assert messages.has(f"{code}.{part}")
    assert pages.rule_of(RULES[code].name).code == code
    assert len(messages.text(f"{code}.title", language)) < 70


def test_every_text_of_a_rule_belongs_to_a_rule_and_is_used():
    sources = "".join(path.read_text() for path in _sources())
    for name in rules_en.TEXTS:
        code, _, rest = name.partition(".")
        assert code in RULES
        variant = rest.partition(".")[2]
        # the last word of a variant stands in the check that chooses it
        assert not variant or f'"{variant}"' in sources or variant.split(".")[-1] in sources, name


def _sources():
    from pathlib import Path

    return (Path(lastlayer.__file__).parent / "diagnosis").rglob("*.py")


def test_the_verdict():
    assert wrong().verdict == "findings"
    assert doctor(F.cross_entropy(logits(), target())).verdict == "healthy"
    assert doctor(F.cross_entropy(logits().detach(), target())).verdict == "cannot tell"
    # a note is told without being blamed
    noted = doctor(F.cross_entropy(logits().log_softmax(1), target()))
    assert (noted.verdict, [note.code for note in noted.notes]) == ("healthy", ["LL009"])


@pytest.mark.parametrize("report", [Report(), Report([found("LL009")]), Report(reasons=[reason("no_loss")])])
def test_a_report_is_neither_true_nor_false(report):
    with pytest.raises(OptionError, match="verdict"):
        bool(report)


def test_a_report_is_a_sequence_that_prints_itself(capsys):
    report = wrong()
    assert len(report) == 1
    assert [finding.code for finding in report] == ["LL001"] == report.codes
    print(report)  # noqa: T201 - the print is the test
    shown = capsys.readouterr().out
    assert shown == f"{report!r}\n"
    for word in ("LL001", "error (certain)", "observed", "expected", "why", "fix"):
        assert word in shown
    korean = doctor(F.cross_entropy(logits().softmax(1), target()), language="ko")
    assert "교차 엔트로피 앞의 소프트맥스" in str(korean)
    assert max(map(len, shown.splitlines())) <= 100


def test_errors_stand_before_warnings_before_notes():
    report = Report([found("LL009"), found("LL501", "watch"), found("LL102", dtype="int32"), found("LL004")])
    assert report.codes == ["LL004", "LL102", "LL501", "LL009"]


def test_causes_explain_their_consequences():
    for cause, others in EXPLAINS.items():
        assert {cause, *others} <= set(RULES)
    curve = found("LL506", "uniform", level=2.3, last=2.3, classes=10, steps=40)
    report = Report([curve, found("LL001", classes=10, floor=1.461)])
    assert report.codes == ["LL001"]
    assert report[0].consequences[0].code == "LL506"
    assert "LL506" in report.text()


def test_the_surer_of_two_findings_of_one_rule_is_kept():
    report = Report([found("LL004", confidence="likely"), found("LL004")])
    assert [finding.confidence for finding in report] == ["certain"]


def test_selection_by_code_and_beginning():
    loss = F.cross_entropy(logits().softmax(1), target())
    assert doctor(loss, select="LL0").codes == ["LL001"]
    assert doctor(loss, select=["LL1", "LL2"]).codes == []
    assert doctor(loss, ignore="LL001").codes == []
    assert doctor(loss, select="LL0,LL2", ignore=["LL002"]).codes == ["LL001"]
    assert chosen(None, None) == frozenset(RULES)
    with pytest.raises(OptionError, match="LL9"):
        doctor(loss, select="LL9")


@pytest.mark.parametrize("options", [{}, {"logits": 1, "error": "x"}, {"loss": torch.ones(1), "history": [1]}], ids=str)
def test_one_thing_at_a_time(options):
    with pytest.raises(OptionError, match="one thing at a time"):
        doctor(**options)


def test_only_the_loss_is_positional():
    with pytest.raises(TypeError):
        doctor(logits(), target(), CE)


@pytest.mark.parametrize("options", [
    {"loss": 1.5}, {"error": 3}, {"model": "resnet", "batch": (1, 2)}, {"history": 5j, "classes": 2},
    {"class_maps": {"train": 3}},
], ids=str)  # fmt: skip
def test_what_cannot_be_looked_at_is_said(options):
    with pytest.raises(DtypeError):
        doctor(**options)


@pytest.mark.parametrize("loss_fn", [None, "cross_entropy", 3])
def test_a_batch_needs_its_loss_function(loss_fn):
    with pytest.raises(OptionError, match="loss_fn"):
        batch(logits(), target(), loss_fn)


def test_an_unknown_language_is_said():
    with pytest.raises(OptionError, match="language"):
        doctor(F.cross_entropy(logits(), target()), language="fr")


def test_json():
    report = wrong()
    written = json.loads(json.dumps(report.to_dict()))
    assert written["verdict"] == "findings"
    first = written["findings"][0]
    assert set(first) == {
        "code", "name", "severity", "confidence", "message", "evidence", "why", "fix", "location", "consequences",
        "explain_ref",
    }  # fmt: skip
    assert set(first["message"]) == {"en", "ko"}
    assert set(first["evidence"]) == {"observed", "expected"}
    assert set(first["fix"]) == {"text", "diff", "safe"}
    assert first["explain_ref"] == "lastlayer doctor --rule LL001"


def test_sarif(tmp_path):
    path = tmp_path / "bad.py"
    path.write_text("from torch.nn import functional as F\nloss = F.cross_entropy(F.softmax(z, 1), y)\n")
    run = to_sarif(examine([path]))["runs"][0]
    (result,) = run["results"]
    assert result["ruleId"] == run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == "LL001"
    assert result["level"] == "error"
    assert result["locations"][0]["physicalLocation"]["region"]["startLine"] == 2
    broken = tmp_path / "broken.py"
    broken.write_text("def\n")
    notices = to_sarif(examine([broken]))["runs"][0]["invocations"][0]["toolExecutionNotifications"]
    assert "broken.py" in notices[0]["message"]["text"]


def test_traces_of_rules():
    right, wrong_one = pages.traces("LL001")
    assert right.loss == pytest.approx(0.1291, abs=1e-4)
    assert wrong_one.loss > 0.5514  # the floor of three classes
    assert pages.traces("LL002")[1].loss > 0.3133
    assert pages.traces("LL101") is None


def test_the_placeholders_of_pages_are_known():
    known = {"rows", "classes", "value", "last", "place", "better", "counts"}
    for key, text in rules_en.TEXTS.items():
        part = key.partition(".")[2]
        if part in ("title", "expected", "why", "fix"):
            assert {name for _, name, _, _ in string.Formatter().parse(text) if name} <= known


class TestBadInput:
    """Nothing of these may crash."""

    @pytest.mark.parametrize(
        "given", [torch.zeros(0, 5), torch.zeros(3, 0), torch.tensor(1.0), torch.zeros(5)], ids=str
    )
    def test_empty_and_scalar(self, given):
        report = batch(given, torch.zeros(given.shape[:1] if given.dim() > 1 else (), dtype=torch.long))
        assert report.verdict in ("healthy", "findings", "cannot tell")

    def test_nan(self):
        report = batch(torch.full((24, 5), torch.nan), target())
        assert report.verdict in ("healthy", "findings", "cannot tell")

    def test_a_model_that_raises(self):
        def model(x):
            raise KeyError("weights")

        report = doctor(model=model, batch=(1, 2), loss_fn=CE)
        assert report.verdict == "cannot tell"
        assert "KeyError" in str(report)

    def test_a_model_is_left_as_it_was(self):
        model = nn.Sequential(nn.Linear(7, 5), nn.BatchNorm1d(5), nn.Dropout(0.5))
        before = {name: value.clone() for name, value in model.state_dict().items()}
        torch.manual_seed(1)
        expected = torch.rand(2)
        torch.manual_seed(1)
        doctor(model=model, batch=(torch.ones(24, 7), target()), loss_fn=CE)
        assert torch.equal(torch.rand(2), expected)
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        assert all(parameter.grad is None for parameter in model.parameters())

    def test_the_backward_still_works_after_it_was_asked(self):
        z = nn.Parameter(torch.randn(24, 5))
        loss = F.cross_entropy(z.softmax(1), target())
        doctor(loss)
        loss.backward()
        assert z.grad.abs().sum() > 0

    def test_other_devices(self):
        report = batch(torch.randn(24, 5), target().to("meta"))
        assert report.verdict == "cannot tell"

    def test_sparse_and_complex(self):
        assert batch(torch.eye(5).to_sparse(), torch.arange(5)).verdict == "cannot tell"
        assert batch(torch.zeros(24, 5, dtype=torch.complex64), target()).verdict in ("cannot tell", "findings")

    def test_under_vmap_nothing_is_read(self):
        seen = []

        def loss(z):
            seen.append(doctor(logits=z, target=torch.tensor(0), loss_fn=CE).verdict)
            return z.sum()

        torch.func.vmap(loss)(torch.zeros(3, 5))
        assert seen == ["cannot tell"]
