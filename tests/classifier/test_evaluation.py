"""Scores against scikit-learn's, intervals, predictions, settings and the report."""

import json
import math
import re

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
import torch
from sklearn import metrics

from lastlayer import Classifier
from lastlayer.classifier.config import Config
from lastlayer.classifier.evaluation import evaluate
from lastlayer.classifier.journal import Epoch
from lastlayer.classifier.predicting.prediction import Predictions
from lastlayer.classifier.report import charts
from lastlayer.classifier.task import Task
from lastlayer.decisions import Policy, reliability, wilson
from lastlayer.errors import ConfigError, SaveError
from tests.classifier.conftest import flowers


def judged(rows=400, classes=4, temperature=1.3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(rows, classes, generator=generator, dtype=torch.float64)
    target = torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)
    task = Task("multiclass", tuple("abcd"[:classes]))
    names = [f"row {row}" for row in range(rows)]
    return (
        logits,
        target,
        evaluate(logits, target, names, task, Policy("multiclass", classes, temperature=temperature), "test"),
    )


def test_scores_match_scikit_learn():
    logits, target, found = judged()
    p = (logits / 1.3).softmax(1).numpy()
    y, predicted = target.numpy(), p.argmax(1)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(y, predicted))
    assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(y, predicted))
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(y, predicted, average="macro"))
    assert found["log_loss"] == pytest.approx(metrics.log_loss(y, p))
    assert found["brier"] == pytest.approx(((p - np.eye(4)[y]) ** 2).sum(1).mean())
    assert found["ece"] == pytest.approx(found.reliability.ece)
    np.testing.assert_array_equal(found.confusion, metrics.confusion_matrix(y, predicted))
    assert found.log_classes == pytest.approx(np.log(4))
    share = np.bincount(y) / len(y)
    assert found.prior_entropy == pytest.approx(-(share * np.log(share)).sum())


def test_classes_without_rows_do_no_harm():
    logits = torch.tensor([[3.0, 0.0, 0.0], [0.0, 3.0, 0.0]], dtype=torch.float64)
    task = Task("multiclass", ("a", "b", "c"))
    found = evaluate(logits, torch.tensor([0, 1]), ["x", "y"], task, Policy("multiclass", 3), "test")
    assert found["balanced_accuracy"] == 1
    assert found["macro_f1"] == 1


def test_binary_scores():
    z = torch.tensor([2.0, -1.0, 0.5, -3.0], dtype=torch.float64)
    y = torch.tensor([1, 0, 0, 0])
    task = Task("binary", ("no", "yes"))
    found = evaluate(z, y, list("abcd"), task, Policy("binary", 2, temperature=2.0), "test")
    p = torch.sigmoid(z / 2).numpy()
    assert found["log_loss"] == pytest.approx(metrics.log_loss(y, p))
    assert found.confusion == ((2, 1), (0, 1))
    assert found.worst[0].name == "c"
    assert found.worst[0].probability == pytest.approx(p[2])
    assert Policy("binary", 2).probabilities(torch.tensor([700.0]))[0, 0] > 0  # 1 − p would be 0


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    # of 60 samples of one honest source, the accuracy's interval should miss about 3
    truth = judged(rows=40_000, seed=99)[2]["accuracy"]
    missed = {"accuracy": 0, "log_loss": 0}
    true_loss = judged(rows=40_000, seed=99)[2]["log_loss"]
    for seed in range(60):
        found = judged(rows=150, seed=seed)[2].scores
        missed["accuracy"] += not found["accuracy"].low <= truth <= found["accuracy"].high
        missed["log_loss"] += not found["log_loss"].low <= true_loss <= found["log_loss"].high
    assert 1 <= missed["accuracy"] <= 8  # an interval that never misses is too wide
    assert 1 <= missed["log_loss"] <= 10
    assert all(interval.low <= interval.value <= interval.high for name, interval in found.items() if name != "ece")


def test_an_interval_of_rows_that_are_all_right_has_a_width():
    assert wilson(1.0, 50) == pytest.approx((0.92865, 1.0), abs=1e-4)
    assert wilson(0.0, 50)[1] == pytest.approx(0.07135, abs=1e-4)


def test_worst_rows_come_first():
    logits, target, found = judged()
    loss = torch.nn.functional.cross_entropy(logits / 1.3, target, reduction="none")
    assert [example.row for example in found.worst] == loss.argsort(descending=True)[:12].tolist()
    assert found.worst[0].loss == pytest.approx(loss.max().item())
    assert found.worst[0].target == "abcd"[target[found.worst[0].row]]


def test_confusions_are_sorted():
    found = judged()[2]
    counts = [count for count, _, _ in found.confused()]
    assert counts == sorted(counts, reverse=True)
    assert sum(counts) == round((1 - found["accuracy"]) * found.rows)


# Predictions


def predictions(problems=None):
    p = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.4, 0.4, 0.2]], dtype=torch.float64)
    return Predictions(
        ["x", "y", "z"], Task("multiclass", ("a", 2, "c")), p.log(), p, Policy("multiclass", 3), problems or {}
    )


def test_a_row_per_input_in_order():
    assert predictions().table() == [
        {"input": "x", "prediction": "a", "probability": 0.7},
        {"input": "y", "prediction": "c", "probability": 0.6},
        {"input": "z", "prediction": "a", "probability": 0.4},
    ]
    two = predictions().table(top_k=2)[1]
    assert two["prediction_2"] == 2
    assert two["probability_2"] == 0.3
    every = predictions().table(every_class=True)[0]
    assert (every["p(a)"], every["p(2)"], every["p(c)"]) == (0.7, 0.2, 0.1)


def test_a_row_that_cannot_be_read_keeps_its_place():
    rows = predictions({1: "broken"}).table(top_k=2, every_class=True)
    assert rows[1]["error"] == "broken"
    assert {value for name, value in rows[1].items() if name not in ("input", "error")} == {None}
    assert rows[0]["error"] is None
    assert rows[2]["prediction"] == "a"


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_files_hold_every_digit(tmp_path, suffix):
    path = tmp_path / f"p.{suffix}"
    predictions({1: "broken"}).write(path, top_k=2)
    if suffix == "csv":
        rows = pd.read_csv(path)
    elif suffix == "jsonl":
        rows = pd.DataFrame([json.loads(line) for line in path.read_text().splitlines()])
    else:
        rows = pyarrow.parquet.read_table(path).to_pandas()
    assert rows["input"].tolist() == ["x", "y", "z"]
    assert rows["probability"][0] == 0.7
    assert np.isnan(rows["probability"][1])
    assert rows["error"].tolist()[1] == "broken"


def test_bad_requests(tmp_path):
    with pytest.raises(ConfigError, match="between 1 and the 3 classes, got 4"):
        predictions().table(top_k=4)
    with pytest.raises(ConfigError, match=r"has to end in .csv, .jsonl, .parquet"):
        predictions().write(tmp_path / "p.xlsx")
    with pytest.raises(SaveError, match="cannot be written"):
        predictions().write(tmp_path / "no such folder" / "p.csv")


# Settings


def test_settings_are_checked_and_fitted():
    assert Config.of({"epochs": 3.0, "lr": "1e-3", "ignore": ["a"]}) == Config(epochs=3, lr=0.001, ignore=("a",))
    for settings, message in [
        ({"epoch": 3}, "Did you mean 'epochs'"),
        ({"epochs": 0}, "between 1 and"),
        ({"epochs": "many"}, "has to be a whole number"),
        ({"epochs": True}, "has to be a whole number"),
        ({"epochs": None}, "needs a value"),
        ({"lr": -1.0}, "between"),
        ({"pretrained": "yes"}, "has to be true or false"),
        ({"task": "multi"}, "binary, multiclass"),
        ({"device": "gpu"}, "Did you mean 'cpu'"),
        ({"ignore": "name"}, "has to be a list of words"),
        ({"validation": 0.6, "test": 0.5}, "leave rows to train on"),
        ({"validation": 0.0}, "validation has to lie between"),
    ]:
        with pytest.raises(ConfigError, match=message):
            Config.of(settings)


def test_settings_survive_yaml(tmp_path):
    config = Config(target="kind", ignore=("a", "b"), lr=1e-5, task="binary", missing=("", "?"))
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml({"lastlayer": "0", "data": "x.csv"}))
    assert Config.from_yaml(path) == config
    path.write_text("epochs: 5\n")
    assert Config.from_yaml(path, config) == Config.of({"epochs": 5}, config)


@pytest.mark.parametrize(
    ("text", "message"),
    [("- 1\n", "setting: value"), ("a: [", "cannot be read as YAML"), ("epohcs: 3\n", "Did you mean 'epochs'")],
)
def test_yaml_that_cannot_be_used(tmp_path, text, message):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        Config.from_yaml(path)
    with pytest.raises(ConfigError, match="no configuration file"):
        Config.from_yaml(tmp_path / "nothing.yaml")


# Report


def test_report_needs_no_network_and_says_what_the_run_knows(image_run, table_run):
    for run in (image_run, table_run):
        html = (run / "report.html").read_text()
        assert not re.search(r"(src|href)=\"?(http|//)", html)
        assert "<script" not in html
        found = Classifier.load(run).evaluate()
        for score in found.scores.values():
            assert f"{score.value:.4f}" in html
        assert html.count("<figure>") == min(12, found.rows)
        for example in found.worst[:3]:
            assert example.name in html
    assert (image_run / "report.html").read_text().count("data:image/png;base64,") >= 12
    assert f"{found.scores['accuracy'].value:.4f}" in (table_run / "card.md").read_text()


def test_report_escapes_what_people_call_their_classes(tmp_path):
    nasty = "<script>alert(1)</script>"
    frame = flowers(60)
    frame["kind"] = frame["kind"].replace("rose", nasty)
    frame["soil"] = frame["soil"].replace("clay", "<b>clay</b>")
    model = Classifier(epochs=1, verbose=False).fit(frame.rename(columns={"soil": "<i>soil"}), target="kind")
    html = model.record.report
    assert nasty not in html
    assert "&lt;script&gt;" in html
    assert "<b>clay</b>" not in html
    assert "<i>soil" not in html


def test_report_is_well_formed(image_run):
    from html.parser import HTMLParser

    class Balanced(HTMLParser):
        def __init__(self):
            super().__init__()
            self.open: list[str] = []

        def handle_starttag(self, tag, attributes):
            if tag not in {"meta", "img", "br", "line", "circle", "rect", "polyline", "link"}:
                self.open.append(tag)

        def handle_endtag(self, tag):
            if tag not in {"line", "circle", "rect", "polyline"}:
                assert self.open.pop() == tag

    parser = Balanced()
    parser.feed((image_run / "report.html").read_text())
    assert parser.open == []


def test_many_classes_are_not_drawn_as_a_matrix():
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"x": np.arange(400) % 40, "noise": random.normal(size=400)})
    frame["y"] = [f"class {value}" for value in frame["x"]]
    model = Classifier(epochs=2, verbose=False).fit(frame, target="y")
    assert '<table class="confusion">' not in model.record.report
    assert "taken for" in model.record.report


def test_charts_hold_their_data():
    epochs = [Epoch(n, 2.0 / n, 1.5 / n + 0.1 * (n > 3), 0.5, 1.0, n == 3) for n in range(1, 7)]
    svg = charts.loss_curves(epochs, 3, 2.3)
    points = re.findall(r'<polyline class="(\w+)" points="([^"]*)"', svg)
    assert [name for name, _ in points] == ["train", "validation"]
    assert all(len(places.split()) == 6 for _, places in points)
    heights = [float(place.split(",")[1]) for place in points[0][1].split()]
    assert heights == sorted(heights)  # falling loss: further down the picture
    diagram = charts.reliability_diagram(reliability(torch.tensor([0.9, 0.3]), torch.tensor([True, False])))
    assert diagram.count('<rect class="bin"') == 2
    assert charts.loss_curves([], 0, 1.0) == ""


def test_what_the_charts_draw():
    epochs = [Epoch(number, 1 / number, 1 / number, 0.5, 1.0, best=True) for number in range(1, 5)]
    drawn = charts.loss_curves(epochs, 4, math.log(3))
    assert 'text-anchor="end">0.2500<' in drawn  # at the right edge, so that it is not cut off
    assert ">2<" in drawn
    assert ">1.5<" not in drawn  # there is no half epoch
    found = reliability(torch.tensor([0.7, 0.9, 0.9]), torch.tensor([False, True, True]))
    assert charts.reliability_diagram(found).count('class="gap"') == len(found.bins) == 2
