"""Bad input gets PyTorch's exception, and a message that begins with PyTorch's words and says what to do."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from lastlayer import errors, functional, kernels
from tests.functional.judging import naming

pytestmark = pytest.mark.unchecked

Z, Y = torch.zeros(4, 3), torch.tensor([0, 1, 2, 0])
SPATIAL = torch.zeros(2, 3, 4)
P = torch.full((4, 3), 0.5)

# name of the function, arguments, and what our message adds
SAME_AS_PYTORCH = {
    "batch sizes differ": ("cross_entropy", (Z, Y[:2]), {}, r"expected shape \(4,\), got \(2,\)"),
    "flattened one-hot": ("cross_entropy", (Z, torch.zeros(12).long()), {}, r"target.view\(-1, 3\).argmax\(1\)"),
    "target (N, 1)": ("cross_entropy", (Z, Y[:, None]), {}, r"target.squeeze\(1\)"),
    "integer one-hot": ("cross_entropy", (Z, F.one_hot(Y, 3)), {}, r"target.argmax"),
    "float indices": ("cross_entropy", (Z, Y.float()), {}, r"target.long\(\)"),
    "int32 indices": ("cross_entropy", (Z, Y.int()), {}, r"target.long\(\)"),
    "bool indices": ("cross_entropy", (Z, Y.bool()), {}, r"target.long\(\)"),
    "index too large": ("cross_entropy", (Z, torch.tensor([0, 1, 3, 0])), {}, r"Row 2 names class 3"),
    "index negative": ("cross_entropy", (Z, torch.tensor([0, 1, -1, 0])), {}, r"ignore_index=-1"),
    "sizes differ in K dimensions": (
        "cross_entropy",
        (SPATIAL, torch.zeros(2, 5).long()),
        {},
        r"\(2, 4\), got \(2, 5\)",
    ),
    "classes on the last axis": ("cross_entropy", (torch.zeros(2, 4, 3), torch.zeros(2, 4).long()), {}, "transpose"),
    "mask with a channel": (
        "cross_entropy",
        (torch.zeros(2, 3, 4, 4), torch.zeros(2, 1, 4, 4).long()),
        {},
        r"target.squeeze\(1\)",
    ),
    "weight too short": ("cross_entropy", (Z, Y, torch.ones(2)), {}, r"one number per class, shape \(3,\)"),
    "unknown reduction": ("cross_entropy", (Z, Y), {"reduction": "avg"}, "'none', 'mean', 'sum'"),
    "too much smoothing": ("cross_entropy", (Z, Y), {"label_smoothing": 2}, "between 0.0 and 1.0"),
    "probabilities with ignore_index": ("cross_entropy", (Z, P), {"ignore_index": 1}, "no index to compare"),
    "probabilities of another shape": ("cross_entropy", (Z, P[:, :2]), {}, r"shape of input, \(4, 3\)"),
    "list as target": ("cross_entropy", (Z, [0, 1, 2, 0]), {}, r"torch.tensor"),
    "tuple as input": ("cross_entropy", ((Z,), Y), {}, "tensor"),
    "integer logits": ("cross_entropy", (Z.long(), Y), {}, r"input.float\(\)"),
    "nll: no axes": ("nll_loss", (torch.tensor(1.0), torch.tensor(0)), {}, "class axis"),
    "nll: index too large": ("nll_loss", (Z, torch.tensor([0, 1, 3, 0])), {}, "4 outputs"),
    "nll: float indices": ("nll_loss", (Z, Y.float()), {}, r"target.long\(\)"),
    "bce: shapes differ": ("binary_cross_entropy", (P[:, :1], P[:, 0]), {}, r"input.squeeze\(1\)"),
    "bce: logits": ("binary_cross_entropy", (Z - 1, P), {}, "binary_cross_entropy_with_logits"),
    "bce: targets": ("binary_cross_entropy", (P, P + 1), {}, "Rescale"),
    "bce: weight": ("binary_cross_entropy", (P, P, torch.ones(2)), {}, "broadcast"),
    "bce logits: shapes differ": ("binary_cross_entropy_with_logits", (Z[:, :1], Z[:, 0]), {}, r"input.squeeze\(1\)"),
    "bce logits: pos_weight": (
        "binary_cross_entropy_with_logits",
        (Z, P),
        {"pos_weight": torch.ones(2)},
        "broadcast",
    ),
    "bce logits: integer logits": ("binary_cross_entropy_with_logits", (Y, P[:, 0]), {}, r"input.float\(\)"),
    "kl_div: shapes": ("kl_div", (P, P[:, :2]), {"reduction": "sum"}, "broadcast"),
    "kl_div: reduction": ("kl_div", (P, P), {"reduction": "avg"}, "batchmean"),
    "weight too long": ("cross_entropy", (Z, Y, torch.ones(4)), {}, r"shape \(3,\)"),
    "weight of two axes": ("cross_entropy", (Z, Y, torch.ones(1, 3)), {}, r"shape \(3,\)"),
    "weight too short for probabilities": ("cross_entropy", (Z, P, torch.ones(2)), {}, r"shape \(3,\)"),
    "no class axis": ("cross_entropy", (torch.tensor(1.0), torch.tensor(0)), {}, "class axis"),
    "no classes": ("cross_entropy", (torch.zeros(2, 0), torch.zeros(2).long()), {}, "Row 0"),
    "more rows than targets": ("cross_entropy", (Z[:0], Y), {}, r"expected shape \(0,\), got \(4,\)"),
    "scalar target of a batch": ("cross_entropy", (Z, torch.tensor(1)), {}, r"expected shape \(4,\), got \(\)"),
    "two targets of a row": ("cross_entropy", (Z[0], Y[:2]), {}, r"expected shape \(\), got \(2,\)"),
    "two names for a reduction": ("cross_entropy", (Z, Y), {"reduction": None}, "'none', 'mean', 'sum'"),
    "complex logits": ("cross_entropy", (Z + 0j, Y), {}, "float32"),
    "nll: weight": ("nll_loss", (Z, Y, torch.ones(2)), {}, r"shape \(3,\)"),
    "nll: sizes": ("nll_loss", (SPATIAL, torch.zeros(2, 5).long()), {}, r"\(2, 4\), got \(2, 5\)"),
    "nll: batches": ("nll_loss", (Z, Y[:3]), {}, r"expected shape \(4,\), got \(3,\)"),
    "nll: reduction": ("nll_loss", (Z, Y), {"reduction": "batchmean"}, "'none', 'mean', 'sum'"),
    "nll: integers": ("nll_loss", (Z.long(), Y), {}, r"input.float\(\)"),
    "nll: probabilities": ("nll_loss", (Z, P), {}, "one class index per row"),
    "bce: reduction": ("binary_cross_entropy", (P, P), {"reduction": "avg"}, "'none', 'mean', 'sum'"),
    "bce: integer target": ("binary_cross_entropy", (P, P.long()), {}, r"target.float\(\)"),
    "bce: NaN": ("binary_cross_entropy", (P * float("nan"), P), {}, "binary_cross_entropy_with_logits"),
    "bce: NaN target": ("binary_cross_entropy", (P, P * float("nan")), {}, "(?i)nan"),
    "bce: above 1": ("binary_cross_entropy", (P + 0.6, P), {}, "1.1"),
    "bce logits: reduction": ("binary_cross_entropy_with_logits", (Z, P), {"reduction": "batchmean"}, "'sum'"),
    "bce logits: weight": ("binary_cross_entropy_with_logits", (Z, P, torch.ones(4)), {}, "broadcast"),
    "bce logits: larger weight": ("binary_cross_entropy_with_logits", (Z, P, torch.ones(2, 4, 3)), {}, "broadcast"),
    "bce logits: integer target": ("binary_cross_entropy_with_logits", (Z, Z.long()), {}, r"target.float\(\)"),
    "bce logits: boolean target": ("binary_cross_entropy_with_logits", (Z, Z.bool()), {}, r"target.float\(\)"),
    "kl_div: integer target": ("kl_div", (P, P.long()), {"reduction": "sum"}, r"target.float\(\)"),
    "log_softmax: no such axis": ("log_softmax", (Z, -3), {}, r"shape \(4, 3\)"),
    "log_softmax: integers": ("log_softmax", (Y, 0), {}, r"input.float\(\)"),
    "softmax: integer dtype": ("softmax", (Z, 1), {"dtype": torch.int64}, "float32"),
    "softplus: integers": ("softplus", (Y,), {}, r"input.float\(\)"),
    "logsigmoid: integers": ("logsigmoid", (Y,), {}, r"input.float\(\)"),
    "one_hot: fewer than none": ("one_hot", (Y, -2), {}, "num_classes"),
    "softmax: no such axis": ("softmax", (Z, 2), {}, r"shape \(4, 3\)"),
    "softmax: integers": ("softmax", (Y, 0), {}, r"input.float\(\)"),
    "one_hot: negative": ("one_hot", (torch.tensor([-1]),), {}, "numbered from 0"),
    "one_hot: too large": ("one_hot", (torch.tensor([3]), 3), {}, "num_classes=4"),
    "one_hot: floats": ("one_hot", (torch.tensor([1.0]),), {}, r"tensor.long\(\)"),
    "one_hot: nothing to count": ("one_hot", (torch.tensor([], dtype=torch.long),), {}, "Pass num_classes"),
}


@pytest.mark.parametrize(("name", "arguments", "options", "advice"), SAME_AS_PYTORCH.values(), ids=SAME_AS_PYTORCH)
def test_raises_what_pytorch_raises(name, arguments, options, advice):
    with pytest.raises(Exception) as theirs:  # noqa: PT011 - whichever PyTorch raises
        getattr(F, name)(*arguments, **options)
    with pytest.raises(errors.LastLayerError, match=advice) as ours:
        getattr(functional, name)(*arguments, **options)
    assert isinstance(ours.value, theirs.type)


# Where PyTorch names what is inside it, or an operation that we do not have, its words would not help.
OTHER_WORDS = {
    "list as target", "tuple as input", "integer logits", "complex logits", "nll: integers", "bce: weight",
    "bce: integer target", "bce logits: weight", "bce logits: larger weight", "bce logits: pos_weight",
    "bce logits: integer logits", "bce logits: integer target", "bce logits: boolean target", "kl_div: shapes",
    "kl_div: integer target", "log_softmax: integers", "softmax: integers", "softmax: integer dtype",
    "softplus: integers", "logsigmoid: integers", "nll: probabilities", "one_hot: fewer than none",
    "weight too short for probabilities", "no class axis", "scalar target of a batch",
}  # fmt: skip


@pytest.mark.skipif(torch.__version__ < "2.13", reason="the words of PyTorch from 2.13 on")
@pytest.mark.parametrize("case", [case for case in SAME_AS_PYTORCH if case not in OTHER_WORDS])
def test_begins_with_the_words_of_pytorch(case):
    """They tell people what to search for."""
    name, arguments, options, _ = SAME_AS_PYTORCH[case]
    with pytest.raises(Exception) as theirs:  # noqa: PT011 - whichever PyTorch raises
        getattr(F, name)(*arguments, **options)
    with pytest.raises(errors.LastLayerError) as ours:
        getattr(functional, name)(*arguments, **options)
    words = str(theirs.value).split("\n")[0].rstrip(".")
    words = words.removesuffix(" is deprecated. Please ensure they have the same size")  # it is an error by now
    assert str(ours.value).startswith(words)
    if "Got:" not in words:
        assert len(str(ours.value)) > len(words) + 10, "it says nothing that PyTorch does not"


ONLY_OURS = {
    "negative weight": (lambda: functional.cross_entropy(Z, Y, torch.tensor([1.0, -1.0, 1.0])), "-1.0 for class 1"),
    "NaN weight": (lambda: functional.cross_entropy(Z, Y, torch.tensor([1.0, float("nan"), 1.0])), "class 1"),
    "integer weight": (lambda: functional.cross_entropy(Z, Y, torch.ones(3).long()), r"weight.float\(\)"),
    "NaN smoothing": (lambda: functional.cross_entropy(Z, Y, label_smoothing=float("nan")), "between"),
    "temperature of 0": (lambda: functional.cross_entropy(Z, Y, temperature=0.0), "positive"),
    "negative softcap": (lambda: functional.cross_entropy(Z, Y, softcap=-1.0), "positive"),
    "NaN in z_loss": (lambda: functional.cross_entropy(Z, Y, z_loss=float("nan")), "finite"),
    "negative z_loss": (lambda: functional.cross_entropy(Z, Y, z_loss=-1.0), "0 or more"),
    "softcap of 0": (lambda: functional.cross_entropy(Z, Y, softcap=0.0), "positive"),
    "infinite temperature": (lambda: functional.cross_entropy(Z, Y, temperature=float("inf")), "finite"),
    "NaN temperature": (lambda: functional.log_softmax(Z, 1, temperature=float("nan")), "positive"),
    "negative weight of probabilities": (lambda: functional.cross_entropy(Z, P, -torch.ones(3)), "-1.0 for class 0"),
    "negative weight of nll": (lambda: functional.nll_loss(Z, Y, torch.tensor([1.0, 1.0, -0.5])), "-0.5 for class 2"),
    "negative weight of bce": (lambda: functional.binary_cross_entropy(P, P, -torch.ones(3)), "non-negative"),
    "NaN weight of bce": (
        lambda: functional.binary_cross_entropy_with_logits(Z, P, torch.tensor([1.0, float("nan"), 1.0])),
        "non-negative",
    ),
    "negative weight of a linear loss": (
        lambda: functional.linear_cross_entropy(Z, torch.zeros(3, 3), Y, weight=-torch.ones(3)),
        "-1.0 for class 0",
    ),
    "negative pos_weight of a linear loss": (
        lambda: functional.linear_binary_cross_entropy(Z, torch.zeros(3, 3), P, pos_weight=-torch.ones(3)),
        "non-negative",
    ),
    "smoothing of bce": (
        lambda: functional.binary_cross_entropy(P, P, label_smoothing=1.1),
        "between 0.0 and 1.0",
    ),
    "smoothing of bce with logits": (
        lambda: functional.binary_cross_entropy_with_logits(Z, P, label_smoothing=float("nan")),
        "between 0.0 and 1.0",
    ),
    "infinite focal gamma": (
        lambda: functional.binary_cross_entropy(P, P, focal_gamma=float("inf")),
        "finite",
    ),
    "linear: index too large": (
        lambda: functional.linear_cross_entropy(Z, torch.zeros(3, 3), torch.tensor([0, 1, 5, 0])),
        "Row 2 names class 5",
    ),
    "linear: another number of rows": (
        lambda: functional.linear_cross_entropy(Z, torch.zeros(3, 3), Y[:2]),
        r"\(4,\), got \(2,\)",
    ),
    "linear: integer features": (lambda: functional.linear_cross_entropy(Z.long(), torch.zeros(3, 3), Y), "float"),
    "linear: scalar features": (lambda: functional.linear_cross_entropy(Z[0, 0], torch.zeros(3, 3), Y), "features"),
    "linear: unknown reduction": (
        lambda: functional.linear_cross_entropy(Z, torch.zeros(3, 3), Y, reduction="avg"),
        "'none'",
    ),
    "linear: smoothing": (
        lambda: functional.linear_cross_entropy(Z, torch.zeros(3, 3), Y, label_smoothing=-1.0),
        "between 0.0 and 1.0",
    ),
    "linear: probabilities with ignore_index": (
        lambda: functional.linear_cross_entropy(Z, torch.zeros(3, 3), P, ignore_index=0),
        "no index to compare",
    ),
    "linear binary: shapes": (
        lambda: functional.linear_binary_cross_entropy(Z, torch.zeros(5, 3), P),
        r"\[4, 3\]",
    ),
    "linear binary: target above 1": (
        lambda: functional.linear_binary_cross_entropy(Z, torch.zeros(3, 3), P + 1),
        "between 0 and 1",
    ),
    "linear binary: bias": (
        lambda: functional.linear_binary_cross_entropy(Z, torch.zeros(3, 3), P, linear_bias=torch.zeros(())),
        r"\(3,\), got \(\)",
    ),
    "axis that is no number": (lambda: functional.softmax(Z, None), "dim"),
    "complex numbers": (lambda: functional.sigmoid(Z + 0j), "float32"),
    "complex numbers summed": (lambda: functional.logsumexp(Z + 0j, 1), "float32"),
    "entropy: no such axis": (lambda: functional.entropy(Z, 2), r"shape \(4, 3\)"),
    "kl_divergence: shapes": (lambda: functional.kl_divergence(Z, Z[:2]), "one shape"),
    "kl_divergence: integers": (lambda: functional.kl_divergence(Z, Z.long()), r"q_logits.float\(\)"),
    "negative smoothing": (lambda: functional.cross_entropy(Z, Y, label_smoothing=-0.1), "between 0.0 and 1.0"),
    "bce: list": (lambda: functional.binary_cross_entropy(P, [0.5]), r"torch.tensor"),
    "softmax: list": (lambda: functional.softmax([1.0], 0), r"torch.tensor"),
    "hardmax: list": (lambda: functional.hardmax([1.0], 0), r"torch.tensor"),
    "a temperature per class": (lambda: functional.softmax(Z, 1, temperature=torch.ones(3)), r"shape \(3,\)"),
    "a temperature of nothing": (lambda: functional.logsumexp(Z, 1, temperature=torch.ones(0)), "one number"),
    "a complex temperature": (lambda: functional.entropy(Z, temperature=torch.tensor(1j)), "complex64"),
    "no temperature": (lambda: functional.cross_entropy(Z, Y, temperature=None), "a number"),
    "a written temperature": (lambda: functional.cross_entropy(Z, Y, temperature="2"), "'2', of type str"),
    "a negative tensor": (lambda: functional.cross_entropy(Z, Y, softcap=torch.tensor(-0.5)), r"Got: -0\.5"),
    "a tensor that is NaN": (
        lambda: functional.binary_cross_entropy_with_logits(Z, P, focal_gamma=torch.tensor(float("nan"))),
        "Got: nan",
    ),
    "infinite z_loss": (lambda: functional.cross_entropy(Z, Y, z_loss=float("inf")), "finite"),
    "unknown empty": (lambda: functional.cross_entropy(Z, Y, empty="skip"), "'zero'"),
    "unknown backend": (lambda: functional.cross_entropy(Z, Y, backend="cuda"), "eager"),
    "softmax temperature": (lambda: functional.softmax(Z, 1, temperature=-1.0), "positive"),
    "negative focal gamma": (
        lambda: functional.binary_cross_entropy_with_logits(Z, P, focal_gamma=-1.0),
        "0 or more",
    ),
    "negative pos_weight": (
        lambda: functional.binary_cross_entropy_with_logits(Z, P, pos_weight=-torch.ones(3)),
        "non-negative",
    ),
    "targets of bce with logits": (lambda: functional.binary_cross_entropy_with_logits(Z, P + 1), "0.* and 1"),
    "features differ": (lambda: functional.linear_cross_entropy(Z, torch.zeros(5, 4), Y), "one row per class"),
    "bias of another size": (
        lambda: functional.linear_cross_entropy(Z, torch.zeros(5, 3), Y, linear_bias=torch.zeros(4)),
        r"\(5,\), got \(4,\)",
    ),
    "weight of a single class": (lambda: functional.linear_cross_entropy(Z, torch.zeros(3), Y), "at least 2"),
    "probability above 1": (lambda: functional.surprisal(torch.tensor([1.5])), "between 0 and 1"),
    "distributions of other shapes": (lambda: functional.cross_entropy_of(P, P[:, :2]), "one shape"),
    "check asks for what is free to skip": (
        lambda: functional.cross_entropy(Z, torch.tensor([0, 1, 9, 0]), check=True),
        "Row 2",
    ),
}


@pytest.mark.parametrize(("call", "message"), ONLY_OURS.values(), ids=ONLY_OURS)
def test_raises_where_pytorch_does_not(call, message):
    with pytest.raises(errors.LastLayerError, match=message) as raised:
        call()
    assert isinstance(raised.value, (ValueError, TypeError, IndexError))


NOT_ABOUT_VALUES = {"unknown backend"}  # it is the choice of a kernel that fails


@pytest.mark.filterwarnings("ignore:Casting complex")
@pytest.mark.parametrize("case", [*SAME_AS_PYTORCH, *(c for c in ONLY_OURS if c not in NOT_ABOUT_VALUES)])
def test_nothing_is_computed_before_the_error(case, monkeypatch):
    """Not a product of a linear loss, and nothing is written: an error costs nothing and leaves nothing behind."""

    class NoKernel:
        def __getattr__(self, name):
            def reached(*_, **__):
                raise AssertionError(f"{name} was computed before the input was found bad")

            return reached

    monkeypatch.setattr(kernels, "select", lambda *_: NoKernel())
    # a kernel that meets the targets anyway finds a bad one itself: tests/kernels/cpu/test_small.py
    monkeypatch.setattr(kernels, "reads_targets", lambda *_: False)
    if case in ONLY_OURS:
        with pytest.raises(errors.LastLayerError):
            ONLY_OURS[case][0]()
        return
    name, arguments, options, _ = SAME_AS_PYTORCH[case]
    versions = [x._version for x in arguments if isinstance(x, torch.Tensor)]
    with pytest.raises(errors.LastLayerError):
        getattr(functional, name)(*arguments, **options)
    assert [x._version for x in arguments if isinstance(x, torch.Tensor)] == versions


MATRIX = torch.zeros(3, 3)
TENSORS = {
    "cross_entropy": ((Z, Y, torch.ones(3)), {}),
    "nll_loss": ((Z, Y, torch.ones(3)), {}),
    "binary_cross_entropy": ((P, P, torch.ones(3)), {}),
    "binary_cross_entropy_with_logits": ((Z, P, torch.ones(3)), {}),
    "kl_div": ((Z, P), {"reduction": "sum"}),
    "kl_divergence": ((Z, Z), {}),
    "cross_entropy_of": ((P, P), {}),
    "linear_cross_entropy": ((Z, MATRIX, Y), {}),
    "linear_binary_cross_entropy": ((Z, MATRIX, P), {}),
}


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_on_two_devices(name):
    """Found before anything is computed, whichever of them is the odd one; both devices are named."""
    arguments, options = TENSORS[name]
    for odd in range(len(arguments)):
        mixed = [x.to("meta") if i == odd else x for i, x in enumerate(arguments)]
        with naming(f"argument {odd}"), pytest.raises(RuntimeError) as raised:
            getattr(functional, name)(*mixed, **options)
        with naming(f"argument {odd}"):
            assert isinstance(raised.value, errors.LastLayerError)
            assert "meta" in str(raised.value)
            assert "cpu" in str(raised.value)
            assert ".to(" in str(raised.value)


def test_bias_and_weights_on_two_devices():
    for call in (
        lambda: functional.linear_cross_entropy(Z, MATRIX, Y, linear_bias=torch.zeros(3, device="meta")),
        lambda: functional.linear_cross_entropy(Z, MATRIX, Y, weight=torch.zeros(3, device="meta")),
        lambda: functional.binary_cross_entropy_with_logits(Z, P, pos_weight=torch.ones(3, device="meta")),
    ):
        with pytest.raises(RuntimeError, match="meta") as raised:
            call()
        assert isinstance(raised.value, errors.LastLayerError)


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
def test_every_wrong_shape_of_a_target_is_refused_as_in_pytorch(name):
    """All pairs of shapes up to four axes: what PyTorch takes is taken, what it refuses is refused alike."""
    shapes = [(), (1,), (2,), (3,), (2, 3), (2, 1), (3, 2), (2, 3, 4), (2, 4), (2, 1, 4), (2, 3, 4, 5), (2, 4, 5)]
    for shape, target_shape in itertools.product(shapes[1:], shapes):
        z, y = torch.zeros(shape), torch.zeros(target_shape, dtype=torch.long)
        if shape == target_shape:
            continue
        try:
            expected = getattr(F, name)(z, y, reduction="none")
        except Exception as error:  # noqa: BLE001 - whichever PyTorch raises
            with naming((shape, target_shape)), pytest.raises(type(error)) as raised:
                getattr(functional, name)(z, y)
            with naming((shape, target_shape, str(error), str(raised.value))):
                assert isinstance(raised.value, errors.LastLayerError)
        else:
            with naming((shape, target_shape)):
                torch.testing.assert_close(getattr(functional, name)(z, y, reduction="none"), expected)


@pytest.mark.parametrize("backend", [*kernels.BACKENDS, "auto"])
def test_bad_input_is_found_on_every_backend(backend):
    for call, message in (
        (lambda: functional.cross_entropy(Z, Y + 9, backend=backend), "Row 0"),
        (lambda: functional.cross_entropy(Z, Y[:2], backend=backend), "batch_size"),
        (lambda: functional.cross_entropy(Z, Y, -torch.ones(3), backend=backend), "non-negative"),
        (lambda: functional.binary_cross_entropy(Z - 1, P, backend=backend), "between 0 and 1"),
    ):
        with pytest.raises(errors.LastLayerError, match=message):
            call()


def test_labels_that_start_at_one_are_recognised():
    with pytest.raises(IndexError, match="subtract 1"):
        functional.cross_entropy(Z, torch.tensor([1, 2, 3, 1]))


def test_a_model_output_is_recognised():
    class Output:
        logits = Z

    with pytest.raises(TypeError, match=r"\.logits"):
        functional.cross_entropy(Output(), Y)


def test_every_exception_stands_in_the_tree_of_the_module():
    names = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert names == set(__import__("re").findall(r"\b\w+Error\b(?= {2,}| *\()|LastLayerError", errors.__doc__))
