"""Every kind of derivative that PyTorch has: nothing is dropped silently."""

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
    "cross_entropy row": lambda z: ours.cross_entropy(z[0], INDEX[0], WEIGHT, label_smoothing=0.1),
    "cross_entropy K": lambda z: ours.cross_entropy(z.reshape(2, 3, 2), INDEX.reshape(2, 2), WEIGHT, reduction="sum"),
    "cross_entropy unread": lambda z: ours.cross_entropy(z, INDEX, check=False, reduction="none", z_loss=0.1),
    "cross_entropy options": lambda z: ours.cross_entropy(
        z, INDEX, WEIGHT, label_smoothing=0.1, z_loss=0.3, softcap=4.0, temperature=0.7
    ),
    "cross_entropy soft": lambda z: ours.cross_entropy(z, SOFT, WEIGHT, label_smoothing=0.1),
    "cross_entropy soft none": lambda z: ours.cross_entropy(
        z, SOFT, reduction="none", z_loss=0.2, softcap=3.0, temperature=1.3
    ),
    "loss and log-sum-exp": lambda z: torch.cat(
        [x.reshape(-1) for x in ours.cross_entropy(z, INDEX, WEIGHT, return_lse=True, softcap=3.0)]
    ),
    "log-sum-exp": lambda z: ours.cross_entropy(z, INDEX, return_lse=True)[1],
    "nll_loss": lambda z: ours.nll_loss(z, INDEX, WEIGHT),
    "nll_loss none": lambda z: ours.nll_loss(z, INDEX, reduction="none"),
    "bce none": lambda z: ours.binary_cross_entropy_with_logits(z, SOFT, reduction="none", label_smoothing=0.1),
    "bce": lambda z: ours.binary_cross_entropy_with_logits(z, SOFT, WEIGHT, pos_weight=WEIGHT),
    "bce focal": lambda z: ours.binary_cross_entropy_with_logits(z, SOFT, focal_gamma=2.0, label_smoothing=0.1),
    "bce of probabilities": lambda z: ours.binary_cross_entropy(torch.sigmoid(z), SOFT, focal_gamma=2.0),
    "linear": lambda z: ours.linear_cross_entropy(z, torch.eye(3).double(), INDEX),
    "linear binary": lambda z: ours.linear_binary_cross_entropy(z, torch.eye(3).double(), SOFT),
    "linear options": lambda z: ours.linear_cross_entropy(
        z, torch.eye(3).double() + 0.5, SOFT, linear_bias=WEIGHT, weight=WEIGHT, label_smoothing=0.1, softcap=3.0
    ),
    "sigmoid": ours.sigmoid,
    "logit": lambda z: ours.logit(torch.sigmoid(z)),
    "logit eps": lambda z: ours.logit(torch.sigmoid(z), 0.2),
    "logsigmoid": ours.logsigmoid,
    "softplus": ours.softplus,
    "softplus beta": lambda z: ours.softplus(z, 2.0),
    "softmin": lambda z: ours.softmin(z, 0) ** 2,  # the plain sum is 1, whose slope is 0
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


@EACH
def test_jacobians_agree_forwards_and_backwards(function):
    z = logits()
    backwards = torch.func.jacrev(function)(z)
    assert backwards.abs().max() > 0
    torch.testing.assert_close(torch.func.jacfwd(function)(z), backwards)
    torch.testing.assert_close(torch.autograd.functional.jacobian(function, z), backwards)


# Every tensor that a loss can be differentiated in, at once.
Z, P = (torch.linspace(-2, 2, 12, dtype=torch.float64).sin().reshape(4, 3), SOFT * 0.8 + 0.1)
ALL_INPUTS = {
    "cross_entropy": (lambda z, q, w: ours.cross_entropy(z, q, w, label_smoothing=0.1, z_loss=0.2), (Z, SOFT, WEIGHT)),
    "cross_entropy, index": (
        lambda z, w: ours.cross_entropy(z, INDEX, w, label_smoothing=0.1, softcap=3.0, temperature=0.8),
        (Z, WEIGHT),
    ),
    "cross_entropy, lse": (lambda z, q: ours.cross_entropy(z, q, return_lse=True, reduction="sum"), (Z, SOFT)),
    "nll_loss": (lambda z, w: ours.nll_loss(z, INDEX, w), (Z, WEIGHT)),
    "binary_cross_entropy_with_logits": (
        lambda z, y, w, p: ours.binary_cross_entropy_with_logits(z, y, w, pos_weight=p, label_smoothing=0.1),
        (Z, P, WEIGHT, WEIGHT.flip(0)),
    ),
    "binary_cross_entropy_with_logits, focal": (
        lambda z, y, w, p: ours.binary_cross_entropy_with_logits(z, y, w, pos_weight=p, focal_gamma=2.0),
        (Z, P, WEIGHT, WEIGHT.flip(0)),
    ),
    "binary_cross_entropy": (
        lambda p, y, w: ours.binary_cross_entropy(p, y, w, focal_gamma=1.5, label_smoothing=0.1),
        (P.flip(0), P, WEIGHT),
    ),
    "linear_cross_entropy": (
        lambda x, m, b, q, w: ours.linear_cross_entropy(x, m, q, linear_bias=b, weight=w, z_loss=0.1),
        (Z, Z[:3] + 0.3, WEIGHT, SOFT, WEIGHT),
    ),
    "linear_binary_cross_entropy": (
        lambda x, m, b, y: ours.linear_binary_cross_entropy(x, m, y, linear_bias=b, focal_gamma=1.5),
        (Z, Z[:3] + 0.3, WEIGHT, P),
    ),
    "kl_div": (lambda q, p: ours.kl_div(q, p, reduction="batchmean"), (Z, P)),
    "kl_div, log": (lambda q, p: ours.kl_div(q, p, reduction="sum", log_target=True), (Z, P.log())),
    "kl_divergence": (ours.kl_divergence, (Z, Z.flip(0) + 0.1)),
    "cross_entropy_of": (ours.cross_entropy_of, (P, P.flip(0))),
}
FULLY = pytest.mark.parametrize(("function", "tensors"), ALL_INPUTS.values(), ids=ALL_INPUTS)


@FULLY
def test_every_input_has_its_derivatives(function, tensors):
    leaves = [x.clone().requires_grad_() for x in tensors]
    # fast mode checks one random direction of all inputs together; the whole Jacobian of z is checked above
    assert gradcheck(function, leaves, check_forward_ad=True, fast_mode=True)
    assert gradgradcheck(function, leaves, check_fwd_over_rev=True, fast_mode=True)
    result = function(*leaves)
    total = sum(x.sum() for x in result) if isinstance(result, tuple) else result.sum()
    for gradient in torch.autograd.grad(total, leaves):
        assert gradient.abs().max() > 0


@FULLY
def test_every_input_may_be_the_only_one_that_is_differentiated(function, tensors):
    """A frozen input changes no other gradient, and gets none."""
    leaves = [x.clone().requires_grad_() for x in tensors]

    def total(*arguments):
        result = function(*arguments)
        return sum(x.sum() for x in result) if isinstance(result, tuple) else result.sum()

    together = torch.autograd.grad(total(*leaves), leaves)
    for position, expected in enumerate(together):
        alone = [x.clone().requires_grad_(position == i) for i, x in enumerate(tensors)]
        total(*alone).backward()
        torch.testing.assert_close(alone[position].grad, expected)
        assert all(x.grad is None for i, x in enumerate(alone) if i != position)


# torch.func over what else varies from row to row


@pytest.mark.parametrize("weighted", [False, True])
def test_gradient_of_each_sample(weighted):
    """vmap over single rows: what differential privacy and influence functions need."""
    weight = WEIGHT if weighted else None
    z, y = logits()[:3], INDEX[:3]

    def loss(row, index):
        return ours.cross_entropy(row, index, weight, label_smoothing=0.1, reduction="sum")

    expected = torch.stack([torch.func.grad(loss)(row, index) for row, index in zip(z, y, strict=True)])
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(loss))(z, y), expected)
    leaf = z.clone().requires_grad_()
    ours.cross_entropy(leaf, y, weight, label_smoothing=0.1, reduction="sum").backward()
    torch.testing.assert_close(expected, leaf.grad)


@pytest.mark.parametrize("weighted", [False, True])
def test_nll_loss_of_each_sample(weighted):
    weight = WEIGHT if weighted else None
    found = torch.func.vmap(lambda row, y: ours.nll_loss(row, y, weight, reduction="sum"))(logits()[:3], INDEX[:3])
    torch.testing.assert_close(found, ours.nll_loss(logits()[:3], INDEX[:3], weight, reduction="none"))


def test_vmap_over_targets_weights_and_probabilities():
    z = logits()
    targets = torch.tensor([[0, 1, 2, 0], [2, 2, 1, -100]])
    weights = torch.stack([WEIGHT, WEIGHT.flip(0)])
    soft = torch.stack([SOFT, SOFT.flip(0)])
    mapped = torch.func.vmap(lambda t, w: ours.cross_entropy(z, t, w))(targets, weights)
    each = [ours.cross_entropy(z, t, w) for t, w in zip(targets, weights, strict=True)]
    torch.testing.assert_close(mapped, torch.stack(each))
    mapped = torch.func.vmap(lambda q: ours.cross_entropy(z, q, WEIGHT))(soft)
    torch.testing.assert_close(mapped, torch.stack([ours.cross_entropy(z, q, WEIGHT) for q in soft]))
    mapped = torch.func.vmap(lambda y: ours.binary_cross_entropy_with_logits(z, y, pos_weight=WEIGHT))(soft)
    each = [ours.binary_cross_entropy_with_logits(z, y, pos_weight=WEIGHT) for y in soft]
    torch.testing.assert_close(mapped, torch.stack(each))


@EACH
@pytest.mark.parametrize("requires_grad", [False, True])
def test_a_transform_of_something_else_does_not_show(function, requires_grad):
    """Logits that a function merely closes over are plain, but nothing that is made of them inside a transform is."""
    z = logits().requires_grad_(requires_grad)
    expected, one = function(z).sum(), torch.ones((), dtype=torch.float64)

    def scaled(factor):
        return factor * function(z).sum()

    torch.testing.assert_close(torch.func.grad(scaled)(one), expected)
    torch.testing.assert_close(torch.func.jvp(scaled, (one,), (one,))[1], expected)
    torch.testing.assert_close(torch.vmap(scaled)(one.expand(2)), expected.expand(2))


def test_nested_transforms():
    """A Hessian-vector product in both orders, and per-sample Hessians."""
    z, v = logits(), torch.ones(4, 3, dtype=torch.float64).cumsum(1)

    def loss(x):
        return ours.cross_entropy(x, INDEX, WEIGHT, label_smoothing=0.1, z_loss=0.1)

    forward_over_reverse = torch.func.jvp(torch.func.grad(loss), (z,), (v,))[1]
    reverse_over_forward = torch.func.grad(lambda x: torch.func.jvp(loss, (x,), (v,))[1])(z)
    hessian = torch.func.hessian(loss)(z)
    torch.testing.assert_close(forward_over_reverse, torch.einsum("abcd,cd->ab", hessian, v))
    torch.testing.assert_close(reverse_over_forward, forward_over_reverse)
    third = torch.func.jacfwd(torch.func.hessian(lambda row: ours.cross_entropy(row, INDEX[0])))(z[0])
    expected = torch.func.jacfwd(torch.func.hessian(lambda row: row.logsumexp(0) - row[0]))(z[0])
    torch.testing.assert_close(third, expected)


def test_dual_numbers_reach_soft_targets():
    with forward_ad.dual_level():
        target = forward_ad.make_dual(SOFT, torch.ones_like(SOFT))
        loss = ours.cross_entropy(logits(), target, reduction="sum")
        slope = forward_ad.unpack_dual(loss).tangent
    torch.testing.assert_close(slope, -torch.log_softmax(logits(), 1).sum())


def test_backward_twice_with_retain_graph():
    z = logits().requires_grad_()
    loss = ours.cross_entropy(z, INDEX)
    loss.backward(retain_graph=True)
    once = z.grad.clone()
    loss.backward()
    torch.testing.assert_close(z.grad, 2 * once)


@EACH
def test_a_graph_that_is_kept_gives_the_same_again(function):
    """What the backward works with in place is its own."""
    z = logits().requires_grad_()
    result = function(z)
    (first,) = torch.autograd.grad(result.sum(), z, retain_graph=True)
    (second,) = torch.autograd.grad(result.sum(), z, retain_graph=True)
    (third,) = torch.autograd.grad((2 * result).sum(), z)
    assert torch.equal(first, second)
    torch.testing.assert_close(third, 2 * first)


def test_a_gradient_that_the_caller_changes_changes_no_other():
    z = logits().requires_grad_()
    loss = ours.cross_entropy(z, INDEX)
    (first,) = torch.autograd.grad(loss, z, retain_graph=True)
    kept = first.clone()
    first.zero_()
    assert torch.equal(torch.autograd.grad(loss, z)[0], kept)


def test_upstream_gradients_are_never_written():
    for function in LOSSES.values():
        z = logits().requires_grad_()
        result = function(z)
        upstream = torch.ones_like(result)
        result.backward(upstream)
        assert upstream._version == 0
        assert (upstream == 1).all()


def test_what_cannot_be_differentiated_says_so():
    z = logits().requires_grad_()
    with pytest.raises(RuntimeError, match="does not require grad"):
        ours.hardmax(z, 1).sum().backward()
    with pytest.raises(RuntimeError, match="does not require grad"):
        ours.one_hot(INDEX[:3]).sum().backward()
    loss = ours.cross_entropy(z, INDEX)
    loss.backward()
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()
    with pytest.raises(RuntimeError, match="not require grad"):  # a gradient made without create_graph
        torch.autograd.grad(ours.cross_entropy(z, INDEX), z)[0].sum().backward()
    with torch.no_grad():
        assert not ours.cross_entropy(z, INDEX).requires_grad
    with torch.inference_mode():
        assert ours.cross_entropy(z, INDEX).is_inference()
    # values cannot be read inside a transform, so asking for that is an error and not a silent False
    with pytest.raises(RuntimeError):
        torch.func.vmap(lambda t: ours.cross_entropy(logits(), t, check=True))(torch.stack([INDEX, INDEX]))


@pytest.mark.parametrize("order", [1, 2])
@EACH
def test_derivatives_flow_through_a_larger_graph(function, order):
    """Logits that are themselves computed: the derivative of the weight of a layer, then its curvature."""
    generator = torch.Generator().manual_seed(4)
    features, weight = (torch.randn(n, 3, dtype=torch.float64, generator=generator) for n in (4, 3))

    def total(w):
        return function(features @ w.t()).sum()

    (found,) = torch.autograd.grad(total(leaf := weight.clone().requires_grad_()), leaf, create_graph=order == 2)
    step, direction = 1e-5, torch.randn(3, 3, dtype=torch.float64, generator=generator)
    if order == 1:
        slope = (total(weight + step * direction) - total(weight - step * direction)) / (2 * step)
        torch.testing.assert_close((found * direction).sum(), slope, rtol=1e-6, atol=1e-8)
        return
    ahead, behind = (torch.func.grad(total)(weight + sign * step * direction) for sign in (1, -1))
    if not found.requires_grad:  # linear in the logits: a gradient that does not change
        torch.testing.assert_close(ahead, behind, rtol=0, atol=0)
        return
    (curvature,) = torch.autograd.grad((found * direction).sum(), leaf)
    torch.testing.assert_close(curvature, (ahead - behind) / (2 * step), rtol=1e-5, atol=1e-7)


def test_autocast_gives_a_float32_loss_of_half_logits():
    layer, features = torch.nn.Linear(8, 3), torch.randn(4, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = layer(features)
        assert logits.dtype is torch.bfloat16
        loss = ours.cross_entropy(logits, INDEX)
        expected = torch.nn.functional.cross_entropy(logits, INDEX)
    assert loss.dtype is expected.dtype  # under autocast PyTorch's losses are float32 even of half logits
    loss.backward()
    assert layer.weight.grad.dtype is torch.float32
    assert layer.weight.grad.abs().max() > 0


AUTOCAST = {
    "cross_entropy": (ours.cross_entropy, (INDEX,)),
    "cross_entropy, probabilities": (ours.cross_entropy, (SOFT.float(),)),
    "nll_loss": (ours.nll_loss, (INDEX,)),
    "binary_cross_entropy_with_logits": (ours.binary_cross_entropy_with_logits, (SOFT.float(),)),
    "log_softmax": (ours.log_softmax, (1,)),
    "softmax": (ours.softmax, (1,)),
    "logsumexp": (ours.logsumexp, (1,)),
}


@pytest.mark.parametrize("name", AUTOCAST)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast_means_what_it_means_in_pytorch(name, dtype):
    function, rest = AUTOCAST[name]
    theirs = getattr(torch.nn.functional, function.__name__, None) or getattr(torch, function.__name__)
    z = logits().to(dtype)
    with torch.autocast("cpu", dtype=dtype):
        found, expected = function(z, *rest), theirs(z, *rest)
    torch.testing.assert_close(found.double(), expected.double(), rtol=1e-2, atol=1e-2)
    assert found.dtype is expected.dtype


def test_autocast_of_the_linear_losses():
    """The product may be rounded to half, its sum may not; gradients arrive in the dtype of the weights."""
    features, weight = torch.randn(4, 8), torch.randn(3, 8, requires_grad=True)
    exact = ours.linear_cross_entropy(features, weight, INDEX)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = ours.linear_cross_entropy(features, weight, INDEX)
    loss.backward()
    torch.testing.assert_close(loss.float(), exact, rtol=2e-2, atol=2e-2)
    assert weight.grad.dtype is torch.float32
    assert weight.grad.abs().max() > 0


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
