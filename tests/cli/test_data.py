"""lastlayer data: what a person sees, what a program reads, and the exit codes."""

import inspect
import json

import pytest
from PIL import Image

from lastlayer.cli import data, train
from tests.classifier.conftest import digit_folder, flower_table, flowers  # noqa: F401 - fixtures
from tests.classifier.test_preflight import leaky, pictures
from tests.cli.test_cli import call  # noqa: F401 - a fixture


def test_nothing_harmful_is_exit_code_0(call, flower_table):  # noqa: F811
    code, out, _ = call("data", flower_table, "--target", "kind")
    assert code == 0
    assert "150 rows (125 train, 3 validation, 22 test), 3 classes" in out
    assert "missing-cells" in out


def test_harm_is_exit_code_1_with_files_and_what_to_do(call, tmp_path):  # noqa: F811
    folder = pictures(tmp_path / "p")
    (folder / "cat" / "empty.png").write_bytes(b"")
    Image.open(folder / "cat" / "0.png").save(folder / "dog" / "same.png")
    code, out, err = call("data", folder)
    assert code == 1
    assert err == ""
    assert "0 that stop training, 2 that harm" in out
    for words in ("unreadable-image", "cat/empty.png", "conflicting-labels", "dog/same.png", "Do: ", "Training: left"):
        assert words in out


def test_wrong_use_is_exit_code_2(call, tmp_path, flower_table):  # noqa: F811
    assert call("data", "nothing.csv")[0] == 2
    code, out, err = call("data", flower_table, "--target", "kindd")
    assert (code, out) == (2, "")
    assert "Did you mean 'kind'" in err
    assert call("data", flower_table, "--epochs", "3")[0] == 2  # says nothing of data


def test_json_holds_every_row(call, tmp_path):  # noqa: F811
    leaky(3000).to_csv(tmp_path / "t.csv", index=False)
    code, out, _ = call("data", "t.csv", "--target", "y", "--json")
    found = json.loads(out)
    assert code == 1
    assert found["harmful"]
    assert {one["id"] for one in found["findings"]} == {"leaking-column"}
    assert set(found["findings"][0]) >= {"severity", "what", "fix", "decision", "how", "rows", "count", "numbers"}
    assert call("data", "t.csv", "--target", "y", "--ignore", "code", "--ignore", "amount")[0] == 0


def test_it_has_the_data_flags_of_train():
    flags = inspect.signature(data.command).parameters
    ours = inspect.signature(train.command).parameters
    for name in (
        "target",
        "group",
        "missing",
        "label_separator",
        "image",
        "strict",
        "validation",
        "calibration",
        "test",
    ):
        assert (flags[name].annotation, flags[name].default) == (ours[name].annotation, ours[name].default)
    assert not {"epochs", "lr", "device", "output"} & set(flags)


@pytest.mark.parametrize("width", [80])
def test_tables_fit_a_terminal(tmp_path, width):
    import io

    from rich.console import Console

    from lastlayer.classifier import preflight
    from lastlayer.cli.findings import heading, tables

    frame = leaky(300).assign(**{f"a column with a very long name {place}": "x" for place in range(9)})
    screen = Console(width=width, record=True, file=io.StringIO())
    found = preflight(frame, "y")
    for part in (*heading(found), *tables(found)):
        screen.print(part)
    assert max(map(len, screen.export_text().splitlines())) <= width


def test_names_cannot_steer_the_terminal(call, tmp_path):  # noqa: F811
    folder = pictures(tmp_path / "p")
    (folder / "cat" / "a\x1b[31m.png").write_bytes(b"x")
    code, out, _ = call("data", folder)
    assert code == 1
    assert "\x1b" not in out
    assert "cat/a\\x1b[31m.png" in out


def test_train_strict_stops_at_what_harms(call, tmp_path):  # noqa: F811
    frame = flowers(120)
    frame.loc[3, "kind"] = f" {frame.loc[3, 'kind'].upper()}"
    frame.to_csv(tmp_path / "t.csv", index=False)
    code, _, err = call("train", "t.csv", "--target", "kind", "--strict", "--output", "r")
    assert code == 1
    assert "label-spelling" in err
    assert "Leave --strict out" in err
    assert not (tmp_path / "r").exists()


def test_train_shows_the_folds(call, flower_table):  # noqa: F811
    code, out, _ = call("train", flower_table, "--target", "kind", "--epochs", 1, "--folds", 3, "--output", "r")
    assert code == 0
    assert "Cross-validation: 150 rows, 3 folds" in out
    code, out, _ = call(
        "train", flower_table, "--target", "kind", "--epochs", 1, "--folds", 2, "--output", "s", "--json"
    )
    assert json.loads(out)["cross_validation"]["folds"] == 2
