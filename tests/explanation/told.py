"""One trace of every story, and of its options: what is tested of all of them."""

import torch

from lastlayer.explanation import (
    contrast,
    explain,
    explain_distributions,
    explain_features,
    explain_image,
    explain_log_odds,
    explain_next_token,
    explain_sensitivity,
)
from lastlayer.explanation.stories.contrasts import CONTRASTS

ANIMALS = ["dog", "cat", "rabbit"]
Z = [4.0, 2.0, -2.0]


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(7)) * 2


ROWS = random(5, 3)
SOFT = random(5, 3).softmax(1)
TOLD = {
    "hard": explain(Z, "dog", classes=ANIMALS),
    "no target": explain(Z, classes=ANIMALS),
    "tie": explain([4.0, 4.0, 1.0], 2),
    "temperature": explain(Z, 1, temperature=0.5),
    "smoothing": explain(Z, 1, label_smoothing=0.1, temperature=2.0),
    "soft": explain(Z, [0.5, 0.3, 0.2]),
    "one-hot floats": explain(Z, torch.tensor([0.0, 1.0, 0.0])),
    "one step": explain(Z, 2, learning_rate=0.5),
    "double softmax": explain(Z, 1, before="softmax"),
    "float16": explain([0.3, 2.0, -2.0], 1, dtype="float16"),
    "float32 of torch": explain([0.3, 2.0, -2.0], 1, dtype="float32", by="torch"),
    "many classes": explain(random(300), 17),
    "Korean names": explain(Z, "고양이", classes=["강아지", "고양이", "토끼"]),
    "binary": explain(0.3, "yes", kind="binary", threshold=0.7),
    "binary soft": explain(0.3, 0.25, kind="binary"),
    "binary smoothing": explain(-0.3, 0, kind="binary", label_smoothing=0.2, temperature=2.0, learning_rate=1.0),
    "binary double": explain(0.3, 1, kind="binary", before="sigmoid"),
    "binary rows": explain(torch.tensor([1.0, -2.0]), torch.tensor([1.0, 0.0]), kind="binary"),
    "multilabel": explain(Z, [0, 2], kind="multilabel", classes=ANIMALS),
    "multilabel rows": explain(ROWS, (ROWS > 1).double(), kind="multilabel"),
    "batch": explain(ROWS, [0, 2, 1, 1, 0]),
    "batch sum": explain(ROWS, [0, 2, 1, 1, 0], reduction="sum", temperature=2.0),
    "batch none": explain(ROWS, [0, 2, -100, 1, 0], reduction="none"),
    "batch weights": explain(ROWS, [0, 2, 1, 1, 0], weight=[1, 2, 3]),
    "batch ignored": explain(ROWS, [0, -100, 1, -100, 0], weight=[1, 2, 3]),
    "batch other ignored": explain(ROWS, [0, 2, 1, 1, 0], ignore_index=1),
    "batch smoothing": explain(ROWS, [0, -100, 1, 1, 0], label_smoothing=0.2),
    "batch everything": explain(ROWS, [0, -100, 1, 1, 0], weight=[1, 2, 3], label_smoothing=0.2),
    "batch soft": explain(ROWS, SOFT, label_smoothing=0.1),
    "batch soft weights": explain(ROWS, SOFT, weight=[1, 2, 3]),
    "batch all ignored": explain(ROWS, [-100] * 5),
    "one row with weights": explain(Z, "dog", classes=ANIMALS, weight=[1, 2, 3]),
    "features": explain_features([1.0, -2.0], [[1.0, 0.5], [0.0, 1.0], [1.0, 1.0]], 1, learning_rate=0.1),
    "distributions": explain_distributions([0.7, 0.2, 0.1], [0.6, 0.3, 0.1]),
    "many probabilities": explain_distributions(random(20).softmax(0), random(20).mul(2).softmax(0)),
    "distributions with zeros": explain_distributions([0.0, 1.0], [1.0, 0.0]),
    "next token": explain_next_token(random(1000), 5, temperature=0.7),
    "next token, all shown": explain_next_token([1.0, 2.0, 3.0], "b", tokens=["a", "b", "c"]),
    "log-odds": explain_log_odds(0.9),
    "log-odds of 0": explain_log_odds(0.0),
    "image": explain_image(1080, 1920, row=3, column=4),
    "many sensitivities": explain_sensitivity(random(20), 3),
    "wide batch": explain(random(15, 30), [place % 30 for place in range(15)]),
    "sensitivity": explain_sensitivity(Z, "cat", classes=ANIMALS),
} | {name: contrast(name, Z, "dog", classes=ANIMALS) for name in CONTRASTS}
TOLD["ratio of positive numbers"] = contrast("ratio-exp", [0.2, 0.3])
TOLD["overflow"] = contrast("naive-stable", [110.0, 0.0])
