"""Mistakes that can only be likely, planted in many spellings: source files, watched trainings, batches."""

from collections.abc import Callable
from itertools import product

import torch
from torch import nn
from torch.nn import functional as F

import lastlayer
from lastlayer.diagnosis import Report
from tests.diagnosis.cases import logits, source
from tests.diagnosis.models import SHAPES, Shape, target
from tests.diagnosis.planted import batch
from tests.diagnosis.test_metrics import asked, at_offset, ended, shifted, unshifted
from tests.diagnosis.test_reduction import accumulated

Ask = Callable[[], Report]

AUTOCASTS = [
    ("", "torch.autocast('cuda')"),
    ("", "torch.autocast(device_type='cuda', dtype=torch.float16)"),
    ("", "torch.cuda.amp.autocast()"),
    ("from torch.cuda.amp import autocast\n", "autocast()"),
    ("from torch.amp import autocast\n", "autocast('cuda')"),
    ("from torch import amp\n", "amp.autocast('cuda', enabled=True)"),
]
BCES = ["F.binary_cross_entropy(p, y)", "nn.BCELoss()(p, y)", "criterion(p, y)", "self.criterion(p, y)"]

LOOPS = [
    "for x, y in loader:\n    loss = F.cross_entropy(model(x), y)\n    loss.backward()\n    {step}\n",
    "for epoch in range(9):\n    for x, y in loader:\n        F.cross_entropy(model(x), y).backward()\n"
    "        {step}\n",
    "while True:\n    loss = criterion(model(x), y)\n    loss.backward()\n    {step}\n",
    "def train(model, loader):\n    for i, batch in enumerate(loader):\n        loss = model(batch)\n"
    "        loss.backward()\n"
    "        {step}\n",
    "class Trainer:\n    def fit(self):\n        for x, y in self.loader:\n            loss = self.loss(x, y)\n"
    "            loss.backward()\n            {step}\n",
]
STEPS = ["optimizer.step()", "opt.step()", "self.optimizer.step()", "scaler.step(optimizer)"]

METRICS = ["BinaryAccuracy()", "BinaryF1Score()", "BinaryAUROC()", "MultilabelAccuracy(3)", "BinaryPrecision()"]
METRIC_CALLS = ["metric(logits, y)", "metric.update(logits, y)", "metric(model(x), y)"]

THRESHOLDS = [
    "yes = logits > 0.5", "yes = (logits >= 0.5).long()", "no = logits < 0.5", "yes = (model(x) > 0.5).float()",
    "right = ((logits > 0.5) == y).float().mean()", "yes = torch.where(logits > 0.5, 1, 0)",
    "mask = (logits > 0.5).cpu().numpy()", "out = model(x)\nyes = out > 0.5", "yes = self.logits > 0.5",
    "yes = (logits.squeeze(1) > 0.5).int()",
]  # fmt: skip

PERPLEXITIES = [
    ("total += loss.item()", "math.exp(total / len(loader))"),
    ("total += loss", "torch.exp(total / len(loader))"),
    ("total += loss.item()", "math.exp(total / num_batches)"),
    ("total += loss.item()", "np.exp(total / n_steps)"),
    ("losses.append(loss.item())", "math.exp(np.mean(losses))"),
    ("losses.append(loss.item())", "math.exp(sum(losses) / len(losses))"),
    ("losses.append(loss)", "torch.exp(torch.stack(losses).mean())"),
    ("losses.append(loss.item())", "np.exp(np.mean(losses))"),
    ("losses.append(loss.detach())", "torch.exp(torch.stack(losses).mean()).item()"),
    ("total += loss.detach()", "torch.exp(total / len(loader)).item()"),
]


def autocast(index: int) -> Report:
    (head, context), call = list(product(AUTOCASTS, BCES))[index]
    return source(
        f"{head}criterion = nn.BCELoss()\nself.criterion = nn.BCELoss()\nwith {context}:\n    loss = {call}\n"
    )


def loop(index: int) -> Report:
    text, step = list(product(LOOPS, STEPS))[index]
    return source(text.format(step=step))


def trained_without_clearing(shape: Shape) -> Report:
    torch.manual_seed(0)
    model = shape.build()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    with lastlayer.watch(show=False) as report:
        for _ in range(2):
            F.cross_entropy(shape.rows(model(shape.inputs())), target()).backward()
            optimizer.step()
    return report


def metric(index: int) -> Report:
    name, call = list(product(METRICS, METRIC_CALLS))[index]
    return source(
        f"from torchmetrics.classification import *\nimport torchmetrics\nmodel = nn.Sequential(nn.Linear(3, 1))\n"
        f"metric = torchmetrics.classification.{name}\nlogits = model(x)\n"
        f"loss = F.binary_cross_entropy_with_logits(logits, y)\n{call}\n"
    )


def threshold(text: str) -> Report:
    return source(
        f"model = nn.Linear(3, 1)\nlogits = model(x)\nloss = F.binary_cross_entropy_with_logits(logits, y)\n{text}\n"
    )


def perplexity(add: str, mean: str) -> Report:
    return source(
        f"import numpy as np\ntotal, losses = 0.0, []\nfor x, y in loader:\n    loss = F.cross_entropy(model(x), y)\n"
        f"    {add}\nperplexity = {mean}\n"
    )


COLLATORS = [
    "DataCollatorForLanguageModeling(tokenizer, mlm=False)",
    "transformers.DataCollatorForLanguageModeling(tokenizer=tokenizer, mlm=False)",
]
PADS = ["tokenizer.pad_token = tokenizer.eos_token", "self.tokenizer.pad_token = self.tokenizer.eos_token",
        "tok.pad_token_id = tok.eos_token_id"]  # fmt: skip


LIKELY: dict[str, list[Ask]] = {
    "LL107": [
        *(lambda s=shape: batch(s.logits(), target(), nn.CrossEntropyLoss(ignore_index=2)) for shape in SHAPES),
        lambda: batch(logits(), target(), lastlayer.nn.CrossEntropyLoss(ignore_index=1)),
    ],
    "LL301": [lambda i=i: autocast(i) for i in range(len(AUTOCASTS) * len(BCES))],
    "LL401": [lambda c=c: accumulated(*c) for c in [
        (10, 2), (2, 10), (8, 8, 3), (24, 12), (5, 4, 3, 2), (9, 3), (20, 20, 20, 1), (7, 5), (6, 3, 6), (16, 4),
    ]],
    "LL501": [
        *(lambda i=i: loop(i) for i in range(len(LOOPS) * len(STEPS))),
        *(lambda s=shape: trained_without_clearing(s) for shape in SHAPES),
    ],
    "LL601": [lambda i=i: metric(i) for i in range(len(METRICS) * len(METRIC_CALLS))],
    "LL602": [lambda t=t: threshold(t) for t in THRESHOLDS],
    "LL701": [*(lambda o=o: at_offset(o) for o in (1, 2, -1)), lambda: asked(shifted()), unshifted],
    "LL702": [
        lambda: ended("none"),
        *(lambda p=p, c=c: source(f"{p}\ncollator = {c}\n") for p in PADS for c in COLLATORS),
    ],
    "LL703": [lambda a=a, m=m: perplexity(a, m) for a, m in PERPLEXITIES],
}  # fmt: skip
