"""Softmax and its relatives."""

import mpmath
import pytest
import torch
from torch.nn import functional as F

from lastlayer import functional as ours
from tests import reference
from tests.functional.judging import EACH_BACKEND, FLOATS, device, gradients, served_dtype

PAIRS = [
    (ours.softmax, torch.softmax),
    (ours.log_softmax, torch.log_softmax),
    (ours.softmin, lambda z, dim: torch.softmax(-z, dim)),
    (ours.logsumexp, torch.logsumexp),
]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize(("function", "plain"), PAIRS, ids=lambda f: getattr(f, "__name__", "softmin"))
def test_values_and_gradients_match_float64(function, plain, dim, dtype):
    z = (torch.randn(4, 5, 3) * 4).to(dtype).requires_grad_()
    exact_at = z.detach().double().requires_grad_()
    found, exact = function(z, dim), plain(exact_at, dim)
    assert found.dtype is dtype
    # float64 is judged by itself here, to the digits that PyTorch keeps; the tests of digits below judge it by mpmath
    slack = 1e-15 if dtype is torch.float64 else 0
    torch.testing.assert_close(found, exact.to(dtype), rtol=2 * torch.finfo(dtype).eps, atol=slack)
    upstream = torch.randn_like(found)
    found.backward(upstream)
    exact.backward(upstream.double())
    torch.testing.assert_close(z.grad.double(), exact_at.grad, rtol=1e-2, atol=8 * torch.finfo(dtype).eps)


@pytest.mark.parametrize(("function", "plain"), PAIRS[:3], ids=lambda f: getattr(f, "__name__", "softmin"))
def test_temperature_divides_the_logits(function, plain):
    z = torch.randn(3, 4, dtype=torch.float64)
    torch.testing.assert_close(function(z, 1, temperature=0.3), plain(z / 0.3, 1))
    torch.testing.assert_close(ours.logsumexp(z, 1, temperature=0.3), torch.logsumexp(z / 0.3, 1))


def test_log_softmax_keeps_the_digits_of_a_dominant_class():
    """PyTorch says 0 from a gap of 17 on (float32)."""
    z = torch.tensor([60.0, 0.0, 1.0])
    exact = -mpmath.log1p(mpmath.exp(-60) + mpmath.exp(-59))
    assert reference.ulps(ours.log_softmax(z, 0)[0].item(), exact, torch.float32) <= 1
    assert torch.log_softmax(z, 0)[0] == 0


def test_log_softmax_where_log_of_softmax_is_infinite():
    z = torch.tensor([110.0, 0.0])
    assert ours.log_softmax(z, 0)[1] == -110
    assert ours.softmax(z, 0).log()[1] == -float("inf")


def test_published_numbers():
    """Rows 13 to 15, 18, 20 and 23 of the concepts."""
    for logits, expected in [
        ([-0.2135, -0.0248, 3.985, -4.235, -0.1831], [0.0143, 0.0173, 0.9534, 0.0003, 0.0148]),
        ([0.02, -2.49, 1.25], [0.2221, 0.0180, 0.7599]),
        ([-0.3, 0.3], [0.3543, 0.6457]),
        ([5.0, 4.0, 2.0], [0.7054, 0.2595, 0.0351]),
    ]:
        torch.testing.assert_close(ours.softmax(torch.tensor(logits), 0), torch.tensor(expected), atol=1e-4, rtol=0)
    base_two = ours.softmax(torch.tensor([4.0, 2.0, -2.0]) * torch.log(torch.tensor(2.0)), 0)
    torch.testing.assert_close(base_two, torch.tensor([0.7901, 0.1975, 0.0123]), atol=1e-4, rtol=0)


@EACH_BACKEND
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_nothing_is_more_probable_than_certain(dtype, backend):
    served_dtype(backend, "softmax")
    z = 30 * torch.randn(300, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z = torch.cat([z, 5 * z]).to(dtype).to(device(backend))
    p, log_p = ours.softmax(z, 1, backend=backend), ours.log_softmax(z, 1, backend=backend)
    assert p.max() == 1
    assert log_p.max() <= 0
    assert ours.entropy(p.double()).min() >= 0


def test_a_wide_row_sums_to_one():
    z = torch.randn(1, 200_000) * 5
    assert ours.softmax(z, 1).double().sum().item() == pytest.approx(1, abs=1e-6)


def test_edges():
    inf = float("inf")
    assert ours.softmax(torch.full((2,), -inf), 0).isnan().all()
    assert ours.softmax(torch.tensor([0.0, -inf]), 0).tolist() == [1.0, 0.0]
    assert ours.log_softmax(torch.tensor([0.0, -inf]), 0).tolist() == [0.0, -inf]
    assert ours.logsumexp(torch.zeros(0, 3), 0).tolist() == [-inf] * 3
    assert ours.softmax(torch.zeros(2, 0), 1).shape == (2, 0)
    assert ours.log_softmax(torch.zeros(2, 0), 1).shape == (2, 0)
    assert ours.softmax(torch.tensor(5.0), 0) == 1
    assert ours.log_softmax(torch.tensor(5.0), 0) == 0


def test_integers_need_a_dtype_as_in_pytorch():
    z = torch.tensor([1, 2])
    torch.testing.assert_close(ours.softmax(z, 0, torch.float32), torch.softmax(z, 0, torch.float32))
    torch.testing.assert_close(ours.logsumexp(z, 0), torch.logsumexp(z, 0))
    torch.testing.assert_close(ours.softmax(z.half(), 0, torch.float64), torch.softmax(z.half(), 0, torch.float64))


@EACH_BACKEND
def test_logsumexp_over_several_axes(backend):
    z = torch.randn(2, 3, 4, dtype=served_dtype(backend, "logsumexp"), device=device(backend))
    for dims in ((0, 2), (2, 0), (-1, 0), (1,)):
        for keep in (False, True):
            found = ours.logsumexp(z, dims, keep, backend=backend)
            torch.testing.assert_close(found, torch.logsumexp(z, dims, keep))


@EACH_BACKEND
@pytest.mark.parametrize(("function", "plain"), PAIRS, ids=lambda f: getattr(f, "__name__", "softmin"))
def test_temperature_divides_the_gradient_too(function, plain, backend):
    z = torch.randn(3, 4, dtype=served_dtype(backend, function.__name__), device=device(backend))
    (found,), (exact,) = (
        gradients(call, [z])[1]
        for call in (lambda x: function(x, 1, temperature=0.3, backend=backend), lambda x: plain(x / 0.3, 1))
    )
    torch.testing.assert_close(found, exact)


def test_logsumexp_near_zero():
    """The terms cancel: log(exp(-a) + exp(-b)) with a sum of nearly 1."""
    z = torch.tensor([-0.6931471824645996, -0.6931471824645996])
    exact = mpmath.log(2 * mpmath.exp(mpmath.mpf(z[0].item())))
    assert reference.ulps(ours.logsumexp(z, 0).item(), exact, torch.float32) <= 1


# Sigmoid and relatives


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize(
    ("function", "value", "slope"),
    [
        (ours.sigmoid, torch.sigmoid, lambda x: torch.sigmoid(x) * torch.sigmoid(-x)),
        (ours.logsigmoid, lambda x: -F.softplus(-x, threshold=50), lambda x: torch.sigmoid(-x)),
        (ours.softplus, lambda x: F.softplus(x, threshold=50), torch.sigmoid),
    ],
    ids=["sigmoid", "logsigmoid", "softplus"],
)
def test_elementwise_values_and_gradients(function, value, slope, dtype):
    x = torch.cat([torch.linspace(-12, 12, 49), torch.tensor([0.0])]).to(dtype).requires_grad_()
    exact_at = x.detach().double()
    found = function(x)
    torch.testing.assert_close(found, value(exact_at).to(dtype), rtol=2 * torch.finfo(dtype).eps, atol=0)
    found.sum().backward()
    torch.testing.assert_close(x.grad, slope(exact_at).to(dtype), rtol=2 * torch.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("p", [1e-30, 0.01, 0.25, 0.4999, 0.5000001, 0.6, 0.75, 0.999])
@pytest.mark.parametrize("backend", ["cpu", "eager"])
def test_digits_of_logit(p, dtype, backend):
    value = torch.tensor(p, dtype=dtype)
    assert reference.ulps(ours.logit(value, backend=backend).item(), reference.exact_logit(value.item()), dtype) <= 3


def test_logit_edges_and_gradient():
    p = torch.tensor([-0.1, 0.0, 0.5, 1.0, 1.1])
    found = ours.logit(p)
    assert found[[0, 4]].isnan().all()
    assert found[1:4].tolist() == [-float("inf"), 0.0, float("inf")]
    torch.testing.assert_close(ours.logit(p, 0.1), torch.logit(p, 0.1))
    inside = torch.linspace(0.01, 0.99, 99, dtype=torch.float64, requires_grad=True)
    ours.logit(inside).sum().backward()
    torch.testing.assert_close(inside.grad, 1 / (inside.detach() * (1 - inside.detach())))


def test_logit_undoes_sigmoid():
    z = torch.linspace(-8, 8, 65, dtype=torch.float64)
    torch.testing.assert_close(ours.logit(ours.sigmoid(z)), z)


def test_integers_become_floats_as_in_pytorch():
    x = torch.tensor([-1, 0, 2])
    torch.testing.assert_close(ours.sigmoid(x), torch.sigmoid(x))
    assert ours.logit(torch.tensor([0, 1])).tolist() == [-float("inf"), float("inf")]


def test_softplus_options_mean_what_pytorch_means():
    x = torch.tensor([-1.0, 0.5, 1.0, 2.0, 30.0])  # 2.0: above the threshold only when it is multiplied
    torch.testing.assert_close(ours.softplus(x, 2.0, 3.0), F.softplus(x, 2.0, 3.0))
    exact = reference.exact_softplus(25.0)
    assert reference.ulps(ours.softplus(torch.tensor(25.0, dtype=torch.float64)).item(), exact, torch.float64) <= 1
