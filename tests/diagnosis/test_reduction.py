"""Family 4: reduction and weights."""

import torch
from torch import nn
from torch.nn import functional as F

import lastlayer
from lastlayer import doctor
from tests.diagnosis.cases import Case, logits, on_meta, planted, source, table, unknown_error, without_graph
from tests.diagnosis.models import CLASSES, labels, target
from tests.diagnosis.planted import CE, batch

INDEX = torch.zeros(24, dtype=torch.long)
WEIGHT = torch.arange(2.0, 2 + CLASSES)


def accumulated(*sizes, reduction="mean"):
    """One step of several backwards, watched."""
    model = nn.Linear(7, CLASSES)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with lastlayer.watch(show=False) as report:
        for size in sizes:
            loss = F.cross_entropy(model(torch.randn(size, 7)), target(max(size, CLASSES))[:size], reduction=reduction)
            (loss / len(sizes)).backward()
        optimizer.step()
        optimizer.zero_grad()
    return report


ACCUMULATE = """
criterion = nn.CrossEntropyLoss({options})
for i, (x, y) in enumerate(loader):
    loss = criterion(model(x), y) / {divisor}
    loss.backward()
    if (i + 1) % steps == 0:
        optimizer.step()
        optimizer.zero_grad()
"""


def focal_by_row():
    loss = F.cross_entropy(logits(), target(), reduction="none")
    return ((1 - torch.exp(-loss)) ** 2 * loss).mean()


def soft():
    return torch.full((24, CLASSES), 1 / CLASSES)


CASES = {
    "LL401": Case(
        {
            "watched": lambda: accumulated(10, 2),
            "source": lambda: source(ACCUMULATE.format(options="ignore_index=-100", divisor="steps")),
        },
        {
            "equal counts": lambda: accumulated(8, 8),
            "sums": lambda: accumulated(10, 2, reduction="sum"),
            "nothing ignored": lambda: source(ACCUMULATE.format(options="", divisor="steps")),
            "a count of tokens": lambda: source(
                ACCUMULATE.format(options="ignore_index=0, reduction='sum'", divisor="num_tokens")
            ),
        },
        {
            "nothing watched": lambda: accumulated(),
            "run time": lambda: source("loss = getattr(F, name)(z, y) / steps\n"),
        },
    ),
    "LL402": Case(
        {
            **planted("LL402"),
            "binary": lambda: doctor(_binary_focal("mean")),
            "source": lambda: source("ce = F.cross_entropy(z, y)\npt = torch.exp(-ce)\nloss = (1 - pt) ** 2 * ce\n"),
        },
        {
            "per row": lambda: doctor(focal_by_row()),
            "binary per row": lambda: doctor(_binary_focal("none").mean()),
            "source per row": lambda: source(
                "ce = F.cross_entropy(z, y, reduction='none')\npt = torch.exp(-ce)\n"
                "loss = ((1 - pt) ** 2 * ce).mean()\n"
            ),
            "perplexity": lambda: source("ce = F.cross_entropy(z, y)\nq = torch.exp(-ce)\nprint(q)\n"),
        },
        {"no graph": lambda: without_graph(lambda z: _focal_of(F.cross_entropy(z, target())))},
    ),
    "LL403": Case(
        planted("LL403"),
        {
            "several rows": lambda: batch(logits(), target(), nn.CrossEntropyLoss(weight=WEIGHT)),
            "no weight": lambda: batch(logits()[:1], target()[:1]),
            "a sum": lambda: batch(logits()[:1], target()[:1], nn.CrossEntropyLoss(weight=WEIGHT, reduction="sum")),
        },
        {"no values": lambda: on_meta(INDEX, nn.CrossEntropyLoss(weight=WEIGHT))},
    ),
    "LL404": Case(
        {
            "both": lambda: batch(logits(), target(), nn.CrossEntropyLoss(weight=WEIGHT, label_smoothing=0.1)),
            "in the graph": lambda: doctor(F.cross_entropy(logits(), target(), WEIGHT, label_smoothing=0.1)),
            "source": lambda: source("c = nn.CrossEntropyLoss(weight=w, label_smoothing=0.1)\nloss = c(z, y)\n"),
        },
        {
            "equal weights": lambda: batch(
                logits(), target(), nn.CrossEntropyLoss(weight=torch.ones(CLASSES), label_smoothing=0.1)
            ),
            "one of them": lambda: source("c = nn.CrossEntropyLoss(weight=w, label_smoothing=0.0)\nloss = c(z, y)\n"),
        },
        {"no values": lambda: on_meta(INDEX, nn.CrossEntropyLoss(weight=WEIGHT.to("meta"), label_smoothing=0.1))},
    ),
    "LL405": Case(
        {
            "one number": lambda: batch(logits(), labels(), nn.BCEWithLogitsLoss(weight=torch.tensor([3.0]))),
            "source": lambda: source("c = nn.BCEWithLogitsLoss(weight=torch.tensor([3.0]))\nloss = c(z, y)\n"),
        },
        {
            "pos_weight": lambda: batch(logits(), labels(), nn.BCEWithLogitsLoss(pos_weight=torch.tensor([3.0]))),
            "per element": lambda: batch(logits(), labels(), nn.BCEWithLogitsLoss(weight=torch.rand(24, CLASSES))),
        },
        {"no values": lambda: on_meta(labels(), nn.BCEWithLogitsLoss(weight=torch.empty(1, device="meta")))},
    ),
    "LL406": Case(
        {
            **planted("LL406"),
            "mean": lambda: batch(logits().log_softmax(1), soft(), nn.KLDivLoss()),
            "mean in the graph": lambda: doctor(F.kl_div(logits().log_softmax(1), soft(), reduction="none").mean()),
            "warning": lambda: doctor(error=KL_WARNING),
            "source": lambda: source("loss = F.kl_div(F.softmax(z, dim=1), p, reduction='batchmean')\n"),
            "mean in source": lambda: source("loss = nn.KLDivLoss()(F.log_softmax(z, dim=1), p)\n"),
        },
        {
            "right": lambda: batch(logits().log_softmax(1), soft(), nn.KLDivLoss(reduction="batchmean")),
            "right in the graph": lambda: doctor(F.kl_div(logits().log_softmax(1), soft(), reduction="batchmean")),
            "logarithms of both": lambda: doctor(
                F.kl_div(logits().log_softmax(1), soft().log(), reduction="batchmean", log_target=True)
            ),
            "right in source": lambda: source("loss = F.kl_div(z.log_softmax(1), p, reduction='batchmean')\n"),
        },
        {"no graph": lambda: without_graph(lambda z: F.kl_div(z.softmax(1), soft(), reduction="batchmean"))},
    ),
    "LL407": Case(
        planted("LL407"),
        {"right": lambda: batch(logits(), target(), nn.CrossEntropyLoss(weight=WEIGHT))},
        {"no values": lambda: on_meta(INDEX, CE), "another error": lambda: unknown_error("weight tensor missing")},
    ),
}
KL_WARNING = (
    "reduction: 'mean' divides the total loss by both the batch size and the support size.'batchmean' divides only by "
    "the batch size, and aligns with the KL div math definition."
)


def _focal_of(loss):
    return (1 - torch.exp(-loss)) ** 2 * loss


def _binary_focal(reduction):
    return _focal_of(F.binary_cross_entropy_with_logits(logits(), labels(), reduction=reduction))


test_speaks, test_is_silent_at_a_near_miss, test_cannot_tell = table(CASES)
