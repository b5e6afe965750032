"""Correct set-ups, of many kinds: none of them may get an error or a warning."""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import lastlayer
from lastlayer import doctor
from lastlayer.diagnosis import Report
from lastlayer.diagnosis.source import examine
from tests.diagnosis.models import CLASSES, ROWS, SHAPES, Shape, labels, target

Setup = Callable[[], Report]
CE = nn.CrossEntropyLoss()
ZOO: dict[str, Setup] = {}


def setup(build: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """Add a loss that is right; it is asked about before its backward."""
    ZOO[build.__name__.replace("_", " ")] = lambda: doctor(build())
    return build


def asked(build: Setup) -> Setup:
    """Add a whole question."""
    ZOO[build.__name__.replace("_", " ")] = build
    return build


def logits(rows: int = ROWS, classes: int = CLASSES) -> Tensor:
    torch.manual_seed(0)
    return nn.Linear(8, classes)(torch.randn(rows, 8))


def soft() -> Tensor:
    return torch.randn(ROWS, CLASSES).softmax(1)


def one_hot() -> Tensor:
    return F.one_hot(target(), CLASSES).float()


def _of_shape(shape: Shape) -> None:
    ZOO[f"{shape.name}, cross-entropy"] = lambda: doctor(F.cross_entropy(shape.logits(), target()))
    ZOO[f"{shape.name}, lastlayer"] = lambda: doctor(lastlayer.cross_entropy(shape.logits(), target()))
    ZOO[f"{shape.name}, several labels"] = lambda: doctor(F.binary_cross_entropy_with_logits(shape.logits(), labels()))
    ZOO[f"{shape.name}, as a batch"] = lambda: doctor(logits=shape.logits(), target=target(), loss_fn=CE)


for _shape in SHAPES:
    _of_shape(_shape)


# losses and their options


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


# segmentation and sequences


@setup
def segmentation_with_void() -> Tensor:
    mask = torch.where(torch.rand(2, 6, 6) > 0.8, 255, torch.randint(CLASSES, (2, 6, 6)))
    return F.cross_entropy(nn.Conv2d(3, CLASSES, 1)(torch.randn(2, 3, 6, 6)), mask, ignore_index=255)


@setup
def segmentation_upsampled() -> Tensor:
    low = nn.Conv2d(3, CLASSES, 1)(torch.randn(2, 3, 3, 3))
    return F.cross_entropy(F.interpolate(low, scale_factor=2, mode="bilinear"), torch.randint(CLASSES, (2, 6, 6)))


@setup
def segmentation_binary() -> Tensor:
    z = nn.Conv2d(3, 1, 1)(torch.randn(2, 3, 6, 6))
    return F.binary_cross_entropy_with_logits(z, (torch.rand(2, 1, 6, 6) > 0.5).float())


@setup
def volume() -> Tensor:
    z = nn.Conv3d(1, CLASSES, 1)(torch.randn(2, 1, 3, 3, 3))
    return F.cross_entropy(z, torch.randint(CLASSES, (2, 3, 3, 3)))


def _language_model() -> tuple[Tensor, Tensor]:
    tokens = torch.randint(1, 50, (4, 12))
    tokens[1, 9:], tokens[2, 7:] = 0, 0
    return nn.Linear(8, 50)(nn.Embedding(50, 8)(tokens)), tokens


@setup
def language_model() -> Tensor:
    z, tokens = _language_model()
    return F.cross_entropy(z[:, :-1].reshape(-1, 50), tokens[:, 1:].reshape(-1))


@setup
def language_model_with_padding() -> Tensor:
    z, tokens = _language_model()
    return F.cross_entropy(z[:, :-1].reshape(-1, 50), tokens[:, 1:].reshape(-1), ignore_index=0)


@setup
def language_model_moved() -> Tensor:
    z, tokens = _language_model()
    return F.cross_entropy(z[:, :-1].transpose(1, 2), tokens[:, 1:], ignore_index=0)


@setup
def masked_words() -> Tensor:
    z, tokens = _language_model()
    return F.cross_entropy(z.view(-1, 50), torch.where(torch.rand(4, 12) > 0.3, -100, tokens).view(-1))


@setup
def tied_embedding() -> Tensor:
    embedding = nn.Embedding(50, 8)
    tokens = torch.randint(50, (4, 12))
    return F.cross_entropy((embedding(tokens) @ embedding.weight.T).flatten(0, 1), tokens.flatten())


@setup
def chunks_of_rows() -> Tensor:
    z, y = logits().chunk(3), target().chunk(3)
    return sum(F.cross_entropy(a, b, reduction="sum") for a, b in zip(z, y, strict=True)) / ROWS  # type: ignore[return-value]


# heads


@asked
def head_of_two_answers() -> Report:
    return doctor(lastlayer.nn.BinaryHead(8).loss(torch.randn(ROWS, 8), labels()[:, 0]))


@asked
def head_of_many_classes() -> Report:
    return doctor(lastlayer.nn.MultiClassHead(8, CLASSES, label_smoothing=0.1).loss(torch.randn(ROWS, 8), target()))


@asked
def head_of_many_labels() -> Report:
    return doctor(lastlayer.nn.MultiLabelHead(8, CLASSES).loss(torch.randn(ROWS, 8), labels()))


# whole questions


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


# models of libraries


def _vision(name: str) -> Setup:
    def ask() -> Report:
        import timm

        torch.manual_seed(0)
        model = timm.create_model(name, num_classes=CLASSES, **({"img_size": 64} if "vit" in name else {}))
        return doctor(model=model, batch=(torch.randn(4, 3, 64, 64), target(CLASSES)[:4]), loss_fn=CE)

    return ask


for _name in ("resnet18", "mobilenetv3_small_050", "vit_tiny_patch16_224", "convnext_atto", "efficientnet_b0"):
    ZOO[f"timm {_name}"] = _vision(_name)


def _torchvision() -> Iterator[tuple[str, Setup]]:
    if find_spec("torchvision") is None:
        return

    def classifier(name: str) -> Setup:
        def ask() -> Report:
            from torchvision import models

            torch.manual_seed(0)
            model = models.get_model(name, num_classes=CLASSES)
            return doctor(model=model, batch=(torch.randn(4, 3, 64, 64), target(CLASSES)[:4]), loss_fn=CE)

        return ask

    def segmentation() -> Report:
        from torchvision.models.segmentation import lraspp_mobilenet_v3_large

        model = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=CLASSES)
        z = model(torch.randn(2, 3, 64, 64))["out"]
        return doctor(F.cross_entropy(z, torch.randint(CLASSES, (2, 64, 64)), ignore_index=255))

    for name in ("resnet18", "shufflenet_v2_x0_5"):
        yield f"torchvision {name}", classifier(name)
    yield "torchvision lraspp", segmentation


ZOO.update(_torchvision())


def _transformers() -> Iterator[tuple[str, Setup]]:
    if find_spec("transformers") is None:
        return
    small = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "vocab_size": 60,
    }

    def ids() -> Tensor:
        return torch.randint(3, 60, (4, 12))

    def sequence() -> Report:
        from transformers import BertConfig, BertForSequenceClassification

        model = BertForSequenceClassification(BertConfig(**small, num_labels=CLASSES))
        return doctor(model=model, batch={"input_ids": ids(), "labels": target(CLASSES)[:4]})

    def several() -> Report:
        from transformers import BertConfig, BertForSequenceClassification

        config = BertConfig(**small, num_labels=CLASSES, problem_type="multi_label_classification")
        return doctor(model=BertForSequenceClassification(config), batch={"input_ids": ids(), "labels": labels(4)})

    def tokens() -> Report:
        from transformers import BertConfig, BertForTokenClassification

        model = BertForTokenClassification(BertConfig(**small, num_labels=CLASSES))
        return doctor(model=model, batch={"input_ids": ids(), "labels": torch.randint(CLASSES, (4, 12))})

    def causal() -> Report:
        from transformers import GPT2Config, GPT2LMHeadModel

        model = GPT2LMHeadModel(GPT2Config(vocab_size=60, n_embd=16, n_layer=1, n_head=2, n_positions=32))
        x = ids()
        return doctor(model=model, batch={"input_ids": x, "labels": x})

    def llama() -> Report:
        from transformers import LlamaConfig, LlamaForCausalLM

        model = LlamaForCausalLM(LlamaConfig(**small, num_key_value_heads=2))
        x = ids()
        return doctor(model=model, batch={"input_ids": x, "labels": x})

    yield "transformers BERT, one label", sequence
    yield "transformers BERT, several labels", several
    yield "transformers BERT, tokens", tokens
    yield "transformers GPT-2", causal
    yield "transformers Llama", llama


ZOO.update(_transformers())


# source files


@asked
def source_of_this_library() -> Report:
    root = Path(lastlayer.__file__).parents[2]
    return examine([*(root / "src").rglob("*.py"), *(root / "examples").glob("*.py")])


def blamed(report: Report) -> list[str]:
    """Codes of errors and warnings."""
    return [finding.code for finding in report if finding.severity != "info"]
