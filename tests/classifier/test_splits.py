"""Who trains and who judges: by class, and never the same content on both sides."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lastlayer import Classifier
from lastlayer.classifier.config import Config
from lastlayer.classifier.data.contents import contents_of
from lastlayer.classifier.data.groups import with_groups
from lastlayer.classifier.data.labels import in_order
from lastlayer.classifier.data.sources import open_labelled
from lastlayer.classifier.data.splits import split_rows, stratified
from lastlayer.classifier.journal import Journal, Silent
from lastlayer.classifier.task import Task, check_labels, infer_task
from lastlayer.errors import ConfigError, DataError
from tests.classifier.conftest import flowers, write_digits

SPLITS = ("validation", "calibration", "test")


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 25)), min_size=1, max_size=120),
    st.floats(0.05, 0.4),
    st.floats(0.0, 0.4),
    st.integers(0, 5),
)
def test_equal_rows_stand_on_one_side_and_every_class_trains(rows, validation, test, seed):
    labels = [label for label, _ in rows]
    contents = [content for _, content in rows]
    first, second = stratified(labels, contents, (validation, test), seed)
    train = set(range(len(rows))) - first - second
    assert not first & second
    parts = [{contents[row] for row in part} for part in (train, first, second)]
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]
    assert {labels[row] for row in train} == set(labels)
    assert stratified(labels, contents, (validation, test), seed) == (first, second)


def test_shares_are_kept_in_every_class():
    labels = ["a"] * 1000 + ["b"] * 100 + ["c"] * 10
    first, second = stratified(labels, range(1110), (0.2, 0.1), 0)
    assert Counter(labels[row] for row in first) == {"a": 200, "b": 20, "c": 2}
    assert Counter(labels[row] for row in second) == {"a": 100, "b": 10, "c": 1}
    small = ["a"] * 1000 + ["b"] * 4  # a share of them is less than half a row, and two train
    for part in stratified(small, range(1004), (0.1, 0.1), 0):
        assert Counter(small[row] for row in part) == {"a": 100, "b": 1}


def test_rows_that_are_all_copies_still_judge(heard):
    frame = pd.DataFrame({"p": list("aabbccdd") * 50, "q": list("xy") * 200})
    frame["y"] = np.where(frame["p"].isin(["a", "b"]), "yes", "no")
    frame = frame.drop_duplicates().pipe(lambda each: pd.concat([each] * 50, ignore_index=True))
    model = Classifier(epochs=1, listener=heard).fit(frame, "y")
    assert all(model.record.data["rows"][part] > 0 for part in ("train", "validation", "test"))
    heard.said("The 400 rows hold 8 different contents")


def test_columns_that_are_ignored_make_no_row_another():
    frame = pd.concat([flowers(60)] * 2, ignore_index=True).assign(id=range(120))
    model = Classifier(epochs=1, ignore=("id",), verbose=False).fit(frame, "kind")
    kept = model.record.predictions.to_pydict()
    judge = {int(name.split("#")[1]) - 1: split for name, split in zip(kept["input"], kept["split"], strict=True)}
    assert all(judge.get((row + 60) % 120) == split for row, split in judge.items())


def test_another_seed_is_another_split():
    splits = {tuple(sorted(stratified(["a"] * 50, range(50), (0.2, 0.0), seed)[0])) for seed in range(5)}
    assert len(splits) == 5


def test_copies_of_an_image_never_cross(tmp_path):
    folder = write_digits(tmp_path / "d", 8)
    for label in range(10):
        for place in range(8):
            image = Image.open(folder / f"digit {label}" / f"{place}.png")
            image.save(folder / f"digit {label}" / f"copy of {place}.bmp")  # other bytes, the same pixels
    model = Classifier(epochs=1, verbose=False).fit(folder)
    kept = model.record.predictions.to_pydict()
    judge = dict(zip(kept["input"], kept["split"], strict=True))
    for name, split in judge.items():
        label, file = name.split("/")
        other = f"{label}/copy of {file[:-4]}.bmp" if file.endswith(".png") else f"{label}/{file[8:-4]}.png"
        assert judge.get(other) == split, name


def test_copies_of_a_row_never_cross():
    frame = pd.concat([flowers(60)] * 2, ignore_index=True)
    model = Classifier(epochs=1, verbose=False).fit(frame, target="kind")
    kept = model.record.predictions.to_pydict()
    judge = {int(name.split("#")[1]) - 1: split for name, split in zip(kept["input"], kept["split"], strict=True)}
    for row, split in judge.items():
        assert judge.get((row + 60) % 120) == split


def test_copies_across_a_given_split_are_left_out_of_what_trains(tmp_path, heard):
    frame = flowers(60)
    frame.to_csv(tmp_path / "train.csv", index=False)
    frame.iloc[:5].to_csv(tmp_path / "test.csv", index=False)
    pd.concat([frame.iloc[3:7], flowers(20, seed=4)]).to_csv(tmp_path / "val.csv", index=False)
    model = Classifier(epochs=1, calibration=0, listener=heard).fit(tmp_path, target="kind")
    assert model.record.data["rows"] == {"train": 53, "validation": 22, "calibration": 0, "test": 5}
    left_out = {row["name"]: row["reason"] for row in model.record.data["left_out"]}
    assert set(left_out) == {*(f"train.csv#{n}" for n in range(1, 8)), "val.csv#1", "val.csv#2"}
    assert left_out["train.csv#1"] == "the same content as test.csv#1 in test"
    assert left_out["train.csv#7"] == "the same content as val.csv#4 in validation"
    heard.said("Left out 9 copies")


def test_equal_rows_with_different_classes_are_named(heard):
    frame = flowers(60)
    frame.loc[10] = frame.loc[0]
    frame.loc[10, "kind"] = next(kind for kind in ("rose", "lily") if kind != frame.loc[0, "kind"])
    Classifier(epochs=1, listener=heard).fit(frame, target="kind")
    heard.said("1 row with the same content as another but a different class", "frame#11", "frame#1 ")


def test_a_given_split_without_validation_takes_it_from_training(tmp_path, heard):
    flowers(80).to_csv(tmp_path / "train.csv", index=False)
    flowers(20, seed=3).to_csv(tmp_path / "test.csv", index=False)
    model = Classifier(epochs=1, validation=0.1, calibration=0.1, listener=heard).fit(tmp_path, target="kind")
    rows = model.record.data["rows"]
    assert rows["train"] + rows["validation"] + rows["calibration"] == 80
    assert min(rows["validation"], rows["calibration"]) >= 3
    assert rows["test"] == 20
    heard.said("No validation split was given: 10%")
    heard.said("No calibration split was given: 10%")


def test_without_test_rows_the_validation_rows_judge_and_that_is_said(heard):
    model = Classifier(epochs=1, test=0.0, listener=heard).fit(flowers(60), target="kind")
    assert model.evaluate().split == "validation"
    heard.said("no test rows")


# Tasks


def infer(labels, heard, **settings):
    return infer_task(labels, range(len(labels)), Config(**settings), Journal(heard))


def test_two_classes_are_one_sigmoid_and_more_a_softmax(heard):
    assert infer(["no", "yes", "no"], heard, target="spam") == Task("binary", ("no", "yes"))
    said = heard.said("Task: binary", "column 'spam' has 2 classes (no, yes)", "'yes' counts as yes")
    assert "positive='no', or task='multiclass'" in said
    assert infer([3, 1, 2], heard) == Task("multiclass", (1, 2, 3))
    heard.said("Task: multiclass", "softmax")
    assert infer(["no", "yes"], heard, task="multiclass").kind == "multiclass"
    assert infer(["no", "yes"], heard, positive="no").classes == ("yes", "no")


def test_classes_that_training_does_not_have_are_no_classes():
    from lastlayer.classifier.journal import Silent

    task = infer_task(["a", "b", "c"], [0, 1], Config(), Journal(Silent()))
    assert task.classes == ("a", "b")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.linspace(0, 1, 50).tolist(), "regression"),
        (list(range(500)), "regression"),
        ([f"id{i}" for i in range(50)], "identifier"),
    ],
)
def test_labels_that_are_no_classes(labels, message):
    with pytest.raises(DataError, match=message):
        check_labels(labels, Config(target="y"))
    check_labels(labels, Config(target="y", task="multiclass"))  # unless it is said that they are


@pytest.mark.parametrize(
    "labels",
    [
        [3, 4, 5, 6, 7] * 10,  # marks given to wines
        list(range(77)) * 30,  # seventy-seven intents by number
        [0.5, 1.0] * 10,
        ["a", "b", "c"] * 3,
        [True, False] * 5,
        list(range(31)) * 20,
    ],
)
def test_labels_that_are_classes(labels):
    check_labels(labels, Config(target="y"))


def test_order_of_classes():
    assert in_order(["10", "9", "2", "1"]) == ("1", "2", "9", "10")
    assert in_order(["b", "A", "a"]) == ("A", "a", "b")
    assert in_order([True, False]) == (False, True)
    assert in_order([2.5, 1]) == (1, 2.5)
    assert in_order(["x", "3"]) == ("3", "x")
    assert in_order(["nan", "1", "inf", "0"]) == ("0", "1", "inf", "nan")


def test_an_unknown_positive_class(heard):
    with pytest.raises(DataError, match="Did you mean 'yes'"):
        infer(["no", "yes"], heard, positive="yess")
    with pytest.raises(ConfigError, match="has 3"):
        infer(["a", "b", "c"], heard, task="binary")


# Calibration


def test_rows_that_calibrate_do_nothing_else():
    model = Classifier(epochs=1, calibration=0.1, verbose=False).fit(flowers(200), target="kind")
    kept = model.record.predictions.to_pydict()
    parts = {split: {n for n, s in zip(kept["input"], kept["split"], strict=True) if s == split} for split in SPLITS}
    assert min(map(len, parts.values())) > 0
    assert len(set().union(*parts.values())) == sum(map(len, parts.values()))
    assert sum(model.record.data["rows"].values()) == 200


@pytest.mark.parametrize("group", [None, "ward"])
def test_the_rows_that_judge_are_the_same_whatever_else_is_held_out(group):
    frame = flowers(300)
    frame["ward"] = [f"w{row % 60}" for row in range(len(frame))]
    quiet, judged = Journal(Silent()), []
    for validation, calibration in ((0.1, 0.1), (0.05, 0.0), (0.3, 0.2)):
        config = Config(target="kind", group=group, validation=validation, calibration=calibration)
        rows = with_groups(open_labelled(frame, config, quiet), config, quiet)
        _, split = split_rows(rows, contents_of(rows, config), config, quiet)
        assert split.validation
        judged.append(split.test)
    assert judged[0] == judged[1] == judged[2]
    assert len(judged[0]) == pytest.approx(45, abs=5)


def test_a_folder_may_name_the_rows_that_calibrate(tmp_path):
    for seed, part in enumerate(("train", "val", "calibration", "test")):
        flowers(60 if part == "train" else 20, seed=seed).to_csv(tmp_path / f"{part}.csv", index=False)
    model = Classifier(epochs=1, verbose=False).fit(tmp_path, target="kind")
    assert model.record.data["rows"] == {"train": 60, "validation": 20, "calibration": 20, "test": 20}
