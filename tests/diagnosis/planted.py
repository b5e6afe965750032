"""Mistakes to plant: each takes rows of logits with a graph and returns what the doctor says."""

from collections.abc import Callable
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import lastlayer
from lastlayer import doctor
from lastlayer.diagnosis import Report
from tests.diagnosis.models import CLASSES, labels, target

Plant = Callable[[Tensor], Report]
CE, BCE, LOGITS = nn.CrossEntropyLoss(), nn.BCELoss(), nn.BCEWithLogitsLoss()


def batch(logits: object, answers: object, loss_fn: object = CE) -> Report:
    return doctor(logits=logits, target=answers, loss_fn=loss_fn)


def sequences(z: Tensor) -> Tensor:
    """(4, 6, 5): the classes last, as a language model gives them."""
    return z.reshape(4, 6, CLASSES)


def images(z: Tensor) -> Tensor:
    """(2, 5, 3, 4)."""
    return z.reshape(2, 3, 4, CLASSES).permute(0, 3, 1, 2)


def reduced_focal(z: Tensor) -> Tensor:
    loss = F.cross_entropy(z, target())
    return (1 - torch.exp(-loss)) ** 2 * loss


def judged_in_training(z: Tensor) -> Report:
    model = nn.Sequential(nn.Dropout(0.1), nn.Linear(CLASSES, CLASSES)).train()
    with torch.no_grad():
        return doctor(model=model, batch=(z.detach(), target()), loss_fn=CE)


class TinyForSequenceClassification(nn.Module):
    def __init__(self, **config: object) -> None:
        super().__init__()
        self.config = SimpleNamespace(**config)
        self.head = nn.Linear(CLASSES, CLASSES)

    def forward(self, z: Tensor) -> Tensor:
        return self.head(z)


def too_few_labels(z: Tensor) -> Report:
    model = TinyForSequenceClassification(num_labels=3, problem_type="single_label_classification")
    return doctor(model=model, batch=(z.detach(), target()), loss_fn=CE)


def warned(call: Callable[[], object]) -> Report:
    import warnings

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            call()
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            return doctor(error=error)
    return doctor(error=str(caught[0].message))


def smoothed_by_hand(z: Tensor) -> Tensor:
    return F.one_hot(target(), CLASSES) * 0.9 + 0.1


def half_masked(z: Tensor) -> Tensor:
    return torch.where(torch.arange(len(z)) % 3 == 0, 255, target())


def vanishing(z: Tensor) -> Report:
    p = (40 * z).half().softmax(1)
    return doctor(-(F.one_hot(target(), CLASSES) * torch.log(p + 1e-8)).sum(1).mean())


# Of every certain rule at least one.
CERTAIN: dict[str, list[Plant]] = {
    "LL001": [
        lambda z: doctor(F.cross_entropy(z.softmax(1), target())),
        lambda z: doctor(F.cross_entropy(nn.Softmax(-1)(z), target(), label_smoothing=0.1)),
        lambda z: doctor(F.cross_entropy(z.softmax(1), F.one_hot(target(), CLASSES).float())),
        lambda z: doctor(F.cross_entropy(images(z).softmax(1), target().reshape(2, 3, 4))),
        lambda z: doctor(F.cross_entropy(sequences(z).softmax(-1).flatten(0, 1), target())),
        lambda z: doctor(lastlayer.cross_entropy(z.softmax(1), target()) / 4 + z.pow(2).mean()),
        lambda z: batch(z.softmax(1), target()),
    ],
    "LL002": [
        lambda z: doctor(F.binary_cross_entropy_with_logits(z.sigmoid(), labels())),
        lambda z: doctor(lastlayer.binary_cross_entropy_with_logits(lastlayer.sigmoid(z), labels())),
        lambda z: batch(z[:, :1].sigmoid().squeeze(1), labels()[:, 0], LOGITS),
    ],
    "LL003": [
        lambda z: doctor(F.nll_loss(z.softmax(1), target())),
        lambda z: doctor(F.nll_loss(z.sigmoid(), target())),
        lambda z: batch(z.abs() + 1, target(), nn.NLLLoss()),
        lambda z: doctor(lastlayer.nll_loss(z.softmax(1), target())),
    ],
    "LL004": [
        lambda z: batch(3 * z - 1, labels(), BCE),
        lambda z: warned(lambda: F.binary_cross_entropy(z * 9 - 3, labels())),
    ],
    "LL005": [
        lambda z: doctor(F.binary_cross_entropy(z.softmax(1), labels())),
        lambda z: batch(z, labels(), CE),
    ],
    "LL007": [
        lambda z: batch(z[:, :1], torch.zeros(len(z), dtype=torch.long)),
        lambda z: doctor(F.binary_cross_entropy(z[:, :1].softmax(1), labels()[:, :1])),
    ],
    "LL008": [
        lambda z: doctor(F.cross_entropy(z.relu(), target())),
        lambda z: doctor(F.binary_cross_entropy_with_logits(F.relu(z), labels())),
    ],
    "LL009": [lambda z: doctor(F.cross_entropy(z.log_softmax(1), target()))],
    "LL010": [
        lambda z: doctor(F.cross_entropy(z.sigmoid(), target())),
        lambda z: batch(lastlayer.sigmoid(z), target()),
    ],
    "LL101": [
        lambda z: batch(z, target() + 3),
        lambda z: batch(z, target() - 2),
        lambda z: warned(lambda: F.cross_entropy(z, target() + 9)),
    ],
    "LL102": [
        lambda z: batch(z, target().int()),
        lambda z: batch(z, target().float()),
        lambda z: batch(z, target() > 1),
        lambda z: warned(lambda: F.cross_entropy(z, target().float())),
    ],
    "LL103": [
        lambda z: batch(z, target()[:, None]),
        lambda z: warned(lambda: F.cross_entropy(z, target()[:, None])),
    ],
    "LL104": [
        lambda z: batch(z, F.one_hot(target(), CLASSES)),
        lambda z: batch(z.log_softmax(1), F.one_hot(target(), CLASSES).float(), nn.NLLLoss()),
        lambda z: warned(lambda: F.cross_entropy(z, F.one_hot(target(), CLASSES))),
    ],
    "LL105": [lambda z: batch(z, target() + 1)],
    "LL106": [
        lambda z: batch(z, half_masked(z)),
        lambda z: batch(images(z), half_masked(z).reshape(2, 3, 4)),
        lambda z: warned(lambda: F.cross_entropy(z, half_masked(z))),
    ],
    "LL108": [lambda z: batch(z, F.one_hot(target(), CLASSES).float())],
    "LL109": [lambda z: batch(z, labels() * 255, LOGITS), lambda z: batch(z, labels() * 2 - 1, LOGITS)],
    "LL110": [lambda z: batch(z, z.detach().softmax(1) * 0.8)],
    "LL111": [lambda z: batch(z, smoothed_by_hand(z))],
    "LL112": [
        lambda z: batch(z, 0.3 * target() + 0.7 * target().flip(0)),
        lambda z: batch(z.log_softmax(1), z.detach().softmax(1), nn.NLLLoss()),
    ],
    "LL113": [lambda z: doctor(class_maps={"train": ["cat", "dog"], "validation": ["dog", "cat"]})],
    "LL201": [lambda z: warned(lambda: F.softmax(z)), lambda z: warned(lambda: nn.LogSoftmax()(z))],
    "LL202": [
        lambda z: doctor(F.nll_loss(z.log_softmax(0), target())),
        lambda z: doctor(F.cross_entropy(z.softmax(0), target())),
        lambda z: doctor(F.nll_loss(sequences(z).log_softmax(1).reshape(-1, CLASSES), target())),
        lambda z: batch(z.detach().softmax(0), target()),
    ],
    "LL203": [
        lambda z: batch(sequences(z), target().reshape(4, 6)),
        lambda z: warned(lambda: F.cross_entropy(sequences(z), target().reshape(4, 6))),
    ],
    "LL205": [
        lambda z: batch(z, target()[:7]),
        lambda z: batch(z, F.one_hot(target(), CLASSES).flatten()),
        lambda z: warned(lambda: F.cross_entropy(z, target()[:7])),
    ],
    "LL206": [
        lambda z: batch(images(z), target().reshape(2, 1, 3, 4)),
        lambda z: warned(lambda: F.cross_entropy(images(z), target().reshape(2, 1, 3, 4))),
    ],
    "LL207": [
        lambda z: batch(z[:, :1], labels()[:, 0], LOGITS),
        lambda z: batch(z[:, :1], labels()[:, 0], nn.MSELoss()),
        lambda z: warned(lambda: F.binary_cross_entropy_with_logits(z[:, :1], labels()[:, 0])),
        lambda z: warned(lambda: F.binary_cross_entropy(z[:, :1].sigmoid(), labels()[:, 0])),
        lambda z: warned(lambda: F.mse_loss(z[:, :1], labels()[:, 0])),
    ],
    "LL208": [
        lambda z: batch((z, None), target()),
        lambda z: batch(SimpleNamespace(logits=z), target()),
        lambda z: batch(z, target().tolist()),
        lambda z: warned(lambda: F.cross_entropy((z,), target())),
        lambda z: warned(lambda: F.cross_entropy(z, target().tolist())),
    ],
    "LL302": [lambda z: batch(z, torch.full((len(z),), -100))],
    "LL303": [
        lambda z: doctor(F.nll_loss(z.softmax(1).log(), target())),
        lambda z: doctor(-(F.one_hot(target(), CLASSES) * torch.log(z.softmax(1) + 1e-9)).sum(1).mean()),
    ],
    "LL304": [vanishing],
    "LL305": [lambda z: batch(z.masked_fill(torch.arange(len(z))[:, None] == 3, -torch.inf), target())],
    "LL306": [lambda z: batch(z.masked_fill(z == z.max(), torch.inf), labels(), LOGITS)],
    "LL307": [lambda z: batch(z.repeat(2_000, 1).half(), target().repeat(2_000))],
    "LL402": [lambda z: doctor(reduced_focal(z))],
    "LL403": [lambda z: batch(z[:1], target()[:1], nn.CrossEntropyLoss(weight=torch.arange(2.0, 2 + CLASSES)))],
    "LL406": [
        lambda z: doctor(F.kl_div(z.softmax(1), torch.full_like(z, 1 / CLASSES).detach(), reduction="batchmean")),
        lambda z: batch(z.softmax(1), torch.full_like(z, 1 / CLASSES).detach(), nn.KLDivLoss(reduction="batchmean")),
    ],
    "LL407": [
        lambda z: batch(z, target(), nn.CrossEntropyLoss(weight=torch.ones(CLASSES - 1))),
        lambda z: batch(z, target(), nn.CrossEntropyLoss(weight=torch.ones(CLASSES).double())),
        lambda z: warned(lambda: F.cross_entropy(z, target(), torch.ones(CLASSES - 1))),
    ],
    "LL502": [judged_in_training],
    "LL503": [
        lambda z: batch(z.argmax(1), target()),
        lambda z: batch(z, target().float(), lambda x, y: F.mse_loss(x.argmax(1).float(), y)),
        lambda z: warned(lambda: F.mse_loss(z.argmax(1).float(), target().float()).backward()),
    ],
    "LL704": [lambda z: warned(lambda: torch.multinomial((z.detach() / 0).softmax(1), 1))],
    "LL803": [too_few_labels],
}  # fmt: skip


def codes(report: Report) -> set[str]:
    """All of them, those folded under a cause included."""
    return {one.code for finding in report for one in (finding, *finding.consequences)}
