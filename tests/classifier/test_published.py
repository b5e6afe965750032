"""Data sets of Hugging Face `datasets`: names on the Hub (stubbed), saved folders, shards, pictures in columns."""

import logging

import datasets
import numpy as np
import pytest
from PIL import Image

from lastlayer import Classifier
from lastlayer.classifier import hub, preflight
from lastlayer.classifier.data import published
from lastlayer.classifier.data.published import Name, name_of
from lastlayer.errors import ConfigError, DataError, DataNotFoundError
from tests.classifier.conftest import flowers
from tests.classifier.test_preflight import pictures


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    published._fetched.cache_clear()


def named_classes(rows, seed=0):
    """Rows whose class is a number that the data set has names for."""
    frame = flowers(rows, seed).assign(kind=lambda f: f["kind"].map({"iris": 0, "lily": 1, "rose": 2}))
    features = datasets.Features(
        {
            "length": datasets.Value("float64"),
            "scented": datasets.Value("bool"),
            "soil": datasets.Value("string"),
            "count": datasets.Value("int64"),
            "kind": datasets.ClassLabel(names=["iris", "lily", "rose"]),
        }
    )
    return datasets.Dataset.from_pandas(frame, features=features, preserve_index=False)


def parts(extra=False):
    found = {"train": named_classes(90), "test": named_classes(40, 5)}
    return datasets.DatasetDict(found | ({"unsupervised": named_classes(5)} if extra else {}))


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("hf:imdb", Name("imdb", None, None)),
        ("owner/name", Name("owner/name", None, None)),
        ("owner/name:ko", Name("owner/name", "ko", None)),
        ("hf:owner/name:ko@v1.0/x", Name("owner/name", "ko", "v1.0/x")),
        ("owner/name@abc123", Name("owner/name", None, "abc123")),
        ("imdb", None),
        ("owner/name.csv", None),
        ("owner/name.png", None),
        ("a/b/c", None),
        ("./name", None),
        ("../name", None),
        ("/name", None),
    ],
)
def test_names_of_the_hub(source, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert name_of(source) == name


def test_a_folder_of_that_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner").mkdir()
    assert name_of("owner/name") is None
    with pytest.raises(DataError, match="no name of a data set"):
        name_of("hf:a/b/c d")


def test_a_name_is_fetched_from_the_hub(tmp_path, monkeypatch, heard):
    parts(extra=True).save_to_disk(tmp_path / "hub")
    asked = []

    def load_dataset(name, subset=None, *, revision=None):
        asked.append((name, subset, revision))
        return datasets.load_from_disk(str(tmp_path / "hub"))

    monkeypatch.setattr(hub, "answers", lambda: True)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    model = Classifier(epochs=8, listener=heard).fit("garden/flowers:small@v2")
    assert asked == [("garden/flowers", "small", "v2")]
    assert list(model.classes_) == ["iris", "lily", "rose"]
    assert model.record.data["rows"]["test"] == 40
    assert model.record.data_name == "garden/flowers:small@v2"
    heard.said("Target: column 'kind'")
    heard.said("Left out unsupervised (5 rows)")
    assert model.evaluate("garden/flowers:small@v2").rows == 130
    assert preflight("garden/flowers:small@v2").rows["test"] == 40


def test_without_a_network_there_is_one_message(monkeypatch, tmp_path, caplog, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub, "answers", lambda: False)
    monkeypatch.setattr(hub.need("huggingface_hub.constants"), "ENDPOINT", "http://127.0.0.1:9")
    with caplog.at_level(logging.WARNING), pytest.raises(DataNotFoundError, match=r"Hub does not answer.* Connect to"):
        Classifier(verbose=False).fit("nobody/has-this", "y")
    assert capfd.readouterr().err == ""
    assert not caplog.records


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (datasets.exceptions.DatasetNotFoundError("Dataset 'a/b' doesn't exist"), "no data set of that name"),
        (
            ValueError("BuilderConfig 'x' not found. Available: ['ko', 'en']\nmore"),
            r"Available: \['ko', 'en'\] A subset",
        ),
        (RuntimeError("Dataset scripts are no longer supported"), "cannot be read: Dataset scripts"),
    ],
)
def test_what_the_hub_refuses_is_one_message(monkeypatch, error, message):
    def load_dataset(*arguments, **options):
        raise error

    monkeypatch.setattr(hub, "answers", lambda: True)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(DataError, match=message):
        Classifier(verbose=False).fit("hf:a/b", "y")


def test_a_folder_that_datasets_saved(tmp_path):
    parts().save_to_disk(tmp_path / "saved")
    model = Classifier(epochs=2, verbose=False).fit(tmp_path / "saved")
    assert list(model.classes_) == ["iris", "lily", "rose"]
    assert model.record.predictions.to_pydict()["input"][-1].startswith("test#")
    named_classes(60).save_to_disk(tmp_path / "one")
    assert Classifier(epochs=1, verbose=False).fit(tmp_path / "one", "scented").record.spec.kind == "table"


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize("inside", ["", "data"])
def test_shards_of_a_table(tmp_path, ending, inside):
    folder = tmp_path / "d" / inside
    folder.mkdir(parents=True)
    write = {"parquet": "to_parquet", "csv": "to_csv", "jsonl": "to_json"}[ending]
    for place, rows in enumerate((named_classes(50), named_classes(40, 3))):
        getattr(rows, write)(folder / f"train-0000{place}-of-00002.{ending}")
    getattr(named_classes(30, 5), write)(folder / f"test-00000-of-00001.{ending}")
    model = Classifier(epochs=1, test=0.2, verbose=False).fit(tmp_path / "d", "kind")
    rows = model.record.data["rows"]
    assert rows["test"] == 30
    assert sum(rows.values()) + len(model.record.data["left_out"]) == 120


def test_arrow_and_feather_files(tmp_path, flower_table):
    import pyarrow as pa
    from pyarrow import feather

    table = pa.Table.from_pandas(flowers())
    feather.write_feather(table, tmp_path / "t.feather")
    with pa.OSFile(str(tmp_path / "t.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    of_csv = Classifier(epochs=2, verbose=False).fit(flower_table, "kind")
    for name in ("t.feather", "t.arrow"):
        model = Classifier(epochs=2, verbose=False).fit(tmp_path / name, "kind")
        assert np.allclose(model.predict_logits(flowers()), of_csv.predict_logits(flowers()), atol=1e-5)
    (tmp_path / "broken.arrow").write_bytes(b"no arrow at all")
    with pytest.raises(DataError, match=r"broken\.arrow cannot be read as arrow: .* Write it again"):
        Classifier(verbose=False).fit(tmp_path / "broken.arrow", "kind")


def picture_data(tmp_path, name, per_class=14, seed=0):
    folder = pictures(tmp_path / name, per_class=per_class, seed=seed)
    paths = sorted(folder.rglob("*.png"))
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    return datasets.Dataset.from_dict(
        {"img": [str(path) for path in paths], "label": [int(path.parent.name == "dog") for path in paths]}, features
    )


def test_pictures_in_a_column(tmp_path):
    both = datasets.DatasetDict(train=picture_data(tmp_path, "a", 30), validation=picture_data(tmp_path, "b", seed=1))
    model = Classifier(epochs=1, verbose=False).fit(both)
    assert model.record.spec.kind == "image"
    assert list(model.classes_) == ["cat", "dog"]
    both.save_to_disk(tmp_path / "saved")
    again = Classifier(epochs=1, verbose=False).fit(tmp_path / "saved", target="label")
    assert again.record.predictions.equals(model.record.predictions)
    assert Classifier(epochs=1, verbose=False).fit(both["train"]).record.spec.kind == "image"
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png")
    assert model.predict(tmp_path / "x.png")[0] in ("cat", "dog")


def test_rows_of_pictures_without_a_class(tmp_path):
    data = picture_data(tmp_path, "a", 30)
    data = datasets.Dataset.from_dict({"img": data["img"], "label": [None, *data["label"][1:]]}, data.features)
    with pytest.raises(DataError, match="missing in 1 row of 60"):
        Classifier(epochs=1, verbose=False).fit(data)
    model = Classifier(epochs=1, drop_unlabelled=True, verbose=False).fit(data)
    assert model.record.data["left_out"][0]["name"] == "train#1"


def test_settings_that_do_not_fit_pictures(tmp_path):
    with pytest.raises(ConfigError, match="separator is for a text table"):
        Classifier(separator=";", verbose=False).fit(picture_data(tmp_path, "a"))


def test_a_data_set_without_training_rows():
    data = datasets.DatasetDict(validation=named_classes(9), test=named_classes(9))
    with pytest.raises(DataError, match="no split called train: it has validation, test"):
        Classifier(verbose=False).fit(data)
