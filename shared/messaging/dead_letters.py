"""What could not be handled, kept byte for byte until somebody replays or drops it. This table is the only store.

A replay hands the stored record to the same handler of the same service, in a transaction without the fence; nothing
goes back to Kafka, so nobody else sees it twice. Natural keys make a second replay a no-op.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.messaging.decode import Bad, Record
from shared.postgres import execute, fetch

LONGEST_REASON = 4000


async def store(conn: AsyncConnection, *, consumer: str, bad: Sequence[Bad]) -> None:
    """Keep these records; one that is here already is counted, not stored again."""
    unique = {item.id: item for item in bad}.values()
    await execute(
        conn,
        """
        insert into dead_letters
            (consumer, message_id, topic, partition, "offset", timestamp_ms, key, value, headers, reason)
        select :consumer, d.* from unnest(
            cast(:ids as text[]), cast(:topics as text[]), cast(:partitions as int[]), cast(:offsets as bigint[]),
            cast(:timestamps as bigint[]), cast(:keys as bytea[]), cast(:values as bytea[]), cast(:headers as json[]),
            cast(:reasons as text[])) as d
        on conflict (consumer, message_id) do update set
            attempts = dead_letters.attempts + 1, last_seen_at = now(), reason = excluded.reason
        """,
        consumer=consumer,
        ids=[_text(item.id) for item in unique],
        topics=[item.record.topic for item in unique],
        partitions=[item.record.partition for item in unique],
        offsets=[item.record.offset for item in unique],
        timestamps=[item.record.timestamp_ms for item in unique],
        keys=[item.record.key for item in unique],
        values=[item.record.value for item in unique],
        headers=[_headers_to_json(item.record.headers) for item in unique],
        reasons=[_text(item.reason)[:LONGEST_REASON] for item in unique],
    )


class Which(NamedTuple):
    """Letters by any of these; None: by all. `reason`: a part of it."""

    consumer: str | None = None
    topic: str | None = None
    reason: str | None = None
    status: str | None = None


_THESE = """
(cast(:consumer as text) is null or consumer = :consumer) and (cast(:topic as text) is null or topic = :topic)
and (cast(:reason as text) is null or position(lower(:reason) in lower(reason)) > 0)
and (cast(:status as text) is null or status = :status)
"""


async def listing(
    conn: AsyncConnection, which: Which, *, limit: int, before: int | None = None
) -> Sequence[RowMapping]:
    """The newest first, without key and value."""
    return await fetch(
        conn,
        f"""
        select id, consumer, message_id, topic, partition, "offset", reason, attempts, status,
               first_seen_at, last_seen_at, replayed_at
        from dead_letters
        where {_THESE} and (cast(:before as bigint) is null or id < :before)
        order by id desc limit :limit
        """,
        **which._asdict(), before=before, limit=limit,
    )  # fmt: skip


async def choose(conn: AsyncConnection, which: Which, *, after: int, limit: int) -> list[int]:
    """The ids of these, the oldest first."""
    rows = await fetch(
        conn, f"select id from dead_letters where {_THESE} and id > :after order by id limit :limit",
        **which._asdict(), after=after, limit=limit,
    )  # fmt: skip
    return [row["id"] for row in rows]


async def load(conn: AsyncConnection, letter_id: int) -> RowMapping | None:
    """One letter, locked, with everything."""
    rows = await fetch(conn, "select * from dead_letters where id = :id for update", id=letter_id)
    return rows[0] if rows else None


async def mark(conn: AsyncConnection, letter_id: int, status: str) -> None:
    """`replayed` or `dropped`."""
    await execute(
        conn,
        "update dead_letters set status = :status, replayed_at = case when :status = 'replayed' then now() "
        "else replayed_at end where id = :id",
        id=letter_id, status=status,
    )  # fmt: skip


async def count(conn: AsyncConnection, letter_id: int, reason: str) -> None:
    """One more attempt was in vain, and this is why."""
    await execute(
        conn, "update dead_letters set attempts = attempts + 1, reason = :reason where id = :id",
        id=letter_id, reason=_text(reason)[:LONGEST_REASON],
    )  # fmt: skip


async def forget(conn: AsyncConnection, before: datetime, *, limit: int) -> int:
    """Those that were replayed or dropped, and came last before then. One that waits for a decision stays."""
    return await execute(
        conn,
        "delete from dead_letters where id in (select id from dead_letters where status <> 'new' "
        "and greatest(last_seen_at, replayed_at) < :before order by id limit :limit)",
        before=before, limit=limit,
    )  # fmt: skip


def record_of(row: RowMapping) -> Record:
    """The record as it lay in Kafka."""
    return Record(
        row["topic"], row["partition"], row["offset"], row["timestamp_ms"], row["key"], row["value"],
        _headers_from_json(row["headers"]), row["offset"],
    )  # fmt: skip


def _text(value: str) -> str:
    return value.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\0")


def _headers_to_json(headers: Sequence[tuple[str, bytes | None]]) -> str:
    """Values in base 64; a name as it is, or `{"base64": …}` if it is not UTF-8."""
    return msgspec.json.encode([[_name_to_json(name), _base64(value)] for name, value in headers]).decode()


def _headers_from_json(stored: Any) -> tuple[tuple[str, bytes | None], ...]:
    pairs = msgspec.json.decode(stored) if isinstance(stored, str | bytes) else stored
    return tuple((_name_from_json(name), None if value is None else base64.b64decode(value)) for name, value in pairs)


def _name_to_json(name: str) -> str | dict[str, str | None]:
    raw = name.encode("utf-8", "surrogateescape")
    return name if _is_text(raw) else {"base64": _base64(raw)}


def _name_from_json(name: str | dict[str, str]) -> str:
    return name if isinstance(name, str) else base64.b64decode(name["base64"]).decode("utf-8", "surrogateescape")


def _is_text(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _base64(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()
