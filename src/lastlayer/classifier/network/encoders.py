"""The networks of text encoders of the transformers library."""

from typing import Any

import torch
from torch import Tensor, nn

from lastlayer.classifier.data.encoder_names import explained, in_folder, opened
from lastlayer.classifier.data.tokens import Tokens
from lastlayer.classifier.extras import need
from lastlayer.classifier.journal import Journal
from lastlayer.errors import ConfigError
from lastlayer.messages import Message


def build(tokens: Tokens, backbone: str, *, pretrained: bool, journal: Journal | None) -> "Encoder":
    """The network of an encoder: with its weights where asked for, else with random ones of the run's seed."""
    transformers = need("transformers", extra="text")
    settings = {name: value for name, value in tokens.settings.items() if name != "model_type"}
    try:
        config = transformers.AutoConfig.for_model(tokens.settings["model_type"], **settings)
    except (KeyError, ValueError) as error:
        raise ConfigError(
            f"this transformers knows no encoder of kind {tokens.settings.get('model_type')!r}: install a newer one."
        ) from error
    if not pretrained:
        return Encoder(transformers.AutoModel.from_config(config), config)
    source = opened(backbone)
    with explained(backbone, in_folder(backbone)):
        model = transformers.AutoModel.from_pretrained(source.place, dtype=torch.float32)
    if journal is not None:
        numbers = sum(map(Tensor.numel, model.parameters()))
        journal.say(Message("backbone.weights", name=backbone, numbers=numbers))
    return Encoder(model, config)


class Encoder(nn.Module):
    """An encoder whose last hidden states are averaged over the tokens that are there."""

    def __init__(self, model: Any, settings: Any) -> None:
        super().__init__()
        self.model = model
        self.features = int(settings.hidden_size)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(rows, tokens) int64 and (rows, tokens) of 0 and 1 to (rows, features)."""
        hidden: Tensor = self.model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        share = mask.to(hidden.dtype).unsqueeze(-1)
        return (hidden * share).sum(1) / share.sum(1).clamp(min=1)
