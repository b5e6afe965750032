"""Small tables: our log-loss against scikit-learn's best of two, tuned on the training rows, over many splits.

python -m benchmarks.classifier tables [--splits 20] [--seeds 5] [--data FOLDER] [--yeast FILE] [--only NAME ...]
    [--default-shares]

Penguins lie in the data folder; breast cancer and wine come with scikit-learn; yeast (14 labels) with the package
`river`, which is no dependency: where it is not installed, name its yeast.csv.gz, or go without.

The same rows train and judge both. scikit-learn's LogisticRegression and HistGradientBoosting are tuned by
cross-validation on the training rows, and the one with the lower log-loss there is taken. Ours holds out as few rows as
it can do with (two in a hundred, none to calibrate): its members judge the training rows for each other.
"""

import tempfile
import time
import warnings
from collections.abc import Callable, Collection, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import t as student
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, ShuffleSplit, StratifiedKFold, train_test_split
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from lastlayer import Classifier

NAMES = ("penguins", "breast cancer", "wine", "yeast")
_TEST = 0.3
_TARGET = "target"
_LEAST_HELD = {"validation": 0.02, "calibration": 0.0}
_LEAST = 1e-15  # a probability of 0 would cost infinitely much: theirs are kept from it


class Table(NamedTuple):
    """Features, and the class of each row or 0 and 1 per label (rows, labels)."""

    features: pd.DataFrame
    target: np.ndarray

    @property
    def several(self) -> bool:
        return self.target.ndim > 1


def tables(data: Path, yeast: Path | None, only: Collection[str] = NAMES) -> Iterator[tuple[str, Table]]:
    """The tables that are asked for and there; what is not there is said."""
    read: dict[str, Callable[[], Table | None]] = {
        "penguins": lambda: _penguins(data / "penguins" / "penguins.csv"),
        "breast cancer": lambda: _of_sklearn(load_breast_cancer),
        "wine": lambda: _of_sklearn(load_wine),
        "yeast": lambda: _yeast(yeast or _of_river()),
    }
    for name in NAMES:
        table = read[name]() if name in only else None
        if table is not None:
            yield name, table


def _penguins(path: Path) -> Table | None:
    if not path.is_file():
        print(f"not measured: penguins, no {path} (name the folder with --data)")
        return None
    frame = pd.read_csv(path)
    target = frame.pop("species").to_numpy()
    return Table(frame, target)


def _of_sklearn(load: Callable[..., Any]) -> Table:
    found = load(as_frame=True)
    return Table(found.data, found.target.to_numpy().astype(str))


def _yeast(path: Path | None) -> Table | None:
    if path is None:
        print("not measured: yeast (pip install river, or name its yeast.csv.gz with --yeast)")
        return None
    frame = pd.read_csv(path)
    labels = [column for column in frame if column.startswith("Class")]
    return Table(frame.drop(columns=labels), frame[labels].to_numpy())


def _of_river() -> Path | None:
    spec = find_spec("river")
    places = [] if spec is None else spec.submodule_search_locations or []
    found = [Path(place) / "datasets" / "yeast.csv.gz" for place in places]
    return next((path for path in found if path.is_file()), None)


def log_loss(p: np.ndarray, truth: np.ndarray) -> float:
    """Mean surprise in nats; `truth` is one-hot, or 0 and 1 per label, whose mean is taken."""
    p = np.clip(p, _LEAST, 1)
    if truth.ndim > 1:
        q = np.clip(1 - p, _LEAST, 1)
        return float(-(truth * np.log(p) + (1 - truth) * np.log(q)).mean())
    return float(-np.log(p[np.arange(len(truth)), truth]).mean())


def ours(table: Table, train: np.ndarray, test: np.ndarray, seed: int, shares: dict[str, float]) -> float:
    """The log-loss of the test rows by the classifier as it comes, but for the `shares` that it holds out."""
    frame, names = table.features.copy(), [_TARGET]
    if table.several:
        names = [f"{_TARGET} {place}" for place in range(table.target.shape[1])]
        frame[names] = table.target
    else:
        frame[_TARGET] = table.target
    with tempfile.TemporaryDirectory() as folder:
        for part, rows in (("train", train), ("test", test)):
            frame.iloc[rows].to_csv(Path(folder) / f"{part}.csv", index=False)
        model = Classifier(seed=seed, target=names, verbose=False, **shares).fit(folder)
        return model.evaluate()["log_loss"]


def theirs(table: Table, train: np.ndarray, test: np.ndarray) -> tuple[float, str]:
    """The log-loss of the test rows by the better of two of scikit-learn, and which it is."""
    x, y = table.features, table.target
    found = []
    for name, (model, grid) in _contenders(table).items():
        folds = ShuffleSplit(1, test_size=0.25, random_state=0) if table.several else StratifiedKFold(5, shuffle=True)
        # one thread: trees of so few rows lose more by waiting for each other than several threads gain
        with warnings.catch_warnings(), threadpool_limits(1):
            warnings.simplefilter("ignore")  # a class without rows in a fold
            search = GridSearchCV(model, grid, scoring=_score, cv=folds).fit(x.iloc[train], y[train])
            found.append((-search.best_score_, -_score(search.best_estimator_, x.iloc[test], y[test]), name))
    _, loss, name = min(found)
    return loss, name


def _score(model: Any, x: pd.DataFrame, y: np.ndarray) -> float:
    p = model.predict_proba(x)
    if y.ndim > 1:
        return -log_loss(np.stack([each[:, 1] for each in p], 1), y)
    return -log_loss(p, np.searchsorted(model.classes_, y))


def _contenders(table: Table) -> dict[str, tuple[Pipeline, dict[str, list[float]]]]:
    numbers = table.features.select_dtypes("number").columns.tolist()
    words = [name for name in table.features if name not in numbers]
    scaled = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    coded = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))
    ordinal = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    linear: Any = LogisticRegression(max_iter=5000)
    trees: Any = HistGradientBoostingClassifier(random_state=0, max_leaf_nodes=15)
    step = "model__estimator__" if table.several else "model__"
    strengths = np.logspace(-2.5, -0.5, 5) if table.several else np.logspace(-2.5, 2.5, 11)
    sizes: dict[str, list[float]] = {"learning_rate": [0.03, 0.1], "max_iter": [60, 200], "min_samples_leaf": [5, 20]}
    if table.several:
        # fourteen models each, so a small grid, around what is best of many settings on the training rows of the first
        # two splits: log-loss .429 and .431 there, and .433 and .434 with 15 leaves, all features and no penalty
        trees = HistGradientBoostingClassifier(
            random_state=0, max_leaf_nodes=7, l2_regularization=10, max_features=0.3, learning_rate=0.06
        )
        linear, trees = MultiOutputClassifier(linear), MultiOutputClassifier(trees)
        sizes = {"max_iter": [80, 140]}
    return {
        "LogisticRegression": (
            Pipeline([("columns", make_column_transformer((scaled, numbers), (coded, words))), ("model", linear)]),
            {f"{step}C": strengths.tolist()},
        ),
        "HistGradientBoosting": (
            Pipeline([
                ("columns", make_column_transformer((ordinal, words), ("passthrough", numbers))),
                ("model", trees),
            ]),
            {f"{step}{name}": values for name, values in sizes.items()},
        ),
    }  # fmt: skip


def measure(name: str, table: Table, splits: int, seeds: int, shares: dict[str, float]) -> dict[str, float]:
    """Both on each split; one of the seeds in turn trains ours."""
    pairs, seconds = [], []
    for split in range(splits):
        stratify = None if table.several else table.target
        train, test = train_test_split(
            np.arange(len(table.target)), test_size=_TEST, random_state=split, stratify=stratify
        )
        times = [time.perf_counter()]
        mine = ours(table, train, test, split % seeds, shares)
        times.append(time.perf_counter())
        loss, best = theirs(table, train, test)
        times.append(time.perf_counter())
        pairs.append((mine, loss))
        seconds.append(np.diff(times))
        print(
            f"  {name}, split {split + 1} of {splits}: ours {mine:.4f} ({seconds[-1][0]:.0f} s), {best} {loss:.4f} "
            f"({seconds[-1][1]:.0f} s)",
            flush=True,
        )
    mine, other = np.array(pairs).T
    gap = mine - other
    half = float(student.ppf(0.975, splits - 1) * gap.std(ddof=1) / np.sqrt(splits))
    # the splits share most of their training rows: Nadeau and Bengio, 2003
    wide = half * float(np.sqrt(1 + splits * _TEST / (1 - _TEST)))
    return {
        f"{name}: ours, log-loss": float(mine.mean()),
        f"{name}: scikit-learn's best, log-loss": float(other.mean()),
        f"{name}: difference (95 % interval includes 0 or lies below)": float(gap.mean()),
        f"{name}: difference, low": float(gap.mean() - half),
        f"{name}: difference, high": float(gap.mean() + half),
        f"{name}: difference, low, for splits that share rows": float(gap.mean() - wide),
        f"{name}: difference, high, for splits that share rows": float(gap.mean() + wide),
        f"{name}: seconds of a training": float(np.mean(seconds, 0)[0]),
        f"{name}: seconds of tuning scikit-learn's two": float(np.mean(seconds, 0)[1]),
    }


def measure_all(
    data: Path, splits: int, seeds: int, yeast: Path | None, only: Collection[str], default_shares: bool
) -> Iterator[tuple[str, str, dict[str, float]]]:
    """Each table of `only` that is there, once it is measured: its title, how it was measured, and figures."""
    shares = {} if default_shares else _LEAST_HELD
    held = "the default shares held out" if default_shares else "2 % of the training rows held out"
    for name, table in tables(data, yeast, only):
        title = f"{name}, default shares" if default_shares else name
        yield title, f"{splits} splits, a training each, {held}", measure(title, table, splits, seeds, shares)
