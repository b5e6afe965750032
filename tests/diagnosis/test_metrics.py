"""Families 6 to 8: metrics, language models, frameworks."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lastlayer import doctor
from tests.diagnosis.cases import Case, on_meta, planted, source, table, unknown_error
from tests.diagnosis.models import CLASSES
from tests.diagnosis.planted import CE, TinyForSequenceClassification

BINARY = """
from torchmetrics.classification import BinaryAccuracy
model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
accuracy = BinaryAccuracy()
for x, y in loader:
    logits = model(x).squeeze(1)
    loss = F.binary_cross_entropy_with_logits(logits, y)
    {then}
"""
PERPLEXITY = """
total, tokens = 0.0, 0
for x, y in loader:
    loss = F.cross_entropy(model(x), y)
    {add}
perplexity = math.exp({mean})
"""


class TinyForCausalLM(nn.Module):
    """As transformers' models: given labels, it shifts them and returns its loss."""

    def __init__(self, **config):
        super().__init__()
        self.config = SimpleNamespace(**{"eos_token_id": 9, "pad_token_id": 0, **config})
        self.embedding, self.head = nn.Embedding(10, 8), nn.Linear(8, 10)

    def forward(self, input_ids, labels=None, attention_mask=None):
        logits = self.head(self.embedding(input_ids))
        if labels is None:
            return SimpleNamespace(logits=logits, loss=None)
        loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        return SimpleNamespace(logits=logits, loss=loss)


def tokens():
    return torch.randint(1, 9, (4, 12), generator=torch.Generator().manual_seed(0))


def asked(labels, ids=None, **config):
    ids = tokens() if ids is None else ids
    return doctor(model=TinyForCausalLM(**config), batch={"input_ids": ids, "labels": labels})


def shifted():
    return torch.cat([tokens()[:, 1:], torch.full((4, 1), -100)], 1)


class Plain(nn.Module):
    """A user's own loop around a causal model: the loss takes what it is given."""


def unshifted():
    model = TinyForCausalLM()
    model.forward = lambda ids: model.head(model.embedding(ids)).movedim(-1, 1)
    return doctor(model=model, batch=(tokens(), tokens()), loss_fn=CE)


def at_offset(offset):
    """Logits that know the tokens `offset` places later than the labels say."""
    ids = torch.randint(10, (4, 32), generator=torch.Generator().manual_seed(1))
    known = torch.roll(ids, -offset, 1)
    return doctor(logits=8 * F.one_hot(known, 10).float().movedim(-1, 1), target=ids, loss_fn=CE)


def ended(labelled):
    ids = tokens()
    ids[:, -3:] = 9
    labels = ids.clone()
    labels[:, -3 if labelled == "none" else -2 :] = -100
    return asked(labels, ids, pad_token_id=9)


def classified(labels, **config):
    return doctor(model=TinyForSequenceClassification(**config), batch=(torch.randn(24, CLASSES), labels), loss_fn=CE)


def own_loss(labels, **config):
    """A classifier that computes its loss itself; here it raises, as MSE of indices would not."""
    model = TinyForSequenceClassification(**config)
    model.forward = lambda x, labels: SimpleNamespace(loss=F.cross_entropy(model.head(x), labels))
    return doctor(model=model, batch={"x": torch.randn(24, CLASSES), "labels": labels})


INDEX = torch.arange(24) % CLASSES

CASES = {
    "LL601": Case(
        {
            "called": lambda: source(BINARY.format(then="accuracy(logits, y)")),
            "updated": lambda: source(BINARY.format(then="accuracy.update(logits, y)")),
            "functional": lambda: source(
                "from torchmetrics.functional import accuracy\naccuracy(logits, y, task='binary')\n"
                "loss = F.binary_cross_entropy_with_logits(logits, y)\n"
            ),
        },
        {
            "sigmoid": lambda: source(BINARY.format(then="accuracy(logits.sigmoid(), y)")),
            "another": lambda: source(
                "from torchmetrics.classification import MulticlassAccuracy\na = MulticlassAccuracy(3)\na(logits, y)\n"
                "loss = F.cross_entropy(logits, y)\n"
            ),
        },
        {"run time": lambda: source("a = getattr(torchmetrics, name)()\na(getattr(F, other)(z), y)\n")},
    ),
    "LL602": Case(
        {
            "half": lambda: source(BINARY.format(then="right = (logits > 0.5) == y")),
            "of the model": lambda: source(BINARY.format(then="yes = model(x) >= 0.5")),
        },
        {
            "zero": lambda: source(BINARY.format(then="right = (logits > 0) == y")),
            "probability": lambda: source(BINARY.format(then="right = (logits.sigmoid() > 0.5) == y")),
            "of something else": lambda: source(BINARY.format(then="chosen = share > 0.5")),
        },
        {"run time": lambda: source("yes = getattr(F, name)(z) > 0.5\n")},
    ),
    "LL701": Case(
        {
            "twice": lambda: asked(shifted()),
            "not at all": unshifted,
            "one later": lambda: at_offset(1),
            "one earlier": lambda: at_offset(-1),
        },
        {"once": lambda: asked(tokens()), "aligned": lambda: at_offset(0)},
        {"no values": lambda: on_meta(torch.zeros(4, 12, dtype=torch.long), CE, (4, 10, 12))},
    ),
    "LL702": Case(
        {
            "all masked": lambda: ended("none"),
            "source": lambda: source(
                "tokenizer.pad_token = tokenizer.eos_token\n"
                "collator = DataCollatorForLanguageModeling(tokenizer, mlm=False)\n"
            ),
        },
        {
            "the first is kept": lambda: ended("first"),
            "its own padding": lambda: asked(tokens()),
            "masked words": lambda: source(
                "tokenizer.pad_token = tokenizer.eos_token\n"
                "collator = DataCollatorForLanguageModeling(tokenizer, mlm=True)\nloss = F.cross_entropy(z, y)\n"
            ),
        },
        {"the model raises": lambda: doctor(model=TinyForCausalLM(), batch={"nothing": 1})},
    ),
    "LL703": Case(
        {
            "by batches": lambda: source(PERPLEXITY.format(add="total += loss.item()", mean="total / len(loader)")),
            "by name": lambda: source(
                PERPLEXITY.format(add="total += loss.item()", mean="average").replace(
                    "perplexity", "average = total / len(loader)\nperplexity"
                )
            ),
        },
        {
            "by tokens": lambda: source(
                PERPLEXITY.format(add="total += loss.item() * y.numel(); tokens += y.numel()", mean="total / tokens")
            ),
            "of one loss": lambda: source("loss = F.cross_entropy(z, y)\nperplexity = math.exp(loss)\n"),
        },
        {"run time": lambda: source("total += getattr(F, name)(z, y)\nperplexity = math.exp(total / tokens)\n")},
    ),
    "LL704": Case(
        {
            **planted("LL704"),
            "source": lambda: source("temperature = 0\np = torch.softmax(logits / temperature, -1)\n"),
            "generate": lambda: source(
                "p = torch.softmax(z, -1)\nmodel.generate(x, do_sample=True, temperature=0.0)\n"
            ),
        },
        {
            "one": lambda: source("temperature = 1.0\np = torch.softmax(logits / temperature, -1)\n"),
            "greedy": lambda: source("p = torch.softmax(z, -1)\nmodel.generate(x, temperature=0.0)\n"),
        },
        {"another error": lambda: unknown_error("probability tensor is fine")},
    ),
    "LL803": Case(
        {
            **planted("LL803"),
            "floats for one label": lambda: classified(
                F.one_hot(INDEX, CLASSES).float(), num_labels=CLASSES, problem_type="single_label_classification"
            ),
            "indices for several": lambda: classified(
                INDEX, num_labels=CLASSES, problem_type="multi_label_classification"
            ),
            "regression": lambda: classified(INDEX, num_labels=1, problem_type=None),
            "its own loss": lambda: own_loss(INDEX, num_labels=3, problem_type=None),
        },
        {
            "fits": lambda: classified(INDEX, num_labels=CLASSES, problem_type=None),
            "several labels": lambda: classified(
                F.one_hot(INDEX, CLASSES).float(), num_labels=CLASSES, problem_type="multi_label_classification"
            ),
        },
        {"no loss": lambda: doctor(model=TinyForSequenceClassification(num_labels=3), batch=(torch.randn(2, 5), None))},
    ),
}

test_speaks, test_is_silent_at_a_near_miss, test_cannot_tell = table(CASES)


@pytest.mark.parametrize("labels", [torch.full((24,), -100), torch.zeros(0, dtype=torch.long)])
def test_labels_without_values_are_no_mismatch(labels):
    assert "LL803" not in classified(labels, num_labels=3, problem_type=None).codes
