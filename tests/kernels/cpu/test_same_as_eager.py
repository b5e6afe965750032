"""Compiled and eager kernels mean the same: every option, dtype and edge."""

import itertools
import weakref

import pytest
import torch

from lastlayer import errors, functional
from lastlayer.kernels import _memory

FLOATS = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
TOLERANCE = {torch.float64: 1e-13, torch.float32: 2e-6, torch.bfloat16: 1.6e-2, torch.float16: 2e-3}
INF, NAN = float("inf"), float("nan")
# 1: nothing to sum; 16, 17: one register and one past it; 1024, 1025: a block and one past it; 3001: odd tail
CLASSES = [1, 2, 10, 16, 17, 1024, 1025, 3001]


def both(call, *tensors):
    """Loss and gradients from each backend."""
    results = []
    for backend in ("cpu", "eager"):
        at = [tensor.detach().clone().requires_grad_(tensor.requires_grad) for tensor in tensors]
        result = call(*at, backend=backend)
        upstream = torch.linspace(0.5, 1.5, result.numel(), dtype=torch.float64).reshape(result.shape)
        result.backward(upstream.to(result.dtype))
        results.append([result.detach(), *(tensor.grad for tensor in at if tensor.requires_grad)])
    return zip(*results, strict=True)


def assert_same(call, *tensors, tolerance):
    for found, expected in both(call, *tensors):
        assert found.dtype is expected.dtype
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance, equal_nan=True)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("classes", CLASSES)
def test_rows_of_every_length(classes, dtype):
    z = (torch.randn(37, classes, dtype=torch.float64) * 3).to(dtype).requires_grad_()
    y = torch.randint(0, classes, (37,))
    tolerance = TOLERANCE[dtype]
    assert_same(lambda z, **b: functional.cross_entropy(z, y, reduction="none", **b), z, tolerance=tolerance)
    assert_same(lambda z, **b: functional.softmax(z, 1, **b), z, tolerance=tolerance)
    assert_same(lambda z, **b: functional.log_softmax(z, 1, **b), z, tolerance=tolerance * 4)
    assert_same(lambda z, **b: functional.logsumexp(z, 1, **b), z, tolerance=tolerance)
    assert_same(lambda z, **b: functional.sigmoid(z, **b), z, tolerance=tolerance)
    q = torch.rand(37, classes).to(dtype)
    assert_same(
        lambda z, **b: functional.binary_cross_entropy_with_logits(z, q, reduction="none", **b), z, tolerance=tolerance
    )
    soft = q.softmax(1)
    assert_same(lambda z, **b: functional.cross_entropy(z, soft, reduction="none", **b), z, tolerance=tolerance)


GRID = list(itertools.product([False, True], [False, True], [0.0, 0.1], ["none", "mean", "sum"], ["", "z", "capped"]))


@pytest.mark.parametrize(("soft", "weighted", "smoothing", "reduction", "extra"), GRID)
def test_options_of_cross_entropy_in_float32(soft, weighted, smoothing, reduction, extra):
    z = (torch.randn(40, 19) * 3).requires_grad_()
    y = torch.rand(40, 19).softmax(1) if soft else torch.randint(0, 19, (40,))
    if not soft:
        y[3], y[17] = -100, 4
    options = {"": {}, "z": {"z_loss": 0.3}, "capped": {"softcap": 5.0, "temperature": 0.6, "z_loss": 0.1}}[extra]
    weight = torch.rand(19) if weighted else None
    assert_same(
        lambda z, **b: functional.cross_entropy(
            z, y, weight, label_smoothing=smoothing, reduction=reduction, **options, **b
        ),
        z,
        tolerance=1e-5 if reduction == "sum" else 1e-6,
    )


EDGES = {
    "ruled out": [1.0, -INF, 0.0],
    "all ruled out": [-INF, -INF, -INF],
    "NaN": [1.0, NAN, 0.0],
    "NaN among ruled out": [-INF, NAN, -INF],
    "overflowing": [3e38, -3e38, 0.0],
}


@pytest.mark.parametrize("length", [3, 1100], ids=["a register", "two blocks"])
@pytest.mark.parametrize("row", EDGES.values(), ids=EDGES)
def test_edges(row, length):
    z = torch.tensor([[*row, *[-INF] * (length - 3)], [0.5, 1.0, *[0.0] * (length - 2)]], requires_grad=True)
    y = torch.tensor([0, 1])
    assert_same(lambda z, **b: functional.cross_entropy(z, y, reduction="none", **b), z, tolerance=1e-6)
    assert_same(lambda z, **b: functional.softmax(z, 1, **b), z, tolerance=1e-6)


def test_an_infinite_logit_makes_its_row_nan_as_in_pytorch():
    z = torch.tensor([[INF, 0.0], [1.0, 0.0]])
    loss = functional.cross_entropy(z, torch.tensor([1, 0]), reduction="none", backend="cpu")
    assert loss.isnan().tolist() == [True, False]
    assert functional.softmax(z, 1, backend="cpu").isnan().tolist() == [[True, True], [False, False]]


def test_nothing_to_compute():
    none = torch.zeros(0, dtype=torch.long)
    z = torch.zeros(0, 3, requires_grad=True)
    loss = functional.cross_entropy(z, none, backend="cpu")
    loss.backward()
    assert loss.isnan()
    assert z.grad.shape == (0, 3)
    assert functional.cross_entropy(z, none, reduction="none", backend="cpu").shape == (0,)
    assert functional.binary_cross_entropy_with_logits(z, z.detach(), backend="cpu").isnan()
    assert functional.softmax(z, 1, backend="cpu").shape == (0, 3)
    assert functional.sigmoid(z, backend="cpu").shape == (0, 3)


def test_a_bad_target_is_refused_and_unread_is_nan():
    z = torch.randn(3, 4)
    with pytest.raises(errors.TargetError, match="Row 1"):
        functional.cross_entropy(z, torch.tensor([0, 2**40, 1]), backend="cpu")
    far = torch.tensor([0, 2**40, -(2**40)])
    loss = functional.cross_entropy(z, far, reduction="none", check=False, backend="cpu")
    assert loss.isnan().tolist() == [False, True, True]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_rows_that_lie_apart_are_read_where_they_are(dtype):
    wide = torch.randn(20, 64).to(dtype)
    part, y = wide[::2, 3:40], torch.randint(0, 37, (10,))
    assert part.stride() == (128, 1)
    found = functional.cross_entropy(part, y, reduction="none", backend="cpu")
    assert torch.equal(found, functional.cross_entropy(part.contiguous(), y, reduction="none", backend="cpu"))
    turned = wide.t()
    whole = turned.contiguous()
    assert torch.equal(functional.softmax(turned, 1, backend="cpu"), functional.softmax(whole, 1, backend="cpu"))
    weights = torch.rand(37)
    q = torch.rand(10, 37).to(dtype)
    pair = [
        functional.binary_cross_entropy_with_logits(x, q, weights, reduction="none", backend="cpu")
        for x in (part, part.contiguous())
    ]
    assert torch.equal(*pair)


def test_a_negated_view_is_read_with_its_sign():
    z = torch._neg_view(torch.randn(3, 4))
    assert torch.equal(functional.softmax(z, 1, backend="cpu"), functional.softmax(z.resolve_neg(), 1, backend="cpu"))
    assert torch.equal(functional.sigmoid(z, backend="cpu"), functional.sigmoid(z.resolve_neg(), backend="cpu"))


def test_no_gradient_is_made_unless_asked_for(monkeypatch):
    made = []
    monkeypatch.setattr(_memory, "empty", lambda *a, **k: made.append(a))
    with torch.no_grad():
        functional.cross_entropy(torch.randn(3, 4), torch.tensor([0, 1, 2]), backend="cpu")
    assert not made


def test_logits_that_a_checkpoint_lets_go_are_gone():
    """What is kept for the backward goes through autograd's hooks; nothing else holds on to the logits."""
    base = torch.randn(50, 1000, requires_grad=True)
    logits, target = base * 2, torch.arange(50)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.detach().clone(), lambda t: t):
        loss = functional.cross_entropy(logits, target, backend="cpu")
    alive = weakref.ref(logits)
    del logits
    assert alive() is None
    loss.backward()
    assert base.grad.abs().max() > 0
