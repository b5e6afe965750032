"""Units in the last place against 240-bit arithmetic, on rows that lose digits elsewhere."""

import mpmath
import pytest
import torch

from lastlayer import functional
from tests import reference

WIDTH = {torch.float32: 3.0, torch.float64: 3.0, torch.bfloat16: 0.51, torch.float16: 0.51}
ROWS = {
    "easy": ([0.1, -0.2, 0.3, 1.7, -2.5], 3),
    "confident": ([80.0, 0.0, -3.0], 0),
    "near the smallest number": ([86.0, 0.0, -3.0], 0),
    "hopeless": ([-3.0, 0.0, 60.0], 0),
    "tie": ([2.0, 2.0, 2.0], 1),
    "offset": ([1e4, 1e4 - 40.0, 0.0], 0),
    "opposite signs": ([16.3, -15.9, -15.7], 0),
    "opposite signs, wrong": ([16.3, -15.9, -15.7], 1),
}


@pytest.mark.parametrize("dtype", WIDTH, ids=str)
@pytest.mark.parametrize(("row", "y"), ROWS.values(), ids=ROWS)
def test_cross_entropy(row, y, dtype):
    z = torch.tensor([row], dtype=dtype, requires_grad=True)
    loss = functional.cross_entropy(z, torch.tensor([y]), backend="cpu")
    loss.backward()
    exactly = z.detach()[0].tolist()
    assert reference.ulps(loss.item(), reference.exact_cross_entropy(exactly, y), dtype) <= WIDTH[dtype]
    for j in range(len(row)):
        bound = WIDTH[dtype] if WIDTH[dtype] < 1 else 4 if j == y else 8
        found = z.grad[0, j].item()
        assert reference.ulps(found, reference.exact_gradient(exactly, y, j), dtype) <= bound


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("classes", [1000, 100_000])
def test_wide_rows(classes, dtype):
    z = torch.randn(1, classes, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype) * 3
    z[0, 5] = 25.0
    leaf = z.requires_grad_()
    for y in (5, 11):
        leaf.grad = None
        loss = functional.cross_entropy(leaf, torch.tensor([y]), backend="cpu")
        loss.backward()
        terms = [mpmath.exp(mpmath.mpf(v)) for v in z.detach()[0].tolist()]
        total = mpmath.fsum(terms)
        assert reference.ulps(loss.item(), mpmath.log(total) - mpmath.mpf(z[0, y].item()), dtype) <= 4
        own = -(total - terms[y]) / total
        assert reference.ulps(leaf.grad[0, y].item(), own, dtype) <= 4
        for j in (0, 1, 500, 999):
            assert reference.ulps(leaf.grad[0, j].item(), terms[j] / total, dtype) <= 8


@pytest.mark.parametrize("dtype", WIDTH, ids=str)
@pytest.mark.parametrize("x", [-86.0, -15.25, -1.0, -1e-3, 0.0, 0.3, 15.25, 80.0])
def test_binary_cross_entropy_and_sigmoid(x, dtype):
    exactly = torch.tensor(x, dtype=dtype).item()
    for y, exact, slope in (
        (0.0, reference.exact_softplus(exactly), reference.exact_sigmoid(exactly)),
        (1.0, reference.exact_softplus(-exactly), -reference.exact_sigmoid(-exactly)),
    ):
        logit = torch.tensor([exactly], dtype=dtype, requires_grad=True)
        loss = functional.binary_cross_entropy_with_logits(logit, torch.tensor([y], dtype=dtype), backend="cpu")
        loss.backward()
        assert reference.ulps(loss.item(), exact, dtype) <= WIDTH[dtype]
        assert reference.ulps(logit.grad.item(), slope, dtype) <= WIDTH[dtype]
    found = functional.sigmoid(torch.tensor([exactly], dtype=dtype), backend="cpu").item()
    assert reference.ulps(found, reference.exact_sigmoid(exactly), dtype) <= WIDTH[dtype]


@pytest.mark.parametrize("dtype", WIDTH, ids=str)
@pytest.mark.parametrize("p", [1e-30, 1e-3, 0.25, 0.4999, 0.5000001, 0.51, 0.6, 0.75, 0.999])
def test_logit(p, dtype):
    value = torch.tensor([p], dtype=dtype)
    limits = {0.0: -float("inf"), 0.5: 0.0, 1.0: float("inf")}  # what p may have rounded to
    if value.item() in limits:
        assert functional.logit(value, backend="cpu").item() == limits[value.item()]
        return
    found = functional.logit(value, backend="cpu").item()
    assert reference.ulps(found, reference.exact_logit(value.item()), dtype) <= WIDTH[dtype]


@pytest.mark.parametrize("dtype", WIDTH, ids=str)
@pytest.mark.parametrize("row", [row for row, _ in ROWS.values()], ids=ROWS)
def test_log_softmax_and_softmax(row, dtype):
    z = torch.tensor(row, dtype=dtype)
    exactly = z.tolist()
    logs, probabilities = functional.log_softmax(z, 0, backend="cpu"), functional.softmax(z, 0, backend="cpu")
    for j in range(len(row)):
        loss = reference.exact_cross_entropy(exactly, j)
        assert reference.ulps(logs[j].item(), -loss, dtype) <= WIDTH[dtype]
        assert reference.ulps(probabilities[j].item(), mpmath.exp(-loss), dtype) <= WIDTH[dtype]
