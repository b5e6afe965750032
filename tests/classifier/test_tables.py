"""Tables: reading them, and turning their cells into numbers."""

import numpy as np
import pandas as pd
import pytest
import torch

from lastlayer import Classifier
from lastlayer.classifier.config import Config
from lastlayer.classifier.data import sources, tables
from lastlayer.classifier.data.columns import TableSpec, learn_columns
from lastlayer.classifier.journal import Journal
from lastlayer.errors import ColumnError, ConfigError, DataError
from tests.classifier.conftest import flowers

datasets = pytest.importorskip("datasets")


def dataset(**columns) -> datasets.Dataset:
    return datasets.Dataset.from_dict(columns)


def learn(heard, config=None, **columns) -> TableSpec:
    return learn_columns(dataset(**columns), config or Config(), Journal(heard))


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


# Reading


def test_cells_are_read_as_they_are_written(tmp_path):
    path = write(tmp_path / "t.csv", 'a,b\n007,"x, y"\nNA,"line\nbreak"\n1e3,""\n')
    data = tables.read_table(path)
    assert data["a"][:] == ["007", "NA", "1e3"]
    assert data["b"][:] == ["x, y", "line\nbreak", ""]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_is_read_off_the_header(tmp_path, separator):
    path = write(tmp_path / "t.csv", f"a{separator}b\n1{separator}2\n")
    assert tables.read_table(path).column_names == ["a", "b"]


def test_a_mark_before_the_header_is_no_part_of_the_first_name(tmp_path):
    path = write(tmp_path / "t.csv", "a,b\n1,2\n", "utf-8-sig")
    assert tables.read_table(path).column_names == ["a", "b"]


def test_another_encoding_can_be_named(tmp_path):
    path = write(tmp_path / "t.csv", "이름,값\n고양이,1\n", "cp949")
    assert tables.read_table(path, encoding="cp949")["이름"][:] == ["고양이"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"a,b\n", "has no rows"),
        (b"a,b\n1,2\n3,4,5\n", r"row 2 \(line 3\) has 3 cells, the header has 2"),
        (b"a,b\n1,2\n3\n", "has 1 cell, the header has 2"),
        (b"a,a\n1,2\n", "more than one column named a"),
        ("a,b\n고양이,1\n".encode() + "강아지,2\n".encode("cp949"), "not utf-8 throughout: line 3.*encoding='cp949'"),
        (b"a,b\n1,\x00\n", "zero bytes"),
    ],
)
def test_text_tables_that_cannot_be_read(tmp_path, content, message):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        tables.read_table(tmp_path / "t.csv")


@pytest.mark.parametrize("name", ["t.parquet", "t.jsonl"])
def test_typed_tables_that_cannot_be_read(tmp_path, name, capfd):
    (tmp_path / name).write_bytes(b"\x00\x01 this is neither")
    with pytest.raises(DataError, match=f"{name} (cannot be read as|holds zero bytes)"):
        tables.read_table(tmp_path / name)
    assert capfd.readouterr() == ("", "")  # no chatter of the library that reads


def test_an_unknown_encoding_is_named(tmp_path):
    path = write(tmp_path / "t.csv", "a\n1\n")
    with pytest.raises(DataError, match="no encoding 'utf-9'"):
        tables.read_table(path, encoding="utf-9")


# Labels


def test_labels_are_numbers_only_where_all_are_written_as_numbers():
    config = Config(target="y")
    for cells, expected in [
        (["1", "2", "NA"], [1, 2, None]),
        (["1.0", "2.0", ""], [1, 2, None]),
        (["007", "7"], ["007", "7"]),
        (["1", "two"], ["1", "two"]),
        ([" a ", "a"], ["a", "a"]),
        (["0.5", "1.0"], [0.5, 1]),
        ([True, False], [True, False]),
        ([3, None], [3, None]),
    ]:
        column = tables.arrow(dataset(y=cells)).column("y")
        assert sources.read_labels(column, config) == expected


def test_missing_labels_are_counted_or_left_out(heard):
    frame = flowers(60)
    frame.loc[[2, 5, 7, 8], "kind"] = None
    with pytest.raises(
        DataError, match=r"missing in 4 rows of 60 \(frame#3, frame#6, frame#8 and 1 more\).*drop_unlabelled=True"
    ):
        Classifier(epochs=1, verbose=False).fit(frame, target="kind")
    model = Classifier(epochs=1, drop_unlabelled=True, listener=heard).fit(frame, target="kind")
    assert sum(model.record.data["rows"].values()) == 56
    assert [row["name"] for row in model.record.data["left_out"]] == ["frame#3", "frame#6", "frame#8", "frame#9"]
    heard.said("Left out 4 rows without a class")


def test_words_for_missing_can_be_overruled(tmp_path):
    frame = flowers(60)
    frame["kind"] = frame["kind"].replace("rose", "NA")
    frame.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(DataError, match="missing in"):
        Classifier(epochs=1, verbose=False).fit(tmp_path / "t.csv", target="kind")
    model = Classifier(epochs=1, missing=("",), verbose=False).fit(tmp_path / "t.csv", target="kind")
    assert "NA" in model.classes_


# Columns


def test_kinds_of_columns(heard):
    spec = learn(
        heard,
        number=["1", "2.5", "-3e2", "4"],
        truth=["True", "false", "TRUE", "False"],
        word=["a", "b", "a", "b"],
        typed=[1, 2, 3, 4],
        flag=[True, False, True, True],
    )
    assert [column.kind for column in spec.columns] == ["numeric", "boolean", "categorical", "numeric", "boolean"]
    assert spec.number_width == 4
    assert spec.index_sizes == (4,)
    heard.said("Columns: 2 numeric, 2 boolean, 1 categorical.")


def test_numbers_are_standardised_and_missing_ones_filled_with_the_median(heard):
    spec = learn(heard, x=["1", "2", "3", "NA", "10"], other=["1", "2", "3", "4", "5"])
    encoded = spec.encode(dataset(x=["1", "2", "3", "NA", "10"], other=["1", "2", "3", "4", "5"]))
    values = np.array([1, 2, 3, 10.0])
    expected = (np.array([1, 2, 3, 2.5, 10]) - values.mean()) / values.std()
    np.testing.assert_allclose(encoded.numbers[:, 0].numpy(), expected, rtol=1e-6)
    assert encoded.numbers[:, 1].tolist() == [0, 0, 0, 1, 0]  # lacking it is information of its own
    assert encoded.numbers.shape == (5, 3)
    later = spec.encode(dataset(x=["2"], other=["NA"]))
    assert later.numbers[0, 2].item() == pytest.approx(0)  # never missing in training: the median, and no flag
    assert later.problems == {}


def test_words_become_indices_and_new_words_the_unknown_one(heard):
    spec = learn(heard, w=["b", "a", "b", "NA", "a"], x=["1", "2", "3", "4", "5"])
    encoded = spec.encode(dataset(w=["a", "b", "zebra", "NA", " a "], x=["1"] * 5))
    assert encoded.indices[:, 0].tolist() == [1, 2, 0, 3, 1]


def test_everything_is_learnt_from_training_rows_alone(tmp_path):
    random = np.random.default_rng(0)
    train = pd.DataFrame({"x": random.normal(size=80), "w": ["a", "b"] * 40, "y": ["p", "q"] * 40})
    judge = pd.DataFrame({"x": random.normal(1000, size=20), "w": ["c"] * 20, "y": ["p", "q"] * 10})
    train.to_csv(tmp_path / "train.csv", index=False)
    judge.to_csv(tmp_path / "test.csv", index=False)
    judge.assign(x=judge["x"] + 1).to_csv(tmp_path / "valid.csv", index=False)
    model = Classifier(epochs=1, verbose=False).fit(tmp_path, target="y")
    number, word = model.record.spec.preprocessing.columns
    assert number.center == pytest.approx(train["x"].mean())
    assert number.scale == pytest.approx(train["x"].std(ddof=0))
    assert number.filler == pytest.approx(train["x"].median())
    assert word.categories == ("a", "b")
    assert model.record.data["rows"] == {"train": 80, "validation": 20, "test": 20}


def test_columns_that_say_nothing_are_left_out_and_named(heard):
    rows = [str(i) for i in range(200)]
    spec = learn(
        heard,
        x=rows,
        same=["k"] * 200,
        empty=[""] * 200,
        name=[f"person {i}" for i in range(200)],
        nested=[[1, 2]] * 200,
    )
    assert [column.name for column in spec.columns] == ["x"]
    heard.said("'same' left out", "always 'k'")
    heard.said("'empty' left out", "it is empty")
    heard.said("'name' left out", "200 different words", "categorical='name'")
    heard.said("'nested' left out")
    kept = learn(heard, Config(categorical=("name",)), x=rows, name=[f"person {i}" for i in range(200)])
    assert [column.name for column in kept.columns] == ["x", "name"]


def test_a_few_cells_that_are_no_numbers_count_as_missing_and_are_shown(heard):
    cells = [str(i) for i in range(98)] + ["unknown", "12..5"]
    spec = learn(heard, x=cells)
    assert spec.columns[0].kind == "numeric"
    assert spec.columns[0].missing
    heard.said("'x' is numeric; taken for missing, being no numbers", "2 cells", "'12..5', 'unknown'")


def test_columns_can_be_ignored_and_must_exist(heard):
    spec = learn(heard, Config(ignore=("x",)), x=["1", "2"], z=["3", "4"])
    assert [column.name for column in spec.columns] == ["z"]
    with pytest.raises(ColumnError, match="Did you mean 'length'"):
        learn(heard, Config(ignore=("lenght",)), length=["1", "2"])


def test_dates_are_numbers(heard):
    spec = learn(heard, when=list(pd.date_range("2026-01-01", periods=4)))
    assert spec.columns[0].kind == "date"
    heard.said("'when' holds dates")
    encoded = spec.encode(dataset(when=list(pd.date_range("2026-01-01", periods=4))))
    assert encoded.numbers[:, 0].tolist() == pytest.approx([-1.3416, -0.4472, 0.4472, 1.3416], abs=1e-3)


def test_nothing_left_to_learn_from(heard):
    with pytest.raises(DataError, match="no column is left"):
        learn(heard, same=["k", "k"])


def test_specification_survives_json(heard):
    spec = learn(heard, x=["1", "2", "NA"], w=["a", "b", "NA"], t=["true", "false", "true"])
    assert TableSpec.from_dict(spec.to_dict()) == spec


def test_selected_rows_are_encoded_and_not_those_they_were_selected_from(heard):
    spec = learn(heard, x=["1", "2", "3", "4"])
    data = dataset(x=["1", "2", "3", "4"])
    whole = spec.encode(data).numbers
    assert torch.equal(spec.encode(data.select([3, 1])).numbers, whole[[3, 1]])


# Bad input of the whole way


@pytest.mark.parametrize(
    ("change", "options", "error", "message"),
    [
        (lambda f: f, {"target": "knid"}, ColumnError, "Did you mean 'kind'"),
        (lambda f: f, {}, ConfigError, "needs target.*length, scented"),
        (lambda f: f.assign(kind="rose"), {"target": "kind"}, DataError, "one class only"),
        (lambda f: f.assign(kind=f["length"].fillna(0)), {"target": "kind"}, DataError, "looks like regression"),
        (lambda f: f.assign(kind=range(len(f))), {"target": "kind"}, DataError, "looks like regression"),
        (lambda f: f.assign(kind=[f"id{i}" for i in range(len(f))]), {"target": "kind"}, DataError, "identifier"),
        (lambda f: f.head(2), {"target": "kind"}, DataError, "too few rows|fewer rows|one class|different values"),
        (lambda f: f, {"target": "kind", "task": "binary"}, ConfigError, "needs 2 classes"),
        (lambda f: f, {"target": "kind", "backbone": "resnet18"}, ConfigError, "reads images"),
    ],
)
def test_tables_that_cannot_be_trained_on(tmp_path, change, options, error, message):
    change(flowers(60)).to_csv(tmp_path / "t.csv", index=False)
    target = options.pop("target", None)
    with pytest.raises(error, match=message):
        Classifier(epochs=1, verbose=False, **options).fit(tmp_path / "t.csv", target=target)


def test_a_class_that_training_never_saw_is_named(tmp_path):
    frame = flowers(60)
    frame.to_csv(tmp_path / "train.csv", index=False)
    other = flowers(20, seed=3)
    other.loc[3, "kind"] = "tulip"
    other.to_csv(tmp_path / "test.csv", index=False)
    with pytest.raises(DataError, match=r"test split has classes that training never saw: 'tulip' \(1 row\)"):
        Classifier(epochs=1, verbose=False).fit(tmp_path, target="kind")


def test_no_such_path_and_what_is_near(tmp_path, monkeypatch):
    (tmp_path / "flowers.csv").touch()
    with pytest.raises(FileNotFoundError, match=r"Did you mean 'flowers\.csv'"):
        Classifier(verbose=False).fit(tmp_path / "flower.csv", target="kind")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="'digits' names the handwritten digits"):
        Classifier(verbose=False).fit("digit")


def test_a_file_of_another_kind(tmp_path):
    (tmp_path / "t.xlsx").touch()
    with pytest.raises(DataError, match=r"ends in \.xlsx: expected a table"):
        Classifier(verbose=False).fit(tmp_path / "t.xlsx")
