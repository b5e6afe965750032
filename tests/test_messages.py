"""English and Korean say the same things."""

import string

import pytest

from lastlayer import messages
from lastlayer.messages import en, ko


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def shown(text: str) -> set[str]:
    """Those that say something: a number may stand for the form of an English word alone, as in {rows:?is|are}."""
    return {name for _, name, form, _ in string.Formatter().parse(text) if name and not (form or "").startswith("?")}


def test_both_languages_have_the_same_texts():
    assert list(en.TEXTS) == list(ko.TEXTS)


@pytest.mark.parametrize("name", en.TEXTS)
def test_placeholders_are_the_same(name):
    assert shown(en.TEXTS[name]) == shown(ko.TEXTS[name])
    assert placeholders(ko.TEXTS[name]) <= placeholders(en.TEXTS[name])
    own = "".join(literal for literal, *_ in string.Formatter().parse(ko.TEXTS[name]))
    assert any("가" <= letter <= "힣" for letter in own) or not any(letter.isalpha() for letter in own)
    assert en.TEXTS[name].isascii() or not any("가" <= letter <= "힣" for letter in en.TEXTS[name])


def test_an_unknown_language_is_named():
    with pytest.raises(ValueError, match="en, ko"):
        messages.text("step.logits", "fr")


def test_a_step_that_we_do_not_know_is_named_by_its_id():
    import torch

    from lastlayer.explanation import Step, Trace
    from lastlayer.explanation.expressions import Symbol

    trace = Trace("mine", (Step("odd", Symbol("x"), None, torch.tensor(1.0).double()),), {})
    assert "Step odd" in trace.text()
    assert "단계 odd" in trace.html("ko")
