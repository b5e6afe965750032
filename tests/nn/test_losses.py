"""The modules store options and call the functions: nothing is lost on the way."""

import copy
import inspect
import math

import pytest
import torch

import lastlayer
from lastlayer import functional, nn

Z, Y = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 1, -100])
WEIGHT = torch.tensor([0.5, 1.0, 2.0, 1.5])
P = torch.rand(6, 4)

CASES = {
    "cross entropy": (
        nn.CrossEntropyLoss(WEIGHT, label_smoothing=0.1, z_loss=0.2, softcap=3.0, temperature=0.5, reduction="sum"),
        (Z, Y),
        lambda: functional.cross_entropy(
            Z, Y, WEIGHT, label_smoothing=0.1, z_loss=0.2, softcap=3.0, temperature=0.5, reduction="sum"
        ),
    ),
    "ignored index": (
        nn.CrossEntropyLoss(ignore_index=1, empty="zero"),
        (Z[:2], torch.tensor([1, 1])),
        lambda: torch.tensor(0.0),
    ),
    "nll": (
        nn.NLLLoss(WEIGHT, reduction="none"),
        (Z, Y),
        lambda: functional.nll_loss(Z, Y, WEIGHT, reduction="none"),
    ),
    "nll of nothing": (nn.NLLLoss(empty="zero"), (Z[5:], Y[5:]), lambda: torch.tensor(0.0)),
    "bce": (
        nn.BCELoss(WEIGHT, focal_gamma=2.0, label_smoothing=0.1, reduction="sum"),
        (P, 1 - P),
        lambda: functional.binary_cross_entropy(
            P, 1 - P, WEIGHT, focal_gamma=2.0, label_smoothing=0.1, reduction="sum"
        ),
    ),
    "bce with logits": (
        nn.BCEWithLogitsLoss(WEIGHT, pos_weight=2 * WEIGHT, focal_gamma=2.0, label_smoothing=0.1, reduction="none"),
        (Z, P),
        lambda: functional.binary_cross_entropy_with_logits(
            Z, P, WEIGHT, pos_weight=2 * WEIGHT, focal_gamma=2.0, label_smoothing=0.1, reduction="none"
        ),
    ),
    "kl": (
        nn.KLDivLoss(reduction="batchmean", log_target=True),
        (Z, Z - 1),
        lambda: functional.kl_div(Z, Z - 1, reduction="batchmean", log_target=True),
    ),
}


@pytest.mark.parametrize(("module", "arguments", "expected"), CASES.values(), ids=CASES)
def test_module_calls_the_function_with_all_its_options(module, arguments, expected):
    torch.testing.assert_close(module(*arguments), expected())
    copied = copy.deepcopy(module)
    copied.load_state_dict(module.state_dict())
    torch.testing.assert_close(copied(*arguments), expected())


OF_PYTORCH = ["CrossEntropyLoss", "NLLLoss", "BCELoss", "BCEWithLogitsLoss", "KLDivLoss"]


@pytest.mark.parametrize("name", OF_PYTORCH)
def test_module_is_a_kind_of_pytorchs(name):
    assert issubclass(getattr(nn, name), getattr(torch.nn, name))
    assert getattr(lastlayer.nn, name) is getattr(nn, name)


@pytest.mark.parametrize("name", OF_PYTORCH)
def test_arguments_have_pytorchs_names_order_and_defaults(name):
    theirs = list(inspect.signature(getattr(torch.nn, name)).parameters.values())
    ours = list(inspect.signature(getattr(nn, name)).parameters.values())
    assert [(p.name, p.default) for p in ours[: len(theirs)]] == [(p.name, p.default) for p in theirs]
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in ours[len(theirs) :])


@pytest.mark.parametrize(
    "flags", [{"size_average": False}, {"reduce": False}, {"size_average": True, "reduce": True}], ids=str
)
@pytest.mark.parametrize("name", OF_PYTORCH)
@pytest.mark.filterwarnings("ignore:reduction")
def test_deprecated_flags_mean_what_they_meant(name, flags):
    target = Y[:5] if name in ("CrossEntropyLoss", "NLLLoss") else P[:5]
    values = P[:5] if name == "BCELoss" else Z[:5]
    with pytest.warns(UserWarning, match="please use reduction="):
        ours, theirs = (getattr(room, name)(**flags) for room in (nn, torch.nn))
    assert ours.reduction == theirs.reduction
    torch.testing.assert_close(ours(values, target), theirs(values, target))


@pytest.mark.parametrize("name", OF_PYTORCH)
@pytest.mark.filterwarnings("ignore:reduction")
def test_values_gradients_and_state_are_pytorchs(name):
    """A module of theirs may be replaced by ours in the middle of a training run."""
    target = Y if name in ("CrossEntropyLoss", "NLLLoss") else P.flip(0)
    options = {} if name == "KLDivLoss" else {"weight": WEIGHT}
    theirs = getattr(torch.nn, name)(**options)
    ours = getattr(nn, name)(**({key: torch.ones_like(value) for key, value in options.items()}))
    ours.load_state_dict(theirs.state_dict())
    gradients = []
    for module in (ours, theirs):
        leaf = (P if name == "BCELoss" else Z).clone().requires_grad_()
        loss = module(leaf, target)
        loss.backward()
        gradients += [loss.detach(), leaf.grad]
    torch.testing.assert_close(gradients[0], gradients[2])
    torch.testing.assert_close(gradients[1], gradients[3])
    assert ours.double().state_dict().keys() == theirs.state_dict().keys()


def test_weights_move_with_the_module():
    """They are buffers: .double() and .to() reach them, an optimizer does not."""
    for module in (nn.CrossEntropyLoss(WEIGHT), nn.BCEWithLogitsLoss(WEIGHT, pos_weight=WEIGHT)):
        assert not list(module.parameters())
        assert all(x.dtype is torch.float64 for x in copy.deepcopy(module).double().buffers())
        assert all(x.device.type == "meta" for x in copy.deepcopy(module).to("meta").buffers())
        assert list(module.buffers())


@pytest.mark.parametrize("name", ["CrossEntropyLoss", "BCEWithLogitsLoss", "NLLLoss"])
def test_a_module_has_every_derivative_of_its_function(name):
    module = getattr(nn, name)(WEIGHT.double())
    target = P.double() if name == "BCEWithLogitsLoss" else Y
    z = Z.double().requires_grad_()
    assert torch.autograd.gradcheck(module, (z, target), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(module, (z, target))
    mapped = torch.func.vmap(module, in_dims=(0, None))(torch.stack([z, 2 * z]).detach(), target)
    torch.testing.assert_close(mapped, torch.stack([module(z, target), module(2 * z, target)]).detach())


def test_unknown_backend_is_refused_by_every_module():
    for module, arguments, _ in CASES.values():
        refused = copy.deepcopy(module)
        refused.backend = "cuda"
        with pytest.raises(ValueError, match="backend"):
            refused(*arguments)


def test_only_changed_options_are_printed():
    assert repr(nn.CrossEntropyLoss()) == "CrossEntropyLoss()"
    assert repr(nn.CrossEntropyLoss(z_loss=0.1)) == "CrossEntropyLoss(z_loss=0.1)"
    assert "num_classes=3, reduction='sum'" in repr(nn.LinearCrossEntropyLoss(2, 3, reduction="sum"))


@pytest.mark.parametrize("out_features", [(), (2,)])
@pytest.mark.parametrize("bias", [False, True])
def test_linear_cross_entropy_loss(out_features, bias):
    options = {"label_smoothing": 0.1, "z_loss": 0.2, "softcap": 3.0, "temperature": 0.5, "ignore_index": 1}
    loss = nn.LinearCrossEntropyLoss(5, 4, out_features=out_features, bias=bias, weight=WEIGHT, **options)
    x, target = torch.randn(3, 5), torch.randint(0, 4, (3, *out_features))
    logits = loss.linear(x).reshape(3, 4, *out_features)
    torch.testing.assert_close(loss(x, target), functional.cross_entropy(logits, target, WEIGHT, **options))


def test_linear_cross_entropy_loss_of_nothing():
    x, target = torch.randn(3, 5), torch.full((3,), -100)
    for empty, expected in (("nan", float("nan")), ("zero", 0.0)):
        loss = nn.LinearCrossEntropyLoss(5, 4, empty=empty)(x, target)
        torch.testing.assert_close(loss, torch.tensor(expected), equal_nan=True)
    assert nn.LinearCrossEntropyLoss(5, 4, reduction="none")(x, target).shape == (3,)


@pytest.mark.skipif(not hasattr(torch.nn, "LinearCrossEntropyLoss"), reason="PyTorch has it from 2.13 on")
def test_linear_cross_entropy_loss_takes_pytorchs_state():
    theirs = torch.nn.LinearCrossEntropyLoss(5, 4, out_features=(2,), bias=True, weight=WEIGHT)
    ours = nn.LinearCrossEntropyLoss(5, 4, out_features=(2,), bias=True, weight=torch.ones(4))
    ours.load_state_dict(theirs.state_dict())
    x, target = torch.randn(3, 5), torch.randint(0, 4, (3, 2))
    torch.testing.assert_close(ours(x, target), theirs(x, target))


@pytest.mark.unchecked
def test_linear_cross_entropy_loss_checks_its_options():
    with pytest.raises(RuntimeError, match=r"\(4,\), got \(3,\)"):
        nn.LinearCrossEntropyLoss(5, 4, weight=torch.ones(3))
    with pytest.raises(RuntimeError, match="range"):
        nn.LinearCrossEntropyLoss(5, 4, label_smoothing=1.5)


@pytest.mark.parametrize("axes", [(), pytest.param((1,), marks=pytest.mark.unchecked)])
def test_a_temperature_is_learnt(axes):
    temperature = torch.nn.Parameter(torch.full(axes, 1.5))
    loss = nn.CrossEntropyLoss(temperature=temperature)
    assert list(loss.parameters()) == [temperature]
    logits, target = torch.tensor([[2.0, 0.0], [1.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1, 0])
    optimizer = torch.optim.SGD(loss.parameters(), lr=1.0)
    for _ in range(200):
        optimizer.zero_grad()
        value = loss(logits, target)
        value.backward()
        optimizer.step()
    # where the slope is 0: σ(−2s)·2·2 = σ(s)·1 with s = 1 / T
    s = 1 / float(temperature.detach())
    torch.testing.assert_close(4 / (1 + math.exp(2 * s)), 1 / (1 + math.exp(-s)), rtol=1e-3, atol=0)
