"""Penguins: the classifier against scikit-learn's logistic regression on the same split, over five seeds."""

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from lastlayer import Classifier

NUMBERS = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g", "year"]
WORDS = ["island", "sex"]


def regression() -> LogisticRegression:
    """What a careful user of scikit-learn writes."""
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    words = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))
    return make_pipeline(make_column_transformer((numbers, NUMBERS), (words, WORDS)), LogisticRegression(max_iter=1000))


def measure(table: Path) -> dict[str, float]:
    """Mean accuracy and log-loss of both on the test rows of five splits."""
    frame = pd.read_csv(table)
    found: dict[str, list[float]] = {
        "ours accuracy": [],
        "theirs accuracy": [],
        "ours log-loss": [],
        "theirs log-loss": [],
    }
    for seed in range(5):
        model = Classifier(seed=seed, verbose=False).fit(table, target="species")
        kept = model.record.predictions.to_pydict()
        number = [int(name.split("#")[1]) - 1 for name in kept["input"]]
        test = [row for row, split in zip(number, kept["split"], strict=True) if split == "test"]
        train = sorted(set(range(len(frame))) - set(number))
        other = regression().fit(frame.iloc[train], frame["species"].iloc[train])
        p = other.predict_proba(frame.iloc[test])
        truth = np.searchsorted(other.classes_, frame["species"].iloc[test])
        scores = model.evaluate()
        found["ours accuracy"].append(scores["accuracy"])
        found["ours log-loss"].append(scores["log_loss"])
        found["theirs accuracy"].append(float((p.argmax(1) == truth).mean()))
        found["theirs log-loss"].append(float(-np.log(p[np.arange(len(truth)), truth]).mean()))
    return {f"penguins, {name}": float(np.mean(values)) for name, values in found.items()}
