"""The messages that users see: provoked in the installed PyTorch, or quoted from a GPU or another release."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import lastlayer
from lastlayer import doctor
from lastlayer.errors import LastLayerError
from tests.diagnosis.models import CLASSES, labels, target

Z = torch.randn(24, CLASSES)
IMAGES, MASK = torch.randn(2, 3, 4, 4), torch.randint(3, (2, 4, 4))


def multinomial():
    torch.multinomial(torch.full((1, 3), torch.nan), 1)


PROVOKED = {
    "LL004": [lambda: F.binary_cross_entropy(Z, labels())],
    "LL101": [lambda: F.cross_entropy(Z, target() + 9), lambda: F.nll_loss(Z, target() - 7)],
    "LL102": [
        lambda: F.cross_entropy(Z, target().int()),
        lambda: F.nll_loss(Z, target().float()),
        lambda: F.cross_entropy(IMAGES, MASK.float()),
        lambda: F.cross_entropy(Z, target() > 2),
    ],
    "LL103": [lambda: F.cross_entropy(Z, target()[:, None]), lambda: F.nll_loss(Z, F.one_hot(target(), CLASSES))],
    "LL104": [lambda: F.cross_entropy(Z, F.one_hot(target(), CLASSES))],
    "LL106": [
        lambda: F.cross_entropy(IMAGES, torch.full_like(MASK, 255)),
        lambda: F.cross_entropy(Z, target() * 0 - 1),
    ],
    "LL108": [lambda: F.cross_entropy(Z, Z.softmax(1), ignore_index=2)],
    "LL201": [lambda: F.softmax(Z), lambda: F.log_softmax(Z), lambda: nn.Softmax()(Z), lambda: F.softmin(Z)],
    "LL203": [lambda: F.cross_entropy(torch.randn(2, 4, 3), torch.randint(3, (2, 4)))],
    "LL205": [lambda: F.cross_entropy(Z, target()[:5]), lambda: F.nll_loss(Z, target().repeat(5))],
    "LL206": [lambda: F.cross_entropy(IMAGES, MASK[:, None])],
    "LL207": [
        lambda: F.binary_cross_entropy_with_logits(Z[:, :1], labels()[:, 0]),
        lambda: F.binary_cross_entropy(Z[:, :1].sigmoid(), labels()[:, 0]),
        lambda: F.mse_loss(Z[:, :1], labels()[:, 0]),
    ],
    "LL208": [
        lambda: F.cross_entropy((Z, Z), target()),
        lambda: F.cross_entropy(Z, target().tolist()),
        lambda: F.nll_loss(Z, target().tolist()),
        lambda: F.binary_cross_entropy_with_logits((Z,), labels()),
        lambda: F.cross_entropy(Z.numpy(), target()),
    ],
    "LL406": [lambda: F.kl_div(Z.log_softmax(1), Z.softmax(1))],
    "LL407": [
        lambda: F.cross_entropy(Z, target(), torch.ones(4)),
        lambda: F.cross_entropy(Z, target(), torch.ones(CLASSES).double()),
    ],
    "LL503": [lambda: F.mse_loss(Z.argmax(1).float(), target().float()).backward()],
    "LL704": [multinomial],
}
QUOTED = {
    "LL004": [
        "../aten/src/ATen/native/cuda/Loss.cu:94: operator(): Assertion `input_val >= zero && input_val <= one` failed."
    ],
    "LL101": [
        "/pytorch/aten/src/ATen/native/cuda/Loss.cu:250: nll_loss_forward_reduce_cuda_kernel_2d: block: [0,0,0], "
        "thread: [3,0,0] Assertion `t >= 0 && t < n_classes` failed.",
        "Assertion `cur_target >= 0 && cur_target < n_classes` failed.",
    ],
    "LL102": [
        "expected scalar type Long but found Float",
        "\"nll_loss_forward_reduce_cuda_kernel_2d_index\" not implemented for 'Int'",
        "\"nll_loss_out_frame\" not implemented for 'Int'",
        "expected target dtype to be Long or Byte, but got Float",
    ],
    "LL301": ["torch.nn.functional.binary_cross_entropy and torch.nn.BCELoss are unsafe to autocast."],
    "LL207": [
        "Using a target size (torch.Size([6])) that is different to the input size (torch.Size([6, 1])) is deprecated."
    ],
    "LL208": [
        "cross_entropy_loss(): argument 'input' (position 1) must be Tensor, not SequenceClassifierOutput",
        "cross_entropy_loss(): argument 'input' (position 1) must be Tensor, not InceptionOutputs",
    ],
}


def told_by(call) -> str:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            call()
        except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
            return str(error)
    assert caught, "nothing was said"
    return str(caught[0].message)


@pytest.mark.parametrize(
    ("code", "place"), [(code, place) for code in PROVOKED for place in range(len(PROVOKED[code]))]
)
def test_what_this_release_says_is_known(code, place):
    text = told_by(PROVOKED[code][place])
    report = doctor(error=text)
    assert report.codes == [code], text
    assert report.verdict == "findings" or code == "LL108"
    assert text.splitlines()[0][:100] in str(report[0].evidence.observed)


@pytest.mark.parametrize(("code", "text"), [(code, text) for code, texts in QUOTED.items() for text in texts])
def test_what_other_releases_and_devices_say_is_known(code, text):
    trace = f'Traceback (most recent call last):\n  File "train.py", line 3, in <module>\nRuntimeError: {text}\n'
    assert doctor(error=trace).codes == [code]


def test_an_exception_is_read_with_what_caused_it():
    def fail():
        try:
            F.cross_entropy(Z, target() + 9)
        except IndexError as error:
            raise RuntimeError("training failed") from error

    with pytest.raises(RuntimeError) as caught:
        fail()
    assert doctor(error=caught.value).codes == ["LL101"]


def test_our_own_errors_are_known_too():
    calls = [
        lambda: lastlayer.cross_entropy(Z, target() + 9),
        lambda: lastlayer.cross_entropy(Z, F.one_hot(target(), CLASSES)),
        lambda: lastlayer.binary_cross_entropy_with_logits(Z[:, :1], labels()[:, 0]),
    ]
    codes = []
    for call in calls:
        with pytest.raises(LastLayerError) as caught:
            call()
        codes += doctor(error=caught.value).codes
    assert codes == ["LL101", "LL104", "LL207"]


@pytest.mark.parametrize("text", ["", "CUDA out of memory", "KeyError: 'loss'", "\0\0", "가" * 10_000])
def test_an_unknown_message_cannot_be_told(text):
    report = doctor(error=text)
    assert report.verdict == "cannot tell"
    assert list(report) == []
