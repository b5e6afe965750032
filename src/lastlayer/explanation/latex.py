"""A trace as a LaTeX document: the formula of each step and the same with numbers, in `align*`. It computes nothing."""

from lastlayer.explanation import layout, texts
from lastlayer.explanation.printing import LATEX, numbers, symbols
from lastlayer.explanation.trace import Step, Trace

_MOST_LINES = 6
_ESCAPED = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip
# What text fonts do not have; they are set as mathematics.
_MATHEMATICAL = {
    "−": "-", "∞": r"\infty", "Σ": r"\Sigma", "σ": r"\sigma", "ε": r"\varepsilon", "∂": r"\partial", "·": r"\cdot",
    "≥": r"\ge", "ⱼ": "_j", "ᵢ": "_i", "ₖ": "_k", "∅": r"\varnothing", "→": r"\to", "✓": r"\checkmark", "✗": r"\times",
    "±": r"\pm", "×": r"\times", "▸": r"\triangleright",
}  # fmt: skip


def document(trace: Trace, language: str = "en") -> str:
    """Return a document that pdflatex, xelatex and lualatex compile; Korean needs the package kotex."""
    korean = "\\usepackage{kotex}\n" if language == "ko" or _is_korean(trace) else ""
    about = texts.circumstances(trace, language)
    steps = "\n".join(_step(step, trace, language) for step in trace.steps)
    return (
        "\\documentclass{article}\n\\usepackage{iftex}\n\\ifPDFTeX\\usepackage[utf8]{inputenc}\\usepackage[T1]{fontenc}\\fi\n"
        f"\\usepackage{{amsmath,amssymb}}\\usepackage[margin=15mm]{{geometry}}\n{korean}\\allowdisplaybreaks\n\\begin{{document}}\n"
        f"\\section*{{{escaped(texts.heading(trace, language))}}}\n"
        f"{escaped(about)}\n\n{steps}\n\\end{{document}}\n"
    )


def align(step: Step, trace: Trace, language: str) -> str:
    """One step as an `align*` environment: symbols first, then a line with numbers per entry that is shown."""
    left = symbols(step.symbol, LATEX)
    rows = [] if step.formula is None else [f"{left} &= {symbols(step.formula, LATEX)}"]
    rows += _numbers(step, trace, left, language)
    return "\\begin{align*}\n" + " \\\\\n".join(rows) + "\n\\end{align*}"


def escaped(text: str) -> str:
    """Plain text for LaTeX."""
    out = []
    for letter in text:
        if letter in _MATHEMATICAL:
            out.append(f"\\ensuremath{{{_MATHEMATICAL[letter]}}}")
        else:
            out.append(_ESCAPED.get(letter, letter))
    return "".join(out)


def _step(step: Step, trace: Trace, language: str) -> str:
    note = texts.note(trace, step, language)
    checks = ", ".join(texts.check(check, language) for check in step.invariants)
    parts = [f"\\subsection*{{{escaped(texts.title(trace, step, language))}}}"]
    parts += [escaped(note)] if note else []
    parts.append(align(step, trace, language))
    parts += [f"\\noindent {escaped(checks)}"] if checks else []
    return "\n".join(parts)


def _numbers(step: Step, trace: Trace, left: str, language: str) -> list[str]:
    order = layout.order(trace)
    match step.value.dim():
        case 0:
            only = LATEX.number(float(step.value))
            if step.formula is None:
                return [f"{left} &= {only}"]
            inside = numbers(step.formula, trace.values, order=order, notation=LATEX)
            return [f"&= {inside}", f"&\\approx {only}"]
        case 1:
            letter = step.symbol.index
            rows = []
            for place in layout.shown(trace, letter)[:_MOST_LINES]:
                name = symbols_at(step, texts.name(trace, letter, place, language))
                value = float(step.value[place])
                shown = LATEX.number(value) if value == value or letter != "i" else r"\text{--}"
                if not layout.is_spelt_out(step, value):
                    rows.append(f"{name} &= {shown}")
                else:
                    inside = numbers(step.formula, trace.values, {letter: place}, order, LATEX)  # type: ignore[arg-type]  # is_spelt_out
                    rows.append(f"{name} &= {inside} \\approx {shown}")
            return [*rows, r"&\;\;\vdots"] if step.value.shape[0] > len(rows) else rows
        case _:
            return [f"{left.split('_')[0]} &= {_matrix(step, trace)}"]


def symbols_at(step: Step, name: str) -> str:
    """The symbol of a step with the name of an entry in place of its index."""
    base = symbols(step.symbol, LATEX).split("_{")[0]
    return f"{base}_{{\\text{{{escaped(name)}}}}}"


def _matrix(step: Step, trace: Trace) -> str:
    rows = layout.shown(trace, step.symbol.index[0])[:_MOST_LINES]
    columns = sorted(layout.shown(trace, step.symbol.index[1], layout.MOST_COLUMNS))
    body = r" \\ ".join(" & ".join(LATEX.number(float(step.value[r, c])) for c in columns) for r in rows)
    more = r" \\ \vdots" if step.value.shape[0] > len(rows) else ""
    return rf"\begin{{pmatrix}} {body}{more} \end{{pmatrix}}"


def _is_korean(trace: Trace) -> bool:
    return any("가" <= letter <= "힣" for names in trace.axes.values() for name in names for letter in name)
