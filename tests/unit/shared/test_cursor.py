"""Cursors of pages: given back as they came, they mean the same; anything else is an answer, not a fault."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from uuid import UUID

import pytest

from shared.http import Problem, cursor_after, read_cursor

AT, ROW = datetime(2026, 1, 5, 12, 0, 0, 250, tzinfo=UTC), UUID(int=7)


def test_a_cursor_comes_back_as_it_was_given() -> None:
    assert read_cursor(cursor_after(AT, ROW)) == (AT, ROW)
    assert read_cursor(None) is None


def test_a_time_without_a_zone_is_read_as_an_aware_one() -> None:
    naive = base64.urlsafe_b64encode(f"2026-01-05T12:00:00|{ROW}".encode()).decode()
    read = read_cursor(naive)
    assert read is not None
    assert read[0].tzinfo is UTC


@pytest.mark.parametrize("text", ["nonsense", "", "é", base64.urlsafe_b64encode(b"now|me").decode()])
def test_what_is_none_of_ours_is_refused_by_name(text: str) -> None:
    with pytest.raises(Problem, match="INVALID_CURSOR"):
        read_cursor(text)
