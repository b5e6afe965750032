"""Tables: reading them, and turning their cells into numbers."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest
import torch

from lastlayer import Classifier
from lastlayer.classifier.config import Config
from lastlayer.classifier.data import labels, tables
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
        ("a,b\n1,2\n".encode("utf-16"), "It begins as UTF-16 does: encoding='utf-16'"),
        (b'a,b\n1,"x\n2,y\n3,z\n', r"row 1 \(line 2\) has a quote that is never closed"),
        (b'a,"b\n1,2\n', "the header has a quote that is never closed"),
        (b",,\n1,2,3\n", "is empty"),
    ],
)
def test_text_tables_that_cannot_be_read(tmp_path, content, message):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        tables.read_table(tmp_path / "t.csv")


@pytest.mark.parametrize("name", ["a*b", "d[1]", "q::r", "q?", "{a}"])
def test_a_file_name_is_no_pattern(tmp_path, name):
    frame = pd.DataFrame({"a": ["1", "2"]})
    frame[:1].to_csv(tmp_path / "axxb.csv", index=False)
    frame.to_csv(tmp_path / f"{name}.csv", index=False)
    frame.to_parquet(tmp_path / "plain")
    (tmp_path / "plain").rename(tmp_path / f"{name}.parquet")
    (tmp_path / f"{name}.jsonl").write_text('{"a": "1"}\n\n{"a": "2"}\n')
    for ending in ("csv", "parquet", "jsonl"):
        assert tables.read_table(tmp_path / f"{name}.{ending}")["a"][:] == ["1", "2"]


def test_columns_without_a_name_are_called_as_pandas_calls_them(tmp_path):
    path = write(tmp_path / "t.csv", "\n\n,a,\n0,x,\n1,y,\n")  # empty lines are no header
    data = tables.read_table(path)
    assert data.column_names == pd.read_csv(path).columns.tolist() == ["Unnamed: 0", "a", "Unnamed: 2"]


def test_a_cell_may_be_long(tmp_path):
    path = write(tmp_path / "t.csv", "a,b\n1," + "q" * 200_000 + "\n")
    assert len(tables.read_table(path)["b"][0]) == 200_000


@pytest.mark.parametrize("separator", [";;", "", "\n"])
def test_a_separator_is_one_character(tmp_path, separator):
    path = write(tmp_path / "t.csv", "a\tb\n1\t2\n")
    with pytest.raises(ConfigError, match="one character"):
        tables.read_table(path, separator=separator)
    assert tables.read_table(path, separator="\\t").column_names == ["a", "b"]  # as a shell hands it over


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rows"),
        ('{"a": 1}\n{bad\n', "line 2 is no JSON"),
        ('[{"a": 1},\n {"a": 2}]\n', "line 1 is no JSON"),
        ("[1, 2]\n", "line 1 holds a list"),
    ],
)
def test_json_lines_that_cannot_be_read(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        tables.read_table(write(tmp_path / "t.jsonl", text))


def test_json_of_several_types_becomes_text(tmp_path):
    path = write(tmp_path / "t.jsonl", '{"a": 3, "b": 1, "c": 1e400}\n{"a": "x", "b": 0.5}\n{"a": true, "b": null}\n')
    data = tables.read_table(path)
    assert data["a"][:] == ["3", "x", "true"]
    assert data["b"][:] == [1.0, 0.5, None]
    assert data["c"][:] == [float("inf"), None, None]


@pytest.mark.parametrize(
    "values",
    [
        pd.period_range("2020", periods=60, freq="D"),
        pd.interval_range(0, 60),
        pd.timedelta_range("1D", periods=60),
        pd.Categorical(list("xyz") * 20),
        pd.array([True, None, False] * 20, dtype="boolean"),
        [dt.time(hour % 24, hour) for hour in range(60)],
        [dt.date(1, 1, 1) if row % 3 else dt.date(9999, 12, 31) for row in range(60)],
    ],
    ids=lambda values: type(values).__name__,
)
def test_every_kind_of_pandas_column_can_be_trained_on(values):
    frame = pd.DataFrame({"u": values, "v": np.random.default_rng(0).normal(size=60), "y": list("ab") * 30})
    assert len(Classifier(epochs=1, verbose=False).fit(frame, "y").predict(frame)) == 60


def test_a_column_name_stands_once(tmp_path):
    frame = pd.DataFrame(np.zeros((9, 2)), columns=["u", "u"]).assign(y="a")
    with pytest.raises(DataError, match="more than one column named u"):
        Classifier(verbose=False).fit(frame, "y")


def test_names_of_classes_in_a_dataset_are_kept():
    features = datasets.Features({"u": datasets.Value("int64"), "y": datasets.ClassLabel(names=["no", "yes"])})
    data = datasets.Dataset.from_dict({"u": list(range(60)), "y": [0, 1] * 30}, features=features)
    assert Classifier(epochs=1, verbose=False).fit(data, "y").classes_.tolist() == ["no", "yes"]


def test_splits_of_several_formats(tmp_path):
    flowers(60).to_csv(tmp_path / "train.csv", index=False)
    flowers(20, seed=3).to_parquet(tmp_path / "test.parquet")
    model = Classifier(epochs=1, verbose=False).fit(tmp_path, "kind")
    assert model.record.data["rows"]["test"] == 20


def test_tables_beside_splits_are_named(tmp_path, heard):
    for name in ("train.csv", "val.csv", "extra.csv"):
        flowers(60 if name == "train.csv" else 20, seed=len(name)).to_csv(tmp_path / name, index=False)
    Classifier(epochs=1, listener=heard).fit(tmp_path, "kind")
    heard.said("Left out extra.csv")
    (tmp_path / "val.csv").rename(tmp_path / "validation.csv")
    flowers(20).to_csv(tmp_path / "val.csv", index=False)
    with pytest.raises(DataError, match=r"val\.csv and validation\.csv .* both the validation split"):
        Classifier(epochs=1, verbose=False).fit(tmp_path, "kind")
    for name in ("train.csv", "val.csv", "validation.csv"):
        (tmp_path / name).unlink()
    with pytest.raises(DataError, match=r"none called train: name it \(.*extra\.csv\)"):
        Classifier(epochs=1, verbose=False).fit(tmp_path, "kind")


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
        (["inf", "0"], ["inf", "0"]),
        (["-Infinity", "1_0"], ["-Infinity", "1_0"]),
        (["123456789012345678901234567890", "1"], ["123456789012345678901234567890", "1"]),
    ]:
        column = tables.arrow(dataset(y=cells)).column("y")
        assert labels.read_labels(column, config) == expected


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
    x, other = ["1", "2", "3", "NA", "10"] * 10, ["1", "2", "3", "4", "5"] * 10
    spec = learn(heard, x=x, other=other)
    encoded = spec.encode(dataset(x=x, other=other))
    values = np.array([1, 2, 3, 10.0])
    expected = (np.array([1, 2, 3, 2.5, 10] * 10) - values.mean()) / values.std()
    np.testing.assert_allclose(encoded.numbers[:, 0].numpy(), expected, rtol=1e-6)
    assert encoded.numbers[:, 1].tolist() == [0, 0, 0, 1, 0] * 10  # lacking it is information of its own
    assert encoded.numbers.shape == (50, 3)
    later = spec.encode(dataset(x=["2"], other=["NA"]))
    assert later.numbers[0, 2].item() == pytest.approx(0)  # never missing in training: the median, and no flag
    assert later.problems == {}


def test_a_flag_needs_ten_rows_that_lack_the_number_and_says_nothing_twice(heard):
    few, enough = ["NA"] * 9 + ["1", "2"] * 10, ["NA"] * 10 + ["3", "4"] * 9 + ["5"]
    same, others = ["NA"] * 10 + ["8", "9"] * 9 + ["8"], ["6"] + ["NA"] * 10 + ["7"] * 18
    spec = learn(heard, few=few, enough=enough, same=same, others=others)
    assert [column.missing for column in spec.columns] == [False, True, False, True]
    encoded = spec.encode(dataset(few=few, enough=enough, same=same, others=others))
    assert encoded.numbers.shape == (29, 6)
    assert encoded.numbers[:, 2].tolist() == [1.0] * 10 + [0.0] * 19
    assert encoded.numbers[:, 5].tolist() == [0.0] + [1.0] * 10 + [0.0] * 18


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
    model = Classifier(epochs=1, calibration=0, verbose=False).fit(tmp_path, target="y")
    number, word = model.record.spec.preprocessing.columns
    assert number.center == pytest.approx(train["x"].mean())
    assert number.scale == pytest.approx(train["x"].std(ddof=0))
    assert number.filler == pytest.approx(train["x"].median())
    assert word.categories == ("a", "b")
    assert model.record.data["rows"] == {"train": 80, "validation": 20, "calibration": 0, "test": 20}


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
    encoded = spec.encode(dataset(x=["NA", "48.5"]))  # the median
    assert encoded.numbers[0, 0] == encoded.numbers[1, 0]
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


@pytest.mark.parametrize(
    ("cells", "kind", "said"),
    [
        (["1_000", "2_000", "1_000", "3_000"], "categorical", None),
        (["inf", "1", "2", "-Infinity"], "numeric", "2 infinite cells taken for missing"),
        ([float("inf"), 1.0, 2.0, 3.0], "numeric", "1 infinite cell taken for missing"),
        (["abc", "1", "2", "3"], "categorical", "3 cells of 4 are numbers"),
        (["1,5", "2,5", "1,5", "3"], "categorical", "decimal commas"),
        (["2020-01-01", "2020-01-02T10:00:00", "2021-01-01"], "date", "holds dates"),
        ([dt.timedelta(days=1), dt.timedelta(days=2), None], "date", "holds dates"),
        ([dt.time(1), dt.time(2)], "date", "holds dates"),
    ],
)
def test_how_a_column_is_taken_is_said(heard, cells, kind, said):
    spec = learn(heard, x=cells)
    assert [column.kind for column in spec.columns] == [kind]
    notes = [note for note in heard.notes if note.startswith("Column 'x'")]
    assert (said in notes[0]) if said else not notes


def test_dates_in_text_and_in_types_are_the_same_numbers(heard):
    days = pd.date_range("2026-01-01", periods=4)
    spec = learn(heard, when=[str(day.date()) for day in days])
    typed, text = (spec.encode(dataset(when=cells)) for cells in (list(days), [str(day) for day in days]))
    assert torch.equal(typed.numbers, text.numbers)
    assert spec.encode(dataset(when=["soon"])).problems == {0: "when: 'soon' is not a date"}


def test_numbers_beyond_what_a_float_holds_are_never_nan(heard):
    cells = ["1e300", "-1e300", "1.7e308", "-1.7e308"]
    spec = learn(heard, x=cells)
    encoded = spec.encode(dataset(x=cells))
    assert encoded.numbers.isfinite().all()
    assert encoded.problems == {}
    far = learn(heard, x=["1", "2", "3"]).encode(dataset(x=["1e300", "2", "inf"]))
    assert far.numbers.isfinite().all()
    assert "1e300 lies a billion standard deviations" in far.problems[0]
    assert far.problems.keys() == {0, 2}


def test_a_row_without_finite_logits_is_a_problem(table_run):
    model = Classifier.load(table_run)
    with torch.no_grad():
        model._network.head.linear.bias.fill_(float("nan"))
    assert set(model.predictions(flowers(3)).problems.values()) == {"the model gives no finite logits for it"}


def test_an_index_that_pandas_wrote_is_no_feature(tmp_path, heard):
    flowers(60).to_csv(tmp_path / "t.csv")
    model = Classifier(epochs=1, listener=heard).fit(tmp_path / "t.csv", "kind")
    heard.said("'Unnamed: 0' left out", "counts the rows")
    assert len(model.predict(flowers(3))) == 3


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
        (
            lambda f: f,
            {"target": "kind", "max_pixels": 9},
            ConfigError,
            "max_pixels is for images, and .* leave it out",
        ),
        (lambda f: f, {"target": "kind", "workers": 2}, ConfigError, "workers is for images"),
        (lambda f: f, {"target": "kind", "positive": "rose"}, ConfigError, "this one has 3 classes"),
        (lambda f: f, {"target": "scented", "positive": "x"}, ConfigError, "'x' is not one of the classes"),
        (
            lambda f: f,
            {"target": "scented", "positive": "True", "task": "multiclass"},
            ConfigError,
            "this one is multiclass: leave it out",
        ),
        (lambda f: f, {"target": "kind", "precision": "fp16", "device": "cpu"}, ConfigError, "needs a GPU"),
        (lambda f: f[["kind"]], {"target": "kind"}, DataError, "no column is left to learn from beside the target"),
        (
            lambda f: f.assign(length="", scented="", soil="", count=""),
            {"target": "kind"},
            DataError,
            "no column is left to learn from beside the target",
        ),
        (
            lambda f: f[["kind"]].assign(u=[1, 2] * 30),
            {"target": "kind"},
            DataError,
            "hold only 2 different contents, and equal rows stand on one side",
        ),
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
