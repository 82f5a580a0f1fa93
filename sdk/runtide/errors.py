"""The error tree of the client.

    RuntideError
    ├── ConfigurationError      a setting is missing or wrong; the text names it and says how to set it
    ├── InvalidCommand          what was asked for is impossible; nothing was sent
    │   └── PlatformInvalid     a platform file says something impossible; `problems` names each line
    ├── Unavailable             later may work
    │   ├── KafkaUnavailable    no broker answers
    │   └── ServiceUnavailable  a service of Runtide does not answer
    ├── ApiError                a service refused; carries the problem's `status` and `code`
    │   ├── Unauthorized        no token, a wrong one, or one without the scope
    │   ├── NotFound            there is no such thing in this tenant
    │   └── CommandConflict     this command id was used before, for something else
    ├── RunEnded                the request or run ended, and not with success; carries `run_id` and `snapshot`
    │   ├── RunRefused          it was not admitted; `code`, `blockers`
    │   │   └── UpstreamNotReady  because of what lies upstream
    │   ├── RunFailed           it ran, or could not be launched; `error`. A backfill: some date is not done
    │   ├── RunCancelled        somebody cancelled it
    │   └── RunExpired          it waited until its deadline; `blockers`
    ├── WaitTimedOut            we stopped waiting; the run goes on
    ├── RegistrationRefused     lineage refused a registration
    ├── TopicsDiffer            the cluster's topics are not those of this version; `changes`
    └── ExtraMissing            an optional package is not installed

A message says what was got, what was allowed and what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from runtide_schemas.requests import Blocker, RequestStatusChanged
from runtide_schemas.runs import RunError, RunStatusChanged


class RuntideError(Exception):
    """Anything that this client raises by itself."""


class ConfigurationError(RuntideError):
    """A setting is missing or wrong."""


class InvalidCommand(RuntideError):
    """What was asked for is impossible; nothing was sent."""


class PlatformInvalid(InvalidCommand):
    """A platform file says something impossible. `problems` has one sentence each, with its line."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class Unavailable(RuntideError):
    """Later may work."""


class KafkaUnavailable(Unavailable):
    """No broker answers."""


class ServiceUnavailable(Unavailable):
    """A service of Runtide does not answer."""


class ApiError(RuntideError):
    """A service answered with a problem (RFC 9457)."""

    def __init__(self, message: str, *, status: int = 0, code: str | None = None, body: Any = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.body: dict[str, Any] = body if isinstance(body, dict) else {}


class Unauthorized(ApiError):
    """No token, a wrong one, or one without the scope."""


class NotFound(ApiError):
    """There is no such thing in this tenant."""


class CommandConflict(ApiError):
    """This command id was used before, for something else."""


class RunEnded(RuntideError):
    """The request or the run ended, and not with success."""

    def __init__(self, message: str, snapshot: RequestStatusChanged | RunStatusChanged) -> None:
        super().__init__(message)
        self.snapshot = snapshot

    @property
    def run_id(self) -> UUID:
        return self.snapshot.run_id


class RunRefused(RunEnded):
    """It was not admitted."""

    def __init__(self, message: str, snapshot: RequestStatusChanged) -> None:
        super().__init__(message, snapshot)
        self.code: str | None = snapshot.code
        self.blockers: tuple[Blocker, ...] = tuple(snapshot.blockers)


class UpstreamNotReady(RunRefused):
    """Something upstream, or the flow itself, is in the way; `blockers` names it."""


class RunFailed(RunEnded):
    """It ran and failed, or it could not be launched; or it is a backfill, and not every date of it is done."""

    def __init__(
        self, message: str, snapshot: RequestStatusChanged | RunStatusChanged, *, error: RunError | None = None
    ) -> None:
        super().__init__(message, snapshot)
        self.error = error

    @property
    def code(self) -> str | None:
        if isinstance(self.snapshot, RequestStatusChanged):
            return self.snapshot.code
        return self.error.code if self.error else None


class RunCancelled(RunEnded):
    """Somebody cancelled it."""


class RunExpired(RunEnded):
    """It waited for its upstreams until its deadline."""

    def __init__(self, message: str, snapshot: RequestStatusChanged) -> None:
        super().__init__(message, snapshot)
        self.blockers: tuple[Blocker, ...] = tuple(snapshot.blockers)


class WaitTimedOut(RuntideError):
    """We stopped waiting; what we waited for goes on."""


class RegistrationRefused(RuntideError):
    """lineage refused a registration."""


class TopicsDiffer(RuntideError):
    """The cluster's topics are not those of this version."""

    def __init__(self, message: str, changes: Sequence[Any]) -> None:
        super().__init__(message)
        self.changes = tuple(changes)


class ExtraMissing(RuntideError):
    """An optional package is not installed."""
