"""lastlayer bench: this machine, side by side with PyTorch."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lastlayer.errors import ConfigError

if TYPE_CHECKING:
    from lastlayer.bench import CaseResult, Report, Settings


def command(
    quick: Annotated[bool, typer.Option("--quick", help="A few cases, in a minute.")] = False,
    case: Annotated[list[str] | None, typer.Option(help="A case, or how names begin; may be repeated.")] = None,
    show_list: Annotated[bool, typer.Option("--list", help="Show the cases and measure nothing.")] = False,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the results; - prints them.")] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw them: .svg or .html.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    seconds: Annotated[float, typer.Option(min=0.01, help="Seconds of timing per case.")] = 10.0,
    compiled: Annotated[bool, typer.Option("--compile/--no-compile", help="Measure torch.compile too.")] = True,
    memory: Annotated[bool, typer.Option("--memory/--no-memory", help="Measure peak memory too.")] = True,
) -> int:
    """Time lastlayer, PyTorch and installed kernel libraries on the same work. Who is wrong gets no time."""
    from lastlayer.cli import console

    with console.loading():
        from lastlayer import bench
        from lastlayer.bench import table

    if plot is not None and plot.suffix not in (".svg", ".html"):
        raise ConfigError(f"--plot writes .svg or .html, got {str(plot)!r}.")
    cases = bench.chosen(case, quick=quick)
    screen = console.out()
    if show_list:
        for line in table.list_lines(cases):
            screen.print(line)
        return 0
    settings = bench.quick(_device(device)) if quick else bench.Settings(_device(device), seconds, memory=memory)
    settings.compiled = compiled
    report = _shown(cases, settings, plain=json is not None and str(json) == "-")
    _write(report, json, plot)
    return 1 if report.wrong() else 0


def _device(name: str) -> str:
    import torch

    if name not in ("cpu", "cuda") or (name == "cuda" and not torch.cuda.is_available()):
        raise ConfigError(f"--device has to be cpu, or cuda where PyTorch sees a GPU; got {name!r}.")
    return name


def _shown(cases: list, settings: "Settings", *, plain: bool) -> "Report":  # type: ignore[type-arg]
    """Measure, and show each case as it is found, and the targets at the end; `plain` shows nothing."""
    from lastlayer import bench
    from lastlayer.bench import machine, table, targets
    from lastlayer.cli import console

    screen, progress = console.out(), console.err()

    def found(result: "CaseResult") -> None:
        for line in [*table.case_lines(result), ""]:
            screen.print(line)

    def begins(case: "bench.Case") -> None:
        if progress.is_terminal:
            progress.print(f"measuring {case.name} …", style="bright_black")

    if plain:
        return bench.run(cases, settings)
    for line in [*table.machine_lines(machine.about(settings.device)), ""]:
        screen.print(line)
    report = bench.run(cases, settings, found=found, begins=begins)
    for line in table.target_lines(targets.rows(report, cases)):
        screen.print(line)
    return report


def _write(report: "Report", json: Path | None, plot: Path | None) -> None:
    from lastlayer.bench import plot as drawing
    from lastlayer.cli import console

    if json is not None and str(json) == "-":
        console.print_json(report.to_dict())
    elif json is not None:
        report.save(json)
    if plot is not None:
        plot.parent.mkdir(parents=True, exist_ok=True)
        plot.write_text(drawing.svg(report) if plot.suffix == ".svg" else drawing.page(report), encoding="utf-8")
