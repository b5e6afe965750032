"""The same bits on any number of threads, in any place of the batch, from many callers at once, and after a fork."""

import os
import threading

import pytest
import torch

from lastlayer import functional
from lastlayer.kernels.cpu import _threads

FLOATS = [torch.float32, torch.bfloat16]
SHAPES = [(3000, 10), (700, 100), (70, 3001)]


def example(rows, classes, dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    logits = (torch.randn(rows, classes, generator=generator) * 4).to(dtype)
    return logits, torch.randint(0, classes, (rows,), generator=generator)


def everything(logits, target):
    """Loss and gradient of all, each row's loss, and the elementwise functions."""
    z = logits.clone().requires_grad_()
    loss = functional.cross_entropy(z, target, label_smoothing=0.1)
    loss.backward()
    y = torch.zeros_like(logits).scatter_(1, target[:, None], 1.0)
    x = logits.clone().requires_grad_()
    binary = functional.binary_cross_entropy_with_logits(x, y)
    binary.backward()
    rows = functional.cross_entropy(logits, target, reduction="none")
    return [
        loss, z.grad, binary, x.grad, rows, functional.softmax(logits, 1), functional.log_softmax(logits, 1),
        functional.logsumexp(logits, 1), functional.sigmoid(logits),
    ]  # fmt: skip


def with_threads(count, function):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        return function()
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_any_number_of_threads_gives_the_same_bits(shape, dtype):
    logits, target = example(*shape, dtype)
    one = everything(logits, target)
    for count in (2, 3, 5):
        more = with_threads(count, lambda: everything(logits, target))
        assert all(torch.equal(a, b) for a, b in zip(one, more, strict=True))


@pytest.mark.parametrize("classes", [10, 100])  # in a workspace that is kept, and not
@pytest.mark.parametrize("team", ["OpenMP", "pool"])
def test_both_teams_do_every_task(team, classes, monkeypatch):
    if team == "pool":
        monkeypatch.setattr(_threads, "_openmp", lambda: None)
    elif _threads._openmp() is None:
        pytest.skip("PyTorch has no GNU OpenMP here")
    logits, target = example(3000, classes)
    one = everything(logits, target)
    three = with_threads(3, lambda: everything(logits, target))
    assert all(torch.equal(a, b) for a, b in zip(one, three, strict=True))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_row_has_the_same_bits_wherever_it_stands(shape):
    logits, target = example(*shape)
    all_losses = functional.cross_entropy(logits, target, reduction="none")
    all_probabilities = functional.softmax(logits, 1)
    for row in (0, 7, 8, shape[0] // 2, shape[0] - 1):
        alone = logits[row : row + 1], target[row : row + 1]
        assert torch.equal(functional.cross_entropy(*alone, reduction="none")[0], all_losses[row])
        assert torch.equal(functional.softmax(alone[0], 1)[0], all_probabilities[row])


@pytest.mark.parametrize("classes", [10, 100])
def test_concurrent_callers_do_not_disturb_each_other(classes):
    logits, target = example(3000, classes)
    expected = with_threads(2, lambda: everything(logits, target))
    wrong = []

    def call():
        torch.set_num_threads(2)
        for _ in range(10):
            found = everything(logits, target)
            if not all(torch.equal(a, b) for a, b in zip(expected, found, strict=True)):
                wrong.append(found)

    threads = [threading.Thread(target=call) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    torch.set_num_threads(1)
    assert not any(thread.is_alive() for thread in threads)
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_computes_too():
    logits, target = example(3000, 100)
    expected = with_threads(2, lambda: functional.cross_entropy(logits, target, reduction="none"))
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        same = False
        try:
            assert torch.get_num_threads() in (1, 2)
            from lastlayer.kernels import Options, cpu

            options = Options(torch.float32, "none")
            same = torch.equal(cpu.cross_entropy(logits, target, None, options)[0], expected)
            # and on more threads than one, which OpenMP's workers of the parent cannot be
            _threads._team()(*_counting())
        finally:
            os.write(writing, b"yes" if same else b"no")
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        assert answer.read() == b"yes"
    os.waitpid(child, 0)


def _counting():
    """A call of a team whose kernel is Python: which team it is does not matter to it."""
    from lastlayer.kernels.cpu._compile import Kernel

    return Kernel(lambda words: None, 0), b"", 3


def test_as_many_threads_work_as_are_asked_for(monkeypatch):
    teams = []
    together = _threads.together
    monkeypatch.setattr(_threads, "together", lambda *call: teams.append(call[-1]) or together(*call))
    z, y = example(3000, 10)
    for function in (
        lambda: functional.cross_entropy(z.clone().requires_grad_(), y),
        lambda: functional.binary_cross_entropy_with_logits(z.clone().requires_grad_(), z.sigmoid()),
        lambda: functional.softmax(z, 1),
        lambda: functional.sigmoid(z),
    ):
        teams.clear()
        for count in (1, 2, 1, 5, 3, 1):  # 30,000 elements are two tasks
            with_threads(count, function)
        assert teams == [2, 2, 2]


@pytest.mark.parametrize("rows", [100, 1000])
@pytest.mark.parametrize("call", ["cross_entropy", "softmax", "binary_cross_entropy_with_logits", "sigmoid"])
def test_room_is_made_for_as_many_threads_as_will_run(call, rows, monkeypatch):
    """Another thread may change their number at any moment: it is asked for once."""
    asked = []
    number = torch.get_num_threads
    monkeypatch.setattr(torch, "get_num_threads", lambda: asked.append(1) or number())
    rest = {
        "cross_entropy": (torch.randint(300, (rows,)),),
        "softmax": (-1,),
        "binary_cross_entropy_with_logits": (torch.rand(rows, 300),),
        "sigmoid": (),
    }
    getattr(functional, call)(torch.randn(rows, 300, requires_grad="entropy" in call), *rest[call], backend="cpu")
    assert asked == [1]
