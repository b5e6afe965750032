"""Which columns are text, and what is learnt of each from training rows."""

import re
from collections.abc import Sequence
from statistics import median
from typing import Any

from lastlayer.classifier.config import Config
from lastlayer.classifier.data import encoder_names
from lastlayer.classifier.data.ngrams import NGrams
from lastlayer.classifier.data.text_rows import LONGEST
from lastlayer.classifier.data.tokens import Tokens
from lastlayer.classifier.journal import Journal
from lastlayer.messages import Message
from lastlayer.messages.wording import option

TextSpec = NGrams | Tokens
_FEW_WORDS = 3  # in the middle of the column: fewer make a name or an identifier
_LOOKED_AT = 10_000  # cells whose words are counted
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")  # Thai, Lao, Kana and Han: no spaces


def looks_like_text(name: str, present: Sequence[str], journal: Journal) -> bool:
    """Whether most cells are different and hold several words; said, with what overrules it."""
    if 2 * len(set(present)) <= len(present):
        return False
    words = median(map(_words, present[:_LOOKED_AT]))
    if words < _FEW_WORDS:
        return False
    journal.say(
        Message(
            "column.text",
            name=name,
            different=len(set(present)),
            cells=len(present),
            words=words,
            categorical=option("categorical", name),
            ignore=option("ignore", name),
        )
    )
    return True


def _words(cell: str) -> float:
    """By spaces; where none are written, two letters make a word."""
    return len(cell.split()) + len(_UNSPACED.findall(cell)) / 2


def learn_text(name: str, cells: Sequence[str | None], config: Config, journal: Journal) -> TextSpec:
    """How the cells of a text column become numbers: those of the encoder's tokenizer, or of n-grams they share."""
    cut = sum(len(cell or "") > LONGEST for cell in cells)
    if cut:
        journal.say(Message("column.cut", name=name, texts=cut, most=LONGEST))
    if encoder_names.is_encoder(config.backbone):
        tokens = encoder_names.opened(config.backbone).tokens
        long = int((tokens.lengths(cells) >= tokens.longest).sum())
        if long:
            journal.say(Message("column.tokens", name=name, texts=long, of=len(cells), most=tokens.longest))
        return tokens
    grams = NGrams.learn(cells)
    journal.say(Message("column.ngrams", name=name, words=len(grams.words), characters=len(grams.characters)))
    return grams


def text_spec(plain: dict[str, Any]) -> TextSpec:
    """Undo `to_dict` of either kind."""
    kinds: dict[str, type[TextSpec]] = {"ngrams": NGrams, "tokens": Tokens}
    return kinds[plain["kind"]].from_dict(plain)
