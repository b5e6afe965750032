"""python -m benchmarks.calibration: temperatures, kept and not; what prediction sets cover over 200 re-splits.

Logits are real where a line says digits, cancer: of rows that the model has not seen, five trainings each. Where it
says simulated they are drawn so that the truth is known.
"""

import sys
from collections.abc import Iterator

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from torch import Tensor

from lastlayer import Classifier
from lastlayer.decisions import (
    Calibration,
    Policy,
    calibrate,
    calibrate_labels,
    fit_temperature,
    fit_temperatures,
    mean_interval,
    measured_coverage,
    row_losses,
)

SEEDS, RESPLITS, SIMULATED = 5, 200, 400
COVERAGE = 0.9


def unseen(seed: int, data: str) -> tuple[Tensor, Tensor]:
    """Logits and truth of the rows that one training kept apart: three fifths of the data."""
    model = Classifier(seed=seed, validation=0.1, calibration=0.0, test=0.6, verbose=False)
    if data == "digits":
        model.fit("digits")
    else:
        frame = load_breast_cancer(as_frame=True).frame
        model.fit(frame.assign(target=frame["target"].map({0: "malignant", 1: "benign"})), target="target")
    table = model.record.predictions.to_pydict()
    rows = [row for row, part in enumerate(table["split"]) if part == "test"]
    names = model.record.spec.task.names
    target = torch.tensor([names.index(table["target"][row]) for row in rows])
    if "logit" in table:
        return torch.tensor(table["logit"], dtype=torch.float64)[rows], target
    return torch.tensor([table[f"logit({name})"] for name in names], dtype=torch.float64).T[rows], target


def labels(seed: int, rows: int = 1000) -> tuple[Tensor, Tensor]:
    """Simulated logits of six labels, each a little more or less sure than it should be."""
    generator = torch.Generator().manual_seed(seed)
    true = 2 * torch.randn(rows, 6, generator=generator, dtype=torch.float64) - 1
    target = (torch.rand(rows, 6, generator=generator, dtype=torch.float64) < true.sigmoid()).long()
    return true * torch.tensor([0.5, 0.8, 1.0, 1.0, 1.3, 2.0]), target


def halves(rows: int, seed: int) -> tuple[Tensor, Tensor]:
    """Two random halves of the rows."""
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
    return order[: rows // 2], order[rows // 2 :]


def verdicts(logits: Tensor, target: Tensor) -> tuple[Calibration, ...]:
    """One of the whole, or one per label."""
    return calibrate_labels(logits, target) if target.dim() == 2 else (calibrate(logits, target),)


def tripled(sets: dict[str, list[tuple[Tensor, Tensor]]]) -> Iterator[tuple[str, float]]:
    """How far the temperature of tripled logits is from three times the other one."""
    for name, runs in sets.items():
        worst = 0.0
        for logits, target in runs:
            fit = fit_temperatures if target.dim() == 2 else fit_temperature
            one, three = (torch.as_tensor(fit(factor * logits, target)) for factor in (1, 3))
            worst = max(worst, float((three / (3 * one) - 1).abs().max()))
        yield f"{name}: temperature of tripled logits against 3 x the other, largest deviation (at most 0.03)", worst


def kept(sets: dict[str, list[tuple[Tensor, Tensor]]]) -> Iterator[tuple[str, float]]:
    """What becomes of kept temperatures, on the rows that they were fitted to and on rows that nothing has seen."""
    for name, runs in sets.items():
        for factor in (1, 3):
            found, excluded, gains, unseen_excluded = 0, 0, [], 0
            for seed, (logits, target) in enumerate(runs):
                held, new = halves(len(target), seed)
                z, y = factor * logits, target
                for column, verdict in enumerate(verdicts(z[held], y[held])):
                    if not verdict.kept:
                        continue
                    one, answer = (z[new, column], y[new, column]) if y.dim() == 2 else (z[new], y[new])
                    gain = row_losses(one, answer) - row_losses(one / verdict.temperature, answer)
                    found += 1
                    excluded += verdict.gain.low > 0
                    gains.append(float(gain.mean()))
                    unseen_excluded += mean_interval(gain).low > 0
            what = f"{name}{'' if factor == 1 else ', logits tripled'}"
            total = sum(target.shape[1] if target.dim() == 2 else 1 for _, target in runs)
            yield f"{what}: temperatures kept, of {total}", found
            if found:
                yield f"{what}: share of the kept whose paired interval excludes 0 (1)", excluded / found
                yield f"{what}: the same interval on rows that nothing was fitted to", unseen_excluded / found
                yield f"{what}: mean gain there, nats", float(np.mean(gains))


def false_keeps() -> float:
    """Share of simulated classifiers that need no temperature and are given one (0.025 by the interval)."""
    times = 0
    for seed in range(SIMULATED):
        generator = torch.Generator().manual_seed(seed)
        logits = 2 * torch.randn(300, 4, generator=generator, dtype=torch.float64)
        target = torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)
        times += calibrate(logits, target).kept
    return times / SIMULATED


def coverage(sets: dict[str, list[tuple[Tensor, Tensor]]]) -> Iterator[tuple[str, float]]:
    """What prediction sets cover, over re-splits into two halves, on average over the trainings."""
    for name, runs in sets.items():
        for score in ("lac", "aps"):
            if score == "aps" and name != "digits":
                continue
            total, size, least = [], [], []
            for seed in range(RESPLITS):
                logits, target = runs[seed % len(runs)]
                held, new = halves(len(target), seed)
                classes = 2 if logits.dim() == 1 else logits.shape[1]
                kind = "multilabel" if target.dim() == 2 else "binary" if logits.dim() == 1 else "multiclass"
                policy = Policy(kind, classes).with_sets(logits[held], target[held], COVERAGE, score=score)
                found = measured_coverage(policy.set_of(logits[new]), target[new])
                total.append(found.total.value)
                size.append(found.size)
                least.append([each.value for each in found.per_class])
            aim = "0.89 to 0.91" if score == "lac" else "at least 0.89: none is empty"
            yield f"{name}, {score}: coverage of {RESPLITS} re-splits ({aim})", float(np.mean(total))
            yield f"{name}, {score}: of the class least covered", float(np.nanmean(least, 0).min())
            yield f"{name}, {score}: mean size of a set", float(np.mean(size))


def measure() -> dict[str, float]:
    """Every figure by name."""
    sets = {data: [unseen(seed, data) for seed in range(SEEDS)] for data in ("digits", "cancer")}
    sets["simulated labels"] = [labels(seed) for seed in range(SEEDS)]
    return {
        **dict(tripled(sets)),
        **dict(kept(sets)),
        "simulated: temperatures kept where none is needed (0.025)": false_keeps(),
        **dict(coverage(sets)),
    }


def main() -> int:
    for name, value in measure().items():
        print(f"{value:12.4g}  {name}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
