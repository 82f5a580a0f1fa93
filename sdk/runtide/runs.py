"""A run in the client's hand: follow it, await its end, cancel it, read what it made.

A run that is not found anywhere is followed all the same: its request may not have been read yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast
from uuid import UUID

from pydantic import ValidationError
from pydantic_core import to_json
from runtide_schemas.activities import ActivityRecorded
from runtide_schemas.commands import SubmitRun
from runtide_schemas.message import Message
from runtide_schemas.requests import RequestStatusChanged
from runtide_schemas.runs import RunProgressed, RunStatusChanged
from runtide_schemas.topics import ACTIVITIES, REQUESTS_STATUS, RUNS_PROGRESS, RUNS_STATUS, Topic
from runtide_schemas.vocabulary import Code, RequestStatus, RunStatus

from runtide import errors
from runtide.artifacts import Artifact
from runtide.following import Followed, Following, Update
from runtide.log import Follow, Follower

if TYPE_CHECKING:
    from runtide.client import Runtide

CLOCK_MARGIN = timedelta(minutes=2)
IDLE_SECONDS = 15.0
POLL_SECONDS = 0.5
M = TypeVar("M", bound=Message)
_UNPROVEN = frozenset({Code.UNAUTHENTICATED, Code.FORBIDDEN, Code.TENANT_MISMATCH})
_FOLLOWED: tuple[Topic, ...] = (REQUESTS_STATUS, RUNS_STATUS, RUNS_PROGRESS)


@dataclass(frozen=True, slots=True)
class Result:
    """A success: `completed`, `skipped` because everything was ready already (then there is no run), or `finished`: a
    backfill whose every date is done.
    """

    run_id: UUID
    status: RequestStatus | RunStatus
    snapshot: RequestStatusChanged | RunStatusChanged
    artifacts: dict[str, Artifact]

    @property
    def metrics(self) -> dict[str, Any]:
        return self.snapshot.metrics if isinstance(self.snapshot, RunStatusChanged) else {}


class Run:
    """`id` is known before anybody answers."""

    def __init__(
        self, client: Runtide, run_id: UUID, *, since: datetime | None = None, asked: SubmitRun | None = None
    ) -> None:
        """`since`: nothing about it is older, so catching up is not needed. `asked`: what we sent, if it was us."""
        self.id = run_id
        self._client = client
        self._since = since
        self._asked = asked
        self._following = Following(run_id)
        self._end: Update | None = None

    def __repr__(self) -> str:
        return f"<Run {self.id}>"

    @property
    def request(self) -> RequestStatusChanged | None:
        """The newest snapshot seen of the request."""
        return self._following.request

    @property
    def snapshot(self) -> RunStatusChanged | None:
        """The newest snapshot seen of the run."""
        return self._following.run

    async def updates(self) -> AsyncGenerator[Update, None]:
        """Every step from now to the end: the request until it is launched, then the run with its progress.

        Called again, it begins again. Raises: Unavailable; CommandConflict where the command id means another request.
        """
        self._following = following = Following(self.id)
        async with aclosing(self._messages()) as messages:
            async for message in messages:
                if isinstance(message, ActivityRecorded):
                    self._refuse_unproven(message)
                    continue
                if isinstance(message, RequestStatusChanged):
                    self._refuse_conflict(message)
                for update in following.apply(message):
                    yield update
                if following.end:
                    self._end = following.end
                    return

    async def result(self, timeout_seconds: float | None = None) -> Result:
        """Wait for the end.

        Raises: UpstreamNotReady, RunRefused, RunFailed, RunCancelled, RunExpired; WaitTimedOut (the run goes on).
        """
        if self._end is None:
            try:
                async with asyncio.timeout(timeout_seconds), aclosing(self.updates()) as updates:
                    async for _ in updates:
                        pass
            except TimeoutError:
                raise errors.WaitTimedOut(self._still_waits(timeout_seconds)) from None
        if self._end is None:
            raise errors.ServiceUnavailable(f"the updates of run {self.id} stopped before its end")
        return self._ended(self._end)

    def _still_waits(self, seconds: float | None) -> str:
        if self.request is None and self.snapshot is None:
            tenant = self._client.tenant
            return f"nothing was heard of run {self.id} in {seconds} s: is the id right, and of tenant {tenant}?"
        return f"run {self.id} has not ended in {seconds} s; it goes on"

    async def cancel(self, reason: str | None = None) -> None:
        """Ask for it. Follow `updates()` to see whether the cancel or the completion won."""
        await self._client.cancel(self.id, reason)

    def _ended(self, end: Update) -> Result:
        snapshot = end.snapshot
        if isinstance(snapshot, RunProgressed):
            raise TypeError("progress ends nothing")
        said = end.message or end.status.value
        match end.status, snapshot:
            case RunStatus.COMPLETED, RunStatusChanged():
                made = {name: Artifact(self._client, self.id, name, ref) for name, ref in snapshot.artifacts.items()}
                return Result(self.id, end.status, snapshot, made)
            case ((RequestStatus.SKIPPED | RequestStatus.FINISHED), _):
                return Result(self.id, end.status, snapshot, {})
            case RequestStatus.REFUSED, RequestStatusChanged():
                kind = errors.UpstreamNotReady if snapshot.code is Code.UPSTREAM_NOT_READY else errors.RunRefused
                raise kind(f"refused: {snapshot.code}: {said}", snapshot)
            case RequestStatus.EXPIRED, RequestStatusChanged():
                raise errors.RunExpired(f"expired: {said}", snapshot)
            case ((RequestStatus.CANCELLED | RunStatus.CANCELLED), _):
                raise errors.RunCancelled(f"run {self.id} was cancelled", snapshot)
            case RequestStatus.LAUNCH_FAILED, RequestStatusChanged():
                raise errors.RunFailed(f"it could not be launched: {snapshot.code}: {said}", snapshot)
            case RequestStatus.FAILED, RequestStatusChanged():
                raise errors.RunFailed(f"the backfill failed: {snapshot.code}: {said}", snapshot)
            case _:
                error = snapshot.error if isinstance(snapshot, RunStatusChanged) else None
                shown = f"{error.type}: {error.message}" if error else said
                raise errors.RunFailed(f"run {self.id} failed: {shown}", snapshot, error=error)

    async def _messages(self) -> AsyncGenerator[Followed | ActivityRecorded, None]:
        """Everything about this id: first what is there already, then what comes. Some of it twice."""
        if not self._client.has_kafka:
            async with aclosing(self._polled()) as polled:
                async for message in polled:
                    yield message
            return
        async with AsyncExitStack() as stack:
            follower, caught_up = await self._join(stack)
            for message in caught_up:
                yield message
            while True:
                next_message = await follower.next(IDLE_SECONDS)
                if next_message is not None:
                    yield cast("Followed | ActivityRecorded", next_message)
                else:
                    for message in await self._caught_up() or []:
                        yield message

    async def _join(self, stack: AsyncExitStack) -> tuple[Follower, list[Followed]]:
        """Follow first, then fetch the snapshot: nothing falls in between. No snapshot: read all that is retained."""
        since = (self._since or datetime.now(UTC)) - CLOCK_MARGIN
        key, topics, tenant = str(self.id).encode(), _FOLLOWED, self._client.tenant.encode()
        if self._asked is not None:
            topics = (*_FOLLOWED, ACTIVITIES)  # a command without a token that holds is answered there alone
        follower = await stack.enter_async_context(self._client.log.follow(Follow(topics, key, since, tenant)))
        if self._since is not None:
            return follower, []
        caught_up = await self._caught_up()
        if caught_up is None:
            follower = await stack.enter_async_context(self._client.log.follow(Follow(_FOLLOWED, key, None)))
        return follower, caught_up or []

    async def _polled(self) -> AsyncGenerator[Followed, None]:
        """Without Kafka: the snapshots over HTTP, again and again."""
        while True:
            caught_up = await self._caught_up()
            if caught_up is None:
                raise errors.ServiceUnavailable(
                    f"run {self.id} cannot be followed: neither Kafka nor submission and run_tracker answer"
                )
            for message in caught_up:
                yield message
            await asyncio.sleep(POLL_SECONDS)

    async def _caught_up(self) -> list[Followed] | None:
        """The snapshots that the services hold, the run's first. None: they could not both be asked."""
        api = self._client.api
        if not (api.has("submission") and api.has("run_tracker")):
            return None
        try:
            run = await api.find("run_tracker", f"/v1/runs/{self.id}")
            request = await api.find("submission", f"/v1/requests/{self.id}")
        except (errors.ServiceUnavailable, errors.ApiError):
            return None
        asked = snapshot_in(RequestStatusChanged, request)
        if asked is not None:
            self._refuse_conflict(asked)  # before the end of its run ends the story
        return [one for one in (snapshot_in(RunStatusChanged, run), asked) if one is not None]

    def _refuse_unproven(self, activity: ActivityRecorded) -> None:
        """What we sent became nothing: it carried no token that holds. Raises: Unauthorized."""
        ours = self._asked is not None and activity.payload.get("command_id") == self._asked.command_id
        code, said = activity.payload.get("code"), activity.payload.get("message")
        if ours and activity.action == "command.refused" and code in _UNPROVEN and self._following.request is None:
            raise errors.Unauthorized(f"{code}: {said}; check RUNTIDE_TOKEN and ask again", status=0, code=code)

    def _refuse_conflict(self, request: RequestStatusChanged) -> None:
        """The same command id with another body changes nothing, so what we follow is not what we asked for."""
        asked = self._asked
        if asked is None or asked.command_id != request.command_id or request.code is Code.INVALID_COMMAND:
            return
        said = {
            "instance": _instances(asked, request),
            "flow_kind": (asked.flow_kind, request.flow_kind),
            "mode": (asked.mode, request.mode),
            "gate": (asked.gate, request.gate),
            "backfill": (asked.backfill, request.backfill),
            "parameters": (
                asked.model_dump(mode="json")["parameters"],
                request.parameters if request.gate is not None else None,
            ),
        }
        for name, (now, before) in said.items():
            if now is not None and before is not None and now != before:
                raise errors.CommandConflict(
                    f"command id {asked.command_id!r} was used before with {name} {before!r}, now {now!r}; "
                    "ask again under a new one",
                    status=409,
                    code=Code.COMMAND_CONFLICT,
                )


def _instances(asked: SubmitRun, before: RequestStatusChanged) -> tuple[UUID | str, UUID | str | None]:
    """What was asked for and what was before, by name where they have one."""
    if before.instance_id in (None, asked.instance_id):
        return asked.instance, None
    return asked.instance, before.instance_name or before.instance_id


def snapshot_in(kind: type[M], body: dict[str, Any] | None) -> M | None:
    """The snapshot that an answer holds, with or without its `type`; None where it is not one."""
    if body is None:
        return None
    try:
        return kind.model_validate_json(to_json({**body, "type": kind.wire_type()}))
    except ValidationError:
        return None
