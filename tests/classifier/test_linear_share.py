"""Logistic regression as a part of the members' answer: of the right rows, in the right share, in one head."""

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from lastlayer import Classifier
from lastlayer.classifier.data.columns import Column, TableSpec
from lastlayer.classifier.data.rows import Rows
from lastlayer.classifier.learning import linear_share
from lastlayer.classifier.learning.batches import Examples
from lastlayer.classifier.network.members import MEMBERS
from lastlayer.classifier.network.model import ModelSpec, Network
from lastlayer.classifier.network.objective import PLAIN, Objective
from lastlayer.classifier.task import Task
from lastlayer.decisions import Policy

TASKS = {
    "multiclass": Task("multiclass", ("a", "b", "c")),
    "binary": Task("binary", ("no", "yes")),
    "multilabel": Task("multilabel", ("a", "b")),
}
COLUMNS = (
    *(Column(name, "numeric") for name in "uvw"),
    Column("word", "categorical", categories=("p", "q", "r")),
)


def table(kind, rows=240, sharpness=3.0, seed=0):
    """Rows whose classes are linear in three numbers and a word, and the network's specification."""
    random = np.random.default_rng(seed)
    x, word = random.normal(size=(rows, 3)), random.integers(3, size=rows)
    outputs = {"multiclass": 3, "binary": 1, "multilabel": 2}[kind]
    z = sharpness * (x @ random.normal(size=(3, outputs)) + random.normal(size=(3, outputs))[word])
    if kind == "multiclass":
        target = (z + random.gumbel(size=z.shape)).argmax(1)
    else:
        target = (random.random(z.shape) < expit(z)).astype(np.int64)
        target = target[:, 0] if kind == "binary" else target
    cells = {name: [str(value) for value in x[:, place]] for place, name in enumerate("uvw")}
    data = Dataset.from_dict({**cells, "word": ["pqr"[each] for each in word]})
    return data, torch.from_numpy(target)


def network(kind, objective=PLAIN, backbone="mlps"):
    torch.manual_seed(0)
    task = TASKS[kind]
    return Network(
        ModelSpec(task, backbone, TableSpec(COLUMNS, ("",)), Policy(kind, len(task.classes)), objective)
    ).eval()


def examples(kind, **options):
    data, target = table(kind, **options)
    rows = Rows("table", data, [f"rows#{row}" for row in range(len(data))])
    return Examples(rows, TableSpec(COLUMNS, ("",)), target)


def logits_of(net, rows):
    with torch.no_grad():
        inputs = rows.table.numbers, rows.table.indices
        logits = net(inputs).double(), net.held_out()(inputs).double()
    return [each.reshape(len(rows), -1) for each in logits]


@pytest.mark.parametrize("kind", TASKS)
def test_the_answer_is_that_mixture_of_the_network_and_of_regressions_of_the_rows_that_each_member_learns(kind):
    net, rows = network(kind), examples(kind)
    whole, held_out = logits_of(net, rows)
    found = linear_share.add(net, rows)
    assert found is not None
    assert 0 < found.share <= 1
    with torch.no_grad():
        x = net.backbone.cells(rows.table.numbers, rows.table.indices).double().numpy()
    owner, target = net.backbone.owner(rows.table.numbers, rows.table.indices).numpy(), rows.labelled.numpy()
    each = np.stack([of_sklearn(x[place], target, owner != place, found.strength) for place in range(MEMBERS)])
    mixed, mixed_held_out = logits_of(net, rows)
    own = each[owner, np.arange(len(rows))]
    for answer, network_alone, regression in ((mixed, whole, each.mean(0)), (mixed_held_out, held_out, own)):
        expected = (1 - found.share) * centred(network_alone.numpy()) + found.share * centred(regression)
        np.testing.assert_allclose(centred(answer.numpy()), expected, rtol=1e-3, atol=1e-3)


def centred(logits):
    """Without what all classes share, which a softmax does not see."""
    return logits - logits.mean(1, keepdims=True) if logits.shape[1] == 3 else logits


def of_sklearn(x, target, learns, strength):
    """Logits of all rows by the regression of some."""
    labels = target[:, None] if target.ndim == 1 else target
    found = [
        LogisticRegression(C=strength, max_iter=1000).fit(x[learns], label[learns]).decision_function(x)
        for label in labels.T
    ]
    return found[0].reshape(len(x), -1) if len(found) == 1 else np.stack(found, 1)


def test_it_is_worth_what_is_said():
    net, rows = network("multiclass"), examples("multiclass")
    _, before = logits_of(net, rows)
    found = linear_share.add(net.train(), rows)  # dropout would make the network look worse than it is
    _, after = logits_of(net, rows)
    loss = torch.nn.functional.cross_entropy
    assert found.before == pytest.approx(float(loss(before, rows.labelled)))
    assert found.after == pytest.approx(float(loss(after, rows.labelled)))
    assert found.after < found.before


def test_the_regression_of_a_member_knows_nothing_of_the_rows_that_it_judges():
    net, rows = network("multiclass"), examples("multiclass")
    owner = net.backbone.owner(rows.table.numbers, rows.table.indices)
    with torch.no_grad():
        found, _ = linear_share._HeldOut(net, net.backbone, rows).regression(1.0)
        rows.target = torch.where(owner == 3, (rows.labelled + 1) % 3, rows.labelled)
        other, _ = linear_share._HeldOut(net, net.backbone, rows).regression(1.0)
    same = [torch.equal(*pair) for pair in zip(found.weight, other.weight, strict=True)]
    assert same == [member == 3 for member in range(MEMBERS)]


@pytest.mark.parametrize(
    ("kind", "objective", "weight"),
    [
        ("multiclass", Objective(weight=(2.0, 1.0, 0.5)), [2.0, 1.0, 0.5]),
        ("binary", Objective(pos_weight=(3.0,)), [1.0, 3.0]),
    ],
)
def test_classes_count_by_their_weights(kind, objective, weight):
    rows = examples(kind)
    x, target = rows.table.numbers.double().numpy(), rows.labelled.numpy()
    factors, bias = linear_share.fitted(x, target, network(kind, objective), 1.0)
    expected = LogisticRegression(C=1.0, max_iter=1000).fit(x, target, sample_weight=np.array(weight)[target])
    np.testing.assert_allclose(factors, expected.coef_.T, rtol=1e-6)
    np.testing.assert_allclose(bias, expected.intercept_, rtol=1e-6)


def test_what_is_judged_is_the_log_loss_of_the_data_as_it_is():
    net = network("binary", Objective(pos_weight=(3.0,)))
    rows = examples("binary")
    losses = linear_share._HeldOut(net, net.backbone, rows).losses(torch.zeros(len(rows), 1, dtype=torch.float64))
    p = 1 / 4  # odds of one to one, trained with yes three times as heavy
    expected = np.where(rows.labelled.numpy() == 1, -np.log(p), -np.log(1 - p))
    np.testing.assert_allclose(losses.numpy(), expected)


@pytest.mark.parametrize("kind", TASKS)
def test_an_answer_that_no_row_gives_is_half_a_row_in_all(kind):
    x = np.random.default_rng(0).normal(size=(50, 4))
    target = np.zeros((50, 2) if kind == "multilabel" else 50, np.int64)
    factors, bias = linear_share.fitted(x, target, network(kind), 1.0)
    assert not factors.any()
    odds = bias if kind != "multiclass" else bias[1:] - bias[0]
    np.testing.assert_allclose(odds, -np.log(100))


@pytest.mark.parametrize("kind", TASKS)
def test_a_member_that_judges_every_row_knows_nothing(kind):
    target = np.zeros((0, 2) if kind == "multilabel" else 0, np.int64)
    factors, bias = linear_share.fitted(np.zeros((0, 4)), target, network(kind), 1.0)
    assert not factors.any()
    assert (bias == (bias[0] if kind == "multiclass" else 0)).all()


def test_a_class_that_a_member_never_meets_leaves_the_odds_of_the_others():
    random = np.random.default_rng(0)
    x, target = random.normal(size=(80, 4)), random.integers(2, size=80) * 2  # never 1
    factors, bias = linear_share.fitted(x, target, network("multiclass"), 1.0)
    expected = LogisticRegression(C=1.0, max_iter=1000).fit(x, target)
    np.testing.assert_allclose(factors[:, 2] - factors[:, 0], expected.coef_[0], rtol=1e-9)
    np.testing.assert_allclose(bias[2] - bias[0], expected.intercept_[0], rtol=1e-9)
    assert bias[1] == pytest.approx(-np.log(160))


def test_the_smallest_share_that_is_near_the_best():
    shares, rows = len(linear_share._SHARES), 400
    random = np.random.default_rng(0)
    noise = random.normal(size=rows)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    gaps = np.array(linear_share._SHARES) - 0.8  # the loss is lowest at 0.8, and falls by what rows hardly agree on
    losses = torch.from_numpy(np.stack([np.abs(gap) * (0.3 + 10 * noise) for gap in gaps]))
    # the standard error of a gap g is g · 10 / 20, half of it 0.25 g; the gap itself 0.3 g: none is near but the best
    assert linear_share._smallest(losses) == 0.8
    losses = torch.from_numpy(np.stack([np.abs(gap) * (0.2 + 10 * noise) for gap in gaps]))
    assert linear_share._smallest(losses) == 0.0
    assert linear_share._smallest(torch.ones(shares, rows)) == 0.0


def knows_nothing(net):
    """Make every logit of `net` 0; its head has no inverse then."""
    with torch.no_grad():
        net.head.linear.weight.zero_()
        net.head.linear.bias.zero_()
    return {name: weight.clone() for name, weight in net.state_dict().items()}


@pytest.mark.parametrize("seed", [2, 3, 4, 5])  # in two tables of six, a line tells some rows apart by chance
def test_rows_that_nothing_tells_apart_ask_for_none(monkeypatch, seed):
    rows = examples("binary", sharpness=0.0, seed=seed)
    rows.target = (torch.arange(len(rows)) % 2).long()
    net = network("binary")
    before = knows_nothing(net)
    blended = []
    monkeypatch.setattr(linear_share, "_blend", lambda *given: blended.append(given))
    assert linear_share.add(net, rows) is None
    assert blended == []
    assert all(torch.equal(weight, before[name]) for name, weight in net.state_dict().items())


def test_a_head_without_an_inverse_keeps_what_it_has():
    net, rows = network("multiclass"), examples("multiclass")
    before = knows_nothing(net)
    assert linear_share.add(net, rows) is None
    assert all(torch.equal(weight, before[name]) for name, weight in net.state_dict().items())


def test_a_network_that_overflows_stays_as_it_is():
    net, rows = network("multiclass"), examples("multiclass")
    with torch.no_grad():
        net.backbone.straight.weight.fill_(3e38)
    assert linear_share.add(net, rows) is None
    assert (net.backbone.straight.weight == 3e38).all()


@pytest.mark.parametrize("objective", [Objective(focal_gamma=2.0), Objective(label_smoothing=0.1)])
def test_another_loss_has_no_logistic_regression(objective):
    assert linear_share.add(network("binary", objective), examples("binary")) is None


def test_another_network_stays_as_it_is():
    assert linear_share.add(network("binary", backbone="mlp"), examples("binary")) is None


def test_what_would_take_minutes_is_left_out(monkeypatch):
    monkeypatch.setattr(linear_share, "_MOST_WORK", 1_000)
    assert linear_share.add(network("binary"), examples("binary")) is None


def test_a_training_says_what_it_is_and_keeps_it(tmp_path):
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(150, 4)), columns=list("abcd"))
    frame["y"] = np.where(frame["a"] - 2 * frame["b"] > 0, "yes", "no")
    model = Classifier(epochs=2, verbose=False).fit(frame, target="y")
    found = model.record.data["training"]["linear"]
    assert 0 < found["share"] <= 1
    assert found["after"] < found["before"]
    said = [note for note in model.record.data["notes"] if note.startswith("Logistic regression (C = ")]
    assert len(said) == 1
    assert f"makes {found['share']:.0%} of the logits" in said[0]
    model.save(tmp_path / "run")
    again = Classifier.load(tmp_path / "run")
    assert again.predict_proba(frame).tolist() == model.predict_proba(frame).tolist()
    other = Classifier(epochs=2, backbone="mlp", verbose=False).fit(frame, target="y")
    assert other.record.data["training"]["linear"] is None
