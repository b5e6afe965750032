"""torch.compile without a graph break, with static and with dynamic shapes.

Compiling costs seconds, so functions are compiled together: a break names its line.
"""

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from lastlayer import functional as ours
from lastlayer import nn

pytestmark = pytest.mark.unchecked  # torch.compile cannot trace through the run-time type checker

WEIGHT = torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64)


def losses_of_indices(z, y):
    flat = ours.cross_entropy(z, y)
    weighted = ours.cross_entropy(z, y, WEIGHT, label_smoothing=0.1, z_loss=0.3, softcap=4.0, temperature=0.7)
    each, lse = ours.cross_entropy(z, y, reduction="none", return_lse=True, empty="zero")
    return flat + weighted + each.sum() + lse.sum() + ours.nll_loss(ours.log_softmax(z, 1), y, WEIGHT)


def losses_of_a_row(z, y):
    return ours.cross_entropy(z[0], y[0], WEIGHT) + ours.nll_loss(z[0], y[0]) + ours.cross_entropy(z[0], y[0])


def losses_of_probabilities(z, y):
    q = ours.softmax(z.detach().flip(0), 1)
    soft = ours.cross_entropy(z, q, WEIGHT, label_smoothing=0.1, reduction="sum")
    logits = ours.binary_cross_entropy_with_logits(z, q, WEIGHT, pos_weight=WEIGHT, label_smoothing=0.1)
    focal = ours.binary_cross_entropy_with_logits(z, q, focal_gamma=2.0, reduction="none").sum()
    return soft + logits + focal + ours.binary_cross_entropy(ours.sigmoid(z), q, WEIGHT, focal_gamma=2.0)


def linear_losses(z, y):
    matrix = torch.eye(3, dtype=torch.float64) + 0.5
    one = ours.linear_cross_entropy(z, matrix, y, linear_bias=WEIGHT, weight=WEIGHT, softcap=4.0)
    return one + ours.linear_binary_cross_entropy(z, matrix, ours.sigmoid(z.detach()), linear_bias=WEIGHT)


def functions(z, y):
    p = ours.sigmoid(z)
    total = ours.logit(p).sum() + ours.logsigmoid(z).sum() + ours.softplus(z, 2.0).sum() + ours.surprisal(p).sum()
    total = total + (ours.softmax(z, 1, temperature=0.7) * z).sum() + ours.log_softmax(z, 0).sum()
    total = total + (ours.softmin(z, 1) * z).sum() + ours.logsumexp(z, (0, 1)) + ours.entropy(z).sum()
    total = total + ours.kl_divergence(z, z.flip(0)).sum() + ours.kl_div(z, p, reduction="sum")
    return total + ours.cross_entropy_of(p, 1 - p).sum() + ours.hardmax(z, 1).sum()


TOGETHER = [losses_of_indices, losses_of_a_row, losses_of_probabilities, linear_losses, functions]


def inputs(rows):
    generator = torch.Generator().manual_seed(rows)
    y = torch.randint(0, 3, (rows,), generator=generator)
    y[-1] = -100
    return torch.randn(rows, 3, dtype=torch.float64, generator=generator).requires_grad_(), y


def assert_same_with_gradient(compiled, function, rows):
    (z, y), (eager_z, _) = inputs(rows), inputs(rows)
    found, expected = compiled(z, y), function(eager_z, y)
    torch.testing.assert_close(found, expected)
    found.backward()
    expected.backward()
    assert eager_z.grad.abs().max() > 0
    torch.testing.assert_close(z.grad, eager_z.grad)


@pytest.mark.parametrize("function", TOGETHER, ids=lambda f: f.__name__)
def test_one_graph_for_every_number_of_rows(function):
    torch.compiler.reset()
    counter = CompileCounterWithBackend("aot_eager")
    dynamic = torch.compile(function, fullgraph=True, dynamic=True, backend=counter)
    for rows in (4, 7, 9):
        assert_same_with_gradient(dynamic, function, rows)
    # Dynamo may start over once, which leaves an empty graph; a break or a new number of rows would leave a full one.
    assert len([graph for graph in counter.graphs if len(graph.graph.nodes)]) == 1
    torch.compiler.reset()
    static = torch.compile(function, fullgraph=True, dynamic=False, backend="aot_eager")
    assert_same_with_gradient(static, function, 4)


def test_modules_compile_without_a_break():
    torch.compiler.reset()
    head = nn.MultiClassHead(3, 5).double()
    criterion = nn.CrossEntropyLoss(torch.ones(5, dtype=torch.float64), label_smoothing=0.1, z_loss=0.1)
    compiled = torch.compile(lambda x, y: criterion(head(x), y), fullgraph=True, backend="aot_eager")
    z, y = inputs(4)
    loss = compiled(z, y)
    torch.testing.assert_close(loss, criterion(head(z), y))
    loss.backward()
    assert head.linear.weight.grad.abs().max() > 0


def test_a_bad_index_in_a_compiled_loss_is_nan_in_its_row_alone():
    torch.compiler.reset()
    compiled = torch.compile(
        lambda z, y: ours.cross_entropy(z, y, reduction="none"), fullgraph=True, backend="aot_eager"
    )
    z, _ = inputs(3)
    loss = compiled(z, torch.tensor([0, 3, -7]))
    loss.sum().backward()
    assert loss.isnan().tolist() == [False, True, True]
    assert z.grad.isnan().all(1).tolist() == [False, True, True]
    assert z.grad[0].isfinite().all()


def test_reading_the_values_breaks_the_graph_and_is_an_error():
    torch.compiler.reset()
    compiled = torch.compile(lambda z, y: ours.cross_entropy(z, y, check=True), fullgraph=True, backend="aot_eager")
    with pytest.raises(Exception, match=r"data-dependent|Dynamo|Unsupported"):
        compiled(*inputs(4))


def test_export():
    """The exported program has no Python left in it and gives the same numbers."""

    class Model(torch.nn.Module):
        def forward(self, z, y):
            return ours.cross_entropy(z, y, WEIGHT, label_smoothing=0.1)

    z, y = inputs(4)
    program = torch.export.export(Model(), (z, y))
    torch.testing.assert_close(program.module()(z, y), Model()(z, y))


@pytest.mark.slow
def test_inductor_computes_the_same():
    """The compiler that people use: it reorders arithmetic, so equal to rounding."""
    torch.compiler.reset()
    compiled = torch.compile(losses_of_indices, fullgraph=True)
    assert_same_with_gradient(compiled, losses_of_indices, 4)
