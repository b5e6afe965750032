"""lastlayer doctor as a person types it."""

import io
import json
import subprocess
import sys

import pytest
import torch

from lastlayer.classifier import Classifier
from tests.classifier.conftest import flower_table, flowers, table_run  # noqa: F401 - fixtures
from tests.cli.test_cli import call  # noqa: F401 - fixture

WRONG = "import torch.nn.functional as F\nloss = F.cross_entropy(F.softmax(z, dim=1), y)\n"
RIGHT = "import torch.nn.functional as F\nloss = F.cross_entropy(z, y)\n"


@pytest.fixture
def files(tmp_path):
    wrong, right = tmp_path / "wrong.py", tmp_path / "right.py"
    wrong.write_text(WRONG)
    right.write_text(RIGHT)
    return wrong, right


@pytest.fixture
def typed(monkeypatch):
    """A terminal that types nothing, or a pipe with a text."""

    def typing(text=None):
        stream = io.StringIO(text or "")
        stream.isatty = lambda: text is None
        monkeypatch.setattr(sys, "stdin", stream)

    typing()
    return typing


def test_files(call, files, typed):  # noqa: F811
    code, out, err = call("doctor", *files)
    assert code == 1
    assert "wrong.py:2: LL001 error (certain): softmax before cross-entropy" in out
    assert "+loss = F.cross_entropy(z, y)" in out
    assert err == ""
    code, out, _ = call("doctor", files[1])
    assert (code, "Healthy" in out) == (0, True)


def test_json_and_sarif(call, files, typed):  # noqa: F811
    code, out, _ = call("doctor", files[0], "--json")
    found = json.loads(out)
    assert (code, found["verdict"], found["findings"][0]["code"]) == (1, "findings", "LL001")
    code, out, _ = call("doctor", files[0], "--sarif")
    assert (code, json.loads(out)["version"]) == (1, "2.1.0")


def test_select_ignore_language(call, files, typed):  # noqa: F811
    assert call("doctor", files[0], "--select", "LL2")[0] == 0
    assert call("doctor", files[0], "--ignore", "LL001,LL2")[0] == 0
    code, out, _ = call("doctor", files[0], "--lang", "ko")
    assert (code, "교차 엔트로피 앞의 소프트맥스" in out) == (1, True)


def test_configuration(call, files, typed, tmp_path):  # noqa: F811
    settings = tmp_path / "pyproject.toml"
    settings.write_text('[tool.lastlayer]\nignore = ["LL001"]\nlanguage = "ko"\n')
    code, out, _ = call("doctor", files[0])
    assert (code, "정상" in out) == (0, True)
    assert call("doctor", files[0], "--ignore", "LL2")[0] == 1  # what is typed goes before what is kept
    settings.write_text('[tool.lastlayer]\nignored = ["LL001"]\n')
    code, _, err = call("doctor", files[0])
    assert (code, "Did you mean 'ignore'?" in err) == (2, True)
    settings.write_text('[tool.lastlayer]\nignore = "LL001"\n')
    assert call("doctor", files[0])[0] == 2
    settings.write_text("[tool.lastlayer\n")
    assert call("doctor", files[0])[0] == 2


def test_an_error_by_flag_and_by_pipe(call, typed):  # noqa: F811
    text = "IndexError: Target 255 is out of bounds."
    code, out, _ = call("doctor", "--error", text)
    assert (code, "LL106" in out, "ignore_index=255" in out) == (1, True, True)
    typed(f"Traceback (most recent call last):\n  ...\n{text}\n")
    assert call("doctor")[1] == out
    typed(f"{text}\n")
    assert call("doctor", "-")[1] == out
    code, out, _ = call("doctor", "--error", "something else")
    assert (code, "Cannot tell" in out) == (1, True)


def test_what_cannot_be_read(call, typed, tmp_path):  # noqa: F811
    broken, plain = tmp_path / "broken.py", tmp_path / "plain.py"
    broken.write_text("def f(:\n")
    plain.write_text("x = 1\n")
    code, out, _ = call("doctor", broken)
    # a long path is wrapped
    assert (code, "broken.py, line 1 cannot be parsed" in " ".join(out.split())) == (1, True)
    code, out, _ = call("doctor", plain)
    assert (code, "Cannot tell" in out) == (0, True)
    code, _, err = call("doctor", tmp_path / "absent.py")
    assert (code, "absent.py cannot be read" in err) == (2, True)


@pytest.mark.parametrize("arguments", [
    (), ("--machine", "--rules"), ("--rule", "LL999"), ("a.py", "--error", "x"), ("--select", "XX", "--error", "x"),
    ("--lang", "fr", "--error", "x"), ("--nothing",),
], ids=str)  # fmt: skip
def test_wrong_use(call, typed, arguments):  # noqa: F811
    code, out, err = call("doctor", *arguments)
    assert (code, out, bool(err)) == (2, "", True)


def test_a_rule_is_explained_with_a_trace(call, typed):  # noqa: F811
    code, out, _ = call("doctor", "--rule", "LL001")
    assert code == 0
    assert "# LL001: softmax before cross-entropy" in out
    assert "0.1291" in out  # the loss as it should be
    assert "0.6333" in out  # and with the mistake
    code, out, _ = call("doctor", "--rule", "index-out-of-range", "--lang", "ko")
    assert (code, "LL101" in out) == (0, True)
    code, out, _ = call("doctor", "--rule", "LL001", "--json")
    assert (code, len(json.loads(out)["traces"])) == (0, 2)


def test_rules_are_listed(call, typed):  # noqa: F811
    code, out, _ = call("doctor", "--rules")
    assert (code, len(out.splitlines())) == (0, 58)
    assert len(json.loads(call("doctor", "--rules", "--select", "LL7", "--json")[1])) == 4


def test_the_machine(call, typed):  # noqa: F811
    code, out, _ = call("doctor", "--machine")
    assert (code, torch.__version__ in out, "cross_entropy" in out) == (0, True, True)
    devices = json.loads(call("doctor", "--machine", "--json")[1])["devices"]
    assert [device["device"] for device in devices] == ["cpu", "cuda", "mps"]
    assert devices[0]["served"]["cross_entropy"]["float32"]


def test_a_run(call, typed, table_run):  # noqa: F811
    code, out, _ = call("doctor", table_run)
    assert code == 0
    assert "Healthy" in out
    code, _, err = call("doctor", table_run, "x.py")
    assert (code, "one run folder at a time" in err) == (2, True)


def test_a_folder_that_is_no_run(call, typed, tmp_path):  # noqa: F811
    code, out, err = call("doctor", tmp_path)
    assert (code, out) == (1, "")
    assert f"{tmp_path.name} is no finished run: it has no manifest.json" in err


def test_training_says_what_its_first_batch_shows(flower_table, monkeypatch):  # noqa: F811
    """A head that is wired wrongly is named before its first step."""
    from lastlayer.nn import MultiClassHead

    right = MultiClassHead.loss
    monkeypatch.setattr(
        MultiClassHead, "loss", lambda self, x, y: torch.nn.functional.cross_entropy(self(x).softmax(1), y)
    )
    model = Classifier(epochs=1, verbose=False).fit(flower_table, target="kind")
    notes = model.record.data["notes"]
    assert any(note.startswith("LL001: softmax before cross-entropy") for note in notes)
    monkeypatch.setattr(MultiClassHead, "loss", right)
    model = Classifier(epochs=1, verbose=False).fit(flower_table, target="kind")
    assert not any(note.startswith("LL") for note in model.record.data["notes"])


def test_help_needs_no_torch():
    program = "import sys; from lastlayer.cli import run; run(['doctor', '--help']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "--error" in done.stdout
    assert done.stdout.splitlines()[-1] == "False"
