"""Inputs in chunks: whatever is wrong with a row stays in its place, and chunks change nothing."""

import io
import json
import math
import os
import threading
from csv import QUOTE_ALL, QUOTE_MINIMAL

import datasets
import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from lastlayer import Classifier
from lastlayer.classifier.config import MISSING, Config
from lastlayer.classifier.data import blocks, chunks, columns, csv_stream, streams
from lastlayer.classifier.data.csv_stream import CsvChunks
from lastlayer.classifier.data.json_stream import JsonChunks
from lastlayer.classifier.data.plain_numbers import plain_numbers
from lastlayer.classifier.data.text_tables import read_csv
from lastlayer.classifier.predicting.prediction import Predictions
from lastlayer.classifier.predicting.streaming import Options
from lastlayer.errors import ConfigError, DataError
from tests.classifier.conftest import flowers


def fed(reader, content: bytes, size: int):
    """Names, problems and cells of what a reader makes of `content`, given `size` bytes at a time."""
    found = [reader.feed(content[start : start + size]) for start in range(0, len(content), size)]
    found.append(reader.feed(b"", last=True))
    names, problems, rows = [], {}, []
    for chunk in filter(None, found):
        problems |= {len(names) + place: why for place, why in chunk.problems.items()}
        names += chunk.names
        if chunk.rows is not None:
            rows += chunk.rows.data.with_format("arrow")[:].to_pylist()
            assert chunk.rows.names == [chunk.names[place] for place in chunk.readable]
    return names, problems, rows


def csv(content: bytes, size: int = 10**9, wanted=None, **given):
    return fed(CsvChunks("t.csv", ".csv", Config.of(given), wanted), content, size)


# CSV

SIZES = [1, 3, 7, 10**9]


@pytest.mark.parametrize("size", SIZES)
def test_a_ragged_row_keeps_its_place(size):
    names, problems, rows = csv(b"a,b\n1,2\n3\n4,5,6\n\n7,8\n", size)
    assert names == ["t.csv#1", "t.csv#2", "t.csv#3", "t.csv#4"]
    assert list(problems) == [1, 2]
    assert problems[1] == "line 3 has 1 cell, the header has 2: put quotes around cells that hold ','"
    assert rows == [{"a": "1", "b": "2"}, {"a": "7", "b": "8"}]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("byte", "why"), [(b"\xff", "0xff, which is not utf-8"), (b"\0", "zero byte")])
def test_a_byte_that_is_no_text_keeps_its_place(size, byte, why):
    _, problems, rows = csv(b"a,b\n1,2\n3,x" + byte + b"\n5,6\n", size)
    assert list(problems) == [1]
    assert problems[1].startswith("line 3: it holds")
    assert why in problems[1]
    assert [row["a"] for row in rows] == ["1", "5"]


def test_a_bad_byte_in_a_column_that_nobody_reads_is_no_problem():
    for size in SIZES:
        assert csv(b"a,b\n1,\xff\n", size, wanted=["a"])[1:] == ({}, [{"a": "1"}])


@pytest.mark.parametrize("size", SIZES)
def test_a_quote_that_is_never_closed_takes_its_own_line_only(size):
    _, problems, rows = csv(b'a,b\n1,2\n3,"x\n5,6\n7,8\n', size)
    assert problems == {1: "it has a quote that is never closed (line 3)"}
    assert [row["a"] for row in rows] == ["1", "5", "7"]
    # it would pair with the first quote of a later row, which is one row with another
    _, problems, rows = csv(b'a,b\n1,2\n3,"x\n5,6\n"7",8\n9,0\n', size)
    assert list(problems) == [1]
    assert [row["a"] for row in rows] == ["1", "5", "7", "9"]


@pytest.mark.parametrize("size", SIZES)
def test_a_cell_of_several_lines_is_one_cell(size):
    names, problems, rows = csv(b'a,b\r\n"x\r\ny, ""z""",2\r\n3,4\r\n5\r\n', size)
    assert rows == [{"a": 'x\r\ny, "z"', "b": "2"}, {"a": "3", "b": "4"}]
    assert problems[2].startswith("line 5 has 1 cell")
    assert len(names) == 3


def test_a_quote_open_for_a_mebibyte_is_given_up_before_the_end(monkeypatch):
    monkeypatch.setattr(csv_stream, "_OPEN_LINES", 5)
    reader = CsvChunks("t.csv", ".csv", Config(), None)
    reader.feed(b"a,b\n")
    assert reader.feed(b'1,"x\n' + b"2,3\n" * 3) is None
    chunk = reader.feed(b"2,3\n" * 4)
    assert list(chunk.problems) == [0]
    assert len(chunk) == 8


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends(encoding, end):
    content = end.join(["이름,b", "장미,2", "백합,4", ""]).encode(encoding)
    for size in (1, 5, 10**9):
        _, problems, rows = csv(content, size, encoding=encoding)
        assert problems == {}
        assert rows == [{"이름": "장미", "b": "2"}, {"이름": "백합", "b": "4"}]


def test_a_byte_that_is_no_korean_keeps_its_place():
    content = "a,b\n장미,1\n".encode("cp949") + b"\xff\xff,2\n" + "백합,3\n".encode("cp949")
    for size in SIZES:
        _, problems, rows = csv(content, size, encoding="cp949")
        assert list(problems) == [1]
        assert [row["a"] for row in rows] == ["장미", "백합"]


@pytest.mark.parametrize(
    ("content", "given", "message"),
    [
        (b"a,a\n1,2\n", {}, "more than one column named a"),
        (b'"a,b\n1,2\n', {}, "the header has a quote that is never closed"),
        (b"a\xff,b\n1,2\n", {}, "header of t.csv cannot be read: it holds the byte 0xff"),
        ("가,b\n1,2\n".encode("utf-16"), {}, "encoding='utf-16'"),
        (b"a,b\n", {"encoding": "klingon"}, "no encoding 'klingon'"),
        (b",\n1,2\n", {}, "is empty"),
    ],
)
def test_a_header_that_cannot_be_read_refuses_the_table(content, given, message):
    for size in SIZES:
        with pytest.raises(DataError, match=message):
            csv(content, size, **given)


def test_a_line_without_end_is_refused(monkeypatch):
    monkeypatch.setattr(blocks, "_LONGEST", 1000)
    with pytest.raises(DataError, match="has a line of more than"):
        csv(b"a,b\n" + b"1" * 5000, 100)


CELLS = st.text(st.sampled_from('ab,"\r\n; é가\t='), max_size=6)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=8), size=st.integers(1, 40), plain=st.booleans()
)
def test_whatever_a_csv_holds_chunks_read_what_the_whole_file_gives(rows, size, plain, tmp_path):
    if plain:  # the way through Arrow
        rows = [tuple(cell.translate(dict.fromkeys(map(ord, '"\r\n,'))) for cell in row) for row in rows]
    frame = pd.DataFrame([*rows, ("last", "x", "y")], columns=["a", "b", "c"])
    path = tmp_path / "t.csv"
    quoting = QUOTE_MINIMAL if plain else QUOTE_ALL
    path.write_bytes(frame.to_csv(index=False, quoting=quoting).encode())
    expected = read_csv(path).to_pylist()
    for way in (size, 10**9):
        names, problems, found = csv(path.read_bytes(), way)
        assert problems == {}
        assert found == expected
        assert len(names) == len(expected)


@settings(max_examples=300, deadline=None)
@given(
    content=st.binary(max_size=60) | st.text(st.sampled_from('a1,"\n\r\0'), max_size=60).map(str.encode),
    size=st.integers(1, 30),
)
def test_whatever_bytes_come_chunks_give_the_same_rows(content, size):
    whole = csv(b"a,b\n" + content)
    assert csv(b"a,b\n" + content, size) == whole
    names, problems, rows = whole
    assert len(names) == len(problems) + len(rows)


# JSON lines


def test_json_lines_that_are_none_keep_their_places():
    content = b'{"a": 1}\n{"a": \n\n[1]\n{"a": "\xff"}\n{"a": "\\ud800"}\n' + b"[" * 10_000 + b'\n{"a": 2}'
    for size in SIZES:
        names, problems, rows = fed(JsonChunks("t.jsonl", None), content, size)
        assert names[-1] == "t.jsonl#7"
        assert list(problems) == [1, 2, 3, 4, 5]
        assert problems[1].startswith("line 2 is no JSON (")
        assert problems[2] == "line 4 holds a list: expected an object"
        assert "0xff" in problems[3]
        assert "surrogate" in problems[4]
        assert rows == [{"a": "1"}, {"a": "2"}]


def test_a_cell_means_the_same_whatever_stands_beside_it(tmp_path):
    frame = pd.DataFrame({"x": [1.5, 2.0, np.nan, 1.0] * 20, "c": [1, 2, 3, 2] * 20, "y": list("abcb") * 20})
    frame["z"] = np.arange(80) / 7
    model = Classifier(epochs=2, verbose=False, categorical=["c"]).fit(frame, "y")
    rows = [
        {"x": 2, "c": 1.0, "z": 1},
        {"x": "2.0", "c": "1", "z": 1.0},
        {"x": None, "c": 3, "z": 1},
        {"c": 3, "z": 1},
        {"x": math.nan, "c": 3, "z": 1},
        {"x": True, "c": 2, "z": 1},
    ]
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    together = model.predictions(path)
    assert together.problems == {5: "x: 'true' is not a number"}
    np.testing.assert_array_equal(together.probabilities[0], together.probabilities[1])
    np.testing.assert_array_equal(together.probabilities[2], together.probabilities[3])
    np.testing.assert_array_equal(together.probabilities[2], together.probabilities[4])


# Chunks change nothing


def written(folder, frame):
    """The rows in every format, with the chunks that each is read in made small."""
    frame.to_csv(folder / "t.csv", index=False)
    frame.to_json(folder / "t.jsonl", orient="records", lines=True)
    frame.to_parquet(folder / "t.parquet", index=False, row_group_size=29)
    return [folder / "t.csv", folder / "t.jsonl", folder / "t.parquet"]


@pytest.mark.parametrize("run", ["table_run", "binary_run"])
def test_the_same_rows_give_the_same_bits_in_chunks_of_any_size(run, request, tmp_path, monkeypatch):
    model = Classifier.load(request.getfixturevalue(run))
    frame = flowers(200, seed=3)
    expected = model.predict_logits(frame)
    assert len(np.unique(expected)) > 150
    for size in (1, 64, 700, 4 * 2**20):
        monkeypatch.setattr(blocks, "BLOCK", size)
        monkeypatch.setattr(streams, "_ROWS", size)
        for path in written(tmp_path, frame):
            parts = list(model.stream(path))
            assert len(parts) > 5 or size > 64
            found = np.concatenate([part.predictions.logits.numpy() for part in parts])
            np.testing.assert_array_equal(found, expected, err_msg=f"{path.suffix} {size}")
    one_by_one = [model.predict_logits(frame[row : row + 1]) for row in range(40)]
    np.testing.assert_array_equal(np.concatenate(one_by_one), expected[:40])


def test_the_same_pictures_give_the_same_bits_however_they_come(image_run, digit_folder, monkeypatch):
    model = Classifier.load(image_run)
    expected = model.predict_logits(digit_folder / "digit 3")
    files = sorted((digit_folder / "digit 3").iterdir())
    monkeypatch.setattr(streams, "PICTURES", 5)
    for workers in (0, 3):
        for x in (
            digit_folder / "digit 3",
            [str(file) for file in files],
            io.BytesIO("\n".join(map(str, files)).encode()),
        ):
            parts = model.stream(x, Options(workers=workers))
            found = np.concatenate([part.predictions.logits.numpy() for part in parts])
            np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.concatenate([model.predict_logits(file) for file in files]), expected)


def test_tensors_that_were_read_before_give_the_same_bits(table_run, image_run, digit_folder):
    for run, x in ((table_run, flowers(1500)), (image_run, digit_folder / "digit 3")):
        model = Classifier.load(run)
        np.testing.assert_array_equal(model.predict_logits(model.read(x)), model.predict_logits(x))
    with pytest.raises(ValueError, match=r"expected \(rows, 1, 8, 8\) of torch.uint8"):
        model.predict((model.read(x)[0].float(),))


# The rows of a stream


def test_every_row_of_a_stream_has_the_same_columns(table_run, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("length,scented,soil,count\n1,True,sand,3\nmany,True,sand,3\n1,True\n2,False,clay,\n")
    rows = list(Classifier.load(table_run).predict_stream(path, top_k=2, every_class=True))
    assert {tuple(row) for row in rows} == {
        (
            "input",
            "prediction",
            "probability",
            "prediction_2",
            "probability_2",
            "p(iris)",
            "p(lily)",
            "p(rose)",
            "error",
        )
    }
    assert [row["error"] is None for row in rows] == [True, False, False, True]
    assert rows[1]["error"] == "length: 'many' is not a number"
    assert rows[2]["p(iris)"] is None
    assert [row["input"] for row in rows] == [f"t.csv#{row}" for row in range(1, 5)]


@pytest.mark.parametrize("rows", [40, 11], ids=["one chunk", "several"])
def test_a_cell_that_is_no_number_keeps_its_place_in_every_batch(table_run, monkeypatch, rows):
    monkeypatch.setattr(streams, "_ROWS", rows)
    frame = flowers(40).astype({"count": object}).drop(columns="kind")
    frame.loc[[3, 21, 22, 39], "count"] = "many"
    model = Classifier.load(table_run)
    parts = [part.predictions for part in model.stream(frame.astype(str).to_dict("records"), Options(batch_size=8))]
    assert len(parts) == -(-40 // rows)
    found = Predictions.joined(parts)
    assert list(found.problems) == [3, 21, 22, 39]
    assert [row["prediction"] is None for row in found.table()] == [row in (3, 21, 22, 39) for row in range(40)]


def test_rows_that_a_program_makes(table_run, image_run):
    model = Classifier.load(table_run)
    frame = flowers(30).drop(columns="kind").astype(object).where(lambda f: f.notna(), None)
    rows = frame.to_dict("records")
    found = list(model.predict_stream(iter(rows)))
    assert [row["input"] for row in found] == [f"rows#{row}" for row in range(1, 31)]
    assert [row["prediction"] for row in found] == model.predict(rows).tolist()
    pictures = (Image.new("L", (8, 8), shade) for shade in range(3))
    assert len(list(Classifier.load(image_run).predict_stream(pictures))) == 3


def test_a_pipe_gives_its_rows_while_it_is_open(table_run):
    model = Classifier.load(table_run)
    out, into = os.pipe()
    with open(out, "rb") as reading, open(into, "wb", buffering=0) as writing:  # noqa: PTH123 - of a descriptor
        writing.write(b'{"length": 1, "scented": true, "soil": "sand", "count": 3}\n{"length": 2')
        stream = model.predict_stream(reading)
        assert next(stream)["input"] == "stdin#1"
        writing.write(b', "scented": true, "soil": "sand", "count": 3}\nno json\n')
        assert next(stream)["error"] is None
        assert next(stream)["error"].startswith("line 3 is no JSON")
        threading.Timer(0.2, writing.write, [b'{"length": 1, "scented": false, "soil": "clay", "count": 3}\n']).start()
        assert next(stream)["input"] == "stdin#4"
        writing.close()
        assert list(stream) == []


def test_a_picture_that_disappears_meanwhile_keeps_its_place(image_run, tmp_path, monkeypatch):
    for name in "abcdef":
        Image.new("L", (8, 8), 9).save(tmp_path / f"{name}.png")
    monkeypatch.setattr(streams, "PICTURES", 2)
    stream = Classifier.load(image_run).predict_stream(tmp_path)
    first = next(stream)
    (tmp_path / "c.png").unlink()
    (tmp_path / "e.png").write_bytes(b"cut")
    rows = [first, *stream]
    assert [row["input"].rpartition("/")[2] for row in rows] == [f"{name}.png" for name in "abcdef"]
    assert [row["error"] for row in rows] == [
        None, None, "the file is not there", None, "not an image that can be identified", None,
    ]  # fmt: skip


def test_a_broken_row_group_gives_as_many_errors_as_rows(table_run, tmp_path):
    frame = flowers(90).drop(columns="kind")
    path = tmp_path / "t.parquet"
    frame.to_parquet(path, row_group_size=30, compression="none")
    about = pyarrow.parquet.ParquetFile(path).metadata.row_group(1).column(0)
    content = bytearray(path.read_bytes())
    start = about.dictionary_page_offset or about.data_page_offset
    content[start : start + 40] = b"\xff" * 40
    path.write_bytes(content)
    rows = list(Classifier.load(table_run).predict_stream(path))
    assert [row["input"] for row in rows] == [f"t.parquet#{row}" for row in range(1, 91)]
    assert [place for place, row in enumerate(rows) if row["error"]] == list(range(30, 60))
    assert "row group 2 of the file cannot be read" in rows[30]["error"]


def test_several_inputs_one_of_which_is_not_there(table_run, tmp_path):
    flowers(3).to_csv(tmp_path / "a.csv", index=False)
    model = Classifier.load(table_run)
    rows = list(model.predict_stream(["no.csv", str(tmp_path / "a.csv"), "none.csv", f"{tmp_path}/a.csv#2"]))
    assert [row["input"] for row in rows] == ["no.csv", "a.csv#1", "a.csv#2", "a.csv#3", "none.csv", "a.csv#2"]
    assert rows[0]["error"].startswith("there is no file or folder 'no.csv'")
    with pytest.raises(DataError, match=r"'no\.csv'"):
        list(model.predict_stream(["no.csv", "none.csv"]))


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_an_empty_table_and_a_row_that_is_not_there(table_run, tmp_path, suffix):
    path = tmp_path / f"t.{suffix}"
    frame = flowers(3)
    {
        "csv": frame.to_csv,
        "jsonl": lambda p, index: frame.to_json(p, orient="records", lines=True),
        "parquet": frame.to_parquet,
    }[suffix](path, index=False)
    model = Classifier.load(table_run)
    assert next(model.predict_stream(f"{path}#3"))["input"] == f"t.{suffix}#3"
    with pytest.raises(DataError, match="has 3 rows, from #1 on: there is no #4"):
        list(model.predict_stream(f"{path}#4"))
    if suffix == "csv":
        path.write_text("length,scented,soil,count\n\n\n")
        with pytest.raises(DataError, match="has no rows"):
            list(model.predict_stream(path))


def test_columns_that_a_table_lacks_are_named(table_run, tmp_path):
    model = Classifier.load(table_run)
    for path in written(tmp_path, flowers(40).drop(columns="soil")):
        with pytest.raises(DataError, match="lacks 1 column that the model was trained on: soil"):
            list(model.predict_stream(path))


def test_settings_of_a_stream_are_checked(table_run):
    model = Classifier.load(table_run)
    for settings_, message in (
        ({"batch_size": 0}, "batch_size has to lie"),
        ({"device": "tpu"}, "device has to be one of"),
    ):
        with pytest.raises(ConfigError, match=message):
            model.predict_stream("x.csv", **settings_).__next__()
    with pytest.raises(ConfigError, match="top_k has to lie"):
        next(model.predict_stream(flowers(3), top_k=9))


def test_rows_that_are_read_already_come_in_pieces():
    data = datasets.Dataset.from_dict({"a": list(range(5))})
    found = list(chunks.of_rows(chunks.Rows("table", data, list("abcde")), 2))
    assert [chunk.names for chunk in found] == [["a", "b"], ["c", "d"], ["e"]]
    assert found[-1].done == (5, 5)
    assert found[0].digest(b"") != found[1].digest(b"")


# Numbers


WORDS = st.text(st.sampled_from("0123456789.-+eE_ xnaifINF\t\x1c\xa0１"), max_size=8) | st.floats().map(repr)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.none() | WORDS, min_size=1, max_size=4))
def test_plain_numbers_are_those_that_python_reads(cells):
    array, missing = pyarrow.array(cells, pyarrow.string()), set(MISSING)
    found = plain_numbers(array, missing)
    text = columns.words(array, missing)
    expected = np.array([math.nan if word is None else columns._number(word) for word in text])
    if found is not None:
        np.testing.assert_array_equal(found, expected)
        assert [word is None for word in text] == np.isnan(found).tolist()


def test_ordinary_columns_are_plain():
    array = pyarrow.chunked_array([["1", " 2.5 ", "NA"], ["-3e-7", "", None]])
    np.testing.assert_array_equal(plain_numbers(array, set(MISSING)), [1, 2.5, math.nan, -3e-7, math.nan, math.nan])
    assert plain_numbers(pyarrow.array(["1", "many"]), set(MISSING)) is None
    assert plain_numbers(pyarrow.array(["1", "inf"]), set(MISSING)) is None
    assert plain_numbers(pyarrow.array([1, 2]), set(MISSING)) is None
