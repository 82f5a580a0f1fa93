"""Places where a process can be told to die, so that a test chooses the worst moment and not luck.

`RUNTIDE_FAILPOINT=relay.sent:3` ends the process by SIGKILL when it comes to that place for the third time. It is no
setting: `config check` names it as unknown, so that it is never left in an environment. Unset, a place costs one
comparison.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from enum import StrEnum

VARIABLE = "RUNTIDE_FAILPOINT"


class Place(StrEnum):
    """The moments after which something is done and not yet known to be done."""

    BEFORE_TRANSACTION = "consumer.before-transaction"
    COMMITTED = "consumer.committed"  # and Kafka's offset is not
    SENT = "relay.sent"  # and the outbox rows are still there
    LAUNCHED = "launcher.launched"  # Prefect has the flow run, and nobody here knows its id
    PUSHED = "push.pushed"  # Centrifugo has it, and the offset is not committed


def die() -> None:
    """As kill -9 does: nothing is closed, nothing is finished."""
    os.kill(os.getpid(), signal.SIGKILL)


class Failpoint:
    """One place, and how many times it is passed before the process dies there; none: nothing ever happens."""

    def __init__(self, place: Place | None, hits: int = 1, end: Callable[[], None] = die) -> None:
        self._place, self._left, self._end = place, hits, end

    def __call__(self, place: Place) -> None:
        """Say that this place is reached."""
        if place is not self._place:
            return
        self._left -= 1
        if self._left == 0:
            self._end()


def armed_by(environment: Mapping[str, str]) -> Failpoint:
    """What the environment asks for.

    Raises:
        ValueError: it names no place, or no number.
    """
    place, _, hits = environment.get(VARIABLE, "").partition(":")
    return Failpoint(Place(place), int(hits or 1)) if place else Failpoint(None)


reached = armed_by(os.environ)
