"""Images changed at random, and figures of epochs for trackers: the same whoever fetches them, and said."""

import csv
import random
from pathlib import Path
from types import SimpleNamespace

import accelerate.tracking
import accelerate.utils
import numpy as np
import pytest
import torch
from PIL import Image

from lastlayer import Classifier
from lastlayer.classifier.config import Config
from lastlayer.classifier.data.images import from_pictures
from lastlayer.classifier.data.pixels import ImageSpec
from lastlayer.classifier.data.rows import Rows
from lastlayer.classifier.journal import Journal, Silent
from lastlayer.classifier.learning import augmentation, tracking, training
from lastlayer.classifier.learning.augmentation import Augmentation, Mixing, Varied
from lastlayer.classifier.learning.batches import Batch, Examples
from lastlayer.classifier.task import Task
from lastlayer.errors import ConfigError, DataError, MissingExtraError
from tests.classifier.conftest import flowers

COLOUR = ImageSpec(3, 16, (0.4, 0.5, 0.6), (0.2, 0.2, 0.2), 10**6)
GREY = ImageSpec(1, 16, (0.4,), (0.2,), 10**6)


def pictures(count, spec):
    """Examples of random images, and their pixels."""
    from io import BytesIO

    chance = np.random.default_rng(0)
    found = []
    for _ in range(count):
        buffer = BytesIO()
        Image.fromarray(chance.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(buffer, "PNG")
        found.append({"path": None, "bytes": buffer.getvalue()})
    rows = Rows("image", from_pictures(found), [str(row) for row in range(count)])
    return Examples(rows, spec, torch.arange(count) % 3)


@pytest.mark.parametrize("spec", [COLOUR, GREY], ids=["colour", "grey"])
@pytest.mark.parametrize("policy", ["auto", "rand-m9-mstd0.5", "augmix-m3-w3", "original"])
def test_an_image_changes_by_seed_epoch_and_row_alone(spec, policy):
    examples = pictures(6, spec)
    change = augmentation.augmentation(Config(augment=policy), spec, Journal(Silent()))
    varied = Varied(examples, change)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002 - the caller's, which are left alone
    torch.manual_seed(1)
    before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state())  # noqa: NPY002
    first = varied.__getitems__((1, [0, 1, 2, 3, 4, 5])).inputs[0]
    assert before[0] == random.getstate()
    assert before[1] == np.random.get_state()[1].tolist()  # noqa: NPY002
    assert torch.equal(before[2], torch.get_rng_state())
    random.seed(2)
    again = varied.__getitems__((1, [5, 3, 1])).inputs[0]  # in another company, in another order
    assert torch.equal(again, first[[5, 3, 1]])
    assert not torch.equal(varied.__getitems__((2, [0, 1, 2, 3, 4, 5])).inputs[0], first)
    assert not torch.equal(examples.__getitems__(range(6)).inputs[0], first)
    assert first.dtype == torch.uint8
    assert first.shape == (6, spec.channels, 16, 16)


def test_only_colour_images_are_mirrored(heard):
    assert augmentation.augmentation(Config(augment="auto"), COLOUR, Journal(heard)).mirror
    heard.said("Augmentation: parts of 70 to 100 %", "every second one mirrored")
    assert not augmentation.augmentation(Config(augment="auto"), GREY, Journal(heard)).mirror
    heard.said("none is mirrored, because grey images are often writing")
    assert augmentation.augmentation(Config(), COLOUR, Journal(heard)) is None
    mirrored = Augmentation("rand-m5-inc1", crop=False, mirror=True, seed=0, spec=COLOUR)
    mirrored.__dict__["_change"] = lambda image: image  # nothing but the mirror
    image = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    made = {np.asarray(mirrored(image, 0, row))[0, 0, 0] for row in range(30)}
    assert made == {0, 9}


def test_what_timm_draws_and_pillow_refuses_is_told():
    change = Augmentation("rand-m0-n8", crop=False, mirror=False, seed=0, spec=COLOUR)
    image = Image.fromarray(np.zeros((4, 4, 3), np.uint8))

    def draw():
        for row in range(50):
            change(image, 0, row)

    with pytest.raises(ConfigError, match=r"rand-m0-n8 asks Pillow for what it refuses.*with -inc1"):
        draw()


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"mixup": 0.4}, "multiclass"),
        ({"cutmix": 1.0}, "multiclass"),
        ({"mixup": 0.4, "cutmix": 1.0}, "multilabel"),
        ({"mixup": 0.4}, "binary"),
    ],
)
@pytest.mark.parametrize("rows", [1, 2, 7, 8])
def test_targets_are_mixed_as_the_pixels_are(settings, kind, rows):
    classes = 2 if kind == "binary" else 3
    target = torch.arange(rows) % classes
    truth = torch.nn.functional.one_hot(target, classes)
    if kind == "multilabel":
        target = truth = torch.tensor([[1, row % 2, 0] for row in range(rows)])
    # Every pixel of an image is its number, so that a mixed image tells what it is made of.
    pixels = torch.arange(rows, dtype=torch.uint8).reshape(-1, 1, 1, 1).expand(rows, 1, 16, 16).contiguous()
    mixing = Mixing(Config(**settings), Task(kind, tuple(range(classes))))
    shares = set()
    for step in range(6):
        found = mixing(Batch((pixels,), target, {}), 1, step)
        again = mixing(Batch((pixels,), target, {}), 1, step)
        assert torch.equal(found.inputs[0], again.inputs[0])
        for row in range(rows):
            middle = rows % 2 == 1 and row == rows - 1
            other = row if middle else rows - rows % 2 - 1 - row
            mean = found.inputs[0][row].mean().item()
            share = 1.0 if other == row else (mean - other) / (row - other)
            expected = share * truth[row] + (1 - share) * truth[other]
            soft = found.labelled[row]
            torch.testing.assert_close(soft, expected[1] if kind == "binary" else expected, atol=1e-5, rtol=0)
            shares.add(round(share, 3))
    assert torch.equal(pixels[:, 0, 0, 0], torch.arange(rows, dtype=torch.uint8))  # what was read is left alone
    assert rows == 1 or len(shares) > 3


def test_mixing_trains(digit_folder, heard):
    model = Classifier(epochs=4, mixup=0.2, cutmix=1.0, augment="auto", listener=heard).fit(digit_folder)
    heard.said("Mixing: mixup (α = 0.2) and cutmix (α = 1), one or the other in each batch")
    assert model.record.epochs[-1].train_loss < model.record.epochs[0].train_loss


@pytest.mark.parametrize("policy", ["", "rnd-m9", "rand_m9", "v9"])
def test_a_policy_that_timm_does_not_read(policy):
    with pytest.raises(ConfigError, match="augment has to be 'none', 'auto', or a policy of timm"):
        augmentation.check(Config(augment=policy))


@pytest.mark.parametrize("settings", [{"augment": "auto"}, {"mixup": 0.2}, {"cutmix": 1.0}])
def test_tables_are_not_augmented(settings):
    with pytest.raises(ConfigError, match="is for images, and DataFrame is a table: leave it out"):
        Classifier(epochs=1, verbose=False, **settings).fit(flowers(), "kind")


# Trackers


def test_metrics_csv_is_there_while_it_trains_and_after(tmp_path):
    seen = []

    class Looking(Silent):
        def epoch(self, epoch, of, seconds_left):
            seen.append(len((tmp_path / "run" / "metrics.csv").read_text().splitlines()))

    Classifier(epochs=3, listener=Looking()).fit(flowers(), "kind", output=tmp_path / "run")
    assert seen == [2, 3, 4]
    with (tmp_path / "run" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    epochs = Classifier.load(tmp_path / "run").record.epochs
    assert [float(row["validation_log_loss"]) for row in rows] == [epoch.validation_log_loss for epoch in epochs]
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3]


def test_metrics_csv_is_added_to_for_who_follows_it(tmp_path, monkeypatch):
    whole, write = [], Path.write_bytes

    def heard(path, content):  # which cuts a file off for a moment, and `tail -f` reads it all again
        whole.append(path.name)
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", heard)
    read = []

    class Following(Silent):
        def epoch(self, epoch, of, seconds_left):
            file = tmp_path / "run" / "metrics.csv"
            read.append((file.stat().st_ino, file.read_bytes()[sum(len(part) for _, part in read) :]))

    Classifier(epochs=3, listener=Following()).fit(flowers(), "kind", output=tmp_path / "run")
    assert whole.count("metrics.csv") == 1
    assert len({inode for inode, _ in read}) == 1
    assert [part.count(b"\n") for _, part in read] == [2, 1, 1]
    assert b"".join(part for _, part in read) == (tmp_path / "run" / "metrics.csv").read_bytes()


@pytest.fixture
def tracker(monkeypatch):
    """What a tracker hears, in order."""
    heard = []

    class Stub(accelerate.tracking.GeneralTracker):
        name, requires_logging_directory = "tensorboard", True

        def __init__(self, run_name, logging_dir, **options):
            super().__init__()
            heard.append(("made", run_name, str(logging_dir)))

        def start(self):
            heard.append(("started",))

        @property
        def tracker(self):
            return self

        def store_init_configuration(self, values):
            heard.append(("settings", values["epochs"], values["seed"], values["data"]))

        def log(self, values, step=None, **options):
            heard.append((step, values))

        def finish(self):
            heard.append(("finished",))

    monkeypatch.setitem(accelerate.tracking.LOGGER_TYPE_TO_CLASS, "tensorboard", Stub)
    monkeypatch.setattr(accelerate.tracking, "is_tensorboard_available", lambda: True)
    monkeypatch.setattr(
        accelerate.tracking, "get_available_trackers", lambda: [accelerate.utils.LoggerType.TENSORBOARD]
    )
    monkeypatch.setattr(tracking, "find_spec", lambda name: object())
    return heard


def test_a_tracker_hears_each_epoch_and_the_scores(tmp_path, tracker, flower_table):
    model = Classifier(epochs=2, verbose=False, track=["tensorboard"])
    model.fit(flower_table, "kind", output=tmp_path / "run")
    assert tracker[2] == ("settings", 2, 42, str(flower_table))
    (first, figures), (second, _), (last, scores) = tracker[3:6]
    assert (first, second, last) == (1, 2, 2)
    assert sorted(figures) == ["learning_rate", "seconds", "train_loss", "validation_accuracy", "validation_log_loss"]
    assert figures["validation_log_loss"] == model.record.epochs[0].validation_log_loss
    assert scores["test/log_loss"] == model.evaluate()["log_loss"]
    assert tracker[6:] == [("finished",)]
    assert any(note.startswith("Trackers: tensorboard in ") for note in model.record.data["notes"])


def test_a_tracker_of_a_training_that_fails_is_closed(tmp_path, tracker, monkeypatch):
    def fails(*_):
        raise DataError("no figures")

    monkeypatch.setattr(training, "_judge", fails)
    with pytest.raises(DataError, match="no figures"):
        Classifier(verbose=False, track=["tensorboard"]).fit(flowers(), "kind", output=tmp_path / "run")
    assert tracker[-1] == ("finished",)


def test_the_end_of_trackers_parts_no_processes():
    class Tracker:
        ended = 0

        def finish(self):
            self.ended += 1

    def end_training():
        raise AssertionError("Accelerate's own end destroys the process group")

    one = Tracker()
    helper = SimpleNamespace(trackers=[one], end_training=end_training, init_trackers=lambda *_, **__: None)
    trackers = tracking.Trackers(helper, Path("run"), Config(track=("tensorboard",)))
    trackers.end()
    trackers.end()
    assert one.ended == 1


@pytest.mark.parametrize("main", [True, False])
@pytest.mark.parametrize("there", [True, False])
def test_a_run_that_goes_on_is_found_in_mlflow(monkeypatch, main, there):
    asked = []

    def search(**question):
        asked.append(question)
        return [SimpleNamespace(info=SimpleNamespace(run_id="theirs"))] if there else []

    stub = SimpleNamespace(get_experiment_by_name=lambda name: name == "mine" or None, search_runs=search)
    monkeypatch.setattr(tracking, "need", lambda name: stub)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    options = tracking._of_mlflow(Path("runs/a"), "ours", SimpleNamespace(is_main_process=main))
    assert (options["run_name"], options["tags"]) == ("a", {"lastlayer.run": "ours"})
    assert options.get("run_id") == ("theirs" if main and there else None)
    assert [question["filter_string"] for question in asked] == ["tags.`lastlayer.run` = 'ours'"] * main


def test_tensorboard_writes_into_the_run(tmp_path):
    pytest.importorskip("tensorboard")
    Classifier(epochs=2, verbose=False, track=["tensorboard"]).fit(flowers(), "kind", output=tmp_path / "run")
    assert list((tmp_path / "run").rglob("events.out.tfevents.*"))
    Classifier.load(tmp_path / "run")


def test_trackers_that_cannot_be():
    with pytest.raises(ConfigError, match="track has to be one of tensorboard, wandb, mlflow, got 'tensorbord'"):
        tracking.check(Config(track=("tensorbord",)), None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracking, "find_spec", lambda name: None)
        with pytest.raises(MissingExtraError, match=r"not installed\. Install it with: pip install mlflow"):
            tracking.check(Config(track=("mlflow",)), None)
        patch.setattr(tracking, "find_spec", lambda name: object())
        with pytest.raises(ConfigError, match="goes with a run that is kept: name its output"):
            tracking.check(Config(track=("mlflow",)), None)
