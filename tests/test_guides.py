"""The guides: their code runs, their traces exist, both languages show the same, and no loss is typed by hand."""

import re
from pathlib import Path

import pytest

GUIDES = Path(__file__).parents[1] / "docs" / "guides"
PAGES = sorted(path.name for path in (GUIDES / "en").glob("*.md"))
BLOCK = re.compile(r"```\{(run|trace)\}([^\n]*)\n(.*?)```|\{n\}`([^`]+)`", re.DOTALL)


@pytest.fixture(autouse=True)
def _extension(monkeypatch):
    monkeypatch.syspath_prepend(str(GUIDES.parent / "_ext"))


def text_of(language: str, page: str) -> str:
    return (GUIDES / language / page).read_text(encoding="utf-8")


def test_both_languages_have_the_same_pages():
    assert sorted(path.name for path in (GUIDES / "ko").glob("*.md")) == PAGES
    for language in ("en", "ko"):
        index = text_of(language, "index.md")
        assert all(f"\n{Path(page).stem}\n" in index for page in PAGES if page != "index.md")


@pytest.mark.parametrize("page", PAGES)
def test_both_languages_show_the_same(page):
    parts = [sorted("".join(found) for found in BLOCK.findall(text_of(language, page))) for language in ("en", "ko")]
    assert parts[0] == parts[1]


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("page", PAGES)
def test_everything_on_a_page_runs(page, language):
    pytest.importorskip("docutils")
    import traces

    from lastlayer.explanation import Trace
    from lastlayer.explanation.html import fragment

    names: dict[str, object] = {}
    for kind, steps, code, expression in BLOCK.findall(text_of(language, page)):  # in the order of the page
        if expression:
            assert re.fullmatch(r"[−\d.e∞]+", traces.written(expression, names)), expression
        elif kind == "run":
            traces.printed(code, names)
        else:
            trace = eval(code, names)  # noqa: S307 - our own pages
            assert isinstance(trace, Trace)
            assert all(step in trace for step in steps.split())
            assert fragment(trace, language, 3, steps.split())


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page, language):
    for target in re.findall(r"\]\(([^)#]+\.md)\)", text_of(language, page)):
        assert (GUIDES / language / target).resolve().is_file(), target


def test_results_are_not_typed():
    """A number with four decimals in the prose would be a result, and results come from the library."""
    for language in ("en", "ko"):
        for page in PAGES:
            prose = BLOCK.sub("", text_of(language, page))
            assert not re.findall(r"\d\.\d{4}", prose), (language, page)
