"""From raw records to messages. Nothing here raises on what a record holds: a bad record is a value with a reason.

FastStream's own parser decodes headers and drops a whole batch for one that is not UTF-8; so ours reads raw records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, NamedTuple, TypeVar

from pydantic import ValidationError
from runtide_schemas.envelope import read_headers
from runtide_schemas.message import Message, reason_of
from runtide_schemas.topics import MAX_MESSAGE_BYTES, Topic

M = TypeVar("M", bound=Message, covariant=True)
LONGEST_ID = 500  # of ids in headers: they become keys in tables, and headers of what we say


class Record(NamedTuple):
    """One record as it lay in Kafka; `topic` without the cluster prefix.

    `since`: the log holds nothing from there up to `offset` (compaction and transaction markers leave such gaps).
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    since: int

    @property
    def position(self) -> str:
        return f"{self.topic}:{self.partition}:{self.offset}"


@dataclass(slots=True, eq=False)
class Received(Generic[M]):
    """A message with where it came from. `id` is the sender's, else the record's position."""

    message: M
    id: str
    at: datetime
    correlation_id: str | None
    traceparent: str | None
    record: Record


@dataclass(slots=True, eq=False)
class Bad:
    """A record that no handler will see, and why."""

    id: str
    reason: str
    record: Record


def decode(
    topic: Topic, records: Iterable[Record], read: Callable[[bytes], Any] | None = None
) -> list[Received[Any] | Bad]:
    """One answer per record, in order. `read` stands in for the topic's adapter (`structs.reader_of`)."""
    validate = read or topic.adapter.validate_json
    return [_decode_one(validate, record) for record in records]


def _decode_one(validate: Any, record: Record) -> Received[Any] | Bad:
    try:
        envelope = read_headers(record.headers)
    except ValueError as error:
        return Bad(record.position, str(error), record)
    for name, text in (("ce_id", envelope.id), ("ce_correlationid", envelope.correlation_id)):
        if text is not None and len(text) > LONGEST_ID:
            reason = f"header {name!r} has {len(text)} characters; at most {LONGEST_ID} are allowed"
            return Bad(record.position, reason, record)
    identity = envelope.id or record.position
    value = record.value
    if value is None:
        return Bad(identity, "the value is null (a tombstone); a JSON object was expected", record)
    if len(value) > MAX_MESSAGE_BYTES:
        return Bad(identity, f"the value has {len(value)} bytes; at most {MAX_MESSAGE_BYTES} are allowed", record)
    try:
        message = validate(value)
        at = envelope.time or datetime.fromtimestamp(record.timestamp_ms / 1000, UTC)
    except ValidationError as error:
        return Bad(identity, reason_of(error), record)
    except (ValueError, OverflowError, OSError, RecursionError) as error:  # an absurd timestamp, endless nesting
        return Bad(identity, f"{type(error).__name__}: {error}", record)
    return Received(message, identity, at, envelope.correlation_id, envelope.traceparent, record)
