"""What a transaction wants to say. Rows are written with the state they speak of, and sent by the relay alone.

A row's size is checked here, so that the relay never meets one that it cannot send.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from msgspec import UnsetType
from runtide_schemas.topics import MAX_MESSAGE_BYTES
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.errors import InvalidMessage
from shared.messaging.drafts import Draft
from shared.postgres import MANY, copy, execute

_encode_json = msgspec.json.Encoder().encode


class OutboxRow(NamedTuple):
    """One message ready to be sent: topic without prefix, key, value, headers as JSON text."""

    topic: str
    key: bytes
    payload: bytes
    headers: str


class Headers(msgspec.Struct, frozen=True, gc=False, rename={"content_type": "content-type"}):
    """The headers of an envelope, as `envelope.to_texts` has them, for a message that is said now."""

    ce_specversion: str
    ce_id: str
    ce_type: str
    ce_source: str
    ce_time: str
    content_type: str
    ce_subject: str
    ce_correlationid: str | UnsetType
    ce_causationid: str | UnsetType
    traceparent: str


def row_of(draft: Draft, headers: Headers) -> OutboxRow:
    """The row of a message.

    Raises:
        InvalidMessage: the message is larger than any topic takes.
    """
    if len(draft.payload) > MAX_MESSAGE_BYTES:
        raise InvalidMessage(
            f"{draft.type} about {headers.ce_subject} has {len(draft.payload)} bytes; allowed are {MAX_MESSAGE_BYTES}"
        )
    return OutboxRow(draft.topic, draft.key, draft.payload, _encode_json(headers).decode())


# As values of the table's own row type: an array per column costs asyncpg a look at every element (docs/adr/0013).
_INSERT = """
with written as (
    insert into outbox (topic, key, payload, headers)
    select topic, key, payload, headers
    from unnest(cast(:rows as outbox[]))
        with ordinality as m (id, shard, topic, key, payload, headers, created_at, n)
    order by n
    returning 1
)
select pg_notify('outbox_' || current_schema(), '') from (select count(*) from written) w
"""


_NOTIFY = "select pg_notify('outbox_' || current_schema(), '')"


async def write(conn: AsyncConnection, rows: Sequence[OutboxRow]) -> None:
    """Append the rows in order and wake the relay once, in the caller's transaction. One statement; of many rows a COPY
    besides (docs/adr/0036).
    """
    if len(rows) >= MANY:
        await execute(conn, _NOTIFY)
        await copy(conn, "outbox", OutboxRow._fields, rows)
    elif rows:
        await execute(conn, _INSERT, rows=[(None, None, *row, None) for row in rows])
