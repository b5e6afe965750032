"""lastlayer train DATA: labelled data in, run folder out."""

import time
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lastlayer.cli.decisions import with_decisions
from lastlayer.cli.language import LANG, spoken
from lastlayer.messages import text as message_text

if TYPE_CHECKING:
    from lastlayer.classifier import Classifier

_LONGEST_STEM = 60
DATA = "Data"  # what `lastlayer data` takes too
_DATA, _MODEL, _TRAINING, _RUN = DATA, "Model", "Training", "Run"
_NO_SETTINGS = ("data", "config", "output", "resume", "as_json", "decisions")


@with_decisions
def command(
    data: Annotated[
        str | None,
        typer.Argument(
            help="digits, a folder of images, a table (.csv, .tsv, .parquet, .jsonl, .arrow), or OWNER/NAME of a data "
            "set on the Hugging Face Hub.",
            show_default=False,
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="Column of a table that holds the class; repeated: a column per label, any of which may hold.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    label_separator: Annotated[
        str | None,
        typer.Option(help="Between the labels in a cell, where any number may hold.", rich_help_panel=_DATA),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="binary, multiclass or multilabel; inferred.", rich_help_panel=_DATA)
    ] = None,
    image: Annotated[
        str | None, typer.Option(help="Column of a table that holds paths of pictures.", rich_help_panel=_DATA)
    ] = None,
    positive: Annotated[
        str | None, typer.Option(help="For binary: the class that counts as yes.", rich_help_panel=_DATA)
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(help="Column not to look at; may be repeated.", rich_help_panel=_DATA)
    ] = None,
    categorical: Annotated[
        list[str] | None, typer.Option(help="Column to take as categories; may be repeated.", rich_help_panel=_DATA)
    ] = None,
    text: Annotated[
        list[str] | None, typer.Option(help="Column to take as text; may be repeated.", rich_help_panel=_DATA)
    ] = None,
    missing: Annotated[
        list[str] | None,
        typer.Option(
            help="Word for a missing cell, instead of the usual ones; may be repeated.", rich_help_panel=_DATA
        ),
    ] = None,
    encoding: Annotated[str | None, typer.Option(help="Of a text table.", rich_help_panel=_DATA)] = None,
    separator: Annotated[
        str | None, typer.Option(help="Between the cells of a text table.", rich_help_panel=_DATA)
    ] = None,
    drop_unlabelled: Annotated[
        bool | None, typer.Option("--drop-unlabelled", help="Leave out rows without a class.", rich_help_panel=_DATA)
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            help="Column, or for images a regular expression of the path, whose equal values stand on one side.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    strict: Annotated[
        bool | None, typer.Option("--strict", help="Stop at what harms instead of going on.", rich_help_panel=_DATA)
    ] = None,
    max_pixels: Annotated[
        int | None, typer.Option(help="Images with more pixels count as unreadable.", rich_help_panel=_DATA)
    ] = None,
    validation: Annotated[
        float | None, typer.Option(help="Share of rows that chooses the epoch.", rich_help_panel=_DATA)
    ] = None,
    calibration: Annotated[
        float | None, typer.Option(help="Share of rows that the temperature is fitted to.", rich_help_panel=_DATA)
    ] = None,
    test: Annotated[float | None, typer.Option(help="Share of rows kept for the end.", rich_help_panel=_DATA)] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            help="small-cnn, mlp, ngrams, a timm model, or a text encoder by name or folder.", rich_help_panel=_MODEL
        ),
    ] = None,
    pretrained: Annotated[
        bool | None, typer.Option("--pretrained", help="Start from published weights.", rich_help_panel=_MODEL)
    ] = None,
    freeze: Annotated[
        bool | None,
        typer.Option("--freeze", help="Keep these weights; train the head on their features.", rich_help_panel=_MODEL),
    ] = None,
    finetune_epochs: Annotated[
        int | None, typer.Option(help="Then train all of it, slowly, so long.", rich_help_panel=_MODEL)
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Side that images are brought to.", rich_help_panel=_MODEL)
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="At most so many passes.", rich_help_panel=_TRAINING)] = None,
    patience: Annotated[
        int | None, typer.Option(help="Epochs without improvement before it stops.", rich_help_panel=_TRAINING)
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows per step.", rich_help_panel=_TRAINING)] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.", rich_help_panel=_TRAINING)] = None,
    weight_decay: Annotated[
        float | None, typer.Option(help="Of AdamW; of mlps it grows, unless named.", rich_help_panel=_TRAINING)
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(help="Images changed at random: none, auto, or a policy of timm.", rich_help_panel=_TRAINING),
    ] = None,
    mixup: Annotated[
        float | None, typer.Option(help="α of blending images in pairs.", rich_help_panel=_TRAINING)
    ] = None,
    cutmix: Annotated[
        float | None, typer.Option(help="α of pasting images into others.", rich_help_panel=_TRAINING)
    ] = None,
    class_weights: Annotated[
        str | None,
        typer.Option(help="balanced, cat=2,dog=0.5, or a file: how much each class counts.", rich_help_panel=_TRAINING),
    ] = None,
    pos_weight: Annotated[
        str | None, typer.Option(help="For sigmoids: how much a yes counts, or balanced.", rich_help_panel=_TRAINING)
    ] = None,
    focal_gamma: Annotated[
        float | None, typer.Option(help="For sigmoids: of the focal factor.", rich_help_panel=_TRAINING)
    ] = None,
    label_smoothing: Annotated[
        float | None, typer.Option(help="Share of each target spread over all.", rich_help_panel=_TRAINING)
    ] = None,
    z_loss: Annotated[
        float | None, typer.Option(help="For softmax: holds log Σ exp z near 0.", rich_help_panel=_TRAINING)
    ] = None,
    schedule: Annotated[
        str | None, typer.Option(help="Of the learning rate: constant, cosine or linear.", rich_help_panel=_TRAINING)
    ] = None,
    warmup: Annotated[
        float | None, typer.Option(help="Epochs in which the learning rate rises.", rich_help_panel=_TRAINING)
    ] = None,
    clip_norm: Annotated[
        float | None, typer.Option(help="Largest norm of the gradients.", rich_help_panel=_TRAINING)
    ] = None,
    accumulate: Annotated[
        int | None, typer.Option(help="Parts to compute each batch in, for less memory.", rich_help_panel=_TRAINING)
    ] = None,
    precision: Annotated[str | None, typer.Option(help="no, bf16 or fp16.", rich_help_panel=_TRAINING)] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.", rich_help_panel=_TRAINING)] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that read images.", rich_help_panel=_TRAINING)] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of the split, the weights, the order.", rich_help_panel=_TRAINING)
    ] = None,
    lang: Annotated[str | None, typer.Option(help=LANG, rich_help_panel=_RUN)] = None,
    folds: Annotated[
        int | None, typer.Option(help="Cross-validate too, in so many folds.", rich_help_panel=_TRAINING)
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="YAML of settings, such as config.yaml of a run; flags overrule it.", rich_help_panel=_RUN),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="A new folder for the run; runs/DATA-TIME.", rich_help_panel=_RUN)
    ] = None,
    checkpoint_minutes: Annotated[
        float | None,
        typer.Option(help="Time between checkpoints within an epoch; 0: after each step.", rich_help_panel=_RUN),
    ] = None,
    track: Annotated[
        list[str] | None,
        typer.Option(help="tensorboard, wandb or mlflow, beside metrics.csv; may be repeated.", rich_help_panel=_RUN),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with the run in this folder, which was cut off.", rich_help_panel=_RUN)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON.", rich_help_panel=_RUN)] = False,
    **decisions: Any,
) -> int:
    """Train a calibrated classifier on labelled data, and keep it in a run folder.

    Ctrl-C stops at the next step and keeps the best epoch so far (exit code 130). A run that was killed goes on with
    --resume, to the same end.
    """
    asked = {name: value for name, value in locals().items() if name not in _NO_SETTINGS} | decisions
    given = {name: value for name, value in asked.items() if value is not None}
    if resume is not None:
        return _resume(resume, data, given, config, output, as_json)
    return _train(data, given, config, output, as_json)


def _resume(
    run: Path, data: str | None, given: dict[str, Any], config: Path | None, output: Path | None, as_json: bool
) -> int:
    """Go on with a run; whatever could make it another one is refused."""
    from lastlayer.errors import ConfigError

    others = {**given, "config": config, "output": output}
    flags = [f"--{name.replace('_', '-')}" for name, value in others.items() if value is not None]
    if flags:
        raise ConfigError(f"--resume goes on with the settings of the run: leave out {', '.join(flags)}.")
    from lastlayer.cli import console

    with console.loading():
        from lastlayer.classifier import Classifier
        from lastlayer.classifier.learning import processes, resuming
        from lastlayer.cli.shown import Shown

    model = Classifier.resume(run, data, listener=Shown(resuming.begun(run).config.lang))
    processes.part()
    return _end(model, run, as_json)


def _train(
    data: str | None, given: dict[str, Any], config_file: Path | None, output: Path | None, as_json: bool
) -> int:
    if data is None:
        from lastlayer.errors import ConfigError

        raise ConfigError("name the data to train on, or a run to go on with: lastlayer train DATA, or --resume RUN.")
    from lastlayer.cli import console

    with console.loading():
        from lastlayer.classifier import Classifier
        from lastlayer.classifier.config import Config
        from lastlayer.classifier.learning import processes
        from lastlayer.cli.shown import Shown

    base = None if config_file is None else Config.from_yaml(config_file)
    config = Config.of({**given, "lang": spoken(given.get("lang"), base.lang if base else "en")}, base)
    folder = output or _default_folder(data)
    model = Classifier.of(config, listener=Shown(config.lang)).fit(data, output=folder)
    processes.part()
    return _end(model, folder, as_json)


def _end(model: "Classifier", folder: Path, as_json: bool) -> int:
    from lastlayer.classifier.learning import processes
    from lastlayer.cli import console

    if not processes.is_main():
        return 0
    try:
        return _show(model, folder, as_json)
    except KeyboardInterrupt:
        console.err().print(f"\nStopped; the run is in {folder}.")
        return 130


def _show(model: "Classifier", folder: Path, as_json: bool) -> int:
    from lastlayer.cli import console
    from lastlayer.cli.scores import decision_table, folds_table, score_table

    found = model.evaluate()
    code = 130 if model.record.data["training"]["interrupted"] else 0
    folds = model.record.data.get("cross_validation")
    if as_json:
        also = {} if folds is None else {"cross_validation": folds}
        console.print_json({"run": str(folder), **found.to_dict(), **also})
        return code
    screen = console.out()
    screen.print()
    language = model.config.lang
    screen.print(score_table(found, language))
    if folds is not None:
        screen.print(folds_table(folds, language))
    if found.decided is not None:
        screen.print(decision_table(found.decided, found.classes, language))
    screen.print()
    screen.print(message_text("trained.folder", language, folder=folder))
    screen.print(message_text("trained.report", language, file=folder / "report.html"))
    screen.print(message_text("trained.next", language, folder=folder))
    return code


def _default_folder(data: str) -> Path:
    """A name that no run has yet: a second one in the same second is numbered."""
    first = Path("runs") / f"{Path(data).stem[:_LONGEST_STEM]}-{time.strftime('%Y%m%d-%H%M%S')}"
    numbered = (first.with_name(f"{first.name}-{number}") for number in count(2))
    return next(folder for folder in chain([first], numbered) if not folder.exists())
