"""Entropy and its relatives, one-hot and hardmax, and the linear losses."""

import mpmath
import pytest
import torch
from torch.nn import functional as F

from lastlayer import functional as ours
from tests import reference
from tests.functional.judging import EACH_BACKEND, assert_loss_and_gradient, device, served_dtype


def kl(p, q):
    """p and q are logits; in mpmath."""
    p, q = ([mpmath.exp(mpmath.mpf(v)) for v in z] for z in (p, q))
    p, q = [v / mpmath.fsum(p) for v in p], [v / mpmath.fsum(q) for v in q]
    return mpmath.fsum(a * mpmath.log(a / b) for a, b in zip(p, q, strict=True))


def test_published_numbers():
    """Rows 45 to 48 of the concepts."""
    p, q = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.6, 0.3, 0.1])
    assert ours.cross_entropy_of(p, q).item() == pytest.approx(0.8286, abs=1e-4)
    assert ours.cross_entropy_of(q, p).item() == pytest.approx(0.9271, abs=1e-4)
    assert ours.entropy(p.log()).item() == pytest.approx(0.8018, abs=1e-4)
    dog = ours.softmax(torch.tensor([4.0, 2.0, -2.0]), 0)
    assert ours.cross_entropy_of(torch.tensor([1.0, 0.0, 0.0]), dog).item() == pytest.approx(0.1291, abs=1e-4)
    assert ours.surprisal(torch.tensor(0.01)).item() == pytest.approx(4.6052, abs=1e-4)


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_entropy_and_its_gradient(offset):
    z = torch.randn(4, 6, dtype=torch.float64)
    assert_loss_and_gradient(
        lambda x: ours.entropy(x + offset, 1, temperature=0.5),
        lambda x: -(reference.log_softmax(2 * x, 1).exp() * reference.log_softmax(2 * x, 1)).sum(1),
        z,
        tolerance=1e-10,
    )


def test_entropy_of_ruled_out_classes():
    assert ours.entropy(torch.tensor([0.0, 0.0, -float("inf")])).item() == pytest.approx(0.6931, abs=1e-4)


def test_cross_entropy_of_edges():
    p = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])
    q = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]])
    assert ours.cross_entropy_of(p, q).tolist() == [pytest.approx(0.6931, abs=1e-4), float("inf")]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("gap", [3.0, 0.1, 1e-3, 1e-6])
def test_divergence_of_close_distributions(gap, dtype):
    """The plain formula cancels here, and comes out negative."""
    p = torch.tensor([1.0, 0.5, -0.3], dtype=dtype)
    q = p + torch.tensor([gap, 0.0, -gap], dtype=dtype)
    exact = kl(p.tolist(), q.tolist())
    found = ours.kl_divergence(p, q)
    assert found > 0
    # the logits of float64 are themselves rounded: r = log(p/q) is off by an ulp of 1, and the result by 2·eps/gap
    assert found.item() == pytest.approx(float(exact), rel=max(4 * torch.finfo(dtype).eps, 1e-15 / gap))


def test_divergence_is_zero_only_between_equals():
    p = torch.randn(50, 9)
    assert (ours.kl_divergence(p, p) == 0).all()
    assert (ours.kl_divergence(p, p + 1e-3 * torch.randn(50, 9)) > 0).all()


def test_divergence_gradients():
    p, q = torch.randn(3, 5, dtype=torch.float64), torch.randn(3, 5, dtype=torch.float64)
    assert_loss_and_gradient(
        lambda a, b: ours.kl_divergence(a, b, 1),
        lambda a, b: F.kl_div(b.log_softmax(1), a.log_softmax(1), reduction="none", log_target=True).sum(1),
        p,
        q,
        tolerance=1e-12,
    )


@pytest.mark.parametrize("log_target", [False, True])
@pytest.mark.parametrize("reduction", ["none", "sum", "batchmean", "mean"])
@pytest.mark.filterwarnings("ignore:reduction")
def test_kl_div_matches_pytorch(reduction, log_target):
    q, p = torch.randn(4, 5, dtype=torch.float64).log_softmax(1), torch.rand(4, 5, dtype=torch.float64).softmax(1)
    target = p.log() if log_target else p
    options = {"reduction": reduction, "log_target": log_target}
    assert_loss_and_gradient(
        lambda a, b: ours.kl_div(a, b, **options), lambda a, b: F.kl_div(a, b, **options), q, target, tolerance=1e-12
    )


def test_kl_div_warns_of_mean_as_pytorch_does():
    with pytest.warns(UserWarning, match="batchmean"):
        ours.kl_div(torch.zeros(2, 2), torch.ones(2, 2))


# One-hot and hardmax


def test_one_hot_matches_pytorch():
    index = torch.tensor([[0, 2], [1, 0]])
    assert torch.equal(ours.one_hot(index), F.one_hot(index))
    assert torch.equal(ours.one_hot(index, 5), F.one_hot(index, 5))
    assert torch.equal(ours.one_hot(index).argmax(-1), index)


def test_hardmax_takes_the_first_of_a_tie_and_says_so():
    """Row 18 of the concepts."""
    logits = torch.tensor([[5.0, 4.0, 2.0], [4.0, 2.0, 8.0], [4.0, 4.0, 1.0]])
    hard, tied = ours.hardmax(logits, 1, return_ties=True)
    assert hard.tolist() == [[1, 0, 0], [0, 0, 1], [1, 0, 0]]
    assert tied.tolist() == [False, False, True]
    assert torch.equal(ours.hardmax(logits.t(), 0), hard.t())


# Linear losses


@pytest.mark.parametrize("rows", [(), (6,), (2, 3)], ids=str)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_linear_cross_entropy_is_the_dense_one(rows, bias, soft, reduction):
    x, w, b = torch.randn(*rows, 4).double(), torch.randn(5, 4).double(), torch.randn(5).double()
    target = torch.rand(*rows, 5).double().softmax(-1) if soft else torch.randint(0, 5, rows)
    options = {"reduction": reduction, "label_smoothing": 0.1, "z_loss": 0.2, "softcap": 5.0, "temperature": 0.8}

    def dense(x, w, b):
        logits = (x @ w.t() + b if bias else x @ w.t()).reshape(-1, 5)
        loss = reference.cross_entropy(logits, target.reshape(-1, 5) if soft else target.reshape(-1), **options)
        return loss.reshape(rows) if reduction == "none" else loss

    if bias:
        assert_loss_and_gradient(
            lambda x, w, b: ours.linear_cross_entropy(x, w, target, linear_bias=b, **options),
            dense,
            x,
            w,
            b,
            tolerance=1e-11,
        )
    else:
        assert_loss_and_gradient(
            lambda x, w: ours.linear_cross_entropy(x, w, target, **options), lambda x, w: dense(x, w, b), x, w,
            tolerance=1e-11,
        )  # fmt: skip


def test_linear_cross_entropy_of_several_predictions_per_row():
    x, w, b = torch.randn(3, 4), torch.randn(5, 2, 4), torch.randn(5, 2)
    target = torch.randint(0, 5, (3, 2))
    logits = torch.einsum("nf,ckf->nck", x, w) + b
    torch.testing.assert_close(
        ours.linear_cross_entropy(x, w, target, linear_bias=b, reduction="none"),
        F.cross_entropy(logits, target, reduction="none"),
    )
    loss, lse = ours.linear_cross_entropy(x, w, target, linear_bias=b, return_lse=True)
    torch.testing.assert_close(lse.float(), logits.logsumexp(1))
    assert loss.shape == ()
    soft = torch.rand(3, 5, 2).softmax(1)
    torch.testing.assert_close(
        ours.linear_cross_entropy(x, w, soft, linear_bias=b, reduction="none"),
        F.cross_entropy(logits, soft, reduction="none"),
    )


def test_the_log_sum_exp_of_a_linear_loss_has_the_shape_of_its_rows():
    x, w, target = torch.randn(2, 3, 4), torch.randn(5, 4), torch.randint(0, 5, (2, 3))
    loss, lse = ours.linear_cross_entropy(x, w, target, reduction="none", return_lse=True)
    assert loss.shape == lse.shape == (2, 3)
    torch.testing.assert_close(lse.float(), (x @ w.t()).logsumexp(-1))


@EACH_BACKEND
@pytest.mark.parametrize("rows", [(6,), (2, 3)], ids=str)
@pytest.mark.parametrize("single", [False, True])
def test_linear_binary_cross_entropy_is_the_dense_one(rows, single, backend):
    dtype, place = served_dtype(backend, "linear_binary_cross_entropy"), device(backend)
    classes = () if single else (5,)
    x, w, b = (torch.randn(shape, dtype=dtype, device=place) for shape in ((*rows, 4), (*classes, 4), classes))
    target = torch.rand(*rows, *classes, dtype=dtype, device=place)
    options = {"focal_gamma": 1.5, "label_smoothing": 0.1}
    assert_loss_and_gradient(
        lambda x, w, b: ours.linear_binary_cross_entropy(x, w, target, linear_bias=b, **options, backend=backend),
        lambda x, w, b: reference.binary_cross_entropy_with_logits(
            x @ w.t() + b if not single else x @ w + b, target.double(), **options
        ),
        x,
        w,
        b,
        tolerance=1e-11 if dtype is torch.float64 else 1e-5,
    )
