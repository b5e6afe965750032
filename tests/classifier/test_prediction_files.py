"""Predictions in files: formulas, killed runs that go on, and what may not."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch

from lastlayer import Classifier
from lastlayer.classifier.data import blocks, streams
from lastlayer.classifier.predicting import prediction_files
from lastlayer.classifier.predicting.prediction import Predictions, as_csv, as_jsonl
from lastlayer.classifier.predicting.prediction_files import Output
from lastlayer.classifier.predicting.streaming import Options
from lastlayer.classifier.task import Task
from lastlayer.decisions import Policy
from lastlayer.errors import ConfigError, RunError, SaveError
from tests.classifier.conftest import flowers

KINDS = ["csv", "jsonl", "parquet"]


def parts_of(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir() if file.name.startswith("."))


# Formulas

EVIL = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"]


@pytest.mark.parametrize("evil", EVIL)
def test_formulas_become_texts_in_every_text_cell_and_in_no_number(evil):
    rows = [{"input": evil, "prediction": evil, "probability": -1.5, "labels": [evil, "b"], "error": None}]
    found = pd.read_csv(pd.io.common.StringIO(as_csv(rows)), lineterminator="\n", keep_default_na=False)
    assert found["input"][0] == f"'{evil}"
    assert found["prediction"][0] == f"'{evil}"
    assert found["labels"][0] == f"'{evil}|b"
    assert found["probability"][0] == -1.5
    assert f"'{evil}" not in as_csv(rows, keep_formulas=True)
    assert as_csv([{"a": "b=1", "c": "'=x", "d": -2}]) == "a,c,d\nb=1,'=x,-2\n"


def test_only_csv_has_apostrophes(tmp_path):
    p = torch.tensor([[0.7, 0.3]], dtype=torch.float64)
    found = Predictions(["=a.png"], Task("multiclass", ("-x", "+y")), p.log(), p, Policy("multiclass", 2), {})
    found.write(tmp_path / "p.csv")
    assert (tmp_path / "p.csv").read_text() == "input,prediction,probability\n'=a.png,'-x,0.7\n"
    found.write(tmp_path / "p.csv", keep_formulas=True)
    assert (tmp_path / "p.csv").read_text() == "input,prediction,probability\n=a.png,-x,0.7\n"
    found.write(tmp_path / "p.jsonl")
    assert json.loads((tmp_path / "p.jsonl").read_text())["prediction"] == "-x"


# Files in the making


def some(start, stop):
    return [
        {"input": f"x{row}", "probability": row / 7, "error": "odd" if row == 5 else None} for row in range(start, stop)
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_stopped_file_goes_on_where_it_was_noted(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(prediction_files, "_SECONDS", 0)
    whole, path = tmp_path / f"whole.{kind}", tmp_path / f"p.{kind}"
    with Output(whole, {"inputs": ["a"]}) as file:
        for start in range(0, 40, 10):
            file.write(some(start, start + 10), bytes([start]))
        file.finish()
    with Output(path, {"inputs": ["a"]}) as file:
        file.write(some(0, 10), b"\0")
        file.write(some(10, 20), b"\n")
    with file.part.open("ab") as part:  # written after the last note, when the machine went down
        part.write(b"half a ro")
    assert not path.exists()
    with Output(path, {"inputs": ["a"]}, resume=True) as file:
        assert file.begun
        assert (file.at.rows, file.at.errors, file.at.digest) == (20, 1, b"\n")
        file.write(some(20, 30), b"\x14")
        file.write(some(30, 40), b"\x1e")
        file.finish()
    assert path.read_bytes() == whole.read_bytes()
    assert parts_of(tmp_path) == []
    if kind == "parquet":
        assert pyarrow.parquet.read_table(path).to_pylist() == some(0, 40)
    else:
        assert path.read_text() == (as_csv if kind == "csv" else as_jsonl)(some(0, 40))  # as if there were one part


def test_row_groups_have_as_many_rows_whatever_chunks_came(tmp_path, monkeypatch):
    monkeypatch.setattr(prediction_files, "_GROUP", 16)
    files = []
    for size in (1, 7, 50):
        files.append(tmp_path / f"{size}.parquet")
        with Output(files[-1], {}) as file:
            for start in range(0, 50, size):
                file.write(some(start, min(start + size, 50)), b"")
            file.finish()
    about = pyarrow.parquet.ParquetFile(files[0]).metadata
    assert [about.row_group(group).num_rows for group in range(about.num_row_groups)] == [16, 16, 16, 2]
    assert files[0].read_bytes() == files[1].read_bytes() == files[2].read_bytes()
    assert pyarrow.parquet.read_table(files[0]).to_pylist() == some(0, 50)


def test_types_of_a_parquet_file_are_those_of_all_rows(tmp_path):
    path = tmp_path / "p.parquet"
    with Output(path, {}) as file:
        file.write([{"input": "a", "prediction": None, "probability": None, "labels": None, "error": "odd"}], b"")
        file.write([{"input": "b", "prediction": 3, "probability": 0.5, "labels": [], "error": None}], b"")
        file.write([{"input": "c", "prediction": 4, "probability": 1.0, "labels": ["x"], "error": None}], b"")
        file.finish()
    table = pyarrow.parquet.read_table(path)
    assert table.schema.field("prediction").type == pa.int64()
    assert table.schema.field("labels").type == pa.list_(pa.string())
    assert table["labels"].to_pylist() == [None, [], ["x"]]


def test_what_may_not_go_on(tmp_path):
    path = tmp_path / "p.csv"
    with Output(path, {"inputs": ["a"], "threads": 2}) as file:
        file.write(some(0, 3), b"")
    with pytest.raises(RunError, match=r"p\.csv was begun with another threads: 2 then, 4 now"):
        Output(path, {"inputs": ["a"], "threads": 4}, resume=True)
    with pytest.raises(RunError, match="begun with another keep formulas"):
        Output(path, {"inputs": ["a"], "threads": 2}, resume=True, keep_formulas=True)
    content = file.part.read_bytes()
    file.part.write_bytes(content[:-1])
    with pytest.raises(RunError, match="is shorter than it was"):
        Output(path, {"inputs": ["a"], "threads": 2}, resume=True)
    file.state.write_text("{}")
    with pytest.raises(RunError, match="does not say how far"):
        Output(path, {"inputs": ["a"], "threads": 2}, resume=True)
    with Output(path, {"inputs": ["a"], "threads": 2}, overwrite=True) as anew:
        assert anew.begun
        anew.write(some(0, 1), b"")
        anew.finish()
    assert path.read_text() == as_csv(some(0, 1))
    with Output(tmp_path / "q.csv", {}, resume=True) as fresh:  # nothing was left: it begins
        assert not fresh.begun
    with pytest.raises(ConfigError, match="has to end in"):
        Output(tmp_path / "p.xlsx", {})
    (tmp_path / "d.csv").mkdir()
    for bad in (tmp_path / "d.csv", tmp_path / "no" / "p.csv"):
        with pytest.raises(SaveError, match="cannot be written"):
            Output(bad, {})


@pytest.mark.parametrize("kind", KINDS)
def test_no_file_and_no_part_is_lost_unasked(kind, tmp_path):
    path = tmp_path / f"p.{kind}"
    path.write_text("mine")
    for resume in (False, True):
        with pytest.raises(SaveError, match=r"is there already.* new file with output, or say overwrite=True"):
            Output(path, {}, resume=resume)
    assert path.read_text() == "mine"
    assert parts_of(tmp_path) == []
    with Output(path, {}, overwrite=True) as stopped:
        stopped.write(some(0, 3), b"")
    with pytest.raises(SaveError, match=r"was begun by an earlier prediction.*resume=True goes on.*overwrite=True"):
        Output(path, {})
    assert path.read_text() == "mine"
    with Output(path, {}, resume=True) as file:  # what was allowed when it began
        assert file.at.rows == 3
        file.finish()
    assert path.read_bytes() != b"mine"


def test_a_file_that_comes_while_rows_are_written_stays(tmp_path):
    path = tmp_path / "p.csv"
    with Output(path, {}) as file:
        file.write(some(0, 3), b"")
        path.write_text("mine")
        with pytest.raises(SaveError, match=r"is there already.*All rows are in \.p\.csv\.part"):
            file.finish()
    assert path.read_text() == "mine"
    path.unlink()
    with Output(path, {}, resume=True) as file:
        file.finish()
    assert path.read_text() == as_csv(some(0, 3))


def test_a_full_disk_is_said_once(tmp_path, monkeypatch):
    def full(number):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "p.csv"
    with Output(path, {}) as file:
        file.write(some(0, 3), b"")
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(SaveError, match=r"The disk is full: free some space"):
                file.finish()
    assert not path.exists()
    with Output(path, {}, resume=True) as file:  # what could be noted later goes on
        assert file.at.rows == 3


# Streams that go on


@pytest.mark.parametrize("kind", KINDS)
def test_the_rest_of_a_stream_is_the_rest_of_the_whole(kind, table_run, tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 900)
    monkeypatch.setattr(streams, "_ROWS", 13)
    model, path = Classifier.load(table_run), tmp_path / f"t.{kind}"
    frame = flowers(300, seed=4)
    {
        "csv": frame.to_csv,
        "jsonl": lambda p, index: frame.to_json(p, orient="records", lines=True),
        "parquet": frame.to_parquet,
    }[kind](path, index=False)
    whole = list(model.stream(path))
    at = whole[3]
    rest = list(model.stream(path, Options(skip=at.rows, digest=at.digest)))
    assert [part.rows for part in rest] == [part.rows for part in whole[4:]]
    for one, other in zip(rest, whole[4:], strict=True):
        np.testing.assert_array_equal(one.predictions.logits, other.predictions.logits)
        assert one.digest == other.digest
    for skip in (at.rows, at.rows + 1, 10_000):
        with pytest.raises(RunError, match="the inputs have changed"):
            list(model.stream(path, Options(skip=skip, digest=b"other")))


@pytest.mark.parametrize("change", ["cell", "file", "size"])
def test_changed_inputs_are_recognised(change, table_run, image_run, digit_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 900)
    monkeypatch.setattr(streams, "PICTURES", 3)
    if change == "cell":
        model, source = Classifier.load(table_run), tmp_path / "t.csv"
        flowers(100).to_csv(source, index=False)
    else:
        model, source = Classifier.load(image_run), tmp_path / "pictures"
        source.mkdir()
        for file in (digit_folder / "digit 1").iterdir():
            (source / file.name).write_bytes(file.read_bytes())
    at = list(model.stream(source))[1]
    go_on = Options(skip=at.rows, digest=at.digest)
    assert list(model.stream(source, go_on))
    if change == "cell":  # of the same length, at the same time
        about = source.stat()
        source.write_text(source.read_text().replace("sand", "clay", 1))
        os.utime(source, ns=(about.st_atime_ns, about.st_mtime_ns))
    elif change == "file":
        (source / "0 new.png").write_bytes((source / "0.png").read_bytes())
    else:
        (source / "0.png").write_bytes((source / "1.png").read_bytes() + b" ")
    with pytest.raises(RunError, match="the inputs have changed"):
        list(model.stream(source, go_on))


KILLED = """
import os, signal, sys
from lastlayer.classifier.predicting import prediction_files
from lastlayer.classifier.data import blocks, streams
blocks.BLOCK, streams._ROWS, streams.PICTURES = 2000, 31, 7
prediction_files._SECONDS = float(sys.argv[2])
left, write = int(sys.argv[1]), prediction_files.Output.write
def counted(self, *rest):
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    write(self, *rest)
prediction_files.Output.write = counted
from lastlayer.cli import run
sys.exit(run(sys.argv[3:]))
"""


def predict(after: int, seconds: float, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", KILLED, str(after), str(seconds), "predict", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_prediction_goes_on_to_the_same_bytes(kind, table_run, image_run, digit_folder, tmp_path):
    table = tmp_path / "t.csv"
    frame = flowers(1200, seed=4).astype({"count": object})
    frame.loc[17, "count"] = "many"
    frame.to_csv(table, index=False)
    run, source = (image_run, digit_folder) if kind == "jsonl" else (table_run, table)
    whole, path = tmp_path / f"whole.{kind}", tmp_path / f"p.{kind}"
    done = predict(-1, 1, run, source, "--output", whole, "--all")
    assert done.returncode == (0 if kind == "jsonl" else 1), done.stderr
    for after, seconds in ((3, 0), (4, 9)):  # the last: killed before anything new was noted
        killed = predict(after, seconds, run, source, "--output", path, "--all", "--resume")
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert not path.exists()
    done = predict(-1, 1, run, source, "--output", path, "--all", "--resume")
    assert "Going on after" in done.stderr
    assert path.read_bytes() == whole.read_bytes()
    assert parts_of(tmp_path) == []


@pytest.mark.slow
def test_an_interrupt_says_how_to_go_on(table_run, tmp_path):
    table, path = tmp_path / "t.csv", tmp_path / "p.csv"
    flowers(300_000).to_csv(table, index=False)
    command = [sys.executable, "-m", "lastlayer", "predict", str(table_run), str(table), "--output", str(path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 120
    while not (tmp_path / ".p.csv.part.json").exists() and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "--resume goes on." in said
    assert not path.exists()
    done = subprocess.run([*command, "--resume"], capture_output=True, text=True, timeout=300, check=False)
    assert "Wrote 300,000 rows" in done.stderr
    assert len(path.read_text().splitlines()) == 300_001


PEAK = """
import resource, sys
from lastlayer.cli import run
run(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems count resident memory in other units")
def test_memory_does_not_grow_with_the_rows(table_run, tmp_path):
    most = {}
    for times in (1, 12):
        table = tmp_path / f"{times}.csv"
        text = flowers(25_000).to_csv(index=False)
        head, _, rows = text.partition("\n")
        table.write_text(f"{head}\n{rows * times}")
        command = [sys.executable, "-c", PEAK, "predict", table_run, table, "--output", tmp_path / f"{times}.jsonl"]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True, timeout=600)
        assert f"Wrote {25_000 * times:,} rows" in done.stderr
        most[times] = int(done.stdout) / 1024
    assert most[12] - most[1] < 60, most  # MiB; the rows themselves would be 200 more
