"""Familiarity from distances, and the contract's field of it."""

from typing import Any

import pytest

from serving.errors import ContractError
from serving.model.contract import Contract
from serving.model.familiarity import MAX_DISTANCES, Familiarity
from tests.tiny_model import CONTRACT

TEN = Familiarity(10, tuple(float(each) for each in range(10)), 0.2)


@pytest.mark.parametrize(
    ("distance", "farther"),
    [(-1.0, 10), (0.0, 9), (4.5, 5), (9.0, 0), (1e9, 0), (float("inf"), 0), (float("nan"), 0)],
)
def test_familiarity_counts_the_photos_that_lie_farther_out(distance: float, farther: int):
    assert TEN.of(distance) == pytest.approx((1 + farther) / 11)


def test_quantiles_stand_for_more_photos_than_are_listed():
    listed = tuple(float(each) for each in range(MAX_DISTANCES))
    many = Familiarity(5_000, listed, 0.04)
    assert many.of(listed[MAX_DISTANCES // 2 - 1]) == pytest.approx(0.5, abs=1e-3)
    assert many.of(1e9) == pytest.approx(1 / 5_001)


def test_a_contract_keeps_its_familiarity():
    contract = Contract.from_json(
        Contract(CONTRACT.name, CONTRACT.classes, CONTRACT.preprocess, familiarity=TEN).to_json()
    )
    assert contract.familiarity == TEN


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"distances": list(range(9))}, "familiarity.distances' is 9"),
        ({"distances": [*range(9), float("inf")]}, "familiarity.distances"),
        ({"distances": [*range(9), 3]}, "familiarity.distances"),
        ({"distances": [*range(9), "10"]}, "familiarity.distances"),
        ({"distances": None}, "familiarity.distances"),
        ({"photos": 0}, "familiarity.photos"),
        ({"photos": True}, "familiarity.photos"),
        ({"unsure_below": 2}, "familiarity.unsure_below"),
        ({"unsure_below": None}, "familiarity.unsure_below"),
    ],
)
def test_damaged_familiarity_is_refused_by_name(changes: dict[str, Any], named: str):
    value = CONTRACT.to_json() | {"familiarity": TEN.to_json() | changes}
    with pytest.raises(ContractError, match=named):
        Contract.from_json(value)


def test_contract_1_has_no_familiarity_and_is_read():
    contract = Contract.from_json(CONTRACT.to_json() | {"version": 1})
    assert contract.familiarity is None
