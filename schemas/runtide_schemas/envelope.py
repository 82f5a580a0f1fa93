"""CloudEvents 1.0 in Kafka's *binary* mode: the envelope is headers, the value is the message alone.

The fact not to break: on commands and reports every header may be absent, so a reader gets a `PartialEnvelope`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

CONTENT_TYPE = "application/json"


@dataclass(frozen=True, slots=True)
class Envelope:
    id: str
    type: str
    source: str
    time: datetime
    subject: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class PartialEnvelope:
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
    "ce_subject": "subject",
    "ce_correlationid": "correlation_id",
    "ce_causationid": "causation_id",
    "traceparent": "traceparent",
}


def to_headers(envelope: Envelope) -> list[tuple[str, bytes]]:
    """Raises: ValueError for a naive time."""
    if envelope.time.tzinfo is None:
        raise ValueError(f"the envelope's time {envelope.time.isoformat()} has no zone")
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", envelope.id.encode()),
        ("ce_type", envelope.type.encode()),
        ("ce_source", envelope.source.encode()),
        ("ce_time", envelope.time.astimezone(UTC).isoformat().replace("+00:00", "Z").encode()),
        ("content-type", CONTENT_TYPE.encode()),
    ]
    for name, value in (
        ("ce_subject", envelope.subject),
        ("ce_correlationid", envelope.correlation_id),
        ("ce_causationid", envelope.causation_id),
        ("traceparent", envelope.traceparent),
    ):
        if value is not None:
            headers.append((name, value.encode()))
    return headers


def read_headers(headers: Iterable[tuple[str, bytes | None]]) -> PartialEnvelope:
    """Every header must be UTF-8; foreign ones are ignored beyond that, an empty one of ours counts as absent.

    Raises: ValueError naming the header that cannot be read.
    """
    texts: dict[str, str] = {}
    time: datetime | None = None
    for name, value in headers:
        key = name.lower()
        ours = key in _FIELD_OF or key == "ce_time"
        if value is None:
            if ours:
                raise ValueError(f"header {name!r} is null, allowed is UTF-8 text")
            continue
        try:
            text = value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"header {name[:80]!r} is not UTF-8: {value[:40]!r} ({error.reason})") from None
        if not ours or not text:
            continue
        if "\0" in text:
            raise ValueError(f"header {name!r} contains a NUL character")
        if key == "ce_time":
            time = _read_time(text)
        else:
            texts[_FIELD_OF[key]] = text
    return PartialEnvelope(time=time, **texts)


def _read_time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo is None:
            raise ValueError("no zone")
        return time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"header 'ce_time' is {text[:80]!r}, allowed is ISO 8601 with a zone") from None
