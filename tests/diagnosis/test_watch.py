"""Watching changes nothing, and says what it saw once per place."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import lastlayer
from tests.diagnosis.models import CLASSES, target


def train(*, activation=None, compiled=False, steps=6):
    """Losses and weights of a training with dropout, batch norm and momentum."""
    torch.manual_seed(0)
    layers = [nn.Linear(7, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, CLASSES)]
    model = nn.Sequential(*layers, *([activation] if activation else []))
    run = torch.compile(model, backend="aot_eager") if compiled else model
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    x, y, losses = torch.randn(24, 7), target(), []
    for _ in range(steps):
        model.train()
        loss = criterion(run(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach().clone())
        model.eval()
        with torch.no_grad():
            losses.append(criterion(run(x), y))
    return [*losses, *model.state_dict().values(), torch.rand(3)]


@pytest.mark.parametrize("options", [{}, {"activation": nn.Softmax(1)}, {"compiled": True}], ids=str)
def test_training_is_bit_identical(options):
    torch._dynamo.reset()
    alone = train(**options)
    torch._dynamo.reset()
    with lastlayer.watch(show=False):
        watched = train(**options)
    assert all(torch.equal(one, other) for one, other in zip(alone, watched, strict=True))


def test_what_was_replaced_is_put_back():
    before = F.cross_entropy, F.softmax, F.dropout, F.batch_norm, torch.Tensor.backward
    with lastlayer.watch(show=False), lastlayer.watch(show=False):
        assert F.cross_entropy is not before[0]
        assert F.cross_entropy.__name__ == "cross_entropy"
    assert (F.cross_entropy, F.softmax, F.dropout, F.batch_norm, torch.Tensor.backward) == before


def test_each_place_is_told_once(capsys):
    with lastlayer.watch() as report:
        train(activation=nn.Softmax(1), steps=20)
    assert report.codes == ["LL001"]
    assert capsys.readouterr().err.count("LL001") == 1
    assert report[0].location.file == __file__


def test_two_places_are_told_twice():
    z = nn.Parameter(torch.zeros(24, CLASSES))
    with lastlayer.watch(show=False) as report:
        F.cross_entropy(z.softmax(1), target()).backward()
        for _ in range(12):
            pass
        # far enough below to be another place
        #
        #
        #
        #
        #
        #
        #
        F.cross_entropy(z.softmax(1), target()).backward()
    assert report.codes == ["LL001", "LL001"]
    assert report[0].location != report[1].location


def test_an_exception_of_the_block_is_explained_and_not_swallowed():
    watching = lastlayer.watch(show=False)
    with pytest.raises(IndexError), watching:
        F.cross_entropy(torch.zeros(24, CLASSES), target() + 1)
    assert watching.report.codes == ["LL105"]
    watching = lastlayer.watch(show=False)
    with pytest.raises(ZeroDivisionError), watching:
        F.cross_entropy(torch.zeros(24, CLASSES), target()).item() / 0
    assert watching.report.verdict == "cannot tell"


def test_a_target_that_is_no_tensor():
    with pytest.raises(TypeError), lastlayer.watch(show=False) as report:
        F.cross_entropy(torch.zeros(2, CLASSES), [0, 1])
    assert report.codes == ["LL208"]


def test_softmax_without_dim_is_told():
    with pytest.warns(UserWarning, match="Implicit dimension"), lastlayer.watch(show=False) as report:
        F.softmax(torch.zeros(2, 3))
    assert "LL201" in report.codes


def test_compiled_training_cannot_be_told():
    torch._dynamo.reset()
    model, answers = nn.Linear(7, CLASSES), target()
    step = torch.compile(lambda x: F.cross_entropy(model(x).softmax(1), answers), backend="aot_eager")
    with lastlayer.watch(show=False) as report:
        step(torch.randn(24, 7)).backward()
    assert report.verdict == "cannot tell"


def test_selection():
    with lastlayer.watch(select="LL1", show=False) as report:
        train(activation=nn.Softmax(1), steps=1)
    assert report.codes == []


def test_lastlayers_own_losses_are_watched():
    z = nn.Parameter(torch.zeros(24, CLASSES))
    with lastlayer.watch(show=False) as report:
        lastlayer.cross_entropy(z.softmax(1), target()).backward()
    assert report.codes == ["LL001"]


def two_networks(clear=True):
    """A generator and a judge, each with its optimizer: gradients of one stay while the other steps."""
    judge, generator = nn.Linear(7, 1), nn.Linear(7, 7)
    of_judge, of_generator = (torch.optim.Adam(part.parameters()) for part in (judge, generator))
    x, yes, no = torch.randn(24, 7), torch.ones(24, 1), torch.zeros(24, 1)
    for _ in range(4):
        if clear:
            of_judge.zero_grad()
        loss = F.binary_cross_entropy_with_logits(judge(x), yes)
        (loss + F.binary_cross_entropy_with_logits(judge(generator(x).detach()), no)).backward()
        of_judge.step()
        of_generator.zero_grad()
        F.binary_cross_entropy_with_logits(judge(generator(x)), yes).backward()
        of_generator.step()


def test_two_optimizers_may_clear_at_their_own_time():
    with lastlayer.watch(show=False) as report:
        two_networks()
    assert report.verdict == "healthy"
    with lastlayer.watch(show=False) as report:
        two_networks(clear=False)
    assert report.codes == ["LL501"]


@pytest.mark.parametrize("by", ["hand", "none", "module", "keep"])
def test_gradients_may_be_cleared_in_many_ways(by):
    model = nn.Linear(7, CLASSES)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with lastlayer.watch(show=False) as report:
        for _ in range(5):
            F.cross_entropy(model(torch.randn(24, 7)), target()).backward()
            optimizer.step()
            if by == "hand":
                for parameter in model.parameters():
                    parameter.grad.zero_()
            elif by == "none":
                for parameter in model.parameters():
                    parameter.grad = None
            elif by == "module":
                model.zero_grad(set_to_none=False)
    assert report.codes == (["LL501"] if by == "keep" else [])


def test_two_tasks_of_unequal_size_are_no_accumulation():
    model = nn.Linear(7, CLASSES)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with lastlayer.watch(show=False) as report:
        optimizer.zero_grad()
        F.cross_entropy(model(torch.randn(24, 7)), target()).backward()
        F.binary_cross_entropy_with_logits(model(torch.randn(4, 7)), torch.ones(4, CLASSES)).backward()
        optimizer.step()
    assert report.codes == []


def test_parameters_without_a_gradient_are_no_misplaced_clearing():
    model, idle = nn.Linear(7, CLASSES), nn.Linear(7, 7)
    optimizers = [torch.optim.SGD(part.parameters(), 0.1) for part in (model, idle)]
    with lastlayer.watch(show=False) as report:
        for _ in range(3):
            for optimizer in optimizers:
                optimizer.zero_grad()
            F.cross_entropy(model(torch.randn(24, 7)), target()).backward()
            for optimizer in optimizers:
                optimizer.step()
    assert report.verdict == "healthy"
