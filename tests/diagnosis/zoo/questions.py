"""Heads, batches, models, watched trainings and source files."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import lastlayer
from lastlayer import doctor
from lastlayer.diagnosis import Report
from lastlayer.diagnosis.source import examine
from tests.diagnosis.models import CLASSES, ROWS, labels, target
from tests.diagnosis.zoo.setups import CE, asked, logits, soft


@asked
def head_of_two_answers() -> Report:
    return doctor(lastlayer.nn.BinaryHead(8).loss(torch.randn(ROWS, 8), labels()[:, 0]))


@asked
def head_of_many_classes() -> Report:
    return doctor(lastlayer.nn.MultiClassHead(8, CLASSES, label_smoothing=0.1).loss(torch.randn(ROWS, 8), target()))


@asked
def head_of_many_labels() -> Report:
    return doctor(lastlayer.nn.MultiLabelHead(8, CLASSES).loss(torch.randn(ROWS, 8), labels()))


@asked
def batch_of_sequences() -> Report:
    return doctor(logits=torch.randn(4, CLASSES, 12), target=torch.randint(CLASSES, (4, 12)), loss_fn=CE)


@asked
def batch_of_soft_targets() -> Report:
    return doctor(logits=logits(), target=soft(), loss_fn=lastlayer.nn.CrossEntropyLoss())


@asked
def batch_under_a_function_of_ones_own() -> Report:
    return doctor(logits=logits(), target=target(), loss_fn=lambda z, y: F.cross_entropy(z, y) + z.pow(2).mean())


@asked
def model_in_training() -> Report:
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, CLASSES))
    return doctor(model=model, batch=(torch.randn(ROWS, 8), target()), loss_fn=CE)


@asked
def model_judged() -> Report:
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, CLASSES))
    with torch.no_grad():
        return doctor(model=model.eval(), batch=(torch.randn(ROWS, 8), target()), loss_fn=CE)


@asked
def compiled_model() -> Report:
    torch._dynamo.reset()
    model = torch.compile(nn.Linear(8, CLASSES), backend="aot_eager")
    return doctor(model=model, batch=(torch.randn(ROWS, 8), target()), loss_fn=CE)


def _trained(accumulate: int = 1, amp: bool = False) -> Report:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, CLASSES))
    optimizer = torch.optim.AdamW(model.parameters())
    x, y = torch.randn(ROWS, 8), target()
    with lastlayer.watch(show=False) as report:
        for epoch in range(4):
            model.train()
            for step in range(accumulate):
                part = slice(step * 8, step * 8 + 8)
                with torch.autocast("cpu", dtype=torch.bfloat16, enabled=amp):
                    loss = CE(model(x[part]), y[part]) / accumulate
                loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=epoch % 2 == 0)
            model.eval()
            with torch.no_grad():
                CE(model(x), y)
    return report


@asked
def watched_training() -> Report:
    return _trained()


@asked
def watched_accumulation() -> Report:
    return _trained(accumulate=3)


@asked
def watched_autocast() -> Report:
    return _trained(amp=True)


@asked
def watched_second_order() -> Report:
    z = logits()
    with lastlayer.watch(show=False) as report:
        loss = F.cross_entropy(z, target())
        (gradient,) = torch.autograd.grad(loss, z, create_graph=True)
        (loss + gradient.pow(2).sum()).backward()
    return report


@asked
def watched_lbfgs() -> Report:
    layer, x = nn.Linear(8, CLASSES), torch.randn(ROWS, 8)
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=3)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(layer(x), target())
        loss.backward()
        return loss

    with lastlayer.watch(show=False) as report:
        for _ in range(3):
            optimizer.step(closure)
    return report


@asked
def falling_curve() -> Report:
    losses = [2.4 * 0.9**step for step in range(40)]
    history = {
        "loss": losses,
        "validation_loss": losses,
        "validation_accuracy": [0.5 + step / 100 for step in range(40)],
    }
    return doctor(history=history, classes=10)


@asked
def source_of_this_library() -> Report:
    root = Path(lastlayer.__file__).parents[2]
    return examine([*(root / "src").rglob("*.py"), *(root / "examples").glob("*.py")])
