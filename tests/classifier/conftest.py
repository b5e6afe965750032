"""Data written on the spot, and runs trained once for all tests of a process."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from lastlayer import Classifier


def write_digits(folder: Path, per_class: int = 12) -> Path:
    """The handwritten digits as PNG files, one folder per class."""
    digits = load_digits()
    for label in range(10):
        (folder / f"digit {label}").mkdir(parents=True)
        for place, pixels in enumerate(digits.images[digits.target == label][:per_class]):
            Image.fromarray((pixels * 255 / 16).round().astype(np.uint8)).save(
                folder / f"digit {label}" / f"{place}.png"
            )
    return folder


def flowers(rows: int = 150, seed: int = 0) -> pd.DataFrame:
    """A table with a number, a truth, words, missing cells and three classes that can be told apart."""
    random = np.random.default_rng(seed)
    kind = random.integers(0, 3, rows)
    frame = pd.DataFrame(
        {
            "length": kind * 2 + random.normal(size=rows) * 0.4,
            "scented": kind == 1,
            "soil": np.where(random.random(rows) < 0.8, np.array(["sand", "clay", "loam"])[kind], "sand"),
            "count": random.integers(0, 100, rows),
            "kind": np.array(["rose", "lily", "iris"])[kind],
        }
    )
    frame.loc[::9, "length"] = np.nan
    frame.loc[::13, "soil"] = None
    return frame


@pytest.fixture(scope="session")
def digit_folder(tmp_path_factory) -> Path:
    return write_digits(tmp_path_factory.mktemp("data") / "digits")


@pytest.fixture(scope="session")
def flower_table(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "flowers.csv"
    flowers().to_csv(path, index=False)
    return path


@pytest.fixture(scope="session")
def image_run(tmp_path_factory, digit_folder) -> Path:
    run = tmp_path_factory.mktemp("runs") / "digits"
    Classifier(epochs=8, verbose=False).fit(digit_folder, output=run)
    return run


@pytest.fixture(scope="session")
def table_run(tmp_path_factory, flower_table) -> Path:
    run = tmp_path_factory.mktemp("runs") / "flowers"
    Classifier(epochs=12, verbose=False).fit(flower_table, target="kind", output=run)
    return run


@pytest.fixture(scope="session")
def binary_run(tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "scented"
    frame = flowers().assign(scented=lambda f: f["scented"].map({True: "yes", False: "no"}))
    Classifier(epochs=12, verbose=False).fit(frame, target="scented", output=run)
    return run


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.epochs: list[int] = []
        self.jobs: set[str] = set()

    def note(self, text: str) -> None:
        self.notes.append(text)

    def progress(self, doing: str, done: int, total: int) -> None:
        assert 0 <= done <= total
        self.jobs.add(doing)

    def epoch(self, epoch, of: int, seconds_left: float) -> None:
        assert seconds_left >= 0
        self.epochs.append(epoch.epoch)

    def said(self, *words: str) -> str:
        found = [note for note in self.notes if all(word in note for word in words)]
        assert found, f"nobody said {words}: {self.notes}"
        return found[0]


@pytest.fixture
def heard() -> Heard:
    return Heard()
