"""Memory that large results live in: taken again once nobody holds it, never before, and never missing elsewhere."""

import mmap
import sys
import threading

import pytest
import torch

from lastlayer import functional
from lastlayer.kernels import _memory

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="blocks are kept on Linux alone")
COUNT = _memory.LARGE // 4  # float32 numbers from which on memory is kept


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch):
    kept = _memory.Kept()
    monkeypatch.setattr(_memory, "_kept", kept)
    return kept


def fresh(count=COUNT, dtype=torch.float32):
    return _memory.empty(torch.zeros(1), count, dtype=dtype)


def test_small_results_are_pytorchs_own(nothing_kept):
    small = fresh(COUNT - 1)
    assert small.untyped_storage().resizable()
    del small
    assert nothing_kept.bytes == 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_a_large_result_is_a_tensor_like_any_other(dtype):
    like = torch.zeros(1, dtype=dtype)
    assert _memory.empty(like.to("meta"), COUNT).device.type == "meta"  # nothing but the CPU's memory is kept
    found = _memory.empty(like, 3, _memory.LARGE)
    assert (found.shape, found.dtype, found.is_contiguous()) == ((3, _memory.LARGE), dtype, True)
    assert found.data_ptr() % 64 == 0
    assert (found[2, -100:].fill_(2.0) == 2).all()


def test_a_block_is_taken_again_once_it_is_free():
    first = fresh()
    where = first.data_ptr()
    del first
    assert fresh().data_ptr() == where


def test_a_block_that_a_view_holds_is_not_taken():
    first = fresh()
    view = first.view(-1, 2)[:1]
    del first
    view.fill_(7.0)
    assert fresh().fill_(0.0).data_ptr() != view.data_ptr()
    assert view.tolist() == [[7.0, 7.0]]


def test_somewhat_less_is_taken_from_a_block_and_much_less_is_not():
    first = fresh(COUNT * 4)
    where = first.data_ptr()
    del first
    assert fresh(COUNT).data_ptr() != where
    assert fresh(COUNT * 4 - COUNT // 8).data_ptr() == where


def test_no_more_is_kept_than_was_promised(nothing_kept, monkeypatch):
    monkeypatch.setattr(_memory, "MOST_KEPT", 3 * _memory.LARGE)
    results = [fresh(COUNT + n * COUNT // 2) for n in range(4)]
    largest = results[-1].data_ptr()
    while results:
        del results[0]
    assert 0 < nothing_kept.bytes <= 3 * _memory.LARGE
    assert fresh(COUNT + 3 * COUNT // 2).data_ptr() == largest  # the newest
    nothing_kept.clear()
    assert nothing_kept.bytes == 0


def test_the_system_may_have_the_pages_of_what_is_kept(monkeypatch):
    advice = []

    class Block(mmap.mmap):
        def madvise(self, option, *place):
            advice.append(option)
            return super().madvise(option, *place)

    monkeypatch.setattr(mmap, "mmap", Block)
    result = fresh()
    assert advice == [mmap.MADV_HUGEPAGE]
    del result
    assert advice == [mmap.MADV_HUGEPAGE, mmap.MADV_FREE]


def test_a_system_that_cannot_free_them_gets_them_back_at_once(nothing_kept, monkeypatch):
    class Block(mmap.mmap):
        def madvise(self, *arguments):
            raise OSError(22, "Invalid argument")

    monkeypatch.setattr(mmap, "mmap", Block)
    result = fresh().fill_(1.0)
    del result
    assert nothing_kept.bytes == 0


def test_without_memory_pytorch_says_so(nothing_kept, monkeypatch):
    result = fresh()
    del result

    def none_left(*arguments, **options):
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(mmap, "mmap", none_left)
    assert fresh(COUNT * 2).untyped_storage().resizable()  # PyTorch's own allocator was asked
    assert nothing_kept.bytes == 0  # and everything kept had been given back before


def test_threads_never_share_a_block():
    failures = []

    def work(number):
        for step in range(20):
            mine = fresh(COUNT)
            mine[:: 2**16] = number
            if not (mine[:: 2**16] == number).all():
                failures.append((number, step))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_gradients_of_a_training_loop_share_one_block(nothing_kept):
    z, y = torch.randn(300, 32_000, requires_grad=True), torch.randint(32_000, (300,))
    places = set()
    for _ in range(4):
        functional.cross_entropy(z, y, backend="cpu").backward()
        places.add(z.grad.data_ptr())
        z.grad = None
    assert len(places) == 1
    kept = [torch.autograd.grad(functional.cross_entropy(z, y, backend="cpu"), z)[0] for _ in range(2)]
    assert kept[0].data_ptr() != kept[1].data_ptr()
    assert torch.equal(*kept)
