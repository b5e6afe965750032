"""Every verb that speaks, in Korean: by the flag and by the environment."""

import json
import re

import pytest

from lastlayer.cli.language import VARIABLE, spoken
from lastlayer.errors import ConfigError
from lastlayer.messages.kept import unpacked
from tests.classifier.conftest import flower_table, flowers, table_run  # noqa: F401 - fixtures
from tests.cli.test_cli import call  # noqa: F401 - a fixture


def is_korean(line: str) -> bool:
    return any("가" <= letter <= "힣" for letter in line)


def test_the_flag_comes_before_the_environment_and_that_before_the_work(monkeypatch):
    assert spoken(None) == "en"
    assert spoken(None, "ko") == "ko"
    monkeypatch.setenv(VARIABLE, "ko")
    assert spoken(None) == "ko"
    assert spoken("en") == "en"
    monkeypatch.setenv(VARIABLE, "")
    assert spoken(None) == "en"
    monkeypatch.setenv(VARIABLE, "kr")
    with pytest.raises(ConfigError, match=r"LASTLAYER_LANG has to be en \(English\) or ko \(한국어\), got 'kr'"):
        spoken(None)
    with pytest.raises(ConfigError, match="--lang has to be"):
        spoken("")


def test_a_training_speaks_korean_from_the_first_line_to_the_last(call, tmp_path):  # noqa: F811
    frame = flowers(150)
    frame["note"] = [f"number {row} of a long list of notes" for row in range(len(frame))]
    frame.loc[0, "kind"] = "Rose"
    frame.to_csv(tmp_path / "t.csv", index=False)
    how = ("--coverage", "0.9", "--abstain", "0.3", "--class-weights", "balanced", "--folds", "2", "--epochs", "2")
    code, out, err = call("train", "t.csv", "--target", "kind", *how, "--output", "run", "--lang", "ko")
    assert code == 0
    said = [line for line in err.splitlines() if not line.lstrip()[:1].isdigit()]
    assert len(said) > 12
    assert [line for line in said if not is_korean(line)] == []
    for english in ("rows", "score", "interval", "undecided", "better", "Run folder", "Report"):
        assert english not in out
    assert "lang: ko" in (tmp_path / "run" / "config.yaml").read_text()
    kept = json.loads((tmp_path / "run" / "data.json").read_text())["notes"]
    assert [note["text"] for note in kept if is_korean(note["text"])] == []  # the English text beside the values
    assert [note for note in unpacked(kept) if note.into("ko") not in err.splitlines()] == []
    for verb in ("evaluate", "explain"):  # go on in the language of the run, unless another is asked for
        assert is_korean(call(verb, "run")[1])
        assert not is_korean(call(verb, "run", "--lang", "en")[1])


def test_findings_in_korean(call, monkeypatch, tmp_path):  # noqa: F811
    frame = flowers(150).assign(same=1)
    frame.loc[0, "kind"] = "Rose"
    frame.to_csv(tmp_path / "t.csv", index=False)
    by_flag = call("data", "t.csv", "--target", "kind", "--lang", "ko")
    monkeypatch.setenv(VARIABLE, "ko")
    assert call("data", "t.csv", "--target", "kind") == by_flag
    code, out, _ = by_flag
    assert code == 1
    found = json.loads(call("data", "t.csv", "--target", "kind", "--json")[1])  # for programs: English, whatever is set
    assert "one class spelt in two ways" in found["findings"][0]["what"]
    told = out
    for one in found["findings"]:
        told = told.replace(one["id"], "")  # the same in every language
    for english in ("row", "Do:", "Training:", "harms", "note", "kept", "column"):
        assert english not in told
    for korean in ("행 150개", "해로움", "할 일:", "학습:", "그대로 둠", "'Rose'를 'rose'로"):
        assert korean in out


def test_an_explanation_of_a_run_in_korean(call, table_run, monkeypatch):  # noqa: F811
    lines = call("explain", table_run, "--lang", "ko")[1].splitlines()
    assert "예측" in lines[0]
    assert "predicted" not in lines[0]
    assert "over" not in lines[0]
    assert call("explain", table_run)[1].splitlines()[0].split(": ")[1].startswith("predicted")
    monkeypatch.setenv(VARIABLE, "ko")
    assert call("explain", table_run)[1].splitlines() == lines


def test_a_report_in_the_language_of_the_environment(call, table_run, monkeypatch, tmp_path):  # noqa: F811
    monkeypatch.setenv(VARIABLE, "ko")
    assert call("report", table_run, "--output", "r.html")[0] == 0
    assert '<html lang="ko">' in (tmp_path / "r.html").read_text()
    assert call("report", table_run, "--output", "r.html", "--lang", "en")[0] == 0
    assert '<html lang="en">' in (tmp_path / "r.html").read_text()


@pytest.fixture
def two_runs(call, tmp_path):  # noqa: F811
    flowers(200).to_csv(tmp_path / "t.csv", index=False)
    for run, backbone in (("a", "mlps"), ("b", "mlp")):
        how = ("--epochs", "1", "--seed", "1", "--abstain", "0.3", "--backbone", backbone, "--output", run)
        assert call("train", "t.csv", "--target", "kind", *how)[0] == 0


def test_an_evaluation_and_a_comparison_in_korean(call, two_runs, monkeypatch):  # noqa: F811
    for verb in (("evaluate", "a"), ("evaluate", "a", "--against", "b")):
        code, out, _ = call(*verb, "--lang", "ko")
        assert code == 0
        for english in (
            "row",
            "score",
            "interval",
            "better",
            "loss",
            "taken for",
            "Reliability",
            "confidence",
            "truth",
        ):
            assert english not in out
        assert all(korean in out for korean in ("점수", "95 % 구간", "로그 손실"))
        english = call(*verb)[1]
        assert not is_korean(english)
        assert sorted(re.findall(r"\d\.\d{4}", out)) == sorted(re.findall(r"\d\.\d{4}", english))
        monkeypatch.setenv(VARIABLE, "ko")
        assert call(*verb)[1] == out
        monkeypatch.delenv(VARIABLE)


def test_a_prediction_speaks_korean_and_writes_what_it_always_writes(call, two_runs, tmp_path):  # noqa: F811
    _, _, korean = call("predict", "a", "t.csv", "--output", "ko.csv", "--abstain", "0.2", "--lang", "ko")
    _, _, english = call("predict", "a", "t.csv", "--output", "en.csv", "--abstain", "0.2")
    assert "행 200개를 ko.csv에 썼습니다. 오류가 있는 행 0개." in korean
    assert "Wrote 200 rows to en.csv; 0 with an error." in english
    assert [line for line in korean.splitlines() if not is_korean(line)] == []
    assert (tmp_path / "ko.csv").read_bytes() == (tmp_path / "en.csv").read_bytes()


def test_two_runs_with_other_shares_are_judged_by_the_same_rows(call, two_runs):  # noqa: F811
    shares = [json.loads(call("evaluate", run, "--json")[1])["rows"] for run in "ab"]
    assert shares[0] == shares[1]
    found = json.loads(call("evaluate", "a", "--against", "b", "--json")[1])
    assert found["rows"] == shares[0]
