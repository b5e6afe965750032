"""Texts from scratch, beside TF-IDF and logistic regression, on the same rows: banking77 and kote.

    python -m benchmarks.text [--data FOLDER] [--seeds 5] [--only banking77|kote]

scikit-learn learns from all training rows, with C chosen by cross-validation on them (lowest log-loss). lastlayer gets
the same rows as one table, with its default settings: it keeps a tenth of them to choose the epoch and a tenth to
calibrate. Both are judged on the same test rows. A seed changes lastlayer's split of the training rows, its first
weights and the order of its rows; logistic regression has none.
"""

import argparse
import csv
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, f1_score, log_loss
from sklearn.model_selection import StratifiedKFold
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_union

from lastlayer import Classifier

ROOT = Path(__file__).parents[1]
_HIGHER = ("accuracy", "micro-F1", "mean AP")
STRENGTHS = {"softmax": (3, 10, 30, 100), "sigmoids": (1, 3, 10)}  # of which cross-validation takes one


def main() -> None:
    parser = argparse.ArgumentParser(description="Texts from scratch, beside TF-IDF and logistic regression.")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", choices=("banking77", "kote"))
    asked = parser.parse_args()
    measure(asked.data, asked.seeds, asked.only)


def measure(data: Path, seeds: int, only: str | None = None) -> dict[str, float]:
    """The mean of each score over the seeds, its spread, and scikit-learn's."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    found: dict[str, float] = {}
    for name, judge in (("banking77", banking), ("kote", kote)):
        if only not in (None, name):
            continue
        if (data / name).is_dir():
            found |= judge(data / name, seeds)
        else:
            print(f"not measured: {name}, no {data / name} (name the folder with --data)")
    return found


def _figures(
    what: str, names: tuple[str, ...], ours: list[tuple[float, ...]], theirs: tuple[float, ...]
) -> dict[str, float]:
    seeds = np.array(ours)
    figures: dict[str, float] = {}
    for place, name in enumerate((*names, "seconds")):
        figures[f"{what}, {name}: ours, mean of {len(ours)} seeds"] = float(seeds[:, place].mean())
        figures[f"{what}, {name}: ours, worst seed"] = float(
            (seeds[:, place].min if name in _HIGHER else seeds[:, place].max)()
        )
        figures[f"{what}, {name}: scikit-learn"] = float(theirs[place])
    return figures


def features(train: list[str], test: list[str]):
    """Words, one and two, and two to five characters within words; the common choice."""
    both = make_union(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True),
    )
    return both.fit_transform(train), both.transform(test)


# --- banking77: one of 77 intents


def banking(folder: Path, seeds: int) -> dict[str, float]:
    (train, y), (test, truth) = _pairs(folder / "train.csv"), _pairs(folder / "test.csv")
    started = time.monotonic()
    plain, new = features(train, test)
    strength = _strength_of_softmax(plain, np.array(y))
    model = LogisticRegression(C=strength, max_iter=1000).fit(plain, y)
    p = model.predict_proba(new)
    print(f"banking77: {len(train):,} rows to learn from, {len(test):,} to be judged on")
    print(f"{'':<34}{'accuracy':>10}{'log-loss':>10}{'ECE':>8}{'seconds':>9}")
    theirs = (*_judged(p, model.classes_, truth), time.monotonic() - started)
    _row(f"TF-IDF + LogisticRegression, C={strength}", *theirs)
    found = []
    for seed in range(seeds):
        started = time.monotonic()
        ours = Classifier(verbose=False, seed=seed, test=0.0).fit(_rows(train, y), "label")
        scores = _judged(ours.predict_proba(_rows(test)), ours.classes_, truth)
        found.append((*scores, time.monotonic() - started))
        _row(f"lastlayer, seed {seed}", *found[-1])
    _row("lastlayer, mean", *np.mean(found, 0))
    return _figures("banking77", ("accuracy", "log-loss", "ECE (at most 0.04)"), found, theirs)


def _strength_of_softmax(x, y) -> float:
    """C with the lowest log-loss over two folds; the folds share their features with the whole, as is usual."""
    losses = {}
    for strength in STRENGTHS["softmax"]:
        folds = StratifiedKFold(2, shuffle=True, random_state=0).split(x, y)
        losses[strength] = np.mean(
            [
                log_loss(
                    y[held], LogisticRegression(C=strength, max_iter=300).fit(x[kept], y[kept]).predict_proba(x[held])
                )
                for kept, held in folds
            ]
        )
    return min(losses, key=losses.get)


def _judged(p: np.ndarray, classes: np.ndarray, truth: list[str]) -> tuple[float, float, float]:
    right = classes[p.argmax(1)] == np.array(truth)
    return float(right.mean()), float(log_loss(truth, p, labels=classes)), _ece(p.max(1), right)


def _ece(confidence: np.ndarray, right: np.ndarray, bins: int = 15) -> float:
    """Mean gap between confidence and accuracy over bins with equally many rows."""
    order = np.argsort(confidence)
    parts = np.array_split(order, bins)
    return float(sum(len(part) * abs(confidence[part].mean() - right[part].mean()) for part in parts) / len(right))


# --- kote: any of 44 emotions


def kote(folder: Path, seeds: int) -> dict[str, float]:
    names = (folder / "labels.txt").read_text(encoding="utf-8").split("\n")[:44]
    (train, y), (test, truth) = (_labelled(folder / name, len(names)) for name in ("val.tsv", "test.tsv"))
    started = time.monotonic()
    plain, new = features(train, test)
    strength = _strength_of_sigmoids(plain, y)
    p = _one_against_rest(strength).fit(plain, y).predict_proba(new)
    print(f"\nkote: {len(train):,} rows to learn from, {len(test):,} to be judged on, yes above 1/2")
    print(f"{'':<34}{'micro-F1':>10}{'mean AP':>10}{'log-loss':>10}{'seconds':>9}")
    theirs = (*_judged_labels(p, truth), time.monotonic() - started)
    _row(f"TF-IDF + one-vs-rest, C={strength}", *theirs)
    found = []
    for seed in range(seeds):
        started = time.monotonic()
        held = [[name for name, holds in zip(names, row, strict=True) if holds] for row in y]
        ours = Classifier(verbose=False, seed=seed, test=0.0).fit(_rows(train, held), "label")
        p = ours.predict_proba(_rows(test))[:, [list(ours.classes_).index(name) for name in names]]
        found.append((*_judged_labels(p, truth), time.monotonic() - started))
        _row(f"lastlayer, seed {seed}", *found[-1])
    _row("lastlayer, mean", *np.mean(found, 0))
    return _figures("kote", ("micro-F1", "mean AP", "log-loss"), found, theirs)


def _one_against_rest(strength: float) -> OneVsRestClassifier:
    return OneVsRestClassifier(LogisticRegression(C=strength, solver="liblinear"))


def _strength_of_sigmoids(x, y: np.ndarray) -> float:
    losses = {}
    for strength in STRENGTHS["sigmoids"]:
        part = np.arange(len(y)) % 2
        losses[strength] = np.mean(
            [
                _judged_labels(
                    _one_against_rest(strength).fit(x[part != k], y[part != k]).predict_proba(x[part == k]),
                    y[part == k],
                )[2]
                for k in range(2)
            ]
        )
    return min(losses, key=losses.get)


def _judged_labels(p: np.ndarray, truth: np.ndarray) -> tuple[float, float, float]:
    precision = np.mean([average_precision_score(truth[:, label], p[:, label]) for label in range(truth.shape[1])])
    loss = -np.mean(np.where(truth == 1, np.log(p), np.log1p(-p)))
    return float(f1_score(truth, p > 0.5, average="micro")), float(precision), float(loss)


def _pairs(path: Path) -> tuple[list[str], list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["text"] for row in rows], [row["category"] for row in rows]


def _labelled(path: Path, labels: int) -> tuple[list[str], np.ndarray]:
    texts, truth = [], []
    for line in path.read_text(encoding="utf-8").rstrip("\n").split("\n"):
        _, text, held = line.split("\t")
        texts.append(text)
        truth.append(np.isin(np.arange(labels), [int(number) for number in held.split(",")]))
    return texts, np.array(truth, dtype=int)


def _rows(texts: list[str], labels=None) -> list[dict]:
    if labels is None:
        return [{"text": text} for text in texts]
    return [{"text": text, "label": label} for text, label in zip(texts, labels, strict=True)]


def _row(name: str, first: float, second: float, third: float, seconds: float) -> None:
    print(f"{name:<34}{first:>10.4f}{second:>10.4f}{third:>{8 if third < 0.2 else 10}.4f}{seconds:>9.0f}", flush=True)


if __name__ == "__main__":
    main()
