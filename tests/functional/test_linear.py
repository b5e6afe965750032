"""The linear losses hold logits one chunk at a time: no chunk, order or dtype shows in the result."""

import itertools
import subprocess
import sys
import textwrap

import mpmath
import pytest
import torch
from torch.nn import functional as F

from lastlayer import errors, kernels
from lastlayer import functional as ours
from lastlayer.kernels import _chunks
from tests import reference
from tests.functional.judging import naming

N, D, C = 23, 6, 37


def layer(dtype=torch.float64):
    generator = torch.Generator().manual_seed(5)
    x, w, b = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((N, D), (C, D), (C,)))
    return tuple(t.to(dtype).requires_grad_() for t in (x, w, b))


def targets():
    generator = torch.Generator().manual_seed(6)
    index = torch.randint(C, (N,), generator=generator)
    index[::5] = -100
    soft = torch.softmax(3 * torch.randn(N, C, generator=generator, dtype=torch.float64), 1)
    return {"index": index, "probabilities": soft}


def gradients(loss, tensors, upstream=None):
    found = torch.autograd.grad(loss, tensors, upstream, allow_unused=True)
    return [loss.detach(), *(torch.zeros_like(t) if g is None else g for g, t in zip(found, tensors, strict=True))]


# 8 float64 entries per budget: far fewer than a row; 5 rows of 37; and everything at once.
CHUNKS = {"slices of classes": (8 * 8 * N, 1000), "rows": (5 * C * 8, 1), "whole": (1 << 30, 1)}


@pytest.fixture(params=CHUNKS)
def chunks(request, monkeypatch):
    budget, few = CHUNKS[request.param]
    monkeypatch.setattr(_chunks, "_BUDGET", budget)
    monkeypatch.setattr(_chunks, "_SHARE", 1 << 40)
    monkeypatch.setattr(_chunks, "_FEW_ROWS", few)
    rows, classes = _chunks.plan(N, C, 8)
    assert (rows < N, classes < C) == {
        "slices of classes": (False, True),
        "rows": (True, False),
        "whole": (False, False),
    }[request.param]


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize("kind", ["index", "probabilities"])
def test_chunks_do_not_show_in_cross_entropy(kind):
    tensors, target = layer(), targets()[kind]
    weight = torch.linspace(0.2, 2, C, dtype=torch.float64)
    grid = itertools.product(
        ("none", "mean", "sum"), (None, weight), (0.0, 0.1), ({}, {"z_loss": 0.2}, {"softcap": 3.0, "temperature": 0.6})
    )
    for reduction, weights, smoothing, rest in grid:
        options = {"reduction": reduction, "weight": weights, "label_smoothing": smoothing, **rest}
        with naming(options):
            found = ours.linear_cross_entropy(tensors[0], tensors[1], target, linear_bias=tensors[2], **options)
            dense = ours.cross_entropy(F.linear(*tensors), target, **options)
            upstream = torch.linspace(-1, 2, N, dtype=torch.float64) if reduction == "none" else None
            pairs = zip(gradients(found, tensors, upstream), gradients(dense, tensors, upstream), strict=True)
            for mine, expected in pairs:
                torch.testing.assert_close(mine, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.usefixtures("chunks")
def test_chunks_do_not_show_in_the_log_sum_exp():
    tensors, target = layer(), targets()["index"]
    loss, lse = ours.linear_cross_entropy(tensors[0], tensors[1], target, linear_bias=tensors[2], return_lse=True)
    logits = F.linear(*tensors)
    dense, dense_lse = ours.cross_entropy(logits, target, return_lse=True)
    torch.testing.assert_close(lse, dense_lse, rtol=1e-13, atol=1e-13)
    for mine, expected in zip(
        gradients(2 * loss + (lse**2).sum(), tensors), gradients(2 * dense + (dense_lse**2).sum(), tensors), strict=True
    ):
        torch.testing.assert_close(mine, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("backend", ["cpu", "eager"])
def test_an_unused_log_sum_exp_changes_nothing(backend):
    tensors, index = layer(), targets()["index"]
    for reduction in ("mean", "sum"):
        options = {"linear_bias": tensors[2], "reduction": reduction, "backend": backend}
        loss, _ = ours.linear_cross_entropy(*tensors[:2], index, return_lse=True, **options)
        alone = ours.linear_cross_entropy(*tensors[:2], index, **options)
        for mine, expected in zip(gradients(loss, tensors), gradients(alone, tensors), strict=True):
            torch.testing.assert_close(mine, expected, rtol=1e-13, atol=1e-15)


@pytest.mark.usefixtures("chunks")
def test_chunks_do_not_show_in_binary_cross_entropy():
    tensors, target = layer(), targets()["probabilities"]
    factor = torch.linspace(0.2, 2, C, dtype=torch.float64)
    each = torch.rand(N, C, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    grid = itertools.product(("none", "mean", "sum"), (None, factor, each), (None, factor), (0.0, 1.5), (0.0, 0.1))
    for reduction, weight, pos_weight, gamma, smoothing in grid:
        options = {
            "reduction": reduction,
            "weight": weight,
            "pos_weight": pos_weight,
            "focal_gamma": gamma,
            "label_smoothing": smoothing,
        }
        with naming(options):
            found = ours.linear_binary_cross_entropy(*tensors[:2], target, linear_bias=tensors[2], **options)
            dense = ours.binary_cross_entropy_with_logits(F.linear(*tensors), target, **options)
            upstream = each if reduction == "none" else None
            pairs = zip(gradients(found, tensors, upstream), gradients(dense, tensors, upstream), strict=True)
            for mine, expected in pairs:
                torch.testing.assert_close(mine, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")
@pytest.mark.usefixtures("chunks")
def test_sparse_targets_are_the_dense_ones():
    tensors = layer()
    lists = [[row % C, (7 * row + 3) % C] if row % 4 else [] for row in range(N)]
    target = torch.zeros(N, C, dtype=torch.float64)
    for row, classes in enumerate(lists):
        target[row, classes] = 1
    soft = (target * torch.linspace(0.1, 1, C, dtype=torch.float64)).to_sparse_csr()
    for sparse, dense in ((lists, target), (target.to_sparse_csr(), target), (soft, soft.to_dense())):
        for reduction in ("none", "mean"):
            options = {"reduction": reduction, "label_smoothing": 0.1}
            found = ours.linear_binary_cross_entropy(*tensors[:2], sparse, linear_bias=tensors[2], **options)
            expected = ours.linear_binary_cross_entropy(*tensors[:2], dense, linear_bias=tensors[2], **options)
            upstream = torch.ones_like(found)
            for mine, theirs in zip(
                gradients(found, tensors, upstream), gradients(expected, tensors, upstream), strict=True
            ):
                torch.testing.assert_close(mine, theirs, rtol=1e-13, atol=1e-13)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")
@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        ([[0], [1]], errors.ShapeError, r"one list of class indices per row: expected 3, got 2"),
        ([[0], [5], [1]], errors.TargetError, r"Target 5 is out of bounds. Row 1 names class 5, but the 5 classes"),
        ([[0], [], [-1]], errors.TargetError, r"Row 2 names class -1"),
        (7, errors.DtypeError, r"one list of class indices per row: got int"),
        (torch.eye(3, 5).to_sparse(), errors.DtypeError, r"CSR layout.*to_sparse_csr"),
        (lambda: torch.eye(4, 5).to_sparse_csr(), errors.ShapeError, r"\(3, 5\), got \(4, 5\)"),
        (lambda: (2 * torch.eye(3, 5)).to_sparse_csr(), errors.ProbabilityError, r"values from 2 to 2"),
    ],
)
@pytest.mark.unchecked
def test_bad_sparse_targets(target, error, message):
    target = target() if callable(target) else target
    with pytest.raises(error, match=message):
        ours.linear_binary_cross_entropy(torch.ones(3, 2), torch.ones(5, 2), target)


def test_a_second_backward_gives_the_same_gradients():
    """The forward's gradients are handed out once; what the caller does to them is the caller's."""
    tensors, target = layer(), targets()["index"]
    loss = ours.linear_cross_entropy(tensors[0], tensors[1], target, linear_bias=tensors[2])
    first = torch.autograd.grad(3 * loss, tensors, retain_graph=True)
    kept = [g.clone() for g in first]
    for gradient in first:
        gradient.fill_(float("nan"))
    for mine, expected in zip(torch.autograd.grad(3 * loss, tensors), kept, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("frozen", [0, 1], ids=["features", "weight"])
def test_a_frozen_side_costs_no_product(frozen, monkeypatch):
    products, add_product = [], _chunks.Sum.add_product
    monkeypatch.setattr(_chunks.Sum, "add_product", lambda *a: products.append(a) or add_product(*a))
    target = targets()["index"].clamp(min=0)
    for frozen_too in (False, True):
        tensors = [t.detach().requires_grad_(not (frozen_too and i == frozen)) for i, t in enumerate(layer())]
        products.clear()
        ours.linear_cross_entropy(*tensors[:2], target, linear_bias=tensors[2]).backward()
        assert len(products) == 2 - frozen_too
        assert (tensors[frozen].grad is None) == frozen_too


def test_ignored_rows_do_not_reach_the_products(monkeypatch):
    rows = []
    of_rows = kernels.Layer.of_rows
    monkeypatch.setattr(kernels.Layer, "of_rows", lambda self, kept: rows.append(len(kept)) or of_rows(self, kept))
    x, w, _ = layer()
    ours.linear_cross_entropy(x, w, targets()["index"]).backward()
    assert rows == [N - 5]
    assert x.grad[::5].abs().max() == 0
    assert x.grad[1].abs().max() > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_the_dense_loss_of_the_same_layer(dtype):
    """float16 multiplies in float32 on a CPU; bfloat16 rounds its logits as the layer of PyTorch does."""
    generator = torch.Generator().manual_seed(0)
    x, w = ((torch.randn(shape, generator=generator) / 4).to(dtype) for shape in ((64, 256), (500, 256)))
    b = torch.randn(500, generator=generator).to(dtype)
    target = torch.randint(0, 500, (64,), generator=generator)
    logits = F.linear(x.float(), w.float(), b.float()) if dtype is torch.float16 else F.linear(x, w, b)
    exact = reference.cross_entropy(logits.double(), target, reduction="none")
    found = ours.linear_cross_entropy(x, w, target, linear_bias=b, reduction="none")
    assert found.dtype is dtype
    for row in range(64):
        assert reference.ulps(found[row].item(), mpmath.mpf(exact[row].item()), dtype) <= 0.51


def test_the_gradient_of_a_half_precision_weight_is_summed_in_float32(monkeypatch):
    """100 chunks of rows: a bfloat16 sum would stop growing after a few."""
    monkeypatch.setattr(_chunks, "_BUDGET", 2 * C * 2)
    monkeypatch.setattr(_chunks, "_SHARE", 1 << 40)
    monkeypatch.setattr(_chunks, "_FEW_ROWS", 1)
    generator = torch.Generator().manual_seed(0)
    x, w = (torch.randn(shape, generator=generator).bfloat16().requires_grad_() for shape in ((800, D), (C, D)))
    target = torch.randint(C, (800,), generator=generator)
    ours.linear_cross_entropy(x, w, target, reduction="sum").backward()
    exact = [t.detach().double().requires_grad_() for t in (x, w)]
    F.cross_entropy(F.linear(*exact), target, reduction="sum").backward()
    error = (w.grad.double() - exact[1].grad).abs().max() / exact[1].grad.abs().max()
    assert error < 2**-7


@pytest.mark.parametrize("backend", ["cpu", "eager"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_class_weights_come_in_any_dtype(dtype, backend):
    x, w, b = layer(torch.bfloat16)
    index, weight = targets()["index"], torch.linspace(0.25, 2, C).to(dtype)
    options = {"linear_bias": b, "backend": backend}
    for reduction in ("none", "sum", "mean"):
        found = ours.linear_cross_entropy(x, w, index, weight=weight, reduction=reduction, **options)
        expected = ours.linear_cross_entropy(x, w, index, weight=weight.double(), reduction=reduction, **options)
        assert torch.equal(found, expected)
        assert all(map(torch.equal, *(gradients(loss.sum(), (x, w, b)) for loss in (found, expected))))


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_loss_and_gradient_at_once_have_the_bits_of_one_after_the_other(dtype, monkeypatch):
    tensors, index, weight = layer(dtype), targets()["index"], torch.linspace(0.25, 2, C)
    made = []

    def at_once(*arguments):
        made.append(arguments)
        return kernels.cpu._cross_entropy._at_once(*arguments)

    for options in (
        {},
        {"reduction": "sum"},
        {"weight": weight},
        {"label_smoothing": 0.1, "weight": weight},
        {"softcap": 3.0, "temperature": 0.6},
    ):
        found = []
        for way in (at_once, None):
            monkeypatch.setattr(
                kernels.cpu, "cross_entropy_rows", kernels.cpu._cross_entropy.cross_entropy_rows._replace(at_once=way)
            )
            loss = ours.linear_cross_entropy(*tensors[:2], index, linear_bias=tensors[2], backend="cpu", **options)
            found.append(gradients(loss, tensors, torch.full_like(loss, 0.5)))
        assert all(map(torch.equal, *found))
    if dtype is torch.float64:  # whose rows are what `chunks` was made for
        assert bool(made) == (kernels._chunks.plan(N, C, 8)[1] == C)


@pytest.mark.unchecked
@pytest.mark.parametrize(
    ("x", "w", "message"),
    [
        (torch.ones(2, 3), torch.ones(5, 3).bfloat16(), r"input and linear_weight to have the same dtype"),
        (torch.ones(2, 3), torch.ones(5, 4), r"equal input and linear_weight last dimensions"),
    ],
)
def test_bad_layers(x, w, message):
    with pytest.raises(errors.LastLayerError, match=message):
        ours.linear_cross_entropy(x, w, torch.tensor([0, 1]))


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_logits_are_never_held():
    """1,024 rows × 50,000 classes are 205 MB of logits, twice that with their gradient; 64 MiB are held."""
    program = """
        import resource, torch; torch.set_num_threads(1)
        from lastlayer import functional as ours
        torch.manual_seed(0)
        x, w = torch.randn(1024, 8, requires_grad=True), torch.randn(50_000, 8, requires_grad=True)
        target = torch.randint(50_000, (1024,))
        ours.linear_cross_entropy(x[:2], w, target[:2]).backward()  # what is loaded once
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        ours.linear_cross_entropy(x, w, target).backward()
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    assert float(run.stdout) < 150


# K-dimensional predictions: (rows, features) with a weight (classes, d1, d2, features)

POSITIONS = {"one chunk": 1 << 30, "positions": 5 * 23 * 4 * 8, "rows of a position": 5 * 4 * 8}


@pytest.mark.parametrize("budget", POSITIONS.values(), ids=POSITIONS)
@pytest.mark.parametrize("soft", [False, True], ids=["index", "probabilities"])
def test_positions_are_the_dense_loss_of_their_logits(soft, budget, monkeypatch):
    monkeypatch.setattr(_chunks, "_BUDGET", budget)
    monkeypatch.setattr(_chunks, "_SHARE", 1 << 40)
    rows, positions = _chunks.plan_of_positions(23, 6, 4, 8)
    assert (rows < 23, positions < 6) == (budget == POSITIONS["rows of a position"], budget < 1 << 30)
    generator = torch.Generator().manual_seed(7)
    x, w, b = (
        torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for shape in ((23, 5), (4, 2, 3, 5), (4, 2, 3))
    )
    target = torch.randint(4, (23, 2, 3), generator=generator)
    target[::4, 1] = -100
    if soft:
        target = torch.rand(23, 4, 2, 3, generator=generator, dtype=torch.float64)
    factor = torch.tensor([0.5, 2.0, 1.0, 0.0], dtype=torch.float64)
    for reduction, weight, more in itertools.product(
        ("mean", "sum", "none"), (None, factor), ({}, {"label_smoothing": 0.1, "z_loss": 0.3, "softcap": 4.0})
    ):
        options = {"weight": weight, "reduction": reduction, "return_lse": True, **more}
        found, lse = ours.linear_cross_entropy(x, w, target, linear_bias=b, **options)
        dense, dense_lse = ours.cross_entropy(torch.einsum("nf,cijf->ncij", x, w) + b, target, **options)
        torch.testing.assert_close(lse, dense_lse, rtol=1e-12, atol=1e-12)
        assert_same_gradients(found.sum() + (lse**2).sum(), dense.sum() + (dense_lse**2).sum(), (x, w, b))
        alone = ours.linear_cross_entropy(x, w, target, linear_bias=b, **{**options, "return_lse": False})
        dense = ours.cross_entropy(torch.einsum("nf,cijf->ncij", x, w) + b, target, **{**options, "return_lse": False})
        torch.testing.assert_close(alone, dense, rtol=1e-12, atol=1e-12)
        assert_same_gradients(alone, dense, (x, w, b))


def assert_same_gradients(found, dense, tensors):
    upstream = torch.rand(found.shape, dtype=torch.float64)
    for one, other in zip(gradients(found, tensors, upstream), gradients(dense, tensors, upstream), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)


def test_positions_hold_one_chunk_of_logits(monkeypatch):
    """The largest matrix that a product makes."""
    monkeypatch.setattr(_chunks, "_BUDGET", 64 * 50 * 4)
    monkeypatch.setattr(_chunks, "_SHARE", 1 << 40)
    made = []
    mm = torch.mm
    monkeypatch.setattr(torch, "mm", lambda *a, **k: made.append(k["out"].numel()) or mm(*a, **k))
    x, w = torch.randn(64, 8, requires_grad=True), torch.randn(50, 30, 8, requires_grad=True)
    ours.linear_cross_entropy(x, w, torch.randint(50, (64, 30))).backward()
    assert made == [64 * 50] * 30
    assert w.grad.abs().max() > 0
