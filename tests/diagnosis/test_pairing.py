"""Family 0: activation and loss."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import lastlayer
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
    without_graph,
)
from tests.diagnosis.models import CLASSES, labels, target
from tests.diagnosis.planted import CE, LOGITS, batch


def model_of(*layers, loss_fn=CE, answers=None):
    model = nn.Sequential(nn.Linear(7, CLASSES), *layers)
    return doctor(model=model, batch=(torch.randn(24, 7), target() if answers is None else answers), loss_fn=loss_fn)


def compiled_model():
    torch._dynamo.reset()
    model = torch.compile(nn.Sequential(nn.Linear(7, CLASSES), nn.Softmax(1)), backend="aot_eager")
    return doctor(model=model, batch=(torch.randn(24, 7), target()), loss_fn=CE)


def checkpointed():
    layer = nn.Sequential(nn.Linear(7, CLASSES), nn.Softmax(1))
    return lambda x: checkpoint(layer, x, use_reentrant=True)


CASES = {
    "LL001": Case(
        {
            **planted("LL001"),
            "model": lambda: model_of(nn.Softmax(1)),
            "compiled model": compiled_model,
            "inside a checkpoint": lambda: doctor(
                model=checkpointed(), batch=(torch.randn(24, 7, requires_grad=True), target()), loss_fn=CE
            ),
            "checkpoint without reentry": lambda: doctor(
                F.cross_entropy(checkpoint(lambda z: z.softmax(1), logits(), use_reentrant=False), target())
            ),
            "source": lambda: source("loss = F.cross_entropy(F.softmax(z, dim=1), y)\n"),
            "source of a module": lambda: source(
                "model = nn.Sequential(nn.Linear(3, 4), nn.Softmax(dim=1))\n"
                "criterion = nn.CrossEntropyLoss()\nloss = criterion(model(x), y)\n"
            ),
        },
        {
            "logits": lambda: doctor(F.cross_entropy(logits(), target())),
            "softmax inside the network": lambda: doctor(
                F.cross_entropy(nn.Linear(5, 5)(logits().softmax(1)), target())
            ),
            "softmax only to predict": lambda: source("loss = F.cross_entropy(z, y)\np = F.softmax(z, dim=1)\n"),
            "logits that lie in [0, 1] by accident": lambda: batch(
                torch.tensor([[0.25, 0.75]]).repeat(3, 1), torch.tensor([0, 1, 0])
            ),
        },
        {
            "compiled": lambda: compiled(lambda z: F.cross_entropy(z.softmax(1), torch.zeros(24, dtype=torch.long))),
            "no graph": lambda: without_graph(lambda z: F.cross_entropy(z.softmax(1), target())),
            "dropout between": lambda: doctor(F.cross_entropy(dropped(logits().softmax(1)), target())),
            "a mixture": lambda: doctor(
                F.cross_entropy(logits().softmax(1) + 0.5 * logits().flip(0).softmax(1), target())
            ),
        },
    ),
    "LL002": Case(
        {
            **planted("LL002"),
            "model": lambda: model_of(nn.Sigmoid(), loss_fn=LOGITS, answers=labels()),
            "source": lambda: source("loss = F.binary_cross_entropy_with_logits(torch.sigmoid(z), y)\n"),
        },
        {
            "logits": lambda: doctor(F.binary_cross_entropy_with_logits(logits(), labels())),
            "sigmoid before BCE": lambda: doctor(F.binary_cross_entropy(logits().sigmoid(), labels())),
        },
        {
            "no graph": lambda: without_graph(lambda z: F.binary_cross_entropy_with_logits(z.sigmoid(), labels())),
            "few values": lambda: batch(torch.tensor([0.2, 0.7]), torch.tensor([0.0, 1.0]), LOGITS),
        },
    ),
    "LL003": Case(
        {
            **planted("LL003"),
            "by hand": lambda: doctor(-logits().softmax(1).gather(1, target()[:, None]).mean()),
            "source": lambda: source("loss = F.nll_loss(F.softmax(z, dim=1), y)\n"),
            "source of a model": lambda: source(
                "model = nn.Sequential(nn.Linear(3, 4), nn.Softmax(dim=1))\nloss = nn.NLLLoss()(model(x), y)\n"
            ),
        },
        {
            "log-softmax": lambda: doctor(F.nll_loss(logits().log_softmax(1), target())),
            "a mixture in log space": lambda: doctor(
                F.nll_loss(torch.logaddexp(logits().log_softmax(1), logits().flip(0).log_softmax(1)) - 0.7, target())
            ),
            "lastlayer": lambda: doctor(lastlayer.nll_loss(lastlayer.log_softmax(logits(), 1), target())),
            "by hand": lambda: doctor(-logits().log_softmax(1)[torch.arange(24), target()].mean()),
        },
        {
            "no graph": lambda: without_graph(lambda z: F.nll_loss(z.softmax(1), target())),
            "dropout between": lambda: doctor(F.nll_loss(-dropped(logits().softmax(1)), target())),
        },
    ),
    "LL004": Case(
        {
            **planted("LL004"),
            "graph": lambda: doctor(F.binary_cross_entropy(HALVES(torch.ones(24, 1)), labels())),
        },
        {"sigmoid": lambda: doctor(F.binary_cross_entropy(logits().sigmoid(), labels()))},
        {
            "no graph": lambda: without_graph(lambda z: F.binary_cross_entropy(z.sigmoid(), labels())),
            "clamped product": lambda: doctor(F.binary_cross_entropy(dropped(logits().sigmoid()) / 2, labels())),
        },
    ),
    "LL005": Case(
        planted("LL005"),
        {
            "one label per row": lambda: doctor(
                F.binary_cross_entropy(logits().softmax(1), F.one_hot(target(), CLASSES).float())
            ),
            "sigmoids": lambda: doctor(F.binary_cross_entropy(logits().sigmoid(), labels())),
        },
        {"no graph": lambda: without_graph(lambda z: F.binary_cross_entropy(z.softmax(1), labels()))},
    ),
    "LL006": Case(
        {"one-hot": lambda: batch(logits(), F.one_hot(target(), CLASSES).float(), LOGITS)},
        {
            "several labels": lambda: batch(logits(), labels(), LOGITS),
            "too few rows": lambda: batch(logits(4), F.one_hot(target(5)[:4], CLASSES).float(), LOGITS),
        },
        {"no values": lambda: on_meta(labels(), LOGITS)},
    ),
    "LL007": Case(
        {
            **planted("LL007"),
            "source": lambda: source("m = nn.Sequential(nn.Linear(3, 1), nn.Softmax(dim=1))\n"),
        },
        {
            "two units": lambda: batch(logits()[:, :2], target() % 2),
            "a sigmoid": lambda: source("m = nn.Sequential(nn.Linear(3, 1), nn.Sigmoid())\n"),
        },
        {"no values": lambda: on_meta(torch.zeros(24, dtype=torch.long), CE, (24, 1))},
    ),
    "LL008": Case(
        {
            **planted("LL008"),
            "model": lambda: model_of(nn.ReLU()),
            "source": lambda: source("loss = F.cross_entropy(F.relu(z), y)\n"),
        },
        {
            "inside the network": lambda: doctor(F.cross_entropy(nn.Linear(5, 5)(logits().relu()), target())),
            "leaky": lambda: doctor(F.cross_entropy(F.leaky_relu(logits()), target())),
        },
        {"compiled": lambda: compiled(lambda z: F.cross_entropy(z.relu(), torch.zeros(24, dtype=torch.long)))},
    ),
    "LL009": Case(
        {**planted("LL009"), "source": lambda: source("loss = F.cross_entropy(z.log_softmax(1), y)\n")},
        {"NLL": lambda: doctor(F.nll_loss(logits().log_softmax(1), target()))},
        {"no graph": lambda: without_graph(lambda z: F.cross_entropy(z.log_softmax(1), target()))},
    ),
    "LL010": Case(
        {
            **planted("LL010"),
            "model": lambda: model_of(nn.Sigmoid()),
            "source": lambda: source("loss = nn.CrossEntropyLoss()(z.sigmoid(), y)\n"),
        },
        {"soft cap": lambda: doctor(F.cross_entropy(30 * torch.tanh(logits() / 30), target()))},
        {
            "no graph": lambda: without_graph(lambda z: F.cross_entropy(z.sigmoid(), target())),
            "dropout between": lambda: doctor(F.cross_entropy(dropped(logits().sigmoid()), target())),
        },
    ),
}


class Halves(nn.Module):
    """A layer whose output happens to be a probability."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, CLASSES)
        nn.init.constant_(self.layer.weight, 0.25)
        nn.init.constant_(self.layer.bias, 0.25)

    def forward(self, x):
        return self.layer(x)


HALVES = Halves()


test_speaks, test_is_silent_at_a_near_miss, test_cannot_tell = table(CASES)


def test_the_proof_is_the_loss_without_the_mistake():
    z = logits()
    report = doctor(F.cross_entropy(z.softmax(1), target()))
    now, without = F.cross_entropy(z.softmax(1), target()), F.cross_entropy(z, target())
    assert f"the loss is {now.item():.4g}; without the extra softmax it would be {without.item():.4g}" in str(
        report[0].evidence.observed
    )


@pytest.mark.parametrize(
    ("classes", "smoothing", "floor"), [(2, 0, 0.313), (3, 0, 0.551), (10, 0, 1.461), (10, 0.1, 1.551)]
)
def test_no_logits_get_below_the_floor(classes, smoothing, floor):
    from lastlayer.diagnosis.recompute import softmax_floor

    best = torch.zeros(1, classes)
    best[0, 0] = 1.0
    loss = F.cross_entropy(best, torch.tensor([0]), label_smoothing=smoothing)
    assert softmax_floor(classes, smoothing) == pytest.approx(loss.item(), abs=1e-6) == pytest.approx(floor, abs=1e-3)
