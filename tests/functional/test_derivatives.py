"""Every kind of derivative that PyTorch has, and the compiler: nothing is dropped silently."""

import pytest
import torch
from torch.autograd import forward_ad, gradcheck, gradgradcheck

from lastlayer import functional as ours

INDEX = torch.tensor([0, 2, 1, -100])
WEIGHT = torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64)
SOFT = torch.tensor([[0.2, 0.5, 0.3], [1.0, 0.0, 0.0], [0.0, 0.5, 0.5], [0.6, 0.4, 0.0]], dtype=torch.float64)

LOSSES = {
    "cross_entropy": lambda z: ours.cross_entropy(z, INDEX),
    "cross_entropy none": lambda z: ours.cross_entropy(z, INDEX, reduction="none"),
    "cross_entropy options": lambda z: ours.cross_entropy(
        z, INDEX, WEIGHT, label_smoothing=0.1, z_loss=0.3, softcap=4.0, temperature=0.7
    ),
    "cross_entropy soft": lambda z: ours.cross_entropy(z, SOFT, WEIGHT, label_smoothing=0.1),
    "log-sum-exp": lambda z: ours.cross_entropy(z, INDEX, return_lse=True)[1],
    "nll_loss": lambda z: ours.nll_loss(z, INDEX, WEIGHT),
    "bce": lambda z: ours.binary_cross_entropy_with_logits(z, SOFT, WEIGHT, pos_weight=WEIGHT),
    "bce focal": lambda z: ours.binary_cross_entropy_with_logits(z, SOFT, focal_gamma=2.0, label_smoothing=0.1),
    "bce of probabilities": lambda z: ours.binary_cross_entropy(torch.sigmoid(z), SOFT, focal_gamma=2.0),
    "linear": lambda z: ours.linear_cross_entropy(z, torch.eye(3).double(), INDEX),
    "linear binary": lambda z: ours.linear_binary_cross_entropy(z, torch.eye(3).double(), SOFT),
    "sigmoid": ours.sigmoid,
    "logit": lambda z: ours.logit(torch.sigmoid(z)),
    "logsigmoid": ours.logsigmoid,
    "softplus": ours.softplus,
    # squared: the probabilities of a row sum to 1, so that their sum has no gradient
    "softmax": lambda z: ours.softmax(z, 1, temperature=0.7) ** 2,
    "log_softmax": lambda z: ours.log_softmax(z, 1),
    "logsumexp": lambda z: ours.logsumexp(z, 1),
    "entropy": ours.entropy,
    "kl_divergence": lambda z: ours.kl_divergence(z, z.flip(0)),
    "kl_div": lambda z: ours.kl_div(z, SOFT + 0.1, reduction="sum"),
    "cross_entropy_of": lambda z: ours.cross_entropy_of(torch.sigmoid(z), torch.sigmoid(-z)),
    "surprisal": lambda z: ours.surprisal(torch.sigmoid(z)),
}
EACH = pytest.mark.parametrize("function", LOSSES.values(), ids=LOSSES)


def logits() -> torch.Tensor:
    return torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


@EACH
def test_first_and_forward_mode(function):
    assert gradcheck(function, logits().requires_grad_(), check_forward_ad=True, check_batched_grad=True)


@EACH
def test_second_order(function):
    assert gradgradcheck(function, logits().requires_grad_(), check_fwd_over_rev=True, check_rev_over_rev=True)


@EACH
def test_torch_func_agrees_with_autograd(function):
    z = logits()
    leaf = z.clone().requires_grad_()
    function(leaf).sum().backward()
    assert leaf.grad.abs().max() > 0
    torch.testing.assert_close(torch.func.grad(lambda x: function(x).sum())(z), leaf.grad)
    tangent = torch.randn_like(z)
    _, slope = torch.func.jvp(lambda x: function(x).sum(), (z,), (tangent,))
    torch.testing.assert_close(slope, (leaf.grad * tangent).sum())
    batched = torch.func.vmap(function)(torch.stack([z, 2 * z]))
    torch.testing.assert_close(batched, torch.stack([function(z), function(2 * z)]))
    hessian = torch.func.hessian(lambda x: function(x).sum())(z)
    by_autograd = torch.autograd.functional.hessian(lambda x: function(x).sum(), z)
    torch.testing.assert_close(hessian, by_autograd)


def test_dual_numbers_reach_soft_targets():
    with forward_ad.dual_level():
        target = forward_ad.make_dual(SOFT, torch.ones_like(SOFT))
        loss = ours.cross_entropy(logits(), target, reduction="sum")
        slope = forward_ad.unpack_dual(loss).tangent
    torch.testing.assert_close(slope, -torch.log_softmax(logits(), 1).sum())


@pytest.mark.unchecked
@pytest.mark.parametrize("dynamic", [False, True])
@EACH
def test_compiles_without_a_break(function, dynamic):
    torch.compiler.reset()
    compiled = torch.compile(function, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    eager_at, compiled_at = logits().requires_grad_(), logits().requires_grad_()
    eager, found = function(eager_at), compiled(compiled_at)
    torch.testing.assert_close(found, eager)
    eager.sum().backward()
    found.sum().backward()
    torch.testing.assert_close(compiled_at.grad, eager_at.grad)


def test_backward_twice_with_retain_graph():
    z = logits().requires_grad_()
    loss = ours.cross_entropy(z, INDEX)
    loss.backward(retain_graph=True)
    once = z.grad.clone()
    loss.backward()
    torch.testing.assert_close(z.grad, 2 * once)


def test_autocast_gives_a_float32_loss_of_half_logits():
    layer, features = torch.nn.Linear(8, 3), torch.randn(4, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = layer(features)
        assert logits.dtype is torch.bfloat16
        ours.cross_entropy(logits, INDEX).backward()
    assert layer.weight.grad.abs().max() > 0


@pytest.mark.parametrize("frozen", ["features", "weight"])
def test_a_frozen_side_gets_no_gradient(frozen):
    features = torch.randn(4, 5, requires_grad=frozen != "features")
    weight = torch.randn(3, 5, requires_grad=frozen != "weight")
    ours.linear_cross_entropy(features, weight, INDEX).backward()
    assert (features.grad is None) == (frozen == "features")
    assert (weight.grad is None) == (frozen == "weight")


def test_two_runs_are_equal_to_the_bit():
    def run():
        z = torch.randn(500, 300, generator=torch.Generator().manual_seed(0)).requires_grad_()
        loss = ours.cross_entropy(z, torch.arange(500) % 300)
        loss.backward()
        return loss, z.grad

    (first, first_gradient), (second, second_gradient) = run(), run()
    assert torch.equal(first, second)
    assert torch.equal(first_gradient, second_gradient)
