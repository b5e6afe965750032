"""How many rows are held out where nobody says: fewer of a small table that members read."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lastlayer import Classifier
from lastlayer.classifier.config import Config
from lastlayer.classifier.data.rows import Rows
from lastlayer.classifier.journal import Journal, Silent
from lastlayer.classifier.shares import settled
from tests.classifier.conftest import flowers


def table(count, text=False, given=None):
    """Rows of numbers, with a column of sentences where asked for."""
    import datasets

    random = np.random.default_rng(0)
    data = {"a": random.normal(size=count), "b": random.normal(size=count)}
    if text:
        data["t"] = [f"row {row} is about {random.integers(1e9)} and something else" for row in range(count)]
    return Rows("table", datasets.Dataset.from_dict(data), [str(row) for row in range(count)], given=given)


def shares(rows, **settings):
    found = settled(rows, Config(**settings), Journal(Silent()))
    return found.validation, found.calibration


def test_a_small_table_holds_out_few_rows():
    assert shares(table(200)) == (0.02, 0)
    assert shares(table(999)) == (0.02, 0)


def test_calibration_rows_are_held_out_where_they_can_tell():
    assert shares(table(1_000)) == (0.02, 0.1)
    assert shares(table(9_999)) == (0.02, 0.1)


def test_a_larger_table_is_judged_by_its_validation_rows():
    assert shares(table(10_000)) == (0.1, 0.1)


@pytest.mark.parametrize("decision", [{"coverage": 0.9}, {"threshold_for": "f1"}])
def test_decisions_that_need_calibration_rows_have_them(decision):
    assert shares(table(200), **decision) == (0.02, 0.1)


def test_what_other_networks_read_is_held_out_as_usual():
    assert shares(table(200), backbone="mlp") == (0.1, 0.1)
    assert shares(table(200, text=True)) == (0.1, 0.1)
    assert shares(table(200, text=True), ignore=["t"]) == (0.02, 0)


def test_groups_are_held_out_as_usual():
    """Two in a hundred rows may be less than one group."""
    rows = replace(table(200), groups=[f"={row // 10}" for row in range(200)])
    assert shares(rows) == (0.1, 0.1)


def test_validation_rows_that_are_the_only_judges_stay():
    assert shares(table(200), test=0) == (0.1, 0.1)
    assert shares(table(200, given=["train"] * 100 + ["test"] * 100), test=0) == (0.02, 0)


def test_a_share_that_is_named_stays():
    assert shares(table(200), validation=0.2) == (0.2, 0)
    assert shares(table(200), calibration=0.3) == (0.02, 0.3)
    assert shares(table(200), validation=0.1, calibration=0.1) == (0.1, 0.1)


def test_the_run_says_it_and_keeps_it(heard):
    model = Classifier(epochs=1, listener=heard).fit(flowers(100), target="kind")
    rows = model.record.data["rows"]
    assert (rows["validation"], rows["calibration"]) == (3, 0)  # one of each class, which is 2 % or more
    assert (model.config.validation, model.record.config.validation) == (None, 0.02)
    heard.said("Held out of a table of 100 rows: 2% to validate", "none to calibrate", "validation and calibration fix")


def test_the_folds_hold_out_as_the_training_does():
    model = Classifier(epochs=1, folds=2, verbose=False).fit(flowers(100), target="kind")
    assert model.record.data["cross_validation"]["rows"] == 100
    assert model.record.config.shares == (0.02, 0)


def test_the_data_check_splits_as_training_would():
    from lastlayer.classifier import preflight

    frame = flowers(100)
    trained = Classifier(epochs=1, verbose=False).fit(frame, target="kind").record.data["rows"]
    assert {name: count for name, count in trained.items() if count} == preflight(frame, target="kind").rows


def test_usual_shares_leave_rows_to_train_on():
    with pytest.raises(ValueError, match=r"0.1 \+ 0.1 \+ 0.85"):
        Config(test=0.85)


def test_a_frame_of_few_rows_trains():
    frame = pd.DataFrame({"a": np.arange(30.0), "kind": ["x", "y", "z"] * 10})
    rows = Classifier(epochs=1, verbose=False).fit(frame, target="kind").record.data["rows"]
    assert rows["validation"] == 3
    assert sum(rows.values()) == 30
