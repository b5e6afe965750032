"""The verbs as a person types them: what they print where, in a pipe, and with which exit code."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from lastlayer import Classifier
from lastlayer.cli import run
from lastlayer.cli.typed import numbers as parse_numbers
from tests.classifier.conftest import (  # noqa: F401 - fixtures
    binary_run,
    digit_folder,
    flower_table,
    flowers,
    image_run,
    table_run,
)


@pytest.fixture
def call(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def calling(*arguments) -> tuple[int, str, str]:
        code = run([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return calling


def test_train_prints_results_to_stdout_and_the_way_to_stderr(call, flower_table, tmp_path):  # noqa: F811
    code, out, err = call(
        "train", flower_table, "--target", "kind", "--epochs", 3, "--output", "r", "--ignore", "count"
    )
    assert code == 0
    assert "Run folder: r" in out
    assert "accuracy" in out
    assert "Task: multiclass, because column 'kind' has 3 classes" in err
    assert "1/3" in err
    assert "epoch" not in out
    assert "\x1b[" not in out + err  # no colours in a pipe
    assert max(map(len, out.splitlines())) <= 80
    assert (tmp_path / "r" / "manifest.json").exists()


def test_train_as_json(call, flower_table):  # noqa: F811
    code, out, _ = call("train", flower_table, "--target", "kind", "--epochs", 2, "--output", "r", "--json")
    assert code == 0
    scores = Classifier.load("r").evaluate().scores
    found = json.loads(out)["scores"]
    assert list(found) == list(scores)
    assert found["accuracy"]["value"] == scores["accuracy"].value


def test_run_folder_gets_a_name_of_its_own(call, flower_table, tmp_path):  # noqa: F811
    assert call("train", flower_table, "--target", "kind", "--epochs", 1)[0] == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert re.fullmatch(r"flowers-\d{8}-\d{6}", folder.name)


def test_flags_overrule_the_configuration_file(call, flower_table, tmp_path):  # noqa: F811
    (tmp_path / "c.yaml").write_text("epochs: 2\ntarget: kind\nseed: 7\n")
    code, _, err = call("train", flower_table, "--config", "c.yaml", "--epochs", 1, "--output", "r")
    assert code == 0
    assert "1/1" in err
    assert "seed: 7" in (tmp_path / "r" / "config.yaml").read_text()
    # the configuration of a run trains the same run again
    assert call("train", flower_table, "--config", "r/config.yaml", "--output", "s")[0] == 0
    assert (tmp_path / "r/model.safetensors").read_bytes() == (tmp_path / "s/model.safetensors").read_bytes()


def test_evaluate(call, image_run, table_run, flower_table):  # noqa: F811
    code, out, err = call("evaluate", image_run)
    assert (code, err) == (0, "")
    for word in ("accuracy", "log-loss", "Confusion matrix", "Reliability", "Largest losses", "95 % interval"):
        assert word in out
    assert max(map(len, out.splitlines())) <= 80
    code, out, _ = call("evaluate", table_run, flower_table, "--json")
    assert json.loads(out)["rows"] == 150


def test_predict_in_a_pipe_is_csv(call, table_run, flower_table):  # noqa: F811
    code, out, err = call("predict", table_run, flower_table, "--top-k", 2)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "input,prediction,probability,prediction_2,probability_2,error"
    assert len(lines) == 151
    assert lines[1].startswith("flowers.csv#1,")


def test_predict_several_inputs_in_order_and_every_class(call, image_run, digit_folder):  # noqa: F811
    one, two = digit_folder / "digit 3" / "1.png", digit_folder / "digit 5"
    code, out, _ = call("predict", image_run, two, one, "--all", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert len(rows) == 13
    assert rows[-1]["input"] == str(one)
    assert sum(value for name, value in rows[-1].items() if name.startswith("p(")) == pytest.approx(1)


def test_predict_writes_files(call, table_run, flower_table, tmp_path):  # noqa: F811
    for name in ("p.csv", "p.jsonl", "p.parquet"):
        code, out, err = call("predict", table_run, flower_table, "--output", name)
        assert (code, out) == (0, "")
        assert f"Wrote 150 rows to {name}" in err
    found = [pd.read_csv("p.csv"), pd.read_json("p.jsonl", lines=True), pd.read_parquet("p.parquet")]
    model = Classifier.load(table_run)
    for table in found:
        assert table["input"].tolist() == [f"flowers.csv#{row}" for row in range(1, 151)]
        assert table["prediction"].tolist() == model.predict(flower_table).tolist()
        assert table["probability"].tolist() == pytest.approx(model.predict_proba(flower_table).max(1).tolist())


def test_predict_loses_no_file(call, table_run, flower_table, tmp_path):  # noqa: F811
    (tmp_path / "p.csv").write_text("mine")
    for more in ((), ("--resume",)):
        code, _, err = call("predict", table_run, flower_table, "--output", "p.csv", *more)
        assert code == 1
        assert "p.csv is there already" in err
        assert "--overwrite" in err
    assert (tmp_path / "p.csv").read_text() == "mine"
    assert call("predict", table_run, flower_table, "--output", "p.csv", "--overwrite")[0] == 0
    assert (tmp_path / "p.csv").read_text().startswith("input,prediction")


def test_predict_names_what_it_cannot_read_and_goes_on(call, image_run, digit_folder, tmp_path):  # noqa: F811
    folder = shutil.copytree(digit_folder / "digit 1", tmp_path / "new")
    (folder / "0 broken.png").write_bytes(b"no image")
    code, out, _ = call("predict", image_run, "new")
    assert code == 1
    rows = out.splitlines()
    assert rows[0] == "input,prediction,probability,error"
    assert rows[1] == "new/0 broken.png,,,not an image that can be identified"
    assert rows[2].startswith("new/0.png,digit 1,")
    assert len(rows) == 14


def stdin(arguments, content: bytes):
    command = [sys.executable, "-m", "lastlayer", *map(str, arguments)]
    return subprocess.run(command, input=content, capture_output=True, timeout=120, check=False)


def test_predict_from_standard_input(table_run, image_run, digit_folder):  # noqa: F811
    rows = flowers(3).drop(columns="kind")
    done = stdin(["predict", table_run, "-"], rows.to_csv(index=False).encode())
    assert done.stderr == b""
    assert done.stdout.decode().splitlines()[1].startswith("stdin#1,")
    again = stdin(["predict", table_run, "-"], rows.to_json(orient="records", lines=True).encode())
    first, second = (pd.Series(d.stdout.decode().splitlines()).str.split(",").str[1] for d in (done, again))
    assert first.tolist() == second.tolist()
    paths = f"{digit_folder}/digit 2/1.png\n{tmp_missing(digit_folder)}\n".encode()
    done = stdin(["predict", image_run, "-"], paths)
    assert done.returncode == 1
    assert done.stdout.decode().splitlines()[2].endswith(",,,the file is not there")
    done = stdin(["predict", image_run, "-"], (digit_folder / "digit 2" / "1.png").read_bytes())
    assert done.stdout.decode().splitlines()[1].startswith("stdin,digit 2,")
    assert stdin(["predict", table_run, "-"], b"").returncode == 1


def tmp_missing(folder):
    return folder / "digit 2" / "missing.png"


def test_explain_typed_logits(call):
    code, out, _ = call("explain", "--logits", "4, 2 −2", "--classes", "dog,cat,rabbit", "--target", "dog")
    assert code == 0
    assert "0.1291  = −log 0.8789" in out
    code, out, _ = call("explain", "--logits", "-0.1522", "--kind", "binary", "--target", 1, "--json")
    assert json.loads(out)["loss"] == pytest.approx(0.7721, abs=1e-4)
    code, out, _ = call("explain", "--logits=4,2,-2", "--kind", "multilabel", "--target", "0,2", "--lang", "ko")
    assert code == 0
    assert "시그모이드" in out
    code, out, _ = call("explain", "--logits", "4,2", "--temperature", "2")
    assert "uⱼ = zⱼ / 2" in out


def test_explain_an_input_of_a_run(call, image_run, table_run, flower_table, digit_folder):  # noqa: F811
    code, out, _ = call("explain", table_run, f"{flower_table}#7")
    assert code == 0
    assert out.startswith("flowers.csv#7")
    assert f"true answer: {flowers()['kind'][6]}" in out
    code, out, _ = call("explain", image_run, digit_folder / "digit 4" / "2.png", "--target", "digit 4")
    assert "true answer: digit 4" in out
    code, out, _ = call("explain", image_run)
    assert code == 0
    assert "true answer" in out


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("4,2,-2", [4, 2, -2]),
        ("4 2 −2", [4, 2, -2]),
        ("[4; 2.5e0;  –2]", [4, 2.5, -2]),
        (" 1,\t2 ", [1, 2]),
    ],
)
def test_typed_numbers(text, numbers):
    assert parse_numbers(text) == numbers


# Bad input: one clear message, no traceback, exit code 2 for wrong use and 1 for failed work

WRONG = {
    "no such path": (["train", "nowhere"], 2, "there is no file or folder 'nowhere'"),
    "an unknown verb": (["tarin", "digits"], 2, "train"),
    "an unknown flag": (["train", "digits", "--epoch", "3"], 2, "--epochs"),
    "a flag without sense": (["train", "digits", "--epochs", "0"], 2, "epochs has to lie between"),
    "a number that is none": (["train", "digits", "--epochs", "few"], 2, "integer"),
    "an unknown choice": (["train", "digits", "--device", "gpu"], 2, "Did you mean 'cpu'"),
    "an unknown backbone": (["train", "digits", "--backbone", "resnet81"], 2, "Did you mean 'resnet18'"),
    "no such run": (["evaluate", "nowhere"], 2, "no run folder"),
    "no such configuration": (["train", "digits", "--config", "nowhere.yaml"], 2, "no configuration file"),
    "neither run nor logits": (["explain"], 2, "--logits 4,2,-2"),
    "letters as logits": (["explain", "--logits", "4,x"], 2, "numbers such as 4,2,-2"),
    "an unknown class": (["explain", "--logits", "4,2", "--classes", "dog,cat", "--target", "dgo"], 1, "mean 'dog'"),
    "an unknown language": (["explain", "--logits", "4,2", "--lang", "fr"], 2, "en (English) or ko"),
    "one logit": (["explain", "--logits", "4"], 2, "--kind binary"),
}


@pytest.mark.parametrize(("arguments", "code", "message"), WRONG.values(), ids=WRONG)
def test_wrong_use(call, arguments, code, message):
    found, out, err = call(*arguments)
    assert found == code
    assert out == ""
    assert message in err
    assert "Traceback" not in err
    assert err.lower().count("error:") == 1


def test_bad_data(call, tmp_path, table_run):  # noqa: F811
    cases = {
        "specis": (flowers(), ["--target", "knid"], 2, "Did you mean 'kind'"),
        "one class": (flowers().assign(kind="rose"), ["--target", "kind"], 1, "one class only"),
        "regression": (flowers().assign(kind=flowers()["length"].fillna(0)), ["--target", "kind"], 1, "regression"),
        "no target": (flowers(), [], 2, "needs --target"),
        "missing": (
            flowers().assign(kind=flowers()["kind"].where(flowers().index > 3)),
            ["--target", "kind"],
            1,
            "4 rows",
        ),
    }
    for name, (frame, options, code, message) in cases.items():
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
        found, out, err = call("train", f"{name}.csv", *options)
        assert (found, out) == (code, ""), name
        assert message in err
    flowers().drop(columns="soil").to_csv(tmp_path / "lacks.csv", index=False)
    found, out, err = call("predict", table_run, "lacks.csv")
    assert (found, out) == (2, "")
    assert "lacks 1 column that the model was trained on: soil" in err
    (tmp_path / "empty").mkdir()
    found, _, err = call("train", "empty")
    assert found == 1
    assert "The folder is empty" in err


def test_a_damaged_run_is_refused(call, tmp_path, table_run):  # noqa: F811
    run_copy = shutil.copytree(table_run, tmp_path / "copy")
    (run_copy / "model.safetensors").write_bytes(b"x")
    for verb in (["evaluate", "copy"], ["predict", "copy", "x.csv"], ["explain", "copy"]):
        code, out, err = call(*verb)
        assert (code, out) == (1, "")
        assert "changed since it was written: model.safetensors" in err


def test_help_of_every_verb(call):
    for verb in ([], ["train"], ["evaluate"], ["predict"], ["explain"], ["bench"]):
        code, out, _ = call(*verb, "--help")
        assert code == 0
        assert "Usage" in out
    assert call("--version")[1].startswith("lastlayer 0.")


def test_the_reader_of_a_pipe_may_leave(table_run, flower_table):  # noqa: F811
    command = f"'{sys.executable}' -m lastlayer predict '{table_run}' '{flower_table}' | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=120, check=False)  # noqa: S602
    assert done.stdout.startswith("input,")
    assert done.stderr == ""


def test_without_its_packages_the_command_line_says_how_to_install_them(tmp_path):
    code = "import sys; sys.modules['typer'] = None\nfrom lastlayer.__main__ import main\nsys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'lastlayer[classifier]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_extra_is_named(monkeypatch, call):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    code, _, err = call("train", "digits")
    assert code == 2
    assert "'sklearn', which is not installed" in err
    assert "pip install 'lastlayer[classifier]'" in err


def test_evaluate_against_another_run(call, table_run, flower_table):  # noqa: F811
    how = ("--epochs", 1, "--seed", 1, "--backbone", "mlp", "--output", "other")
    assert call("train", flower_table, "--target", "kind", *how)[0] == 0
    code, _, err = call("evaluate", table_run, "--against", "other")
    assert code == 1
    assert "missing in other" in err  # another seed, another split
    code, out, err = call("evaluate", table_run, flower_table, "--against", "other")
    assert (code, err) == (0, "")
    for word in ("A − B", "log-loss", "McNemar", "another answer"):
        assert word in out
    plain = json.loads(call("evaluate", table_run, flower_table, "--against", "other", "--json")[1])
    assert plain["scores"]["log_loss"]["better"] == "first"
    assert plain["rows"] == 150


def test_report_is_written_again_in_another_language(call, table_run):  # noqa: F811
    code, out, err = call("report", table_run, "--lang", "ko", "--output", "r.html")
    assert (code, err) == (0, "")
    assert "Report: r.html" in out
    assert '<html lang="ko">' in Path("r.html").read_text()
    code, _, err = call("report", table_run, "--lang", "fr", "--output", "r.html")
    assert code == 2
    assert "--lang has to be en (English) or ko" in err
