"""The loop: the same to the bit for the same seed, the best epoch kept, stopped when asked."""

import math
import signal
import subprocess
import sys
import time
from itertools import chain

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lastlayer import Classifier
from lastlayer.classifier.config import Config
from lastlayer.classifier.data.columns import Column, TableSpec
from lastlayer.classifier.data.rows import Rows
from lastlayer.classifier.journal import Journal, Silent
from lastlayer.classifier.learning import training
from lastlayer.classifier.learning.batches import Examples, SeededBatches
from lastlayer.classifier.learning.interrupts import StopRequest, stop_on_interrupt
from lastlayer.classifier.network.model import ModelSpec, Network
from lastlayer.classifier.task import Task
from lastlayer.decisions import Policy
from tests.classifier.conftest import flowers, write_digits


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first) and first.keys() == second.keys()


def toy(rows=100, kind="multiclass"):
    """Examples of random numbers, and a network for them."""
    import datasets

    random = np.random.default_rng(0)
    spec = TableSpec((Column("a", "numeric"), Column("b", "numeric")), ("",))
    data = datasets.Dataset.from_dict({"a": random.normal(size=rows), "b": random.normal(size=rows)})
    classes = 2 if kind == "binary" else 3
    target = torch.from_numpy(random.integers(0, classes, rows))
    examples = Examples(Rows("table", data, [str(row) for row in range(rows)]), spec, target)
    torch.manual_seed(0)
    return examples, Network(ModelSpec(Task(kind, tuple(range(classes))), "mlp", spec, Policy(kind, classes)))


def run(network, rows, validation=None, request=None, listener=None, **settings):
    return training.train(
        network,
        rows,
        validation or rows,
        Config(**settings),
        kind="table",
        journal=Journal(listener or Silent()),
        request=request or StopRequest(),
        helper=training.accelerator(Config(**settings)),
    )


def test_the_same_seed_gives_the_same_weights_to_the_bit(tmp_path):
    folder = write_digits(tmp_path / "d", 8)
    trained = {
        workers: Classifier(epochs=3, workers=workers, verbose=False).fit(folder).record for workers in (0, 1, 2)
    }
    assert same(trained[0].weights, trained[1].weights)
    assert same(trained[0].weights, trained[2].weights)
    assert trained[0].predictions.equals(trained[2].predictions)
    again = Classifier(epochs=3, workers=0, verbose=False).fit(folder).record
    assert same(trained[0].weights, again.weights)
    other = Classifier(epochs=3, workers=0, seed=7, verbose=False).fit(folder).record
    assert not same(trained[0].weights, other.weights)


def test_the_callers_random_numbers_are_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    Classifier(epochs=1, verbose=False).fit(flowers(60), target="kind")
    assert torch.equal(torch.rand(3), expected)


def test_the_best_epoch_is_kept_and_not_the_last(heard):
    # the single network, whose validation rows choose alone
    model = Classifier(epochs=40, patience=5, lr=0.02, backbone="mlp", listener=heard).fit(flowers(90), target="kind")
    epochs = model.record.epochs
    losses = [epoch.validation_log_loss for epoch in epochs]
    best = model.record.data["training"]["best_epoch"]
    assert best == int(np.argmin(losses)) + 1
    assert [epoch.best for epoch in epochs] == [loss == min(losses[: i + 1]) for i, loss in enumerate(losses)]
    kept = model.record.predictions.to_pydict()
    rows = [i for i, split in enumerate(kept["split"]) if split == "validation"]
    logits = torch.tensor([[kept[f"logit({name})"][i] for name in model.classes_] for i in rows], dtype=torch.float64)
    target = torch.tensor([list(model.classes_).index(kept["target"][i]) for i in rows])
    assert F.cross_entropy(logits, target).item() == pytest.approx(min(losses), rel=1e-6)
    assert len(epochs) == best + 5 < 40
    heard.said(f"Stopped after epoch {len(epochs)}: epoch {best} has the lowest")


def test_train_loss_is_the_mean_over_rows_and_batches_hold_every_row_once():
    rows, network = toy(100)
    with torch.no_grad():
        for part in network.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.0
        whole = rows.__getitems__(list(range(100)))
        expected = F.cross_entropy(network(whole.inputs), whole.labelled).item()
    history = run(network, rows, epochs=1, lr=1e-8, batch_size=32)
    assert history.epochs[0].train_loss == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("rows", "size"), [(100, 32), (96, 32), (97, 32), (1, 32), (33, 32), (31, 32), (5, 1)])
def test_batches(rows, size):
    batches = SeededBatches(rows, size, seed=3)
    first = list(batches)
    assert sorted(chain.from_iterable(first)) == list(range(rows))
    assert len(first) == len(batches)
    if size > 1 and rows > 1:
        assert min(map(len, first)) > 1  # batch norm needs two
    batches.epoch = 1
    if rows > 5:
        assert list(batches) != first
    batches.epoch = 0
    assert list(batches) == first


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize("rows", [64, 61, 2])
def test_several_processes_share_each_batch(rows, processes):
    shares = [SeededBatches(rows, 32, 0, process, processes) for process in range(processes)]
    whole = SeededBatches(rows, 32, 0)
    for number, (batch, parts) in enumerate(zip(whole, zip(*shares, strict=True), strict=True)):
        if len(batch) >= 2 * processes:
            assert list(chain.from_iterable(parts)) == batch
            assert max(map(len, parts)) - min(map(len, parts)) <= 1
        else:
            assert list(parts) == [batch] * processes
        assert whole.size_of(number) == len(batch)
        assert sum(share.share(number) for share in shares) == pytest.approx(1)


def test_batch_size_makes_about_fifty_steps():
    assert [training.batch_size(Config(), rows) for rows in (10, 1259, 5_000, 100_000, 10**7)] == [
        32, 32, 128, 2048, 2048,
    ]  # fmt: skip
    assert training.batch_size(Config(batch_size=7), 1259) == 7


def test_expected_first_losses(heard):
    target = torch.tensor([0] * 90 + [1] * 10)
    knows_nothing, knows_the_prior = training.expected_losses(target, 2)
    assert knows_nothing == pytest.approx(math.log(2))
    assert knows_the_prior == pytest.approx(-(0.9 * math.log(0.9) + 0.1 * math.log(0.1)))
    Classifier(epochs=1, listener=heard).fit(flowers(90), target="kind")
    heard.said("First batch: loss", "about ln 3 = 1.0986", "class frequencies 1.0")


def test_a_loss_that_is_no_number_stops_with_advice(heard):
    rows, network = toy()
    with torch.no_grad():
        network.head.linear.weight.fill_(float("nan"))
    with pytest.raises(ValueError, match=r"loss became nan in epoch 1.*Lower lr \(now 0.5\)"):
        run(network, rows, epochs=3, lr=0.5)


def test_divergence_after_a_good_epoch_keeps_that_epoch(heard):
    rows, network = toy()

    class Poisoner(Silent):
        def epoch(self, epoch, of, seconds_left):
            if epoch.epoch == 2:
                with torch.no_grad():
                    network.head.linear.weight.fill_(float("nan"))

        def note(self, text):
            heard.note(text)

    history = run(network, rows, listener=Poisoner(), epochs=9)
    assert len(history.epochs) == 2
    assert all(weight.isfinite().all() for weight in history.best.values())
    heard.said("Stopped: the training loss became nan in epoch 3")


def test_a_request_stops_at_the_next_step_and_keeps_the_best_epoch():
    rows, network = toy()
    request = StopRequest()

    class Impatient(Silent):
        def epoch(self, epoch, of, seconds_left):
            request.made = epoch.epoch == 3

    history = run(network, rows, listener=Impatient(), request=request, epochs=50, patience=50)
    assert history.interrupted
    assert len(history.epochs) == 3
    assert history.best_epoch == min(history.epochs, key=lambda epoch: epoch.validation_log_loss).epoch
    assert same(history.best, network.state_dict())


def test_a_request_before_the_first_epoch_is_over_keeps_what_there_is():
    rows, network = toy()
    request = StopRequest()
    request.made = True
    history = run(network, rows, request=request, epochs=50)
    assert (history.interrupted, history.epochs, history.best_epoch) == (True, [], 0)
    assert history.best.keys() == network.state_dict().keys()


def test_the_first_interrupt_asks_and_the_second_stops():
    with stop_on_interrupt() as request:
        signal.raise_signal(signal.SIGINT)
        assert request.made
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):  # afterwards all is as before
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("after", ["epoch 2", "first batch"])
def test_ctrl_c_leaves_a_loadable_run(tmp_path, after):
    run = tmp_path / "run"
    command = [sys.executable, "-m", "lastlayer", "train", "digits", "--epochs", "1000", "--patience", "1000"]
    options = ["--batch-size", "1"] if after == "first batch" else []
    with subprocess.Popen([*command, *options, "--output", run], stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if after == "epoch 2" and line.lstrip().startswith("2/1000"):
                break
            if after == "first batch" and line.startswith("Training:"):
                time.sleep(3)  # in the middle of an epoch of 1,259 steps
                break
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        code = process.wait(60)
    assert "Traceback" not in rest
    assert "Interrupted after" in rest
    assert code == 130
    model = Classifier.load(run)
    assert model.record.data["training"]["interrupted"]
    assert model.predict("digits#1").shape == (1,)
    assert not (run / "checkpoints").exists()


def test_the_loop_takes_the_steps_of_a_bare_loop():
    """The same batches, losses and steps: nothing that the loop adds changes a weight."""
    rows, network = toy()
    _, copy = toy()
    copy.load_state_dict(network.state_dict())
    config = Config(epochs=2, batch_size=32)
    torch.manual_seed(1)
    history = run(network, rows, epochs=2, batch_size=32, patience=9)
    torch.manual_seed(1)
    optimizer = torch.optim.AdamW(copy.parameters(), lr=2e-3, weight_decay=0.01)
    order = SeededBatches(100, 32, config.seed)
    losses = []
    for epoch in (1, 2):
        order.epoch = epoch
        copy.train()
        for batch in order:
            fetched = rows.__getitems__(batch)
            loss = F.cross_entropy(copy(fetched.inputs), fetched.labelled)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert history.first_loss == pytest.approx(losses[0], rel=1e-5)
    assert history.best_epoch == 2
    for name, weight in copy.state_dict().items():
        torch.testing.assert_close(history.best[name], weight, rtol=1e-3, atol=1e-5)


def test_mixed_precision_trains(digit_folder):
    model = Classifier(epochs=6, precision="bf16", verbose=False).fit(digit_folder)
    assert all(weight.dtype is not torch.bfloat16 for weight in model.record.weights.values())
    assert model.evaluate()["accuracy"] > 0.5
    plain = Classifier(epochs=1, verbose=False).fit(digit_folder).record  # another precision in the same process
    assert same(plain.weights, Classifier(epochs=1, precision="no", verbose=False).fit(digit_folder).record.weights)
    assert plain.epochs[0].train_loss != model.record.epochs[0].train_loss  # the same seed, rounded otherwise


def test_a_device_that_is_not_there():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ValueError, match="no device 'cuda' here: found cpu"):
        Classifier(epochs=1, device="cuda", verbose=False).fit(flowers(60), target="kind")
