"""Runs that are killed, and folders that are changed: `python -m benchmarks.torture --kills 50 --mutations 2000`.

A kill is kill -9 at a random moment of a training; the run is resumed (and often killed again) until it is finished,
and has to end as the same training without a kill: weights, metrics but wall-clock seconds, and predictions, bit for
bit. A mutation changes one file of a finished run or of a checkpoint: the folder has to be refused with a message, or
load exactly what was written.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

CASES: dict[str, dict[str, Any]] = {
    "table, a checkpoint after every step": {"data": "table", "checkpoint_minutes": 0.0},
    "table, as by default": {"data": "table"},
    "images in two workers, a checkpoint after every step": {"data": "images", "workers": 2, "checkpoint_minutes": 0.0},
    "images, falling learning rate, batches in parts": {
        "data": "images", "workers": 0, "schedule": "cosine", "warmup": 1.0, "accumulate": 3, "clip_norm": 1.0,
    },
}  # fmt: skip


def write_data(folder: Path) -> dict[str, Path]:
    """A table of numbers and words, and a folder of small images."""
    import numpy as np
    import pandas as pd
    from PIL import Image
    from sklearn.datasets import load_digits

    random_ = np.random.default_rng(0)
    kind = random_.integers(0, 3, 600)
    frame = pd.DataFrame({f"x{place}": kind + random_.normal(size=600) for place in range(6)})
    frame["soil"] = np.where(random_.random(600) < 0.7, np.array(["sand", "clay", "loam"])[kind], "sand")
    frame["kind"] = np.array(["rose", "lily", "iris"])[kind]
    frame.to_csv(folder / "table.csv", index=False)
    digits = load_digits()
    for label in range(10):
        (folder / "images" / f"digit {label}").mkdir(parents=True)
        for place, pixels in enumerate(digits.images[digits.target == label][:30]):
            picture = Image.fromarray((pixels * 255 / 16).round().astype(np.uint8))
            picture.save(folder / "images" / f"digit {label}" / f"{place}.png")
    return {"table": folder / "table.csv", "images": folder / "images"}


def train(case: dict[str, Any], data: dict[str, Path], run: Path) -> None:
    """Begin the run, or go on with it."""
    from lastlayer import Classifier

    if (run / "checkpoints" / "begun.json").exists():
        Classifier.resume(run, verbose=False)
        return
    if run.exists():  # killed before it had written what it began with
        shutil.rmtree(run)
    settings = {name: value for name, value in case.items() if name != "data"}
    target = {"target": "kind"} if case["data"] == "table" else {}
    Classifier(epochs=5, device="cpu", verbose=False, **target, **settings).fit(data[case["data"]], output=run)


def in_child(work: Callable[[], None]) -> int:
    """Run something in a copy of this process, which has loaded everything and computed nothing."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work()
        code = 0
    except BaseException as error:  # noqa: BLE001 - the child ends here, whatever happened
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
    finally:
        sys.stderr.flush()
        os._exit(code)


def outcome(run: Path) -> str:
    """What a run has come to, but for the clock: one text, equal where the bits are."""
    from lastlayer.classifier import run_folder

    record = run_folder.read(run)
    found = sha256()
    for name, weight in sorted(record.weights.items()):
        found.update(name.encode() + weight.contiguous().view(-1).numpy().tobytes())
    for epoch in record.epochs:
        found.update(repr({name: value for name, value in asdict(epoch).items() if name != "seconds"}).encode())
    found.update(repr(record.predictions.to_pydict()).encode())
    found.update(json.dumps(record.spec.to_dict()).encode())
    return found.hexdigest()


def killed(times: int, folder: Path, seed: int) -> Counter[str]:
    """Kill trainings at random moments; count how their resumption ended."""
    moments, counts = random.Random(seed), Counter[str]()  # noqa: S311 - no secrets
    data = write_data(folder)
    expected, seconds = {}, {}
    for name, case in CASES.items():
        begun = time.monotonic()
        assert os.waitpid(in_child(lambda case=case: train(case, data, folder / "whole")), 0)[1] == 0
        seconds[name] = time.monotonic() - begun
        expected[name] = outcome(folder / "whole")
        shutil.rmtree(folder / "whole")
    names = list(CASES)
    while counts["killed"] < times:
        name = names[counts["killed"] % len(names)]
        run = folder / "run"
        while True:
            child = in_child(lambda name=name, run=run: train(CASES[name], data, run))
            if counts["killed"] < times and moments.random() < 0.8:
                time.sleep(moments.uniform(0, 1.0 * seconds[name]))
                os.kill(child, signal.SIGKILL)
            status = os.waitpid(child, 0)[1]
            if os.WIFSIGNALED(status):
                counts["killed"] += 1
                at = sorted(path.name for path in run.glob("checkpoints/*-*")) if run.exists() else []
                counts["killed before the first checkpoint" if not at else "killed after a checkpoint"] += 1
                continue
            if status != 0:
                counts["FAILED to resume"] += 1
            elif outcome(run) == expected[name]:
                counts["runs resumed to the same end, bit for bit"] += 1
            else:
                counts[f"FAILED: another end ({name})"] += 1
            break
        shutil.rmtree(run, ignore_errors=True)
    return counts


# Mutations


def mutate(path: Path, other: Path, chance: random.Random) -> str:
    """Change one file in one of many ways; returns in which."""
    content = path.read_bytes()
    ways = ["flip", "truncate", "extend", "empty", "delete", "swap", "zeros"] + ["json"] * 4 * path.suffix.startswith(
        ".json"
    )
    way = chance.choice(ways)
    place = chance.randrange(max(1, len(content)))
    if way == "flip":
        changed = bytearray(content)
        for _ in range(chance.choice([1, 1, 1, 8])):
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        path.write_bytes(changed)
    elif way == "truncate":
        path.write_bytes(content[:place])
    elif way == "extend":
        path.write_bytes(content + chance.randbytes(chance.choice([1, 100])))
    elif way == "empty":
        path.write_bytes(b"")
    elif way == "delete":
        path.unlink()
    elif way == "swap":
        path.write_bytes(other.read_bytes())
    elif way == "zeros":  # as some file systems leave a file that was being written
        path.write_bytes(content[:place] + bytes(len(content) - place))
    else:
        lines = content.decode().splitlines() if path.suffix == ".jsonl" else [content.decode()]
        line = chance.randrange(len(lines))
        lines[line] = json.dumps(_changed(json.loads(lines[line]), chance))
        path.write_bytes("\n".join(lines).encode())
    return way


def _changed(value: Any, chance: random.Random) -> Any:
    """The same with one value in it, or one key, changed."""
    if isinstance(value, dict) and value:
        key = chance.choice(list(value))
        if chance.random() < 0.1:
            return {(f"{name}_" if name == key else name): each for name, each in value.items()}
        return {**value, key: _changed(value[key], chance)}
    if isinstance(value, list) and value:
        place = chance.randrange(len(value))
        return [_changed(each, chance) if place == index else each for index, each in enumerate(value)]
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return chance.choice([value + 1, -value - 1, value * 1.5 + 1, None, str(value)])
    return chance.choice([f"{value}x", "", None, 7])


def whole(run: Path) -> str:
    """Everything that loading a finished run gives, as one text."""
    from lastlayer.classifier import run_folder

    record = run_folder.read(run)
    rest = [asdict(record.config), record.data_name, record.versions, record.data, record.report, record.card]
    return outcome(run) + sha256(repr(rest + [asdict(epoch) for epoch in record.epochs]).encode()).hexdigest()


def state(run: Path) -> str:
    """What resuming a run would begin with, as one text."""
    from lastlayer.classifier.journal import Journal, Silent
    from lastlayer.classifier.learning import resuming
    from lastlayer.classifier.learning.keeping import Keeper

    begun = resuming.begun(run)
    found = resuming.newest(Keeper(run, about={"settings": begun.settings}), Journal(Silent()))
    assert found is not None
    tensors = sorted((name, tensor.numpy().tobytes()) for name, tensor in found.tensors.items())
    return sha256(repr([begun, tensors, found.plain]).encode()).hexdigest()


def mutated(times: int, folder: Path, seed: int) -> Counter[str]:
    """Change copies of a finished run and of one that was cut off; count what loading them does."""
    from lastlayer.errors import LastLayerError

    chance, counts = random.Random(seed), Counter[str]()  # noqa: S311 - no secrets
    finished, cut_off = _made(folder, counts)
    good = {finished[0]: {whole(finished[0])}, cut_off[0]: set(_states(cut_off[0], folder))}
    while counts["changed folders"] < times:
        (run, other), look = (finished, whole) if counts["changed folders"] % 3 else (cut_off, state)
        copy = folder / "copy"
        shutil.copytree(run, copy)
        files = sorted(path for path in copy.rglob("*") if path.is_file() and path.name != "lock")
        file = chance.choice(files)
        before = file.read_bytes()
        way = mutate(file, other / file.relative_to(copy), chance)
        if file.exists() and file.read_bytes() == before:
            shutil.rmtree(copy)
            continue
        counts["changed folders"] += 1
        try:
            same = look(copy) in good[run]
            counts["loaded what was written" if same else f"FAILED: {file.name}, {way}: loaded something else"] += 1
        except LastLayerError:
            counts["refused with a message"] += 1
        except Exception as error:  # noqa: BLE001 - what a user would see as a traceback is what is looked for
            counts[f"FAILED: {file.name}, {way}: {type(error).__name__}: {error}"] += 1
        shutil.rmtree(copy)
    return counts


def _made(folder: Path, counts: Counter[str]) -> tuple[tuple[Path, Path], tuple[Path, Path]]:
    """Two finished runs, and two that were cut off, of different seeds."""
    data = write_data(folder)
    runs = []
    for seed in (1, 2):
        case = {"data": "table", "seed": seed, "checkpoint_minutes": 0.0}
        finished, cut_off = folder / f"finished {seed}", folder / f"cut off {seed}"
        assert os.waitpid(in_child(lambda case=case, run=finished: train(case, data, run)), 0)[1] == 0
        child = in_child(lambda case=case, run=cut_off: train(case, data, run))
        while not list(cut_off.glob("checkpoints/0003-*")):
            time.sleep(0.001)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        for half in cut_off.glob("checkpoints/.*"):
            shutil.rmtree(half)
        shutil.copytree(cut_off, folder / f"names {seed}")
        runs.append((finished, cut_off))
    first, second = (sorted(path.name for path in cut.glob("checkpoints/*-*")) for _, cut in runs)
    for theirs, ours in zip(second, first, strict=True):  # the same names, for swapping
        if theirs != ours:
            (runs[1][1] / "checkpoints" / theirs).rename(runs[1][1] / "checkpoints" / f"x{ours}")
    for path in list((runs[1][1] / "checkpoints").glob("x*")):
        path.rename(path.with_name(path.name[1:]))
    return (runs[0][0], runs[1][0]), (runs[0][1], runs[1][1])


def _states(run: Path, folder: Path) -> list[str]:
    """What resuming may begin with: each of the checkpoints."""
    found = [state(run)]
    copy = folder / "older"
    shutil.copytree(run, copy)
    newest = max(copy.glob("checkpoints/*-*"))
    shutil.rmtree(newest)
    found.append(state(copy))
    shutil.rmtree(copy)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--mutations", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    # Loaded once, before any child: the package and what it loads on its way. Nothing is computed here.
    import accelerate  # noqa: F401
    import datasets  # noqa: F401
    import pandas  # noqa: F401, ICN001 - loaded, not used
    import sklearn.datasets  # noqa: F401
    import torch

    import lastlayer.classifier  # noqa: F401

    torch.set_num_threads(1)
    failed = False
    for title, times, work in (("kills", given.kills, killed), ("mutations", given.mutations, mutated)):
        with tempfile.TemporaryDirectory() as folder:
            counts = work(times, Path(folder), given.seed) if times else Counter()
        print(f"{title}: {times:,}")
        for what, count in sorted(counts.items()):
            print(f"  {count:>6,}  {what}")
        failed = failed or any(what.startswith("FAILED") for what in counts)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
