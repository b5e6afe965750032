"""A trace in a file: the ending of its name says how. Pictures are drawn by matplotlib, which is loaded only here."""

from importlib import import_module
from pathlib import Path
from typing import Any

from lastlayer.errors import MissingExtraError, OptionError
from lastlayer.explanation import layout, texts
from lastlayer.explanation.plots import Arrows, Bars, Curve, Matrix, Plot
from lastlayer.explanation.trace import Trace

_KOREAN_FONTS = (
    "Noto Sans CJK KR", "Noto Sans KR", "NanumGothic", "Apple SD Gothic Neo", "Malgun Gothic", "Noto Sans CJK JP",
)  # fmt: skip
ENDINGS = (".html", ".tex", ".json", ".txt", ".png", ".svg")


def save(trace: Trace, file: str | Path, language: str = "en") -> None:
    """Write the trace as its ending says."""
    path = Path(file)
    match path.suffix:
        case ".html":
            path.write_text(trace.html(language), encoding="utf-8")
        case ".tex":
            path.write_text(trace.latex(language), encoding="utf-8")
        case ".json":
            path.write_text(trace.to_json() + "\n", encoding="utf-8")
        case ".txt":
            path.write_text(trace.text(language) + "\n", encoding="utf-8")
        case ".png" | ".svg":
            with _matplotlib().rc_context({"font.family": _fonts()}):
                figure(trace, language).savefig(path)
        case other:
            raise OptionError(f"the name of the file has to end in one of {', '.join(ENDINGS)}, got {other!r}.")


def figure(trace: Trace, language: str = "en") -> Any:
    """Return a matplotlib figure with every picture of the trace.

    Raises:
        OptionError: the trace has no picture.
        MissingExtraError: matplotlib is not installed.
    """
    drawn: list[tuple[str, Plot]] = [
        (texts.title(trace, step, language), step.plot) for step in trace if step.plot is not None
    ]
    if trace.plot is not None:
        drawn.insert(0, (texts.heading(trace, language), trace.plot))
    if not drawn:
        raise OptionError("this trace has no picture; save it as .html, .tex, .json or .txt.")
    matplotlib = _matplotlib()
    # a figure of its own, outside pyplot: nothing global is touched, and no window system is needed
    made = matplotlib.figure.Figure(
        figsize=(7, 1.2 + sum(map(_height, (plot for _, plot in drawn)))), layout="constrained"
    )
    axes = made.subplots(len(drawn), 1, squeeze=False, height_ratios=[_height(plot) for _, plot in drawn])[:, 0]
    for place, (title, plot) in zip(axes, drawn, strict=True):
        place.set_title(title, loc="left", fontsize=10)
        _draw(place, plot, trace, language)
    return made


def _matplotlib() -> Any:
    try:
        import_module("matplotlib.figure")
        return import_module("matplotlib")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "matplotlib":
            raise
        raise MissingExtraError(
            "pictures in files need the package 'matplotlib', which is not installed. Install it with: "
            "pip install 'lastlayer[plots]'"
        ) from error


def _fonts() -> list[str]:
    """matplotlib's own font, and behind it whichever with Korean letters this machine has."""
    manager = import_module("matplotlib.font_manager").fontManager
    there = {font.name for font in manager.ttflist}
    return ["DejaVu Sans", *(name for name in _KOREAN_FONTS if name in there)]


def _height(plot: Plot) -> float:
    match plot:
        case Arrows():
            return 0.5
        case Curve():
            return 2.2
        case Bars():
            return 0.5 + 0.22 * min(len(plot.values), layout.MOST_ROWS)
        case Matrix():
            return 0.6 + 0.25 * min(len(plot.values), layout.MOST_ROWS)


def _draw(place: Any, plot: Plot, trace: Trace, language: str) -> None:
    match plot:
        case Bars():
            shown = layout.shown(trace, plot.axis)[::-1]
            values = [plot.values[entry] for entry in shown]
            place.barh(range(len(shown)), values, color=["C3" if value < 0 else "C0" for value in values])
            place.set_yticks(range(len(shown)), [texts.name(trace, plot.axis, entry, language) for entry in shown])
            place.axvline(0, color="0.5", linewidth=0.8)
            if plot.scale is not None:
                place.set_xlim(0, plot.scale)
        case Curve():
            place.plot(plot.x, plot.y)
            place.set_xlabel(plot.x_symbol)
            place.set_ylabel(plot.y_symbol)
            if plot.point is not None:
                place.plot(*plot.point, "o", color="C3")
        case Matrix():
            rows = layout.shown(trace, plot.rows)
            columns = sorted(layout.shown(trace, plot.columns, layout.MOST_COLUMNS))
            cells = [[plot.values[row][column] for column in columns] for row in rows]
            largest = max((abs(value) for row in cells for value in row), default=1.0) or 1.0
            place.imshow(cells, aspect="auto", cmap="RdBu", vmin=-largest, vmax=largest)
            place.set_yticks(range(len(rows)), [texts.name(trace, plot.rows, row, language) for row in rows])
            place.set_xticks(
                range(len(columns)), [texts.name(trace, plot.columns, column, language) for column in columns]
            )
        case Arrows():
            place.axis("off")
            for count, stage in enumerate(plot.stages):
                box = {"boxstyle": "round", "facecolor": "#cfe0ff" if count in plot.here else "white"}
                name = texts.stage(stage, language)
                place.text(count, 0, name, ha="center", va="center", bbox=box, fontsize=8)
                if count:
                    place.annotate("", (count - 0.3, 0), (count - 0.7, 0), arrowprops={"arrowstyle": "->"})
            place.set_xlim(-0.6, len(plot.stages) - 0.4)
            place.set_ylim(-1, 1)
