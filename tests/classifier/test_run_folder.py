"""A run folder: plain files that travel, and that never load silently wrong."""

import errno
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import yaml
from safetensors import safe_open

from lastlayer import Classifier
from lastlayer.classifier import files, run_folder
from lastlayer.errors import ConfigError, DataNotFoundError, RunError, SaveError
from tests.classifier.conftest import flowers

FILES = {
    "config.yaml", "model.safetensors", "model.json", "metrics.jsonl", "data.json", "predictions.parquet",
    "report.html", "card.md", "manifest.json", "metrics.csv",
}  # fmt: skip


@pytest.fixture
def run(tmp_path, table_run) -> Path:
    return Path(shutil.copytree(table_run, tmp_path / "copy"))


def test_what_a_run_holds(table_run):
    assert {path.name for path in table_run.iterdir()} == FILES
    model = json.loads((table_run / "model.json").read_text())
    assert model["task"] == {"kind": "multiclass", "classes": ["iris", "lily", "rose"]}
    assert model["activation"] == "softmax"
    assert model["loss"] == "cross_entropy"
    assert {"lastlayer", "torch"} <= set(model["versions"])
    assert model["policy"]["temperature"] > 0
    settings = yaml.safe_load((table_run / "config.yaml").read_text())
    assert settings["epochs"] == 12
    assert settings["target"] == "kind"
    assert settings["data"].endswith("flowers.csv")
    lines = (table_run / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == list(range(1, len(lines) + 1))
    table = pyarrow.parquet.read_table(table_run / "predictions.parquet")
    assert table.column_names == ["split", "input", "target", "logit(iris)", "logit(lily)", "logit(rose)"]
    assert str(table.schema.field("logit(iris)").type) == "double"
    assert set(table["split"].to_pylist()) == {"validation", "test"}  # so small a table holds no rows out to calibrate
    with safe_open(table_run / "model.safetensors", "pt") as weights:
        assert "head.linear.weight" in weights.keys()  # noqa: SIM118 - not a dictionary


def test_manifest_names_every_file_by_its_sha256(table_run):
    manifest = json.loads((table_run / "manifest.json").read_text())["files"]
    assert set(manifest) == FILES - {"manifest.json"}
    for name, listed in manifest.items():
        content = (table_run / name).read_bytes()
        assert listed == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def test_nothing_is_pickled(table_run):
    for path in table_run.iterdir():
        start = path.read_bytes()[:2]
        assert start not in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK"), path


def test_a_run_survives_the_way_to_another_machine(tmp_path, table_run, run):
    frame = flowers(20, seed=8)
    here, there = Classifier.load(table_run), Classifier.load(run)
    np.testing.assert_array_equal(here.predict_logits(frame), there.predict_logits(frame))
    again = Classifier.load(there.save(tmp_path / "again"))
    np.testing.assert_array_equal(here.predict_logits(frame), again.predict_logits(frame))
    assert again.evaluate() == here.evaluate()
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (table_run / name).read_bytes(), name


@pytest.mark.parametrize("name", sorted(FILES - {"manifest.json"}))
def test_a_missing_or_changed_file_is_named(run, name):
    content = (run / name).read_bytes()
    for change in (content + b" ", bytes([content[0] ^ 1]) + content[1:], content[:-1], b""):
        (run / name).write_bytes(change)
        with pytest.raises(RunError, match=f"changed since it was written: {name}"):
            Classifier.load(run)
    (run / name).unlink()
    with pytest.raises(RunError, match=f"missing: {name}"):
        Classifier.load(run)
    (run / name).write_bytes(content)
    Classifier.load(run)


def test_files_that_somebody_adds_do_no_harm(run):
    (run / "notes of mine.txt").write_text("a good run")
    Classifier.load(run)


def forge(run: Path, name: str, content: bytes) -> None:
    """Change a file and the manifest with it."""
    (run / name).write_bytes(content)
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (run / "manifest.json").write_text(json.dumps(manifest))


def test_a_run_of_another_format_is_refused(run):
    model = json.loads((run / "model.json").read_text())
    forge(run, "model.json", json.dumps({**model, "format": 99}).encode())
    with pytest.raises(RunError, match="format 99; this lastlayer reads format 1"):
        Classifier.load(run)


def test_weights_of_another_model_are_refused(run):
    model = json.loads((run / "model.json").read_text())
    model["task"]["classes"].append("tulip")
    forge(run, "model.json", json.dumps(model).encode())
    with pytest.raises(RunError, match=r"policy is of 3 classes \(multiclass\), its task of 4"):
        Classifier.load(run)
    model["policy"]["classes"] = 4
    forge(run, "model.json", json.dumps(model).encode())
    with pytest.raises(RunError, match=r"predictions\.parquet .*lacks logit\(tulip\)"):
        Classifier.load(run)
    model["task"]["classes"].pop()
    model["policy"]["classes"] = 3
    model["preprocessing"]["columns"].pop()
    forge(run, "model.json", json.dumps(model).encode())
    with pytest.raises(RunError, match="weights do not fit"):
        Classifier.load(run)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (b"{", r"model\.json cannot be read"),
        (b"[1]", r"model\.json has to hold an object, found list"),
        (b"{}", "a run of format None"),
        (b'{"format": 1, "versions": {}, "task": 3}', r"model\.json does not describe a model: KeyError"),
    ],
)
def test_a_model_that_is_not_described_is_refused(run, broken, message):
    forge(run, "model.json", broken)
    with pytest.raises(RunError, match=message):
        Classifier.load(run)


def test_an_unknown_setting_in_a_run_is_named(run):
    text = (run / "config.yaml").read_text().replace("\nepochs:", "\nepochz:")
    forge(run, "config.yaml", text.encode())
    with pytest.raises(ValueError, match=r"config\.yaml: there is no setting 'epochz'\. Did you mean 'epochs'"):
        Classifier.load(run)


def test_no_run(tmp_path):
    with pytest.raises(DataNotFoundError, match="no run folder"):
        Classifier.load(tmp_path / "nothing")
    with pytest.raises(RunError, match="no finished run: it has no manifest"):
        Classifier.load(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(RunError, match="Its training did not finish"):
        Classifier.load(tmp_path)


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ({}, "not listed in manifest.json: config.yaml"),
        ({"files": {}}, "not listed"),
        ({"files": ["model.json"]}, "not listed"),
        ({"files": {"model.json": 3}}, "not listed"),
    ],
)
def test_a_manifest_has_to_list_every_file(run, manifest, message):
    (run / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RunError, match=message):
        Classifier.load(run)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.json", b'{"format": 1}'),
        ("model.json", b"\xff"),
        ("config.yaml", b"3"),
        ("config.yaml", b"{"),
        ("metrics.jsonl", b"{}"),
        ("data.json", b"[]"),
        ("predictions.parquet", b"xx"),
        ("model.safetensors", b"xx"),
        ("report.html", b"\xff"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_named(run, name, content):
    forge(run, name, content)
    with pytest.raises((RunError, ConfigError), match=name.replace(".", r"\.")):
        Classifier.load(run)


def test_of_two_runs_that_start_together_one_gets_the_folder(tmp_path, monkeypatch):
    run_folder.new_folder(tmp_path / "run")
    monkeypatch.setattr(Path, "iterdir", lambda self: iter(()))  # what the second saw before the first was there
    with pytest.raises(SaveError, match="never written over another"):
        run_folder.new_folder(tmp_path / "run")


def test_a_run_that_fails_leaves_no_folder(tmp_path):
    with pytest.raises(ValueError, match="one class only"):
        Classifier(verbose=False).fit(flowers().assign(kind="rose"), "kind", output=tmp_path / "new" / "run")
    (tmp_path / "mine").mkdir()
    with pytest.raises(ValueError, match="one class only"):
        Classifier(verbose=False).fit(flowers().assign(kind="rose"), "kind", output=tmp_path / "mine")
    assert [path.name for path in tmp_path.rglob("*")] == ["mine"]


def test_a_run_is_never_written_over_another(run):
    model = Classifier.load(run)
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    with pytest.raises(SaveError, match="never written over another"):
        model.save(run)
    with pytest.raises(SaveError, match="never written over another"):
        Classifier(verbose=False).fit("digits", output=run)  # before any training
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


# Disks


@pytest.mark.parametrize(
    ("code", "advice"),
    [(errno.ENOSPC, "disk is full: free some space"), (errno.EACCES, "no permission"), (errno.EROFS, "read-only")],
)
def test_a_disk_that_fails_is_one_clear_message(tmp_path, table_run, monkeypatch, code, advice):
    model = Classifier.load(table_run)
    sync = os.fsync
    calls = []

    def fail(file):
        calls.append(file)
        if len(calls) == 3:
            raise OSError(code, os.strerror(code))
        sync(file)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(SaveError, match=advice) as raised:
        model.save(tmp_path / "new")
    assert isinstance(raised.value, OSError)
    assert not (tmp_path / "new").exists()  # nothing half-written is left
    monkeypatch.setattr(os, "fsync", sync)
    model.save(tmp_path / "new")  # and nothing is lost


def test_a_full_disk_while_training(tmp_path):
    """A real limit: no file may grow beyond 20 kB, which the weights do."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    done = subprocess.run(
        [sys.executable, "-m", "lastlayer", "train", "digits", "--epochs", "2", "--output", tmp_path / "run"],
        capture_output=True,
        text=True,
        preexec_fn=limit,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error:") == 1
    assert "cannot be written (File too large)" in done.stderr
    assert not (tmp_path / "run").exists()  # nothing came of it


def test_a_place_that_cannot_be_written_is_told_before_training(tmp_path, heard):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file" / "run", Path("/proc/lastlayer/run")):
        with pytest.raises(SaveError, match="cannot be written"):
            Classifier(listener=heard).fit("digits", output=folder)
    assert heard.notes == []


def test_files_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    files.write_whole(path, b"old")

    def fail(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(SaveError):
        files.write_whole(path, b"new and longer")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
