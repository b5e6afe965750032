"""The documentation says what the program says."""

from pathlib import Path

import pytest

from benchmarks.doctor import rule_pages

RULES = Path(__file__).parents[2] / "docs" / "rules"
PAGES = rule_pages()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_its_texts_say(name):
    assert (RULES / name).read_text(encoding="utf-8") == PAGES[name], "run python -m benchmarks.doctor --pages"


def test_there_are_no_other_pages():
    assert {path.name for path in RULES.glob("*")} == set(PAGES)


def test_the_figures_stand_in_the_documents():
    text = (RULES.parent / "doctor-figures.md").read_text(encoding="utf-8")
    assert ": 0 got an error or a warning" in text
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("|") and line.count("|") == 4]
    found = {row[0].strip(): (row[1].strip(), row[2].strip()) for row in rows}
    certain = {name: counts for name, counts in found.items() if counts[0].isdigit() and not name.startswith("[")}
    assert len(certain) >= 10
    assert all(hits == planted for hits, planted in certain.values())
