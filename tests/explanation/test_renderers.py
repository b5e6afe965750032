"""Renderers: they fit, they are valid, they compute nothing, and they say the same in both languages."""

import re
import shutil
import subprocess
import xml.etree.ElementTree as ET

import pytest
import torch

from lastlayer.errors import LastLayerError
from lastlayer.explanation import Trace, contrast, explain, explain_log_odds
from lastlayer.explanation.columns import display_width, wrapped
from lastlayer.explanation.expressions import Binary, Call, Number, Symbol, exp, log, total
from lastlayer.explanation.html import fragment
from lastlayer.explanation.printing import LATEX, MATHML, numbers, symbols
from tests.explanation.told import TOLD

LANGUAGES = ("en", "ko")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", TOLD)
def test_text_fits_80_columns(name, language):
    for line in TOLD[name].text(language).splitlines():
        assert display_width(line) <= 80, line


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", TOLD)
def test_html_is_valid_and_alone(name, language):
    html5lib = pytest.importorskip("html5lib")
    page = TOLD[name].html(language)
    html5lib.HTMLParser(strict=True).parse(page)
    assert "<script" not in page
    assert not re.search(r'(src|href)="(?!#)', page)
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")
    assert f'<html lang="{language}">' in page
    for target in re.findall(r'href="#([^"]+)"', page):
        assert f'id="{target}"' in page


@pytest.mark.parametrize("name", TOLD)
def test_html_speaks(name):
    page = TOLD[name].html()
    assert len(re.findall(r"<svg(?![^>]*aria-hidden)", page)) == page.count("<title>") - 1  # all but the page's own
    assert all("alttext" in tag for tag in re.findall(r"<math[^>]*>", page))
    for scroll in re.findall(r'<div class="scroll[^>]*tabindex[^>]*>', page):
        assert "aria-label" in scroll


@pytest.mark.parametrize("name", TOLD)
def test_mathml_is_well_formed(name):
    for math in re.findall(r"<math.*?</math>", TOLD[name].html(), flags=re.DOTALL):
        ET.fromstring(math)  # noqa: S314 - our own output


def test_names_are_escaped():
    trace = explain([1.0, 2.0], "<b>", classes=["<b>", "a & b"])
    page = trace.html()
    assert "<b>" not in page.replace("<b>0", "").replace("<b>1", "").replace("<b>2", "")
    assert "&lt;b&gt;" in page
    assert r"a \& b" in trace.latex()


def test_a_fragment_changes_nothing_around_it():
    page = fragment(explain([1.0, 2.0]))
    rules = re.sub(r"/\*.*?\*/", "", re.search(r"<style>(.*?)</style>", page, flags=re.DOTALL)[1])
    for selectors in re.findall(r"([^{}@]+)\{", re.sub(r"@media[^{]+\{", "", rules)):
        for one in selectors.split(","):
            assert one.strip().startswith(".lastlayer-trace"), one
    assert explain([1.0, 2.0])._repr_html_() == page


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", ["hard", "batch everything", "features", "overflow"])
def test_latex_compiles(name, language, tmp_path):
    if shutil.which("pdflatex") is None:
        pytest.skip("no pdflatex here; make docs-check says so too")
    (tmp_path / "trace.tex").write_text(TOLD[name].latex(language), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "trace.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120, check=False)
    log_file = (tmp_path / "trace.log").read_text(encoding="utf-8", errors="replace")
    if "kotex.sty' not found" in log_file:
        pytest.skip("this TeX has no Korean")
    assert done.returncode == 0, log_file[-2000:]
    assert "Missing character" not in log_file


@pytest.mark.parametrize("name", TOLD)
def test_latex_has_no_letter_that_tex_does_not_know(name):
    text = TOLD[name].latex()
    assert text.count(r"\begin{align*}") == text.count(r"\end{align*}") == len(TOLD[name])
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    unknown = {letter for letter in text if ord(letter) > 0x17F and not "가" <= letter <= "힣"}
    assert unknown <= set("“”–…’₂"), unknown


def test_one_tree_in_every_notation():
    tree = log(total(exp(Symbol("z", "k")))) - Symbol("z", "j") / Number(2)
    values = {"z": torch.tensor([4.0, -2.0])}
    assert symbols(tree, LATEX) == r"\log\left(\sum_{k} \exp z_{k}\right) - \frac{z_{j}}{2}"
    assert numbers(tree, values, {"j": 1}, notation=LATEX) == (
        r"\log\left(\exp 4 + \exp\left(-2\right)\right) - \frac{-2}{2}"
    )
    assert symbols(Binary("^", Number(2), Symbol("z", "j")), LATEX) == "2^{z_{j}}"
    assert symbols((Symbol("a") - Symbol("b")) ** 2) == "(a − b)²"
    assert symbols(Symbol("a") - (Symbol("b") + 1)) == "a − (b + 1)"
    assert symbols(-(Symbol("a") + 1)) == "−(a + 1)"
    assert symbols(Call("[]", Binary("=", Symbol("z", "j"), Symbol("m")))) == "[zⱼ = m]"
    assert "<mfrac>" in symbols(1 / Symbol("S"), MATHML)
    assert numbers(Symbol("x"), {"x": torch.tensor(-1e-9)}, notation=LATEX) == r"-1.000 \times 10^{-9}"


def test_nothing_is_rounded_before_it_is_written():
    trace = explain([0.1, 0.7, -0.2], 1)
    assert repr(trace.loss) in trace.to_json()
    assert repr(trace.loss) not in trace.text()


def test_files(tmp_path):
    trace = explain([4.0, 2.0, -2.0], 0)
    for ending, start in ((".html", "<!DOCTYPE html>"), (".tex", r"\documentclass"), (".json", "{"), (".txt", "Soft")):
        trace.save(tmp_path / f"trace{ending}")
        assert (tmp_path / f"trace{ending}").read_text(encoding="utf-8").startswith(start)
    assert Trace.from_json((tmp_path / "trace.json").read_text()).loss == trace.loss
    with pytest.raises(ValueError, match=r"\.html, \.tex"):
        trace.save(tmp_path / "trace.docx")


@pytest.mark.parametrize("name", ["hard", "batch", "log-odds", "features"])
def test_pictures_by_matplotlib(name, tmp_path):
    pytest.importorskip("matplotlib")
    TOLD[name].save(tmp_path / "trace.png")
    assert (tmp_path / "trace.png").read_bytes().startswith(b"\x89PNG")
    from matplotlib import font_manager

    if any("CJK" in font.name for font in font_manager.fontManager.ttflist):
        TOLD[name].save(tmp_path / "korean.png", "ko")  # a missing letter would warn, and a warning is an error
    TOLD[name].save(tmp_path / "trace.svg")
    assert "<svg" in (tmp_path / "trace.svg").read_text()


def test_without_matplotlib_the_install_command_is_named(tmp_path, monkeypatch):
    from lastlayer.explanation import files

    def missing(name):
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(files, "import_module", missing)
    with pytest.raises(LastLayerError, match=r"pip install 'lastlayer\[plots\]'"):
        explain([4.0, 2.0]).save(tmp_path / "trace.png")


def test_a_long_word_is_broken():
    assert list(wrapped("ab abcdefghij", 4)) == ["ab", "abcd", "efgh", "ij"]


# Comparing


@pytest.mark.parametrize(
    ("one", "other", "parting"),
    [
        ({}, {}, None),
        ({}, {"before": "softmax"}, "before_softmax"),
        ({"before": "softmax"}, {}, "before_softmax"),
        ({}, {"dtype": "float16"}, "exp"),
        ({}, {"dtype": "float32"}, "exp"),
        ({}, {"temperature": 2.0}, "tempered"),
        ({}, {"label_smoothing": 0.1}, "smoothed"),
        ({}, {"by": "torch"}, None),
    ],
)
def test_comparing_marks_the_first_step_that_differs(one, other, parting):
    z = [4.0, 2.0, -2.0]
    found = explain(z, 0, **one).compare(explain(z, 0, **other))
    assert (found.parting.id if found.parting else None) == parting
    for language in LANGUAGES:
        for line in found.text(language).splitlines():
            assert display_width(line) <= 80, line
    assert ("◀" in str(found)) is (parting is not None)


def test_ours_and_torchs_part_where_a_logit_dominates():
    ours, theirs = (explain([80.0, 0.0], 0, dtype="float32", by=by) for by in ("lastlayer", "torch"))
    found = ours.compare(theirs)
    assert found.parting.id == "log_probabilities"
    assert theirs.loss == 0 < ours.loss


def test_comparing_different_numbers_of_classes():
    found = explain([1.0, 2.0]).compare(explain([1.0, 2.0, 3.0]))
    assert found.parting.id == "logits"
    assert "another number of entries" in str(found)
    nan = contrast("naive-stable", [110.0, 0.0]).compare(contrast("naive-stable", [110.0, 0.0]))
    assert nan.parting is None
    assert explain_log_odds(0.0).compare(explain_log_odds(0.5)).parting.id == "p"


# Traces that cannot be read


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no json", "no JSON"),
        ("[1, 2]", "lastlayer-trace"),
        ('{"format": "other"}', "'other'"),
        ('{"format": "lastlayer-trace", "version": 1}', "version 1, this lastlayer reads version 2"),
        ('{"format": "lastlayer-trace", "version": 2}', "damaged"),
        (
            '{"format": "lastlayer-trace", "version": 2, "target": null, "kind": "x", "steps": [{"symbol": 3}]}',
            "damaged",
        ),
    ],
)
def test_a_trace_that_cannot_be_read(text, message):
    with pytest.raises(LastLayerError, match=message):
        Trace.from_json(text)


def test_a_nan_is_shown_and_an_ignored_row_is_a_dash():
    stable = contrast("naive-stable", [110.0, 0.0])
    assert re.search(r"class 0\s+NaN", stable.text())
    assert "<td>NaN</td>" in stable.html()
    ignored = explain([[1.0, 2.0], [3.0, 4.0]], [0, -100])
    assert re.search(r"row 1\s+–", ignored.text())
    assert "NaN" not in ignored.text()
    assert "NaN" in explain([[1.0, 2.0], [3.0, 4.0]], [-100, -100]).text()
