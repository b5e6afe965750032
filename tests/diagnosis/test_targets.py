"""Family 1: targets."""

import torch
from torch import nn
from torch.nn import functional as F

from lastlayer import doctor
from tests.diagnosis.cases import Case, logits, on_meta, planted, table, unknown_error
from tests.diagnosis.models import CLASSES, labels, target
from tests.diagnosis.planted import CE, LOGITS, batch, images

INDEX = torch.zeros(24, dtype=torch.long)


def soft():
    return torch.randn(24, CLASSES).softmax(1)


def padded():
    """(4, 6) tokens of 5 words; 0 pads the ends."""
    tokens = target().reshape(4, 6) % 4 + 1
    tokens[1, 4:], tokens[2, 3:], tokens[3, 5:] = 0, 0, 0
    return tokens


def background_ignored():
    mask = target().reshape(2, 3, 4)
    return batch(images(logits()), mask, nn.CrossEntropyLoss(ignore_index=0))


def masked_logits():
    z = logits()
    return z.masked_fill(torch.arange(CLASSES) == 0, -torch.inf)


CASES = {
    "LL101": Case(
        planted("LL101"),
        {
            "the last class": lambda: batch(logits(), INDEX + 4),
            "ignored": lambda: batch(logits(), torch.where(target() == 0, -100, target())),
        },
        {"no values": lambda: on_meta(INDEX, CE), "another error": lambda: unknown_error("out of bounds of the law")},
    ),
    "LL102": Case(
        planted("LL102"),
        {"int64": lambda: batch(logits(), target()), "uint8": lambda: batch(logits(), target().byte())},
        {"no values": lambda: on_meta(INDEX, CE), "another error": lambda: unknown_error("expected Long hair")},
    ),
    "LL103": Case(
        planted("LL103"),
        {
            "flat": lambda: batch(logits(), target()),
            "one class": lambda: batch(logits()[:, :1], INDEX[:, None].float()),
        },
        {"no values": lambda: on_meta(INDEX, CE), "another error": lambda: unknown_error("1D target in sight")},
    ),
    "LL104": Case(
        planted("LL104"),
        {
            "floats": lambda: batch(logits(), F.one_hot(target(), CLASSES).float()),
            "indices": lambda: batch(logits(), target()),
        },
        {"no values": lambda: on_meta(INDEX, CE), "another error": lambda: unknown_error("Expected floating point")},
    ),
    "LL105": Case(
        planted("LL105"),
        {
            "from 0": lambda: batch(logits(), target()),
            "without class 0": lambda: batch(logits(), target().clamp(min=1)),
            "far outside": lambda: batch(logits(), target() + 2),
        },
        {"no values": lambda: on_meta(INDEX + 1, CE)},
    ),
    "LL106": Case(
        planted("LL106"),
        {
            "ignored": lambda: batch(
                images(logits()),
                torch.where(target() == 0, 255, target()).reshape(2, 3, 4),
                nn.CrossEntropyLoss(ignore_index=255),
            ),
            "several bad values": lambda: batch(logits(), target() + 253),
        },
        {"no values": lambda: on_meta(INDEX, CE), "another error": lambda: unknown_error("Target 255 is fine")},
    ),
    "LL107": Case(
        {
            "a class": lambda: batch(logits(), target(), nn.CrossEntropyLoss(ignore_index=2)),
            "background": background_ignored,
            "in the graph": lambda: doctor(F.cross_entropy(logits(), target(), ignore_index=2)),
        },
        {
            "padding": lambda: batch(
                logits().reshape(4, 6, CLASSES).movedim(-1, 1), padded(), nn.CrossEntropyLoss(ignore_index=0)
            ),
            "flat padding": lambda: doctor(F.cross_entropy(logits(), padded().flatten(), ignore_index=0)),
            "no class": lambda: batch(logits(), target(), nn.CrossEntropyLoss(ignore_index=-1)),
            "masked as well": lambda: batch(masked_logits(), target(), nn.CrossEntropyLoss(ignore_index=0)),
        },
        {"no values": lambda: on_meta(INDEX, nn.CrossEntropyLoss(ignore_index=2))},
    ),
    "LL108": Case(
        planted("LL108"),
        {"soft": lambda: batch(logits(), soft()), "indices": lambda: batch(logits(), target())},
        {"no values": lambda: on_meta(soft(), CE)},
    ),
    "LL109": Case(
        planted("LL109"),
        {"soft": lambda: batch(logits(), labels() * 0.9 + 0.05, LOGITS)},
        {"no values": lambda: on_meta(labels() * 2, LOGITS)},
    ),
    "LL110": Case(
        {
            **planted("LL110"),
            "in the graph": lambda: doctor(F.cross_entropy(logits(), soft() * 1.1)),
            "KL": lambda: batch(logits().log_softmax(1), soft() * 0.5, nn.KLDivLoss(reduction="batchmean")),
        },
        {
            "rounded": lambda: batch(logits(), soft().half().float()),
            "half": lambda: batch(logits().half().float(), soft().bfloat16().float()),
            "smoothed by PyTorch": lambda: doctor(F.cross_entropy(logits(), soft(), label_smoothing=0.1)),
        },
        {"no values": lambda: on_meta(soft() * 2, CE)},
    ),
    "LL111": Case(
        {
            **planted("LL111"),
            "share not given": lambda: batch(
                logits(), torch.where(F.one_hot(target(), CLASSES) == 1, 0.9, 0.1 / CLASSES)
            ),
        },
        {
            "right": lambda: batch(logits(), F.one_hot(target(), CLASSES) * 0.9 + 0.1 / CLASSES),
            "no smoothing": lambda: batch(logits(), soft() * 0.5),
        },
        {"no values": lambda: on_meta(soft(), CE)},
    ),
    "LL112": Case(
        planted("LL112"),
        {
            "mixed rows": lambda: batch(logits(), 0.3 * soft() + 0.7 * F.one_hot(target(), CLASSES)),
            "whole numbers": lambda: batch(logits(), target().float()),
        },
        {"no values": lambda: on_meta(target() * 0.3, CE)},
    ),
    "LL113": Case(
        {
            **planted("LL113"),
            "missing": lambda: doctor(class_maps={"train": {"a": 0, "b": 1}, "test": {"b": 0}}),
            "sorted as text": lambda: doctor(class_maps={"train": ["1", "10", "2"]}),
        },
        {
            "equal": lambda: doctor(class_maps={"train": {"a": 0, "b": 1}, "test": ["a", "b"]}),
            "numbers in order": lambda: doctor(class_maps={"train": ["1", "2", "10"]}),
        },
        {"empty": lambda: doctor(class_maps={"train": [], "test": []})},
    ),
}

test_speaks, test_is_silent_at_a_near_miss, test_cannot_tell = table(CASES)


def test_labels_from_one_explain_the_index_that_is_out_of_range():
    report = batch(logits(), target() + 1)
    assert report.codes == ["LL105"]
    assert [other.code for other in report[0].consequences] == ["LL101"]
