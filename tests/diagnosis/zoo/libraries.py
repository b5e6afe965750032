"""Models of libraries."""

from collections.abc import Iterator
from importlib.util import find_spec

import torch
from torch import Tensor
from torch.nn import functional as F

from lastlayer import doctor
from lastlayer.diagnosis import Report
from tests.diagnosis.models import CLASSES, labels, target
from tests.diagnosis.zoo.setups import CE, ZOO, Setup


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
