"""Correct set-ups get no error and no warning, and most of them are called healthy."""

import pytest

from tests.diagnosis.zoo import ZOO, blamed


def test_the_zoo_is_large():
    assert len(ZOO) >= 60


@pytest.mark.parametrize("name", ZOO)
def test_a_correct_setup_is_not_blamed(name):
    report = ZOO[name]()
    assert blamed(report) == [], report.text()
    if ", cross-entropy" in name or ", lastlayer" in name or name.startswith(("timm", "transformers", "head")):
        assert report.verdict == "healthy", report.text()
