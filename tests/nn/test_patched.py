"""The switch that puts our functions in PyTorch's place: what it changes, what it leaves alone, what it restores."""

import sys
import threading
import types
import warnings

import pytest
import torch
from torch.nn import functional as F

import lastlayer
from lastlayer.errors import DtypeError, TargetError
from lastlayer.nn import _patched

pytestmark = pytest.mark.unchecked  # what is compared is the public functions, wrapped or not by the type checker

DOMINANT, FIRST = torch.tensor([[80.0, 0.0]]), torch.tensor([0])
OURS = 1.8049e-35  # cross-entropy of DOMINANT; PyTorch's is 0


def runs_ours(function=None) -> bool:
    loss = (function or F.cross_entropy)(DOMINANT, FIRST).item()
    assert loss in (0.0, pytest.approx(OURS, rel=1e-4, abs=0))
    return loss != 0.0


def everything() -> dict[tuple[str, str], int]:
    """The identity of every function and class that a loaded module names: counters and clocks change by themselves."""
    return {
        (module, name): id(value)
        for module, loaded in list(sys.modules.items())
        if isinstance(loaded, types.ModuleType)
        for name, value in list(vars(loaded).items())
        if callable(value) and not (module.startswith("lastlayer") or module == __name__)
    }


def test_every_name_is_the_very_object_again():
    with lastlayer.patched():  # loads what it loads
        pass
    before = everything()
    with lastlayer.patched():
        changed = {place for place, value in everything().items() if before.get(place) != value}
    assert {name for module, name in changed if module == "torch.nn.functional"} == {
        name for name in _patched._FORMS[F] if hasattr(F, name)
    }
    assert {name for module, name in changed if module == "torch"} == set(_patched._FORMS[torch])
    assert everything() == before


def test_each_name_computes_with_ours_inside_and_pytorch_outside(monkeypatch):
    called = []
    z, p, y = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.3, 0.7]]), torch.tensor([1])
    calls = {
        F: {
            "cross_entropy": (z, y),
            "nll_loss": (z.log_softmax(1), y),
            "binary_cross_entropy": (p, p),
            "binary_cross_entropy_with_logits": (z, p),
            "kl_div": (p.log(), p, None, None, "batchmean"),
            "softmax": (z, 1),
            "log_softmax": (z, 1),
            "softmin": (z, 1),
            "sigmoid": (z,),
            "logsigmoid": (z,),
            "softplus": (z,),
            "linear_cross_entropy": (z, torch.eye(2), y),
        },
        torch: {"softmax": (z, 1), "log_softmax": (z, 1), "sigmoid": (z,), "logit": (p,), "logsumexp": (z, 1)},
    }
    assert {module: set(names) for module, names in calls.items()} == {
        module: set(names) for module, names in _patched._FORMS.items()
    }
    served = _patched._is_served
    monkeypatch.setattr(_patched, "_is_served", lambda args, kwargs: called.append(1) or served(args, kwargs))
    for module, names in calls.items():
        for name, arguments in names.items():
            if not hasattr(module, name):
                continue
            expected = getattr(module, name)(*arguments)
            called.clear()
            with lastlayer.patched():
                found = getattr(module, name)(*arguments)
            assert called == [1], name  # our own kernels' calls are not replaced
            torch.testing.assert_close(found, expected)


def test_it_switches_blocks_decorators_and_for_good():
    assert not runs_ours()
    with lastlayer.patched() as switch:
        assert runs_ours()
        assert runs_ours(torch.nn.CrossEntropyLoss())
    assert not runs_ours()
    switch.enable()
    assert runs_ours()
    lastlayer.patched().disable()  # any switch closes
    assert not runs_ours()
    lastlayer.patched().disable()  # nothing to close
    with switch:
        assert runs_ours()
    assert lastlayer.patched()(runs_ours)()
    assert not runs_ours()


def test_blocks_are_counted_and_errors_close_them():
    with lastlayer.patched():
        with lastlayer.patched():
            pass
        assert runs_ours()
        with pytest.raises(KeyError), lastlayer.patched():
            raise KeyError
        assert runs_ours()
    assert not runs_ours()


def test_threads_may_open_and_close_at_once():
    before, wrong, barrier = everything(), [], threading.Barrier(8)

    def work():
        barrier.wait()
        for _ in range(20):
            with lastlayer.patched():
                if not runs_ours():
                    wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert not runs_ours()
    assert {place: value for place, value in everything().items() if place in before} == before


def test_names_imported_earlier_are_replaced_and_restored(monkeypatch):
    module = types.ModuleType("somebody_elses_code")
    module.loss, module.sigmoid = F.cross_entropy, torch.sigmoid
    monkeypatch.setitem(sys.modules, "somebody_elses_code", module)
    theirs = module.loss
    assert theirs is F.cross_entropy
    with lastlayer.patched():
        assert module.loss is F.cross_entropy is not theirs
        assert module.sigmoid is torch.sigmoid
        assert runs_ours(module.loss)
    assert module.loss is theirs


def test_names_imported_inside_are_pytorchs_again_afterwards():
    with lastlayer.patched():
        from torch.nn.functional import cross_entropy

        assert runs_ours(cross_entropy)
    assert not runs_ours(cross_entropy)
    assert cross_entropy.__name__ == "cross_entropy"
    assert cross_entropy.__module__ == "torch.nn.functional"


def test_what_somebody_else_puts_there_stays(monkeypatch):
    theirs = F.softmin
    with lastlayer.patched():
        F.softmin = other = lambda *args: "mine"
    try:
        assert F.softmin is other
    finally:
        F.softmin = theirs


def nested() -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch calls them a prototype
        return torch.nested.nested_tensor([torch.eye(2), torch.ones(1, 2)])


P = torch.tensor([0.25, 0.75])
LEFT_TO_PYTORCH = {
    "out": lambda: torch.sigmoid(P, out=torch.empty(2)),
    "out of logsumexp": lambda: torch.logsumexp(P, 0, out=torch.empty(())),
    "stack level": lambda: F.softmax(P, 0, 3),
    "stack level by name": lambda: F.log_softmax(P, dim=0, _stacklevel=5, dtype=torch.float64),
    "integers": lambda: torch.sigmoid(torch.arange(3)),
    "complex": lambda: torch.sigmoid(torch.tensor([1 + 1j])),
    "negative class weights": lambda: F.cross_entropy(DOMINANT, FIRST, torch.tensor([-1.0, 1.0]), reduction="sum"),
    "targets above one": lambda: F.binary_cross_entropy_with_logits(P, P * 2),
    "nested": lambda: torch.softmax(nested(), -1).to_padded_tensor(0.0),
    "meta": lambda: F.cross_entropy(DOMINANT.to("meta"), FIRST.to("meta")),
}


@pytest.mark.parametrize("call", LEFT_TO_PYTORCH.values(), ids=LEFT_TO_PYTORCH)
def test_what_ours_cannot_take_is_pytorchs(call):
    expected = call()
    with lastlayer.patched():
        found = call()
    if expected.device.type == "meta":
        assert (found.shape, found.dtype, found.device) == (expected.shape, expected.dtype, expected.device)
    else:
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_a_missing_axis_warns_as_in_pytorch():
    with lastlayer.patched(), pytest.warns(UserWarning, match="Implicit dimension choice"):
        assert F.softmax(torch.zeros(1, 2)).tolist() == [[0.5, 0.5]]


def test_arguments_that_only_ours_has_stay_unknown():
    with lastlayer.patched(), pytest.raises(TypeError, match="z_loss"):
        F.cross_entropy(DOMINANT, FIRST, z_loss=0.1)


def test_chunking_options_are_pytorchs():
    if not hasattr(torch.nn, "LinearCrossEntropyOptions"):
        pytest.skip("needs PyTorch 2.13")
    x, weight, y = torch.randn(8, 4), torch.randn(16, 4), torch.arange(8)
    options = torch.nn.LinearCrossEntropyOptions(batch_chunk_size=4, chunking_method=None)
    expected = F.linear_cross_entropy(x, weight, y, options=options)
    with lastlayer.patched():
        assert F.linear_cross_entropy(x, weight, y, options=options) == expected


def test_where_both_refuse_the_error_is_ours():
    with lastlayer.patched():
        with pytest.raises(TargetError, match="Row 1 names class 9"):
            F.cross_entropy(torch.zeros(2, 3), torch.tensor([0, 9]))
        with pytest.raises(DtypeError, match="target"):
            F.cross_entropy(torch.zeros(2, 3), torch.tensor([0, 1], dtype=torch.int16))


class Counted(torch.Tensor):
    seen: list = []  # noqa: RUF012 - shared on purpose

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        cls.seen.append(func)
        return super().__torch_function__(func, types, args, kwargs)


def test_subclasses_are_pytorchs():
    z = DOMINANT.as_subclass(Counted)
    with lastlayer.patched():
        assert F.cross_entropy(z, FIRST).item() == 0
    assert Counted.seen


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_under_autocast_the_dtypes_are_pytorchs(dtype):
    z, y, p = torch.randn(4, 3, dtype=dtype), torch.tensor([0, 1, 2, 0]), torch.rand(4, 3, dtype=dtype)
    calls = [
        lambda: F.cross_entropy(z, y),
        lambda: F.cross_entropy(z, p.softmax(1)),
        lambda: F.nll_loss(z, y),
        lambda: F.binary_cross_entropy_with_logits(z, p),
        lambda: F.binary_cross_entropy(p, p),
        lambda: F.kl_div(z, p, reduction="sum"),
        lambda: F.softmax(z, 1),
        lambda: torch.log_softmax(z, 1),
        lambda: torch.logsumexp(z, 1),
        lambda: torch.sigmoid(z),
        lambda: torch.logit(p),
        lambda: F.softplus(z),
        lambda: F.logsigmoid(z),
    ]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for number, call in enumerate(calls):
            expected = call()
            with lastlayer.patched():
                found = call()
            assert found.dtype == expected.dtype, number
            torch.testing.assert_close(found, expected, rtol=0.02, atol=0.02)


def three(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(z, y) + torch.sigmoid(z).sum() + F.softplus(z).mean()


def test_scripts_traces_and_graphs_are_what_they_were():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch deprecates both
        script, traced = torch.jit.script(three), torch.jit.trace(three, (DOMINANT, FIRST))
        graph = torch.fx.symbolic_trace(three)
        with lastlayer.patched():
            assert torch.equal(script(DOMINANT, FIRST), traced(DOMINANT, FIRST))

            def four(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
                return F.cross_entropy(z, y) + torch.sigmoid(z).sum() + F.softplus(z).mean()

            inside, again = torch.jit.script(four), torch.jit.trace(four, (DOMINANT, FIRST))
            drawn = torch.fx.symbolic_trace(four)
        assert [node.kind() for node in again.graph.nodes()] == [node.kind() for node in traced.graph.nodes()]
        assert drawn.code == graph.code
        assert inside(DOMINANT, FIRST) == script(DOMINANT, FIRST) == drawn(DOMINANT, FIRST)


@pytest.mark.slow
def test_compiled_code_uses_ours_inside_and_pytorch_outside():
    torch._dynamo.reset()
    loss = torch.compile(lambda z, y: F.cross_entropy(z, y), fullgraph=True, backend="aot_eager")
    assert not runs_ours(loss)
    with lastlayer.patched():
        assert runs_ours(loss)
        several = torch.compile(three, fullgraph=True, backend="aot_eager")
        z = torch.randn(4, 3, requires_grad=True)
        torch.testing.assert_close(several(z, torch.arange(4) % 3), three(z, torch.arange(4) % 3))
        (found,) = torch.autograd.grad(several(z, torch.arange(4) % 3), z)
        (expected,) = torch.autograd.grad(three(z, torch.arange(4) % 3), z)
        torch.testing.assert_close(found, expected)
    assert not runs_ours(loss)
    torch._dynamo.reset()


def test_derivatives_of_every_kind():
    z = torch.randn(3, 4, dtype=torch.float64)
    y = torch.tensor([0, 1, 3])
    expected = torch.func.hessian(F.cross_entropy)(z, y)
    with lastlayer.patched():
        torch.testing.assert_close(torch.func.hessian(lambda z, y: F.cross_entropy(z, y))(z, y), expected)
        assert torch.autograd.gradcheck(
            lambda z: F.binary_cross_entropy_with_logits(z, z.sigmoid()), z.requires_grad_()
        )


# Whole trainings: the same losses, to rounding


def trained(model, batches, loss_of, steps=4) -> list[float]:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    losses = []
    for step in range(steps):
        loss = loss_of(model, batches[step % len(batches)])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def same_training(make, batches, loss_of, rel=1e-7) -> None:
    """In float64: a network with batch normalisation makes 1e-3 of a rounding of float32 within four steps."""
    expected = trained(make(), batches, loss_of)
    assert len(set(expected)) > 1
    calls = []
    with pytest.MonkeyPatch.context() as patch:
        # count the calls that arrive at ours: a patch that replaced nothing would give equal losses too
        patch.setattr(_patched, "_widened", lambda devices, args, kwargs: calls.append(args) or (args, kwargs))
        with lastlayer.patched():
            found = trained(make(), batches, loss_of)
    assert calls
    assert found == pytest.approx(expected, rel=rel)


@pytest.mark.parametrize("name", ["SoftTargetCrossEntropy", "LabelSmoothingCrossEntropy", "BinaryCrossEntropy"])
def test_training_a_timm_resnet(name):
    timm = pytest.importorskip("timm")
    from timm import loss as losses

    generator = torch.Generator().manual_seed(0)
    images = [torch.randn(4, 3, 32, 32, dtype=torch.float64, generator=generator) for _ in range(2)]
    y = torch.tensor([0, 1, 2, 1])
    target = F.one_hot(y, 3).double() if name == "SoftTargetCrossEntropy" else y
    criterion = getattr(losses, name)()

    def make():
        torch.manual_seed(0)
        return timm.create_model("resnet10t", num_classes=3, pretrained=False).double().train()

    same_training(make, images, lambda model, batch: criterion(model(batch), target))


def test_training_with_pytorchs_own_modules():
    x, y = torch.randn(16, 5, generator=torch.Generator().manual_seed(1)), torch.arange(16) % 4

    def make():
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.Sigmoid(), torch.nn.Linear(8, 4))

    for criterion in (torch.nn.CrossEntropyLoss(label_smoothing=0.1), torch.nn.MultiMarginLoss()):
        expected = trained(make(), [x], lambda model, batch: criterion(model(batch), y))  # noqa: B023 - used at once
        with lastlayer.patched():
            found = trained(make(), [x], lambda model, batch: criterion(model(batch), y))  # noqa: B023
        assert found == pytest.approx(expected, rel=1e-5)


def test_training_a_transformers_language_model():
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    tokens = torch.randint(64, (2, 12), generator=torch.Generator().manual_seed(0))
    labels = tokens.where(torch.arange(12) > 3, -100)

    def make():
        torch.manual_seed(0)
        return transformers.LlamaForCausalLM(config).double()

    # it takes its loss in float32
    same_training(make, [tokens], lambda model, batch: model(batch, labels=labels).loss, rel=1e-6)
