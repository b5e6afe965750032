"""Exported files compute what the model does; what cannot be exported, or would not, is refused before it is there."""

import json
import shutil
import zipfile

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import torch

from lastlayer import Classifier
from lastlayer.classifier.data.columns import Column, TableSpec
from lastlayer.classifier.data.pixels import ImageSpec
from lastlayer.classifier.network.model import ModelSpec, Network
from lastlayer.classifier.predicting import export as exporting
from lastlayer.classifier.predicting.export import export, format_of, golden
from lastlayer.classifier.task import Task
from lastlayer.cli import run
from lastlayer.decisions import Policy
from lastlayer.errors import ConfigError, RunError, SaveError
from tests.classifier.conftest import flowers


@pytest.fixture(scope="module")
def flower_files(tmp_path_factory, table_run):
    folder = tmp_path_factory.mktemp("export")
    model = Classifier.load(table_run)
    return {kind: model.export(folder / f"f{suffix}") for kind, suffix in exporting.FORMATS.items()}


def raw(model: Classifier, frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """A table as the file wants it, made from nothing but the file's own metadata."""
    about = model["inputs"]
    fed = {}
    if "numbers" in about:
        columns = [each["name"] for each in about["numbers"]["columns"]]
        fed["numbers"] = frame[columns].astype("float64").to_numpy()
    if "categories" in about:
        parts = []
        for column in about["categories"]["columns"]:
            places = {word: place for place, word in enumerate(column["categories"], start=1)}
            cells = frame[column["name"]]
            parts.append([len(places) + 1 if pd.isna(cell) else places.get(cell, 0) for cell in cells])
        fed["categories"] = np.array(parts, np.int64).T
    return fed


def test_onnx_says_what_the_model_says_of_a_table(flower_files, table_run):
    session = onnxruntime.InferenceSession(str(flower_files["onnx"].path))
    about = json.loads(session.get_modelmeta().custom_metadata_map["lastlayer"])
    model = Classifier.load(table_run)
    frame = flowers(50, seed=9)
    frame.loc[3, "soil"] = "lava"  # no training row has it
    for rows in (1, 3, 50):
        logits, p = session.run(["logits", "probabilities"], raw(about, frame[:rows]))
        np.testing.assert_allclose(logits, model.predict_logits(frame[:rows]), atol=1e-5)
        np.testing.assert_allclose(p, model.predict_proba(frame[:rows]), atol=1e-6)
    assert about["classes"] == ["iris", "lily", "rose"]
    assert about["policy"] == json.loads(json.dumps(model.policy.to_dict()))
    assert about["task"]["kind"] == "multiclass"
    assert about["activation"] == "softmax"
    assert [each.name for each in session.get_outputs()] == ["logits", "probabilities"]


def test_a_torch_program_says_the_same_and_holds_no_pickle(flower_files, table_run):
    path = flower_files["torch"].path
    extra = {"lastlayer.json": ""}
    program = torch.export.load(path, extra_files=extra).module()
    about = json.loads(extra["lastlayer.json"])
    frame, model = flowers(33, seed=9), Classifier.load(table_run)
    fed = raw(about, frame)
    logits, p = program(*(torch.from_numpy(fed[name]) for name in about["inputs"]))
    np.testing.assert_allclose(logits.numpy(), model.predict_logits(frame), atol=1e-5)
    np.testing.assert_allclose(p.numpy(), model.predict_proba(frame), atol=1e-6)
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            content = archive.read(member)
            assert not content.startswith((b"PK", b"\x80")), member.filename


def test_pickles_of_another_pytorch_are_refused(tmp_path, flower_files):
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        archive.writestr("archive/data/weights/weights_config.json", '{"w": {"use_pickle": true}}')
    with (tmp_path / "p.zip").open("rb") as saved, pytest.raises(RunError, match=r"pickles .*take format='onnx'"):
        exporting._without_pickle(saved, tmp_path / "q.pt2")


def spec_of(kind: str, reading: str, backbone: str) -> ModelSpec:
    classes = 2 if kind == "binary" else 4
    answers = {"binary": 1, "multilabel": classes, "multiclass": classes}[kind]
    policy = Policy(
        kind,
        classes,
        temperature=tuple(0.5 + place for place in range(classes)) if kind == "multilabel" else 1.7,
        weight=(0.5, 1.0, 2.0, 1.5) if kind == "multiclass" else None,
        pos_weight=None if kind == "multiclass" else 3.0 if kind == "binary" else (3.0,) * answers,
        trained=(0.1, 0.2, 0.3, 0.4) if kind == "multiclass" else None,
        deployed=(0.4, 0.3, 0.2, 0.1) if kind == "multiclass" else None,
    )
    how: ImageSpec | TableSpec
    if reading == "numbers":
        how = TableSpec((Column("a", "numeric", 1e9, 3.0, 1e9, True), Column("b", "boolean", 0.5, 0.5)), ("",))
    elif reading == "words":
        how = TableSpec((Column("a", "categorical", categories=("x", "y")), Column("b", "categorical")), ("",))
    else:
        channels = 1 if reading == "grey" else 3
        how = ImageSpec(channels, 32, (0.4,) * channels, (0.2,) * channels, 10**8)
    return ModelSpec(Task(kind, tuple("abcd"[:classes])), backbone, how, policy)


@pytest.mark.parametrize(
    ("kind", "reading", "backbone"),
    [
        ("multiclass", "numbers", "mlp"),
        ("binary", "words", "mlp"),
        ("binary", "grey", "small-cnn"),
        pytest.param("multilabel", "numbers", "mlp", marks=pytest.mark.slow),
        pytest.param("multilabel", "colour", "small-cnn", marks=pytest.mark.slow),
    ],
)
def test_every_task_and_reading_is_exported(kind, reading, backbone, tmp_path):
    torch.manual_seed(0)
    spec = spec_of(kind, reading, backbone)
    network = Network(spec).eval()
    found = export(network, spec, tmp_path / "m.onnx", "onnx", {})
    assert found.logits_off <= 1e-4
    session = onnxruntime.InferenceSession(str(found.path))
    inputs = golden(spec, 5)
    names = [each.name for each in session.get_inputs()]
    assert all(each.shape[0] == "batch" for each in session.get_inputs())
    _, p = session.run(None, {name: part.numpy() for name, part in zip(names, inputs, strict=True)})
    with torch.no_grad():
        logits = network(exporting.Deployed(network, spec).encoded(inputs))
    np.testing.assert_allclose(p, spec.policy.probabilities(logits).numpy(), atol=1e-5)
    assert list(tmp_path.iterdir()) == [found.path]


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["resnet18", "efficientnet_b0", "vit_tiny_patch16_224"])
def test_timm_models_are_exported(backbone, tmp_path):
    how = ImageSpec(3, 224 if "vit" in backbone else 64, (0.4,) * 3, (0.2,) * 3, 10**8)
    spec = ModelSpec(Task("multiclass", ("a", "b", "c")), backbone, how, Policy("multiclass", 3))
    network = Network(spec).eval()
    for kind, suffix in exporting.FORMATS.items():
        assert export(network, spec, tmp_path / f"m{suffix}", kind, {}).logits_off < 1e-3


def test_a_file_that_does_not_compute_the_same_is_never_there(table_run, tmp_path, monkeypatch):
    model = Classifier.load(table_run)

    def off(deployed, path, about):
        path.write_bytes(b"a file")
        return lambda inputs: tuple(part + 0.01 for part in deployed(*inputs))

    monkeypatch.setattr(exporting, "_write_onnx", off)
    with pytest.raises(RunError, match=r"m\.onnx is not written: for 1 rows its logits are 0\.01 off"):
        model.export(tmp_path / "m.onnx")
    monkeypatch.setattr(exporting, "_write_onnx", lambda *a: lambda inputs: (torch.full((1, 3), torch.nan),) * 2)
    with pytest.raises(RunError, match="nan off"):
        model.export(tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported_says_why(table_run, tmp_path, monkeypatch):
    model = Classifier.load(table_run)

    class Odd(torch.nn.Module):
        def forward(self, inputs):
            return inputs[0][: int(inputs[0].sum().item())]

    with pytest.raises(RunError, match="mlps cannot be exported as ONNX: "):
        export(Odd(), model.record.spec, tmp_path / "m.onnx", "onnx", {})
    monkeypatch.setattr(exporting, "_LARGEST", 10)
    with pytest.raises(RunError, match=r"an ONNX file holds 2: export it with format='torch'"):
        model.export(tmp_path / "m.onnx")
    with pytest.raises(SaveError, match="cannot be written"):
        model.export(tmp_path / "none" / "m.pt2")
    assert list(tmp_path.iterdir()) == []


def test_a_model_of_texts_is_refused(tmp_path):
    random = np.random.default_rng(0)
    words = [" ".join(random.choice(["sun", "rain", "wind", "snow", "cloud", "storm"], 6)) for _ in range(120)]
    frame = pd.DataFrame({"words": words, "y": [("a", "b")[word.count("sun") % 2] for word in words]})
    model = Classifier(epochs=1, text=["words"], verbose=False).fit(frame, "y")
    with pytest.raises(RunError, match=r"reads text cannot be exported: what is written in 'words' becomes numbers"):
        model.export(tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("path", "given", "expected"),
    [("m.onnx", None, "onnx"), ("m.pt2", None, "torch"), (None, "torch", "torch"), (None, None, "onnx")],
)
def test_the_format_is_named_or_read_off_the_file(path, given, expected, tmp_path):
    assert format_of(None if path is None else tmp_path / path, given) == expected


@pytest.mark.parametrize(("path", "given"), [("m.pt", None), ("m.onnx", "torch"), ("m.onnx", "tflite")])
def test_formats_that_are_none(path, given, tmp_path):
    with pytest.raises(ConfigError, match="has to"):
        format_of(tmp_path / path, given)


def test_the_command_shows_what_it_wrote(table_run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(["export", str(table_run), "--output", "m.onnx"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Wrote m.onnx (")
    assert "in   numbers: float64 (batch, 3)" in out
    assert "Checked on batches of 1, 2, 7, 32: logits within" in out
    assert max(map(len, out.splitlines())) <= 115
    onnx.checker.check_model("m.onnx")
    assert run(["export", str(table_run), "--format", "onnxx"]) == 2


def test_a_copied_run_predicts_decides_and_exports_the_same(table_run, tmp_path):
    model = Classifier.load(table_run).deciding(coverage=0.9, abstain=0.3)
    model.save(tmp_path / "one")
    copied = Classifier.load(shutil.copytree(tmp_path / "one", tmp_path / "elsewhere" / "two"))
    shutil.rmtree(tmp_path / "one")
    frame = flowers(40, seed=2)
    np.testing.assert_array_equal(copied.predict_proba(frame), model.predict_proba(frame))
    np.testing.assert_array_equal(copied.predict_set(frame), model.predict_set(frame))
    assert copied.predict(frame).tolist() == model.predict(frame).tolist()
    assert copied.policy == model.policy
    about = exporting.described(exporting.Deployed(copied._network, copied.record.spec))
    assert Policy.from_dict(json.loads(json.dumps(about["policy"]))) == model.policy
