"""Flags that say how a classifier decides: the same for train, evaluate and predict."""

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lastlayer.cli.flags import with_flags

if TYPE_CHECKING:
    from lastlayer.classifier import Classifier

_PANEL = "Decisions"

ThresholdFor = Annotated[
    str | None,
    typer.Option(
        help="For sigmoids: choose thresholds for f1, f2, mcc, precision@recall=0.9, cost=1:5, micro_f1, ...",
        rich_help_panel=_PANEL,
    ),
]
Cost = Annotated[
    str | None,
    typer.Option(
        help="Take the least expected cost: FILE.csv, '0,1;5,0', 'true>decided=50', or of labels '1:5'.",
        rich_help_panel=_PANEL,
    ),
]
Abstain = Annotated[
    float | None, typer.Option(help="Decide nothing where that costs more than this price.", rich_help_panel=_PANEL)
]
SetCoverage = Annotated[
    float | None,
    typer.Option("--coverage", help="Name sets that hold the true class this often: 0.9.", rich_help_panel=_PANEL),
]
PerClass = Annotated[
    bool | None,
    typer.Option("--coverage-per-class", help="Promise that to the rows of each class.", rich_help_panel=_PANEL),
]
SetScore = Annotated[
    str | None, typer.Option(help="lac (smallest sets) or aps (none is empty).", rich_help_panel=_PANEL)
]
DeployPrior = Annotated[
    str | None,
    typer.Option(help="Shares of classes where it is used: 'spam=0.01', uniform.", rich_help_panel=_PANEL),
]


def with_decisions(verb: Callable[..., int]) -> Callable[..., int]:
    """Give a verb these flags; it gets them as keywords, `**decisions`."""
    kind = inspect.Parameter.KEYWORD_ONLY
    return with_flags(verb, (inspect.Parameter(name, kind, default=None, annotation=f) for name, f in _FLAGS.items()))


_FLAGS = {
    "threshold_for": ThresholdFor,
    "cost": Cost,
    "abstain": Abstain,
    "coverage": SetCoverage,
    "coverage_per_class": PerClass,
    "set_score": SetScore,
    "deploy_prior": DeployPrior,
}


def deciding(model: "Classifier", language: str, **flags: Any) -> "Classifier":
    """The classifier with the decisions that the flags say; itself where they say nothing."""
    from lastlayer.cli.shown import Shown

    given = {name: value for name, value in flags.items() if value is not None}
    if not given:
        return model
    model.listener = Shown(language)
    return model.deciding(**given)
