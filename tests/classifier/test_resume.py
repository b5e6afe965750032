"""A run that is killed goes on to the end that it would have had; one that was changed does not."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from benchmarks.torture import outcome
from lastlayer import Classifier
from lastlayer.classifier.config import Config
from lastlayer.classifier.data.rows import Rows
from lastlayer.classifier.learning import checkpoints, keeping, processes, resuming
from lastlayer.classifier.learning.checkpoints import Checkpoint
from lastlayer.classifier.learning.keeping import Keeper
from lastlayer.errors import DataError, DataNotFoundError, RunError, SaveError
from tests.classifier.conftest import flowers

ROOT = Path(__file__).parents[2]
SETTINGS = {"epochs": 4, "batch_size": 16, "checkpoint_minutes": 0, "device": "cpu", "verbose": False}


class Killed(BaseException):
    """Ends a training between two steps, as a signal would, and leaves what it has written."""


def cut_off(run, after, data, target="kind", **settings):
    """A run that died after so many checkpoints."""
    with pytest.MonkeyPatch.context() as patch:
        write, written = checkpoints.write, []

        def dying(folder, name, checkpoint):
            write(folder, name, checkpoint)
            written.append(name)
            if len(written) == after:
                raise Killed

        patch.setattr(checkpoints, "write", dying)
        with pytest.raises(Killed):
            Classifier(**{**SETTINGS, **settings}).fit(data, target, output=run)
    return run


@pytest.mark.parametrize("after", [1, 3, 7, 8, 20])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"schedule": "cosine", "warmup": 1.5, "accumulate": 2, "clip_norm": 1.0, "precision": "bf16"},
        {"class_weights": "balanced", "label_smoothing": 0.1},
    ],
    ids=["plain", "schedule", "weights"],
)
def test_a_table_run_goes_on_to_the_same_end(tmp_path, flower_table, after, settings):
    whole = Classifier(**SETTINGS, **settings).fit(flower_table, "kind", output=tmp_path / "whole")
    run = cut_off(tmp_path / "run", after, flower_table, **settings)
    model = Classifier.resume(run, verbose=False)
    assert outcome(run) == outcome(tmp_path / "whole")
    for name, weight in whole.record.weights.items():
        assert torch.equal(weight, model.record.weights[name])
    assert not (run / "checkpoints").exists()
    assert any(note.startswith("Resumed") for note in model.record.data["notes"])
    told = [note for note in model.record.data["notes"] if not note.startswith("Resumed")]
    assert told == whole.record.data["notes"]  # and nothing is said twice


@pytest.mark.parametrize("after", [35, 38], ids=["between epochs", "in an epoch"])
def test_the_best_epoch_may_lie_before_the_kill(tmp_path, flower_table, after):
    settings = {"epochs": 6, "lr": 0.05, "seed": 4, "validation": 0.1, "calibration": 0.1}
    whole = Classifier(**{**SETTINGS, **settings}).fit(flower_table, "kind", output=tmp_path / "whole")
    assert whole.record.data["training"]["best_epoch"] < 5  # of seven steps each: the fifth ends at checkpoint 35
    run = cut_off(tmp_path / "run", after, flower_table, **settings)
    assert list(run.glob("checkpoints/0006-*"))
    Classifier.resume(run, verbose=False)
    assert outcome(run) == outcome(tmp_path / "whole")


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_run_goes_on_to_the_same_end(tmp_path, digit_folder, workers):
    settings = {"workers": workers, "augment": "auto", "mixup": 0.2, "cutmix": 1.0, "epochs": 3, "batch_size": 32}
    Classifier(**{**SETTINGS, **settings}).fit(digit_folder, output=tmp_path / "whole")
    run = cut_off(tmp_path / "run", 4, digit_folder, None, **settings)
    Classifier.resume(run, verbose=False)
    assert outcome(run) == outcome(tmp_path / "whole")


def test_a_run_may_die_again_and_again(tmp_path, flower_table):
    Classifier(**SETTINGS).fit(flower_table, "kind", output=tmp_path / "whole")
    run = cut_off(tmp_path / "run", 2, flower_table)
    for _ in range(3):
        with pytest.MonkeyPatch.context() as patch:
            write = checkpoints.write

            def dying(folder, name, checkpoint, write=write):
                write(folder, name, checkpoint)
                raise Killed

            patch.setattr(checkpoints, "write", dying)
            with pytest.raises(Killed):
                Classifier.resume(run, verbose=False)
    Classifier.resume(run, verbose=False)
    assert outcome(run) == outcome(tmp_path / "whole")


def test_data_in_memory_has_to_be_given_again(tmp_path):
    Classifier(**SETTINGS).fit(flowers(), "kind", output=tmp_path / "whole")
    run = cut_off(tmp_path / "run", 5, flowers())
    with pytest.raises(DataError, match="begun with data in memory: pass that data again"):
        Classifier.resume(run, verbose=False)
    Classifier.resume(run, flowers(), verbose=False)
    assert outcome(run) == outcome(tmp_path / "whole")


def test_before_the_first_checkpoint_a_run_begins_at_the_beginning(tmp_path, flower_table, heard):
    Classifier(**SETTINGS).fit(flower_table, "kind", output=tmp_path / "whole")
    run = cut_off(tmp_path / "run", 1, flower_table)
    shutil.rmtree(next((run / "checkpoints").glob("0*")))
    Classifier.resume(run, listener=heard)
    heard.said("No checkpoint was written yet: the training begins at the beginning")
    assert outcome(run) == outcome(tmp_path / "whole")


# What is refused


def test_changed_data_is_refused(tmp_path):
    run = cut_off(tmp_path / "run", 5, flowers())
    for change in (
        lambda frame: frame.iloc[:-1],
        lambda frame: frame.iloc[::-1],
        lambda frame: frame.assign(length=frame["length"].where(frame.index != 3, 9.5)),
        lambda frame: frame.assign(
            kind=frame["kind"].where(frame.index != 3, {"rose": "lily"}.get(frame["kind"][3], "rose"))
        ),
    ):
        with pytest.raises(RunError, match=r"data is not what the run .* was begun with"):
            Classifier.resume(run, change(flowers()), verbose=False)
    assert (run / "checkpoints" / "begun.json").exists()  # a refusal harms nothing
    Classifier.resume(run, flowers(), verbose=False)


def test_a_changed_file_of_weights_is_refused(tmp_path):
    weights = tmp_path / "weights.json"
    weights.write_text('{"rose": 3}')
    run = cut_off(tmp_path / "run", 5, flowers(), class_weights=str(weights))
    weights.write_text('{"rose": 4}')
    with pytest.raises(RunError, match="belong to other loss: the folder, or a file of weights"):
        Classifier.resume(run, flowers(), verbose=False)


def test_a_finished_run_and_what_is_no_run_are_refused(tmp_path, table_run):
    with pytest.raises(RunError, match="is finished: there is nothing to resume"):
        Classifier.resume(table_run)
    with pytest.raises(DataNotFoundError, match="no run folder"):
        Classifier.resume(tmp_path / "none")
    with pytest.raises(RunError, match=r"no training that was cut off \(there is no checkpoints/begun.json\)"):
        Classifier.resume(tmp_path)


def test_another_number_of_processes_is_refused(tmp_path):
    now = resuming.Begun(Config(), None, 1)
    with pytest.raises(RunError, match=r"begun by 2 processes, and here 1 process goes on .* Start it with 2"):
        resuming.check(tmp_path, resuming.Begun(Config(), None, 2), now, None)


def test_other_versions_are_said(heard):
    from lastlayer.classifier.journal import Journal

    then, now = (resuming.Begun(Config(), None, 1, {"torch": version}) for version in ("2.11", "2.15"))
    resuming.check(Path(), then, now, Journal(heard))
    heard.said("Other versions than the run began with (torch 2.11 → 2.15)")


def test_two_processes_do_not_go_on_with_one_run(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    hold = (
        "import sys, time; from pathlib import Path; from lastlayer.classifier.learning import resuming\n"
        "with resuming.held(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RunError, match="another process is training the run"), resuming.held(tmp_path):
            pass
        other.kill()
        other.wait()
        with resuming.held(tmp_path):  # the system has released it
            pass


def test_rows_of_other_names_or_splits_have_another_fingerprint():
    rows, target = Rows("table", None, ["a", "b"]), torch.tensor([0, 1])
    given = resuming.fingerprint(rows, [1, 2], {"train": [0], "test": [1]}, target)
    assert given == resuming.fingerprint(rows, [1, 2], {"train": [0], "test": [1]}, target)
    others = [
        resuming.fingerprint(Rows("table", None, ["a", "c"]), [1, 2], {"train": [0], "test": [1]}, target),
        resuming.fingerprint(rows, [1, 3], {"train": [0], "test": [1]}, target),
        resuming.fingerprint(rows, [1, 2], {"train": [1], "test": [0]}, target),
        resuming.fingerprint(rows, [1, 2], {"train": [0], "test": [1]}, torch.tensor([1, 1])),
        resuming.fingerprint(rows, [1, 2], {"train": [0], "test": [1]}, torch.tensor([[0, 1]])),
    ]
    assert given not in others
    assert len(set(others)) == len(others)


# Checkpoints


def written(run, *places):
    for epoch, step in places:
        tensors = {"weights/a": torch.arange(6.0) + step, "weights/b": torch.tensor(1.5)}
        checkpoints.write(run, checkpoints.name_of(epoch, step), Checkpoint(tensors, {"epoch": epoch, "step": step}))
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def test_the_newest_two_are_kept_and_come_back_as_they_were(tmp_path):
    assert written(tmp_path, (1, 5), (1, 9), (2, 0)) == ["0001-00000009", "0002-00000000"]
    name, found = checkpoints.newest(tmp_path, lambda folder, flaw: None)
    assert name == "0002-00000000"
    assert torch.equal(found.part("weights")["a"], torch.arange(6.0))
    assert found.plain == {"epoch": 2, "step": 0}
    assert written(tmp_path, (9_999, 7), (10_000, 1)) == ["10000-00000001", "9999-00000007"]
    assert checkpoints.newest(tmp_path, lambda folder, flaw: None)[0] == "10000-00000001"


@pytest.mark.parametrize("file", ["state.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("harm", ["flip", "cut", "gone", "zeros", "of another"])
def test_a_torn_checkpoint_is_passed_over_in_one_line(tmp_path, file, harm):
    written(tmp_path, (1, 5), (2, 0))
    path = tmp_path / "checkpoints" / "0002-00000000" / file
    content = path.read_bytes()
    if harm == "gone":
        path.unlink()
    else:
        other = (tmp_path / "checkpoints" / "0001-00000005" / file).read_bytes()
        path.write_bytes(
            {
                "flip": content[:-9] + bytes([content[-9] ^ 4]) + content[-8:],
                "cut": content[: len(content) // 2],
                "zeros": bytes(len(content)),
                "of another": other,
            }[harm]
        )
    flaws = []
    name, found = checkpoints.newest(tmp_path, lambda folder, flaw: flaws.append(f"{folder.name}: {flaw}"))
    assert name == "0001-00000005"
    assert torch.equal(found.part("weights")["a"], torch.arange(6.0) + 5)
    assert len(flaws) == 1
    assert "\n" not in flaws[0]
    assert flaws[0].startswith("0002-00000000: ")


def test_a_torn_checkpoint_is_said_and_the_end_is_the_same(tmp_path, flower_table, heard):
    Classifier(**SETTINGS).fit(flower_table, "kind", output=tmp_path / "whole")
    run = cut_off(tmp_path / "run", 9, flower_table)
    older, newer = sorted(path for path in (run / "checkpoints").glob("0*"))
    with (newer / "state.safetensors").open("r+b") as file:
        file.truncate(100)
    (run / "checkpoints" / ".0009-00000001.part").mkdir()  # what was being written
    model = Classifier.resume(run, listener=heard)
    line = heard.said("Passed over the checkpoint", newer.name, "state.safetensors has changed", older.name)
    assert "\n" not in line
    assert outcome(run) == outcome(tmp_path / "whole")
    assert line in model.record.data["notes"]


def test_no_whole_checkpoint_is_no_beginning(tmp_path, flower_table):
    run = cut_off(tmp_path / "run", 9, flower_table)
    for state in (run / "checkpoints").glob("*/state.json"):
        state.write_text("{}")
    with pytest.raises(RunError, match=r"no checkpoint of the run .* can be used"):
        Classifier.resume(run, verbose=False)


@pytest.mark.parametrize("change", [b"", b"{}", b"[1]", b"\xff", None])
def test_changed_beginnings_are_refused(tmp_path, flower_table, change):
    run = cut_off(tmp_path / "run", 1, flower_table)
    path = run / "checkpoints" / "begun.json"
    if change is None:
        change = path.read_bytes().replace(b'"epochs": 4', b'"epochs": 5')
    path.write_bytes(change)
    with pytest.raises(RunError, match=r"begun\.json is not what lastlayer writes there"):
        Classifier.resume(run, verbose=False)


def test_old_checkpoints_go_only_when_a_newer_one_verifies(tmp_path, monkeypatch):
    written(tmp_path, (1, 1), (1, 2))
    write = checkpoints.write_whole

    def torn(path, content):
        write(path, content[:-1] if path.name == "state.safetensors" else content)

    monkeypatch.setattr(checkpoints, "write_whole", torn)
    with pytest.raises(SaveError, match="does not read back as it was written"):
        written(tmp_path, (1, 3))
    monkeypatch.undo()
    assert checkpoints.newest(tmp_path, lambda folder, flaw: None)[0] == "0001-00000002"
    assert (tmp_path / "checkpoints" / "0001-00000001").exists()


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    written(tmp_path, (1, 1))

    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SaveError, match="disk is full"):
        written(tmp_path, (1, 2))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["0001-00000001"]


# When


def test_checkpoints_are_written_as_often_as_they_are_cheap(tmp_path, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(keeping.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(
        checkpoints, "write", lambda *args: clock.__setitem__(0, clock[0] + 2.0)
    )  # it takes two seconds
    monkeypatch.setattr(processes, "anywhere", lambda holds, helper: holds)

    class Alone:
        is_main_process, num_processes = True, 1

    keeper = Keeper(tmp_path, 5.0, Alone())
    assert keeper.due(after_epoch=True)
    assert not keeper.due(after_epoch=False)
    keeper.keep(lambda: Checkpoint({}, {"epoch": 1, "step": 0}))
    clock[0] += 25 * 2.0 - 1
    assert not keeper.due(after_epoch=True)
    clock[0] += 2
    assert keeper.due(after_epoch=True)
    assert not keeper.due(after_epoch=False)
    clock[0] += 300
    assert keeper.due(after_epoch=False)
    assert Keeper(tmp_path, 0.0, Alone()).due(after_epoch=False)
    assert not Keeper(None, 0.0, Alone()).due(after_epoch=True)


# The command line


def command(*arguments):
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-m", "lastlayer", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip


def test_a_killed_run_names_the_command_that_goes_on_with_it(tmp_path, flower_table):
    run = tmp_path / "my run"
    options = ["--target", "kind", "--epochs", 400, "--patience", 400, "--checkpoint-minutes", 0, "--output", run]
    with command("train", flower_table, *options) as process:
        while not list(run.glob("checkpoints/0003-*")):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    with command("evaluate", run) as process:
        _, said = process.communicate()
        assert process.returncode == 1
    assert f"'lastlayer train --resume '{run}'' goes on with it" in said.replace("\\", "")
    with command("train", "--resume", run, "--epochs", 3) as process:
        _, said = process.communicate()
        assert (process.returncode, said) == (
            2,
            "error: --resume goes on with the settings of the run: leave out --epochs.\n",
        )
    with command("train", "--resume", run) as process:
        for line in process.stderr:
            if re.match(r"Resumed (in epoch 3, after|after epoch 2)", line):
                break
        process.send_signal(signal.SIGINT)  # an interrupt still keeps the best epoch
        process.communicate()
        assert process.returncode == 130
    assert Classifier.load(run).record.data["training"]["interrupted"]


def test_train_needs_data_or_a_run():
    with command("train") as process:
        _, said = process.communicate()
    assert process.returncode == 2
    assert said.startswith("error: name the data to train on, or a run to go on with")


@pytest.mark.slow
def test_kills_at_random_moments_and_changed_folders():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.torture", "--kills", "6", "--mutations", "120"],
        capture_output=True, text=True, check=False, timeout=600, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "bit for bit" in done.stdout
    assert "refused with a message" in done.stdout
    assert json.loads(re.search(r"^ +(\d+)  killed$", done.stdout, re.M)[1]) == 6
