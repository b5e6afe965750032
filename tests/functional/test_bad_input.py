"""Bad input gets PyTorch's exception, and a message that begins with PyTorch's words and says what to do."""

import pytest
import torch
from torch.nn import functional as F

from lastlayer import errors, functional

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
    "softmax: no such axis": ("softmax", (Z, 2), {}, r"shape \(4, 3\)"),
    "softmax: integers": ("softmax", (Y, 0), {}, r"input.float\(\)"),
    "one_hot: negative": ("one_hot", (torch.tensor([-1]),), {}, "numbered from 0"),
    "one_hot: too large": ("one_hot", (torch.tensor([3]), 2), {}, "num_classes=4"),
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


# PyTorch's own first words, where they tell people what to search for
WORDS = {
    "batch sizes differ": "Expected input batch_size (4) to match target batch_size (2).",
    "target (N, 1)": "0D or 1D target tensor expected, multi-target not supported",
    "integer one-hot": "Expected floating point type for target with class probabilities, got Long",
    "float indices": "expected target dtype to be Long or Byte, but got Float",
    "index too large": "Target 3 is out of bounds.",
    "sizes differ in K dimensions": "Expected target size [2, 4], got [2, 5]",
    "unknown reduction": "avg is not a valid value for reduction",
    "too much smoothing": "label_smoothing must be between 0.0 and 1.0. Got: 2",
    "probabilities with ignore_index": "ignore_index is not supported for floating point target",
    "bce: logits": "all elements of input should be between 0 and 1",
    "bce logits: shapes differ": "Target size (torch.Size([4])) must be the same as input size (torch.Size([4, 1]))",
    "one_hot: negative": "Class values must be non-negative",
}


@pytest.mark.parametrize("case", WORDS)
def test_begins_with_the_words_of_pytorch(case):
    name, arguments, options, _ = SAME_AS_PYTORCH[case]
    with pytest.raises(errors.LastLayerError) as ours:
        getattr(functional, name)(*arguments, **options)
    assert str(ours.value).startswith(WORDS[case])


ONLY_OURS = {
    "negative weight": (lambda: functional.cross_entropy(Z, Y, torch.tensor([1.0, -1.0, 1.0])), "-1.0 for class 1"),
    "NaN weight": (lambda: functional.cross_entropy(Z, Y, torch.tensor([1.0, float("nan"), 1.0])), "class 1"),
    "integer weight": (lambda: functional.cross_entropy(Z, Y, torch.ones(3).long()), r"weight.float\(\)"),
    "NaN smoothing": (lambda: functional.cross_entropy(Z, Y, label_smoothing=float("nan")), "between"),
    "temperature of 0": (lambda: functional.cross_entropy(Z, Y, temperature=0.0), "positive"),
    "negative softcap": (lambda: functional.cross_entropy(Z, Y, softcap=-1.0), "positive"),
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
