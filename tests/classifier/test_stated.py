"""Costs and shares as people state them."""

import numpy as np
import pytest

from lastlayer.classifier.config import Config
from lastlayer.classifier.policy.stated import read_costs, read_shares, written
from lastlayer.classifier.task import Task
from lastlayer.errors import ConfigError, DataNotFoundError

MANY = Task("multiclass", ("cat", "dog", "a, b"))
ONE = Task("binary", ("ham", "spam"))
LABELS = Task("multilabel", ("red", "green", "blue"))


@pytest.mark.parametrize(
    ("text", "task", "costs"),
    [
        ("0,1;5,0", ONE, ((0, 1), (5, 0))),
        ("0 1 / 5 0", ONE, ((0, 1), (5, 0))),
        ("1:5", ONE, ((0, 1), (5, 0))),
        ("spam>ham=5", ONE, ((0, 1), (5, 0))),
        ("cat>dog=2.5, dog>cat=.5", MANY, ((0, 2.5, 1), (0.5, 0, 1), (1, 1, 0))),
        ('"a, b">cat=7', MANY, ((0, 1, 1), (1, 0, 1), (7, 1, 0))),
        ("0,1,-2;1,0,1;1,1,0", MANY, ((0, 1, -2), (1, 0, 1), (1, 1, 0))),
        ("1:5", LABELS, ((0, 1), (5, 0))),
        ("green=2:20", LABELS, (((0, 1), (1, 0)), ((0, 2), (20, 0)), ((0, 1), (1, 0)))),
        ("1:1;2:20;3:1e3", LABELS, (((0, 1), (1, 0)), ((0, 2), (20, 0)), ((0, 3), (1000, 0)))),
    ],
)
def test_costs_in_words(text, task, costs):
    found = read_costs(text, task)
    assert found == costs
    assert read_costs(written(found, task), task) == found


def test_costs_in_a_file(tmp_path):
    """Classes in any order, as a spreadsheet writes them."""
    path = tmp_path / "costs.csv"
    path.write_text('\ufefftrue,dog,cat,"a, b"\ndog,0,1,2\n"a, b",3,4,0\ncat,5,0,6\n\n', encoding="utf-8")
    assert read_costs(str(path), MANY) == ((0, 5, 6), (1, 0, 2), (4, 3, 0))
    path.write_text("label,false yes,false no\nblue,1,9\nred,2,1\n")
    assert read_costs(str(path), LABELS) == (((0, 2), (1, 0)), ((0, 1), (1, 0)), ((0, 1), (9, 0)))


def test_digits_are_not_lost():
    assert written(((0.0, 0.1234567890123), (1e-9, 0.0)), ONE) == "0,0.1234567890123;1e-09,0"
    assert read_costs("0,0.1234567890123;1e-09,0", ONE) == ((0, 0.1234567890123), (1e-9, 0))


@pytest.mark.parametrize(
    ("text", "task", "said"),
    [
        ("0,1;5", ONE, "2 × 2"),
        ("0,1;5,x", ONE, "finite number, got 'x'"),
        ("0,1;nan,0", ONE, "finite number"),
        ("spam=5", ONE, "ham>spam=5"),
        ("spm>ham=5", ONE, "Did you mean 'spam'"),
        ("1:5", MANY, "finite number"),
        ("green=5", LABELS, "A:B"),
        ("1:2;3:4", LABELS, "one of 3 in a row"),
        ("0,1;5,0", LABELS, "A:B"),
    ],
)
def test_costs_that_cannot_be_read(text, task, said):
    with pytest.raises(ConfigError, match=said):
        read_costs(text, task)


def test_files_that_hold_no_costs(tmp_path):
    with pytest.raises(DataNotFoundError, match="with costs"):
        read_costs(str(tmp_path / "none.csv"), MANY)
    path = tmp_path / "costs.csv"
    for text, said in (
        ("true,cat\n", "a heading"),
        ("true,cat,dog\ncat,0\n", "a heading"),
        ("true,cat,dog\ncat,0,1\ndog,1,0\n", "every class once"),
        ("true,cat,dog,bird\ncat,0,1,1\ndog,1,0,1\nbird,1,1,0\n", "'bird'"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=said):
            read_costs(str(path), MANY)


@pytest.mark.parametrize(
    ("text", "task", "trained", "shares"),
    [
        ("spam=0.01", ONE, (0.3,), (0.01,)),
        ("ham=0.99", ONE, (0.3,), (0.01,)),
        ("spam=0.25,ham=0.75", ONE, (0.3,), (0.25,)),
        ("uniform", ONE, (0.3,), (0.5,)),
        ("cat=0.4", MANY, (0.5, 0.3, 0.2), (0.4, 0.36, 0.24)),
        ('cat=0.4,dog=0.1,"a, b"=0.5', MANY, (0.5, 0.3, 0.2), (0.4, 0.1, 0.5)),
        ("uniform", MANY, (0.5, 0.3, 0.2), (1 / 3, 1 / 3, 1 / 3)),
        ("green=0.9", LABELS, (0.5, 0.3, 0.2), (0.5, 0.9, 0.2)),
    ],
)
def test_shares_in_words(text, task, trained, shares):
    assert read_shares(text, task, trained) == pytest.approx(shares)


@pytest.mark.parametrize(
    ("text", "task", "said"),
    [
        ("spam=1.5", ONE, "between 0 and 1"),
        ("spam", ONE, "NAME=VALUE"),
        ("spam=0.5,ham=0.6", ONE, "sum to 1"),
        ("cat=0.6,dog=0.4", MANY, "sum to less than 1"),
        ("bird=0.4", MANY, "'bird'"),
        ("uniform", LABELS, "each label"),
    ],
)
def test_shares_that_cannot_be_read(text, task, said):
    trained = (0.3,) if task is ONE else (0.5, 0.3, 0.2)
    with pytest.raises(ConfigError, match=said):
        read_shares(text, task, trained)


def test_python_may_give_a_matrix_or_a_dictionary(tmp_path):
    assert Config(cost=[[0, 1], [5, 0]]).cost == "0,1;5,0"
    assert Config(cost=np.array([[0, 1.5], [5, 0]])).cost == "0,1.5;5,0"
    assert Config(cost={"red": (1, 5)}).cost == "red=1:5"
    assert Config(cost={"cat>dog": 5, "a, b>cat": 2}).cost == 'cat>dog=5,"a, b>cat"=2'
    assert read_costs(Config(cost={"cat>dog": 5, "a, b>cat": 2}).cost, MANY)[2][0] == 2
    assert Config(deploy_prior={"spam": 0.01}).deploy_prior == "spam=0.01"
    assert Config(cost=tmp_path / "costs.csv").cost == str(tmp_path / "costs.csv")
    with pytest.raises(ConfigError, match="has to be text"):
        Config(cost=[1, 2])
    with pytest.raises(ConfigError, match="coverage has to lie"):
        Config(coverage=1.0)
