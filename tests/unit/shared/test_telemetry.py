"""A trace crosses Kafka in one header, and whatever a sender puts there does not travel on."""

from __future__ import annotations

import re

import pytest

from shared.telemetry import child_of

WELL_FORMED = re.compile(r"^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


def test_a_child_keeps_the_trace_and_its_flags_and_has_a_span_of_its_own() -> None:
    child = child_of(PARENT)
    assert WELL_FORMED.match(child)
    assert child[:36] == PARENT[:36]
    assert child[-2:] == "00"
    assert child != PARENT


def test_two_children_differ() -> None:
    assert child_of(PARENT) != child_of(PARENT)


@pytest.mark.parametrize(
    "parent", [None, "", "x" * 100_000, PARENT.upper(), PARENT[:-1], PARENT + "-x", PARENT + "\n", "01" + PARENT[2:]]
)
def test_without_a_parent_that_can_be_read_a_trace_begins(parent: str | None) -> None:
    child = child_of(parent)
    assert WELL_FORMED.match(child)
    assert child_of(parent)[3:35] != child[3:35]
    assert child.endswith("-01")
