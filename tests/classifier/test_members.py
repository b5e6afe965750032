"""The members of a table's network: each row is unseen by one of them, and counts as often as every other."""

import numpy as np
import pandas as pd
import pytest
import torch

from lastlayer import Classifier
from lastlayer.classifier.data.columns import Column, TableSpec
from lastlayer.classifier.learning import optimisation
from lastlayer.classifier.network import members
from lastlayer.classifier.network.cells import Cells
from lastlayer.classifier.network.members import MEMBERS, TableMembers
from lastlayer.classifier.network.model import ModelSpec, Network
from lastlayer.classifier.task import Task
from lastlayer.decisions import Policy


def rows(count=64, columns=5):
    random = torch.Generator().manual_seed(0)
    numbers = torch.randn(count, columns, generator=random)
    return numbers, torch.randint(0, 3, (count, 1), generator=random)


def network():
    torch.manual_seed(0)
    columns = (*(Column(f"x{place}", "numeric") for place in range(5)), Column("c", "categorical", categories=("a",)))
    spec = ModelSpec(Task("multiclass", ("a", "b", "c")), "mlps", TableSpec(columns, ("",)), Policy("multiclass", 3))
    return Network(spec)


def test_rows_are_spread_over_the_members_by_their_contents():
    numbers, indices = rows(4_000)
    backbone = TableMembers(5, (3,))
    owner = backbone.owner(numbers, indices)
    assert torch.equal(owner, backbone.owner(numbers.clone(), indices.clone()))
    assert torch.bincount(owner, minlength=MEMBERS).min() > 400
    assert torch.equal(backbone.owner(numbers[::2], indices[::2]), owner[::2])


def test_no_member_learns_from_the_rows_that_it_is_to_judge():
    net = network()
    numbers, indices = rows()
    target = torch.zeros(64, dtype=torch.int64)
    net.train()
    owner = net.backbone.owner(numbers, indices)
    for row in (0, 17):
        net.zero_grad()
        net((numbers[row : row + 1], indices[row : row + 1]), target[:1]).backward()
        learns = net.backbone.first.weight.grad.flatten(1).abs().sum(1) > 0
        assert learns.sum() == MEMBERS - 1
        assert not learns[owner[row]]
        of_words = net.backbone.cells.vectors[0].weight.grad.unflatten(1, (MEMBERS, -1)).abs().sum((0, 2)) > 0
        assert torch.equal(of_words, learns)


def test_a_word_that_training_never_met_is_the_middle_of_the_others():
    numbers, _ = rows()
    backbone = TableMembers(5, (6,)).eval()
    x = backbone.cells(numbers, torch.tensor([0, 5] * 32).unsqueeze(1))
    assert not x[:, :, 5:].any()
    assert backbone.cells(numbers, torch.full((64, 1), 3))[:, :, 5:].any()


def test_the_vectors_of_a_column_of_very_many_words_stay_within_their_bound():
    for categories in (1_000, 200_000, 3_000_000):
        vectors = Cells(0, (categories,), MEMBERS).vectors[0]
        assert vectors.embedding_dim % MEMBERS == 0
        assert vectors.weight.numel() <= max(2**24, categories * MEMBERS)
    assert Cells(0, (1_000,), MEMBERS).width == 16


def test_the_loss_is_a_mean_over_rows(monkeypatch):
    monkeypatch.setattr(members, "_DROPOUT", 0.0)
    net = network().train()
    numbers, indices = rows()
    _, row = net.backbone.taught(numbers, indices)
    assert torch.bincount(row, minlength=64).tolist() == [MEMBERS - 1] * 64
    target, owner = torch.arange(64) % 3, net.backbone.owner(numbers, indices)
    each = net.head(net.backbone._each(numbers, indices))
    losses = torch.stack([torch.nn.functional.cross_entropy(one, target, reduction="none") for one in each])
    learns = torch.arange(MEMBERS).unsqueeze(1) != owner
    expected = ((losses * learns).sum(0) / (MEMBERS - 1)).mean()
    torch.testing.assert_close(net((numbers, indices), target), expected)


def test_logits_are_the_mean_of_the_members_logits():
    backbone = TableMembers(5, (3,)).eval()
    numbers, indices = rows()
    head = torch.nn.Linear(backbone.features, 3)
    each = head(backbone._each(numbers, indices))
    torch.testing.assert_close(head(backbone(numbers, indices)), each.mean(0))
    owner = backbone.owner(numbers, indices)
    torch.testing.assert_close(head(backbone.held_out(numbers, indices)), each[owner, torch.arange(64)])


def trained(**settings):
    """What an epoch of a training on labels that nothing can tell is held back by, and which epochs were best."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(80, 5)), columns=list("abcde")).assign(y=random.choice(["no", "yes"], 80))
    decays, lost = [], []
    with pytest.MonkeyPatch.context() as patch:
        set_rate = optimisation.set_rate

        def hearing(optimizer, rate):
            decays.append({group["weight_decay"] for group in optimizer.param_groups})
            set_rate(optimizer, rate)

        def seeing(self, numbers, indices, taught=TableMembers.taught):
            lost.append(self.lost)
            return taught(self, numbers, indices)

        patch.setattr(optimisation, "set_rate", hearing)
        patch.setattr(TableMembers, "taught", seeing)
        model = Classifier(epochs=14, batch_size=100, verbose=False, **settings).fit(frame, target="y")
    assert all(len(each) == 1 for each in decays)
    best = [epoch.best for epoch in model.record.epochs]
    return [each.pop() for each in decays], lost, best, model.record.data["notes"]


def test_weight_decay_grows_with_each_epoch_that_is_not_the_best_and_cells_are_hidden_after_three_in_a_row():
    decays, lost, best, notes = trained(lr=0.01)
    assert best[-4:] == [False] * 4
    assert lost == pytest.approx([optimisation.lost_after(best[:place]) for place in range(len(best))])
    assert lost[-1] > 0
    worse = np.cumsum([0, *(not each for each in best[:-1])])
    assert decays == pytest.approx(np.minimum(0.3 * 1.5**worse, 10).tolist())
    assert any(note.startswith("Weight decay: 0.3, and 1.5 times as much") for note in notes)


def test_hidden_cells_are_hidden_while_training_alone(monkeypatch):
    monkeypatch.setattr(members, "_DROPOUT", 0.0)
    backbone = TableMembers(5, (3,))
    numbers, indices = rows()
    torch.nn.init.zeros_(backbone.second.weight)
    torch.nn.init.zeros_(backbone.second.bias)
    whole = backbone._each(numbers, indices)
    backbone.lost = 0.3
    torch.manual_seed(0)
    features = backbone._each(numbers, indices)[0] - backbone.straight.bias[0]
    seen = torch.linalg.lstsq(backbone.straight.weight[0].T, features.T).solution.T
    seen, cells = seen[:, :5], numbers  # a word's vector may be 0 by itself
    hidden = seen.abs() < 1e-4
    assert hidden.float().mean().item() == pytest.approx(0.3, abs=0.05)
    torch.testing.assert_close(seen[~hidden], (cells / 0.7)[~hidden], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(backbone.eval()._each(numbers, indices), whole)


@pytest.mark.parametrize("settings", [{"weight_decay": 0.2}, {"backbone": "mlp"}])
def test_weight_decay_stays_where_it_is_named_and_of_other_networks(settings):
    decays, lost, best, notes = trained(lr=0.01, **settings)
    assert not all(best)
    assert not any(lost)
    assert set(decays) == {settings.get("weight_decay", 0.01)}
    assert not any(note.startswith("Weight decay") for note in notes)
