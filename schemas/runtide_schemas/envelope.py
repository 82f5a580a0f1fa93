"""CloudEvents 1.0 in Kafka's *binary* mode: the envelope is headers, the value is the message alone.

The fact not to break: on commands and reports every header may be absent, so a reader gets a `PartialEnvelope`.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

CONTENT_TYPE = "application/json"


class Envelope(NamedTuple):
    id: str
    type: str
    source: str
    time: datetime
    subject: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    traceparent: str | None = None


class PartialEnvelope(NamedTuple):
    """What the headers said; `time` is aware UTC."""

    id: str | None = None
    type: str | None = None
    source: str | None = None
    time: datetime | None = None
    subject: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    traceparent: str | None = None


_FIELD_OF = {
    "ce_id": "id",
    "ce_type": "type",
    "ce_source": "source",
    "ce_time": "time",
    "ce_subject": "subject",
    "ce_correlationid": "correlation_id",
    "ce_causationid": "causation_id",
    "traceparent": "traceparent",
}
_NOT_READ = frozenset({"ce_specversion", "content-type"})  # ours too, in every message


def to_texts(envelope: Envelope) -> dict[str, str]:
    """The headers as text. Raises: ValueError for a naive time."""
    texts = {
        "ce_specversion": "1.0",
        "ce_id": envelope.id,
        "ce_type": envelope.type,
        "ce_source": envelope.source,
        "ce_time": time_text(envelope.time),
        "content-type": CONTENT_TYPE,
    }
    if envelope.subject is not None:
        texts["ce_subject"] = envelope.subject
    if envelope.correlation_id is not None:
        texts["ce_correlationid"] = envelope.correlation_id
    if envelope.causation_id is not None:
        texts["ce_causationid"] = envelope.causation_id
    if envelope.traceparent is not None:
        texts["traceparent"] = envelope.traceparent
    return texts


@lru_cache(maxsize=16)
def time_text(time: datetime) -> str:
    """As in `ce_time`. What a transaction says, it says at one time. Raises: ValueError for a naive time."""
    if time.tzinfo is None:
        raise ValueError(f"the envelope's time {time.isoformat()} has no zone")
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def to_headers(envelope: Envelope) -> list[tuple[str, bytes]]:
    """The headers of a Kafka record. Raises: ValueError for a naive time."""
    return [(name, text.encode()) for name, text in to_texts(envelope).items()]


def read_headers(headers: Iterable[tuple[str, bytes | None]]) -> PartialEnvelope:
    """Every header must be UTF-8; foreign ones are ignored beyond that, an empty one of ours counts as absent.

    A name that is not UTF-8 is recognised by its surrogate escapes.

    Raises: ValueError naming the header that cannot be read.
    """
    texts: dict[str, str] = {}
    for name, value in headers:
        field = _FIELD_OF.get(name)
        if field is None and name not in _NOT_READ:
            field = _FIELD_OF.get(name.lower())
            if field is None:
                _insist_on_utf8(name)
        if value is None:
            if field is not None:
                raise ValueError(f"header {name!r} is null, allowed is UTF-8 text")
            continue
        try:
            text = value.decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"header {name[:80]!r} is not UTF-8: {value[:40]!r} ({error.reason})") from None
        if field is None or not text:
            continue
        if "\0" in text:
            raise ValueError(f"header {name!r} contains a NUL character")
        texts[field] = text
    time = texts.pop("time", None)
    return PartialEnvelope(time=_read_time(time) if time is not None else None, **texts)


def _insist_on_utf8(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        raw = name.encode("utf-8", "surrogateescape")
        raise ValueError(f"the header name {raw[:80]!r} is not UTF-8") from None


def _read_time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo is None:
            raise ValueError("no zone")
        return time if time.tzinfo is UTC else time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"header 'ce_time' is {text[:80]!r}, allowed is ISO 8601 with a zone") from None
