"""The report: for every kind of task, in both languages, and written again from what a run keeps."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from lastlayer import Classifier, messages


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"x": random.normal(size=150), "y": random.normal(size=150)})
    frame["kind"] = np.where(frame.x > 0.5, "high", np.where(frame.x < -0.5, "low", "middle"))
    frame["yes"] = np.where(frame.x + 0.3 * frame.y > 0, "yes", "no")
    frame["tags"] = [
        ",".join(name for name, on in (("a", x > 0), ("b", y > 0)) if on) for x, y in zip(frame.x, frame.y, strict=True)
    ]
    made = {}
    for name, target, more in (
        ("multiclass", "kind", {"folds": 3}),
        ("binary", "yes", {}),
        ("multilabel", "tags", {"label_separator": ","}),
    ):
        folder = tmp_path_factory.mktemp(name)
        frame.loc[0, "kind"] = "Low"  # a spelling that the checks name
        frame[["x", "y", target]].to_csv(folder / "data.csv", index=False)
        model = Classifier(epochs=2, verbose=False, lang="ko", **more).fit(
            folder / "data.csv", target=target, output=folder / "run"
        )
        made[name] = folder / "run", model
    return made


@pytest.mark.parametrize("kind", ["multiclass", "binary", "multilabel"])
def test_a_report_is_written_in_the_language_of_the_run_and_again_in_another(runs, kind):
    folder, model = runs[kind]
    kept = (folder / "report.html").read_text()
    again = Classifier.load(folder).report("en")
    assert '<html lang="ko">' in kept
    assert '<html lang="en">' in again
    for name in ("report.loss.title", "report.costs", "report.risk", "report.reliability", "report.worst"):
        assert messages.text(name, "ko") in kept
        assert messages.text(name, "en") in again
    heading = "report.labels" if kind == "multilabel" else "report.classes"
    assert messages.text(heading, "ko") in kept
    assert (messages.text("report.head.fp", "en") in again) == (kind == "multilabel")
    assert ('<table class="confusion">' in again) == (kind != "multilabel")
    found = model.evaluate()
    for html in (kept, again):
        for score in found.scores.values():
            assert f"{score.value:.4f}" in html
        for each in found.by_class:
            assert f"{each.share:.1%}" in html
        assert "<details>" in html  # the cells of rows, of data that still stands there


def test_a_report_does_without_data_that_is_gone(runs, tmp_path):
    folder, _ = runs["multiclass"]
    (folder.parent / "data.csv").rename(tmp_path / "away.csv")
    html = Classifier.load(folder).report("en")
    (tmp_path / "away.csv").rename(folder.parent / "data.csv")
    assert "<details><summary>cells" not in html
    assert html.count("<figure>") == 12


def words(html: str) -> str:
    """What a person reads, without the markup."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html)).replace("&#39;", "'").replace("&gt;", ">")


def section(html: str, id: str) -> str:
    return html.split(f'<section id="{id}">')[1].split("</section>")[0]


@pytest.mark.parametrize("language", messages.LANGUAGES)
def test_findings_stand_in_the_report_with_rows_and_what_was_done(runs, language):
    folder, model = runs["multiclass"]
    shown = section(Classifier.load(folder).report(language), "data")
    findings = json.loads((folder / "data.json").read_text())["findings"]
    assert "label-spelling" in [one["id"] for one in findings]
    for one, kept in zip(findings, model.record.data["findings"], strict=True):
        assert f"<code>{one['id']}</code>" in shown
        for part in ("what", "fix", "how"):
            assert messages.said(kept[part], language).split("--")[0] in words(shown)
        for name in one["rows"][:60]:
            assert name in shown
    assert messages.text("findings.harms", language) in shown
    for part, rows in model.record.data["rows"].items():
        said = f"{messages.text(f'part.{part}', language)} {rows}"
        assert (said in words(shown)) is (rows > 0)


def test_a_report_without_findings_says_so(runs):
    folder, _ = runs["binary"]
    model = Classifier.load(folder)
    record = model.record
    record.data["findings"] = []
    html = model.report("en")
    assert messages.text("report.data.none") in section(html, "data")
    assert 'href="#data"' not in html


@pytest.mark.parametrize("language", messages.LANGUAGES)
def test_folds_stand_in_the_report_with_mean_and_spread(runs, language):
    folder, model = runs["multiclass"]
    html = (folder / "report.html").read_text() if language == "ko" else Classifier.load(folder).report("en")
    shown = section(html, "folds")
    assert 'href="#folds"' in html
    found = model.record.data["cross_validation"]
    for name, score in found["scores"].items():
        assert messages.text(f"score.{name}", language) in shown
        values = [value for value in score["folds"] if value == value]
        for value in (score["value"], *values):
            assert f"{value:.4f}" in shown
        if len(values) == found["folds"]:
            mean, std = np.mean(values), np.std(values, ddof=1)
            assert f"{mean:.4f} ± {std:.4f}" in words(shown)
    assert shown.count('class="dot"') % found["folds"] == 0
    assert '<section id="folds">' not in (runs["binary"][0] / "report.html").read_text()


def test_dots_stand_where_their_scores_are(runs):
    from lastlayer.classifier.report.folds_section import folds_section
    from lastlayer.classifier.report.said import Said

    score = {"value": 0.5, "low": 0.4, "high": 0.6, "mean_of_folds": 0.5, "standard_deviation_of_folds": 0.1}
    same = {**score, "standard_deviation_of_folds": 0.0, "folds": [0.5, 0.5]}
    lacking = {**score, "mean_of_folds": float("nan"), "folds": [0.5, float("nan")]}
    found = {"folds": 2, "rows": 10, "scores": {"accuracy": {**score, "folds": [0.4, 0.6]}, "mcc": same, "f1": lacking}}
    shown = folds_section(found, Said())["scores"]
    assert shown[0]["strip"]["dots"] == ["6.0", "94.0"]
    assert (shown[0]["strip"]["mean"], shown[0]["strip"]["left"], shown[0]["strip"]["width"]) == ("50.0", "6.0", "88.0")
    assert shown[1]["strip"]["dots"] == ["50.0", "50.0"]
    assert shown[2]["strip"] is None
    assert shown[2]["folds"] == ["0.5000", "–"]
    assert folds_section(None, Said()) is None


@pytest.mark.parametrize("kind", ["multiclass", "binary", "multilabel"])
def test_a_korean_report_says_no_decision_in_english(runs, kind):
    folder, model = runs[kind]
    html = (folder / "report.html").read_text()
    decided = html.split(f"<h2>{messages.text('report.decided', 'ko')}</h2>")[1].split("</ul>")[0]
    notes = re.findall(r"<li>(.*?)</li>", decided)
    assert len(notes) == len(model.record.data["notes"]) > 5
    assert [note for note in notes if not re.search("[가-힣]", note)] == []
    assert 'lang="en"' not in html


def test_a_run_of_plain_sentences_is_still_shown(runs):
    folder, _ = runs["multiclass"]
    model = Classifier.load(folder)
    record = model.record
    record.data = json.loads(json.dumps(record.data))  # messages become their English text, as older runs kept it
    html = model.report("ko")
    for note in record.data["notes"]:
        assert note.split("--")[0] in words(html)
    assert record.data["findings"][0]["what"] in words(html)


def test_flags_are_not_broken_between_lines(runs):
    folder, _ = runs["multiclass"]
    model = Classifier.load(folder)
    record = model.record
    record.data["notes"] = ["Say --drop-unlabelled <b>."]
    assert "<li>Say <code>--drop-unlabelled</code> &lt;b&gt;.</li>" in model.report("en")
