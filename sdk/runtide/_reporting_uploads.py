"""Artifacts without keys of the object store: run_tracker hands out an address for each, good for minutes.

The facts not to break: the token goes to run_tracker alone, and run_tracker decides where the object lies.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import httpx

from runtide._reporting_artifacts import ArtifactNotStored
from runtide._reporting_identity import Reporter

PATIENCE_SECONDS = 30.0
TIMEOUT = httpx.Timeout(10.0, write=120.0, read=120.0)
LOGS_BUCKET = "logs"


class NotNow(Exception):
    """Later may work: a part is away, or run_tracker has not heard of the run yet."""


class UploadStore:
    """Puts objects of one attempt of one run."""

    def __init__(
        self, run_tracker_url: str, reporter: Reporter, *, patience_seconds: float = PATIENCE_SECONDS,
        transport: httpx.BaseTransport | None = None, pause: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        self._uploads = f"{run_tracker_url.rstrip('/')}/v1/runs/{reporter.run_id}/uploads"
        self._reporter, self._patience_seconds, self._transport = reporter, patience_seconds, transport
        self._pause = pause

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], reporter: Reporter) -> UploadStore | None:
        """None without an address of run_tracker, or without a token for it."""
        url = environment.get("RUNTIDE_RUN_TRACKER_URL")
        return cls(url, reporter) if url and reporter.token else None

    def put(self, bucket: str, key: str, content: bytes, content_type: str) -> str:
        """Where run_tracker let it be put. Raises: ArtifactNotStored, at once when refused, else after the patience."""
        kind = "traceback" if bucket == LOGS_BUCKET else "artifact"
        wanted = {"name": key.rpartition("/")[2], "kind": kind, "attempt": self._reporter.attempt}
        until, pause_seconds = time.monotonic() + self._patience_seconds, 0.2
        with httpx.Client(timeout=TIMEOUT, transport=self._transport) as http:
            while True:
                try:
                    return self._put_once(http, wanted, content, content_type)
                except (NotNow, httpx.TransportError) as error:
                    if time.monotonic() >= until:
                        raise ArtifactNotStored(f"{wanted['name']} by {self._uploads}: {error}") from error
                self._pause(pause_seconds)
                pause_seconds = min(2 * pause_seconds, 2.0)

    def _put_once(self, http: httpx.Client, wanted: Mapping[str, object], content: bytes, content_type: str) -> str:
        asked = http.post(self._uploads, json=wanted, headers={"authorization": f"Bearer {self._reporter.token}"})
        _check(asked, "run_tracker", not_now=(404, 429))
        address = asked.json()
        put = http.put(address["url"], content=content, headers={"content-type": content_type})
        _check(put, "the object store", not_now=(429,))
        return str(address["ref"])


def _check(answer: httpx.Response, who: str, not_now: tuple[int, ...]) -> None:
    if answer.is_success:
        return
    said = f"{who} answered {answer.status_code}: {answer.text[:500]}"
    if answer.status_code in not_now or answer.status_code >= 500:
        raise NotNow(said)
    raise ArtifactNotStored(said)
