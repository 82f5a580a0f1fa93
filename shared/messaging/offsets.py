"""The offset rows in PostgreSQL: the authority on what was read, and the fence against a second owner.

One row per (consumer, topic, partition), compared and set in the transaction that saves the batch's effects, so that a
record of the log takes effect once, whoever reads it and however often.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from shared.postgres import execute, fetch


@dataclass(frozen=True, slots=True)
class Span:
    """What a batch covers of one partition: from where its fetch began to the offset of its last record."""

    partition: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Fenced:
    """What the fence said of one partition: ours to save, or where its row stands."""

    ours: bool
    stood_at: int | None


_FENCE = """
with b as (
    select * from unnest(cast(:partitions as int[]), cast(:firsts as bigint[]), cast(:lasts as bigint[]))
        as b (partition, first, last)
), locked as (
    select o.partition, o.next_offset, b.first, b.last
    from consumer_offsets o join b on b.partition = o.partition
    where o.consumer = :consumer and o.topic = :topic
    order by o.partition
    for update of o
), moved as (
    update consumer_offsets o set next_offset = l.last + 1
    from locked l
    where o.consumer = :consumer and o.topic = :topic and o.partition = l.partition and o.next_offset = l.first
    returning o.partition
)
select l.partition, l.next_offset, m.partition is not null as ours
from locked l left join moved m on m.partition = l.partition
"""


async def fence(conn: AsyncConnection, *, consumer: str, topic: str, spans: Sequence[Span]) -> Mapping[int, Fenced]:
    """Move the rows of all partitions of a batch from first to last + 1, where they stand at first. One statement."""
    rows = await fetch(
        conn, _FENCE, consumer=consumer, topic=topic,
        partitions=[s.partition for s in spans], firsts=[s.first for s in spans], lasts=[s.last for s in spans],
    )  # fmt: skip
    found = {row["partition"]: Fenced(row["ours"], row["next_offset"]) for row in rows}
    return {span.partition: found.get(span.partition, Fenced(False, None)) for span in spans}


async def ensure(conn: AsyncConnection, *, consumer: str, topic: str, beginnings: Mapping[int, int]) -> dict[int, int]:
    """Rows for these partitions, new ones at their beginning; answers where each stands."""
    await execute(
        conn,
        """
        insert into consumer_offsets (consumer, topic, partition, next_offset)
        select :consumer, :topic, b.partition, b.beginning
        from unnest(cast(:partitions as int[]), cast(:beginnings as bigint[])) as b (partition, beginning)
        on conflict do nothing
        """,
        consumer=consumer, topic=topic, partitions=list(beginnings), beginnings=list(beginnings.values()),
    )  # fmt: skip
    return await read(conn, consumer=consumer, topic=topic)


async def read(conn: AsyncConnection, *, consumer: str, topic: str) -> dict[int, int]:
    """partition → next offset to read."""
    rows = await fetch(
        conn, "select partition, next_offset from consumer_offsets where consumer = :consumer and topic = :topic",
        consumer=consumer, topic=topic,
    )  # fmt: skip
    return {row["partition"]: row["next_offset"] for row in rows}


async def move(conn: AsyncConnection, *, consumer: str, topic: str, partition: int, expected: int, to: int) -> bool:
    """Compare and set one row: over a hole that holds no record, or by an operator's decision."""
    moved = await execute(
        conn,
        """
        update consumer_offsets set next_offset = :to
        where consumer = :consumer and topic = :topic and partition = :partition and next_offset = :expected
        """,
        consumer=consumer, topic=topic, partition=partition, expected=expected, to=to,
    )  # fmt: skip
    return moved == 1
