"""Several processes that train together take the steps of one, and one of them speaks."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmarks.torture import outcome
from lastlayer import Classifier
from lastlayer.classifier.learning import processes
from lastlayer.cli import run
from lastlayer.errors import ConfigError
from tests.classifier.several import main

ROOT = Path(__file__).parents[2]


def environment():
    path = os.pathsep.join([str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}


def started(*arguments):
    """Run a module in two processes that talk over gloo."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    return subprocess.Popen(
        [*command, *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip


def together(*arguments):
    """The same, to its end."""
    with started(*arguments) as agent:
        out, err = agent.communicate(timeout=300)
    return subprocess.CompletedProcess(arguments, agent.returncode, out, err)


def assert_the_steps_of_one(folder, parts):
    """Two processes took the steps of one that computes each batch whole."""
    names = ("1-0", f"2-0{parts}", f"2-1{parts}")
    one, first, second = (json.loads((folder / f"{name}.json").read_text()) for name in names)
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


def test_two_processes_take_the_steps_of_one_and_one_speaks(tmp_path, digit_folder):
    main(tmp_path)
    train = ["train", digit_folder, "--epochs", 2, "--workers", 0, "--output", tmp_path / "run"]
    done = together("-m", "tests.classifier.several", tmp_path, *train)
    assert done.returncode == 0, done.stderr

    for parts in ("", "-parts"):
        assert_the_steps_of_one(tmp_path, parts)

    for line in ("Rows: ", "First batch: loss", "2/2", "Processes: 2, which share each batch."):
        assert done.stderr.count(line) == 1
    assert done.stdout.count("Run folder:") == 1
    assert "strides" not in done.stderr
    assert Classifier.load(tmp_path / "run").predict(digit_folder / "digit 1").shape == (12,)


@pytest.mark.parametrize(("rank", "said"), [("0", "error: --epochs has"), ("1", "process 1: error: --epochs has")])
def test_the_first_process_tells_what_is_wrong_and_another_after_it(capsys, monkeypatch, rank, said):
    waited = []
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setattr(time, "sleep", waited.append)
    assert run(["train", "digits", "--epochs", "0"]) == 2
    assert capsys.readouterr().err.startswith(said)
    assert len(waited) == int(rank)


def test_what_all_processes_find_is_said_once(tmp_path):
    done = together("-m", "lastlayer", "train", "digits", "--epochs", 0, "--output", tmp_path / "run")
    assert done.returncode == 1
    assert done.stderr.count("--epochs has to lie between") == 1


def test_processes_that_cannot_meet_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    alone = SimpleNamespace(num_processes=1, device=torch.device("mps"))
    with pytest.raises(ConfigError, match="2 processes were started to train together, and on mps they cannot meet"):
        processes.check_met(alone)


@pytest.mark.parametrize(
    ("device", "started", "here", "expected"),
    [
        ("cpu", 1, "cuda", True),
        ("cuda", 2, "cuda", False),
        ("auto", 1, None, True),
        ("auto", 2, None, True),
        ("auto", 2, "cuda", False),
        ("auto", 1, "mps", False),
        ("auto", 2, "mps", True),
    ],
)
def test_where_several_processes_can_meet(monkeypatch, device, started, here, expected):
    monkeypatch.setenv("WORLD_SIZE", str(started))
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: here is not None)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device(here))
    assert processes.on_cpu(device) is expected


@pytest.mark.slow
def test_two_processes_go_on_to_the_same_end(tmp_path, digit_folder):
    options = ["--epochs", 3, "--device", "cpu", "--workers", 0, "--batch-size", 16, "--checkpoint-minutes", 0]
    train = ["-m", "lastlayer", "train", digit_folder, *options, "--output"]
    done = together(*train, tmp_path / "whole")
    assert done.returncode == 0, done.stderr
    run = tmp_path / "run"
    with started(*train, run) as agent:
        while not list(run.glob("checkpoints/0002-*")):
            assert agent.poll() is None
            time.sleep(0.01)
        agent.terminate()  # which ends both processes, in the middle of what they do
        agent.communicate()
    assert not (run / "manifest.json").exists()
    alone = subprocess.run(
        [sys.executable, "-m", "lastlayer", "train", "--resume", str(run)],
        capture_output=True, text=True, check=False, env=environment(),
    )  # fmt: skip
    assert "was begun by 2 processes, and here 1 process goes on" in alone.stderr
    done = together("-m", "lastlayer", "train", "--resume", run)
    assert done.returncode == 0, done.stderr
    assert "Resumed" in done.stderr
    assert outcome(run) == outcome(tmp_path / "whole")
