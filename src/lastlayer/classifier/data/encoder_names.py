"""What the name of a published text encoder stands for: its tokenizer and its settings, from the Hub or a folder."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from lastlayer.classifier import hub
from lastlayer.classifier.data.tokens import Tokens
from lastlayer.classifier.extras import need
from lastlayer.errors import ConfigError, did_you_mean
from lastlayer.messages.wording import option

_PREFIX = "hf:"
_OWN = ("auto", "mlp", "mlps", "ngrams", "small-cnn")
_LONGEST = 512  # tokens of a text, where the encoder would take more: its cost grows with their square
# What people name most, to guess from where the Hub cannot be asked.
_KNOWN = (
    "albert-base-v2", "answerdotai/ModernBERT-base", "answerdotai/ModernBERT-large", "bert-base-cased",
    "bert-base-multilingual-cased", "bert-base-uncased", "bert-large-uncased", "beomi/kcbert-base",
    "BAAI/bge-base-en-v1.5", "BAAI/bge-m3", "distilbert-base-multilingual-cased", "distilbert-base-uncased",
    "distilroberta-base", "FacebookAI/roberta-base", "FacebookAI/xlm-roberta-base",
    "google/electra-base-discriminator", "google/electra-small-discriminator", "google-bert/bert-base-uncased",
    "intfloat/e5-base-v2", "intfloat/multilingual-e5-base", "klue/bert-base", "klue/roberta-base",
    "klue/roberta-large", "microsoft/deberta-v3-base", "microsoft/deberta-v3-small",
    "monologg/koelectra-base-v3-discriminator",
    "prajjwal1/bert-tiny", "roberta-base", "roberta-large", "sentence-transformers/all-MiniLM-L6-v2",
    "sentence-transformers/all-mpnet-base-v2", "xlm-roberta-base", "xlm-roberta-large",
)  # fmt: skip


def is_encoder(backbone: str) -> bool:
    """Whether a name means a text encoder: it is none of our own backbones."""
    return backbone not in _OWN


def in_folder(backbone: str) -> bool:
    """Whether the name is a folder's."""
    return is_encoder(backbone) and Path(backbone.removeprefix(_PREFIX)).expanduser().is_dir()


@dataclass(frozen=True)
class Opened:
    """What a name stands for: its tokenizer and settings, and where its weights are."""

    tokens: Tokens
    place: str


@lru_cache(maxsize=1)
def opened(backbone: str) -> Opened:
    """Read the tokenizer and the settings of an encoder; a run keeps both and needs neither name nor network."""
    place = backbone.removeprefix(_PREFIX)
    is_folder = in_folder(backbone)
    place = str(Path(place).expanduser()) if is_folder else place
    transformers = need("transformers", extra="text")
    with explained(backbone, is_folder):
        settings = transformers.AutoConfig.from_pretrained(place)
        tokenizer = transformers.AutoTokenizer.from_pretrained(place)
    library = getattr(tokenizer, "backend_tokenizer", None)
    if library is None:
        raise ConfigError(
            f"the tokenizer of {backbone} has no fast form (tokenizer.json), which a run keeps. Name another encoder."
        )
    limits = [_LONGEST, int(tokenizer.model_max_length), _positions(settings)]
    filler = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    plain = json.loads(settings.to_json_string(use_diff=False))
    return Opened(Tokens(library.to_str(), plain, int(filler), min(limits)), place)


def _positions(settings: Any) -> int:
    """How many places the network has a vector for; RoBERTa and its kin leave the first ones to the filler."""
    most = getattr(settings, "max_position_embeddings", None)
    if not isinstance(most, int) or most < 1:
        return _LONGEST
    shifted = settings.model_type in ("roberta", "xlm-roberta", "camembert", "mpnet", "longformer")
    return most - int(settings.pad_token_id or 0) - 1 if shifted else most


@contextmanager
def explained(backbone: str, is_folder: bool) -> Iterator[None]:
    """Turn what the library says of a name into what was expected, what was found and what to do."""
    transformers = need("transformers", extra="text")
    verbosity = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_error()
    bars = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    name = backbone.removeprefix(_PREFIX)
    try:
        with hub.in_short():
            yield
            return
    except Exception as error:  # noqa: BLE001 - the Hub's client raises its own errors and its carriers'
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        cause = error
    finally:
        transformers.utils.logging.set_verbosity(verbosity)
        if bars:
            transformers.utils.logging.enable_progress_bar()
    near = "" if name in _KNOWN else did_you_mean(name, _KNOWN)
    if name[:1] in (".", "/", "~") and not is_folder:
        raise ConfigError(f"there is no folder {name!r} to read a text encoder from.") from cause
    if is_folder:
        raise ConfigError(
            f"the folder {name} holds no encoder that transformers can open ({reason}). Expected config.json, "
            "tokenizer.json and model.safetensors, as save_pretrained writes them."
        ) from cause
    if name in _KNOWN or not hub.answers():
        raise ConfigError(
            f"the text encoder {name!r} is not on this machine, and the Hugging Face Hub does not answer.{near} Name a "
            f"folder that holds it ({option('backbone', './' + name.split('/')[-1])}), go online, or leave "
            f"{option('backbone')} out: the default trains from scratch."
        ) from cause
    raise ConfigError(
        f"there is no text encoder {name!r} on the Hugging Face Hub ({reason}).{near} Expected a name such as "
        "'bert-base-uncased', or a folder."
    ) from cause
