"""`Runtide`: publish run requests, follow them, register instances, and read lists.

Commands go over Kafka unless HTTP is asked for or is all there is. The id of a run is computed before anybody answers.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from datetime import UTC, date, datetime
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import UUID, uuid4

import httpx
from pydantic import ValidationError
from pydantic_core import to_json
from runtide_schemas.backfills import Backfill
from runtide_schemas.commands import CancelRun, SubmitRun
from runtide_schemas.instances import InstanceStatusChanged, RegisterInstance
from runtide_schemas.message import reason_of
from runtide_schemas.requests import RequestStatusChanged
from runtide_schemas.runs import RunProgressed, RunStatusChanged
from runtide_schemas.topics import REQUESTS_STATUS, RUNS_PROGRESS, RUNS_STATUS
from runtide_schemas.vocabulary import (
    BackfillOrder,
    BackfillStep,
    Code,
    FlowKind,
    Gate,
    Mode,
    OnFailure,
    instance_id_of,
    run_id_of,
)

from runtide import settings as settings_module
from runtide.api import Api
from runtide.errors import ApiError, InvalidCommand, ServiceUnavailable
from runtide.kafka import Kafka
from runtide.log import Follow, Log
from runtide.platform import Platform
from runtide.registration import Applied, Registrations, registration_of
from runtide.runs import Run, snapshot_in
from runtide.settings import ClientSettings
from runtide.submissions import Day, Submissions, Via, as_json

E = TypeVar("E", Mode, Gate)
_NOT_IN_BODY = {"type", "tenant", "actor", "command_id", "trigger", "parent_run_id", "on_behalf_of"}


class Runtide(Submissions):
    """A client of one tenant. Use it as `async with Runtide.from_env() as runtide`."""

    def __init__(
        self, settings: ClientSettings, *, log: Log | None = None, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        """`log` and `transport` are the seams for tests."""
        self.settings = settings
        self.api = Api(settings, transport)
        self.log: Log = log or Kafka(settings)
        self.has_kafka = log is not None or settings.kafka_bootstrap is not None

    @classmethod
    def from_env(cls) -> Self:
        """From `RUNTIDE_*`, else from `.runtide/stack.env` here or above. Raises: ConfigurationError."""
        return cls(settings_module.load())

    @property
    def tenant(self) -> str:
        return self.settings.tenant

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self.log.close()
        await self.api.close()

    async def submit_run(
        self,
        instance: str,
        flow_kind: FlowKind | str | None = None,
        *,
        parameters: Mapping[str, Any] | None = None,
        mode: Mode | str = Mode.INCREMENTAL,
        gate: Gate | str = Gate.STRICT,
        skip_if_ready: bool = False,
        wait_until: datetime | None = None,
        plan_id: UUID | str | None = None,
        command_id: str | None = None,
        via: Via | None = None,
    ) -> Run:
        """Ask for a run of an instance (name or id); returns once the wish is safe, before it is decided.

        The same `command_id` again is the same run. `flow_kind` may be left out where the instance has one flow.
        `gate="recursive"` asks for what is stale upstream too; with `plan_id` only as that plan says.

        Raises: InvalidCommand (nothing was sent), Unavailable, ConfigurationError; over HTTP also CommandConflict.
        """
        command = self._command(
            instance,
            flow_kind,
            parameters,
            mode,
            gate,
            skip_if_ready,
            wait_until,
            command_id or str(uuid4()),
            plan_id=_uuid(plan_id, "plan") if plan_id else None,
        )
        return await self._send(command, is_new=command_id is None, via=via)

    async def backfill(
        self,
        instance: str,
        flow_kind: FlowKind | str | None = None,
        *,
        start: Day,
        end: Day,
        step: BackfillStep | str | None = None,
        max_open: int = 1,
        order: BackfillOrder | str = BackfillOrder.OLDEST_FIRST,
        parameter: str = "data_date",
        on_failure: OnFailure | str = OnFailure.STOP,
        parameters: Mapping[str, Any] | None = None,
        mode: Mode | str = Mode.INCREMENTAL,
        gate: Gate | str = Gate.STRICT,
        command_id: str | None = None,
        via: Via | None = None,
    ) -> Run:
        """Ask for one run per date from `start` to `end`, both included; `max_open` of them at once.

        Each gets its date as `parameter`. Without `step` the dates are sessions where the instance's date rule counts
        in them, else days. What comes back is followed like a run: `updates()` say how far it is, `result()` ends when
        every date is done, and raises RunFailed where one is not. `cancel()` stops the whole.

        Raises: as `submit_run`.
        """
        asked = {
            "start": start, "end": end, "step": step, "max_open": max_open, "order": order, "parameter": parameter,
            "on_failure": on_failure,
        }  # fmt: skip
        command = self._command(
            instance, flow_kind, parameters, mode, gate, False, None, command_id or str(uuid4()), backfill=asked
        )
        return await self._send(command, is_new=command_id is None, via=via)

    def attach(self, run_id: UUID | str) -> Run:
        """A run that somebody else asked for, or we earlier."""
        return Run(self, _uuid(run_id))

    async def cancel(self, run_id: UUID | str, reason: str | None = None, *, via: Via | None = None) -> None:
        """Ask for a cancel. Raises: over HTTP NotFound, and ApiError with code TOO_LATE where it has ended."""
        run_id = _uuid(run_id)
        if (via or self._default_via()) == "kafka":
            command_id = str(uuid4())
            command = CancelRun(
                tenant=self.tenant, actor=self.settings.actor, run_id=run_id, reason=reason, command_id=command_id
            )
            await self.log.publish(command, message_id=command_id)
        else:
            await self._refuse_late(run_id)
            await self.api.call("submission", "POST", f"/v1/requests/{run_id}/cancel", body={"reason": reason})

    async def _refuse_late(self, run_id: UUID) -> None:
        """That a run has ended the run tracker knows, and not who takes the cancel. Raises: ApiError."""
        found = None
        if self.api.has("run_tracker"):
            with suppress(ServiceUnavailable):  # then it is asked all the same
                found = await self.api.find("run_tracker", f"/v1/runs/{run_id}")
        run = snapshot_in(RunStatusChanged, found)
        if run is not None and run.status.is_terminal:
            since = f" since {run.ended_at:%Y-%m-%d %H:%M:%S} UTC" if run.ended_at else ""
            said = f"TOO_LATE: run {run_id} is {run.status}{since}; nothing changes"
            raise ApiError(said, status=409, code=Code.TOO_LATE)

    async def register(self, name: str, *, timeout_seconds: float = 30, **definition: Any) -> InstanceStatusChanged:
        """Register an instance, or replace what `definition` names of it; answered by its snapshot.

        Raises: InvalidCommand, RegistrationRefused, WaitTimedOut, Unavailable.
        """
        command = registration_of(self.settings, {"name": name, **definition})
        return await Registrations(self.settings, self.log).register(command, timeout_seconds=timeout_seconds)

    async def apply(self, platform: Platform | Sequence[RegisterInstance], *, timeout_seconds: float = 60) -> Applied:
        """Register what is new or different, and wait for each answer. Applying again does nothing."""
        wanted = platform.registrations(self.settings) if isinstance(platform, Platform) else list(platform)
        registrations = Registrations(self.settings, self.log)
        return await registrations.apply(await registrations.plan(wanted), timeout_seconds=timeout_seconds)

    async def requests(self, *, limit: int = 50, cursor: str | None = None, **filters: Any) -> dict[str, Any]:
        """The newest: `{"requests": […], "cursor": …, "as_of": …}`; `status=`, `instance=`, `parent_run_id=`."""
        return await self.api.get("submission", "/v1/requests", limit=limit, cursor=cursor, **filters)

    async def runs(self, *, limit: int = 50, cursor: str | None = None, **filters: Any) -> dict[str, Any]:
        """The newest runs: `{"runs": […], "cursor": …, "as_of": …}`; `instance=`, `run_type=`, `status=`."""
        return await self.api.get("run_tracker", "/v1/runs", limit=limit, cursor=cursor, **filters)

    async def instances(self, *, limit: int = 500, cursor: str | None = None) -> dict[str, Any]:
        return await self.api.get("lineage", "/v1/instances", limit=limit, cursor=cursor)

    async def instance(self, name_or_id: str) -> dict[str, Any]:
        return await self.api.get("lineage", f"/v1/instances/{instance_id_of(self.tenant, name_or_id)}")

    async def delay_source(
        self, name_or_id: str, *, until: datetime | None = None, reason: str | None = None
    ) -> dict[str, Any]:
        """Say that its source is late: until then, or until the data has caught up. Answered by its snapshot.

        Raises: NotFound, Unavailable.
        """
        path = f"/v1/instances/{instance_id_of(self.tenant, name_or_id)}/delay"
        body = {"until": until.isoformat() if until else None, "reason": reason}
        return await self.api.call("lineage", "POST", path, body=body)

    async def schedules(self, *, instance: str | None = None, count: int = 3) -> dict[str, Any]:
        """The flows that run by themselves, each with its next instants."""
        return await self.api.get("lineage", "/v1/schedules", instance=instance, count=count)

    async def pause_schedule(self, name_or_id: str, flow_kind: str | None = None) -> dict[str, Any]:
        """Ask for nothing of it until it is resumed. Raises: NotFound, Unavailable."""
        return await self._switch_schedule(name_or_id, flow_kind, "pause")

    async def resume_schedule(self, name_or_id: str, flow_kind: str | None = None) -> dict[str, Any]:
        """Go on with the next instant. Raises: NotFound, Unavailable."""
        return await self._switch_schedule(name_or_id, flow_kind, "resume")

    async def _switch_schedule(self, name_or_id: str, flow_kind: str | None, how: str) -> dict[str, Any]:
        path = f"/v1/schedules/{instance_id_of(self.tenant, name_or_id)}/{how}"
        return await self.api.call("lineage", "POST", path, params={"flow_kind": flow_kind} if flow_kind else None)

    async def lineage(self, name_or_id: str, *, direction: str = "both", max_depth: int = 1) -> dict[str, Any]:
        """Nodes and edges around an instance."""
        path = f"/v1/lineage/{instance_id_of(self.tenant, name_or_id)}"
        return await self.api.get("lineage", path, direction=direction, max_depth=max_depth)

    async def supersede(
        self,
        instance: str,
        *,
        first_data_date: date,
        last_data_date: date,
        reason: str,
        flow_kind: FlowKind | str | None = None,
        version_id: UUID | str | None = None,
        command_id: str | None = None,
    ) -> dict[str, Any]:
        """Declare the data of these dates, both included, wrong; answers the restatement, with how many runs it taints.
        The same `command_id` again is the same restatement.

        Raises: NotFound (no such instance or version), CommandConflict, ApiError, Unavailable.
        """
        said = {
            "first_data_date": first_data_date.isoformat(),
            "last_data_date": last_data_date.isoformat(),
            "reason": reason,
            "flow_kind": flow_kind,
            "version_id": str(version_id) if version_id else None,
        }
        return await self.api.call(
            "lineage", "POST", f"/v1/instances/{instance_id_of(self.tenant, instance)}/supersede",
            body={name: value for name, value in said.items() if value is not None},
            headers={"Idempotency-Key": command_id or str(uuid4())},
        )  # fmt: skip

    async def restatements(self, *, limit: int = 50, cursor: str | None = None, **filters: Any) -> dict[str, Any]:
        """The newest restatements: `{"restatements": […], "cursor": …}`; `instance=`, or `run_id=`: those that taint
        it.
        """
        return await self.api.get("lineage", "/v1/restatements", limit=limit, cursor=cursor, **filters)

    async def restatement(
        self, restatement_id: UUID | str, *, limit: int = 100, cursor: str | None = None
    ) -> dict[str, Any]:
        """One restatement, with a page of the runs that it taints and the path to each."""
        return await self.api.get(
            "lineage", f"/v1/restatements/{_uuid(restatement_id, 'restatement')}", limit=limit, cursor=cursor
        )

    async def plan_repair(self, restatement_id: UUID | str, *, history: bool = False) -> dict[str, Any]:
        """The re-runs that repair a restatement, in batches. Nothing is started."""
        path = f"/v1/restatements/{_uuid(restatement_id, 'restatement')}/plan"
        return await self.api.call("lineage", "POST", path, body={"history": history})

    async def plan(
        self, name_or_id: str, flow_kind: FlowKind | str | None = None, *, skip_if_ready: bool = False
    ) -> dict[str, Any]:
        """What `gate="recursive"` would do now; `submit_run(…, plan_id=plan["plan_id"])` runs this or nothing."""
        body = {"instance": name_or_id, "flow_kind": flow_kind, "skip_if_ready": skip_if_ready}
        return await self.api.call("lineage", "POST", "/v1/plan", body=body)

    async def planned(self, plan_id: UUID | str) -> dict[str, Any]:
        """A plan as it was shown. Raises: NotFound."""
        return await self.api.get("lineage", f"/v1/plan/{_uuid(plan_id, 'plan')}")

    async def why(
        self, name_or_id: str, *, at: datetime | None = None, flow_kind: FlowKind | str | None = None
    ) -> dict[str, Any]:
        """The chain of events from the root cause to what an instance shows, now or at a past instant."""
        path = f"/v1/why/{instance_id_of(self.tenant, name_or_id)}"
        return await self.api.get("lineage", path, at=at.isoformat() if at else None, flow_kind=flow_kind)

    async def decisions(self, run_id: UUID | str) -> dict[str, Any]:
        """Every answer of the gate to a request, with what it saw."""
        return await self.api.get("lineage", f"/v1/decisions/{_uuid(run_id)}")

    async def everything(
        self, since: datetime
    ) -> AsyncGenerator[RequestStatusChanged | RunStatusChanged | RunProgressed, None]:
        """Every message about requests and runs of this tenant, without an end. Compare `seq` per (type, id)."""
        wish = Follow((REQUESTS_STATUS, RUNS_STATUS, RUNS_PROGRESS), None, since)
        async with self.log.follow(wish) as follower, aclosing(follower.messages()) as messages:
            async for message in messages:
                if (
                    isinstance(message, RequestStatusChanged | RunStatusChanged | RunProgressed)
                    and message.tenant == self.tenant
                ):
                    yield message

    def _default_via(self) -> Via:
        return "kafka" if self.has_kafka else "http"

    def _command(
        self,
        instance: str,
        flow_kind: FlowKind | str | None,
        parameters: Mapping[str, Any] | None,
        mode: Mode | str,
        gate: Gate | str,
        skip_if_ready: bool,
        wait_until: datetime | None,
        command_id: str,
        *,
        plan_id: UUID | None = None,
        backfill: Mapping[str, Any] | None = None,
    ) -> SubmitRun:
        if plan_id is not None and gate == Gate.STRICT:
            gate = Gate.RECURSIVE  # what a plan is run by
        try:
            return SubmitRun(
                tenant=self.tenant,
                command_id=command_id,
                actor=self.settings.actor,
                instance=instance,
                flow_kind=flow_kind,  # type: ignore[arg-type]
                mode=_word(Mode, mode, "mode"),
                parameters=as_json(parameters or {}),
                gate=_word(Gate, gate, "gate"),
                skip_if_ready=skip_if_ready,
                wait_until=wait_until,
                backfill=Backfill.model_validate_json(to_json(backfill)) if backfill else None,
                plan_id=plan_id,
            )
        except ValidationError as error:
            raise InvalidCommand(f"the request is not valid: {reason_of(error)}") from None

    async def _send(self, command: SubmitRun, *, is_new: bool, via: Via | None) -> Run:
        """`is_new`: nobody has used its id before, so nothing about it is older than now."""
        asked_at = datetime.now(UTC)
        assert command.command_id is not None
        if (via or self._default_via()) == "kafka":
            await self.log.publish(command, message_id=command.command_id)
        else:
            await self._post(command)
        run_id = run_id_of(self.tenant, command.command_id)
        return Run(self, run_id, since=asked_at if is_new else None, asked=command)

    async def _post(self, command: SubmitRun) -> None:
        """A refusal is no error here: it is how the run ends, whichever way it was asked for."""
        body = command.model_dump(mode="json", exclude=_NOT_IN_BODY)
        try:
            await self.api.call(
                "submission",
                "POST",
                "/v1/requests",
                params={"wait_seconds": 0},
                body=body,
                headers={"idempotency-key": str(command.command_id)},
            )
        except ApiError as error:
            if error.code == "COMMAND_CONFLICT" or "run_id" not in error.body:
                raise


def _word(kind: type[E], word: str, what: str) -> E:
    try:
        return kind(word)
    except ValueError:
        raise InvalidCommand(f"the {what} is {word!r}; allowed: {', '.join(kind)}") from None


def _uuid(text: UUID | str, what: str = "run") -> UUID:
    try:
        return text if isinstance(text, UUID) else UUID(text)
    except ValueError:
        raise InvalidCommand(f"{text!r} is no {what} id; allowed is a UUID") from None
