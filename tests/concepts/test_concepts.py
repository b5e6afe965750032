"""Every row of the list of concepts, against the numbers that it states; and each check fails when one is changed."""

import pytest

from tests.concepts import contexts, information, logits, nll, softmax
from tests.concepts.registry import CONCEPTS, changed

MODULES = (contexts, information, logits, nll, softmax)  # importing them fills the registry


def test_there_are_fifty_six():
    assert sorted(CONCEPTS) == list(range(1, 57))


@pytest.mark.parametrize("row", range(1, 57))
def test_concept(row):
    check, stated = CONCEPTS[row]
    check(**stated)


@pytest.mark.parametrize("row", range(1, 57))
def test_a_changed_number_is_noticed(row):
    check, stated = CONCEPTS[row]
    versions = list(changed(stated))
    assert versions
    for version in versions:
        with pytest.raises((AssertionError, LookupError)):
            check(**version)
