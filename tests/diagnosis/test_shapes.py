"""Family 2: shapes and axes."""

import torch
from torch import nn
from torch.nn import functional as F

from lastlayer import doctor
from tests.diagnosis.cases import (
    Case,
    compiled,
    dropped,
    logits,
    on_meta,
    planted,
    source,
    table,
    unknown_error,
    without_graph,
)
from tests.diagnosis.models import CLASSES, labels, target
from tests.diagnosis.planted import CE, LOGITS, batch, images, sequences

INDEX = torch.zeros(24, dtype=torch.long)


def square():
    """As many steps as classes: (4, 5, 5) of a linear layer."""
    return nn.Linear(7, CLASSES)(torch.randn(4, CLASSES, 7))


STEPS = target(20).reshape(4, CLASSES)

CASES = {
    "LL201": Case(
        {
            **planted("LL201"),
            "function": lambda: source("p = F.softmax(z)\n"),
            "module": lambda: source("layer = nn.LogSoftmax()\n"),
            "imported by name": lambda: source("from torch.nn.functional import log_softmax as ls\np = ls(z)\n"),
        },
        {
            "said": lambda: source("p = F.softmax(z, dim=1)\nq = F.softmax(z, -1)\nm = nn.Softmax(dim=1)\n"),
            "somebody else's": lambda: source(
                "from jax.nn import softmax\np = softmax(z)\nloss = F.cross_entropy(z, y)\n"
            ),
            "handed on": lambda: source("p = F.softmax(*arguments)\n"),
        },
        {"decided at run time": lambda: source("p = getattr(F, name)(z)\n")},
    ),
    "LL202": Case(
        planted("LL202"),
        {
            "classes": lambda: doctor(F.nll_loss(logits().log_softmax(-1), target())),
            "classes last, then moved": lambda: doctor(
                F.nll_loss(sequences(logits()).log_softmax(-1).movedim(-1, 1), target().reshape(4, 6))
            ),
            "attention inside": lambda: doctor(F.cross_entropy(logits().softmax(0) @ torch.randn(5, 5), target())),
        },
        {
            "compiled": lambda: compiled(lambda z: F.nll_loss(z.log_softmax(0), torch.zeros(24, dtype=torch.long))),
            "no graph": lambda: without_graph(lambda z: F.nll_loss(z.log_softmax(0), target())),
        },
    ),
    "LL203": Case(
        {
            **planted("LL203"),
            "as many steps as classes": lambda: batch(square(), STEPS),
            "the same in the graph": lambda: doctor(F.cross_entropy(square(), STEPS)),
        },
        {
            "moved": lambda: batch(sequences(logits()).movedim(-1, 1), target().reshape(4, 6)),
            "moved, as many steps as classes": lambda: batch(square().movedim(-1, 1), STEPS),
            "flattened": lambda: doctor(F.cross_entropy(square().flatten(0, 1), STEPS.flatten())),
        },
        {
            "no values": lambda: on_meta(INDEX, CE),
            "another error": lambda: unknown_error("Expected target size to be nice"),
        },
    ),
    "LL204": Case(
        {
            "graph": lambda: doctor(F.cross_entropy(sequences(logits()).view(4, CLASSES, 6), target().reshape(4, 6))),
            "source": lambda: source("b, t, c = z.shape\nloss = F.cross_entropy(z.view(b, c, t), y)\n"),
        },
        {
            "permuted": lambda: doctor(F.cross_entropy(sequences(logits()).movedim(-1, 1), target().reshape(4, 6))),
            "flattened": lambda: source("b, t, c = z.shape\nloss = F.cross_entropy(z.view(b * t, c), y)\n"),
        },
        {
            "no graph": lambda: without_graph(
                lambda z: F.cross_entropy(z.view(4, 6, 5).view(4, 5, 6), target().view(4, 6))
            )
        },
    ),
    "LL205": Case(
        planted("LL205"),
        {"equal": lambda: batch(logits(), target())},
        {"no values": lambda: on_meta(INDEX, CE), "another error": lambda: unknown_error("Expected input batch_size")},
    ),
    "LL206": Case(
        planted("LL206"),
        {"no channel": lambda: batch(images(logits()), target().reshape(2, 3, 4))},
        {"no values": lambda: on_meta(INDEX, CE), "another error": lambda: unknown_error("only batches of cookies")},
    ),
    "LL207": Case(
        {
            **planted("LL207"),
            "broadcast in the graph": lambda: _broadcast(),
        },
        {
            "equal": lambda: batch(logits()[:, :1], labels()[:, :1], LOGITS),
            "a square of numbers": lambda: doctor(F.mse_loss(torch.randn(6, 6, requires_grad=True), torch.randn(6, 6))),
        },
        {"no values": lambda: on_meta(labels(), LOGITS), "another error": lambda: unknown_error("Target size is odd")},
    ),
    "LL208": Case(
        {
            **planted("LL208"),
            "list in source": lambda: source("loss = F.cross_entropy(z, [0, 1, 2])\n"),
            "list by name in source": lambda: source("y = [0, 1]\nloss = nn.CrossEntropyLoss()(z, y)\n"),
        },
        {
            "tensors": lambda: batch(logits(), target()),
            "list made a tensor": lambda: source("y = [0, 1]\nloss = F.cross_entropy(z, torch.tensor(y))\n"),
        },
        {
            "a function of one's own": lambda: batch(logits(), target().tolist(), lambda z, y: int(1 / 0)),
            "another error": lambda: unknown_error("must be Tensor, or else"),
        },
    ),
}


def _broadcast():
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return doctor(F.mse_loss(logits()[:, :1], torch.randn(24)))


test_speaks, test_is_silent_at_a_near_miss, test_cannot_tell = table(CASES)


def test_dropout_is_not_taken_for_anything_else():
    report = doctor(F.cross_entropy(dropped(logits()), target()))
    assert list(report) == []


def test_the_fix_of_a_flattened_one_hot_says_how():
    report = doctor(error="ValueError: Expected input batch_size (8) to match target batch_size (32).")
    assert "target.view(8, 4).argmax(1)" in str(report[0].fix.text)


def test_the_source_of_the_tutorials_yields_what_is_wrong_with_it():
    report = source(
        "logits = torch.tensor([[4.0, 2.0, -2.0]])\n"
        "probabilities = F.softmax(logits)\n"
        "loss = nn.CrossEntropyLoss()(logits, [0])\n"
        "loss = F.nll_loss(probabilities, torch.tensor([0]))\n"
    )
    assert {"LL201", "LL208", "LL003"} <= set(report.codes)
