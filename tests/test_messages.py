"""English and Korean say the same things."""

import ast
import copy
import json
import pickle
import string
from pathlib import Path

import pytest

import lastlayer
from lastlayer import messages
from lastlayer.messages import Message, en, few, ko, said
from lastlayer.messages.kept import packed, unpacked


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


def test_a_message_is_its_english_text_and_can_be_said_in_korean():
    message = Message("read.no_class", rows=1200, shown=few(["a#1", "a#2", "a#3", "a#4"]))
    assert message == "Left out 1,200 rows without a class (a#1, a#2, a#3 and 1 more)."
    assert message.into("ko") == "클래스가 없는 행 1,200개를 뺐습니다 (a#1, a#2, a#3 외 1개)."
    assert Message("read.no_class", rows=1, shown=few(["a#1"])).startswith("Left out 1 row without")
    assert said(message, "ko") == message.into("ko")
    assert said("no message", "ko") == "no message"
    with pytest.raises(KeyError, match="shown"):
        Message("read.no_class", rows=1)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])  # noqa: S301 - our own
def test_a_copy_of_a_message_is_a_message(copied):
    message = Message("fold.begins", number=1, of=2, rows=30)
    assert copied(message) == message
    assert copied(message).into("ko") == message.into("ko")


@pytest.mark.parametrize(
    ("word", "particles", "expected"),
    [
        ("물", "은/는", "물은"), ("나무", "은/는", "나무는"), ("'cat'", "이/가", "'cat'가"),
        ("mail", "으로/로", "mail로"), ("'집'", "으로/로", "'집'으로"), ("물", "으로/로", "물로"),
        ("t.csv#3", "과/와", "t.csv#3과"), ("a5", "과/와", "a5와"), ("", "을/를", "를"),
    ],
)  # fmt: skip
def test_particles_follow_the_sound(monkeypatch, word, particles, expected):
    monkeypatch.setitem(ko.TEXTS, "step.logits", f"{{word:{particles}}}")
    assert messages.text("step.logits", "ko", word=word) == expected


def test_numbers_choose_words_and_sentences_may_be_empty(monkeypatch):
    monkeypatch.setitem(
        en.TEXTS, "step.logits", "{n:#class|classes} {n:?is|are} {x:.2f}.{more:+}{sign:+}|{at:.1f 은/는}"
    )
    written = messages.text("step.logits", n=1, x=0.126, more="", sign=2, at=0.3)
    assert written == "1 class is 0.13.+2|0.3은"
    written = messages.text("step.logits", n=2000, x=0.0, more="Yes.", sign=-2, at=0.25)
    assert written == "2,000 classes are 0.00. Yes.-2|0.2는"


def test_messages_survive_json_inside_anything():
    inner = Message("data.column", column="kind")
    message = Message("read.spaces", what=inner, cells=2, shown=[inner, "b"])
    content = {"notes": [message, "plain"], "deep": [{"how": message}], "number": 1.5, "text": "t"}
    again = unpacked(json.loads(json.dumps(packed(content))))
    assert again == content
    assert again["notes"][0].into("ko") == message.into("ko")
    assert again["deep"][0]["how"].into("ko") == message.into("ko")
    assert packed(message)["text"] == message


def test_what_is_no_message_any_more_is_its_english_text():
    kept = {"text": "As it was said.", "id": "fold.begins", "values": {"number": 1}}  # this version needs more values
    assert unpacked(kept) == "As it was said."
    assert said(unpacked(kept), "ko") == "As it was said."
    again = unpacked({**kept, "values": {"number": 1, "of": 2, "rows": 3}})
    assert again == "As it was said."  # not what today's template would say
    assert again.into("ko") == "폴드 1/2: 판정할 행 3개."
    odd = {"text": 1, "id": "fold.begins", "values": {}}
    assert unpacked(odd) == odd


def calls_of_message() -> list[tuple[str, ast.Call]]:
    files = Path(lastlayer.__file__).parent.rglob("*.py")
    nodes = [(file.name, node) for file in files for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))]
    calls = [(file, node) for file, node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    return [(f"{file}:{node.lineno}", node) for file, node in calls if node.func.id == "Message"]


def test_every_message_of_the_source_has_a_text_and_all_its_values():
    calls = calls_of_message()
    assert len(calls) > 150
    for place, call in calls:
        parts = [node.value for node in ast.walk(call.args[0]) if isinstance(node, ast.Constant)]
        known = [part for part in parts if messages.has(part)]
        given = {keyword.arg for keyword in call.keywords}  # None stands for **values
        assert known or not isinstance(call.args[0], ast.Constant), f"{place}: there is no text {parts}"
        for name in known:
            assert given - {None} <= messages.placeholders(name), f"{place}: {name} has no room for {given}"
            assert None in given or given == messages.placeholders(name), f"{place}: {name} lacks values"
