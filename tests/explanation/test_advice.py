"""The advisor: three answers or the targets themselves lead to a head, an activation, a loss, a threshold."""

import pytest
import torch

import lastlayer
from lastlayer.errors import LastLayerError
from lastlayer.explanation import advise


@pytest.mark.parametrize(
    ("target", "kind", "outputs", "seen"),
    [
        (torch.tensor([0, 2, 1]), "multiclass", 3, "indices"),
        (torch.tensor([0, 1, 1]), "binary", 1, "zero_one"),
        (torch.tensor([True, False]), "binary", 1, "float_column"),
        (torch.tensor([0.0, 1.0, 0.5]), "binary", 1, "float_column"),
        (torch.tensor([0.0, 2.0, 1.0]), "multiclass", 3, "float_indices"),
        (torch.tensor([5400.5, 12.25]), "regression", 1, "quantity"),
        (torch.tensor([[0, 1], [1, 0]]), "multiclass", 2, "one_hot"),
        (torch.tensor([[0.25, 0.75], [0.5, 0.5]]), "multiclass", 2, "soft"),
        (torch.tensor([[1.0, 1.0], [0.0, 0.0]]), "multilabel", 2, "several"),
        (torch.tensor([[3.5, 1.0]]), "regression", 2, "quantity"),
        (torch.tensor([[0.0], [1.0]]), "binary", 1, "float_column"),
    ],
)
def test_targets_are_read(target, kind, outputs, seen):
    advice = advise(target)
    assert (advice.kind, advice.outputs, advice.seen) == (kind, outputs, (f"advice.seen.{seen}",))


def test_what_is_advised_exists_and_fits():
    x = torch.randn(5, 8)
    for kind, target in (("binary", [0, 1, 1, 0, 1]), ("multiclass", [0, 1, 2, 0, 1]), ("multilabel", [[1, 0, 1]] * 5)):
        advice = advise(answer="class", several=kind == "multilabel", classes=2 if kind == "binary" else 3)
        assert advice.kind == kind
        module = getattr(lastlayer.nn, advice.head.rsplit(".", 1)[1])
        head = module(8) if kind == "binary" else module(8, classes=advice.outputs)
        assert head.loss(x, torch.tensor(target)).isfinite()
        assert callable(getattr(lastlayer, advice.loss.rsplit(".", 1)[1]))
        p = head.probabilities(head(x))
        assert (advice.activation == "softmax") is bool(
            torch.allclose(p.sum(-1), torch.ones(5)) and kind == "multiclass"
        )


@pytest.mark.parametrize("language", ["en", "ko"])
def test_every_text(language):
    for advice in (
        advise(answer="number"),
        *(advise(answer="class", several=s, classes=n) for s, n in ((True, 1), (False, 2), (False, 9))),
    ):
        lines = advice.text(language).splitlines()
        assert len(lines) == 7
        assert all(": " in line for line in lines)
    assert advise(answer="class", several=False).text().splitlines()[1].endswith("(features, C)")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "one of them"),
        ({"target": torch.tensor([0, 1]), "answer": "class"}, "one of them"),
        ({"answer": "price"}, '"class" or "number"'),
        ({"answer": "class"}, "several"),
        ({"answer": "class", "several": False, "classes": 1}, "at least 2"),
        ({"target": torch.zeros(2, 2, 2)}, "shape"),
        ({"target": torch.zeros(0)}, "shape"),
        ({"target": torch.zeros(2, dtype=torch.complex64)}, "complex"),
    ],
)
def test_bad_answers(options, message):
    with pytest.raises(LastLayerError, match=message):
        advise(**options)
