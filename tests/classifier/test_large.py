"""Tables larger than memory: converted once, mapped, and trained on in chunks, with the same result."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from lastlayer import Classifier
from lastlayer.classifier.config import Config
from lastlayer.classifier.data import blocks, encoding, larger, tables
from lastlayer.classifier.data.columns import learn_columns
from lastlayer.classifier.journal import Journal, Silent
from lastlayer.errors import DataError
from tests.classifier.conftest import flowers


@pytest.fixture(autouse=True)
def _everything_is_large(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tables, "LARGE", 0)


def cached(tmp_path):
    return sorted((tmp_path / "cache" / "lastlayer" / "tables").glob("*"))


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_large_table_is_the_same_table(tmp_path, ending, heard, monkeypatch):
    path = tmp_path / f"flowers.{ending}"
    getattr(flowers(), f"to_{ending}")(path, index=False)
    model = Classifier(epochs=2, listener=heard).fit(path, "kind")
    heard.said(f"flowers.{ending} (0 MiB) is converted once")
    assert f"converting flowers.{ending}" in heard.jobs
    monkeypatch.setattr(tables, "LARGE", larger.LARGE)
    small = Classifier(epochs=2, verbose=False).fit(path, "kind")
    assert model.record.predictions.equals(small.record.predictions)


MIXED = {
    "number": [1, 2, None, 2.5, 7],
    "wide": [2**53 + 1, 1, 2, 2.5, 7],
    "wider": [1, 2, 3, 2**63, 7],
    "whole": [2**53 + 1, 1, 2, 3, 4],
    "late": [None, None, None, None, "x"],
    "odd": [1, 2, 3, "x", True],
    "truth": [True, None, False, True, True],
    "almost": [True, False, True, 1, 0],
    "word": ["a", "고양이 🐈", "line\nbreak", "", "e"],
    "labels": [["a"], [], None, ["b", "c"], []],
    "numbers": [[1], [2], None, [2.5], []],
    "parts": [{"a": 1}, {"a": 2.5}, {}, None, {"b": "x"}],
    "bent": [[1], {"a": 1}, "x", 2, None],
}


@pytest.mark.parametrize("block", [1, 50, 10_000], ids="{} bytes at a time".format)
def test_large_json_lines_are_the_same_table(tmp_path, monkeypatch, block):
    """Whatever type the values of a block have by themselves, and in whatever block a column begins."""
    rows = [{name: MIXED[name][row] for name in MIXED if row or name != "odd"} for row in range(5)]
    lines = [json.dumps(row, ensure_ascii=number % 2 == 0) for number, row in enumerate(rows)]
    path = tmp_path / "t.jsonl"
    path.write_text("\ufeff" + "\r\n\n".join(lines), encoding="utf-8", newline="")
    monkeypatch.setattr(blocks, "BLOCK", block)
    large = tables.read_table(path)
    assert len(cached(tmp_path)) == 1
    monkeypatch.setattr(tables, "LARGE", larger.LARGE)
    small = tables.read_table(path)
    assert large.data.table.schema.equals(small.data.table.schema)
    assert large[:] == small[:]
    assert small["wide"] == [str(2**53 + 1), "1", "2", "2.5", "7"]


def test_a_label_is_lists_in_a_large_table(tmp_path, heard):
    path = tmp_path / "t.jsonl"
    rows = [{"n": n, "tags": [["a"], ["a", "b"], []][n % 3]} for n in range(120)]
    path.write_text("\n".join(map(json.dumps, rows)))
    model = Classifier(epochs=1, listener=heard).fit(path, "tags")
    assert model.record.spec.task.classes == ("a", "b")
    assert {"reading t.jsonl", "converting t.jsonl"} <= heard.jobs


BROKEN_LINES = {
    "no JSON": (b'{"a": 1}\n\n{"a": \n', r"t.jsonl cannot be read as jsonl: line 3 is no JSON \(Expecting value\)"),
    "no object": (b'{"a": 1}\n[1]', "line 2 holds a list"),
    "another encoding": ('{"a": "고양이"}'.encode("cp949"), "line 1 holds the byte"),
    "half a pair": (b'{"a": "\\ud83d"}', "line 1 holds half of a surrogate pair"),
    "nothing": (b"\n\n", "has no rows"),
}


@pytest.mark.parametrize("block", [3, 10_000])
@pytest.mark.parametrize("limit", [0, larger.LARGE], ids=["large", "small"])
@pytest.mark.parametrize(("content", "message"), BROKEN_LINES.values(), ids=BROKEN_LINES)
def test_lines_that_cannot_be_read_are_said_alike(tmp_path, monkeypatch, content, message, limit, block):
    monkeypatch.setattr(tables, "LARGE", limit)
    monkeypatch.setattr(blocks, "BLOCK", block)
    (tmp_path / "t.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=message):
        tables.read_table(tmp_path / "t.jsonl")
    assert cached(tmp_path) == []


def test_it_is_converted_once_and_again_when_it_changes(tmp_path, heard):
    path = tmp_path / "t.csv"
    flowers(60).to_csv(path, index=False)
    first = tables.read_table(path, journal=Journal(heard))
    files = cached(tmp_path)
    assert [file.suffix for file in files] == [".arrow"]
    assert tables.read_table(path, journal=Journal(heard))["kind"][:] == first["kind"][:]
    assert len([note for note in heard.notes if "converted once" in note]) == 1
    assert cached(tmp_path) == files
    flowers(61).to_csv(path, index=False)
    os.utime(path, ns=(time.time_ns(), time.time_ns() + 10**9))
    assert len(tables.read_table(path)) == 61
    assert len(cached(tmp_path)) == 1  # the earlier one is gone
    assert cached(tmp_path) != files
    tables.read_table(path, separator=",")
    assert cached(tmp_path)[0] not in files


BROKEN = {
    "another encoding": ("이름,y\n고양이,a\n".encode("cp949"), "line 1 holds the byte"),
    "a byte in the last row": (b"a,y\n" + b"1,x\n" * 9000 + b"2,\xff\n", "line 9002 holds the byte 0xff"),
    "a cut letter at the end": (b"a,y\n1,\xea\xb0", "line 2 holds the byte 0xea"),
    "zero bytes": (b"a,y\n1,\x00\n", "zero bytes"),
    "a ragged row": (b"a,y\n1,x\n2\n", r"t.csv, row 2 \(line 3\) has 1 cell, the header has 2"),
    "an open quote": (b'a,y\n1,"x\n2,y\n', r"t.csv, row 1 \(line 2\) has a quote that is never closed"),
    "a name twice": (b"a,a\n1,2\n", "more than one column named a"),
    "no rows": (b"a,y\n", "has no rows"),
    "nothing": (b"\n\n", "t.csv is empty"),
}


@pytest.mark.parametrize(("content", "message"), BROKEN.values(), ids=BROKEN)
def test_what_cannot_be_read_is_said_and_nothing_is_left_in_the_cache(tmp_path, content, message):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        tables.read_table(tmp_path / "t.csv")
    assert cached(tmp_path) == []


def test_a_letter_between_two_blocks(tmp_path, monkeypatch):
    from lastlayer.classifier.data import text_tables

    monkeypatch.setattr(text_tables, "_BLOCK", 7)
    (tmp_path / "t.csv").write_bytes("\ufeffa,이름\r\n1,고양이\n2,🐈\r3,é\n".encode())
    assert tables.read_table(tmp_path / "t.csv")["이름"][:] == ["고양이", "🐈", "é"]


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    flowers(30).to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"too large to be read into memory.* another folder in XDG_CACHE_HOME"):
        tables.read_table(tmp_path / "t.csv")


def test_rows_that_were_selected_are_gathered_column_by_column(tmp_path):
    flowers(200).to_csv(tmp_path / "t.csv", index=False)
    data = tables.read_table(tmp_path / "t.csv")
    rows = [3, 4, 9, 77, 198]
    found = tables.arrow(data.select(rows))
    assert isinstance(found, tables.Gathered)
    assert len(found) == 5
    expected = data.with_format("arrow")[rows]
    for name in data.column_names:
        assert found.column(name).to_pylist() == expected.column(name).to_pylist()
    assert tables.arrow(data.select([9, 3, 3])).column("kind").to_pylist() == [data["kind"][row] for row in (9, 3, 3)]
    assert len(tables.arrow(data.select([]))) == 0


def test_chunks_and_files_hold_the_same_tensors(tmp_path, monkeypatch):
    frame = flowers(500)
    frame.loc[[3, 450], "count"] = np.nan
    frame["text"] = [f"word{row % 7} and word{row % 11} of the text in row {row}" for row in range(500)]
    frame["odd"] = [str(row) for row in range(490)] + ["x"] * 10
    frame.to_csv(tmp_path / "t.csv", index=False)
    data = tables.read_table(tmp_path / "t.csv").remove_columns("kind")
    spec = learn_columns(data, Config(), Journal(Silent()))
    whole = spec.encode(data)
    monkeypatch.setattr(larger, "CELLS", 64 * len(spec.columns))
    monkeypatch.setattr(encoding, "IN_MEMORY", 100)
    found = encoding.encoded(spec, data)
    assert found.numbers.equal(whole.numbers)
    assert found.indices.equal(whole.indices)
    assert found.problems == whole.problems
    assert len(found.problems) == 10
    assert not [file for file in cached(tmp_path) if file.suffix == ".encoded"]


def test_columns_of_very_many_rows_are_learnt_from_a_sample(tmp_path, monkeypatch, heard):
    from lastlayer.classifier import preparing

    monkeypatch.setattr(preparing, "_LEARN_FROM", 50)
    flowers(300).to_csv(tmp_path / "t.csv", index=False)
    Classifier(epochs=1, validation=0.1, calibration=0.1, listener=heard).fit(tmp_path / "t.csv", "kind")
    heard.said("learnt from 49 training rows of 196, evenly taken")


def test_wide_parquet_types(tmp_path):
    table = pa.table(
        {
            "word": pa.array(["a", "b", "a"] * 10).dictionary_encode(),
            "day": pa.array([1, 2, 3] * 10, pa.date32()),
            "y": ["x", "z", "x"] * 10,
        }
    )
    pd.DataFrame({"n": [1]}).to_parquet(tmp_path / "one.parquet")
    pa.parquet.write_table(table, tmp_path / "t.parquet")
    data = tables.read_table(tmp_path / "t.parquet")
    assert data["word"][:3] == ["a", "b", "a"]
    assert str(data.features["word"].dtype) == "string"


MAKE = """
import numpy as np, sys
random = np.random.default_rng(0)
with open(sys.argv[1], "w") as file:
    file.write(",".join([*(f"x{column}" for column in range(80)), "soil", "y"]) + "\\n")
    for start in range(0, 200_000, 10_000):
        y = random.integers(0, 3, 10_000)
        x = random.normal(size=(10_000, 80))
        x[:, 0] += 2 * y
        soil = random.choice(["sand", "clay"], 10_000)
        for row in range(10_000):
            cells = [f"{value:.9f}" for value in x[row]]
            file.write(",".join([*cells, soil[row], f"c{y[row]}"]) + "\\n")
"""

TRAIN = """
import sys, threading, time
import torch
torch.set_num_threads(1)
import accelerate, datasets, pandas, sklearn.tree, scipy.stats, timm
from lastlayer import Classifier
from lastlayer.classifier.journal import Silent

def anonymous():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("RssAnon"))

before, peak, trained = anonymous(), [0.0], []
def watch():
    while not trained:
        peak[0] = max(peak[0], anonymous())
        time.sleep(0.01)

class Listener(Silent):
    def note(self, text):
        if text.startswith("Epoch"):  # what follows looks at logits, not at the table
            trained.append(peak[0] - before)

threading.Thread(target=watch, daemon=True).start()
# the steps of a larger table are larger, up to 2,048 rows: that is no part of what is measured
model = Classifier(epochs=1, batch_size=128, listener=Listener()).fit(sys.argv[1], "y")
print(trained[0], model.evaluate()["accuracy"])
"""


def trained(path, cache):
    """Peak of the memory that reading, checking and training needed, in MiB, and the accuracy."""
    environment = {
        **os.environ,
        "XDG_CACHE_HOME": str(cache),
        "OMP_NUM_THREADS": "1",
        # what is given back leaves the process at once: allocators keep from 10 to 100 MiB, now more and now less
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        "MALLOC_MMAP_THRESHOLD_": str(2**18),
    }
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, path], capture_output=True, text=True, timeout=1800, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    needed, accuracy = map(float, done.stdout.split()[-2:])
    return needed, accuracy


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="memory is read from /proc")  # noqa: PTH110
def test_ten_times_the_rows_need_much_less_than_their_size(tmp_path):
    path, part = tmp_path / "big.csv", tmp_path / "part.csv"
    subprocess.run([sys.executable, "-c", MAKE, path], check=True, timeout=600)
    with path.open() as whole, part.open("w") as beginning:
        beginning.writelines(line for _, line in zip(range(20_001), whole, strict=False))
    more = (path.stat().st_size - part.stat().st_size) / 2**20
    assert more > 150
    (small, _), (large, accuracy) = trained(part, tmp_path / "cache"), trained(path, tmp_path / "cache")
    assert accuracy > 0.7
    assert large - small < 0.35 * more, (small, large, more)  # 4 bytes a cell of the 13 in the file, of 13 rows in 20
