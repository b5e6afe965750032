"""The report: for every kind of task, in both languages, and written again from what a run keeps."""

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
        ("multiclass", "kind", {}),
        ("binary", "yes", {}),
        ("multilabel", "tags", {"label_separator": ","}),
    ):
        folder = tmp_path_factory.mktemp(name)
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
