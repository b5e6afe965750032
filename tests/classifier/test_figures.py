"""The figures of a benchmark are kept piece by piece, and a page is written from what is there."""

import json

import pytest

from benchmarks import classifier, tables


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(classifier, "RESULTS", tmp_path / "classifier.json")
    monkeypatch.setattr(classifier, "PAGE", tmp_path / "page.md")
    return tmp_path


def kept(results):
    return json.loads((results / "classifier.json").read_text(encoding="utf-8"))


def test_a_stop_loses_only_the_table_that_is_being_measured(results, monkeypatch):
    def measure(name, table, splits, seeds, shares):
        if name == "wine":
            raise KeyboardInterrupt
        return {f"{name}: ours, log-loss": 0.5}

    monkeypatch.setattr(tables, "measure", measure)
    with pytest.raises(KeyboardInterrupt):
        classifier.main(["tables", "--only", "breast cancer", "wine"])
    pieces = kept(results)["tables"]["pieces"]
    assert {name: piece["numbers"] for name, piece in pieces.items()} == {
        "breast cancer": {"breast cancer: ours, log-loss": 0.5}
    }
    assert "| breast cancer: ours, log-loss | 0.5 |" in (results / "page.md").read_text(encoding="utf-8")


def test_one_table_leaves_the_others_and_the_other_parts(results, monkeypatch):
    values = iter([0.5, 0.25, 0.125])
    seen = []

    def measure(name, table, splits, seeds, shares):
        seen.append((name, splits, shares))
        return {f"{name}: ours, log-loss": next(values)}

    monkeypatch.setattr(tables, "measure", measure)
    monkeypatch.setattr(classifier.epochs, "measure", lambda: {"epoch": 1.0})
    classifier.main(["epochs"])
    classifier.main(["tables", "--only", "wine", "breast cancer", "--splits", "3"])
    classifier.main(["tables", "--only", "wine", "--splits", "2", "--default-shares"])
    found = kept(results)
    assert found["epochs"]["numbers"] == {"epoch": 1.0}
    assert list(found["tables"]["pieces"]) == ["breast cancer", "wine", "wine, default shares"]
    assert found["tables"]["pieces"]["wine"]["numbers"] == {"wine: ours, log-loss": 0.25}
    assert [(name, splits) for name, splits, _ in seen] == [
        ("breast cancer", 3),
        ("wine", 3),
        ("wine, default shares", 2),
    ]
    assert [shares for _, _, shares in seen] == [{"validation": 0.02, "calibration": 0.0}] * 2 + [{}]
    page = (results / "page.md").read_text(encoding="utf-8")
    assert "| epoch | 1 |" in page
    assert "breast cancer; wine: " in page
    assert "3 splits, a training each, 2 % of the training rows held out." in page
    assert "wine, default shares: " in page


def test_what_cannot_be_measured_is_refused(results, capsys):
    for arguments in (["tables", "--only", "beer"], ["tables", "--splits", "1"], ["table"]):
        with pytest.raises(SystemExit):
            classifier.main(arguments)
    assert "at least 2" in capsys.readouterr().err
    assert not (results / "classifier.json").exists()


def test_the_page_is_that_of_the_results():
    found = json.loads(classifier.RESULTS.read_text(encoding="utf-8"))
    assert classifier.PAGE.read_text(encoding="utf-8") == classifier.page(found), (
        "run python -m benchmarks.classifier --page"
    )
