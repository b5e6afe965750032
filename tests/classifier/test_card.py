"""The model card: the hub reads it, Markdown holds whatever people call their classes, and nothing is made up."""

import re

import pandas as pd
import pytest
import yaml
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from lastlayer import Classifier
from lastlayer.classifier.report.card import markdown
from tests.classifier.conftest import flowers

NASTY = [
    "a|b `c` ``` d",
    "<b>x</b> &amp; *y* [z](u)",
    "# ~~1~~\n- 2",
    "- 3",
    "4. e",
    "===",
    "\\`|",
    "가 $x^2$ ![i](u)",
    "!",
]


def text_of(source: str) -> str:
    """What a reader sees of a paragraph."""
    tokens = MarkdownIt("commonmark").enable("table").parse(source)
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"], source
    assert {child.type for child in tokens[1].children} <= {"text", "text_special"}, source
    return "".join(child.content for child in tokens[1].children)


@pytest.mark.parametrize("name", NASTY)
def test_a_name_is_shown_letter_by_letter(name):
    assert text_of(markdown(name)) == name.replace("\n", "\\n")


def cells_of(card: str, heading: str) -> list[list[str]]:
    """The cells of the table under a heading."""
    tokens = MarkdownIt("commonmark").enable("table").parse(card.split("---\n", 2)[2])
    at = next(
        place for place, token in enumerate(tokens) if token.type == "inline" and token.content.startswith(heading)
    )
    rows: list[list[str]] = []
    for place, token in enumerate(tokens[at:]):
        if token.type == "table_close":
            return rows
        if token.type == "tr_open":
            rows.append([])
        if token.type == "inline" and tokens[at + place - 1].type in ("td_open", "th_open"):
            rows[-1].append("".join(child.content for child in token.children or []))
    raise AssertionError(f"no table under {heading}")


def test_the_hub_reads_the_card(table_run):
    card = ModelCard.load(table_run / "card.md")
    assert card.data.library_name == "lastlayer"
    assert card.data.license == "unknown"
    assert card.data.pipeline_tag == "tabular-classification"
    found = Classifier.load(table_run).evaluate()
    scores = {result.metric_name: result.metric_value for result in card.data.eval_results}
    assert scores["accuracy"] == pytest.approx(found["accuracy"], abs=1e-6)
    assert scores["log-loss"] == pytest.approx(found["log_loss"], abs=1e-6)


def test_the_card_says_what_the_run_is(table_run, image_run, binary_run):
    for run in (table_run, image_run, binary_run):
        card, model = (run / "card.md").read_text(), Classifier.load(run)
        for heading in (
            "Intended use",
            "Data",
            "Scores on",
            "Calibration",
            "Decision",
            "Limits",
            "Licence",
            "How to load",
        ):
            assert f"\n## {heading}" in card
        assert "Not stated" in card
        rows = cells_of(card, "Data")
        splits = rows[0][1:]
        assert rows[-1][1:] == [f"{model.record.data['rows'][split]:,}" for split in splits]
        for row in rows[1:-1]:
            assert row[1:] == [str(model.record.data["classes"][split][row[0]]) for split in splits]
        assert [row[0] for row in rows[1:-1]] == list(model.record.spec.task.names)
        for key, row in zip(model.evaluate().scores.values(), cells_of(card, "Scores on")[1:], strict=True):
            assert row[1:3] == [f"{key.value:.4f}", f"{key.low:.4f} to {key.high:.4f}"]


def test_classes_full_of_markup_do_not_break_the_card():
    frame = flowers(240)
    frame["kind"] = [NASTY[place % len(NASTY)] for place in range(len(frame))]
    frame["length"] = frame["kind"].map(NASTY.index) + frame["count"] / 500
    model = Classifier(epochs=1, verbose=False).fit(frame.rename(columns={"soil": "a|`b`<i>"}), "kind")
    card = model.record.card
    names = [row[0] for row in cells_of(card, "Data")[1:-1]]
    assert names == [name.replace("\n", "\\n") for name in model.record.spec.task.names]
    headings = re.findall(r"^#+ .*$", card, flags=re.MULTILINE)
    assert len(headings) == 10
    assert "<b>" not in MarkdownIt("commonmark", {"html": True}).render(card.split("---\n", 2)[2])


def test_decisions_and_sets_stand_in_the_card():
    frame = pd.concat([flowers(150, seed=place) for place in range(3)], ignore_index=True)
    model = Classifier(epochs=2, verbose=False, coverage=0.9, abstain=0.4).fit(frame, "kind")
    decision = model.record.card.split("## Decision")[1].split("##")[0]
    assert "90%" in decision
    assert "0.4" in decision
    head = yaml.safe_load(model.record.card.split("---\n")[1])
    assert head["tags"][:2] == ["lastlayer", "pytorch"]
