"""Only the import changes: what PyTorch takes is taken, what comes back is what PyTorch gives, or nearer to exact."""

import ast
import inspect
import itertools
import re

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from lastlayer import functional
from tests.functional.cases import CASES, SHAPES, distributions, indices, numbers, ours, probabilities
from tests.functional.judging import FLOATS, assert_as_accurate_as, naming

EACH = pytest.mark.parametrize("name", CASES)


def _columns_first(x):
    return x.mT.contiguous().mT if x.dim() > 1 else x


# The same numbers, laid out otherwise; each returns a tensor that a kernel cannot take for a contiguous one.
LAYOUTS = {
    "every second": lambda x: torch.stack([x, x], -1)[..., 0],
    "columns first": _columns_first,
    "not at the start": lambda x: torch.cat([x.new_zeros(1), x.reshape(-1)])[1:].view(x.shape),
    "backwards": lambda x: x.flip(0).contiguous().flip(0) if x.dim() else x,
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else _columns_first(x),
}


def calls(name, dtypes=FLOATS):
    """Arguments of every shape and dtype."""
    for shape, dtype in itertools.product(SHAPES[CASES[name].takes], dtypes):
        tensors, options = CASES[name].arguments(shape, dtype)
        with naming((shape, dtype)):
            yield tensors, options


@EACH
def test_never_further_from_exact_than_pytorch(name):
    theirs, exact = CASES[name].theirs, CASES[name].exact
    for tensors, options in calls(name):
        with naming(([tuple(x.shape) for x in tensors], tensors[0].dtype)):
            found, plain = ours(name)(*tensors, **options), theirs(*tensors, **options)
            if tensors[0].numel() == 0:
                torch.testing.assert_close(found, plain, equal_nan=True)
            else:
                assert_as_accurate_as(found, plain, exact(*tensors, **options))


@EACH
def test_gradient_is_never_further_from_float64_than_pytorchs(name):
    """Judged by PyTorch in float64 with two units to spare: its own gradients cancel in float32."""
    theirs = CASES[name].theirs

    def gradient(function, tensors, options, dtype=None):
        x, *others = (t.detach().to(dtype) if dtype and t.is_floating_point() else t.detach() for t in tensors)
        options = {
            key: value.to(dtype) if dtype and isinstance(value, torch.Tensor) else value
            for key, value in options.items()
        }
        x = x.clone().requires_grad_()
        result = function(x, *others, **options)
        upstream = (torch.arange(result.numel()) % 7 + 4) / 8  # exact in every dtype; a constant would cancel
        result.backward(upstream.reshape(result.shape).to(result.dtype))
        return x.grad

    for tensors, options in calls(name, FLOATS[1:]):
        with naming(([tuple(x.shape) for x in tensors], tensors[0].dtype)):
            if tensors[0].numel() == 0:
                continue
            found, plain = (gradient(f, tensors, options) for f in (ours(name), theirs))
            exact = gradient(theirs, tensors, options, torch.float64)
            assert found.shape == plain.shape
            assert found.dtype is plain.dtype
            error, their_error = (found.double() - exact).abs(), (plain.double() - exact).abs()
            unit = torch.finfo(found.dtype).eps * exact.abs().clamp(min=torch.finfo(found.dtype).tiny)
            # 1e-15: what float64 itself loses where p − 1 cancels
            assert (error <= 2 * their_error + 2 * unit + 1e-15).all(), (error / unit).max().item()


@pytest.mark.parametrize("layout", LAYOUTS)
@EACH
def test_layout_in_memory_changes_no_digit(name, layout):
    for tensors, options in calls(name, [torch.float32]):
        if tensors[0].numel() == 0:
            continue
        laid_out = [LAYOUTS[layout](x) for x in tensors]
        assert all(torch.equal(x, y) for x, y in zip(tensors, laid_out, strict=True))
        with naming([(tuple(x.shape), x.stride()) for x in laid_out]):
            leaf, strided = tensors[0].clone().requires_grad_(), laid_out[0].detach().requires_grad_()
            expected, found = ours(name)(leaf, *tensors[1:], **options), ours(name)(strided, *laid_out[1:], **options)
            # the order of a sum may follow the layout; nothing else may
            torch.testing.assert_close(found, expected, rtol=3e-7, atol=0)
            assert found.shape == expected.shape
            expected.sum().backward()
            found.sum().backward()
            torch.testing.assert_close(strided.grad, leaf.grad, rtol=1e-6, atol=1e-9)


@EACH
def test_expanded_tensors_are_read_as_they_look(name):
    """One row, shown several times: it has one place in memory and a gradient for each time that it is shown."""
    for tensors, options in calls(name, [torch.float32]):
        if tensors[0].dim() < 2 or tensors[0].numel() == 0:
            continue
        shown = tensors[0][:1].clone().requires_grad_()
        with naming(tuple(tensors[0].shape)):
            copied = shown.detach().expand_as(tensors[0]).contiguous()
            expanded = shown.expand_as(tensors[0])
            found = ours(name)(expanded, *tensors[1:], **options)
            torch.testing.assert_close(found, ours(name)(copied, *tensors[1:], **options), rtol=3e-7, atol=0)
            found.sum().backward()
            leaf = copied.requires_grad_()
            ours(name)(leaf, *tensors[1:], **options).sum().backward()
            torch.testing.assert_close(shown.grad, leaf.grad.sum(0, keepdim=True), rtol=1e-5, atol=1e-7)


@EACH
def test_inputs_are_never_written_and_two_runs_are_equal_to_the_bit(name):
    for tensors, options in calls(name):
        everything = [*tensors, *(value for value in options.values() if isinstance(value, torch.Tensor))]
        before = [x.clone() for x in everything]
        versions = [x._version for x in everything]
        results = []
        for _ in range(2):
            leaf = tensors[0].detach().requires_grad_()  # the caller's memory, not a copy of it
            result = ours(name)(leaf, *tensors[1:], **options)
            result.backward(torch.ones_like(result))
            results += [result.detach(), leaf.grad]
        assert [x._version for x in everything] == versions
        with naming(([tuple(x.shape) for x in tensors], tensors[0].dtype)):
            for x, copy in zip(everything, before, strict=True):
                torch.testing.assert_close(x, copy, rtol=0, atol=0)
            for first, second in zip(results[:2], results[2:], strict=True):
                torch.testing.assert_close(first, second, rtol=0, atol=0, equal_nan=True)


def metadata(x):
    return tuple(x.shape), x.stride(), x.dtype, x.requires_grad


@pytest.mark.unchecked  # a fake tensor has no values for the type checker either
@pytest.mark.parametrize("differentiated", [False, True])
@EACH
def test_fake_tensors_have_the_metadata_of_real_ones(name, differentiated):
    """What torch.compile, export and memory planners believe about a result they never computed."""
    for tensors, options in calls(name, [torch.float32, torch.bfloat16]):
        leaf = tensors[0].detach().requires_grad_(differentiated)
        real = ours(name)(leaf, *tensors[1:], **options)
        with FakeTensorMode(allow_non_fake_inputs=False) as mode, naming(tuple(leaf.shape)):
            fakes = [mode.from_tensor(x) for x in (leaf, *tensors[1:])]
            fake_options = {
                key: mode.from_tensor(value) if isinstance(value, torch.Tensor) else value
                for key, value in options.items()
            }
            fake = ours(name)(*fakes, **fake_options)
            assert metadata(fake) == metadata(real)
            assert fake.device == real.device
        on_meta = ours(name)(
            *(x.detach().to("meta") for x in tensors),
            **{k: v.to("meta") if isinstance(v, torch.Tensor) else v for k, v in options.items()},
        )
        assert metadata(on_meta) == (*metadata(real)[:3], False)


# Names, order and defaults of the arguments


def parameters_of_pytorch(name):
    """Name and default of each argument; a builtin has them only in the first line of its documentation."""
    if name in ("softmax", "log_softmax", "softmin"):  # torch.softmax; F.softmax only adds a deprecated default of dim
        return [("input", inspect.Parameter.empty), ("dim", inspect.Parameter.empty), ("dtype", None)]
    function = getattr(F, name, None) or getattr(torch, name)
    try:
        signature = inspect.signature(function)
        return [(p.name, p.default) for p in signature.parameters.values() if p.name != "options"]
    except ValueError:
        written = re.search(rf"\b{name}\((.*?)\)", function.__doc__).group(1).split(", *")[0]
    known = []
    for argument in written.split(", "):
        argument_name, _, default = argument.partition("=")
        known.append((argument_name, ast.literal_eval(default) if default else inspect.Parameter.empty))
    return known


# What differs on purpose: softplus never returns its input for the formula unless asked to.
OTHER_DEFAULTS = {("softplus", "threshold")}


@pytest.mark.parametrize("name", sorted({name.split(",")[0] for name in CASES} | {"one_hot"}))
def test_arguments_have_pytorchs_names_order_and_defaults(name):
    theirs = parameters_of_pytorch(name)
    mine = list(inspect.signature(getattr(functional, name)).parameters.values())
    assert theirs
    assert [p.name for p in mine[: len(theirs)]] == [argument for argument, _ in theirs]
    for parameter, (argument, default) in zip(mine, theirs, strict=False):
        if (name, argument) not in OTHER_DEFAULTS:
            assert parameter.default == default, argument
    for extra in mine[len(theirs) :]:
        assert extra.kind is inspect.Parameter.KEYWORD_ONLY, extra
        assert extra.default is not inspect.Parameter.empty, extra


PROBABILITIES, INDICES = distributions((4, 5), torch.float64), indices((4, 5))
WEIGHT = torch.linspace(0.5, 2, 5, dtype=torch.float64)
POSITIONAL = {
    "cross_entropy": (INDICES, WEIGHT, None, 3, None, "sum", 0.1),
    "nll_loss": (INDICES, WEIGHT, None, 3, None, "sum"),
    "binary_cross_entropy_with_logits": (PROBABILITIES, WEIGHT, None, None, "sum", 2 * WEIGHT),
    "kl_div": (PROBABILITIES, None, None, "sum", True),
    "softplus": (2.0, 3.0),
    "logsigmoid": (),
}


@pytest.mark.parametrize("name", POSITIONAL)
@pytest.mark.filterwarnings("ignore:reduction")
def test_positional_arguments_mean_what_pytorchs_mean(name):
    z = numbers((4, 5), torch.float64)
    for count in range(min(1, len(POSITIONAL[name])), len(POSITIONAL[name]) + 1):
        arguments = POSITIONAL[name][:count]
        with naming(count):
            torch.testing.assert_close(getattr(functional, name)(z, *arguments), getattr(F, name)(z, *arguments))


def test_positional_arguments_of_probabilities_and_axes():
    p = probabilities((4, 5), torch.float64)
    for arguments in [(PROBABILITIES,), (PROBABILITIES, WEIGHT), (PROBABILITIES, WEIGHT, None, None, "none")]:
        torch.testing.assert_close(
            functional.binary_cross_entropy(p, *arguments), F.binary_cross_entropy(p, *arguments)
        )
    torch.testing.assert_close(functional.logit(p, 0.3), torch.logit(p, 0.3))
    for dims in (0, -1, (0, 1)):
        torch.testing.assert_close(functional.logsumexp(p, dims, True), torch.logsumexp(p, dims, True))
    for name in ("softmax", "log_softmax"):
        expected = getattr(torch, name)(p.half(), 1, torch.float64)
        torch.testing.assert_close(getattr(functional, name)(p.half(), 1, torch.float64), expected)
    torch.testing.assert_close(functional.softmin(p, 0), F.softmin(p, 0))


def test_logsumexp_takes_a_list_of_axes():
    p = probabilities((4, 5), torch.float64)
    torch.testing.assert_close(functional.logsumexp(p, [0, 1]), torch.logsumexp(p, [0, 1]))


FLAGS = [
    {"size_average": average, "reduce": reduce}
    for average, reduce in itertools.product([None, False, True], repeat=2)
    if (average, reduce) != (None, None)
]
LEGACY = {
    "cross_entropy": (numbers((4, 5), torch.float64), INDICES),
    "nll_loss": (numbers((4, 5), torch.float64), INDICES),
    "binary_cross_entropy": (probabilities((4, 5), torch.float64), PROBABILITIES),
    "binary_cross_entropy_with_logits": (numbers((4, 5), torch.float64), PROBABILITIES),
    "kl_div": (numbers((4, 5), torch.float64), PROBABILITIES),
}


@pytest.mark.unchecked  # the checker is a caller of its own, and a warning points at its caller
@pytest.mark.parametrize("flags", FLAGS, ids=str)
@pytest.mark.parametrize("name", LEGACY)
@pytest.mark.parametrize("reduction", ["none", "sum"])
def test_deprecated_flags_mean_and_warn_what_they_meant(name, flags, reduction):
    """They win over `reduction`, and the warning points at the line that calls."""
    options = {**flags, "reduction": reduction}
    with pytest.warns(UserWarning, match="deprecated") as their_warnings:
        expected = getattr(F, name)(*LEGACY[name], **options)
    with pytest.warns(UserWarning, match="deprecated") as our_warnings:
        found = getattr(functional, name)(*LEGACY[name], **options)
    torch.testing.assert_close(found, expected)
    assert [str(w.message) for w in our_warnings] == [str(w.message) for w in their_warnings]
    assert all(w.filename == __file__ for w in our_warnings)


# Mixed dtypes


def mixed(name, first, second):
    z = numbers((4, 3), first)
    p, y = probabilities((4, 3), second), indices((4, 3))
    weight = torch.ones(3, dtype=second)
    return {
        "cross_entropy, probabilities": (F.cross_entropy, (z, p), {}),
        "cross_entropy, weight and probabilities": (F.cross_entropy, (z, p.to(first), weight), {}),
        "cross_entropy, uint8 indices": (F.cross_entropy, (z, y.to(torch.uint8)), {}),
        "binary_cross_entropy_with_logits": (F.binary_cross_entropy_with_logits, (z, p), {}),
        "binary_cross_entropy_with_logits, weight": (F.binary_cross_entropy_with_logits, (z, p.to(first), weight), {}),
        "binary_cross_entropy_with_logits, pos_weight": (
            F.binary_cross_entropy_with_logits,
            (z, p.to(first)),
            {"pos_weight": weight},
        ),
        "binary_cross_entropy, weight": (F.binary_cross_entropy, (p.to(first), p.to(first), weight), {}),
        "kl_div": (F.kl_div, (z, p), {"reduction": "sum"}),
        "kl_div, log": (F.kl_div, (z, p.log()), {"reduction": "batchmean", "log_target": True}),
    }[name]


MIXED = [
    "cross_entropy, probabilities",
    "cross_entropy, weight and probabilities",
    "cross_entropy, uint8 indices",
    "binary_cross_entropy_with_logits",
    "binary_cross_entropy_with_logits, weight",
    "binary_cross_entropy_with_logits, pos_weight",
    "binary_cross_entropy, weight",
    "kl_div",
    "kl_div, log",
]


@pytest.mark.unchecked  # the annotations say less than is taken: no uint8
@pytest.mark.parametrize("name", MIXED)
def test_mixed_dtypes_promote_as_in_pytorch(name):
    for first, second in itertools.product(FLOATS, repeat=2):
        theirs, arguments, options = mixed(name, first, second)
        with naming((first, second)):
            expected, found = theirs(*arguments, **options), ours(name)(*arguments, **options)
            if name == "binary_cross_entropy_with_logits":
                # PyTorch computes in place in the target's dtype: a narrow target narrows the loss; here none does
                expected = expected.to(torch.promote_types(first, second))
            assert found.dtype is expected.dtype
            exact = CASES[name.split(",")[0]].exact
            assert_as_accurate_as(found, expected, exact(*arguments, **options))


@pytest.mark.unchecked  # the annotations say less than is taken: floats only
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.bool], ids=str)
def test_integer_factors_of_binary_losses_are_taken_as_in_pytorch(dtype):
    z, p = numbers((4, 3), torch.float32), probabilities((4, 3), torch.float32)
    ones = torch.ones(3, dtype=dtype)
    for options in (
        {"weight": ones},
        *([] if dtype is torch.bool else [{"pos_weight": ones}]),
    ):  # PyTorch: 1 − pos_weight
        with naming(options):
            torch.testing.assert_close(
                functional.binary_cross_entropy_with_logits(z, p, **options),
                F.binary_cross_entropy_with_logits(z, p, **options),
            )


@pytest.mark.unchecked  # the annotations say less than is taken: no bool
@pytest.mark.parametrize("name", ["sigmoid", "logit"])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.bool], ids=str)
def test_integers_and_booleans_become_the_default_dtype(name, dtype):
    x = torch.tensor([0, 1, 1]).to(dtype)
    torch.testing.assert_close(getattr(functional, name)(x), getattr(torch, name)(x))
    torch.testing.assert_close(functional.logsumexp(x, 0), torch.logsumexp(x, 0))


def test_no_classes_and_no_rows():
    """Nothing is summed over nothing."""
    z, y = torch.zeros(0, 0), torch.zeros(0, dtype=torch.long)
    for reduction in ("none", "sum", "mean"):
        expected = F.cross_entropy(z, y, reduction=reduction)
        torch.testing.assert_close(functional.cross_entropy(z, y, reduction=reduction), expected, equal_nan=True)


def test_logit_clamps_as_pytorch_even_where_the_bounds_cross():
    p = torch.tensor([0.1, 0.5, 0.9])
    for eps in (0.0, 0.3, 0.5, 0.7, 1.0):
        with naming(eps):
            torch.testing.assert_close(functional.logit(p, eps), torch.logit(p, eps))
