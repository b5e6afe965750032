"""Small tables: our log-loss against scikit-learn's best of two, tuned on the training rows, over many splits.

python -m benchmarks.tables [--splits 20] [--seeds 5] [--data FOLDER] [--yeast FILE] [--only NAME ...]

Penguins lie in the data folder; breast cancer and wine come with scikit-learn; yeast (14 labels) with the package
`river`, which is no dependency: where it is not installed, name its yeast.csv.gz, or go without.

The same rows train and judge both. scikit-learn's LogisticRegression and HistGradientBoosting are tuned by
cross-validation on the training rows, and the one with the lower log-loss there is taken. Ours holds out as few rows as
it can do with (two in a hundred, none to calibrate): its members judge the training rows for each other.
"""

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
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

from lastlayer import Classifier

HERE = Path(__file__).parent
_TEST = 0.3
_TARGET = "target"
_LEAST = 1e-15  # a probability of 0 would cost infinitely much: theirs are kept from it


class Table(NamedTuple):
    """Features, and the class of each row or 0 and 1 per label (rows, labels)."""

    features: pd.DataFrame
    target: np.ndarray

    @property
    def several(self) -> bool:
        return self.target.ndim > 1


def tables(data: Path, yeast: Path | None) -> Iterator[tuple[str, Table]]:
    """The tables that are there; what is not is said."""
    penguins = data / "penguins" / "penguins.csv"
    if penguins.is_file():
        frame = pd.read_csv(penguins)
        target = frame.pop("species").to_numpy()
        yield "penguins", Table(frame, target)
    else:
        print(f"not measured: penguins, no {penguins} (name the folder with --data)")
    for name, load in (("breast cancer", load_breast_cancer), ("wine", load_wine)):
        found = load(as_frame=True)
        yield name, Table(found.data, found.target.to_numpy().astype(str))
    yeast = yeast or _of_river()
    if yeast is not None:
        frame = pd.read_csv(yeast)
        labels = [column for column in frame if column.startswith("Class")]
        yield "yeast", Table(frame.drop(columns=labels), frame[labels].to_numpy())
    else:
        print("not measured: yeast (pip install river, or name its yeast.csv.gz with --yeast)")


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


def ours(table: Table, train: np.ndarray, test: np.ndarray, seed: int) -> float:
    """The log-loss of the test rows by the classifier as it comes."""
    frame, names = table.features.copy(), [_TARGET]
    if table.several:
        names = [f"{_TARGET} {place}" for place in range(table.target.shape[1])]
        frame[names] = table.target
    else:
        frame[_TARGET] = table.target
    with tempfile.TemporaryDirectory() as folder:
        for part, rows in (("train", train), ("test", test)):
            frame.iloc[rows].to_csv(Path(folder) / f"{part}.csv", index=False)
        model = Classifier(seed=seed, validation=0.02, calibration=0.0, target=names, verbose=False).fit(folder)
        return model.evaluate()["log_loss"]


def theirs(table: Table, train: np.ndarray, test: np.ndarray) -> tuple[float, str]:
    """The log-loss of the test rows by the better of two of scikit-learn, and which it is."""
    x, y = table.features, table.target
    found = []
    for name, (model, grid) in _contenders(table).items():
        folds = ShuffleSplit(1, test_size=0.25, random_state=0) if table.several else StratifiedKFold(5, shuffle=True)
        with warnings.catch_warnings():
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
    if table.several:
        linear, trees = MultiOutputClassifier(linear), MultiOutputClassifier(trees)
    strengths = np.logspace(-2.5, -0.5, 5) if table.several else np.logspace(-2.5, 2.5, 11)
    rates, leaves = ([0.03], [20]) if table.several else ([0.03, 0.1], [5, 20])
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
            {
                f"{step}learning_rate": rates,
                f"{step}max_iter": [60, 120] if table.several else [60, 200],
                f"{step}min_samples_leaf": leaves,
            },
        ),
    }  # fmt: skip


def measure(name: str, table: Table, splits: int, seeds: int) -> dict[str, float]:
    """Both on each split; one of the seeds in turn trains ours."""
    pairs, chosen, seconds = [], [], 0.0
    for split in range(splits):
        stratify = None if table.several else table.target
        train, test = train_test_split(
            np.arange(len(table.target)), test_size=_TEST, random_state=split, stratify=stratify
        )
        started = time.perf_counter()
        mine = ours(table, train, test, split % seeds)
        seconds += time.perf_counter() - started
        loss, best = theirs(table, train, test)
        pairs.append((mine, loss))
        chosen.append(best)
        print(f"  {name}, split {split}: ours {mine:.4f}, {best} {loss:.4f}", flush=True)
    mine, other = np.array(pairs).T
    gap = mine - other
    half = float(student.ppf(0.975, splits - 1) * gap.std(ddof=1) / np.sqrt(splits)) if splits > 1 else np.nan
    return {
        f"{name}: ours, log-loss": float(mine.mean()),
        f"{name}: scikit-learn's best, log-loss": float(other.mean()),
        f"{name}: difference (95 % interval includes 0 or lies below)": float(gap.mean()),
        f"{name}: difference, low": float(gap.mean() - half),
        f"{name}: difference, high": float(gap.mean() + half),
        f"{name}: seconds of a training": seconds / splits,
    }


def measure_all(
    data: Path, splits: int, seeds: int, yeast: Path | None = None, only: list[str] | None = None
) -> dict[str, float]:
    """Every table that is there, or those of `only`."""
    numbers: dict[str, float] = {}
    for name, table in tables(data, yeast):
        if only is None or name in only:
            numbers |= measure(name, table, splits, seeds)
    return numbers


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--data", type=Path, default=HERE.parents[1] / "shared" / "data")
    parser.add_argument("--yeast", type=Path)
    parser.add_argument("--only", nargs="*", default=None, help="some of the tables, by name")
    options = parser.parse_args()
    numbers = measure_all(options.data, options.splits, options.seeds, options.yeast, options.only)
    for name, value in numbers.items():
        print(f"{value:9.4f}  {name}")
    lost = [name for name, value in numbers.items() if name.endswith("difference, low") and value > 0]
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
