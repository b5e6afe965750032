"""What people get wrong, and what terminals and pipes do: one message each, no traceback, nothing lost in silence."""

import io
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from lastlayer import Classifier, cli
from lastlayer.classifier.learning import training
from lastlayer.cli.scores import prediction_table
from tests.classifier.conftest import (  # noqa: F401 - fixtures
    binary_run,
    digit_folder,
    flower_table,
    flowers,
    image_run,
    table_run,
)
from tests.cli.test_cli import call  # noqa: F401 - a fixture

WRONG = {
    "a near name": (["train", "digit"], 2, "Did you mean 'digits'"),
    "no path at all": (["train", "a" * 300], 1, "File name too long"),
    "a device file": (["train", "/dev/null"], 1, "neither a file nor a folder"),
    "a name that is too long": (["train", "digits", "--output", "a" * 300], 1, "Shorten the name"),
    "a file for a folder": (["train", "digits", "--output", "t.csv"], 1, "A file of that name is there"),
    "too few epochs": (["train", "digits", "--epochs", "0"], 2, "--epochs has to lie between 1 and 1,000,000"),
    "a target for images": (["train", "digits", "--target", "x"], 2, "--target is for a table, and digits is images"),
    "a flag of images": (["train", "t.csv", "--target", "kind", "--max-pixels", "9"], 2, "--max-pixels is for images"),
    "half precision": (["train", "digits", "--precision", "fp16", "--device", "cpu"], 2, "--precision bf16"),
    "two separators": (["train", "t.csv", "--target", "kind", "--separator", ";;"], 2, "--separator has to be one"),
    "a folder with a table": (["train", "one", "--target", "kind"], 1, "none called train: name it (one/data.csv)"),
    "spaces around a name": (["train", "spaces.csv", "--target", "y"], 2, "Did you mean ' y '"),
    "quantities": (["train", "huge.csv", "--target", "y"], 1, "(1e+16, 1.7e+16, 2.4e+16"),
    "a word for a list": (["train", "digits", "--config", "word.yaml"], 2, "--missing has to be a list of words"),
    "a class that is not there": (["train", "digits", "--positive", "3"], 2, "--positive is for a binary task"),
    "one logit": (["explain", "--logits", "3"], 2, "--kind binary"),
    "two logits for yes or no": (["explain", "--logits", "3,2", "--kind", "binary"], 2, "takes one logit, got 2"),
    "a class twice": (["explain", "--logits", "1,2", "--classes", "a,a"], 2, "'a' more than once"),
    "an unknown language": (["explain", "RUN", "--lang", "fr"], 2, "--lang has to be en (English) or ko (한국어)"),
    "a language of a report": (["report", "RUN", "--lang", "kr"], 2, "--lang has to be en (English) or ko"),
    "a language of a training": (["train", "digits", "--lang", "kr"], 2, "--lang has to be en (English) or ko"),
    "a language of findings": (["data", "digits", "--lang", "KO"], 2, "Did you mean 'ko'?"),
    "a language of advice": (["advise", "--answer", "number", "--lang", "kr"], 2, "--lang has to be en (English)"),
    "a language of the doctor": (["doctor", "--rules", "--lang", "kr"], 2, "--lang has to be en (English) or ko"),
    "nothing to write over": (["predict", "RUN", "t.csv", "--overwrite"], 2, "--overwrite writes over an --output"),
    "a file that is there": (["predict", "RUN", "t.csv", "--output", "huge.csv"], 1, "huge.csv is there already"),
    "no class": (["evaluate", "RUN", "gaps.csv"], 1, "Fill them in, or remove those rows. Empty"),
    "images for a table": (["evaluate", "RUN", "digits"], 1, "reads a table, and digits is images"),
}


@pytest.mark.parametrize(("arguments", "code", "message"), WRONG.values(), ids=WRONG)
def test_wrong_use(call, tmp_path, table_run, arguments, code, message):  # noqa: F811
    flowers(60).to_csv(tmp_path / "t.csv", index=False)
    flowers(20).assign(kind="").to_csv(tmp_path / "gaps.csv", index=False)
    (tmp_path / "one").mkdir()
    flowers(20).to_csv(tmp_path / "one" / "data.csv", index=False)
    (tmp_path / "spaces.csv").write_text("u, y \n1,a\n")
    (tmp_path / "huge.csv").write_text("u,y\n" + "".join(f"{row},{10**16 + row * 7 * 10**15}\n" for row in range(40)))
    (tmp_path / "word.yaml").write_text("missing: abc\n")
    before = set(tmp_path.iterdir())
    found, out, err = call(*(table_run if argument == "RUN" else argument for argument in arguments))
    assert (found, out) == (code, "")
    assert message in err
    assert err.count("error:") == 1
    assert set(tmp_path.iterdir()) == before  # nothing is left behind


def test_a_run_that_diverges_is_reported_and_kept(call, flower_table):  # noqa: F811
    how = ("--backbone", "mlp", "--epochs", 4, "--lr", 10, "--output", "r")
    code, _, err = call("train", flower_table, "--target", "kind", *how)
    assert code == 0, err
    assert "surprised more than one that knows nothing" in Path("r/report.html").read_text()


def test_a_second_run_in_the_same_second_has_a_name_of_its_own(call, flower_table, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(time, "strftime", lambda form, *rest: "now")
    for _ in range(2):
        assert call("train", flower_table, "--target", "kind", "--epochs", 1)[0] == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["flowers-now", "flowers-now-2"]


def test_an_explanation_needs_no_data(call, tmp_path, image_run, digit_folder):  # noqa: F811
    run = shutil.copytree(image_run, tmp_path / "run")
    config = (run / "config.yaml").read_text()
    assert str(digit_folder) in config
    moved = digit_folder.rename(tmp_path / "moved")
    try:
        code, out, err = call("explain", run)
        assert (code, err) == (0, "")
        assert "its data is not here" in out
        name = out.split(": predicted")[0]
        assert call("explain", run, name)[1] == out
    finally:
        moved.rename(digit_folder)
    assert "its data is not here" not in call("explain", run)[1]


def test_names_cannot_steer_the_terminal(call, tmp_path):  # noqa: F811
    for label in ("cat", "dog"):
        (tmp_path / "d" / label).mkdir(parents=True)
        for place in range(6):
            Image.new("L", (8, 8), 20 * place + (label == "dog")).save(tmp_path / "d" / label / f"{place}.png")
    (tmp_path / "d" / "cat" / "a\nb\x1b[31m.png").write_bytes(b"x")
    code, _, err = call("train", "d", "--epochs", 1, "--output", "r")
    assert code == 0
    assert "Left out cat/a\\nb\\x1b[31m.png" in err
    assert "\x1b" not in call("train", "d/cat/a\x1b[31m.png")[2]


def test_pictures_and_paths_on_standard_input(call, image_run, tmp_path, monkeypatch):  # noqa: F811
    picture = tmp_path / "p.pgm"
    picture.write_text("P2 2 2 255\n0 255 255 0\n")  # a picture that is text

    class Stream:
        def __init__(self, content):
            self.buffer, self.content = self, content

        def read(self):
            return self.content

    monkeypatch.setattr(sys, "stdin", Stream(picture.read_bytes()))
    assert call("predict", image_run, "-")[1].splitlines()[1].startswith("stdin,")
    monkeypatch.setattr(sys, "stdin", Stream(b"some words\nin a file\n"))
    assert "neither a picture nor the path of one" in call("predict", image_run, "-")[2]
    monkeypatch.setattr(sys, "stdin", None)
    assert "standard input is closed" in call("predict", image_run, "-")[2]


@pytest.mark.parametrize("columns", [1, 3, 40])
def test_no_number_is_cut_in_eighty_columns(columns):
    rows = [
        {"input": f"a/very/long/way/to/a/picture/{row}.png", "prediction": "cat", "probability": 0.98765}
        | {f"p(class {place})": 0.12345 for place in range(columns)}
        for row in range(3)
    ]
    screen = Console(width=80, record=True, file=io.StringIO())
    screen.print(prediction_table(rows, 80))
    text = screen.export_text()
    assert text.count("0.9877") == 3
    assert text.count("0.1235") + text.count("0.1234") == 3 * columns
    assert max(map(len, text.splitlines())) <= 80
    assert all(f"{row}.png" in text for row in range(3))


def test_an_interrupt_before_training_says_that_nothing_was_saved(call, tmp_path, monkeypatch):  # noqa: F811
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "accelerator", interrupt)
    assert call("train", "digits") == (130, "", "\nStopped; nothing was saved.\n")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(cli, "app", lambda *arguments, **options: 130)  # how Typer tells of one before the verb
    assert call("train", "digits") == (130, "", "\nStopped; nothing was saved.\n")


def test_an_interrupt_after_training_says_where_the_run_is(call, flower_table, monkeypatch):  # noqa: F811
    def interrupt(model):
        raise KeyboardInterrupt

    monkeypatch.setattr(Classifier, "evaluate", interrupt)
    code, out, err = call("train", flower_table, "--target", "kind", "--epochs", 1, "--output", "r")
    assert (code, out) == (130, "")
    assert err.endswith("Stopped; the run is in r.\n")
    assert len(Classifier.load("r").classes_) == 3


TWICE = """
import atexit, os, signal, sys, time
from lastlayer import Classifier, cli
from lastlayer.__main__ import main

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.05)

def run():
    try:
        interrupt()
    except KeyboardInterrupt:
        interrupt()
        sys.stderr.write("unwound")
        raise

cli.run = run
atexit.register(interrupt)
sys.exit(main())
"""


def test_a_second_interrupt_does_not_cut_off_the_first():
    done = subprocess.run([sys.executable, "-c", TWICE], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (130, "unwound\nStopped; nothing was saved.\n")


def test_a_full_disk_behind_standard_output(table_run, flower_table):  # noqa: F811
    with open("/dev/full", "w") as full:  # noqa: PTH123
        command = [sys.executable, "-m", "lastlayer", "explain", "--logits", "4,2"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.count("error:") == 1
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_terminal_without_the_letters(table_run):  # noqa: F811
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "lastlayer", "explain", "--logits", "4,2", "--classes", "개,고양이"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\uac1c" in done.stdout
