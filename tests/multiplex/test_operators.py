from __future__ import annotations

import pytest
import torch

from paceline.multiplex import operators
from paceline.multiplex.capture.evaluate import overload
from paceline.multiplex.capture.rules import RULES

GROUPS = {
    name: value
    for name, value in vars(operators).items()
    if isinstance(value, frozenset) and name not in ("OPERATORS", "POINTWISE")
}


@pytest.mark.parametrize("target", sorted(operators.OPERATORS))
def test_operator_exists_and_writes_to_nothing(target: str) -> None:
    found = overload(target)
    assert not found._schema.is_mutable
    if torch.Tag.nondeterministic_seeded in found.tags:  # only with dropout, which their rules refuse
        assert target in operators.RECURRENT | operators.ATTENTION
        assert target in RULES


def test_groups_do_not_overlap() -> None:
    assert all(GROUPS[one].isdisjoint(GROUPS[two]) for one in GROUPS for two in GROUPS if one < two)
    assert frozenset().union(*GROUPS.values()) == operators.OPERATORS


@pytest.mark.parametrize(
    "target", ["relu", "aten.relu", "aten.no_such.default", "prims.add.default", "aten.__class__.x"]
)
def test_unknown_operator_is_a_key_error(target: str) -> None:
    with pytest.raises((KeyError, ValueError)):
        overload(target)
