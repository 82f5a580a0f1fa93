"""What one attempt of a run says about itself: counted, timed, and handed to a sink.

The fact not to break: `n` grows in the order in which records are handed over, and nothing but progress is droppable.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import math
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID, uuid4, uuid5

from runtide_schemas.envelope import Envelope, to_headers
from runtide_schemas.reports import (
    ArtifactReported,
    ErrorReported,
    InputsReported,
    MetricsReported,
    OutputReported,
    ProgressReported,
    Report,
)
from runtide_schemas.runs import RunError
from runtide_schemas.topics import key_of, topic_of
from runtide_schemas.vocabulary import RUNTIDE

from runtide import _reporting_digest as digests
from runtide._reporting_artifacts import Artifact, ArtifactNotStored, Store, encode
from runtide._reporting_identity import Reporter
from runtide._reporting_kafka import Outgoing, Sink

log = logging.getLogger("runtide.flow")

PROGRESS_INTERVAL_SECONDS = 0.25
SEAL_TIMEOUT_SECONDS = 60.0
MESSAGE_LENGTH = 4_000

# One counter per attempt and process: several `report_run` blocks of one flow run go on counting.
_counters: dict[tuple[UUID, int], Iterator[int]] = {}


class RunReport:
    """What a flow says about its run. Made by `report_run`; may be used from several threads."""

    def __init__(
        self,
        reporter: Reporter,
        sink: Sink,
        store: Store | None,
        *,
        bucket: str = "runs",
        logs_bucket: str = "logs",
        topic_prefix: str = "",
        seal_timeout_seconds: float = SEAL_TIMEOUT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reporter, self._sink, self._store = reporter, sink, store
        self._bucket, self._logs_bucket, self._topic_prefix = bucket, logs_bucket, topic_prefix
        self._seal_timeout_seconds, self._clock = seal_timeout_seconds, clock
        self._lock = threading.RLock()
        self._held_progress: dict[str, Any] | None = None
        self._progress_sent_at = -math.inf
        self._timer: threading.Timer | None = None
        self._frames: dict[str, list[tuple[str, str]]] = {}
        self.sealed = False
        self.gave_up = False

    @property
    def run_id(self) -> UUID:
        return self._reporter.run_id

    @property
    def tenant(self) -> str:
        return self._reporter.tenant

    @property
    def attempt(self) -> int | None:
        return self._reporter.attempt

    def read(self, role: str, version: UUID | str | None = None) -> None:
        """Which version of an input this run reads; without version the one that satisfied the admission."""
        self._send(InputsReported, inputs={role: None if version is None else UUID(str(version))})

    def progress(self, pct: float | None = None, step: str | None = None, detail: str | None = None) -> None:
        """At most four a second are sent; of those in between, the newest."""
        if pct is not None:
            pct = min(100.0, max(0.0, float(pct)))
        with self._lock:
            self._held_progress = {"progress_pct": pct, "step": step, "detail": detail}
            due_in = self._progress_sent_at + PROGRESS_INTERVAL_SECONDS - self._clock()
            if due_in <= 0:
                self._send_progress()
            elif self._timer is None:
                self._timer = threading.Timer(due_in, self._send_progress)
                self._timer.daemon = True
                self._timer.start()

    def metrics(self, metrics: Mapping[str, Any]) -> None:
        """Metrics known before the end. Later ones of the same name win."""
        self._send(MetricsReported, metrics=_plain(metrics))

    def artifact(self, name: str, content: Any, content_type: str | None = None) -> Artifact:
        """Store a frame (as parquet), a dict or list (as JSON), bytes, or the file at a Path, and report it.

        Raises:
            ArtifactNotStored: S3 did not take it.
        """
        encoded = encode(name, content, content_type)
        sha256 = hashlib.sha256(encoded.content).hexdigest()
        ref = self._put(self._bucket, encoded.file_name, encoded.content, encoded.content_type)
        name = name.rpartition(".")[0] if encoded.file_name == name and "." in name else name
        artifact = Artifact(name, ref, len(encoded.content), sha256, encoded.content_type)
        columns = digests.columns_of(content)
        if columns is not None:
            with self._lock:
                self._frames[name] = columns
        if ref is None:
            log.info("artifact %s of run %s: %d bytes, no S3 configured", name, self.run_id, artifact.size_bytes)
        else:
            self._send(
                ArtifactReported,
                name=name,
                ref=ref,
                size_bytes=artifact.size_bytes,
                sha256=sha256,
                content_type=artifact.content_type,
            )
        return artifact

    def complete(
        self,
        metrics: Mapping[str, Any] | None = None,
        *,
        last_data_date: date | str | None = None,
        digest: str | None = None,
        schema_digest: str | None = None,
        rows_processed: int | None = None,
        empty: bool = False,
    ) -> bool:
        """The seal. True when Kafka has acknowledged it and everything before it; False never fails the flow.

        `schema_digest` says whether the columns are what they were (`schema_digest_of`); without it, it is that of the
        frames stored as artifacts of this report, if there are any.
        """
        self._flush_progress()
        self.sealed = True
        sent = self._send(
            OutputReported,
            metrics=_plain(metrics or {}),
            digest=digest,
            schema_digest=schema_digest or self._schema_digest(),
            last_data_date=_day(last_data_date),
            rows_processed=None if rows_processed is None else int(rows_processed),
            empty=empty,
        )
        return self._acknowledged(sent, "the seal")

    def fail(self, error: BaseException) -> None:
        """Report why the attempt failed; `report_run` does it for an exception that leaves its block."""
        self._flush_progress()
        text = "".join(traceback.format_exception(error))
        try:
            ref = self._put(self._logs_bucket, "traceback.txt", text.encode(), "text/plain; charset=utf-8")
        except ArtifactNotStored as missing:
            log.warning("the traceback was not stored: %s", missing)
            ref = None
        code = getattr(error, "code", None)
        reported = RunError(
            type=type(error).__name__,
            message=str(error)[:MESSAGE_LENGTH],
            code=code if isinstance(code, str) else None,
            traceback_ref=ref,
        )
        self._acknowledged(self._send(ErrorReported, error=reported), "the error")

    def close(self, timeout_seconds: float) -> None:
        """Send what is left, for as long as that. A block may end without a seal: another one may follow."""
        self._flush_progress()
        self._sink.close(timeout_seconds)

    def _schema_digest(self) -> str | None:
        with self._lock:
            return digests.schema_digest(self._frames) if self._frames else None

    def _send_progress(self) -> None:
        with self._lock:
            self._timer = None
            held, self._held_progress = self._held_progress, None
            if held is None or self.sealed:
                return
            self._progress_sent_at = self._clock()
            self._send(ProgressReported, droppable=True, **held)

    def _flush_progress(self) -> None:
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._send_progress()

    def _send(self, kind: type[Report], *, droppable: bool = False, **fields: Any) -> Outgoing:
        with self._lock:
            n = self._next_n()
            message = kind(
                tenant=self.tenant,
                run_id=self.run_id,
                attempt=self.attempt,
                n=n,
                occurred_at=datetime.now(UTC),
                **fields,
            )
            outgoing = Outgoing(
                topic=self._topic_prefix + topic_of(message).name,
                key=key_of(message),
                value=message.to_json(),
                headers=self._headers(message),
                droppable=droppable,
            )
            self._sink.send(outgoing)
            return outgoing

    def _next_n(self) -> int | None:
        """None outside of an attempt: the report takes its place in the log instead."""
        if self.attempt is None:
            return None
        return next(_counters.setdefault((self.run_id, self.attempt), itertools.count(1)))

    def _headers(self, message: Report) -> list[tuple[str, bytes]]:
        known = message.n is not None
        report_id = uuid5(RUNTIDE, f"{self.run_id}/{self.attempt}/{message.n}") if known else uuid4()
        headers = to_headers(
            Envelope(
                id=str(report_id),
                type=message.type,
                source="runtide/flow",
                time=message.occurred_at or datetime.now(UTC),
                subject=str(self.run_id),
                correlation_id=str(self.run_id),
            )
        )
        if self._reporter.token:
            headers.append(("authorization", f"Bearer {self._reporter.token}".encode()))
        return headers

    def _acknowledged(self, outgoing: Outgoing, what: str) -> bool:
        if _in_time(outgoing.sent, 0.0 if self.gave_up else self._seal_timeout_seconds):
            return True
        self.gave_up = True
        log.error(
            "%s of run %s was not acknowledged within %g s; the flow goes on. Send it later to %s: %s",
            what,
            self.run_id,
            self._seal_timeout_seconds,
            outgoing.topic,
            outgoing.value.decode(),
        )
        return False

    def _put(self, bucket: str, file_name: str, content: bytes, content_type: str) -> str | None:
        if self._store is None:
            return None
        return self._store.put(bucket, f"{self._reporter.prefix}/{file_name}", content, content_type)


def _in_time(sent: Future[bool], timeout_seconds: float) -> bool:
    try:
        return sent.result(timeout_seconds)
    except NotInTime:
        return False


def _day(value: date | str | None) -> date | None:
    if isinstance(value, str):
        return date.fromisoformat(value[:10])
    return value.date() if isinstance(value, datetime) else value


def _plain(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON. A number that is not finite is unknown: it is left out, and said so; in a list it is null."""
    plain: dict[str, Any] = {}
    for name, value in metrics.items():
        value = _json_value(value)
        if isinstance(value, float) and not math.isfinite(value):
            log.warning("metric %s is %s and is left out", name, value)
        else:
            plain[str(name)] = value
    return plain


def _json_value(value: Any) -> Any:
    """NumPy's scalars and arrays as Python's numbers and lists, dates as text."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return _plain(value)
    if isinstance(value, list | tuple):
        items = [_json_value(item) for item in value]
        return [None if isinstance(item, float) and not math.isfinite(item) else item for item in items]
    return value.isoformat() if isinstance(value, date) else value
