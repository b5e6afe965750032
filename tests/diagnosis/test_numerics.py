"""Family 3: numerics."""

import torch
from torch import nn
from torch.nn import functional as F

import lastlayer
from lastlayer import doctor
from tests.diagnosis.cases import Case, compiled, logits, on_meta, planted, source, table, unknown_error, without_graph
from tests.diagnosis.models import labels, target
from tests.diagnosis.planted import CE, LOGITS, batch

INDEX = torch.zeros(24, dtype=torch.long)
IGNORED = torch.full((24,), -100)
UNSAFE = "torch.nn.functional.binary_cross_entropy and torch.nn.BCELoss are unsafe to autocast."


def with_infinity():
    z = logits()
    return z.masked_fill(z == z.max(), torch.inf)


CASES = {
    "LL301": Case(
        {
            "error": lambda: doctor(error=UNSAFE),
            "source": lambda: source("with torch.autocast('cuda'):\n    loss = F.binary_cross_entropy(p, y)\n"),
            "older name": lambda: source(
                "from torch.cuda.amp import autocast\ncriterion = nn.BCELoss()\n"
                "with autocast():\n    loss = criterion(p, y)\n"
            ),
        },
        {
            "with logits": lambda: source(
                "with torch.autocast('cuda'):\n    loss = F.binary_cross_entropy_with_logits(p, y)\n"
            ),
            "after it": lambda: source(
                "with torch.autocast('cuda'):\n    p = model(x)\nloss = F.binary_cross_entropy(p, y)\n"
            ),
            "switched off": lambda: source(
                "with torch.autocast('cuda'):\n    with torch.autocast('cuda', enabled=False):\n"
                "        loss = F.binary_cross_entropy(p, y)\n"
            ),
            "on a CPU": lambda: source("with torch.autocast('cpu'):\n    loss = F.binary_cross_entropy(p, y)\n"),
        },
        {
            "another error": lambda: unknown_error("unsafe to autocast spells"),
            "decided at run time": lambda: source("with torch.autocast('cuda'):\n    getattr(F, name)(p, y)\n"),
        },
    ),
    "LL302": Case(
        {**planted("LL302"), "in the graph": lambda: doctor(F.cross_entropy(logits(), IGNORED))},
        {
            "one is left": lambda: batch(logits(), IGNORED.clone().index_fill_(0, torch.tensor([3]), 1)),
            "a sum": lambda: batch(logits(), IGNORED, nn.CrossEntropyLoss(reduction="sum")),
            "lastlayer, asked for zero": lambda: batch(logits(), IGNORED, lastlayer.nn.CrossEntropyLoss(empty="zero")),
        },
        {"no values": lambda: on_meta(IGNORED, CE)},
    ),
    "LL303": Case(
        {
            **planted("LL303"),
            "sigmoid": lambda: doctor(-(labels() * logits().sigmoid().log()).mean()),
            "source": lambda: source("lp = torch.log(F.softmax(z, dim=1))\n"),
            "method in source": lambda: source("lp = z.softmax(1).log()\n"),
            "by name in source": lambda: source("p = torch.softmax(z, -1)\nloss = -(q * torch.log(p + 1e-8)).sum()\n"),
        },
        {
            "log-softmax": lambda: doctor(F.nll_loss(logits().log_softmax(1), target())),
            "log of something else": lambda: source("p = torch.softmax(z, -1)\nlp = torch.log(counts)\n"),
            "exp and log": lambda: doctor(F.cross_entropy(logits().exp().log(), target())),
        },
        {
            "compiled": lambda: compiled(lambda z: F.nll_loss(z.softmax(1).log(), torch.zeros(24, dtype=torch.long))),
            "no graph": lambda: without_graph(lambda z: F.nll_loss(z.softmax(1).log(), target())),
        },
    ),
    "LL304": Case(
        {
            **planted("LL304"),
            "source": lambda: source("model = net.half()\np = torch.softmax(model(x), -1)\nlp = torch.log(p + 1e-8)\n"),
        },
        {
            "float32": lambda: source("p = torch.softmax(model(x), -1)\nlp = torch.log(p + 1e-8)\n"),
            "large enough": lambda: source("model = net.half()\nlp = torch.log(model(x).softmax(-1) + 1e-3)\n"),
            "float32 graph": lambda: doctor(-(labels() * torch.log((40 * logits()).softmax(1) + 1e-8)).sum()),
        },
        {"no graph": lambda: without_graph(lambda z: -(z.half().softmax(1) + 1e-8).log().sum())},
    ),
    "LL305": Case(
        {
            **planted("LL305"),
            "in lastlayer's graph": lambda: doctor(
                lastlayer.cross_entropy(logits().masked_fill(torch.arange(24)[:, None] == 3, -torch.inf), target())
            ),
        },
        {"one class left": lambda: batch(logits().masked_fill(torch.arange(5) > 0, -torch.inf), INDEX)},
        {"no values": lambda: on_meta(INDEX, CE)},
    ),
    "LL306": Case(
        planted("LL306"),
        {
            "finite": lambda: batch(logits() * 1e4, labels(), LOGITS),
            "lastlayer gives the limit": lambda: batch(with_infinity(), labels(), lastlayer.nn.BCEWithLogitsLoss()),
        },
        {"no values": lambda: on_meta(labels(), LOGITS)},
    ),
    "LL307": Case(
        planted("LL307"),
        {
            "few rows": lambda: batch(logits().half(), target()),
            "float32": lambda: batch(logits().repeat(2000, 1), target().repeat(2000)),
        },
        {"no values": lambda: on_meta(INDEX, CE)},
    ),
}

test_speaks, test_is_silent_at_a_near_miss, test_cannot_tell = table(CASES)
