"""Losses and models that are there already."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import lastlayer
from lastlayer import explain_loss, explain_model
from lastlayer.errors import LastLayerError

GENERATOR = torch.Generator().manual_seed(3)
X = torch.randn(32, 6, generator=GENERATOR)
Y = torch.randint(0, 4, (32,), generator=GENERATOR)
Y[[3, 9, 20]] = -100


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return nn.Linear(6, 4)


def holds(trace):
    assert "equals_given" in [check.id for check in trace["loss"].invariants]
    return all(check.holds for step in trace for check in step.invariants)


OPTIONS = [
    {}, {"reduction": "sum"}, {"reduction": "none"}, {"weight": torch.tensor([1.0, 2.0, 0.5, 1.0])},
    {"label_smoothing": 0.1}, {"weight": torch.tensor([1.0, 2.0, 0.5, 1.0]), "label_smoothing": 0.1},
]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: ", ".join(options) or "plain")
@pytest.mark.parametrize("functional", [F, lastlayer.functional], ids=["torch", "ours"])
def test_a_live_cross_entropy(layer, functional, options):
    loss = functional.cross_entropy(layer(X), Y, **options)
    trace = explain_loss(loss, classes=["a", "b", "c", "d"])
    torch.testing.assert_close(trace["loss"].value.float(), loss.detach(), rtol=1e-5, atol=1e-5)
    assert holds(trace)
    assert trace.options["read"] == f"{options.get('reduction', 'mean')} cross_entropy"
    assert (trace.options["rows"], trace.options["ignored"]) == (32, 3)
    assert ("weighted" in trace.options) is ("weight" in options)
    assert trace.options["by"] == ("torch" if functional is F else "lastlayer")
    assert "3 ignored" in trace.text()
    assert "무시된 행 3개" in trace.text("ko")


def test_soft_targets(layer):
    q = torch.randn(32, 4).softmax(1)
    for functional in (F, lastlayer.functional):
        trace = explain_loss(functional.cross_entropy(layer(X), q))
        assert trace.loss == pytest.approx(functional.cross_entropy(layer(X), q).item(), rel=1e-5)


def test_classes_at_axis_one():
    z = torch.randn(2, 3, 4, 5, requires_grad=True)
    y = torch.randint(0, 3, (2, 4, 5))
    for functional in (F, lastlayer.functional):
        trace = explain_loss(functional.cross_entropy(z, y))
        assert trace.loss == pytest.approx(functional.cross_entropy(z, y).item(), rel=1e-5)
        assert len(trace.axes["i"]) == 40


def test_a_softmax_in_front_is_said(layer):
    trace = explain_loss(F.cross_entropy(layer(X).softmax(1), Y))
    assert trace.options["found"] == "softmax"
    assert "between the last layer and the loss: softmax" in trace.text().replace("\n", " ")
    assert holds(trace)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("functional", [F, lastlayer.functional], ids=["torch", "ours"])
def test_a_live_binary_cross_entropy(functional, reduction):
    for shape in ((8,), (8, 3), (1,)):
        z = torch.randn(shape, requires_grad=True)
        y = (torch.rand(shape) < 0.5).float()
        loss = functional.binary_cross_entropy_with_logits(z, y, reduction=reduction)
        trace = explain_loss(loss)
        assert trace.loss == pytest.approx(loss.item(), rel=1e-5)
        assert holds(trace)
        assert trace.kind == ("multilabel" if len(shape) == 2 else "binary")


@pytest.mark.parametrize(
    "loss",
    [
        lambda: torch.zeros(()),
        lambda: torch.ones(3, requires_grad=True).sum(),
        lambda: F.mse_loss(torch.ones(3, requires_grad=True), torch.zeros(3)),
        lambda: F.nll_loss(torch.ones(2, 3, requires_grad=True).softmax(1), torch.tensor([0, 1])),
        lambda: F.binary_cross_entropy_with_logits(
            torch.ones(3, requires_grad=True), torch.zeros(3), pos_weight=torch.tensor(2.0)
        ),
    ],
    ids=["no graph", "no loss", "squared error", "no log", "weighted binary"],
)
def test_what_cannot_be_told_is_named(loss):
    with pytest.raises(LastLayerError, match=r"expected cross-entropy|with weights"):
        explain_loss(loss())


@pytest.mark.parametrize("options", [{"temperature": 2.0}, {"z_loss": 0.1}, {"softcap": 1.0}], ids=str)
def test_a_loss_with_options_that_the_graph_does_not_keep_is_refused(layer, options):
    with pytest.raises(LastLayerError, match="temperature, softcap or z_loss"):
        explain_loss(lastlayer.cross_entropy(layer(X), Y, **options))


def test_one_of_several_terms(layer):
    z = layer(X)
    plain = F.cross_entropy(z, Y)
    for loss in (0.5 * F.cross_entropy(z, Y) + 0.01 * layer.weight.square().sum(), 3 * F.cross_entropy(z, Y)):
        trace = explain_loss(loss)
        assert trace.loss == pytest.approx(plain.item(), rel=1e-5)
        assert "equals_given" not in [check.id for check in trace["loss"].invariants]


def test_a_number_is_no_loss():
    with pytest.raises(TypeError):
        explain_loss(1.5)


def test_a_model(layer):
    model = nn.Sequential(nn.Dropout(0.5), layer).train()
    target = Y.clamp(min=0)
    trace = explain_model(model, X, target)
    assert trace.loss == pytest.approx(F.cross_entropy(layer(X), target).item(), rel=1e-6)
    assert model.training
    assert model[0].training
    assert not layer._forward_hooks
    one = explain_model(model, X, target, row=5, classes=["a", "b", "c", "d"])
    assert one.kind == "features"
    assert one.loss == pytest.approx(F.cross_entropy(layer(X)[5], target[5]).item(), rel=1e-5)
    assert "loss" not in explain_model(model, X)
    assert explain_model(model, (X,), target).loss == trace.loss


def test_a_model_that_ends_in_softmax(layer):
    model = nn.Sequential(layer, nn.Softmax(1))
    trace = explain_model(model, X, Y)
    assert trace.options["before"] == "softmax"
    assert trace.loss == pytest.approx(F.cross_entropy(layer(X).softmax(1), Y).item(), rel=1e-5)
    torch.testing.assert_close(trace["logits"].value.float(), layer(X).detach())


def test_other_kinds_of_model():
    torch.manual_seed(0)
    one, three = nn.Linear(6, 1), nn.Linear(6, 3)
    y = (X[:, 0] > 0).float()
    binary = explain_model(one, X, y, kind="binary")
    assert binary.loss == pytest.approx(F.binary_cross_entropy_with_logits(one(X).squeeze(1), y).item(), rel=1e-5)
    labels = (X[:, :3] > 0).float()
    several = explain_model(three, X, labels, kind="multilabel")
    assert several.loss == pytest.approx(F.binary_cross_entropy_with_logits(three(X), labels).item(), rel=1e-5)


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (nn.Flatten(0), {}, "shape"),
        (nn.LSTM(6, 4), {}, "tuple"),
        (nn.Linear(6, 4), {"row": 99}, "0 to 31"),
    ],
    ids=["flat", "tuple", "row"],
)
def test_models_that_cannot_be_told(model, options, message):
    with pytest.raises(LastLayerError, match=message):
        explain_model(model, X, **options)
