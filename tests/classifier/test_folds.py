"""Cross-validation: each row judged once, by a model that has not seen it."""

import numpy as np
import pandas as pd
import pytest

from lastlayer import Classifier
from lastlayer.classifier import fitting
from lastlayer.classifier.config import Config
from lastlayer.classifier.data.rows import Rows
from lastlayer.classifier.data.splits import Split
from lastlayer.classifier.folds import Judged, cut
from lastlayer.errors import ConfigError, DataError, RunError
from tests.classifier.conftest import flowers


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("folds") / "run"
    frame = flowers(150).assign(patient=[f"p{row // 3}" for row in range(150)])
    Classifier(epochs=6, folds=4, group="patient", verbose=False).fit(frame, "kind", output=folder)
    return Classifier.load(folder)


def test_every_row_is_judged_once(run):
    table = run.record.folds.to_pydict()
    assert sorted(table["input"]) == sorted(f"frame#{row}" for row in range(1, 151))
    assert set(table["fold"]) == {1, 2, 3, 4}
    truth = dict(zip((f"frame#{row}" for row in range(1, 151)), flowers(150)["kind"], strict=True))
    assert [truth[name] for name in table["input"]] == table["target"]


def test_no_group_is_in_two_folds(run):
    folds = {}
    for name, fold in zip(*(run.record.folds.to_pydict()[key] for key in ("input", "fold")), strict=True):
        assert folds.setdefault((int(name.split("#")[1]) - 1) // 3, fold) == fold


def test_scores_are_those_of_the_kept_logits(run):
    found = run.record.data["cross_validation"]
    table = run.record.folds.to_pydict()
    logits = np.array([table[f"logit({name})"] for name in run.classes_]).T
    target = np.array([list(run.classes_).index(name) for name in table["target"]])
    right = logits.argmax(1) == target
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    assert found["scores"]["accuracy"]["value"] == pytest.approx(right.mean())
    assert found["scores"]["log_loss"]["value"] == pytest.approx(-log_p[np.arange(150), target].mean())
    fold = np.array(table["fold"])
    each = [right[fold == number].mean() for number in (1, 2, 3, 4)]
    assert found["scores"]["accuracy"]["folds"] == pytest.approx(each)
    assert found["scores"]["accuracy"]["standard_deviation_of_folds"] == pytest.approx(np.std(each, ddof=1))
    assert found["scores"]["accuracy"]["value"] > 0.8
    assert any(note.startswith("Cross-validation: 4 folds, 150 rows") for note in run.record.data["notes"])


def test_a_model_never_judges_rows_that_it_has_seen(monkeypatch):
    seen, judge = [], fitting._judge_fold

    def watched(ready, split, fold, *rest):
        train = {*split.train, *split.validation, *split.calibration}
        assert not train & set(split.test)
        assert len(train) + len(split.test) == len(ready.rows)
        seen.extend(split.test)
        return judge(ready, split, fold, *rest)

    monkeypatch.setattr(fitting, "_judge_fold", watched)
    Classifier(epochs=1, folds=3, verbose=False).fit(flowers(90), "kind")
    assert sorted(seen) == list(range(90))


def test_the_final_model_is_the_ordinary_one():
    frame = flowers(90)
    with_folds = Classifier(epochs=2, folds=3, verbose=False).fit(frame, "kind")
    without = Classifier(epochs=2, verbose=False).fit(frame, "kind")
    assert (with_folds.predict_logits(frame) == without.predict_logits(frame)).all()
    assert with_folds.record.predictions.equals(without.record.predictions)


def test_given_test_rows_take_no_part(tmp_path, monkeypatch):
    used, judge = [], fitting._judge_fold

    def watched(ready, split, fold, *rest):
        used.extend(ready.rows.names[row] for part in split for row in part)
        return judge(ready, split, fold, *rest)

    monkeypatch.setattr(fitting, "_judge_fold", watched)
    flowers(90).to_csv(tmp_path / "train.csv", index=False)
    flowers(30, seed=5).to_csv(tmp_path / "test.csv", index=False)
    model = Classifier(epochs=1, folds=3, verbose=False).fit(tmp_path, "kind")
    assert model.record.data["cross_validation"]["rows"] == 90 - len(model.record.data["left_out"]) > 80
    assert {name.split("#")[0] for name in used} == {"train.csv"}  # none of them trains, chooses or calibrates either
    assert {name.split("#")[0] for name in model.record.folds.to_pydict()["input"]} == {"train.csv"}


def test_binary_and_several_labels():
    frame = flowers(90)
    binary = Classifier(epochs=1, folds=2, verbose=False).fit(frame.assign(y=frame["kind"] == "rose"), "y")
    assert len(binary.record.folds.to_pydict()["logit"]) == 90
    tags = [["red"] * (row % 2) + ["big"] * (row % 3 == 0) for row in range(90)]
    several = Classifier(epochs=1, folds=2, verbose=False).fit(frame.assign(tags=tags), "tags")
    assert several.record.data["cross_validation"]["rows"] == 90
    assert {"logit(red)", "logit(big)"} <= set(several.record.folds.column_names)


def test_an_interrupt_leaves_no_scores(monkeypatch, heard):
    def cut_short(ready, split, fold, *rest):
        import torch

        return Judged(torch.zeros(len(split.test), 3).double(), fold < 2)

    monkeypatch.setattr(fitting, "_judge_fold", cut_short)
    model = Classifier(epochs=1, folds=3, listener=heard).fit(flowers(60), "kind")
    heard.said("Interrupted: without all folds")
    assert "cross_validation" not in model.record.data
    assert model.record.folds is None
    assert model.record.data["training"]["interrupted"]


def test_too_many_folds():
    frame = pd.DataFrame({"x": [*range(12)] * 5, "y": ["a", "b", "c"] * 20})
    with pytest.raises(DataError, match="folds=20 needs at least as many rows that can be told apart"):
        Classifier(epochs=1, folds=20, verbose=False).fit(frame, "y")
    with pytest.raises(ConfigError, match="folds has to lie between 2"):
        Classifier(folds=1)


@pytest.mark.parametrize("grouped", [False, True])
def test_every_fold_has_its_share_of_each_class(grouped):
    names = [str(row) for row in range(120)]
    labels = ["rare" if row < 12 else "often" for row in range(120)]
    rows = Rows("table", None, names, labels, groups=[f"={row // 2}" for row in range(120)] if grouped else None)
    found = cut(rows, range(120), Split([], [], [], []), Config(folds=6))
    assert [sum(labels[row] == "rare" for row in fold) for fold in found] == [2] * 6
    assert [len(fold) for fold in found] == [20] * 6


def test_a_changed_table_of_folds_is_noticed(run, tmp_path):
    folder = run.save(tmp_path / "copy")
    assert Classifier.load(folder).record.folds.equals(run.record.folds)
    content = (folder / "folds.parquet").read_bytes()
    (folder / "folds.parquet").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(RunError, match=r"folds\.parquet"):
        Classifier.load(folder)
