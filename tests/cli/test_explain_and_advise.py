"""lastlayer explain with typed numbers, and lastlayer advise."""

import json
import re

import pytest

from lastlayer.cli import run
from lastlayer.explanation.columns import display_width


@pytest.fixture
def call(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def calling(*arguments: object) -> tuple[int, str, str]:
        code = run([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return calling


LOGITS = ("explain", "--logits", "4,2,-2", "--classes", "dog,cat,rabbit")
TOLD = {
    "smoothing": ((*LOGITS, "--target", "dog", "--label-smoothing", 0.1), "Smooth the truth"),
    "soft target": ((*LOGITS, "--target", "0.5,0.5,0"), "Truth, as probabilities"),
    "a step": ((*LOGITS, "--target", "cat", "--learning-rate", 0.5), "The new loss"),
    "batch": (("explain", "--logits", "4,2 / 1,0", "--target", "0,1", "--weight", "1,2"), "What each row weighs"),
    "ignored": (("explain", "--logits", "4,2 / 1,0", "--target", "0,−100", "--reduction", "sum"), "1 of 2 rows"),
    "threshold": (("explain", "--logits", "−0.1522", "--kind", "binary", "--threshold", 0.4), "threshold 0.4"),
    "log-odds": (("explain", "--p", 0.9), "2.1972"),
    "distributions": (("explain", "--p", ".7,.2,.1", "--q", ".6,.3,.1"), "0.8286"),
    "contrast": ((*LOGITS, "--contrast", "base"), "0.7901"),
    "contrast with target": ((*LOGITS, "--contrast", "nll", "--target", "dog"), "Method 2"),
    "next token": (("explain", "--logits", "3,2,1,0", "--next-token", "--target", 2), "Perplexity"),
    "image": (("explain", "--image", "1920×1080"), "2073600"),
    "torch": ((*LOGITS, "--by", "torch", "--dtype", "float32"), "functions of torch"),
    "against": ((*LOGITS, "--target", "dog", "--against", "before=softmax"), "They part at: Softmax, applied"),
    "advice": (("advise", "--answer", "class", "--one", "--classes", 5), "MultiClassHead(features, 5)"),
    "advice, several": (("advise", "--answer", "class", "--several"), "MultiLabelHead(features, C)"),
    "advice, number": (("advise", "--answer", "number"), "regression"),
    "advice, targets": (("advise", "--target", "1,0,1 / 0,0,0", "--lang", "ko"), "여러 레이블"),
    "advice, indices": (("advise", "--target", "0,2,1"), "class indices"),
}


@pytest.mark.parametrize(("arguments", "shown"), TOLD.values(), ids=TOLD)
def test_told(call, arguments, shown):
    code, out, err = call(*arguments)
    assert (code, err) == (0, "")
    assert shown in out
    assert "\x1b" not in out
    if arguments[0] == "explain":
        assert all(display_width(line) <= 80 for line in out.splitlines())


@pytest.mark.parametrize("ending", ["html", "tex", "json", "txt"])
def test_files(call, tmp_path, ending):
    code, out, _ = call(*LOGITS, "--target", "dog", "--output", f"trace.{ending}")
    assert (code, out) == (0, f"trace.{ending}\n")
    assert "0.1291" in (tmp_path / f"trace.{ending}").read_text(encoding="utf-8")
    if ending == "json":
        code, out, _ = call("explain", "--trace", "trace.json", "--lang", "ko")
        assert code == 0
        assert "정답: dog" in out


def test_many_classes(call):
    logits = ",".join(str(place % 37) for place in range(300))
    code, out, _ = call("explain", "--logits", logits, "--target", 5)
    assert code == 0
    assert "289 more classes" in out
    assert len(out.splitlines()) < 250


def test_json(call):
    code, out, _ = call(*LOGITS, "--target", "dog", "--json")
    assert (code, json.loads(out)["version"]) == (0, 2)
    code, out, _ = call("advise", "--answer", "class", "--one", "--classes", 2, "--json")
    assert (code, json.loads(out)["activation"]) == (0, "sigmoid")


def test_the_questions_are_asked_in_a_terminal(monkeypatch, capsys):
    import sys

    answers = iter(["class", "n", "5"])
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.prompt", lambda question, **_: next(answers))
    assert run(["advise"]) == 0
    assert "MultiClassHead(features, 5)" in capsys.readouterr().out


WRONG = {
    "an old trace": (["explain", "--trace", "old.json"], 1, "version 1"),
    "no trace": (["explain", "--trace", "none.json"], 2, "no file"),
    "rows of different length": (["explain", "--logits", "4,2 / 1"], 2, "rows of 1 and of 2"),
    "two sources": (["explain", "--logits", "4,2", "--p", "0.5"], 2, "one of them"),
    "one distribution": (["explain", "--p", "0.5,0.5"], 2, "--q"),
    "a sum that is not 1": (["explain", "--p", "0.5,0.6", "--q", "0.5,0.5"], 1, "sum to 1"),
    "an unknown contrast": (["explain", "--logits", "4,2", "--contrast", "bas"], 1, "mean 'base'"),
    "a contrast without target": (["explain", "--logits", "4,2", "--contrast", "nll"], 1, "which class is true"),
    "not finite": (["explain", "--logits", "4,inf"], 1, "finite"),
    "nan": (["explain", "--logits", "4,nan"], 1, "finite"),
    "nothing": (["explain", "--logits", " "], 1, "no logits"),
    "a setting that is none": (["explain", "--logits", "4,2", "--against", "dtyp=float16"], 2, "mean 'dtype'"),
    "a size that is none": (["explain", "--image", "big"], 2, "1920x1080"),
    "an ending that is none": (["explain", "--logits", "4,2", "--output", "x.doc"], 1, ".html"),
    "no answers": (["advise"], 2, "three questions"),
    "half an answer": (["advise", "--answer", "class"], 2, "--several or --one"),
    "an answer that is none": (["advise", "--answer", "colour"], 1, '"class" or "number"'),
}


@pytest.mark.parametrize(("arguments", "code", "message"), WRONG.values(), ids=WRONG)
def test_wrong_use(call, tmp_path, arguments, code, message):
    (tmp_path / "old.json").write_text('{"format": "lastlayer-trace", "version": 1}')
    found, out, err = call(*arguments)
    assert (found, out) == (code, "")
    assert message in err
    assert not re.search("Traceback", err)
