"""What the graph of a live loss says of it."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import lastlayer
from lastlayer.errors import DtypeError
from lastlayer.graph import Calls, read

LAYER = nn.Linear(4, 5)
INDEX, SOFT = torch.arange(6) % 5, torch.full((6, 5), 0.2)
HELD = (torch.arange(30).reshape(6, 5) % 3 == 0).float()
WEIGHT = torch.arange(1.0, 6.0)


def logits():
    return LAYER(torch.randn(6, 4))


LOSSES = {
    "index": (lambda z: F.cross_entropy(z, INDEX), "cross_entropy", "mean", []),
    "index, sum": (lambda z: F.cross_entropy(z, INDEX, reduction="sum"), "cross_entropy", "sum", []),
    "index, none, mean": (lambda z: F.cross_entropy(z, INDEX, reduction="none").mean(), "cross_entropy", "none", []),
    "module": (lambda z: nn.CrossEntropyLoss(weight=WEIGHT)(z, INDEX), "cross_entropy", "mean", []),
    "soft": (lambda z: F.cross_entropy(z, SOFT), "soft_cross_entropy", "mean", []),
    "soft, sum": (lambda z: F.cross_entropy(z, SOFT, reduction="sum"), "soft_cross_entropy", "sum", []),
    "soft, none": (lambda z: F.cross_entropy(z, SOFT, reduction="none").mean(), "soft_cross_entropy", "none", []),
    "NLL of a softmax": (lambda z: F.nll_loss(z.softmax(1), INDEX), "nll", "mean", ["softmax"]),
    "NLL of a logarithm": (lambda z: F.nll_loss(z.softmax(1).log(), INDEX), "nll", "mean", ["log", "softmax"]),
    "BCE": (lambda z: F.binary_cross_entropy(z.sigmoid(), HELD), "bce", "mean", ["sigmoid"]),
    "BCE with logits": (
        lambda z: F.binary_cross_entropy_with_logits(z, HELD, reduction="sum"), "bce_with_logits", "sum", [],
    ),
    "KL": (
        lambda z: F.kl_div(z.log_softmax(1), SOFT, reduction="batchmean"), "kl_div", "batchmean", ["log_softmax"],
    ),
    "KL of logarithms": (
        lambda z: F.kl_div(z.log_softmax(1), SOFT.log(), reduction="sum", log_target=True), "kl_div", "sum",
        ["log_softmax"],
    ),
    "MSE": (lambda z: F.mse_loss(z, SOFT), "mse", "mean", []),
    "by hand, gather": (
        lambda z: -z.log_softmax(1).gather(1, INDEX[:, None]).squeeze(1).mean(), "cross_entropy", None, [],
    ),
    "by hand, index": (lambda z: -(z - z.logsumexp(1, keepdim=True))[torch.arange(6), INDEX].mean(), "cross_entropy",
                       None, []),
    "scaled, with a penalty": (
        lambda z: F.cross_entropy(z / 0.5, INDEX) / 4 + 0.1 * z.pow(2).mean(), "cross_entropy", "mean", ["scale"],
    ),
    "ours": (lambda z: lastlayer.cross_entropy(z, INDEX), "cross_entropy", "mean", []),
    "ours, soft": (lambda z: lastlayer.cross_entropy(z, SOFT), "soft_cross_entropy", "mean", []),
    "ours, binary": (lambda z: lastlayer.binary_cross_entropy_with_logits(z, HELD), "bce_with_logits", "mean", []),
    "ours, of a softmax": (
        lambda z: lastlayer.cross_entropy(lastlayer.softmax(z, 1), INDEX), "cross_entropy", "mean", ["softmax"],
    ),
    "ours, NLL": (lambda z: lastlayer.nll_loss(lastlayer.log_softmax(z, 1), INDEX), "cross_entropy", None, []),
    "ours, of a sigmoid": (
        lambda z: lastlayer.binary_cross_entropy_with_logits(lastlayer.sigmoid(z), HELD), "bce_with_logits", "mean",
        ["sigmoid"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
def test_kind_reduction_and_way(name):
    build, kind, reduction, path = LOSSES[name]
    wiring = read(build(logits()))
    term = wiring.terms[0]
    assert (wiring.obstacle, wiring.kind, term.reduction) == (None, kind, reduction)
    assert [op.name for op in term.path] == path
    assert term.end == "layer"


@pytest.mark.parametrize("loss", [F.cross_entropy, lastlayer.cross_entropy], ids=["torch", "ours"])
def test_options_and_tensors(loss):
    z = logits()
    term = read(loss(z, INDEX, WEIGHT, ignore_index=3, label_smoothing=0.1)).terms[0]
    assert term.label_smoothing == pytest.approx(0.1)
    assert term.ignore_index == 3
    assert torch.equal(term.target, INDEX)
    assert torch.allclose(term.weight.float(), WEIGHT)
    # PyTorch keeps log-probabilities: the logits up to a constant per row
    assert torch.allclose(term.given.log_softmax(1), z.log_softmax(1), atol=1e-6)
    assert term.ours == (loss is lastlayer.cross_entropy)


def test_the_default_of_ignore_index_is_not_wrapped():
    assert read(F.cross_entropy(logits(), INDEX)).terms[0].ignore_index == -100


def test_binary_options():
    term = read(F.binary_cross_entropy_with_logits(logits(), HELD, weight=WEIGHT, pos_weight=2 * WEIGHT)).terms[0]
    assert torch.equal(term.weight, WEIGHT)
    assert torch.equal(term.pos_weight, 2 * WEIGHT)
    assert torch.equal(term.target, HELD)


AXES = {
    "rows": (lambda: (logits().softmax(1), INDEX), True),
    "columns": (lambda: (logits().softmax(0), INDEX), False),
    "sequence, flattened": (lambda: (logits().view(2, 3, 5).softmax(-1).view(-1, 5), INDEX), True),
    "sequence, over steps": (lambda: (logits().view(2, 3, 5).softmax(1).view(-1, 5), INDEX), False),
    "sequence, moved": (lambda: (logits().view(2, 3, 5).softmax(-1).movedim(-1, 1), INDEX.view(2, 3)), True),
    "sequence, moved before": (lambda: (logits().view(2, 3, 5).transpose(1, 2).softmax(1), INDEX.view(2, 3)), True),
    "image": (lambda: (logits().T.reshape(1, 5, 2, 3).softmax(1), INDEX.view(1, 2, 3)), True),
    "image, over columns": (lambda: (logits().T.reshape(1, 5, 2, 3).softmax(3), INDEX.view(1, 2, 3)), False),
    "one step chosen": (lambda: (logits().view(2, 3, 5).softmax(-1)[:, -1], INDEX[:2]), True),
    "all but the last step": (
        lambda: (logits().view(2, 3, 5).softmax(-1)[:, :-1].reshape(-1, 5), INDEX[:4]), True,
    ),
    "rows chosen": (lambda: (logits().softmax(1)[torch.tensor([0, 2, 3])], INDEX[:3]), True),
    "autocast": (lambda: (logits().softmax(1).bfloat16().float(), INDEX), True),
}  # fmt: skip


@pytest.mark.parametrize("name", AXES)
def test_the_class_axis_is_followed_through_views(name):
    build, on_classes = AXES[name]
    op = read(F.cross_entropy(*build())).terms[0].first
    assert (op.name, op.on_classes) == ("softmax", on_classes)


def test_a_squeezed_column_keeps_its_way():
    term = read(
        F.binary_cross_entropy_with_logits(LAYER(torch.randn(6, 4))[:, :1].sigmoid().squeeze(1), HELD[:, 0])
    ).terms[0]
    assert [op.name for op in term.path] == ["sigmoid"]


def test_several_losses_are_several_terms():
    z = logits()
    wiring = read(F.cross_entropy(z, INDEX) + 0.5 * F.mse_loss(z, SOFT) + F.binary_cross_entropy_with_logits(z, HELD))
    assert sorted(term.kind for term in wiring.terms) == ["bce_with_logits", "cross_entropy", "mse"]


def test_a_focal_factor_is_noticed():
    loss = F.cross_entropy(logits(), INDEX)
    assert read((1 - torch.exp(-loss)) ** 2 * loss).terms[0].focal
    assert not read(F.cross_entropy(logits(), INDEX) ** 2).terms[0].focal


def test_dropout_is_a_product_and_nothing_is_claimed_of_it():
    for before in (lambda z: z, lambda z: z.softmax(1)):
        term = read(F.cross_entropy(F.dropout(before(logits()), 0.5), INDEX)).terms[0]
        assert term.path == ()
    assert term.end == "unclear"


def test_what_hides_the_graph_is_named():
    z, x = logits(), torch.randn(6, 4, requires_grad=True)
    loss = F.cross_entropy(z, INDEX)
    loss.backward()
    assert read(loss).obstacle == "freed"
    assert read(F.cross_entropy(z.detach(), INDEX)).obstacle == "no_graph"
    assert read(F.cross_entropy(checkpoint(LAYER, x, use_reentrant=True), INDEX)).obstacle == "checkpointed"
    assert read(z.exp().mean()).obstacle == "no_loss"
    torch._dynamo.reset()
    whole = torch.compile(lambda x: F.cross_entropy(LAYER(x), INDEX), backend="aot_eager")
    assert read(whole(torch.randn(6, 4))).obstacle == "compiled"
    model = torch.compile(LAYER, backend="aot_eager")
    wiring = read(F.cross_entropy(model(torch.randn(6, 4)), INDEX))
    assert (wiring.kind, wiring.obstacle) == ("cross_entropy", "checkpointed")


def test_somebodys_own_function_hides_what_it_does():
    class Own(torch.autograd.Function):
        @staticmethod
        def forward(ctx, z):
            return z.mean()

        @staticmethod
        def backward(ctx, gradient):
            return gradient.expand(6, 5)

    wiring = read(Own.apply(logits()))
    assert (wiring.obstacle, wiring.detail) == ("custom", "Own")


def test_a_checkpoint_without_reentry_is_read():
    wiring = read(F.cross_entropy(checkpoint(lambda z: z.softmax(1), logits(), use_reentrant=False), INDEX))
    assert wiring.terms[0].first.name == "softmax"


@pytest.mark.parametrize("thing", [1.5, None, [torch.ones(1)], "loss"])
def test_what_is_no_tensor_is_said(thing):
    with pytest.raises(DtypeError, match="loss has to be a tensor"):
        read(thing)


def test_reading_changes_nothing():
    z = logits()
    loss = F.cross_entropy(z.softmax(1), INDEX)
    read(loss)
    LAYER.zero_grad()
    loss.backward()
    first = LAYER.weight.grad.clone()
    assert first.abs().sum() > 0
    assert read(F.cross_entropy(logits(), INDEX)).to_dict()["terms"][0]["kind"] == "cross_entropy"


def test_calls_see_through_what_hides_the_graph():
    x = torch.randn(6, 4, requires_grad=True)
    with Calls() as calls:
        p = checkpoint(lambda t: LAYER(t).softmax(1), x, use_reentrant=True)
        with torch.no_grad():
            q = LAYER(x).sigmoid()
        z = LAYER(x)
    assert (calls.maker(p), calls.maker(q), calls.maker(z)) == ("softmax", "sigmoid", None)
