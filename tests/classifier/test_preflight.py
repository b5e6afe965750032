"""The pre-flight names what is wrong, and is silent where nothing is."""

import math
import time

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lastlayer import Classifier
from lastlayer.classifier import preflight
from lastlayer.classifier.data.checks.labels import plain
from lastlayer.classifier.data.checks.leaks import alone
from lastlayer.classifier.data.checks.near import near_texts
from lastlayer.classifier.data.checks.shift import holm
from lastlayer.errors import ColumnError, ConfigError, DataError, DataNotFoundError
from tests.classifier.conftest import flowers, write_digits

WORDS = [
    "card", "money", "transfer", "account", "balance", "payment", "refund", "top", "up", "limit", "fee", "exchange",
    "rate", "cash", "atm", "pin", "code", "phone", "app", "identity", "proof", "address", "country", "currency",
    "cheque", "salary", "pending", "failed", "declined", "stolen", "lost", "new", "old", "virtual",
]  # fmt: skip


def found(data, target=None, **settings):
    return preflight(data, target, **settings)


def ids(report, *severities):
    return [one.id for one in report if not severities or one.severity in severities]


def pictures(folder, per_class=12, size=32, seed=0, classes=("cat", "dog")):
    """Smooth random pictures: no two alike."""
    random = np.random.default_rng(seed)
    for label in classes:
        (folder / label).mkdir(parents=True)
        for place in range(per_class):
            coarse = Image.fromarray(random.integers(0, 256, (6, 6, 3), dtype=np.uint8))
            coarse.resize((size, size), Image.Resampling.BICUBIC).save(folder / label / f"{place}.png")
    return folder


def sentences(rows, seed=0):
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, 12)) for _ in range(rows)]


def test_nothing_is_found_in_sound_data(tmp_path):
    assert not found(pictures(tmp_path / "p")).findings
    report = found(flowers(), "kind")
    assert ids(report) == ["missing-cells"]
    assert not report.harmful
    assert report.rows == {"train": 125, "validation": 3, "test": 22}
    assert sum(report.classes.values()) == 150


def test_the_split_is_the_one_that_training_makes(tmp_path):
    from lastlayer import Classifier

    model = Classifier(epochs=1, calibration=0.1, verbose=False).fit(flowers(), "kind")
    assert found(flowers(), "kind", calibration=0.1).rows == model.record.data["rows"]


# Images


def test_files_that_cannot_be_read(tmp_path):
    folder = pictures(tmp_path / "p")
    (folder / "cat" / "empty.png").write_bytes(b"")
    (folder / "cat" / "words.jpg").write_text("not a picture")
    whole = (folder / "dog" / "0.png").read_bytes()
    (folder / "dog" / "half.png").write_bytes(whole[: len(whole) // 2])
    (folder / "loose.png").write_bytes(whole)
    (folder / "bird").mkdir()
    report = found(folder)
    assert set(report["unreadable-image"].rows) == {"cat/empty.png", "cat/words.jpg", "dog/half.png"}
    assert report["unreadable-image"].decision == "left out"
    reasons = report["unreadable-image"].numbers["reasons"]
    assert "truncated" in reasons["dog/half.png"]
    assert reasons["cat/empty.png"] == "an empty file"
    assert report["outside-the-classes"].rows == ("loose.png",)
    assert report["empty-class-folder"].rows == ("bird",)
    strict = found(folder, strict=True)["unreadable-image"]
    assert (strict.severity, strict.decision) == ("stops", "stops")


def test_copies_of_pictures_exact_and_near(tmp_path):
    for part, seed in (("train", 0), ("test", 1), ("val", 2)):
        pictures(tmp_path / "d" / part, seed=seed)
    source = Image.open(tmp_path / "d/train/cat/3.png")
    source.save(tmp_path / "d/test/cat/copy.bmp")
    source.resize((80, 80)).save(tmp_path / "d/val/cat/near.jpg", quality=60)
    source.point(lambda level: min(255, int(level * 0.9) + 12)).save(tmp_path / "d/test/dog/brighter.png")
    report = found(tmp_path / "d")
    exact = report["copies-across-splits"]
    assert (exact.rows, exact.count) == (("train/cat/3.png", "test/cat/copy.bmp"), 1)
    assert "train/cat/3.png is test/cat/copy.bmp" in exact.what  # which of the two is kept
    assert exact.decision == "left out"
    near = report["near-copies-across-splits"]
    assert {"train/cat/3.png", "val/cat/near.jpg", "test/dog/brighter.png"} == set(near.rows)
    assert "1 pair of them differ" in near.what


def test_one_picture_in_two_class_folders(tmp_path):
    folder = pictures(tmp_path / "p")
    picture = Image.open(folder / "cat" / "3.png")
    picture.save(folder / "dog" / "the same.png")
    report = found(folder)
    assert set(report["conflicting-labels"].rows) == {"cat/3.png", "dog/the same.png"}
    assert "looks-multi-label" not in ids(report)
    for place in range(4, 9):
        Image.open(folder / "cat" / f"{place}.png").save(folder / "dog" / f"cat {place}.png")
    assert "class folders" in found(folder)["looks-multi-label"].what


def test_odd_sizes_and_modes_are_notes(tmp_path):
    folder = pictures(tmp_path / "p", per_class=20)
    Image.new("RGB", (4, 4), "red").save(folder / "cat" / "icon.png")
    Image.new("RGB", (200, 20), "blue").save(folder / "dog" / "banner.png")
    Image.effect_noise((32, 32), 60).save(folder / "dog" / "grey.png")
    report = found(folder)
    assert set(report["odd-size"].rows) == {"cat/icon.png", "dog/banner.png"}
    assert "dog/grey.png" in report["odd-mode"].rows
    assert not report.harmful


def test_how_pictures_are_stored_can_give_the_class_away(tmp_path):
    folder = pictures(tmp_path / "p", per_class=30)
    for path in list((folder / "dog").iterdir()):
        Image.open(path).save(path.with_suffix(".bmp"))
        path.unlink()
    leak = found(folder)["leaking-column"]
    assert "ending of the name" in leak.what
    assert leak.numbers["accuracy"] == 1.0


def test_digits_that_look_alike_are_no_copies(tmp_path):
    report = found(write_digits(tmp_path / "d", 60))
    near = [one for one in report if one.id == "near-copies-across-splits"]
    assert sum(one.count for one in near) <= 2


# Texts


def test_texts_that_are_nearly_equal():
    cells = sentences(300)
    cells += [cells[5].upper() + "!!", cells[7].replace("card", "cards"), " ".join(reversed(cells[9].split()))]
    pairs = {pair.judge: pair.train for pair in near_texts(cells, range(300), range(300, 303))}
    assert pairs[300] == 5
    assert pairs[301] == 7
    assert near_texts(cells, range(100), range(100, 300)) == []
    assert near_texts(["", "!!", "a"], [0, 1], [2]) == []
    assert near_texts(["카드가 아직 도착하지 않았어요", "카드가 아직 도착하지 않았어요."], [0], [1])[0].alike == 1.0


def test_the_minhash_meets_pairs_at_the_threshold():
    base = sentences(200, seed=3)
    changed = [" ".join([*text.split()[:-1], "zzz"]) for text in base]
    pairs = near_texts(base + changed, range(200), range(200, 400))
    assert len(pairs) > 190
    assert all(pair.train == pair.judge - 200 for pair in pairs)


def test_near_copies_of_texts_across_given_splits(tmp_path):
    labels = ["yes", "no"] * 100
    train = pd.DataFrame({"text": sentences(200), "y": labels})
    test = pd.DataFrame({"text": sentences(60, seed=9), "y": labels[:60]})
    test.loc[3, "text"] = train.loc[8, "text"] + "?"
    (tmp_path / "d").mkdir()
    train.to_csv(tmp_path / "d/train.csv", index=False)
    test.to_csv(tmp_path / "d/test.csv", index=False)
    near = found(tmp_path / "d", "y")["near-copies-across-splits"]
    assert near.rows == ("test.csv#4", "train.csv#9")
    assert "differ in class" in near.what


# Labels


def test_classes_in_two_spellings():
    frame = flowers(200)
    frame["kind"] = frame["kind"].replace("rose", "Rose")
    frame.loc[[3, 50], "kind"] = ["rose", "rose"]
    frame.loc[[4], "kind"] = ["li\u200bly"]
    finding = found(frame, "kind")["label-spelling"]
    assert finding.severity == "harms"
    assert set(finding.rows) == {"frame#4", "frame#51", "frame#5"}
    letters = pd.DataFrame({"x": np.arange(200.0) % 13, "y": ["a", "A"] * 100})
    assert found(letters, "y")["label-spelling"].severity == "note"
    assert plain("Ⅻ\u00a0 x") == "xii x"


@pytest.mark.parametrize("separator", list("|;,/+&"))
def test_cells_with_several_labels(separator):
    random = np.random.default_rng(0)
    tags = [separator.join(sorted({*random.choice(["cat", "dog", "bird"], 2)})) for _ in range(90)]
    finding = found(pd.DataFrame({"x": random.normal(size=90), "tags": tags}), "tags")["looks-multi-label"]
    assert finding.numbers["separator"] == separator
    assert finding.count == sum(separator in tag for tag in tags)


@pytest.mark.parametrize("classes", [["R&B", "rock", "jazz"], ["AC/DC", "Queen"], ["n/a-type", "b/c-type", "d"]])
def test_names_with_separators_are_no_lists(classes):
    frame = pd.DataFrame({"x": np.random.default_rng(0).normal(size=90), "y": (classes * 90)[:90]})
    assert "looks-multi-label" not in ids(found(frame, "y"))


def test_classes_that_a_split_lacks(tmp_path):
    (tmp_path / "d").mkdir()
    flowers(80).query("kind != 'iris'").to_csv(tmp_path / "d/train.csv", index=False)
    flowers(30, seed=3).query("kind != 'lily'").to_csv(tmp_path / "d/test.csv", index=False)
    report = found(tmp_path / "d", "kind")
    assert report["unseen-class"].severity == "stops"
    test = flowers(30, seed=3).query("kind != 'lily'")["kind"].tolist()
    assert report["unseen-class"].rows == tuple(f"test.csv#{row}" for row, kind in enumerate(test, 1) if kind == "iris")
    assert "'lily'" in report["class-not-in-test"].what
    assert report.harmful


def test_few_rows_and_unequal_shares():
    frame = pd.DataFrame({"x": np.random.default_rng(0).normal(size=400), "y": ["a"] * 393 + ["b"] * 5 + ["c"] * 2})
    report = found(frame, "y")
    few = {one.severity: one for one in report if one.id == "few-rows-of-a-class"}
    assert few["harms"].rows == ("frame#399", "frame#400")
    assert few["note"].count == 1
    shares = report["class-imbalance"].numbers
    assert shares["ln_classes"] == pytest.approx(math.log(3))
    assert 0 < shares["prior_entropy"] < 0.15
    copied = pd.DataFrame({"x": [*range(100), *([200] * 12)], "y": ["a"] * 100 + ["b"] * 12})
    assert "'b' (1)" in found(copied, "y")["few-rows-of-a-class"].what  # a row written twelve times is one
    assert f"{shares['prior_entropy']:.3f} nats" in report["class-imbalance"].what


def test_shares_are_those_of_the_rows_that_train(tmp_path):
    (tmp_path / "d").mkdir()
    flowers(90).to_csv(tmp_path / "d/train.csv", index=False)
    roses = flowers(900, seed=3).query("kind == 'rose'")
    pd.concat([roses, flowers(40, seed=4)]).to_csv(tmp_path / "d/test.csv", index=False)
    assert "class-imbalance" not in ids(found(tmp_path / "d", "kind"))
    roses.to_csv(tmp_path / "d/train.csv", index=False, mode="a", header=False)
    assert "class-imbalance" in ids(found(tmp_path / "d", "kind"))


def test_rows_without_a_class():
    frame = flowers(60)
    frame.loc[[2, 9], "kind"] = None
    stops = found(frame, "kind")["missing-label"]
    assert (stops.severity, stops.rows) == ("stops", ("frame#3", "frame#10"))
    assert found(frame, "kind", drop_unlabelled=True)["missing-label"].decision == "left out"


def test_what_training_refuses_is_a_finding(tmp_path):
    regression = pd.DataFrame({"x": range(100), "y": np.linspace(0, 1, 100)})
    assert "looks like regression" in found(regression, "y")["cannot-be-trained-on"].what
    (tmp_path / "open.csv").write_text('a,y\n1,"b\n2,c\n')
    report = found(tmp_path / "open.csv", "y")
    assert (report["cannot-be-read"].severity, report.rows) == ("stops", {})
    same = pd.DataFrame({"x": [1] * 40, "y": ["a", "b"] * 20})
    assert report.harmful
    assert "cannot-be-trained-on" in ids(found(same, "y"))


def test_wrong_use_is_raised(tmp_path):
    with pytest.raises(ColumnError, match="Did you mean 'kind'"):
        found(flowers(), "kinds")
    with pytest.raises(DataNotFoundError):
        found(tmp_path / "nothing.csv", "y")
    with pytest.raises(ConfigError, match="needs target"):
        found(flowers())
    with pytest.raises(KeyError, match="no finding 'x'; there are: missing-cells"):
        found(flowers(), "kind")["x"]


# Columns


def leaky(rows=300, seed=0):
    random = np.random.default_rng(seed)
    target = random.integers(0, 3, rows)
    return pd.DataFrame(
        {
            "noise": random.normal(size=rows),
            "code": np.array(["x1", "x2", "x3"])[target],
            "amount": target * 10 + random.random(rows),
            "half": np.where(random.random(rows) < 0.8, target, 0),
            "y": np.array(["a", "b", "c"])[target],
        }
    )


def test_a_column_that_determines_the_class():
    leaks = {one.numbers["column"]: one for one in found(leaky(), "y") if one.id == "leaking-column"}
    assert set(leaks) == {"code", "amount"}
    assert leaks["code"].numbers["accuracy"] == 1.0
    rare = leaky().assign(y=["yes"] * 2 + ["no"] * 298, same=["k", "l"] * 150)  # what always answers no leaks nothing
    assert "leaking-column" not in ids(found(rare.drop(columns=["code", "amount"]), "y"))
    assert "100.00%" in leaks["code"].what
    assert "ignore='code'" in leaks["code"].fix
    assert not [one for one in found(leaky(), "y", ignore=("code", "amount")) if one.id == "leaking-column"]


def test_accuracy_of_one_feature_is_of_rows_it_was_not_fitted_to():
    random = np.random.default_rng(0)
    target = random.integers(0, 2, 400)
    assert alone([str(number) for number in random.normal(size=400)], target) < 0.6
    assert alone([f"id{row}" for row in range(400)], target) == 0.0
    assert alone([f"g{row // 3}" for row in range(400)], target) < 0.6
    assert alone([None, "1"] * 200, np.array([0, 1] * 200)) == 0.0  # one value: the flag of a missing cell is no word
    assert alone([None, "1", "2", "2"] * 100, np.array([0, 1, 0, 0] * 100)) == 1.0


def test_constant_identifying_counting_missing_and_infinite_columns():
    rows = 200
    frame = leaky(rows)[["noise", "y"]].assign(
        one="same",
        key=[f"k-{row * 7919 % 1000}-{row}" for row in range(rows)],
        row=range(rows),
        customer_id=np.random.default_rng(1).permutation(rows) + 5000,
        price=np.random.default_rng(2).integers(0, 10**6, rows),
    )
    frame.loc[::10, "price"] = np.nan
    frame.loc[7, "noise"] = np.inf
    report = found(frame, "y")
    assert report["constant-column"].numbers["columns"] == ["one"]
    assert report["identifier-column"].numbers["columns"] == ["key"]
    assert report["counting-column"].numbers["columns"] == ["row", "customer_id"]
    assert report["missing-cells"].numbers["columns"] == {"price": 0.1}
    assert report["infinite-cells"].rows == ("frame#8",)
    assert set(ids(report, "harms")) == {"counting-column", "infinite-cells"}


def test_texts_are_no_identifiers():
    frame = pd.DataFrame({"text": sentences(120), "y": ["a", "b"] * 60})
    assert ids(found(frame, "y")) == []


# Groups and shift


def test_groups_on_both_sides_of_a_given_split(tmp_path):
    (tmp_path / "d").mkdir()
    frame = flowers(120).assign(patient=[f"p{row // 4}" for row in range(120)])
    frame.iloc[:90].to_csv(tmp_path / "d/train.csv", index=False)
    frame.iloc[88:].to_csv(tmp_path / "d/test.csv", index=False)
    torn = found(tmp_path / "d", "kind", group="patient")["group-leakage"]
    assert "1 group of 30 stands in several splits (6 rows): p22." in torn.what
    assert found(frame, "kind")["possible-groups"].numbers["column"] == "patient"
    assert "possible-groups" not in ids(found(frame, "kind", group="patient"))


def test_splits_from_different_distributions(tmp_path):
    (tmp_path / "same").mkdir()
    (tmp_path / "other").mkdir()
    frame = flowers(600)
    for folder in ("same", "other"):
        frame.iloc[:400].to_csv(tmp_path / folder / "train.csv", index=False)
    frame.iloc[400:].to_csv(tmp_path / "same/test.csv", index=False)
    frame.iloc[400:].assign(length=frame["length"] + 1, soil="peat").to_csv(tmp_path / "other/test.csv", index=False)
    assert "shifted-split" not in ids(found(tmp_path / "same", "kind"))
    (tmp_path / "many").mkdir()
    many = flowers(12_000)
    many.iloc[:8000].to_csv(tmp_path / "many/train.csv", index=False)
    many.iloc[8000:].assign(length=many["length"] + 0.2).to_csv(tmp_path / "many/test.csv", index=False)
    assert "shifted-split" not in ids(found(tmp_path / "many", "kind"))  # certain, and too small to matter
    shift = found(tmp_path / "other", "kind")["shifted-split"]
    features = {one["feature"]: one["p"] for one in shift.numbers["features"]}
    assert set(features) == {"length", "soil"}
    assert max(features.values()) < 1e-6


def test_texts_from_another_source(tmp_path):
    (tmp_path / "d").mkdir()
    labels = ["a", "b"] * 200
    pd.DataFrame({"text": sentences(400), "y": labels}).to_csv(tmp_path / "d/train.csv", index=False)
    same = sentences(200, seed=4)
    pd.DataFrame({"text": same, "y": labels[:200]}).to_csv(tmp_path / "d/test.csv", index=False)
    assert ids(found(tmp_path / "d", "y")) == []
    other = [text.replace("card", "carte").replace("money", "argent") for text in same]
    pd.DataFrame({"text": other, "y": labels[:200]}).to_csv(tmp_path / "d/test.csv", index=False)
    assert [one["feature"] for one in found(tmp_path / "d", "y")["shifted-split"].numbers["features"]] == ["text"]


def test_p_values_are_corrected_as_by_holm():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
    assert holm([0.6, 0.9]) == [1.0, 1.0]


# As a whole


def test_ten_thousand_rows_take_seconds():
    random = np.random.default_rng(0)
    frame = pd.DataFrame({f"x{place}": random.normal(size=10_000) for place in range(20)})
    frame["word"] = random.choice(list("abcdefgh"), 10_000)
    frame["text"] = sentences(10_000)
    frame["y"] = random.choice([f"class {place}" for place in range(30)], 10_000)
    started = time.monotonic()
    report = found(frame, "y")
    assert time.monotonic() - started < 20  # 4 s on an idle core
    assert not report.harmful


def test_a_report_is_plain_data():
    import json

    report = found(leaky(), "y")
    assert json.loads(json.dumps(report.to_dict()))["harmful"] is True


# Cells and files as people write them


def test_spaces_around_classes_are_taken_off_and_said(tmp_path, heard):
    from lastlayer import Classifier

    frame = flowers(90)
    frame.loc[[4, 7], "kind"] = frame.loc[[4, 7], "kind"] + "  "
    frame.to_csv(tmp_path / "t.csv", index=False)
    report = found(tmp_path / "t.csv", "kind")
    assert "2 cells with spaces around the class, which are taken off (t.csv#5, t.csv#8)" in report["reading"].what
    assert len(report.classes) == 3
    Classifier(epochs=1, listener=heard).fit(tmp_path / "t.csv", "kind")
    heard.said("2 cells with spaces around the class")


def test_every_ragged_row_is_named(tmp_path):
    (tmp_path / "t.csv").write_text('a,b,y\n1,2,x\n3,z\n"4\n5",6,x\n7,8,x,9\n10,11,z\n')
    report = found(tmp_path / "t.csv", "y")
    assert report["cannot-be-read"].rows == ("t.csv#2 (line 3: 2 cells, not 3)", "t.csv#4 (line 6: 4 cells, not 3)")
    assert "t.csv, row 2 (line 3) has 2 cells" in report["cannot-be-read"].what


def test_letters_of_two_alphabets_in_one_word():
    frame = flowers(90)
    frame.loc[[5, 6], "kind"] = "r\u043ese"  # a Cyrillic o
    report = found(frame, "kind")
    assert report["mixed-alphabets"].rows == ("frame#6", "frame#7")
    mixed = frame.assign(kind=frame["kind"].map(lambda kind: f"{kind} 고양이 🐈 東京"))
    assert found(mixed, "kind")["mixed-alphabets"].count == 1  # Korean, Japanese and emoji share no shapes with Latin


def test_emoji_line_ends_marks_and_quotes(tmp_path):
    rows = [f'"{row}, said ""{row}""",🐈{row % 3},{"고양이" if row % 2 else "🐕 개"}' for row in range(60)]
    ends = ["\r\n", "\n", "\r"]
    text = "\ufeff텍스트,🙂,종류\r\n" + "".join(line + ends[place % 3] for place, line in enumerate(rows))
    (tmp_path / "t.csv").write_bytes(text.encode())
    report = found(tmp_path / "t.csv", "종류")
    assert report.classes == {"고양이": 30, "🐕 개": 30}
    assert "cannot-be-read" not in ids(report)


def test_several_labels():
    frame = flowers(200)
    tags = [["red"] * (row % 2) + ["big"] * (row % 3 == 0) + ["Red"] * (row == 5) for row in range(200)]
    report = found(frame.assign(tags=tags, code=[row % 2 for row in range(200)]), "tags")
    assert report["label-spelling"].rows == ("frame#6",)
    leak = {one.numbers["target"] for one in report if one.id == "leaking-column"}
    assert "label 'red'" in leak
    assert "looks-multi-label" not in ids(report)
    assert 0 < report["class-imbalance"].numbers["prior_entropy"] < math.log(2)


def test_one_class_alone_stops():
    frame = pd.DataFrame({"x": range(50), "y": ["one"] * 50})
    found = {finding.id: finding for finding in preflight(frame, target="y").findings}
    assert found["one-class"].severity == "stops"
    with pytest.raises(DataError, match="one class only"):
        Classifier(verbose=False).fit(frame, "y")


def test_dates_are_no_identifiers():
    days = pd.date_range("2026-01-01", periods=120).strftime("%Y-%m-%d")
    frame = pd.DataFrame({"when": days, "x": np.arange(120) % 7, "y": ["a", "b"] * 60})
    assert "identifier-column" not in {finding.id for finding in preflight(frame, target="y").findings}
