"""Text columns: which columns are text, their n-grams, mixed tables, what a person may type, and what is kept."""

import csv
import io
import json
import math
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch

from lastlayer import Classifier
from lastlayer.classifier.data.ngrams import NGrams
from lastlayer.classifier.data.text_rows import TextRows, readable_text
from lastlayer.classifier.network.texts import BagOfNGrams
from lastlayer.errors import ConfigError, DataError, RunError

SENTENCES = {
    "card": ["my card is lost please help", "where did my new card go", "카드가 아직 오지 않았어요",
             "the card 🙂 is gone now"],
    "rate": ["what exchange rate do you use", "the rate looks wrong to me", "환율이 너무 높아요 오늘",
             "rates for cash 💱 are high"],
}  # fmt: skip


def rows(count: int = 120, **columns) -> list[dict]:
    chance = random.Random(7)
    made = []
    for number in range(count):
        label = chance.choice(sorted(SENTENCES))
        words = chance.choice(SENTENCES[label]).split()
        chance.shuffle(words)
        made.append(
            {"text": f"{' '.join(words)} n{number}", **{k: f(number) for k, f in columns.items()}, "label": label}
        )
    return made


@pytest.fixture(scope="module")
def trained() -> Classifier:
    return Classifier(epochs=12, verbose=False).fit(rows(), "label")


@pytest.fixture(scope="module")
def run(trained, tmp_path_factory):
    return trained.save(tmp_path_factory.mktemp("texts") / "run")


# --- which columns are text


def test_a_column_of_different_sentences_is_text_and_says_how_to_overrule(heard):
    data = rows(sort=lambda n: f"k{n % 3}", code=lambda n: f"id-{n:05}", number=lambda n: n * 7 % 31)
    model = Classifier(epochs=1, listener=heard).fit(data, "label")
    kinds = {column.name: column.kind for column in model.record.spec.preprocessing.columns}
    assert kinds == {"text": "text", "sort": "categorical", "number": "numeric"}
    assert model.record.spec.backbone == "ngrams"
    notes = "\n".join(heard.notes)
    assert "'text' is text" in notes
    assert "categorical='text'" in notes
    assert "'code' left out" in notes
    assert "text='code'" in notes
    assert "1 numeric, 1 categorical, 1 text" in notes


def test_a_person_overrules_what_a_column_is():
    data = rows(80, code=lambda n: f"a{n % 4}", tag=lambda n: f"t{n}")
    model = Classifier(epochs=1, verbose=False, text=["tag"], categorical=["text"]).fit(data, "label")
    kinds = {column.name: column.kind for column in model.record.spec.preprocessing.columns}
    assert kinds == {"text": "categorical", "code": "categorical", "tag": "text"}


def test_texts_without_spaces_are_texts_too():
    chance = random.Random(0)
    data = [
        {"t": "".join(chance.choices("日本語の文章を書く人々", k=12)) + str(n), "y": "ab"[n % 2]} for n in range(60)
    ]
    model = Classifier(epochs=1, verbose=False).fit(data, "y")
    assert model.record.spec.preprocessing.only_text == "t"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"text": ["txet"]}, "did you mean 'text'"),
        ({"text": ["text"], "categorical": ["text"]}, "both"),
        ({"backbone": "ngrams", "categorical": ["text"]}, "no column is text"),
        ({"backbone": "ngrams", "pretrained": True}, "published weights"),
        ({"freeze": True}, "random weights"),
        ({"finetune_epochs": 3}, "freeze"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, said):
    with pytest.raises((ConfigError, DataError), match=f"(?i){said}"):
        Classifier(verbose=False, **settings).fit(rows(60, other=lambda n: n % 5), "label")


# --- n-grams


def of_brute_force(text: str) -> Counter:
    spaced, found = f" {text} ", Counter()
    for size in range(2, 6):
        for start in range(len(spaced) - size + 1):
            gram = spaced[start : start + size]
            if " " not in gram[1:-1] and gram != "  ":
                found[gram] += 1
    return found


def test_characters_are_counted_as_a_loop_over_strings_counts_them():
    texts = [row["text"] for row in rows(60)] + ["", "a", "ab  ab", "ＡＢ ﾊﾝ", "👩‍👩‍👧 ok"]
    grams = NGrams.learn(texts)
    counted = [of_brute_force(text) for text in grams._normalised(texts)]
    several = Counter(gram for each in counted for gram in each)
    assert grams.characters == {gram: count for gram, count in several.items() if count >= 2}
    names, first = grams.names, len(grams.words)
    encoded = grams.encode(texts)
    for row, each in enumerate(counted):
        places = encoded.ids[encoded.starts[row] : encoded.starts[row + 1]]
        assert {names[place] for place in places if place >= first} == set(each) & set(grams.characters)


def test_weights_are_tf_idf_of_length_one_per_kind():
    texts = [row["text"] for row in rows(60)]
    grams = NGrams.learn(texts)
    encoded, counted = grams.encode(texts), of_brute_force(grams._normalised(texts[:1])[0])
    ids, weights = encoded.ids[: encoded.starts[1]], encoded.weights[: encoded.starts[1]].astype(float)
    of_characters = ids >= len(grams.words)
    expected = np.array(
        [
            (1 + math.log(counted[name])) * (1 + math.log((1 + len(texts)) / (1 + grams.characters[name])))
            for name in (grams.names[place] for place in ids[of_characters])
        ]
    )
    np.testing.assert_allclose(weights[of_characters], expected / np.linalg.norm(expected), rtol=1e-6)
    assert np.linalg.norm(weights[~of_characters]) == pytest.approx(1, rel=1e-6)


def test_width_of_letters_and_case_do_not_matter():
    grams = NGrams.learn([row["text"] for row in rows(60)])
    plain, wide = grams.encode(["card rate 환율이"]), grams.encode(["ＣＡＲＤ  Rate " + "환율이".encode().decode()])
    assert plain.ids.tolist() == wide.ids.tolist()
    import unicodedata

    apart = grams.encode([unicodedata.normalize("NFD", "card rate 환율이")])
    assert plain.ids.tolist() == apart.ids.tolist()


def test_one_text_is_encoded_as_among_others():
    texts = [row["text"] for row in rows(60)] + ["", None, "\ud800 card", "card " * 3]
    grams = NGrams.learn(texts)
    together = grams.encode(texts)
    for row in (0, 17, 60, 61, 62, 63):
        alone, between = grams.encode([texts[row]]), slice(together.starts[row], together.starts[row + 1])
        assert alone.ids.tolist() == together.ids[between].tolist()
        assert alone.weights.tolist() == together.weights[between].tolist()
    assert len(grams.encode(["", None]).ids) == 0


def test_the_vocabulary_is_kept_as_text_and_read_back():
    grams = NGrams.learn([row["text"] for row in rows(60)])
    again = NGrams.from_dict(json.loads(json.dumps(grams.to_dict(), ensure_ascii=False)))
    assert again.encode(["my card 환율이"]).ids.tolist() == grams.encode(["my card 환율이"]).ids.tolist()
    assert (again.words, again.characters) == (grams.words, grams.characters)
    assert "card" in " ".join(grams.words)
    assert " car" in grams.characters


def test_the_same_texts_give_the_same_vocabulary_in_another_process():
    program = (
        "import sys, json, hashlib; from lastlayer.classifier.data.ngrams import NGrams\n"
        "texts = json.loads(sys.stdin.read())\n"
        "print(hashlib.sha256(json.dumps(NGrams.learn(texts).to_dict()).encode()).hexdigest())"
    )
    texts = json.dumps([row["text"] for row in rows(60)])
    found = {
        subprocess.run([sys.executable, "-c", program], input=texts, text=True, capture_output=True, check=True).stdout
        for _ in range(2)
    }
    assert len(found) == 1
    assert len(next(iter(found))) == 65


def test_a_text_of_a_megabyte_is_read_within_bounds():
    grams = NGrams.learn([row["text"] for row in rows(60)])
    long = "where is my card 환율이 🙂 " * 50_000
    assert len(long) > 1_000_000
    encoded = grams.encode([long, "card"])
    assert np.diff(encoded.starts).max() <= 4096
    assert encoded.weights[: encoded.starts[1]].all()
    assert len(readable_text(long)) == 1_000_000


def test_texts_that_share_nothing_still_train():
    texts = [chr(0x4E00 + 40 * n) for n in range(30)]
    grams = NGrams.learn(texts)
    assert (np.diff(grams.encode(texts).starts) > 0).all()  # none of them is nothing
    assert NGrams.learn(["", None]).size == 0
    data = [{"text": f"{text} {text}{text}", "label": "ab"[n % 2]} for n, text in enumerate(texts)]
    assert Classifier(epochs=1, text=["text"], verbose=False).fit(data, "label").record.spec.backbone == "ngrams"


def test_a_batch_is_filled_to_its_longest():
    made = TextRows(np.array([0, 2, 2, 3]), np.array([5, 7, 9], np.int32), np.array([1, 2, 3], np.float32), filler=4)
    ids, weights = made.batch([2, 0, 1])
    assert ids.tolist() == [[9, 4], [5, 7], [4, 4]]
    assert weights.tolist() == [[3, 0], [1, 2], [0, 0]]
    assert made.batch([1])[0].shape == (1, 1)
    both = TextRows.joined([made, made])
    assert both.batch([4, 5])[0].tolist() == [[4], [9]]


def test_a_bag_is_the_weighed_sum_however_rows_are_filled():
    torch.manual_seed(0)
    bag = BagOfNGrams(10, width=8).eval()
    ids, weights = torch.tensor([[1, 3, 0], [2, 0, 0], [0, 0, 0]]), torch.tensor([[1.0, 2, 0], [0.5, 0, 0], [0, 0, 0]])
    expected = torch.relu((bag.vectors.weight[ids] * weights.unsqueeze(-1)).sum(1) + bag.bias)
    torch.testing.assert_close(bag(ids, weights), expected)
    exported = torch.export.export(bag, (ids, weights)).module()
    torch.testing.assert_close(exported(ids, weights), expected)


# --- the classifier


def test_texts_are_learnt(trained):
    assert trained.evaluate()["accuracy"] == 1.0
    assert trained.predict(["I lost a card", "which rate"]).tolist() == ["card", "rate"]


def test_text_numbers_and_categories_stand_side_by_side():
    chance = random.Random(3)
    data = [
        {
            **row,
            "number": chance.gauss(0, 1),
            "kind": chance.choice("xyz"),
            "label": "yes" if chance.random() < 0.5 else "no",
        }
        for row in rows(300)
    ]
    for row in data:  # the answer stands in the number alone
        row["number"] = 3.0 if row["label"] == "yes" else -3.0
    model = Classifier(epochs=25, verbose=False).fit(data, "label")
    assert model.evaluate()["accuracy"] > 0.95
    network = model._network
    assert network.backbone.others is not None
    assert len(network.backbone.readers) == 1


def test_two_text_columns_have_a_vocabulary_each():
    data = [{**row, "second": f"{row['text'][::-1]} some more words"} for row in rows(100)]
    model = Classifier(epochs=2, verbose=False).fit(data, "label")
    first, second = model.record.spec.preprocessing.texts
    assert first.characters != second.characters
    assert model.predict_proba(data[:3]).shape == (3, 2)


def test_everything_is_learnt_from_training_rows_alone():
    data = rows(120)
    kept = Classifier(epochs=1, verbose=False, seed=1).fit(data, "label").record.predictions["input"].to_pylist()
    for name in kept:  # rows that judge, choose or calibrate, with a word of their own
        data[int(name.split("#")[1]) - 1]["text"] += " zebra"
    model = Classifier(epochs=1, verbose=False, seed=1).fit(data, "label")
    grams = model.record.spec.preprocessing.texts[0]
    assert model.record.predictions["input"].to_pylist() == kept
    assert grams.rows == 120 - len(kept) == model.record.data["rows"]["train"]
    assert not [name for name in grams.names if "zeb" in name]
    assert [name for name in NGrams.learn([row["text"] for row in data]).names if "zeb" in name]


@pytest.mark.parametrize(
    "text", ["", "   ", "🙂🙂🙂", "환율 rate 率 مرحبا", "\ud800", "\0", "a" * 100_000, "no word of it zzz"]
)
def test_any_text_has_a_prediction(trained, text):
    p = trained.predict_proba([text])
    assert p.shape == (1, 2)
    assert p.sum() == pytest.approx(1)
    assert np.isfinite(p).all()


def test_an_empty_text_is_a_missing_one(trained):
    same = trained.predict_proba([{"text": ""}, {"text": None}, {"text": "NA"}])
    np.testing.assert_allclose(same, same[:1].repeat(3, 0), rtol=1e-6)
    np.testing.assert_allclose(trained.predict_proba([""]), same[:1], rtol=1e-6)


def test_texts_come_as_strings_lists_lines_and_tables(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expected = trained.predict_proba([{"text": "my card"}, {"text": "rate, high"}])
    (tmp_path / "t.csv").write_text('text,x\nmy card,1\n"rate, high",2\n')
    (tmp_path / "t.txt").write_text("my card\nrate, high\n")
    for given in (
        ["my card", "rate, high"], "t.csv", "t.txt", b"my card\nrate, high\n", b'text\nmy card\n"rate, high"\n',
        b'{"text": "my card"}\n{"text": "rate, high"}\n',
    ):  # fmt: skip
        assert np.allclose(trained.predict_proba(given), expected, atol=1e-6), given
    assert np.allclose(trained.predict_proba("my card"), expected[:1], atol=1e-6)
    assert np.allclose(trained.predict_proba("t.csv#2"), expected[1:], atol=1e-6)
    assert trained.predictions("my  card\nis lost").names == ["my card is lost"]
    with pytest.raises(DataError, match="no file"):
        trained.predict("absent.csv")


def test_a_run_keeps_its_vocabulary_and_is_portable(trained, run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "elsewhere")
    names = json.loads((copy / "manifest.json").read_text())["files"]
    assert "tokenizer.json" in names
    assert "texts" not in json.loads((copy / "model.json").read_text())["preprocessing"]
    texts = ["my card", "", "환율이 🙂"]
    assert (Classifier.load(copy).predict_proba(texts) == trained.predict_proba(texts)).all()


@pytest.mark.parametrize(
    "harm",
    [
        lambda f: (f / "tokenizer.json").unlink(),
        lambda f: (f / "tokenizer.json").write_bytes((f / "tokenizer.json").read_bytes().replace(b'"ca', b'"ac', 1)),
        lambda f: _unlist(f, "tokenizer.json"),
    ],
    ids=["gone", "changed", "unlisted"],
)
def test_a_vocabulary_that_is_not_as_it_was_written_stops_the_loading(run, tmp_path, harm):
    copy = shutil.copytree(run, tmp_path / "copy")
    harm(copy)
    with pytest.raises(RunError, match=r"tokenizer\.json"):
        Classifier.load(copy)


def _unlist(folder, name):
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["files"][name]
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_the_report_shows_the_texts_of_the_worst_rows(run):
    page = (run / "report.html").read_text()
    worst = Classifier.load(run).evaluate().worst[0].name
    number = int(worst.rpartition("#")[2])
    assert rows()[number - 1]["text"] in page


def test_a_row_of_a_table_is_explained(trained, tmp_path):
    with (tmp_path / "t.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["text", "label"])
        writer.writeheader()
        writer.writerows(rows(5))
    trace = trained.explain(f"{tmp_path / 't.csv'}#3")
    assert trace.context["input"] == "t.csv#3"
    assert "loss" in [step.id for step in trace.steps]


def test_lines_keep_their_places(trained):
    found = trained.predictions([b"my card\n\n\xff\xfe rate\nrate\n"])
    assert list(found.names) == [f"stdin#{row}" for row in range(1, 5)]
    assert list(found.problems) == [2]
    assert "0xff" in found.problems[2]


def test_a_text_model_is_not_exported(trained, tmp_path):
    with pytest.raises(RunError, match="reads text"):
        trained.export(tmp_path / "model.onnx")


@pytest.fixture
def _interrupts_as_before():
    """The command line ends with interrupts ignored, since its process ends too."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interrupts_as_before")
def test_the_command_line_takes_texts(run, capsys, monkeypatch):
    from lastlayer.__main__ import main

    class Stdin:
        buffer = io.BytesIO("my card\n\n환율이\n".encode())

        @staticmethod
        def isatty():
            return False

    for arguments, count in ((["where is my card", ""], 2), (["-"], 3)):
        if arguments == ["-"]:
            monkeypatch.setattr("sys.stdin", Stdin)
        monkeypatch.setattr("sys.argv", ["lastlayer", "predict", str(run), *arguments, "--json"])
        assert main() == 0
        printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert len(printed) == count
        texts = ["my card", "", "환율이"] if arguments == ["-"] else arguments
        assert [row["prediction"] for row in printed] == Classifier.load(run).predict(texts).tolist()
