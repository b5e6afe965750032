"""Several processes that train together take the steps of one, and one of them speaks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lastlayer import Classifier
from lastlayer.cli import run
from tests.classifier.several import main

ROOT = Path(__file__).parents[2]


def together(*arguments):
    """Run a module in two processes that talk over gloo."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    path = os.pathsep.join([str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    return subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False, env=environment
    )


def test_two_processes_take_the_steps_of_one_and_one_speaks(tmp_path, digit_folder):
    main(tmp_path)
    train = ["train", digit_folder, "--epochs", 2, "--device", "cpu", "--workers", 0, "--output", tmp_path / "run"]
    done = together("-m", "tests.classifier.several", tmp_path, *train)
    assert done.returncode == 0, done.stderr

    one, first, second = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("1-0", "2-0", "2-1"))
    assert [kept["processes"] for kept in (one, first, second)] == [1, 2, 2]
    for alone, here, there in zip(one["gradients"], first["gradients"], second["gradients"], strict=True):
        assert here == there
        assert max(map(abs, alone)) > 0.01
    assert first["gradients"][0] == pytest.approx(one["gradients"][0], abs=1e-6, rel=0)
    assert first["gradients"][3] == pytest.approx(one["gradients"][3], abs=1e-5, rel=0)  # of the last five rows
    assert first["first"] == pytest.approx(one["first"], abs=1e-6)
    for kept in (first, second):  # each knows the losses of all
        assert len(kept["losses"]) == 10
        for found, expected in zip(kept["losses"], one["losses"], strict=True):
            assert found == pytest.approx(expected, abs=1e-5)

    for line in ("Rows: ", "First batch: loss", "2/2", "Processes: 2, which share each batch."):
        assert done.stderr.count(line) == 1
    assert done.stdout.count("Run folder:") == 1
    assert "strides" not in done.stderr
    assert Classifier.load(tmp_path / "run").predict(digit_folder / "digit 1").shape == (12,)


@pytest.mark.parametrize(("rank", "said"), [("0", 1), ("1", 0)])
def test_one_process_tells_what_is_wrong(capsys, monkeypatch, rank, said):
    monkeypatch.setenv("RANK", rank)
    assert run(["train", "digits", "--epochs", "0"]) == 2
    assert capsys.readouterr().err.count("--epochs has to lie between") == said
