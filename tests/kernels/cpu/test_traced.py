"""What torch.compile calls: the compiled kernels, as operators that PyTorch's own checker accepts."""

import pytest
import torch

from lastlayer import functional
from lastlayer.kernels import BinaryOptions, Options
from lastlayer.kernels.cpu import _binary_cross_entropy, _cross_entropy

pytestmark = [
    pytest.mark.unchecked,  # torch.compile cannot trace through the run-time type checker
    # opcheck itself looks at the gradient of what it has computed
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),
]

OPS = torch.ops.lastlayer
OPTIONS = Options(torch.float32, label_smoothing=0.1, z_loss=0.2, ignore_index=-100)
BINARY = BinaryOptions(torch.float32, label_smoothing=0.1)


def rows(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(6, 5, generator=generator).to(dtype), torch.tensor([0, 4, -100, 2, 1, 3])


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_opcheck_of_cross_entropy(dtype, reduction):
    z, y = rows(dtype)
    options = OPTIONS._replace(dtype=dtype, reduction=reduction)[:8]
    found = torch.library.opcheck(OPS.cross_entropy_read.default, (z, y, None, *options))
    assert set(found.values()) == {"SUCCESS"}
    loss, lse, saved, divisors = OPS.cross_entropy_read(z, y, None, *options)
    slope = (torch.ones_like(loss), torch.ones_like(lse), saved, divisors, z, y, None, *options)
    assert set(torch.library.opcheck(OPS.cross_entropy_slope.default, slope).values()) == {"SUCCESS"}
    front = (z.requires_grad_(), y, torch.rand(5, dtype=torch.float64), *options)
    assert set(torch.library.opcheck(OPS.cross_entropy.default, front).values()) == {"SUCCESS"}


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_opcheck_of_binary_cross_entropy(reduction):
    z, options = rows()[0], BINARY._replace(reduction=reduction)[:4]
    y, factor = torch.rand(6, 5), torch.rand(5)
    read, slope = OPS.binary_cross_entropy_with_logits_read, OPS.binary_cross_entropy_with_logits_slope
    assert set(torch.library.opcheck(read.default, (z, y, None, factor, *options)).values()) == {"SUCCESS"}
    upstream = torch.ones_like(read(z, y, None, factor, *options))
    assert set(torch.library.opcheck(slope.default, (upstream, z, y, None, factor, *options)).values()) == {"SUCCESS"}
    front = OPS.binary_cross_entropy_with_logits.default, (z.requires_grad_(), y, None, factor, *options)
    assert set(torch.library.opcheck(*front).values()) == {"SUCCESS"}


def losses(z, y, q):
    loss, lse = functional.cross_entropy(z, y, label_smoothing=0.1, z_loss=0.2, return_lse=True)
    return loss + lse.sum() + functional.binary_cross_entropy_with_logits(z, q)


def test_a_compiled_program_calls_the_kernels_in_both_directions(monkeypatch):
    called = []
    for module, rule in ((_cross_entropy, "dense"), (_binary_cross_entropy, "binary")):
        for name in ("_forward", "_backward"):
            original = getattr(module, name)
            monkeypatch.setattr(
                module, name, lambda *a, of=original, what=rule + name, **k: called.append(what) or of(*a, **k)
            )
    torch.compiler.reset()
    (z, y), q = rows(), torch.rand(6, 5)
    compiled = torch.compile(losses, fullgraph=True, backend="aot_eager")
    leaf = z.clone().requires_grad_()
    loss = compiled(leaf, y, q)
    loss.backward()
    assert sorted(called) == ["binary_backward", "binary_forward", "dense_backward", "dense_forward"]
    expected_leaf = z.clone().requires_grad_()
    expected = losses(expected_leaf, y, q)
    expected.backward()
    assert torch.equal(loss, expected)
    torch.testing.assert_close(leaf.grad, expected_leaf.grad, rtol=1e-6, atol=0)


def test_transforms_inside_a_compiled_program_take_the_formula():
    torch.compiler.reset()
    z, y = rows(torch.float64)
    y = y.clamp(min=0)

    def loss(row):
        return functional.cross_entropy(row, y)

    tangent = torch.ones_like(z)
    for function in (
        torch.func.grad(loss),
        lambda z: torch.func.jvp(loss, (z,), (tangent,))[1],
        lambda z: torch.func.vmap(lambda row: functional.cross_entropy(row, y))(torch.stack([z, 2 * z])),
    ):
        torch.testing.assert_close(torch.compile(function, backend="aot_eager")(z), function(z))


def test_the_operators_differentiate_twice():
    z, y = rows(torch.float64)
    options = OPTIONS._replace(dtype=torch.float64)[:8]
    z.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: OPS.cross_entropy(z, y, None, *options), z)
    assert torch.autograd.gradgradcheck(lambda z: OPS.cross_entropy(z, y, None, *options)[0], z)
    q, binary = torch.rand(6, 5, dtype=torch.float64), BINARY._replace(dtype=torch.float64)[:4]
    assert torch.autograd.gradcheck(lambda z: OPS.binary_cross_entropy_with_logits(z, q, None, None, *binary), z)
    assert torch.autograd.gradgradcheck(lambda z: OPS.binary_cross_entropy_with_logits(z, q, None, None, *binary), z)
