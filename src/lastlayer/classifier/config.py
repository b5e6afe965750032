"""Everything that decides how a classifier is made: one flat list of settings, the same in Python, YAML and flags."""

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from lastlayer.classifier.spelling import as_text
from lastlayer.errors import ConfigError, did_you_mean
from lastlayer.messages.wording import option

# What an empty cell may be written as; the words that pandas takes for missing.
MISSING = (
    "", "#N/A", "#N/A N/A", "#NA", "-NaN", "-nan", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
)  # fmt: skip

USUAL = 0.1  # of the rows validate, and as many calibrate


@dataclass(frozen=True)
class Config:
    """Settings of a run.

    Attributes:
        target: Column of a table that holds the class, or the labels that hold; or several columns, a label each, that
            say of every row whether it holds.
        task: "binary" (one sigmoid), "multiclass" (softmax) or "multilabel" (a sigmoid per label); None infers it.
        label_separator: What stands between the labels in a cell of the target column; with it any number may hold.
        image: Column of a table that holds the paths of pictures, which are then what is classified.
        positive: For "binary", the class that counts as yes; None takes the second.
        ignore: Columns of a table that are not looked at.
        categorical: Columns of a table that are categories though they look like numbers, texts or identifiers.
        text: Columns of a table that are text though they look like something else.
        missing: Words that stand for a missing cell.
        encoding: Of a text table.
        separator: Between the cells of a text table; None reads it off the header.
        drop_unlabelled: Leave rows without a class out, and name them, instead of stopping.
        group: Rows that belong together stand on one side of a split: the column of a table that says so, or a regular
            expression whose first pair of parentheses (or all of it) finds it in an image's path.
        strict: Stop at what harms (an image that cannot be read, a class in two spellings) instead of going on.
        max_pixels: Images with more pixels than this, by their header, count as unreadable.
        validation: Share of the rows that chooses the epoch, where the data is not split already; None takes 0.1, and
            0.02 of a table of fewer than 10,000 rows that "mlps" reads: its training rows help to choose.
        calibration: Share of the rows that the temperature is fitted to, and that serves nothing else, where the data
            does not say which; with 0 the temperature stays 1, and thresholds and prediction sets are fitted to the
            validation rows. None takes 0.1, and 0 of such a table of fewer than 1,000 rows, unless thresholds or
            prediction sets are asked for.
        test: Share of the rows kept for the end, where the data is not split already.
        image_size: Height and width that images are brought to; None takes it from the data and the backbone.
        backbone: "auto", "small-cnn", "mlps", "mlp", "ngrams", the name of a timm model, or name or folder of a text
            encoder of transformers.
        pretrained: Start from the published weights of the timm model or the text encoder.
        freeze: Keep the published weights of the backbone as they are: its features are computed once, and the head is
            trained on them.
        finetune_epochs: After that train backbone and head together, 40 times more slowly, for at most so many epochs.
        epochs: At most so many passes over the training rows.
        patience: Stop after so many epochs without a lower validation log-loss.
        batch_size: Rows per step; None makes about 50 steps an epoch, with 32 to 2,048 rows each.
        lr: Learning rate of AdamW; None takes 2e-3, and 1e-3 for "mlps".
        weight_decay: Of AdamW; None takes 0.01; for "mlps" 0.3, which grows while the validation log-loss does not
            fall, and then cells of the rows are hidden, too (a number keeps its decay, and hides nothing).
        augment: Training images changed at random: "none", "auto", or a policy of timm such as "rand-m9-mstd0.5".
        mixup: α of mixup: images of a batch are blended in pairs, and their targets with them; 0 blends none.
        cutmix: α of cutmix: parts of images are pasted into others; with mixup, one or the other in each batch.
        class_weights: "balanced" (each class counts as much as the others), weights by class ("cat=2,dog=0.5", in
            Python also a dictionary), or a .json, .yaml or .csv file of them.
        pos_weight: For sigmoids, how much a yes counts: a number, "balanced", or one per label, as class weights.
        focal_gamma: For sigmoids, γ of the focal factor (1 − p_t)^γ.
        label_smoothing: The share of each target that is spread over all answers.
        z_loss: For softmax, factor of (log Σ exp z)² in the loss.
        schedule: Of the learning rate after the warm-up: "constant"; "cosine" and "linear" fall to 1 % of it.
        warmup: Epochs in which the learning rate rises from near 0.
        clip_norm: Gradients are scaled down to this norm where theirs is larger; None leaves them.
        accumulate: Parts that each batch is computed in, to need less memory; the step is the same.
        checkpoint_minutes: A training that is written to a folder can be resumed from a checkpoint: after each epoch
            and every so many minutes, as long as writing takes less than 4 % of the time; 0 writes after every step.
        track: Trackers beside metrics.csv that hear of each epoch: "tensorboard", "wandb", "mlflow".
        precision: "no" (float32), "bf16" or "fp16" mixed precision.
        device: "auto", "cpu", "cuda" or "mps".
        workers: Processes that read images; None chooses by the machine.
        seed: Of the split, the first weights and the order of the rows.
        lang: Language of the report, and of what the run says of itself: "en" or "ko".
        folds: Also train so many models, each on all rows but one fold, for scores in which every row is judged once.
        threshold_for: For sigmoids, the metric that thresholds are chosen for: "f1", "f2", "balanced_accuracy", "mcc",
            "precision@recall=0.9", "cost=1:5" and others; for labels one each, with ``micro_`` before it one for all.
        cost: What each decision costs, by true class: "0,1;5,0", "malignant>benign=50", a .csv file, a matrix; of
            labels what a false yes and a false no cost, "1:5". The least expected cost decides.
        abstain: Price of deciding nothing; rows whose expected cost is higher are left undecided.
        coverage: How often prediction sets hold the true class, such as 0.9; None makes none.
        coverage_per_class: Promise that to the rows of each class, and not only to all together.
        set_score: "lac": the smallest sets. "aps": larger sets where rows are harder, and none is empty.
        deploy_prior: Shares of the classes where the model is used: "spam=0.01", "uniform", or a dictionary.
    """

    target: str | tuple[str, ...] | None = None
    task: Literal["binary", "multiclass", "multilabel"] | None = None
    label_separator: str | None = None
    image: str | None = None
    positive: str | None = None
    ignore: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    missing: tuple[str, ...] = MISSING
    encoding: str = "utf-8"
    separator: str | None = None
    drop_unlabelled: bool = False
    group: str | None = None
    strict: bool = False
    max_pixels: int = 100_000_000
    validation: float | None = None
    calibration: float | None = None
    test: float = 0.15
    image_size: int | None = None
    backbone: str = "auto"
    pretrained: bool = False
    freeze: bool = False
    finetune_epochs: int = 0
    epochs: int = 60
    patience: int = 10
    batch_size: int | None = None
    lr: float | None = None
    weight_decay: float | None = None
    augment: str = "none"
    mixup: float = 0.0
    cutmix: float = 0.0
    class_weights: str | None = None
    pos_weight: str | None = None
    focal_gamma: float = 0.0
    label_smoothing: float = 0.0
    z_loss: float = 0.0
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    warmup: float = 0.0
    clip_norm: float | None = None
    accumulate: int = 1
    checkpoint_minutes: float = 5.0
    track: tuple[str, ...] = ()
    precision: Literal["no", "bf16", "fp16"] = "no"
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    workers: int | None = None
    seed: int = 42
    lang: Literal["en", "ko"] = "en"
    folds: int | None = None
    threshold_for: str | None = None
    cost: str | None = None
    abstain: float | None = None
    coverage: float | None = None
    coverage_per_class: bool = False
    set_score: Literal["lac", "aps"] = "lac"
    deploy_prior: str | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            value = _fitted(field.name, field.type, as_text(value) if field.name in _AS_TEXT else value)
            object.__setattr__(self, field.name, value)
        if isinstance(self.target, tuple):  # a list of one column is that column
            object.__setattr__(self, "target", self.target[0] if len(self.target) == 1 else self.target or None)
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ConfigError(f"{option(name)} has to lie between {low:,} and {high:,}, got {value!r}.")
        if sum(self.shares) + self.test >= 1:
            raise ConfigError(
                "validation, calibration and test together have to leave rows to train on, got "
                f"{self.shares[0]} + {self.shares[1]} + {self.test}."
            )

    @property
    def shares(self) -> tuple[float, float]:
        """Of the rows that validate and that calibrate; where none is named, what is usual."""
        validation, calibration = self.validation, self.calibration
        return USUAL if validation is None else validation, USUAL if calibration is None else calibration

    @classmethod
    def of(cls, settings: dict[str, Any], base: "Config | None" = None) -> "Config":
        """Return `base`, or the defaults, with `settings`; an unknown one is refused.

        >>> Config.of({"epochs": 3}).epochs
        3
        """
        known = [field.name for field in fields(cls)]
        for name in settings:
            if name not in known:
                raise ConfigError(
                    f"there is no setting {name!r}.{did_you_mean(str(name), known)} The settings are: "
                    f"{', '.join(known)}."
                )
        return replace(base or cls(), **settings)

    def given(self) -> list[str]:
        """The settings that differ from the defaults."""
        return [field.name for field in fields(self) if getattr(self, field.name) != field.default]

    @classmethod
    def from_yaml(cls, path: Path, base: "Config | None" = None) -> "Config":
        """Read settings from a YAML file, as `config.yaml` of a run."""
        import yaml

        try:
            settings = yaml.safe_load(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise ConfigError(f"there is no configuration file {path}.") from error
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ConfigError(f"{path} cannot be read as YAML: {error}") from error
        if settings is None:
            settings = {}
        if not isinstance(settings, dict):
            raise ConfigError(f"{path} has to hold lines of 'setting: value', got {type(settings).__name__}.")
        try:
            return cls.of({name: value for name, value in settings.items() if name not in _ABOUT}, base)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error

    def to_yaml(self, about: dict[str, Any]) -> str:
        """Return the settings as YAML, headed by what the run is `about` (its data)."""
        import yaml

        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return yaml.safe_dump({**about, **plain}, sort_keys=False, allow_unicode=True)


KINDS = {
    "image": "images",
    "image table": "a data set of pictures",
    "table": "a table",
    "text table": "a text table (.csv, .tsv)",
}
_TABLES = ("table", "text table", "image table")
# Settings that say something about some kinds of data only; all others are for every kind.
APPLIES_TO = {
    **dict.fromkeys(
        ("target", "label_separator", "image", "ignore", "categorical", "text", "missing", "drop_unlabelled"), _TABLES
    ),
    **dict.fromkeys(("encoding", "separator"), ("text table",)),
    **dict.fromkeys(("max_pixels", "image_size", "workers", "augment", "mixup", "cutmix"), ("image",)),
}

_AS_TEXT = ("cost", "deploy_prior", "class_weights", "pos_weight")  # in Python also a number, a matrix, a dictionary
_ABOUT = ("data", "lastlayer")  # keys of a run's config.yaml that are no settings
_RANGES: tuple[tuple[str, float, float], ...] = (
    ("validation", 0.01, 0.9),
    ("calibration", 0.0, 0.9),
    ("test", 0.0, 0.9),
    ("image_size", 4, 4096),
    ("epochs", 1, 1_000_000),
    ("finetune_epochs", 0, 1_000_000),
    ("patience", 1, 1_000_000),
    ("batch_size", 1, 1_000_000),
    ("lr", 1e-8, 10),
    ("weight_decay", 0, 10),
    ("mixup", 0, 10),
    ("cutmix", 0, 10),
    ("focal_gamma", 0, 10),
    ("label_smoothing", 0, 0.9),
    ("z_loss", 0, 1),
    ("warmup", 0, 1_000),
    ("clip_norm", 1e-6, 1e6),
    ("accumulate", 1, 100_000),
    ("checkpoint_minutes", 0, 10_000),
    ("workers", 0, 256),
    ("max_pixels", 1, 178_956_970),  # where Pillow itself stops
    ("seed", 0, 2**63 - 1),
    ("folds", 2, 1_000),
    ("abstain", 0, 1e300),
    ("coverage", 1e-6, 1 - 1e-6),
)


def _fitted(name: str, type_: Any, value: object) -> object:
    """Return `value` as the setting's type where nothing is lost by it, and refuse it otherwise."""
    allowed = get_args(type_) if get_origin(type_) in (Union, UnionType) else (type_,)
    if value is None:
        if NoneType in allowed:
            return None
        raise ConfigError(f"{option(name)} needs a value, got none.")
    for each in allowed:
        if get_origin(each) is Literal:
            if value in get_args(each):
                return value
            options = get_args(each)
            raise ConfigError(
                f"{option(name)} has to be one of {', '.join(options)}, got {value!r}."
                f"{did_you_mean(str(value), options)}"
            )
        if get_origin(each) is tuple and not isinstance(value, (str, bytes)) and hasattr(value, "__iter__"):
            return tuple(str(part) for part in value)
        if each is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        if each is int and isinstance(value, float) and value.is_integer():
            return int(value)
        if isinstance(each, type) and isinstance(value, each) and (each is bool) == isinstance(value, bool):
            return value
        if each is float and isinstance(value, str):  # YAML reads 1e-3 as text
            try:
                return float(value)
            except ValueError:
                break
    wanted = " or ".join(_TYPES[get_origin(each) or each] for each in allowed if each is not NoneType)
    raise ConfigError(f"{option(name)} has to be {wanted}, got {value!r} ({type(value).__name__}).")


_TYPES = {str: "text", int: "a whole number", float: "a number", bool: "true or false", tuple: "a list of words"}
