"""Family 5: the loop and its curve."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import lastlayer
from lastlayer import doctor
from lastlayer.errors import DtypeError
from tests.diagnosis.cases import Case, logits, on_meta, planted, source, table, unknown_error
from tests.diagnosis.models import CLASSES, target
from tests.diagnosis.planted import CE, batch

INDEX = torch.zeros(24, dtype=torch.long)


def trained(*, clear="before", judge="eval", epochs=2):
    """A watched training; `clear` says when gradients are cleared, `judge` in which mode it is judged."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(7, 8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, CLASSES))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    x, y = torch.randn(24, 7), target()
    with lastlayer.watch(show=False) as report:
        for epoch in range(epochs):
            if judge != "never back" or epoch == 0:
                model.train()
            for part in (slice(0, 12), slice(12, 24)):
                loss = CE(model(x[part]), y[part])
                if clear == "before":
                    optimizer.zero_grad()
                loss.backward()
                if clear == "between":
                    optimizer.zero_grad()
                optimizer.step()
                if clear == "after":
                    optimizer.zero_grad(set_to_none=False)
            if judge != "train":
                model.eval()
            with torch.no_grad():
                CE(model(x), y)
    return report


LOOP = """
optimizer = torch.optim.Adam(model.parameters())
for x, y in loader:
{first}
    loss = F.cross_entropy(model(x), y)
    loss.backward()
{second}
    optimizer.step()
{third}
"""
CLEAR = "    optimizer.zero_grad()"
JUDGE = """
model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))
optimizer = torch.optim.Adam(model.parameters())
for epoch in range(9):
    for x, y in loader:
        {train}
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    {eval}
    with torch.no_grad():
        for x, y in held_out:
            total = F.cross_entropy(model(x), y)
"""


def judged(mode, grad=False, dropout=0.1):
    model = nn.Sequential(nn.Linear(7, CLASSES), nn.Dropout(dropout) if dropout else nn.Identity())
    model.train(mode)
    with torch.set_grad_enabled(grad):
        return doctor(model=model, batch=(torch.randn(24, 7), target()), loss_fn=CE)


def falling(steps=40, start=2.4, end=0.3):
    return [end + (start - end) * math.exp(-step / 8) for step in range(steps)]


def overconfident(accuracy):
    validation = [0.9, 0.7, 0.6, 0.65, 0.75, 0.85, 0.95]
    return {"loss": falling(7), "validation_loss": validation, "validation_accuracy": accuracy}


def ask(history, classes=10, **options):
    return doctor(history=history, classes=classes, **options)


NOT_FINITE = [2.3, math.nan, math.nan]

CASES = {
    "LL501": Case(
        {
            "watched": lambda: trained(clear="never"),
            "watched, between": lambda: trained(clear="between"),
            "source": lambda: source(LOOP.format(first="", second="", third="")),
            "source, between": lambda: source(LOOP.format(first="", second=CLEAR, third="")),
        },
        {
            "watched, before": lambda: trained(clear="before"),
            "watched, after": lambda: trained(clear="after"),
            "source, first": lambda: source(LOOP.format(first=CLEAR, second="", third="")),
            "source, last": lambda: source(LOOP.format(first="", second="", third=CLEAR)),
            "source, of the model": lambda: source(LOOP.format(first="    model.zero_grad()", second="", third="")),
            "source, by hand": lambda: source(
                LOOP.format(first="    for p in model.parameters():\n        p.grad = None", second="", third="")
            ),
            "source, a scheduler": lambda: source(
                "for x in loader:\n    loss = F.cross_entropy(model(x), y)\n    loss.backward()\n    scheduler.step()\n"
            ),
        },
        {
            "nothing watched": lambda: trained(epochs=0),
            "run time": lambda: source(
                "for x in loader:\n    getattr(F, name)(z, y).backward()\n    optimizer.zero_grad()\n"
            ),
        },
    ),
    "LL502": Case(
        {
            **planted("LL502"),
            "watched": lambda: trained(judge="train"),
            "watched, never trains again": lambda: trained(judge="never back"),
            "model": lambda: judged(True),
            "source": lambda: source(JUDGE.format(train="pass", eval="pass")),
            "never trains again": lambda: source(JUDGE.format(train="pass", eval="model.eval()")),
        },
        {
            "watched": lambda: trained(),
            "evaluation mode": lambda: judged(False),
            "training": lambda: judged(True, grad=True),
            "nothing that depends on it": lambda: judged(True, dropout=0),
            "source": lambda: source(JUDGE.format(train="model.train()", eval="model.eval()")),
        },
        {"nothing watched": lambda: trained(epochs=0)},
    ),
    "LL503": Case(
        {
            **planted("LL503"),
            "model": lambda: _decides(),
            "source": lambda: source("loss = F.cross_entropy(z.argmax(1), y)\n"),
            "by name in source": lambda: source("p = torch.argmax(z, 1)\nloss = F.mse_loss(p, y)\n"),
        },
        {
            "logits": lambda: batch(logits(), target()),
            "for the accuracy": lambda: source("loss = F.cross_entropy(z, y)\nright = z.argmax(1) == y\n"),
            "a target from a teacher": lambda: batch(logits(), torch.randn(24, CLASSES).argmax(1)),
        },
        {
            "no values": lambda: on_meta(INDEX, CE),
            "no graph": lambda: doctor(F.cross_entropy(torch.randn(24, 5), target())),
            "another error": lambda: unknown_error("does not require a grandparent"),
        },
    ),
    "LL504": Case(
        {"far above": lambda: ask(falling(start=9.0)), "two classes": lambda: ask(falling(start=3.0), classes=2)},
        {"a default head": lambda: ask(falling(start=math.log(10) + 0.19))},
        {"classes not said": lambda: ask(falling(start=9.0), classes=None), "empty": lambda: ask([])},
    ),
    "LL505": Case(
        {
            "rising": lambda: ask(overconfident([0.6, 0.7, 0.75, 0.75, 0.76, 0.76, 0.76])),
            "rows of a run": lambda: ask(
                [
                    {"train_loss": 1 / (epoch + 1), "validation_log_loss": loss, "validation_accuracy": 0.8}
                    for epoch, loss in enumerate([0.9, 0.6, 0.7, 0.8, 0.9, 1.0])
                ]
            ),
        },
        {
            "accuracy falls too": lambda: ask(overconfident([0.6, 0.7, 0.75, 0.7, 0.65, 0.6, 0.55])),
            "falling": lambda: ask({**overconfident([0.7] * 7), "validation_loss": falling(7)}),
            "held back": lambda: ask(
                {**overconfident([0.6, 0.7, 0.75, 0.75, 0.76, 0.76, 0.76]), "loss": [0.9, 0.5, 0.5, 0.6, 0.7, 0.8, 0.9]}
            ),
        },
        {"too short": lambda: ask({"validation_loss": [0.5], "validation_accuracy": [0.9]})},
    ),
    "LL506": Case(
        {
            "uniform": lambda: ask([math.log(10) + 0.005 * (-1) ** step for step in range(40)]),
            "prior": lambda: ask([0.5623] * 40, classes=2, prior_entropy=0.5623),
        },
        {"falls": lambda: ask(falling()), "just begun": lambda: ask([math.log(10)] * 5)},
        {"not finite": lambda: ask(NOT_FINITE), "classes not said": lambda: ask([math.log(10)] * 40, classes=None)},
    ),
}


def _decides():
    class Decides(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(7, CLASSES)

        def forward(self, x):
            return self.layer(x).argmax(1)

    return doctor(model=Decides(), batch=(torch.randn(24, 7), target()), loss_fn=CE)


test_speaks, test_is_silent_at_a_near_miss, test_cannot_tell = table(CASES)


@pytest.mark.parametrize("history", [["a", "b"], 3, object()])
def test_what_is_no_history_is_said(history):
    with pytest.raises(DtypeError, match="history"):
        ask(history)


def test_double_softmax_explains_the_flat_curve():
    """On the toy task of the rules' page the loss never gets below its floor, and accuracy does not show it."""
    torch.manual_seed(0)
    z = torch.nn.Parameter(torch.zeros(24, 10))
    optimizer = torch.optim.Adam([z], 0.1)
    for _ in range(400):
        optimizer.zero_grad()
        loss = F.cross_entropy(z.softmax(1), target(24, 10))
        loss.backward()
        optimizer.step()
    assert (z.argmax(1) == target(24, 10)).all()
    assert loss.item() > 1.461
