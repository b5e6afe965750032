"""Decisions of a classifier: stated by settings, fitted on calibration rows, kept in the run, changed afterwards."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import f1_score

from lastlayer import Classifier
from lastlayer.classifier import recall
from lastlayer.classifier.config import Config
from lastlayer.classifier.network.model import ModelSpec
from lastlayer.classifier.policy import deciding
from lastlayer.classifier.policy.telling import explained
from lastlayer.classifier.redeciding import decided_anew
from lastlayer.classifier.task import Task
from lastlayer.decisions import Policy, measured_coverage
from lastlayer.errors import ConfigError
from tests.decisions.made import honest, honest_labels

LABELS = ("red", "green", "blue", "rare")


def kept(model, part):
    """The logits and the truth of a part, as the run keeps them."""
    return recall.kept_part(model.record, part)


def spam(rows=600, seed=0):
    """A table whose yes is rare and hard to tell."""
    random = np.random.default_rng(seed)
    yes = random.random(rows) < 0.25
    return pd.DataFrame(
        {
            "x": random.normal(size=rows) + 1.2 * yes,
            "y": random.normal(size=rows) - 0.8 * yes,
            "kind": np.where(yes, "spam", "ham"),
        }
    )


@pytest.fixture(scope="module")
def costly(tmp_path_factory):
    """A run trained with everything that fits together, its costs in a file."""
    folder = tmp_path_factory.mktemp("costly")
    (folder / "costs.csv").write_text("true,spam,ham\nham,1,0\nspam,0,4\n")
    settings = {"cost": folder / "costs.csv", "abstain": 0.6, "coverage": 0.8, "deploy_prior": {"spam": 0.4}}
    model = Classifier(epochs=6, verbose=False, positive="spam", calibration=0.3, **settings)
    model.fit(spam(), target="kind", output=folder / "run")
    (folder / "costs.csv").unlink()
    return folder / "run", model


def test_decisions_are_saved_with_the_model_and_applied(costly):
    folder, model = costly
    again = Classifier.load(folder)
    assert again.policy == model.policy
    plain = json.loads((folder / "model.json").read_text())["policy"]
    assert plain["cost"] == [[0, 1], [4, 0]]
    assert plain["abstain"] == 0.6
    assert plain["deployed"] == [0.4]
    assert plain["trained"] == pytest.approx([0.25], abs=0.05)
    assert plain["sets"]["coverage"] == 0.8
    new = spam(seed=1).drop(columns="kind")
    p, decision = again.predict_proba(new), again.predict(new)
    cost = np.stack([4 * p[:, 1], p[:, 0]], 1)
    expected = np.where(cost.min(1) > 0.6, None, np.where(cost[:, 1] < cost[:, 0], "spam", "ham"))
    assert decision.tolist() == expected.tolist()
    assert {None, "spam", "ham"} == set(decision.tolist())


def test_settings_travel_without_their_files(costly):
    folder, _ = costly
    config = Config.from_yaml(folder / "config.yaml")
    assert config.cost == "0,1;4,0"
    again = Classifier(verbose=False, cost=config.cost, epochs=1).fit(spam(), target="kind")
    assert again.policy.cost == ((0.0, 1.0), (4.0, 0.0))


def test_new_shares_move_the_odds_by_their_ratio(costly):
    _, model = costly
    z, _ = kept(model, "test")
    share = model.policy.trained[0]
    moved = math.log(0.4 / 0.6) - math.log(share / (1 - share))
    expected = torch.sigmoid(z / model.temperature + moved)
    assert torch.allclose(model.policy.probabilities(z)[:, 1], expected)


def test_the_table_says_set_and_abstain(costly):
    _, model = costly
    new = spam(rows=80, seed=2).drop(columns="kind")
    table = model.predictions(new).table()
    assert list(table[0]) == ["input", "prediction", "probability", "abstain", "set"]
    decision, sets = model.predict(new), model.predict_set(new)
    for row, entry in enumerate(table):
        assert entry["prediction"] == decision[row]
        assert entry["abstain"] == (decision[row] is None) == (entry["probability"] is None)
        assert sorted(entry["set"]) == [name for name, held in zip(("ham", "spam"), sets[row], strict=True) if held]
    ranked = model.predictions(new).table(top_k=2)
    likely = [entry for entry in ranked if entry["probability"] is not None]
    assert any(entry["probability"] < entry["probability_2"] for entry in likely)  # costs decide, not the likeliest
    assert all(entry["prediction"] != entry["prediction_2"] for entry in likely)


def test_evaluation_says_what_decisions_are_worth(costly):
    _, model = costly
    z, target = kept(model, "test")
    found = model.evaluate().decided
    decision = model.policy.decide(z)
    cost = torch.tensor([[0.0, 1.0], [4.0, 0.0]])[target, decision.clamp_min(0)].where(decision >= 0, 0.6)
    assert found.cost.value == pytest.approx(float(cost.mean()))
    assert found.cost.low < found.cost.value < found.cost.high
    assert found.abstained.value == pytest.approx(float((decision < 0).double().mean()))
    right = (decision == target)[decision >= 0]
    assert found.accuracy.value == pytest.approx(float(right.double().mean()))
    assert found.coverage == measured_coverage(model.policy.set_of(z), target)
    assert json.loads(json.dumps(model.evaluate().to_dict()))["decided"]["coverage"]["size"] > 0


def test_what_is_decided_is_said(costly):
    notes = " ".join(costly[1].record.data["notes"])
    for said in (
        "Temperature",
        "Shares where it is used: spam 0.2",
        "Decisions: the least expected cost, and none where even that costs more than 0.6",
        "Prediction sets: 0.8 of the rows have their class in their set, by",
        "Coverage measured on test rows",
    ):
        assert notes.count(said) == 1, (said, notes)


def test_decisions_can_be_changed_after_training(costly, heard):
    _, model = costly
    model = Classifier.load(costly[0])
    model.listener = heard
    other = model.deciding(coverage=0.6, threshold_for="f1", deploy_prior=None)
    heard.said("Prediction sets: 0.6")
    heard.said("Threshold for f1")
    heard.said("Coverage measured on test rows")
    assert model.policy.sets.coverage == 0.8  # the first one is as it was
    assert other.policy.cost is None
    assert other.policy.abstain is None
    z, target = kept(model, "calibration")
    wanted = Policy("binary", 2, temperature=model.temperature).with_sets(z, target, 0.6)
    assert other.policy.sets == wanted.sets
    assert len(other.policy.thresholds) == 1
    back = other.deciding(cost="0,1;4,0", abstain=0.6, coverage=0.8, deploy_prior={"spam": 0.4})
    assert back.policy == model.policy


def test_the_temperature_stays_when_decisions_change(costly):
    record = costly[1].record
    policy = replace(record.spec.policy, temperature=2.5)
    other, _ = decided_anew(replace(record, spec=replace(record.spec, policy=policy)), {"threshold_for": "f1"})
    assert other.spec.policy.temperature == 2.5
    assert other.spec.policy.thresholds is not None


def test_a_saved_classifier_keeps_the_changed_decisions(costly, tmp_path):
    other = costly[1].deciding(coverage=0.7)
    other.save(tmp_path / "copy")
    assert Classifier.load(tmp_path / "copy").policy == other.policy
    assert Classifier.load(tmp_path / "copy").config.coverage == 0.7


def test_several_classes_have_sets_and_costs(table_run):
    model = Classifier.load(table_run)
    with pytest.raises(ConfigError, match=r"deciding\(coverage=0.9\)"):
        model.predict_set(pd.DataFrame([{"length": 1.0}]))
    other = model.deciding(coverage=0.9, set_score="aps", coverage_per_class=True, cost="rose>lily=9")
    z, target = kept(other, "test")
    assert other.policy.set_of(z).any(1).all()
    assert other.evaluate().decided.coverage.rows == tuple(torch.bincount(target, minlength=3).tolist())
    assert (other.policy.decide(z) == 2).sum() >= (model.policy.decide(z) == 2).sum()


def test_explanations_show_the_corrected_numbers(costly):
    _, model = costly
    table = model.record.predictions.to_pydict()
    z, _ = kept(model, "test")
    row = [row for row, name in enumerate(table["split"]) if name == "test"]
    for place in (0, int(model.policy.decide(z).argmin())):
        trace = model.explain(table["input"][row[place]])
        assert trace["probabilities"].value.reshape(-1)[-1] == pytest.approx(
            model.policy.probabilities(z)[place, 1].item()
        )
    assert trace.context["prediction"] == "left undecided"
    assert trace.context["decided_by"] == "the least expected cost"


def test_explanations_of_labels_say_what_decided():
    task = Task("multilabel", LABELS)
    policy = Policy("multilabel", 4, thresholds=(0.1, 0.2, 0.3, 0.4))
    spec = ModelSpec(task, "mlp", None, policy)
    trace = explained(torch.tensor([-2.0, -2.0, 2.0, -2.0]), None, spec, "x")
    assert trace.context["prediction"] == "red, blue"
    assert trace.context["decided_by"] == "thresholds of red 0.1000, green 0.2000, blue 0.3000, rare 0.4000"
    one = replace(spec, policy=Policy("multilabel", 4, thresholds=(0.1,) * 4))
    trace = explained(torch.tensor([-2.0, -3.0, 2.0, -2.0]), None, one, "x")
    assert trace["decision"].value.tolist() == [1, 0, 1, 1]
    assert "decided_by" not in trace.context
    open_ = replace(spec, policy=Policy("multilabel", 4, abstain=0.1))
    assert explained(torch.tensor([-9.0, 0.1, 2.0, 9.0]), None, open_, "x").context["undecided"] == "green, blue"


def labels_run(config, seed=0):
    """What fitting does with labels, on logits that are made."""
    task = Task("multilabel", LABELS)
    logits, target = honest_labels(rows=3000, seed=seed)
    logits = logits * torch.tensor([1.0, 3.0, 1.0, 2.0])
    counts = target.sum(0).tolist()
    policy = deciding.stated(task, counts, 3000, config)
    return deciding.fitted(policy, logits, target, task, config), logits, target, task


def test_labels_have_temperatures_and_thresholds_of_their_own():
    found, logits, target, _ = labels_run(Config(threshold_for="f1", coverage=0.9))
    assert found.policy.temperature[0] == found.policy.temperature[2] == 1
    assert found.policy.temperature[1] == pytest.approx(3, rel=0.1)
    assert set(found.facts["calibration"]) == set(LABELS)
    assert "Temperatures of 2 of 4 labels are kept" in found.calibration
    assert len(set(found.policy.thresholds)) == 4
    assert "Thresholds for f1" in found.said[0]
    assert "label by label" in found.said[1]
    for label in measured_coverage(found.policy.set_of(logits), target).per_class:
        assert label.value == pytest.approx(0.9, abs=0.01)


def test_rows_that_chose_the_epoch_fit_no_temperature():
    model = Classifier(epochs=2, calibration=0, validation=0.3, threshold_for="f1", verbose=False)
    model.fit(spam(), target="kind")
    policy, notes = model.record.spec.policy, model.record.data["notes"]
    assert policy.temperature == 1
    assert policy.thresholds is not None  # which the validation rows still choose
    assert "calibration" not in model.record.data
    assert any("Temperature stays 1: no rows are held out for it alone (calibration=0.1" in note for note in notes)


def test_one_threshold_can_serve_all_labels():
    found, *_ = labels_run(Config(threshold_for="micro_f1"))
    assert len(found.policy.thresholds) == 4
    assert len(set(found.policy.thresholds)) == 1


@pytest.mark.parametrize("metric", ["f1", "micro_f1"])
def test_a_threshold_serves_the_shares_where_the_model_is_used(metric):
    z, target = honest_labels(rows=2000)
    task = Task("multilabel", LABELS) if metric == "micro_f1" else Task("binary", ("others", "red"))
    z, target = (z, target) if metric == "micro_f1" else (z[:, 0], target[:, 0])
    config = Config(threshold_for=metric, deploy_prior="red=0.05")
    yes = target.sum(0)
    counts = yes.tolist() if metric == "micro_f1" else [2000 - int(yes), int(yes)]
    found = deciding.fitted(deciding.stated(task, counts, 2000, config), z, target, task, config)
    share = yes / 2000
    new = torch.cat([torch.tensor([0.05]), share[1:]]) if metric == "micro_f1" else torch.tensor(0.05)
    weight = torch.where(target == 1, new / share, (1 - new) / (1 - share)).flatten()
    called = found.policy.decide(z).flatten()
    assert found.facts["thresholds"][0]["score"] == pytest.approx(
        f1_score(target.flatten(), called, sample_weight=weight), rel=1e-6
    )


def test_labels_can_be_left_open_one_by_one():
    found, logits, target, _ = labels_run(Config(cost="green=1:9", abstain=0.2))
    decision = found.policy.decide(logits)
    p = found.policy.probabilities(logits)
    assert torch.equal(decision[:, 0] < 0, torch.minimum(p[:, 0], 1 - p[:, 0]) > 0.2)
    assert torch.equal(decision[:, 1] == 1, (p[:, 1] > 0.1) & (1 - p[:, 1] <= 0.2))
    measured = deciding.decided(found.policy, logits, target)
    assert measured.abstained.value == pytest.approx(float((decision < 0).double().mean()))
    assert measured.coverage is None


@pytest.mark.parametrize("kind", ["multiclass", "binary", "multilabel"])
def test_weights_of_the_loss_are_taken_off(kind):
    """Logits as a weighted loss makes them, and the policy gives back the probabilities of the data."""
    logits, target = honest_labels() if kind != "multiclass" else honest(classes=4)
    if kind == "binary":
        logits, target = logits[:, 0], target[:, 0]
    names = ("ham", "spam") if kind == "binary" else LABELS
    task = Task(kind, names)
    weight = (1.0, 2.0, 5.0, 0.5) if kind == "multiclass" else None
    pos_weight = {"binary": (8.0,), "multilabel": (1.0, 3.0, 9.0, 0.5)}.get(kind)
    learnt = logits + torch.tensor(weight or pos_weight, dtype=torch.float64).log()
    counts = [1000] * len(names)
    policy = deciding.stated(task, counts, 4000, Config(), weight=weight, pos_weight=pos_weight)
    found = deciding.fitted(policy, learnt, target, task, Config())
    assert "taken off the logits" in found.said[0]
    assert torch.allclose(found.policy.logits(learnt), logits, atol=0.02 * float(logits.abs().max()))
    twice = deciding.fitted(policy, 2 * learnt, target, task, Config()).policy
    temperatures = torch.as_tensor(twice.temperature, dtype=torch.float64).reshape(-1)
    assert ((temperatures - 2).abs() < 0.3).all()


def test_a_weighted_training_gives_back_the_shares_of_the_data():
    model = Classifier(epochs=8, class_weights="balanced", calibration=0.3, verbose=False).fit(spam(), target="kind")
    z, target = kept(model, "calibration")
    share = float(target.double().mean())
    assert float(model.policy.probabilities(z)[:, 1].mean()) == pytest.approx(share, abs=0.06)
    assert float(torch.sigmoid(z).mean()) > share + 0.08
    assert " ".join(model.record.data["notes"]).count("taken off the logits, so that") == 1


def test_too_few_rows_for_a_promise_are_said():
    task = Task("multiclass", tuple("abcde"))
    logits, target = honest(rows=12)
    config = Config(coverage=0.9, coverage_per_class=True)
    found = deciding.fitted(deciding.stated(task, [10] * 5, 50, config), logits, target, task, config)
    assert "too few to promise it for any class" in found.said[-1]
    assert found.policy.set_of(logits).all()


@pytest.mark.parametrize(
    ("settings", "task", "said"),
    [
        ({"threshold_for": "f1"}, "multiclass", "cost changes that"),
        ({"threshold_for": "f1", "cost": "1:5"}, "binary", "exclude each other"),
        ({"threshold_for": "f1", "abstain": 0.1}, "binary", "exclude each other"),
        ({"threshold_for": "recal"}, "binary", "there is no metric 'recal'"),
        ({"threshold_for": "micro_f1"}, "binary", "threshold_for='f1'"),
        ({"set_score": "aps"}, "multiclass", "name their coverage=0.9"),
        ({"coverage_per_class": True}, "multiclass", "name their coverage=0.9"),
        ({"set_score": "aps", "coverage": 0.9}, "multilabel", "one by one"),
        ({"deploy_prior": "rare=0.5"}, "multilabel", "rare holds for every"),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_training(settings, task, said):
    names = ("ham", "spam") if task == "binary" else LABELS
    with pytest.raises(ConfigError, match=said):
        deciding.stated(Task(task, names), [10, 10, 10, 40][: len(names)], 40, Config(**settings))


def test_no_other_setting_can_be_changed_afterwards(costly):
    with pytest.raises(ConfigError, match="Did you mean 'coverage'"):
        costly[1].deciding(coverge=0.9)


def test_runs_of_the_first_version_are_read(table_run):
    record = Classifier.load(table_run).record
    plain = record.spec.to_dict()
    del plain["policy"]
    old = type(record.spec).from_dict({**plain, "temperature": 1.5, "thresholds": {}})
    assert old.policy == Policy("multiclass", 3, temperature=1.5)
