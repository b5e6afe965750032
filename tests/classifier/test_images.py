"""Folders of images, and single images of every kind."""

import errno
import io
import os
import shutil
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from lastlayer import Classifier
from lastlayer.classifier.data import images
from lastlayer.classifier.data.images import look_at, open_picture
from lastlayer.classifier.data.pixels import ImageSpec, fitted
from lastlayer.errors import DataError
from tests.classifier.conftest import write_digits


def picture(content: bytes) -> dict:
    return {"path": None, "bytes": content}


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises many pixels and whose body holds none."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_folder_layouts(tmp_path, heard):
    one = write_digits(tmp_path / "one", 3)
    rows = images.read_folder(one, _journal(heard))
    assert len(rows) == 30
    assert rows.given is None
    assert rows.labels[0] == "digit 0"
    assert rows.names[0] == "digit 0/0.png"
    for train, validation, test in (
        ("train", "val", "test"),
        ("Train", "valid", "TEST"),
        ("training", "validation", "test"),
    ):
        split = tmp_path / train / validation
        for part in (train, validation, test):
            write_digits(split / part, 2)
        rows = images.read_folder(split, _journal(heard))
        assert sorted(set(rows.given)) == ["test", "train", "validation"]
        assert set(rows.labels) == {f"digit {label}" for label in range(10)}


def test_a_class_may_be_called_test(tmp_path, heard):
    """Only a folder whose parts all are splits, train among them, is taken for split."""
    for label in ("test", "control"):
        (tmp_path / label).mkdir()
        Image.new("L", (8, 8), len(label)).save(tmp_path / label / "1.png")
    rows = images.read_folder(tmp_path, _journal(heard))
    assert (rows.given, rows.labels) == (None, ["control", "test"])


def some_pictures(folder, classes=("cat", "dog"), count=8):
    random = np.random.default_rng(len(str(folder)))
    for label in classes:
        (folder / label).mkdir(parents=True, exist_ok=True)
        for place in range(count):
            (folder / label / f"{place}.png").write_bytes(png(random.integers(0, 255, (8, 8), np.uint8)))
    return folder


def test_pictures_outside_class_folders_are_named(tmp_path, heard):
    for part in ("train", "test"):
        some_pictures(tmp_path / part)
    some_pictures(tmp_path, ("unlabelled",), 2)
    some_pictures(tmp_path, ("__MACOSX",), 1)
    shutil.copy(tmp_path / "train" / "cat" / "0.png", tmp_path / "train" / "loose.png")
    shutil.copy(tmp_path / "train" / "cat" / "0.png", tmp_path / "top.png")
    rows = images.read_folder(tmp_path, _journal(heard))
    assert set(rows.labels) == {"cat", "dog"}
    assert set(rows.given) == {"train", "test"}
    assert {each.name for each in rows.left_out} == {
        "top.png", "train/loose.png", "unlabelled/0.png", "unlabelled/1.png",
    }  # fmt: skip
    heard.said("Left out the folder unlabelled (2 images)", "no split")
    heard.said("1 image in train, beside the class folders")
    heard.said("1 image beside the folders (top.png)")


def test_splits_without_one_that_trains_are_refused(tmp_path, heard):
    for part in ("val", "test", "more"):
        some_pictures(tmp_path / part, count=1)
    with pytest.raises(DataError, match=r"splits \(test, val\) and none that trains"):
        images.read_folder(tmp_path, _journal(heard))


def test_a_link_that_leads_back_is_not_followed(tmp_path, heard):
    some_pictures(tmp_path)
    (tmp_path / "cat" / "up").symlink_to("..")
    rows = images.read_folder(tmp_path, _journal(heard))
    assert len(rows) == 16
    heard.said("Left out cat/up: a link")


def test_a_folder_that_cannot_be_read_is_no_empty_one(tmp_path, heard, monkeypatch):
    some_pictures(tmp_path)
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("dog"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"dog cannot be read \(Permission denied\)\. Change its permissions"):
        images.read_folder(tmp_path, _journal(heard))


def test_names_that_are_no_text(tmp_path):
    some_pictures(tmp_path)
    odd = os.fsencode(tmp_path / "cat") + b"/\xff\xfe.png"
    shutil.copy(tmp_path / "cat" / "0.png", os.fsdecode(odd))
    model = Classifier(epochs=1, verbose=False).fit(tmp_path, output=tmp_path / "run")
    found = model.predictions(tmp_path / "cat")
    assert found.names[-1].endswith("\\xff\\xfe.png")
    assert found.problems == {}
    Classifier.load(tmp_path / "run")


def test_what_is_no_picture_among_inputs_is_named(image_run, tmp_path):
    folder = some_pictures(tmp_path) / "cat"
    (folder / "notes.txt").touch()
    found = Classifier.load(image_run).predictions([folder, tmp_path / "dog", "nowhere.png"])
    assert [each.name for each in found.left_out] == [str(folder / "notes.txt")]
    assert len(found) == 17
    assert list(found.problems) == [16]  # it keeps its place
    assert found.problems[16].startswith("there is no file or folder")


@pytest.mark.parametrize("mode", ["CMYK", "HSV", "YCbCr", "RGBa", "PA"])
def test_pillow_images_of_every_mode_are_predicted(image_run, mode):
    assert Classifier.load(image_run).predict(Image.new(mode, (8, 8))).shape == (1,)


@pytest.mark.parametrize(
    ("shape", "message"),
    [((9, 9, 5), "got ndarray"), ((3, 9, 9), "Bring the channels last"), ((0, 9, 3), "got ndarray"), ((9,), "got")],
)
def test_arrays_that_are_no_picture(image_run, shape, message):
    model = Classifier.load(image_run)
    with pytest.raises(DataError, match=message):
        model.predict(np.zeros(shape, np.uint8))
    assert model.predict(np.zeros((9, 9, 1), np.uint8)).shape == (1,)


def test_a_batch_of_one_needs_a_backbone_without_batch_norm(tmp_path):
    with pytest.raises(ValueError, match="raise batch_size to 2"):
        Classifier(backbone="resnet10t", batch_size=1, epochs=1, verbose=False).fit(some_pictures(tmp_path))


def test_settings_of_tables_are_refused_for_images():
    for settings in ({"target": "y"}, {"ignore": ("a",)}, {"separator": ";"}, {"encoding": "cp949"}):
        with pytest.raises(ValueError, match=r"is for a (text )?table.*leave it out"):
            Classifier(verbose=False, **settings).fit("digits")


def test_folders_are_searched_below_and_hidden_files_are_not(tmp_path, heard):
    folder = write_digits(tmp_path / "d", 2)
    deep = folder / "digit 0" / "more" / "deeper"
    deep.mkdir(parents=True)
    Image.new("L", (8, 8)).save(deep / "x.PNG")
    for name in (".hidden.png", "Thumbs.db", "notes.txt"):
        (folder / "digit 0" / name).write_bytes(b"x")
    rows = images.read_folder(folder, _journal(heard))
    assert "digit 0/more/deeper/x.PNG" in rows.names
    assert len(rows) == 21
    assert "1 file (1 × .txt)" in heard.said("no images")


def test_an_unreadable_image_is_named_left_out_and_never_replaced(tmp_path, heard):
    folder = write_digits(tmp_path / "d", 6)
    whole = (folder / "digit 1" / "0.png").read_bytes()
    broken = {
        "digit 1/truncated.png": whole[: len(whole) // 2],
        "digit 2/text.png": b"this is no image",
        "digit 3/empty.png": b"",
        "digit 4/bomb.png": bomb(60_000, 60_000),
        "digit 5/large.png": bomb(11_000, 11_000),
        "digit 6/garbled.jpg": b"\xff\xd8\xff\xe0" + bytes(range(256)) * 4,
    }
    for name, content in broken.items():
        (folder / name).write_bytes(content)
    model = Classifier(epochs=1, listener=heard).fit(folder)
    left_out = {row["name"]: row["reason"] for row in model.record.data["left_out"]}
    assert set(left_out) == set(broken)
    assert sum(model.record.data["rows"].values()) == 60
    for name in broken:
        assert name in model.record.report
    assert "11000×11000 pixels by its header" in left_out["digit 5/large.png"]
    assert "more pixels by its header" in left_out["digit 4/bomb.png"]
    assert sum("Left out" in note for note in heard.notes) == 6  # five by name, and how many more
    with pytest.raises(
        DataError, match=r"6 images cannot be read, first digit 1/truncated\.png: .*leave strict=True out"
    ):
        Classifier(epochs=1, strict=True, verbose=False).fit(folder)


def test_pixel_limit_can_be_set(tmp_path):
    folder = write_digits(tmp_path / "d", 3)
    Image.new("L", (50, 50)).save(folder / "digit 0" / "big.png")
    model = Classifier(epochs=1, max_pixels=1000, verbose=False).fit(folder)
    assert [row["name"] for row in model.record.data["left_out"]] == ["digit 0/big.png"]


def test_every_image_is_looked_at_once_in_order():
    seen = list(look_at([picture(png(np.full((4, value + 1), value, np.uint8))) for value in range(50)], 10**6))
    assert [one.size for one in seen] == [(value + 1, 4) for value in range(50)]
    assert {(one.problem, one.mode) for one in seen} == {(None, "L")}
    assert len({one.digest for one in seen}) == 50


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: Image.new("RGB", (4, 4), (255, 0, 0)), (255, 0, 0)),
        (lambda: Image.new("RGBA", (4, 4), (255, 0, 0, 0)), (255, 255, 255)),  # transparent: paper
        (lambda: Image.new("RGBA", (4, 4), (255, 0, 0, 255)), (255, 0, 0)),
        (lambda: Image.new("LA", (4, 4), (0, 0)), (255, 255, 255)),
        (lambda: Image.new("1", (4, 4), 1), (255, 255, 255)),
        (lambda: Image.new("CMYK", (4, 4), (0, 0, 0, 0)), (255, 255, 255)),
        (lambda: Image.new("P", (4, 4), 0), (0, 0, 0)),
        (lambda: Image.fromarray(np.full((4, 4), 65535, np.uint16)), (255, 255, 255)),
        (lambda: Image.fromarray(np.full((4, 4), 32768, np.uint16)), (128, 128, 128)),
        (lambda: Image.fromarray(np.full((4, 4), 0.5, np.float32)), (128, 128, 128)),
    ],
)
def test_every_mode_becomes_colour(make, expected):
    assert fitted(make(), 3, 4)[0, 0].tolist() == pytest.approx(list(expected), abs=1)
    assert fitted(make(), 1, 4).shape == (4, 4, 1)


def test_sixteen_bits_keep_their_range():
    ramp = np.linspace(0, 65535, 16, dtype=np.uint16).reshape(4, 4)
    found = fitted(Image.fromarray(ramp), 1, 4)[:, :, 0]
    assert found.min() == 0
    assert found.max() == 255
    assert len(np.unique(found)) == 16


def test_pictures_are_turned_upright():
    image = Image.new("RGB", (8, 4))
    exif = image.getexif()
    exif[0x0112] = 6  # the camera was held sideways
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=exif)
    assert open_picture(picture(buffer.getvalue()), 10**6).size == (4, 8)


def test_the_shorter_side_decides_and_the_rest_is_cropped_evenly():
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = 255
    found = fitted(Image.fromarray(wide), 3, 8)
    assert found.shape == (8, 8, 3)
    assert (found == 255).all()


def test_scale_is_learnt_from_training_rows_alone(tmp_path):
    for part, value in (("train", 100), ("val", 200), ("test", 240)):
        for label in ("a", "b"):
            (tmp_path / part / label).mkdir(parents=True)
            for place in range(4):
                shade = np.full((8, 8), value + place + (label == "b"), np.uint8)
                Image.fromarray(shade).save(tmp_path / part / label / f"{place}.png")
    spec = Classifier(epochs=1, verbose=False).fit(tmp_path).record.spec.preprocessing
    assert spec.mean[0] * 255 == pytest.approx(102, abs=1)
    assert spec.channels == 1


def test_colour_images_have_three_channels(tmp_path):
    for label, shade in (("red", (200, 0, 0)), ("blue", (0, 0, 200))):
        (tmp_path / label).mkdir()
        for place in range(9):
            Image.new("RGB", (9, 12), tuple(max(0, part - place) for part in shade)).save(
                tmp_path / label / f"{place}.png"
            )
    model = Classifier(epochs=15, verbose=False).fit(tmp_path)
    spec = model.record.spec.preprocessing
    assert (spec.channels, spec.size) == (3, 9)
    assert model.score(tmp_path) == 1.0


def test_preprocessing_survives_json():
    spec = ImageSpec(3, 32, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 1000)
    assert ImageSpec.from_dict(spec.to_dict()) == spec


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda folder: None, "The folder is empty"),
        (lambda folder: (folder / "x.png").write_bytes(png(np.zeros((4, 4), np.uint8))), "one folder per class.*x.png"),
        (lambda folder: (folder / "cat").mkdir(), "holds no images in its class folders"),
        (lambda folder: write_digits(folder / "inner", 1), "one class only|fewer rows"),
    ],
)
def test_folders_that_cannot_be_used(tmp_path, build, message):
    build(tmp_path)
    with pytest.raises(DataError, match=message):
        Classifier(epochs=1, verbose=False).fit(tmp_path)


def test_fewer_images_than_class_folders(tmp_path):
    for label in "abcde":
        (tmp_path / label).mkdir()
    for label in "abc":
        Image.new("L", (8, 8), ord(label)).save(tmp_path / label / "1.png")
    with pytest.raises(DataError, match="fewer rows than classes: 3 rows for 5 classes"):
        Classifier(epochs=1, verbose=False).fit(tmp_path)


def test_a_target_column_is_refused_for_a_folder(tmp_path):
    write_digits(tmp_path / "d", 2)
    with pytest.raises(ValueError, match="leave it out"):
        Classifier(epochs=1, verbose=False).fit(tmp_path / "d", target="label")


# Backbones


def test_timm_model_by_name(tmp_path, heard):
    folder = write_digits(tmp_path / "d", 4)
    model = Classifier(backbone="resnet10t", epochs=1, listener=heard).fit(folder)
    assert model.record.spec.backbone == "resnet10t"
    assert model.record.spec.preprocessing.size == 32
    loaded = Classifier.load(model.save(tmp_path / "run"))
    np.testing.assert_array_equal(loaded.predict_logits(folder), model.predict_logits(folder))


def test_an_unknown_backbone_is_named(tmp_path):
    write_digits(tmp_path / "d", 3)
    with pytest.raises(ValueError, match="Did you mean 'resnet18'"):
        Classifier(backbone="resnet81", epochs=1, verbose=False).fit(tmp_path / "d")
    with pytest.raises(ValueError, match="reads tables"):
        Classifier(backbone="mlp", epochs=1, verbose=False).fit(tmp_path / "d")


def test_pretrained_weights_that_cannot_be_had_are_said(tmp_path, heard, monkeypatch):
    import timm

    create = timm.create_model

    def offline(name, pretrained=False, **options):
        if pretrained:
            raise OSError("We couldn't connect to the hub")
        return create(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    write_digits(tmp_path / "d", 3)
    Classifier(backbone="resnet10t", pretrained=True, epochs=1, listener=heard).fit(tmp_path / "d")
    assert "starts from scratch" in heard.said("published weights of resnet10t cannot be had", "couldn't connect")


def test_a_hub_that_does_not_answer_is_asked_once(monkeypatch):
    """Its client would retry for 46 seconds, and say so in twelve lines."""
    import huggingface_hub
    from huggingface_hub import constants

    from lastlayer.classifier import hub

    asked = []

    class Silence:
        def head(self, address, timeout):
            asked.append(timeout)
            raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "get_session", Silence)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with hub.in_short():
        assert constants.HF_HUB_OFFLINE
    assert not constants.HF_HUB_OFFLINE
    assert asked == [5.0]


def test_pretrained_weights_are_used_where_they_can_be_had(tmp_path, heard, monkeypatch):
    """The hub is played by a file on the disk."""
    import timm
    import torch

    donor = timm.create_model("resnet10t", num_classes=0, in_chans=1)
    with torch.no_grad():
        donor.conv1[0].weight.fill_(0.125)
    torch.save(donor.state_dict(), tmp_path / "w.pth")
    create = timm.create_model

    def from_disk(name, pretrained=False, **options):
        model = create(name, pretrained=False, **options)
        if pretrained:
            model.load_state_dict(torch.load(tmp_path / "w.pth", weights_only=True))
        return model

    monkeypatch.setattr(timm, "create_model", from_disk)
    write_digits(tmp_path / "d", 3)
    model = Classifier(backbone="resnet10t", pretrained=True, epochs=1, lr=1e-7, listener=heard).fit(tmp_path / "d")
    first = model.record.weights["backbone.1.conv1.0.weight"]
    assert torch.allclose(first, torch.full_like(first, 0.125), atol=1e-4)
    assert not any("cannot be had" in note for note in heard.notes)


def _journal(heard):
    from lastlayer.classifier.journal import Journal

    return Journal(heard)
