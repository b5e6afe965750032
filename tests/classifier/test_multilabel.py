"""Any number of labels per row: reading them, training, judging and predicting."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn import metrics

from lastlayer import Classifier
from lastlayer.classifier.config import Config
from lastlayer.classifier.data.labels import read_answers
from lastlayer.classifier.data.splits import strata, stratified
from lastlayer.classifier.evaluation import evaluate
from lastlayer.classifier.journal import Journal, Silent
from lastlayer.classifier.task import Task, infer_task
from lastlayer.cli import run
from lastlayer.decisions import Policy
from lastlayer.errors import ConfigError, DataError

datasets = pytest.importorskip("datasets")
NAMES = ("red", "green", "blue")


def lights(rows: int = 240, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Four numbers, and which of three labels they switch on."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 4))
    on = x @ np.random.default_rng(7).normal(size=(4, 3)) > 0
    return pd.DataFrame(x, columns=list("abcd")), on


def with_tags(separator: str = "|") -> pd.DataFrame:
    frame, on = lights()
    return frame.assign(
        tags=[separator.join(name for name, held in zip(NAMES, row, strict=True) if held) for row in on]
    )


@pytest.fixture(scope="module")
def tagged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tags")
    with_tags().to_csv(folder / "lights.csv", index=False)
    model = Classifier(epochs=25, label_separator="|", verbose=False)
    model.fit(folder / "lights.csv", target="tags", output=folder / "run")
    return folder


def answers(column: dict[str, list], **settings) -> list:
    return read_answers(datasets.Dataset.from_dict(column), Config(**settings))


# Reading


def test_a_separator_makes_sets_of_labels_each_once_and_without_spaces():
    found = answers({"y": ["b; a", "a", "", "a;a; b"]}, target="y", label_separator=";")
    assert found == [("a", "b"), ("a",), (), ("a", "b")]


def test_labels_that_are_all_numbers_are_numbers():
    assert answers({"y": ["10,2", "2"]}, target="y", label_separator=",") == [(10, 2), (2,)]
    assert answers({"y": ["10,x", "2"]}, target="y", label_separator=",") == [("10", "x"), ("2",)]


def test_a_missing_cell_is_missing_and_an_empty_one_holds_no_label():
    assert answers({"y": ["a", "NA", None]}, target="y", label_separator=",") == [("a",), None, ()]


def test_a_column_of_lists_needs_no_separator():
    assert answers({"y": [["b", "a"], [], None, [" a ", None]]}, target="y") == [("a", "b"), (), None, ("a",)]
    assert answers({"y": [[3, 1], [2]]}, target="y") == [(1, 3), (2,)]


def test_several_columns_say_of_each_label_whether_it_holds():
    columns = {"red": [1, 0, 1], "green": ["yes", "No", "yes"], "blue": [True, False, None]}
    assert answers(columns, target=["red", "green", "blue"]) == [("red", "green", "blue"), (), None]


def test_a_column_that_says_neither_yes_nor_no_is_named():
    with pytest.raises(DataError, match=r"'size' has '3'.*write 0 and 1"):
        answers({"red": [1, 0], "size": [3, 0]}, target=["red", "size"])


def test_several_labels_that_nothing_separates_are_asked_for():
    with pytest.raises(ConfigError, match="label_separator=','"):
        answers({"y": ["a", "b"]}, target="y", task="multilabel")


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"task": "multiclass"}, "one answer each"), ({"task": "binary"}, "one answer each")],
)
def test_a_task_of_one_answer_refuses_rows_of_several(settings, message):
    with pytest.raises(ConfigError, match=message):
        infer_task([("a",), ("a", "b")], [0, 1], Config(target="y", **settings), Journal(Silent()))


def test_positive_is_for_one_yes_or_no():
    with pytest.raises(ConfigError, match="any number of labels"):
        Classifier(positive="red", label_separator="|", verbose=False).fit(with_tags(), target="tags")


def test_rows_without_any_label_teach_nothing():
    with pytest.raises(DataError, match="no label holds for any of 2 training rows"):
        infer_task([(), ()], [0, 1], Config(target="y"), Journal(Silent()))


def test_a_label_that_always_holds_is_said(heard):
    infer_task([("a",), ("a", "b")], [0, 1], Config(target="y"), Journal(heard))
    heard.said("1 label of every training row tells nothing", "a")


# Splitting


def test_every_part_sees_a_rare_label():
    held = [("common", "rare") if row % 20 == 0 else ("common",) for row in range(200)]
    parts = stratified(strata(held), range(200), (0.1, 0.1, 0.1), seed=0)
    assert [sum("rare" in held[row] for row in part) for part in parts] == [1, 1, 1]


def test_a_label_that_training_never_saw_stops(tmp_path):
    frame = with_tags()
    frame.iloc[:150].to_csv(tmp_path / "train.csv", index=False)
    frame.iloc[150:].assign(tags="red|violet").to_csv(tmp_path / "test.csv", index=False)
    with pytest.raises(DataError, match="'violet'"):
        Classifier(label_separator="|", verbose=False).fit(tmp_path, target="tags")


# The task


def test_targets_are_zeros_and_ones():
    task = Task("multilabel", NAMES)
    found = task.targets([("red", "blue"), (), "green"])
    assert found.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert [task.spelled(row) for row in found] == ["red, blue", "no label", "green"]


def test_an_unknown_label_is_named():
    with pytest.raises(DataError, match=r"'gren'.*green"):
        Task("multilabel", NAMES).targets([("red", "gren")])


def test_scores_are_those_of_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(300, 3, generator=generator, dtype=torch.float64)
    target = (torch.rand(300, 3, generator=generator) < logits.sigmoid()).long()
    names, policy = [str(row) for row in range(300)], Policy("multilabel", 3)
    found = evaluate(logits, target, names, Task("multilabel", NAMES), policy, "test")
    p, y = logits.sigmoid().numpy(), target.numpy()
    assert found["micro_f1"] == pytest.approx(metrics.f1_score(y, p > 0.5, average="micro"))
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(y, p > 0.5, average="macro"))
    assert found["log_loss"] == pytest.approx(
        np.mean([metrics.log_loss(y[:, label], p[:, label]) for label in range(3)])
    )
    assert found["brier"] == pytest.approx(np.mean([metrics.brier_score_loss(y[:, k], p[:, k]) for k in range(3)]))
    assert found.log_classes == pytest.approx(np.log(2))


# From end to end


def test_lights_are_told_apart(tagged):
    model = Classifier.load(tagged / "run")
    assert model.record.spec.task.kind == "multilabel"
    assert model.evaluate()["micro_f1"] > 0.85
    frame, on = lights(rows=60, seed=3)
    found = model.predict(frame)
    assert found.shape == (60, 3)
    assert list(model.classes_) == ["blue", "green", "red"]
    assert (found == on[:, [2, 1, 0]]).mean() > 0.85
    assert model.predict_proba(frame).shape == (60, 3)


def test_the_run_judges_its_own_rows_as_it_did_when_it_was_made(tagged):
    model = Classifier.load(tagged / "run")
    kept = {name: score.value for name, score in model.evaluate().scores.items()}
    table = model.record.predictions.to_pydict()
    test = [row for row, split in enumerate(table["split"]) if split == "test"]
    logits = np.array([table[f"logit({name})"] for name in model.classes_]).T[test]
    y = np.array([[name in table["target"][row] for name in model.classes_] for row in test])
    assert kept["subset_accuracy"] == pytest.approx(((logits > 0) == y).all(1).mean())


def test_predictions_name_the_labels_that_hold(tagged, capfd):
    assert run(["predict", str(tagged / "run"), str(tagged / "lights.csv"), "--all"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == "input,prediction,probability,p(blue),p(green),p(red),error"
    assert run(["predict", str(tagged / "run"), str(tagged / "lights.csv"), "--json"]) == 0
    rows = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    p = Classifier.load(tagged / "run").predict_proba(tagged / "lights.csv")
    for row, values in zip(rows, p, strict=True):
        held = [place for place in (-values).argsort(kind="stable") if values[place] > 0.5]
        assert row["prediction"] == [("blue", "green", "red")[place] for place in held]
        assert row["probability"] == [values[place] for place in held]
    assert max(len(row["prediction"]) for row in rows) > 1
    assert lines[1].split(",")[1] == "|".join(rows[0]["prediction"])


def test_more_than_one_class_of_many_is_not_for_labels(tagged):
    with pytest.raises(ConfigError, match="any number of labels"):
        Classifier.load(tagged / "run").predictions(tagged / "lights.csv").table(top_k=2)


def test_one_row_is_explained_label_by_label(tagged):
    model = Classifier.load(tagged / "run")
    trace = model.explain(f"{tagged / 'lights.csv'}#1")
    assert trace.kind == "multilabel"
    assert trace["probabilities"].value.shape == (3,)
    told = model.explain(f"{tagged / 'lights.csv'}#1", target=["red", "green"])
    p = model.predict_proba(f"{tagged / 'lights.csv'}#1")[0]  # of blue, green, red
    assert told.loss == pytest.approx(-np.log([1 - p[0], p[1], p[2]]).mean())


def test_the_report_tells_of_labels(tagged):
    page = (tagged / "run" / "report.html").read_text(encoding="utf-8")
    assert "micro F1" in page
    worst = Classifier.load(tagged / "run").evaluate().worst[0]
    assert worst.name in page
    assert all(f">{name}<" in page.replace("</b>", "<") for name in ("blue", "green", "red"))


# Tables of pictures


def test_pictures_of_a_table_are_classified(tmp_path):
    random = np.random.default_rng(0)
    rows = []
    for number in range(90):
        shade = number % 3
        pixels = random.integers(80 * shade, 80 * shade + 60, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        rows.append({"file": f"{number}.png", "shade": ["dark", "grey", "light"][shade], "noise": number})
    pd.DataFrame(rows).to_csv(tmp_path / "shades.csv", index=False)
    model = Classifier(image="file", epochs=6, verbose=False).fit(tmp_path / "shades.csv", target="shade")
    assert model.record.spec.kind == "image"
    assert model.score(tmp_path / "shades.csv") > 0.9
    assert model.predict(tmp_path / "0.png")[0] == "dark"
    assert len(model.predict(tmp_path / "shades.csv")) == 90


def test_a_picture_that_a_table_names_and_nobody_finds_is_left_out(tmp_path, heard):
    random = np.random.default_rng(0)
    for number in range(40):
        Image.fromarray(random.integers(0, 255, (8, 8), dtype=np.uint8)).save(tmp_path / f"{number}.png")
    frame = pd.DataFrame({"file": [f"{n}.png" for n in range(41)], "kind": ["a", "b"] * 20 + ["a"]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    model = Classifier(image="file", epochs=1, listener=heard).fit(tmp_path / "t.csv", target="kind")
    assert [row["name"] for row in model.record.data["left_out"]] == ["40.png"]
