"""The tables that carry the guarantees; every service's schema has its own set.

`consumer_offsets` is the authority on what was read (fence and gap detector), `outbox` what must still be sent,
`dead_letters` what could not be handled, `due` what becomes true by the clock alone.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSON

_NOW = func.now()


def messaging_tables(metadata: MetaData) -> None:
    """Add the tables of this package to a service's metadata."""
    Table(
        "consumer_offsets", metadata,
        Column("consumer", Text, primary_key=True),
        Column("topic", Text, primary_key=True),
        Column("partition", Integer, primary_key=True, autoincrement=False),
        Column("next_offset", BigInteger, nullable=False),
        postgresql_with={"fillfactor": "50"},
    )  # fmt: skip
    Table(
        "outbox", metadata,
        Column("id", BigInteger, Identity(always=True), primary_key=True),
        Column("shard", SmallInteger, nullable=False, server_default=text("0")),
        Column("topic", Text, nullable=False),
        Column("key", LargeBinary),
        Column("payload", LargeBinary, nullable=False),
        Column("headers", JSON, nullable=False),
        Column("created_at", DateTime(timezone=True), nullable=False, server_default=_NOW),
        postgresql_with={"autovacuum_vacuum_scale_factor": "0", "autovacuum_vacuum_threshold": "5000"},
    )  # fmt: skip
    Table(
        "dead_letters", metadata,
        Column("id", BigInteger, Identity(always=True), primary_key=True),
        Column("consumer", Text, nullable=False),
        Column("message_id", Text, nullable=False),
        Column("topic", Text, nullable=False),
        Column("partition", Integer, nullable=False),
        Column("offset", BigInteger, nullable=False),
        Column("timestamp_ms", BigInteger, nullable=False),
        Column("key", LargeBinary),
        Column("value", LargeBinary),
        Column("headers", JSON, nullable=False),
        Column("reason", Text, nullable=False),
        Column("attempts", Integer, nullable=False, server_default=text("1")),
        Column("status", Text, nullable=False, server_default=text("'new'")),
        Column("first_seen_at", DateTime(timezone=True), nullable=False, server_default=_NOW),
        Column("last_seen_at", DateTime(timezone=True), nullable=False, server_default=_NOW),
        Column("replayed_at", DateTime(timezone=True)),
        UniqueConstraint("consumer", "message_id", name="dead_letters_consumer_message"),
    )  # fmt: skip
    due = Table(
        "due", metadata,
        Column("kind", Text, primary_key=True),
        Column("ref", Text, primary_key=True),
        Column("due_at", DateTime(timezone=True), nullable=False),
    )  # fmt: skip
    Index("due_by_time", due.c.due_at)


_DDL = (
    """
    create table consumer_offsets (
        consumer text not null, topic text not null, partition int not null, next_offset bigint not null,
        primary key (consumer, topic, partition)
    ) with (fillfactor = 50)
    """,
    """
    create table outbox (
        id bigint generated always as identity primary key,
        shard smallint not null default 0,
        topic text not null, key bytea, payload bytea not null, headers json not null,
        created_at timestamptz not null default now()
    ) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000)
    """,
    """
    create table dead_letters (
        id bigint generated always as identity primary key,
        consumer text not null, message_id text not null,
        topic text not null, partition int not null, "offset" bigint not null, timestamp_ms bigint not null,
        key bytea, value bytea, headers json not null,
        reason text not null, attempts int not null default 1, status text not null default 'new',
        first_seen_at timestamptz not null default now(), last_seen_at timestamptz not null default now(),
        replayed_at timestamptz,
        constraint dead_letters_consumer_message unique (consumer, message_id)
    )
    """,
    """
    create table due (
        kind text not null, ref text not null, due_at timestamptz not null,
        primary key (kind, ref)
    )
    """,
    "create index due_by_time on due (due_at)",
)


def create_messaging_tables(execute: Callable[[str], object]) -> None:
    """What a service's first migration runs; pass `op.execute`."""
    for statement in _DDL:
        execute(statement)
