"""Losses and their options."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import lastlayer
from lastlayer import doctor
from tests.diagnosis.models import CLASSES, ROWS, SHAPES, Shape, labels, target
from tests.diagnosis.zoo.setups import CE, ZOO, logits, one_hot, setup, soft


def _of_shape(shape: Shape) -> None:
    ZOO[f"{shape.name}, cross-entropy"] = lambda: doctor(F.cross_entropy(shape.logits(), target()))
    ZOO[f"{shape.name}, lastlayer"] = lambda: doctor(lastlayer.cross_entropy(shape.logits(), target()))
    ZOO[f"{shape.name}, several labels"] = lambda: doctor(F.binary_cross_entropy_with_logits(shape.logits(), labels()))
    ZOO[f"{shape.name}, as a batch"] = lambda: doctor(logits=shape.logits(), target=target(), loss_fn=CE)


for _shape in SHAPES:
    _of_shape(_shape)


@setup
def log_softmax_and_nll() -> Tensor:
    return F.nll_loss(logits().log_softmax(-1), target())


@setup
def sum_of_rows() -> Tensor:
    return F.cross_entropy(logits(), target(), reduction="sum") / ROWS


@setup
def loss_per_row_weighted_by_hand() -> Tensor:
    return (F.cross_entropy(logits(), target(), reduction="none") * torch.rand(ROWS)).mean()


@setup
def class_weights() -> Tensor:
    return F.cross_entropy(logits(), target(), weight=torch.rand(CLASSES) + 0.5)


@setup
def label_smoothing() -> Tensor:
    return F.cross_entropy(logits(), target(), label_smoothing=0.1)


@setup
def soft_targets() -> Tensor:
    return F.cross_entropy(logits(), soft())


@setup
def mixup() -> Tensor:
    return F.cross_entropy(logits(), 0.3 * one_hot() + 0.7 * one_hot().flip(0))


@setup
def mixup_of_losses() -> Tensor:
    z = logits()
    return 0.3 * F.cross_entropy(z, target()) + 0.7 * F.cross_entropy(z, target().flip(0))


@setup
def distillation() -> Tensor:
    student, teacher = logits(), torch.randn(ROWS, CLASSES)
    kl = F.kl_div((student / 4).log_softmax(1), (teacher / 4).softmax(1), reduction="batchmean")
    return 16 * kl + F.cross_entropy(student, target())


@setup
def distillation_of_logarithms() -> Tensor:
    teacher = torch.randn(ROWS, CLASSES).log_softmax(1)
    return F.kl_div(logits().log_softmax(1), teacher, reduction="batchmean", log_target=True)


@setup
def temperature() -> Tensor:
    return F.cross_entropy(logits() / 0.07, target())


@setup
def learnt_temperature() -> Tensor:
    return F.cross_entropy(logits() * nn.Parameter(torch.tensor(2.0)).exp(), target())


@setup
def soft_cap() -> Tensor:
    return F.cross_entropy(30 * torch.tanh(logits() / 30), target())


@setup
def logit_adjustment() -> Tensor:
    return F.cross_entropy(logits() + torch.rand(CLASSES).log(), target())


@setup
def masked_classes() -> Tensor:
    return F.cross_entropy(logits().masked_fill(torch.arange(CLASSES) == 4, -torch.inf), target() % 4)


@setup
def binary_column() -> Tensor:
    return F.binary_cross_entropy_with_logits(logits(classes=1).squeeze(1), labels()[:, 0])


@setup
def binary_probabilities() -> Tensor:
    return F.binary_cross_entropy(logits(classes=1).sigmoid(), labels()[:, :1])


@setup
def binary_balanced() -> Tensor:
    return F.binary_cross_entropy_with_logits(logits(), labels(), pos_weight=torch.full((CLASSES,), 3.0))


@setup
def two_units() -> Tensor:
    return F.cross_entropy(logits(classes=2), target() % 2)


@setup
def focal_per_row() -> Tensor:
    loss = F.cross_entropy(logits(), target(), reduction="none")
    return ((1 - torch.exp(-loss)) ** 2 * loss).mean()


@setup
def focal_binary() -> Tensor:
    z, y = logits(), labels()
    p = z.sigmoid()
    loss = F.binary_cross_entropy_with_logits(z, y, reduction="none")
    return (((1 - p) * y + p * (1 - y)) ** 2 * loss).mean()


@setup
def lastlayer_focal() -> Tensor:
    return lastlayer.binary_cross_entropy_with_logits(logits(), labels(), focal_gamma=2.0)


@setup
def lastlayer_everything() -> Tensor:
    return lastlayer.cross_entropy(
        logits(), target(), torch.rand(CLASSES) + 0.5, z_loss=1e-4, softcap=30.0, temperature=2.0
    )


@setup
def lastlayer_nll() -> Tensor:
    return lastlayer.nll_loss(lastlayer.log_softmax(logits(), 1), target())


@setup
def lastlayer_linear() -> Tensor:
    return lastlayer.linear_cross_entropy(torch.randn(ROWS, 8), nn.Parameter(torch.randn(CLASSES, 8)), target())


@setup
def lastlayer_kl() -> Tensor:
    return lastlayer.kl_divergence(torch.randn(ROWS, CLASSES), logits()).mean()


@setup
def hard_examples_only() -> Tensor:
    return F.cross_entropy(logits(), target(), reduction="none").topk(8).values.mean()


@setup
def entropy_bonus() -> Tensor:
    z = logits()
    log_p = z.log_softmax(1)
    return F.cross_entropy(z, target()) + 0.01 * (log_p.exp() * log_p).sum(1).mean()


@setup
def contrastive() -> Tensor:
    one, other = F.normalize(logits(), dim=1), F.normalize(logits().flip(0), dim=1)
    return F.cross_entropy(one @ other.T / 0.1, torch.arange(ROWS))


@setup
def angular_margin() -> Tensor:
    cosine = F.normalize(logits(), dim=1) @ F.normalize(nn.Parameter(torch.randn(CLASSES, CLASSES)), dim=1).T
    return F.cross_entropy(30 * (cosine - 0.35 * one_hot()), target())


@setup
def dice_and_cross_entropy() -> Tensor:
    z = logits()
    p = z.softmax(1)
    dice = 1 - (2 * (p * one_hot()).sum(0) / (p + one_hot()).sum(0)).mean()
    return F.cross_entropy(z, target()) + dice


@setup
def policy_gradient() -> Tensor:
    return -(logits().log_softmax(1).gather(1, target()[:, None]).squeeze(1) * torch.randn(ROWS)).mean()


@setup
def mixture_of_experts() -> Tensor:
    gates = logits(classes=2).log_softmax(1)
    experts = torch.stack([logits().log_softmax(1), logits().flip(0).log_softmax(1)], 1)
    return F.nll_loss((gates[:, :, None] + experts).logsumexp(1), target())


@setup
def ensemble_of_logits() -> Tensor:
    return F.cross_entropy((logits() + logits().flip(1)) / 2, target())


@setup
def dropout_on_logits() -> Tensor:
    return F.cross_entropy(F.dropout(logits(), 0.1), target())


@setup
def squared_error() -> Tensor:
    return F.mse_loss(logits(classes=1), torch.randn(ROWS, 1))


@setup
def brier_score() -> Tensor:
    return F.mse_loss(logits().softmax(1), one_hot())


@setup
def two_heads() -> Tensor:
    features = torch.randn(ROWS, 8)
    first, second = nn.Linear(8, CLASSES)(features), nn.Linear(8, 3)(features)
    return F.cross_entropy(first, target()) + F.binary_cross_entropy_with_logits(second, labels(classes=3))


@setup
def auxiliary_loss_and_decay() -> Tensor:
    layer = nn.Linear(8, CLASSES)
    z = layer(torch.randn(ROWS, 8))
    return F.cross_entropy(z, target()) + 0.4 * F.cross_entropy(z * 2, target()) + 1e-4 * layer.weight.norm()


@setup
def scaled_for_accumulation() -> Tensor:
    return F.cross_entropy(logits(), target()) / 8


@setup
def scaled_for_half_precision() -> Tensor:
    return F.cross_entropy(logits(), target()) * 65536.0


@setup
def autocast() -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return F.cross_entropy(logits(), target())


@setup
def double_precision() -> Tensor:
    return F.cross_entropy(logits().double(), target())


@setup
def bfloat16() -> Tensor:
    return F.cross_entropy(logits().bfloat16(), target())


@setup
def checkpointed_without_reentry() -> Tensor:
    return F.cross_entropy(checkpoint(nn.Linear(CLASSES, CLASSES), logits(), use_reentrant=False), target())
