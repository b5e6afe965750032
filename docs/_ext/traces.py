"""Numbers in the guides come from the library: code that runs, traces that are drawn, values that are worked out.

```{run}            shows Python code, runs it, and shows what it prints; names live on in the same page
```{trace} STEPS    draws the trace that the code gives, all of it or only some steps
{n}`expression`     writes a number of such a page
"""

import contextlib
import io
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

from lastlayer.explanation import Trace
from lastlayer.explanation.html import fragment
from lastlayer.explanation.printing import short


def language_of(document: str) -> str:
    """The language of a page, from its folder."""
    return "ko" if "/ko/" in document.replace("\\", "/") else "en"


def printed(code: str, names: dict[str, Any]) -> str:
    """Run `code` and return what it prints."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(code, "<guide>", "exec"), names)  # noqa: S102 - our own pages
    return said.getvalue()


def written(expression: str, names: dict[str, Any]) -> str:
    """The value of `expression` as a reader sees it."""
    value = eval(expression, names)  # noqa: S307 - our own pages
    return value if isinstance(value, str) else short(float(value))


class Run(Directive):
    """Code, run."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Show the code and what it prints."""
        code = "\n".join(self.content)
        said = printed(code, _names(self.state.document))
        shown: list[nodes.Node] = [nodes.literal_block(code, code, language="python")]
        return [*shown, nodes.literal_block(said, said, language="text")] if said else shown


class Draw(Directive):
    """A trace, drawn."""

    has_content = True
    optional_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Draw what the last line gives."""
        document = self.state.document
        trace = eval("\n".join(self.content), _names(document))  # noqa: S307 - our own pages
        assert isinstance(trace, Trace)  # noqa: S101 - the page is wrong otherwise
        only = self.arguments[0].replace(",", " ").split() if self.arguments else []
        assert all(step in trace for step in only), only  # noqa: S101
        html = fragment(trace, language_of(document.current_source or ""), 3, only)
        # one page holds several traces: ids would repeat
        return [nodes.raw("", html.replace('<li id="step-', '<li data-step="'), format="html")]


def _number(name: str, raw: str, text: str, line: int, inliner: Any, *_: Any) -> tuple[list[nodes.Node], list[Any]]:
    return [nodes.inline(raw, written(text, _names(inliner.document)), classes=["number"])], []


# The names of each page while it is read; not on the page itself, which Sphinx writes to disk.
_PAGES: dict[str, dict[str, Any]] = {}


def _names(document: Any) -> dict[str, Any]:
    return _PAGES.setdefault(document.settings.env.docname, {})


def _forget(_app: Sphinx, page: str, _source: list[str]) -> None:
    _PAGES.pop(page, None)


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.add_directive("run", Run)
    app.add_directive("trace", Draw)
    app.add_role("n", _number)
    app.connect("source-read", _forget)
    return {"parallel_read_safe": True}
