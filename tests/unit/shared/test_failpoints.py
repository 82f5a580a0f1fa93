from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from shared.failpoints import VARIABLE, Failpoint, Place, armed_by, reached
from shared.settings import ServiceSettings, unknown_names


def test_a_process_dies_where_it_is_told_to_the_nth_time_it_comes_there() -> None:
    program = (
        "from shared.failpoints import Place, reached\n"
        "for n in range(5):\n"
        "    print(n, flush=True)\n"
        "    reached(Place.COMMITTED)\n"
        "    reached(Place.SENT)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], env={VARIABLE: "relay.sent:3"}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == -signal.SIGKILL
    assert ended.stdout.split() == ["0", "1", "2"]


def test_nobody_dies_where_nothing_is_asked_for() -> None:
    for place in Place:
        reached(place)
        armed_by({})(place)


def test_each_place_has_a_count_of_its_own() -> None:
    died: list[str] = []
    failpoint = Failpoint(Place.PUSHED, 2, end=lambda: died.append("here"))
    for place in (Place.PUSHED, Place.SENT, Place.SENT, Place.PUSHED, Place.PUSHED):
        failpoint(place)
    assert died == ["here"]


@pytest.mark.parametrize("asked", ["nowhere:1", "relay.sent:soon"])
def test_what_names_no_place_is_refused_at_the_start(asked: str) -> None:
    with pytest.raises(ValueError, match=r"nowhere|soon"):
        armed_by({VARIABLE: asked})


def test_it_is_never_a_known_setting() -> None:
    assert unknown_names(ServiceSettings, {VARIABLE: "relay.sent"}) == [VARIABLE]
