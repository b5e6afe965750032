"""Every edge, as docs/decisions/008 decides it, on every backend: one row of a table per edge."""

import math
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from lastlayer import functional as ours
from tests.functional.judging import EACH_BACKEND, device, naming, served_dtype

INF, NAN = math.inf, math.nan


class Edge(NamedTuple):
    """One row of input, its target, and what comes back without a reduction."""

    row: list[float]
    target: Any  # a class index, or probabilities
    loss: float
    gradient: list[float]  # of the loss, in the row
    options: dict[str, Any] = {}  # noqa: RUF012 - a default that nothing changes


E1, LOG2 = math.exp(1), math.log(2)
P0, P2 = E1 / (E1 + 1), 1 / (E1 + 1)  # softmax of (1, −inf, 0)
NO_SECOND = {"weight": [1.0, 0.0, 1.0]}
ALL_NAN = [NAN, NAN, NAN]

MULTICLASS = {
    # an ignored row counts for nothing, whatever it holds
    "ignored": Edge([1.0, 2.0, 0.0], -100, 0.0, [0, 0, 0]),
    "ignored NaN": Edge([1.0, NAN, 0.0], -100, 0.0, [0, 0, 0]),
    "ignored inf": Edge([INF, -INF, 0.0], -100, 0.0, [0, 0, 0]),
    "ignored, every option": Edge(
        [NAN, INF, -INF],
        1,
        0.0,
        [0, 0, 0],
        {"ignore_index": 1, "z_loss": 0.5, "label_smoothing": 0.1, "softcap": 2.0, "temperature": 0.5, **NO_SECOND},
    ),
    # NaN is never hidden
    "NaN": Edge([1.0, NAN, 0.0], 0, NAN, ALL_NAN),
    "NaN at the target": Edge([NAN, 1.0, 0.0], 0, NAN, ALL_NAN),
    "NaN among probabilities": Edge([1.0, 2.0, 0.0], [NAN, 0.5, 0.5], NAN, ALL_NAN),
    # +inf: an overflow, not a distribution
    "+inf at the target": Edge([INF, 0.0, 0.0], 0, NAN, ALL_NAN),
    "+inf elsewhere": Edge([INF, 0.0, 0.0], 1, NAN, ALL_NAN),
    "+inf twice": Edge([INF, INF, 0.0], 2, NAN, ALL_NAN),
    "+inf with probabilities": Edge([INF, 0.0, 0.0], [1.0, 0.0, 0.0], NAN, ALL_NAN),
    # −inf rules a class out
    "-inf elsewhere": Edge([1.0, -INF, 0.0], 0, -math.log(P0), [P0 - 1, 0, P2]),
    "-inf at the target": Edge([1.0, -INF, 0.0], 1, INF, [P0, -1, P2]),
    "-inf has no share": Edge([1.0, -INF, 0.0], [1.0, 0.0, 0.0], -math.log(P0), [P0 - 1, 0, P2]),
    "-inf has a share": Edge([1.0, -INF, 0.0], [0.5, 0.5, 0.0], INF, [P0 - 0.5, -0.5, P2]),
    "-inf smoothed": Edge([1.0, -INF, 0.0], 0, INF, [P0 - 0.8, -0.1, P2 - 0.1], {"label_smoothing": 0.3}),
    "-inf at a target of weight 0": Edge([1.0, -INF, 0.0], 1, 0.0, [0, 0, 0], NO_SECOND),
    "-inf smoothed with weight 0": Edge(
        [1.0, -INF, 0.0],
        0,
        -0.8 * math.log(P0) - 0.1 * math.log(P2),
        [0.9 * P0 - 0.8, 0.0, 0.9 * P2 - 0.1],
        {"label_smoothing": 0.3, **NO_SECOND},
    ),
    "-inf has a share of weight 0": Edge(
        [1.0, -INF, 0.0], [0.5, 0.5, 0.0], -0.5 * math.log(P0), [0.5 * P0 - 0.5, 0, 0.5 * P2], NO_SECOND
    ),
    "-inf everywhere": Edge([-INF, -INF, -INF], 1, NAN, ALL_NAN),
    "-inf softcapped": Edge([0.0, -INF, 0.0], 1, math.log(1 + 2 * E1), [E1 / (1 + 2 * E1), 0, E1 / (1 + 2 * E1)],
                            {"softcap": 1.0}),
    # one class
    "one class": Edge([3.0], 0, 0.0, [0.0]),
    "one class, probabilities": Edge([3.0], [1.0], 0.0, [0.0]),
    "one class, smoothed": Edge([-5.0], 0, 0.0, [0.0], {"label_smoothing": 0.5}),
    "one class of NaN": Edge([NAN], 0, NAN, [NAN]),
    "one class of +inf": Edge([INF], 0, NAN, [NAN]),
    "one class of -inf": Edge([-INF], 0, NAN, [NAN]),
    # far apart, and nothing at all
    "far apart": Edge([1e30, -1e30, 0.0], 1, 2e30, [1, -1, 0]),
    "no share at all": Edge([1.0, 2.0, 0.0], [0.0, 0.0, 0.0], 0.0, [0, 0, 0]),
    "no weight at all": Edge([1.0, 2.0, 0.0], 1, 0.0, [0, 0, 0], {"weight": [0.0, 0.0, 0.0]}),
    "smoothed completely": Edge(
        [0.0, 0.0, LOG2], 2, math.log(4) - LOG2 / 3, [0.25 - 1 / 3, 0.25 - 1 / 3, 0.5 - 1 / 3], {"label_smoothing": 1.0}
    ),
}  # fmt: skip

# x, y, loss, slope
BINARY = {
    "inf, right": Edge([INF], [1.0], 0.0, [0.0]),
    "-inf, right": Edge([-INF], [0.0], 0.0, [0.0]),
    "inf, wrong": Edge([INF], [0.0], INF, [1.0]),
    "-inf, wrong": Edge([-INF], [1.0], INF, [-1.0]),
    "inf, in doubt": Edge([INF], [0.5], INF, [0.5]),
    "-inf, in doubt": Edge([-INF], [0.25], INF, [-0.25]),
    "inf, smoothed": Edge([INF], [1.0], INF, [0.05], {"label_smoothing": 0.1}),
    "inf, weighted": Edge([INF], [0.0], INF, [2.0], {"weight": [2.0], "pos_weight": [3.0]}),
    "-inf, weighted": Edge([-INF], [1.0], INF, [-6.0], {"weight": [2.0], "pos_weight": [3.0]}),
    "inf, weight 0": Edge([INF], [0.0], 0.0, [0.0], {"weight": [0.0]}),
    "-inf, pos_weight 0": Edge([-INF], [1.0], 0.0, [0.0], {"pos_weight": [0.0]}),
    "NaN": Edge([NAN], [1.0], NAN, [NAN]),
    "NaN target": Edge([0.0], [NAN], NAN, [NAN]),
    "zero": Edge([0.0], [1.0], LOG2, [-0.5]),
    "minus zero": Edge([-0.0], [0.0], LOG2, [0.5]),
    "focal, inf, right": Edge([INF], [1.0], 0.0, [0.0], {"focal_gamma": 2.0}),
    "focal, inf, wrong": Edge([INF], [0.0], INF, [1.0], {"focal_gamma": 2.0}),
    "focal, -inf, wrong": Edge([-INF], [1.0], INF, [-1.0], {"focal_gamma": 2.0}),
    "focal, far and right": Edge([2e4], [1.0], 0.0, [0.0], {"focal_gamma": 2.0}),
    "focal, far and wrong": Edge([2e4], [0.0], 2e4, [1.0], {"focal_gamma": 2.0}),
    "flat focal, inf, right": Edge([-INF], [0.0], 0.0, [0.0], {"focal_gamma": 0.5}),
    "flat focal, far and right": Edge([2e4], [1.0], 0.0, [0.0], {"focal_gamma": 0.5}),
    "flat focal, -far and right": Edge([-2e4], [0.0], 0.0, [0.0], {"focal_gamma": 0.5}),
}


def tensors(edge: Edge, dtype: torch.dtype, place: str) -> tuple[Tensor, Tensor, dict[str, Any]]:
    target = torch.tensor(edge.target, device=place)
    options = {
        key: torch.tensor(value, dtype=dtype, device=place) if isinstance(value, list) else value
        for key, value in edge.options.items()
    }
    target = target.to(dtype) if target.is_floating_point() else target
    return torch.tensor(edge.row, dtype=dtype, device=place), target, options


def assert_edge(function, edge, backend, dtype, batched=False):
    row, target, options = tensors(edge, dtype, device(backend))
    if batched:  # between two ordinary rows, which must not notice
        calm = torch.linspace(0, 1, len(edge.row), dtype=dtype, device=row.device)
        calm_target = (
            torch.ones_like(target) / len(edge.row) if target.is_floating_point() else torch.zeros_like(target)
        )
        alone = function(calm, calm_target, reduction="none", **options, backend=backend)
        row, target = torch.stack([calm, row, calm]), torch.stack([calm_target, target, calm_target])
    leaf = row.requires_grad_()
    loss = function(leaf, target, reduction="none", **options, backend=backend)
    loss.sum().backward()
    loss, gradient = loss.detach(), leaf.grad
    if batched:
        torch.testing.assert_close(loss[0], alone)
        torch.testing.assert_close(loss[2], alone)
        assert gradient[[0, 2]].isfinite().all()
        loss, gradient = loss[1], gradient[1]
    tolerance = {"rtol": 1e-6, "atol": 1e-6, "equal_nan": True, "check_dtype": False}
    assert loss.numel() == 1
    torch.testing.assert_close(loss.cpu().reshape(()), torch.tensor(edge.loss, dtype=dtype), **tolerance)
    torch.testing.assert_close(gradient.cpu(), torch.tensor(edge.gradient, dtype=dtype), **tolerance)


DTYPES = [torch.float64, torch.float32]


@EACH_BACKEND
@pytest.mark.parametrize("edge", MULTICLASS.values(), ids=MULTICLASS)
def test_cross_entropy_of_a_row(edge, backend):
    widest = served_dtype(backend, "cross_entropy")
    for dtype in DTYPES[DTYPES.index(widest) :]:
        for batched in (False, True):
            with naming((dtype, "batched" if batched else "alone")):
                assert_edge(ours.cross_entropy, edge, backend, dtype, batched)


@pytest.mark.parametrize("edge", MULTICLASS.values(), ids=MULTICLASS)
def test_cross_entropy_of_a_row_where_it_is_transformed(edge):
    """The formula that torch.func and torch.compile see decides every edge as the kernel does."""
    row, target, options = tensors(edge, torch.float64, "cpu")

    def loss_of(z):
        return ours.cross_entropy(z, target, reduction="none", **options)

    loss, pullback = torch.func.vjp(loss_of, row)
    expected = torch.tensor(edge.loss, dtype=torch.float64)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12, equal_nan=True)
    (gradient,) = pullback(torch.ones_like(loss))
    expected = torch.tensor(edge.gradient, dtype=torch.float64)
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-12, equal_nan=True)


@EACH_BACKEND
@pytest.mark.parametrize("edge", BINARY.values(), ids=BINARY)
def test_binary_cross_entropy_of_a_logit(edge, backend):
    widest = served_dtype(backend, "binary_cross_entropy_with_logits")
    for dtype in [*DTYPES[DTYPES.index(widest) :], torch.bfloat16, torch.float16]:
        if any(torch.isinf(torch.tensor(x, dtype=dtype)) and not math.isinf(x) for x in edge.row):
            continue
        with naming(dtype):
            row, target, options = tensors(edge, dtype, device(backend))
            loss = ours.binary_cross_entropy_with_logits(
                row.requires_grad_(), target, reduction="none", **options, backend=backend
            )
            loss.sum().backward()
            tolerance = {"rtol": 8e-3, "atol": 1e-3, "equal_nan": True} if dtype.itemsize == 2 else {"equal_nan": True}
            torch.testing.assert_close(loss.detach().cpu(), torch.tensor([edge.loss]).to(dtype), **tolerance)
            torch.testing.assert_close(row.grad.cpu(), torch.tensor(edge.gradient).to(dtype), **tolerance)


# Reductions over nothing


@EACH_BACKEND
@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss", "linear_cross_entropy"])
def test_every_row_ignored_or_no_row_at_all(name, backend):
    dtype, place = served_dtype(backend, name), device(backend)
    function = getattr(ours, name)
    for rows in (0, 3):
        for empty, mean in (("nan", NAN), ("zero", 0.0)):
            for reduction, expected in (("mean", mean), ("sum", 0.0)):
                for weight in (None, torch.tensor([1.0, 2.0, 0.5], dtype=dtype, device=place)):
                    z = torch.randn(rows, 3, dtype=dtype, device=place).requires_grad_()
                    matrix = (torch.eye(3, dtype=dtype, device=place).requires_grad_(),) if "linear" in name else ()
                    y = torch.full((rows,), -100, device=place)
                    with naming((rows, empty, reduction, weight)):
                        options = {"weight": weight, "reduction": reduction, "empty": empty}
                        loss = function(z, *matrix, y, **options, backend=backend)
                        torch.testing.assert_close(
                            loss.cpu(), torch.tensor(expected, dtype=dtype), equal_nan=True, check_dtype=False
                        )
                        loss.backward()
                        for leaf in (z, *matrix):
                            assert (leaf.grad == 0).all()
        none = function(z, *matrix, y, reduction="none", backend=backend)
        assert none.shape == (rows,)
        assert (none == 0).all()


@EACH_BACKEND
def test_a_mean_over_no_weight(backend):
    """All weights used are 0: 0 / 0 as in PyTorch, or 0 where it is asked for."""
    dtype, place = served_dtype(backend, "cross_entropy"), device(backend)
    z, y = torch.zeros(2, 3, dtype=dtype, device=place), torch.tensor([0, 0], device=place)
    weight = torch.tensor([0.0, 1.0, 1.0], dtype=dtype, device=place)
    assert ours.cross_entropy(z, y, weight, backend=backend).isnan()
    assert ours.cross_entropy(z, y, weight, empty="zero", backend=backend) == 0


@EACH_BACKEND
@pytest.mark.parametrize("name", ["binary_cross_entropy_with_logits", "binary_cross_entropy"])
def test_no_elements_of_a_binary_loss(name, backend):
    dtype, place = served_dtype(backend, name), device(backend)
    for shape in ((0,), (0, 3), (3, 0)):
        x, y = (torch.zeros(shape, dtype=dtype, device=place) for _ in range(2))
        for reduction, expected in (("mean", NAN), ("sum", 0.0)):
            leaf = x.clone().requires_grad_()
            loss = getattr(ours, name)(leaf, y, reduction=reduction, backend=backend)
            torch.testing.assert_close(loss.cpu(), torch.tensor(expected, dtype=dtype), equal_nan=True)
            loss.backward()
            assert leaf.grad.shape == shape
        assert getattr(ours, name)(x, y, reduction="none", backend=backend).shape == shape


# Indices that name no class


@EACH_BACKEND
@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss", "linear_cross_entropy"])
@pytest.mark.parametrize("value", [3, -1, -99, 2**40, -(2**40)])
def test_an_index_that_names_no_class(name, value, backend):
    dtype, place = served_dtype(backend, name), device(backend)
    z = torch.randn(4, 3, dtype=dtype, device=place)
    matrix = (torch.eye(3, dtype=dtype, device=place),) if "linear" in name else ()
    y = torch.tensor([0, 1, value, 2], device=place)
    with pytest.raises(IndexError, match=rf"Target {value} is out of bounds\. Row 2 .*class {value}"):
        getattr(ours, name)(z, *matrix, y, check=True, backend=backend)
    leaf = z.requires_grad_()
    loss = getattr(ours, name)(leaf, *matrix, y, reduction="none", check=False, backend=backend)
    loss.sum().backward()
    assert loss.isnan().tolist() == [False, False, True, False]
    assert leaf.grad.isfinite().all(1).tolist() == [True, True, False, True]
    assert getattr(ours, name)(z, *matrix, y, check=False, backend=backend).isnan()


# Smallest numbers


@EACH_BACKEND
@pytest.mark.parametrize("gap", [88.0, 95.0, 102.0])
def test_a_loss_below_the_smallest_normal_number_is_not_flushed(gap, backend):
    served_dtype(backend, "cross_entropy")
    z = torch.tensor([[gap, 0.0]], device=device(backend)).requires_grad_()
    loss = ours.cross_entropy(z, torch.tensor([0], device=z.device), backend=backend)
    loss.backward()
    exact, step = math.exp(-gap), 2.0**-149
    assert loss.item() == pytest.approx(exact, rel=1e-6, abs=step)
    assert loss.item() > 0
    assert z.grad[0, 0].item() == pytest.approx(-exact, rel=1e-6, abs=step)
    assert z.grad[0, 1].item() == pytest.approx(exact, rel=1e-6, abs=step)
    x = torch.tensor([gap, -gap], device=z.device).requires_grad_()
    y = torch.tensor([1.0, 0.0], device=z.device)
    binary = ours.binary_cross_entropy_with_logits(x, y, reduction="none", backend=backend)
    binary.sum().backward()
    assert binary.tolist() == pytest.approx([exact, exact], rel=1e-6, abs=step)
    assert x.grad.tolist() == pytest.approx([-exact, exact], rel=1e-6, abs=step)


@EACH_BACKEND
def test_subnormal_logits_are_logits(backend):
    served_dtype(backend, "cross_entropy")
    z = torch.tensor([[1e-40, -1e-40, 0.0]], device=device(backend))
    loss = ours.cross_entropy(z, torch.tensor([0], device=z.device), backend=backend)
    assert loss.item() == pytest.approx(math.log(3), rel=1e-7)
    assert ours.softplus(torch.tensor(1e-40)).item() == pytest.approx(LOG2, rel=1e-7)
    assert ours.sigmoid(torch.tensor(-100.0)).item() == pytest.approx(math.exp(-100), rel=0.05)


# Functions: x → value, slope

FUNCTIONS = {
    "sigmoid": {INF: (1, 0), -INF: (0, 0), 0.0: (0.5, 0.25), NAN: (NAN, NAN)},
    "logsigmoid": {INF: (0, 0), -INF: (-INF, 1), 0.0: (-LOG2, 0.5), NAN: (NAN, NAN)},
    "softplus": {INF: (INF, 1), -INF: (0, 0), 0.0: (LOG2, 0.5), NAN: (NAN, NAN)},
    "logit": {0.0: (-INF, INF), 1.0: (INF, INF), 0.5: (0, 4), -0.1: (NAN, NAN), 1.1: (NAN, NAN), NAN: (NAN, NAN)},
    "surprisal": {0.0: (INF, -INF), 1.0: (0, -1), NAN: (NAN, NAN)},
}


@EACH_BACKEND
@pytest.mark.parametrize("name", FUNCTIONS)
def test_elementwise_functions_at_their_ends(name, backend):
    widest, place = served_dtype(backend, name), device(backend)
    for dtype in [*DTYPES[DTYPES.index(widest) :], torch.bfloat16, torch.float16]:
        x = torch.tensor(list(FUNCTIONS[name]), dtype=dtype, device=place).requires_grad_()
        result = getattr(ours, name)(x, backend=backend)
        result.sum().backward()
        for found, place_in_pair in ((result.detach(), 0), (x.grad, 1)):
            expected = torch.tensor([pair[place_in_pair] for pair in FUNCTIONS[name].values()], dtype=dtype)
            with naming((dtype, "slope" if place_in_pair else "value")):
                torch.testing.assert_close(found.cpu(), expected, equal_nan=True)


# softmax, log_softmax, logsumexp, entropy
ROWS = {
    "ruled out": ([0.0, -INF, 0.0], [0.5, 0, 0.5], [-LOG2, -INF, -LOG2], LOG2, LOG2),
    "-inf everywhere": ([-INF, -INF], [NAN, NAN], [NAN, NAN], -INF, NAN),
    "+inf": ([INF, 0.0, 0.0], ALL_NAN, ALL_NAN, INF, NAN),
    "+inf twice": ([INF, INF, 0.0], ALL_NAN, ALL_NAN, INF, NAN),
    "both": ([INF, -INF, 0.0], ALL_NAN, ALL_NAN, INF, NAN),
    "NaN": ([NAN, 0.0, 0.0], ALL_NAN, ALL_NAN, NAN, NAN),
    "one": ([3.0], [1.0], [0.0], 3.0, 0.0),
    "far apart": ([1e30, -1e30], [1.0, 0.0], [0.0, -2e30], 1e30, 0.0),
}


@EACH_BACKEND
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp", "entropy"])
def test_rows_at_their_ends(name, backend):
    dtype, place = served_dtype(backend, name), device(backend)
    position = ["softmax", "log_softmax", "logsumexp", "entropy"].index(name)
    for edge, (row, *expected) in ROWS.items():
        found = getattr(ours, name)(torch.tensor(row, dtype=dtype, device=place), 0, backend=backend)
        with naming(edge):
            torch.testing.assert_close(found.cpu(), torch.tensor(expected[position], dtype=dtype), equal_nan=True)


@EACH_BACKEND
def test_divergences_at_their_ends(backend):
    dtype, place = served_dtype(backend, "kl_divergence"), device(backend)

    def kl(p, q):
        p, q = (torch.tensor(z, dtype=dtype, device=place) for z in (p, q))
        return ours.kl_divergence(p, q, backend=backend).item()

    assert kl([0.0, -INF, 0.0], [0.0, 0.0, 0.0]) == pytest.approx(math.log(1.5))
    assert kl([0.0, 0.0, 0.0], [0.0, -INF, 0.0]) == INF
    assert kl([0.0, -INF, 0.0], [0.0, -INF, 0.0]) == 0
    assert kl([3.0], [-5.0]) == 0
    for bad in ([NAN, 0.0], [INF, 0.0], [-INF, -INF]):
        assert math.isnan(kl(bad, [0.0, 0.0]))
        assert math.isnan(kl([0.0, 0.0], bad))


@EACH_BACKEND
def test_kl_div_adds_nothing_where_nothing_is_drawn(backend):
    dtype, place = served_dtype(backend, "kl_div"), device(backend)
    log_q = torch.tensor([-INF, -1.0, NAN, -INF], dtype=dtype, device=place)
    target = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=dtype, device=place)
    expected = torch.tensor([0.0, 0.0, NAN, INF], dtype=dtype)
    for given, log_target in ((target, False), (target.log(), True)):
        with naming({"log_target": log_target}):
            found = ours.kl_div(log_q, given, reduction="none", log_target=log_target, backend=backend)
            torch.testing.assert_close(found.cpu(), expected, equal_nan=True)


@EACH_BACKEND
def test_binary_cross_entropy_of_certain_probabilities(backend):
    """As in PyTorch a logarithm is at least −100; what is certain and right keeps the slope of −log p."""
    dtype, place = served_dtype(backend, "binary_cross_entropy"), device(backend)
    p = torch.tensor([0.0, 1.0, 0.0, 1.0], dtype=dtype, device=place)
    y = torch.tensor([1.0, 0.0, 0.0, 1.0], dtype=dtype, device=place)
    for gamma in (0.0, 0.5, 2.0):
        leaf = p.clone().requires_grad_()
        loss = ours.binary_cross_entropy(leaf, y, reduction="none", focal_gamma=gamma, backend=backend)
        loss.sum().backward()
        with naming(gamma):
            assert loss.tolist() == [100.0, 100.0, 0.0, 0.0]
            assert leaf.grad[2:].tolist() == ([0.0, 0.0] if gamma else [1.0, -1.0])
            assert leaf.grad[0] < 0 < leaf.grad[1]
