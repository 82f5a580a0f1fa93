"""Trouble of the world is tried again; what the same bytes would cause again is a dead letter."""

from __future__ import annotations

import asyncpg
import pytest
from aiokafka.errors import KafkaConnectionError, KafkaTimeoutError
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from shared import errors
from shared.messaging.backoff import Backoff
from shared.messaging.failure import reason_of, verdict


def wrapped(error: Exception, kind: type[DBAPIError] = DBAPIError) -> DBAPIError:
    """As SQLAlchemy's dialect hands a driver's error on."""
    adapted = Exception(str(error))
    adapted.__cause__ = error
    adapted.sqlstate = getattr(error, "sqlstate", None)  # type: ignore[attr-defined]
    return kind("select 1", {}, adapted)


@pytest.mark.parametrize(
    "error",
    [
        errors.OrchestratorUnavailable("away"),
        errors.StoreUnavailable("away"),
        ConnectionResetError(),
        TimeoutError(),
        PoolTimeout(),
        KafkaConnectionError(),
        KafkaTimeoutError(),
        wrapped(asyncpg.AdminShutdownError("terminating connection")),
        wrapped(asyncpg.DeadlockDetectedError("deadlock")),
        wrapped(asyncpg.SerializationError("serialize")),
        wrapped(asyncpg.LockNotAvailableError("lock timeout")),
        wrapped(asyncpg.QueryCanceledError("statement timeout")),
        wrapped(asyncpg.TooManyConnectionsError("too many")),
        wrapped(asyncpg.ConnectionDoesNotExistError("gone")),
        wrapped(asyncpg.InterfaceError("connection is closed")),
        wrapped(asyncpg.CannotConnectNowError("starting up")),
        wrapped(asyncpg.InternalClientError("cannot switch to state 15; another operation (2) is in progress")),
        asyncpg.InterfaceError("connection is closed"),
    ],
    ids=lambda error: type(getattr(getattr(error, "orig", None), "__cause__", None) or error).__name__,
)
def test_trouble_of_the_world_is_tried_again(error: Exception) -> None:
    assert verdict(error) == "retry"


@pytest.mark.parametrize(
    "error",
    [
        errors.InvalidMessage("impossible"),
        KeyError("tenant"),
        ValueError("no"),
        AssertionError(),
        wrapped(asyncpg.UniqueViolationError("duplicate key"), IntegrityError),
        wrapped(asyncpg.CheckViolationError("check"), IntegrityError),
        wrapped(asyncpg.DataError("invalid input")),
        wrapped(asyncpg.UndefinedColumnError("no column")),
        wrapped(asyncpg.CharacterNotInRepertoireError("NUL")),
    ],
    ids=lambda error: type(getattr(getattr(error, "orig", None), "__cause__", None) or error).__name__,
)
def test_what_the_data_caused_is_a_dead_letter(error: Exception) -> None:
    assert verdict(error) == "data"


def test_a_lost_connection_is_trouble_whatever_the_driver_said() -> None:
    lost = DBAPIError("select 1", {}, Exception("strange"), connection_invalidated=True)
    assert verdict(lost) == "retry"


def test_the_tree_of_errors_says_what_is_tried_again() -> None:
    ours = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.RuntideError)]
    assert {verdict(kind("x")) for kind in ours if issubclass(kind, errors.TransientError)} == {"retry"}
    assert {verdict(kind("x")) for kind in ours if issubclass(kind, errors.PermanentError)} == {"data"}


def test_a_reason_is_one_bounded_line() -> None:
    assert reason_of(ValueError("first\nsecond")) == "ValueError: first"
    assert reason_of(ValueError()) == "ValueError: no message"
    assert len(reason_of(ValueError("x" * 10_000))) == 2000


@given(st.integers(1, 40))
def test_waiting_doubles_with_jitter_and_stays_below_ten_seconds(failures: int) -> None:
    backoff = Backoff()
    for n in range(failures):
        whole = min(10.0, 0.2 * 2.0**n)
        assert whole / 2 <= backoff.next_seconds() <= whole
    backoff.reset()
    assert backoff.next_seconds() <= 0.2


def test_two_that_fail_together_do_not_come_back_together() -> None:
    assert len({Backoff(8.0).next_seconds() for _ in range(20)}) == 20
