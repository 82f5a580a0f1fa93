"""What the libraries say, in our shape."""

from __future__ import annotations

import builtins
from datetime import date, time
from typing import Any

import pytest
from runtide import market_calendars
from runtide.errors import ConfigurationError, InvalidCommand
from runtide.market_calendars import computed

from tests.unit.lineage.sessions import XNYS

FIRST, LAST = date(2024, 1, 1), date(2025, 12, 31)


def test_an_exchange_has_its_sessions_its_zone_and_its_half_days() -> None:
    found = computed("XNYS", FIRST, LAST)
    assert set(XNYS.sessions) - set(found.sessions) == {date(2025, 1, 9)}  # the library knows of the mourning
    assert not set(found.sessions) - set(XNYS.sessions)
    assert (found.zone, found.first_day, found.last_day) == ("America/New_York", FIRST, LAST)
    assert found.early_closes[date(2024, 12, 24)] == time(13)
    assert found.body()["early_closes"]["2024-12-24"] == "13:00:00"
    assert found.source.startswith("exchange_calendars ")


def test_a_country_has_its_working_days_and_its_parts_have_theirs() -> None:
    epiphany = date(2025, 1, 6)
    assert epiphany in computed("DE", FIRST, LAST).sessions
    bavaria = computed("DE-BY", FIRST, LAST, zone="Europe/Berlin")
    assert epiphany not in bavaria.sessions
    assert bavaria.zone == "Europe/Berlin"
    assert date(2025, 1, 11) not in bavaria.sessions  # a Saturday


def test_a_calendar_goes_no_further_than_its_library_dares() -> None:
    found = computed("XKRX", date(2045, 1, 1), date(2060, 12, 31))
    assert found.last_day == date(2050, 12, 31)


@pytest.mark.parametrize(
    ("code", "says"),
    [("XNYZ", "'XNYS'"), ("DE-XX", "it has: BB, BE"), ("24/7", "no calendar '24/7' is known")],
)
def test_an_unknown_code_is_refused_with_near_ones(code: str, says: str) -> None:
    with pytest.raises(InvalidCommand, match=says):
        computed(code, FIRST, LAST)


def test_without_the_extra_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "exchange_calendars":
            raise ImportError(f"No module named {name!r}")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigurationError, match=r"pip install 'runtide\[calendars\]'"):
        computed("XNYS", FIRST, LAST)


def test_by_default_it_goes_from_twenty_years_back_to_the_end_of_next_year() -> None:
    assert market_calendars.default_range(date(2025, 3, 1)) == (date(2005, 1, 1), date(2026, 12, 31))
