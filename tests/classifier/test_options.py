"""Options of training: what each does to a step, and where it is refused."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.optim.optimizer import register_optimizer_step_pre_hook

from lastlayer import Classifier
from lastlayer.classifier.config import Config
from lastlayer.classifier.data.columns import Column, TableSpec
from lastlayer.classifier.data.rows import Rows
from lastlayer.classifier.journal import Journal, Silent
from lastlayer.classifier.learning import linear_share, optimisation, training
from lastlayer.classifier.learning.batches import Examples
from lastlayer.classifier.learning.interrupts import StopRequest
from lastlayer.classifier.learning.loop import Loop, in_parts
from lastlayer.classifier.network import objective
from lastlayer.classifier.network.model import ModelSpec, Network
from lastlayer.classifier.network.objective import Objective
from lastlayer.classifier.task import Task
from lastlayer.decisions import Policy
from lastlayer.errors import ConfigError, DataNotFoundError
from tests.classifier.conftest import flowers

WEIGHTED = Objective(weight=(0.5, 1.0, 2.5))


def toy(rows, options=None, kind="multiclass", backbone="mlp"):
    """Random rows and a network without dropout for them, the same each time."""
    import datasets

    random = np.random.default_rng(0)
    spec = TableSpec((Column("a", "numeric"), Column("b", "numeric")), ("",))
    data = datasets.Dataset.from_dict({"a": random.normal(size=rows), "b": random.normal(size=rows)})
    classes = 2 if kind == "binary" else 3
    target = torch.from_numpy(random.integers(0, 2 if kind == "multilabel" else classes, (rows, 3)))
    target = target if kind == "multilabel" else target[:, 0]
    examples = Examples(Rows("table", data, [str(row) for row in range(rows)]), spec, target)
    torch.manual_seed(0)
    task = Task(kind, tuple(range(classes)))
    network = Network(ModelSpec(task, backbone, spec, Policy(kind, classes), options or Objective()))
    for part in network.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    return examples, network


def steps(rows=101, options=None, kind="multiclass", journal=None, **settings):
    """The gradients of an epoch's steps, the losses, and the network after them."""
    examples, network = toy(rows, options, kind)
    config = Config(epochs=1, device="cpu", **{"batch_size": 32, **settings})
    gradients = []

    def keep(optimizer, *rest):
        flat = [weight.grad.flatten() for group in optimizer.param_groups for weight in group["params"]]
        gradients.append(torch.cat(flat))

    hook = register_optimizer_step_pre_hook(keep)
    try:
        history = training.train(
            network, examples, examples, config, kind="table", journal=journal or Journal(Silent()),
            request=StopRequest(), helper=training.accelerator(config),
        )  # fmt: skip
    finally:
        hook.remove()
    return gradients, history, network


# Gradient accumulation


@pytest.mark.parametrize("parts", [2, 3, 5, 16, 1000])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("multiclass", Objective()),
        ("multiclass", WEIGHTED),
        ("multiclass", Objective(weight=(0.5, 1.0, 2.5), label_smoothing=0.1, z_loss=1e-2)),
        ("binary", Objective(pos_weight=(4.0,), focal_gamma=2.0)),
        ("multilabel", Objective(pos_weight=(4.0, 1.0, 0.5))),
    ],
    ids=["plain", "weighted", "all", "binary", "multilabel"],
)
def test_accumulated_gradients_are_those_of_the_whole_batch(parts, kind, options):
    whole, expected, _ = steps(101, options, kind)  # the last batch has 5 rows
    gradients, history, _ = steps(101, options, kind, accumulate=parts)
    assert len(gradients) == len(whole) == 4
    assert whole[0].abs().max() > 0.01
    torch.testing.assert_close(gradients[0], whole[0], rtol=0, atol=1e-6)
    for found, truth in zip(gradients, whole, strict=True):
        torch.testing.assert_close(found, truth, rtol=0, atol=1e-5)
    assert history.first_loss == pytest.approx(expected.first_loss, abs=1e-6)
    assert history.epochs[0].train_loss == pytest.approx(expected.epochs[0].train_loss, abs=1e-6)


def test_parts_have_two_rows_at_least_and_hold_each_once():
    examples, _ = toy(7)
    batch = examples.__getitems__(range(7))
    for parts in (1, 2, 3):
        divided = in_parts(batch, parts)
        assert len(divided) == parts
        assert min(len(part.labelled) for part in divided) >= 2
        assert torch.equal(torch.cat([part.labelled for part in divided]), batch.labelled)
        assert torch.equal(torch.cat([part.inputs[0] for part in divided]), batch.inputs[0])
    assert in_parts(batch, 1)[0] is batch


def test_the_weighted_gradient_of_all_batches_is_that_of_all_rows():
    """Weights are 1 on average over all rows, and not over each batch, whose mixture of classes is its own."""
    examples, network = toy(96, WEIGHTED)
    whole = examples.__getitems__(range(96))
    network(whole.inputs, whole.labelled).backward()
    expected = [weight.grad.clone() for weight in network.parameters()]
    network.zero_grad()
    for start in range(0, 96, 32):
        batch = examples.__getitems__(range(start, start + 32))
        (network(batch.inputs, batch.labelled) / 3).backward()
    for weight, truth in zip(network.parameters(), expected, strict=True):
        torch.testing.assert_close(weight.grad, truth, rtol=0, atol=1e-6)


# A memory that is too small


def out_of_memory_beyond(network, rows, error=None):
    """Make a network that cannot take more rows at a time, as a GPU whose memory is full."""
    forward = network.forward

    def small(inputs, target=None):
        if target is not None and len(target) > rows:
            raise error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return forward(inputs, target)

    network.forward = small


@pytest.mark.parametrize(
    "error", [None, RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")]
)
def test_a_full_memory_halves_the_parts_and_keeps_the_step(monkeypatch, heard, error):
    whole, expected, _ = steps(101)
    made = Network.__init__

    def small(self, *args, **options):
        made(self, *args, **options)
        out_of_memory_beyond(self, 9, error)

    monkeypatch.setattr(Network, "__init__", small)
    gradients, history, _ = steps(101, journal=Journal(heard))
    torch.testing.assert_close(gradients[0], whole[0], rtol=0, atol=1e-6)
    assert history.epochs[0].train_loss == pytest.approx(expected.epochs[0].train_loss, abs=1e-6)
    said = [note for note in heard.notes if note.startswith("The memory")]
    assert len(said) == 2  # 32 rows, 16 rows, and 8 fit
    assert "too small for 32 rows at a time: from here on each batch is computed in 2 parts" in said[0]
    assert "too small for 16 rows at a time: from here on each batch is computed in 4 parts" in said[1]
    assert "A step still takes the gradient of 32 rows" in said[1]


def test_a_memory_too_small_for_two_rows_is_refused(monkeypatch):
    made = Network.__init__

    def small(self, *args, **options):
        made(self, *args, **options)
        out_of_memory_beyond(self, 1)

    monkeypatch.setattr(Network, "__init__", small)
    with pytest.raises(ConfigError, match="too small even for 2 rows at a time: take a smaller backbone"):
        steps(64)


def test_other_errors_are_not_taken_for_a_full_memory(monkeypatch):
    made = Network.__init__

    def broken(self, *args, **options):
        made(self, *args, **options)
        out_of_memory_beyond(self, 0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))

    monkeypatch.setattr(Network, "__init__", broken)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        steps(64)


# Schedule and clipping


def test_schedules():
    factor = optimisation.factor
    assert [factor(step, 100, 0, "constant") for step in (0, 50, 99)] == [1, 1, 1]
    cosine = [factor(step, 101, 0, "cosine") for step in range(101)]
    assert cosine[0] == 1
    assert cosine[50] == pytest.approx(0.505)
    assert cosine[100] == pytest.approx(0.01)
    assert cosine == sorted(cosine, reverse=True)
    warm = [factor(step, 100, 10, "linear") for step in range(100)]
    assert warm[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert warm[10] == 1
    assert warm[99] == pytest.approx(0.01)
    assert factor(0, 1, 0, "cosine") == 1  # a single step


def test_the_rate_of_each_step_is_what_the_optimizer_gets():
    rates = []

    def keep(optimizer, *rest):
        rates.append(optimizer.param_groups[0]["lr"])

    examples, network = toy(96)
    config = Config(epochs=2, batch_size=32, lr=0.01, schedule="cosine", warmup=0.5, device="cpu")
    hook = register_optimizer_step_pre_hook(keep)
    training.train(
        network, examples, examples, config, kind="table", journal=Journal(Silent()), request=StopRequest(),
        helper=training.accelerator(config),
    )  # fmt: skip
    hook.remove()
    assert rates == pytest.approx([0.01 * optimisation.factor(step, 6, 1.5, "cosine") for step in range(6)])
    assert len(set(rates)) > 3


def test_gradients_are_clipped_to_their_norm():
    free, _, _ = steps(32)
    clipped, _, _ = steps(32, clip_norm=0.01)
    assert free[0].norm() > 0.02
    assert clipped[0].norm().item() == pytest.approx(0.01, rel=1e-3)
    torch.testing.assert_close(clipped[0] / clipped[0].norm(), free[0] / free[0].norm(), rtol=1e-3, atol=1e-5)
    loose, _, _ = steps(32, clip_norm=1e4)
    assert torch.equal(loose[0], free[0])


# Losses


def test_class_weights_are_those_of_the_rows():
    task, counts = Task("multiclass", ("a", "b", "c")), [10, 30, 60]
    balanced = objective.objective(Config(class_weights="balanced"), task, counts, 100)
    assert balanced.weight == pytest.approx((100 / 30, 100 / 90, 100 / 180))
    given = objective.objective(Config(class_weights={"a": 4, "c": 2}), task, counts, 100)
    assert sum(weight * count for weight, count in zip(given.weight, counts, strict=True)) == pytest.approx(100)
    assert given.weight[0] == pytest.approx(4 * given.weight[1])
    again = objective.objective(
        objective.portable(Config(class_weights="balanced"), balanced, task), task, [1, 1, 98], 100
    )
    assert again.weight[0] / again.weight[2] == pytest.approx(6)  # no longer of the rows
    binary = Task("binary", ("no", "yes"))
    assert objective.objective(Config(class_weights="balanced"), binary, [90, 10], 100).pos_weight == pytest.approx(
        (9,)
    )
    assert objective.objective(Config(pos_weight=2.5), binary, [90, 10], 100).pos_weight == (2.5,)
    labels = Task("multilabel", ("x", "y"))
    assert objective.objective(Config(pos_weight="balanced"), labels, [20, 50], 100).pos_weight == (4.0, 1.0)
    assert objective.objective(Config(pos_weight="y=3"), labels, [20, 50], 100).pos_weight == (1.0, 3.0)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("w.json", '{"a": 2, "b,c": 3}'),
        ("w.yaml", "a: 2\n'b,c': 3\n"),
        ("w.csv", 'class,weight\na,2\n"b,c",3\n'),
        ("w.csv", 'a,2\n"b,c",3\n'),
    ],
)
def test_weights_come_from_a_file(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    task = Task("multiclass", ("a", "b,c"))
    config = Config(class_weights=str(tmp_path / name))
    found = objective.objective(config, task, [50, 50], 100)
    assert found.weight == pytest.approx((0.8, 1.2))
    kept = objective.portable(config, found, task)  # no file has to travel
    (tmp_path / name).unlink()
    assert objective.objective(kept, task, [50, 50], 100).weight == pytest.approx((0.8, 1.2))


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("multiclass", {"pos_weight": 2}, "pos_weight is for yes or no or several labels.*Take class_weights"),
        ("multiclass", {"focal_gamma": 1}, "focal_gamma is for yes or no or several labels"),
        ("binary", {"z_loss": 0.1}, "z_loss is for one of several classes, and this task asks for yes or no"),
        ("multilabel", {"class_weights": "balanced"}, "this task asks for several labels.*Take pos_weight"),
        ("multiclass", {"class_weights": "d=2"}, "class_weights names d, and the classes are a, b, c"),
        ("multiclass", {"class_weights": "balance"}, "has to be 'balanced', weights by class"),
        ("multiclass", {"class_weights": "a=0"}, "has to be a number above 0, got 'a=0'"),
        ("multiclass", {"class_weights": "a=nan"}, "above 0"),
        ("binary", {"pos_weight": "many"}, "has to be a number or 'balanced', got 'many'"),
        ("binary", {"pos_weight": "-1"}, "above 0"),
    ],
)
def test_what_does_not_fit_is_refused(kind, settings, message):
    task = Task(kind, ("no", "yes") if kind == "binary" else ("a", "b", "c"))
    with pytest.raises(ConfigError, match=message):
        objective.objective(Config(**settings), task, [10] * len(task.classes), 30)


def test_files_of_weights_that_are_none(tmp_path):
    task = Task("multiclass", ("a", "b"))
    with pytest.raises(DataNotFoundError, match=r"no file .* with weights of classes"):
        objective.objective(Config(class_weights=str(tmp_path / "w.json")), task, [1, 1], 2)
    for name, content in (("a.json", "{"), ("b.json", "[1]"), ("c.csv", "a,1,2"), ("d.yaml", "{"), ("e.yaml", "")):
        (tmp_path / name).write_text(content)
        with pytest.raises(ConfigError, match=name):
            objective.objective(Config(class_weights=str(tmp_path / name)), task, [1, 1], 2)


def test_settings_that_exclude_each_other():
    with pytest.raises(ConfigError, match="class_weights and pos_weight both weigh yes against no"):
        objective.check(Config(class_weights="balanced", pos_weight=2))


def test_options_travel_with_the_model(tmp_path):
    model = Classifier(epochs=2, verbose=False, class_weights="balanced", label_smoothing=0.05).fit(flowers(), "kind")
    spec = model.record.spec
    assert ModelSpec.from_dict(spec.to_dict()) == spec
    again = Classifier.load(model.save(tmp_path / "run"))
    assert again.record.spec.objective == spec.objective
    np.testing.assert_array_equal(again.predict_logits(flowers(20)), model.predict_logits(flowers(20)))


def test_the_epoch_is_chosen_by_logits_without_the_weights():
    logits = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)
    found = objective.unweighted(logits, WEIGHTED, Task("multiclass", (0, 1, 2)))
    torch.testing.assert_close(found, logits - torch.tensor(WEIGHTED.weight, dtype=torch.float64).log())
    plain = Objective(label_smoothing=0.1)
    assert objective.unweighted(logits, plain, Task("multiclass", (0, 1, 2))) is logits
    one = objective.unweighted(torch.tensor([1.0]).double(), Objective(pos_weight=(math.e,)), Task("binary", (0, 1)))
    assert one.item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("backbone", ["mlp", "mlps"])
def test_the_validation_loss_is_of_the_data_as_it_is(backbone, monkeypatch):
    """Of logits without the weights; with members also of training rows, each judged by what has not seen it."""
    monkeypatch.setattr(linear_share, "add", lambda network, rows: None)  # which comes after the epochs
    (rows, network), (validation, _) = toy(60, WEIGHTED, backbone=backbone), toy(30, WEIGHTED)
    config = Config(epochs=1, device="cpu", batch_size=32)
    history = training.train(
        network, rows, validation, config, kind="table", journal=Journal(Silent()), request=StopRequest(),
        helper=training.accelerator(config),
    )  # fmt: skip
    network.eval()
    judges = [(network, validation.__getitems__(range(30)))]
    if backbone == "mlps":
        judges.append((network.held_out(), rows.__getitems__(range(60))))
    with torch.no_grad():
        logits = torch.cat([judge(batch.inputs) for judge, batch in judges]).double()
    target = torch.cat([batch.labelled for _, batch in judges])
    expected = F.cross_entropy(logits - torch.tensor(WEIGHTED.weight, dtype=torch.float64).log(), target)
    assert history.epochs[0].validation_log_loss == pytest.approx(expected.item(), rel=1e-6)


def test_smoothing_and_z_loss_are_in_the_loss():
    examples, network = toy(50, Objective(label_smoothing=0.2, z_loss=0.5))
    batch = examples.__getitems__(range(50))
    logits = network(batch.inputs)
    expected = F.cross_entropy(logits, batch.labelled, label_smoothing=0.2) + 0.5 * logits.logsumexp(1).square().mean()
    assert network(batch.inputs, batch.labelled).item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_loop_says_what_its_first_loss_is_not(heard):
    Classifier(epochs=1, listener=heard, class_weights="balanced").fit(flowers(), "kind")
    heard.said("Loss: classes weighted iris")
    heard.said("First batch: loss", "which weights, focal factor or smoothing change")


def test_a_loop_counts_from_where_it_is():
    examples, network = toy(96)
    config = Config(epochs=3, batch_size=32, lr=1e-3, device="cpu", schedule="linear")
    loop = Loop(network, examples, config, "table", Journal(Silent()), StopRequest(), training.accelerator(config))
    loop.number, loop.step = 2, 1
    assert loop.rate() == pytest.approx(config.lr * optimisation.factor(4, 9, 0, "linear"))
