"""PostgreSQL: one database, a schema per service, one engine per process.

`fetch` and `execute` run one statement given as text, times bound as timestamptz; `copy` appends many rows. Every error
that a later try may cure leaves as `StoreUnavailable`; what the data caused stays the driver's own.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import asyncpg
from sqlalchemy import DateTime, RowMapping, TextClause, bindparam, event, text
from sqlalchemy.exc import DBAPIError, InvalidatePoolError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from shared.settings import PostgresSettings

# SQLSTATE classes that a later try may cure: connection, resources, operator intervention, system error, and
# serialization failure, deadlock, lock not available, statement cancelled by a timeout.
_TRANSIENT_CLASSES = ("08", "53", "57", "58", "40")
_TRANSIENT_STATES = ("55P03", "25P03")
MANY = 100  # rows, from which `copy` costs less than an INSERT
_BEGIN = text("select 1")


def engine_for(settings: PostgresSettings, *, schema: str, application: str, pool_size: int = 8) -> AsyncEngine:
    """An engine whose connections see one service's schema first. The one given back last is taken first, so that
    only as many hold plans and catalogs as work at once.
    """
    dsn = settings.dsn.get_secret_value()
    engine = create_async_engine(
        dsn.replace("postgresql://", "postgresql+asyncpg://", 1),
        pool_size=pool_size,
        max_overflow=4,
        pool_use_lifo=True,
        pool_pre_ping=False,
        pool_recycle=1800,
        connect_args={
            "timeout": 5,
            "server_settings": {
                "search_path": schema,
                "application_name": application,
                "statement_timeout": str(settings.statement_timeout_seconds * 1000),
                "lock_timeout": str(settings.lock_timeout_seconds * 1000),
                "idle_in_transaction_session_timeout": "60000",
                "jit": "off",
            },
        },
    )
    event.listen(engine.sync_engine, "checkout", refuse_closed)
    return engine


def refuse_closed(connection: Any, _: Any, __: Any) -> None:
    """A connection that is known to be closed is replaced by the pool, and all others that are as old.

    It costs no round trip: asyncpg has heard of the end by itself, for a server that goes down says so.
    """
    if connection.driver_connection.is_closed():
        raise InvalidatePoolError


@lru_cache(maxsize=2048)
def _statement(sql: str, times: tuple[str, ...]) -> TextClause:
    return text(sql).bindparams(*(bindparam(name, type_=DateTime(timezone=True)) for name in times))


def statement(sql: str, params: dict[str, Any]) -> TextClause:
    """The statement with its times bound as timestamptz (SQLAlchemy would take them for naive)."""
    return _statement(sql, tuple(name for name, value in params.items() if isinstance(value, datetime)))


async def fetch(conn: AsyncConnection, sql: str, /, **params: Any) -> Sequence[RowMapping]:
    """All rows of one statement. jsonb arrives as text unless selected through a Core table."""
    return (await conn.execute(statement(sql, params), params)).mappings().all()


async def rows_of(conn: AsyncConnection, sql: str, /, **params: Any) -> Sequence[Sequence[Any]]:
    """The same as tuples, for values that are built by position."""
    return (await conn.execute(statement(sql, params), params)).all()


async def execute(conn: AsyncConnection, sql: str, /, **params: Any) -> int:
    """Run one statement and say how many rows it touched."""
    return (await conn.execute(statement(sql, params), params)).rowcount


async def copy(conn: AsyncConnection, table: str, columns: Sequence[str], rows: Collection[Sequence[Any]]) -> None:
    """Append rows by COPY, in order, in the caller's transaction: two round trips, and for each row far less than an
    INSERT costs.
    """
    driver: Any = (await conn.get_raw_connection()).driver_connection
    if not driver.is_in_transaction():
        await conn.execute(_BEGIN)  # SQLAlchemy begins with its first statement
    await driver.copy_records_to_table(table, columns=columns, records=rows)


def is_transient(error: BaseException) -> bool:
    """Whether a later try may succeed: the connection, a lock, a deadlock, a server going down."""
    if isinstance(error, (OSError, PoolTimeout, TimeoutError)):
        return True
    if isinstance(error, DBAPIError):
        if error.connection_invalidated:
            return True
        return is_transient(error.orig) if error.orig is not None else False
    if isinstance(error, asyncpg.InvalidCachedStatementError):
        return True  # a migration under a live connection; the statement is prepared anew
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    if isinstance(state, str):
        return state.startswith(_TRANSIENT_CLASSES) or state in _TRANSIENT_STATES
    cause = error.__cause__
    if cause is not None and cause is not error and is_transient(cause):
        return True
    # asyncpg's own interface errors say "connection is closed" without a state; one that breaks in the middle of the
    # protocol is an InternalClientError.
    if isinstance(error, asyncpg.InternalClientError):
        return True
    return type(error).__module__.startswith("asyncpg") and "connection" in str(error).lower()
