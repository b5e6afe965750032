"""Reading, parsing and suppressing: what stands between a file and the rules."""

import ast
import difflib
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lastlayer.diagnosis.finding import Finding, Location, found
from lastlayer.diagnosis.registry import run
from lastlayer.diagnosis.report import Report, Selection, reason
from lastlayer.diagnosis.said import say
from lastlayer.diagnosis.source.flow import Flow, Scope, follow, inside
from lastlayer.errors import DataNotFoundError
from lastlayer.messages import Message

_NOQA = re.compile(r"#\s*noqa(?::\s*(?P<codes>[A-Z]+[0-9]*(?:[,\s]+[A-Z]+[0-9]*)*))?", re.IGNORECASE)
_WORDS = re.compile(r"torch|lastlayer|logits|tokenizer|perplexity")


@dataclass(frozen=True)
class SourceFile:
    """A parsed file."""

    path: str
    text: str
    tree: ast.Module

    @cached_property
    def lines(self) -> list[str]:
        """As they are, without their ends."""
        return self.text.splitlines()

    @cached_property
    def flow(self) -> Flow:
        """What its values are made by."""
        return follow(self.tree)

    @cached_property
    def parents(self) -> dict[ast.AST, ast.AST]:
        """What each node stands in."""
        return {child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)}

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """All of them."""
        return list(ast.walk(self.tree))

    def scope(self, node: ast.AST) -> Scope:
        """The class and the function around a node."""
        around: list[ast.AST] = []
        while node in self.parents:
            node = self.parents[node]
            around.append(node)
        scope = Scope()
        for outer in reversed(around):
            if isinstance(outer, ast.ClassDef):
                scope = Scope(outer.name)
            elif isinstance(outer, (ast.FunctionDef, ast.AsyncFunctionDef)):
                scope = inside(scope, outer)
        return scope

    def location(self, node: ast.AST) -> Location:
        """Where a node stands."""
        line, end = getattr(node, "lineno", 1), getattr(node, "end_lineno", 1)
        code = self.lines[line - 1].strip() if line <= len(self.lines) else ""
        return Location(self.path, line, code, getattr(node, "col_offset", 0) + 1, end or line)

    def found(self, code: str, node: ast.AST, *, confidence: str | None = None, diff: str | None = None,
              fix: str = "", **values: Any) -> Finding:  # fmt: skip
        """A finding at a node."""
        place = self.location(node)
        observed = say("doctor.observed.source", code=place.code)
        return found(code, observed, confidence=confidence, location=place, diff=diff, fix=fix, **values)

    def source(self, node: ast.expr) -> str:
        """The text of an expression."""
        return ast.get_source_segment(self.text, node) or ast.unparse(node)

    def diff(self, node: ast.expr, new: str) -> str | None:
        """A unified diff that replaces an expression; None where it spans several lines."""
        if node.end_lineno != node.lineno or node.end_col_offset is None:
            return None
        line = self.lines[node.lineno - 1]
        raw = line.encode()
        changed = (raw[: node.col_offset] + new.encode() + raw[node.end_col_offset :]).decode()
        patch = difflib.unified_diff([line], [changed], self.path, self.path, lineterm="", n=0)
        head, body = f"@@ -{node.lineno} +{node.lineno} @@", [part for part in patch if not part.startswith("@@")]
        return "\n".join([*body[:2], head, *body[2:]])

    def suppressed(self, finding: Finding) -> bool:
        """Whether a `# noqa` on one of its lines silences a finding."""
        place = finding.location
        if place is None:
            return False
        for line in self.lines[place.line - 1 : max(place.ends, place.line)]:
            hit = _NOQA.search(line)
            if hit is None:
                continue
            codes = re.split(r"[,\s]+", (hit["codes"] or "").strip().upper())
            if codes == [""] or any(code and finding.code.startswith(code) for code in codes):
                return True
        return False


def read(path: Path) -> SourceFile | Message:
    """Parse a file, or say why it cannot be."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, ValueError):
        return reason("binary", file=str(path))
    except OSError as error:
        raise DataNotFoundError(f"{path} cannot be read: {error.strerror}.") from None
    if "\0" in text:
        return reason("binary", file=str(path))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # of the user's file, and not what was asked
            tree = ast.parse(text, str(path))
    except (SyntaxError, ValueError, RecursionError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        return reason("parse", file=f"{path}{line}", text=getattr(error, "msg", str(error)))
    return SourceFile(str(path), text, tree)


def examine(
    paths: Iterable[str | Path], *, select: Selection = None, ignore: Selection = None, language: str = "en"
) -> Report:
    """Look at source files: nothing of them is imported or run.

    Args:
        paths: Python files.
        select: Codes or beginnings of codes to keep.
        ignore: Codes or beginnings of codes to drop.
        language: "en" or "ko".

    Returns:
        A report whose findings have locations; "cannot tell" where a file cannot be parsed, where what is called is
        decided at run time, or where no file has anything to do with a last layer.

    Raises:
        DataNotFoundError: there is no such file.
    """
    findings: list[Finding] = []
    reasons: list[Message] = []
    files = relevant = 0
    for path in paths:
        file = read(Path(path))
        files += 1
        if isinstance(file, Message):
            reasons.append(file)
            continue
        if not _WORDS.search(file.text):
            continue  # nothing in it can be of PyTorch
        try:
            findings += [finding for finding in run("source", file) if not file.suppressed(finding)]
        except RecursionError:
            reasons.append(reason("parse", file=str(path), text="too deeply nested"))
            continue
        relevant += _relevant(file)
        reasons += [reason("dynamic", file=file.path, line=call.lineno) for call in file.flow.dynamic]
    if not relevant and not reasons and not findings:
        reasons.append(reason("nothing"))
    looked = say("doctor.looked.source", files=files, calls=relevant)
    return Report(findings, reasons, looked, select=select, ignore=ignore, language=language)


def _relevant(file: SourceFile) -> int:
    flow = file.flow
    activations = sum(made.by in ("softmax", "log_softmax", "sigmoid") for made in set(flow.made.values()))
    return len(flow.losses) + len(flow.constructed) + activations
