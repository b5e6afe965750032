"""Rows of one group stand on one side of a split, stratified as well as can be."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lastlayer import Classifier
from lastlayer.classifier.data import splits
from lastlayer.classifier.data.groups import folds, grouped, joined
from lastlayer.errors import ColumnError, ConfigError, DataError
from tests.classifier.conftest import flowers
from tests.classifier.test_preflight import pictures

ROWS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 12)), min_size=1, max_size=80)


@settings(deadline=None, max_examples=100)
@given(ROWS, st.floats(0.05, 0.4), st.floats(0.0, 0.4), st.integers(0, 3))
def test_no_group_is_torn_and_every_class_trains(rows, validation, test, seed):
    labels, groups = [label for label, _ in rows], [group for _, group in rows]
    parts = grouped(labels, groups, (validation, test), seed)
    train = set(range(len(rows))) - parts[0] - parts[1]
    sides = [{groups[row] for row in part} for part in (train, *parts)]
    assert not sides[0] & sides[1]
    assert not sides[0] & sides[2]
    assert not sides[1] & sides[2]
    assert {labels[row] for row in train} == set(labels)
    assert grouped(labels, groups, (validation, test), seed) == parts


def test_too_few_groups_are_said_to_be_the_reason():
    frame = flowers().assign(site=lambda frame: frame["kind"])
    with pytest.raises(DataError, match=r"too few groups .* belong to 3 groups, .* more groups in group, or leave it"):
        Classifier(group="site", verbose=False).fit(frame, "kind")


def test_shares_and_classes_are_as_even_as_groups_allow():
    random = np.random.default_rng(0)
    groups = random.integers(0, 200, 2000)
    labels = np.where(random.random(2000) < 0.2 + 0.3 * (groups % 2), "a", "b")
    parts = grouped(list(labels), groups, (0.15, 0.15, 0.1), 0)
    for part, share in zip(parts, (0.15, 0.15, 0.1), strict=True):
        assert abs(len(part) / 2000 - share) < 0.02
        assert abs(np.mean(labels[list(part)] == "a") - np.mean(labels == "a")) < 0.03


def test_folds_hold_each_row_once_and_no_group_twice():
    groups = [row // 3 for row in range(120)]
    found = folds(["a", "b", "c"] * 40, groups, 5, 1)
    assert sorted(row for fold in found for row in fold) == list(range(120))
    assert max(Counter(groups[row] for fold in found for row in {groups[r]: r for r in fold}.values()).values()) == 1


@pytest.mark.parametrize("seed", range(5))
def test_very_many_groups_are_divided_by_the_class_of_most_of_their_rows(monkeypatch, seed):
    monkeypatch.setattr(splits, "_MANY_GROUPS", 100)
    groups = [row // 5 for row in range(1000)]
    labels = (["a"] * 4 + ["b"]) * 100 + ["b"] * 500
    (part,) = splits.taken(labels, range(1000), groups, (0.2,), seed)
    held = {groups[row] for row in part}
    assert len(part) == 5 * len(held) == 200  # each group whole
    assert sum(group < 100 for group in held) == 20


def test_groups_that_share_an_equal_row_are_one():
    assert joined(["a", "b", "b", "c", "d"], ["x", "x", "y", "y", "z"]) == [0, 0, 0, 0, 4]


def patients(rows=240):
    return flowers(rows).assign(patient=[f"p{row // 6}" for row in range(rows)])


def sides(model, name):
    kept = model.record.predictions.to_pydict()
    return {name(row): split for row, split in zip(kept["input"], kept["split"], strict=True)}


def test_a_column_of_a_table_groups_and_is_no_feature(heard):
    model = Classifier(epochs=1, group="patient", listener=heard).fit(patients(), "kind")
    heard.said("Groups: 40 by 'patient'")
    rows = sides(model, lambda name: int(name.split("#")[1]) - 1)
    for row, split in rows.items():
        start = row // 6 * 6
        assert {rows.get(other) for other in range(start, start + 6)} == {split}
    assert "patient" not in [column.name for column in model.record.spec.preprocessing.columns]
    assert model.predict(flowers(5).drop(columns="kind")).shape == (5,)  # nothing needs the group to predict


def test_a_regular_expression_groups_pictures(tmp_path, heard):
    folder = pictures(tmp_path / "p", per_class=30)
    for path in [*folder.rglob("*.png")]:
        path.rename(path.with_name(f"camera{int(path.stem) % 10}-{path.name}"))
    model = Classifier(epochs=1, group=r"camera(\d+)", listener=heard).fit(folder)
    heard.said("Groups: 10 by")
    splits = {}
    for name, split in zip(*(model.record.predictions.to_pydict()[key] for key in ("input", "split")), strict=True):
        assert splits.setdefault(name.split("camera")[1].split("-")[0], split) == split


def test_a_row_without_a_group_is_one_of_its_own(heard):
    frame = patients()
    frame.loc[[0, 7], "patient"] = None
    Classifier(epochs=1, group="patient", listener=heard).fit(frame, "kind")
    heard.said("2 rows without a group (frame#1, frame#8)")
    heard.said("Groups: 42")


def test_groups_across_a_given_split_are_left_out_of_what_trains(tmp_path, heard):
    frame = patients()
    frame.iloc[:200].to_csv(tmp_path / "train.csv", index=False)
    frame.iloc[200:].to_csv(tmp_path / "test.csv", index=False)  # p33 stands in both
    model = Classifier(epochs=1, group="patient", listener=heard).fit(tmp_path, "kind")
    left_out = {row["name"]: row["reason"] for row in model.record.data["left_out"]}
    assert left_out == dict.fromkeys(("train.csv#199", "train.csv#200"), "of the same group as test.csv#1 in test")
    assert [one["id"] for one in model.record.data["findings"] if one["severity"] == "harms"] == ["group-leakage"]
    frame.iloc[::2].to_csv(tmp_path / "test.csv", index=False)
    frame.iloc[1::2].to_csv(tmp_path / "train.csv", index=False)
    with pytest.raises(DataError, match="would leave too little"):
        Classifier(epochs=1, group="patient", verbose=False).fit(tmp_path, "kind")


@pytest.mark.parametrize(
    ("group", "error", "message"),
    [
        ("patients", ColumnError, "no column 'patients' to group by. Did you mean 'patient'"),
        ("one", DataError, "puts all rows into one group"),
    ],
)
def test_groups_that_are_none(group, error, message):
    with pytest.raises(error, match=message):
        Classifier(epochs=1, group=group, verbose=False).fit(patients().assign(one="x"), "kind")


def test_regular_expressions_that_are_none(tmp_path):
    folder = pictures(tmp_path / "p")
    with pytest.raises(ConfigError, match="regular expression"):
        Classifier(epochs=1, group="(", verbose=False).fit(folder)
    with pytest.raises(DataError, match="puts no row into a group"):
        Classifier(epochs=1, group="patient", verbose=False).fit(folder)


# What a training does with what the pre-flight finds


def test_findings_are_said_and_kept(heard):
    frame = flowers(120).assign(row=range(120))
    frame.loc[3, "kind"] = "Rose" if frame.loc[3, "kind"] == "rose" else "Lily"
    frame = pd.concat([frame, frame.iloc[[3]], frame.iloc[[3]].assign(row=7), frame.iloc[[3]].assign(row=8)])
    model = Classifier(epochs=1, listener=heard).fit(frame.reset_index(drop=True), "kind")
    kept = {one["id"]: one for one in model.record.data["findings"]}
    assert kept["label-spelling"]["decision"] == "kept"
    assert "frame#4" in kept["label-spelling"]["rows"]
    heard.said("Data, label-spelling: 1 pair of classes")
    with pytest.raises(DataError, match=r"label-spelling: 1 pair .* Leave strict=True out to go on"):
        Classifier(epochs=1, strict=True, verbose=False).fit(frame.reset_index(drop=True), "kind")
