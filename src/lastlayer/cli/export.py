"""lastlayer export RUN: the model as one file for other programs, checked before it is said to be written."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    format: Annotated[str | None, typer.Option(help="onnx or torch; by the ending of --output, else onnx.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="FILE.onnx or FILE.pt2; the name of the run, here.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> int:
    """Write a trained model as ONNX or as a torch program: inputs in, logits and calibrated probabilities out."""
    from lastlayer.cli import console

    with console.loading():
        from lastlayer.classifier import Classifier
        from lastlayer.classifier.predicting.export import BATCHES, FORMATS, format_of

    kind = format_of(output, format)
    path = output or Path(f"{run.resolve().name}{FORMATS[kind]}")
    found = Classifier.load(run).export(path, format=kind)
    if as_json:
        console.print_json(
            {
                "path": str(found.path),
                "format": found.format,
                "inputs": found.inputs,
                "logits_off": found.logits_off,
                "probabilities_off": found.probabilities_off,
            }
        )
        return 0
    screen = console.out()
    screen.print(f"Wrote {found.path} ({found.path.stat().st_size / 2**20:.1f} MiB).")
    for name, shape in found.inputs.items():
        screen.print(f"  in   {name}: {shape}")
    screen.print("  out  logits, probabilities (calibrated)")
    screen.print(
        f"Checked on batches of {', '.join(map(str, BATCHES))}: logits within {found.logits_off:.1e} of the model's, "
        f"probabilities within {found.probabilities_off:.1e}."
    )
    return 0
