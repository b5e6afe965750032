"""Planted mistakes are found, whatever the model: every certain rule over every shape."""

import pytest

from lastlayer.diagnosis.registry import RULES
from tests.diagnosis.likely import LIKELY
from tests.diagnosis.models import SHAPES
from tests.diagnosis.planted import CERTAIN, codes

PLANTS = [(code, place) for code, plants in CERTAIN.items() for place in range(len(plants))]


def test_every_certain_rule_is_planted_over_ten_shapes():
    assert set(CERTAIN) == {code for code, rule in RULES.items() if rule.confidence == "certain"}
    assert len(SHAPES) >= 10


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_certain_rules_find_what_was_planted(shape):
    logits = shape.logits()
    missed = [(code, place) for code, place in PLANTS if code not in codes(CERTAIN[code][place](logits))]
    assert missed == []


@pytest.mark.parametrize("code", LIKELY)
def test_likely_rules_find_nine_of_ten(code):
    found = [code in codes(ask()) for ask in LIKELY[code]]
    assert sum(found) >= 0.9 * len(found), [place for place, hit in enumerate(found) if not hit]


def test_every_likely_rule_is_planted():
    assert set(LIKELY) == {code for code, rule in RULES.items() if rule.confidence == "likely"}
