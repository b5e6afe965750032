"""Random chains of operations before a loss: the doctor names the last one that matters, and nothing else."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import lastlayer
from lastlayer import doctor
from tests.diagnosis.models import CLASSES, ROWS, labels, target
from tests.diagnosis.planted import codes

LAYER = nn.Linear(CLASSES, CLASSES)

# What leaves the numbers as they are.
NEUTRAL = {
    "view": lambda z: z.reshape(4, 6, CLASSES).reshape(ROWS, CLASSES),
    "moved and back": lambda z: z.T.contiguous().T,
    "permuted and back": lambda z: z.reshape(4, 6, CLASSES).permute(2, 0, 1).permute(1, 2, 0).reshape(ROWS, CLASSES),
    "axis added": lambda z: z.unsqueeze(1).squeeze(1),
    "bfloat16 and back": lambda z: z.bfloat16().float(),
    "clone": torch.clone,
    "chosen": lambda z: z[torch.arange(ROWS)],
    "stacked": lambda z: z.expand(1, ROWS, CLASSES)[0],
}
MATTERS = {
    "layer": lambda z: LAYER(z),
    "softmax": lambda z: z.softmax(1),
    "log_softmax": lambda z: z.log_softmax(-1),
    "sigmoid": torch.sigmoid,
    "our sigmoid": lastlayer.sigmoid,
    "our softmax": lambda z: lastlayer.softmax(z, 1),
    "relu": torch.relu,
}
CROSS_ENTROPY = {
    "softmax": "LL001", "our softmax": "LL001", "log_softmax": "LL009", "sigmoid": "LL010", "our sigmoid": "LL010",
    "relu": "LL008",
}  # fmt: skip
BINARY = {"softmax": "LL002", "our softmax": "LL002", "sigmoid": "LL002", "our sigmoid": "LL002", "relu": "LL008"}
LOSSES = {
    "cross_entropy": (lambda z: F.cross_entropy(z, target()), CROSS_ENTROPY),
    "smoothed": (lambda z: F.cross_entropy(z, target(), label_smoothing=0.1), CROSS_ENTROPY),
    "soft": (lambda z: F.cross_entropy(z, F.one_hot(target(), CLASSES) * 0.8 + 0.2 / CLASSES), CROSS_ENTROPY),
    "per row": (lambda z: F.cross_entropy(z, target(), reduction="none").mean(), CROSS_ENTROPY),
    "ours": (lambda z: lastlayer.cross_entropy(z, target()), CROSS_ENTROPY),
    "binary": (lambda z: F.binary_cross_entropy_with_logits(z, labels()), BINARY),
    "our binary": (lambda z: lastlayer.binary_cross_entropy_with_logits(z, labels()), BINARY),
}
SPOKEN_OF = {"LL001", "LL002", "LL003", "LL004", "LL007", "LL008", "LL009", "LL010", "LL202"}


@settings(max_examples=120, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from([*NEUTRAL, *MATTERS]), max_size=6), st.sampled_from(list(LOSSES)))
def test_the_last_operation_that_matters_is_named(chain, loss):
    build, expected = LOSSES[loss]
    z = LAYER(torch.randn(ROWS, CLASSES))
    for name in chain:
        z = (NEUTRAL | MATTERS)[name](z)
    last = next((name for name in reversed(chain) if name in MATTERS), "layer")
    found = codes(doctor(build(z))) & SPOKEN_OF
    assert found == ({expected[last]} if last in expected else set())
