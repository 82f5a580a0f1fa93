"""Prefect 3 behind one typed adapter: REST by httpx, events by websockets. Its vocabulary ends here.

Read `status` in the answer to a state change, not the HTTP code: a refusal is a 200.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import httpx
import websockets
from pydantic import BaseModel, ConfigDict

from shared.clock import utc_now
from shared.errors import DeploymentNotFound, OrchestratorUnavailable, ParametersRejected
from shared.settings import PrefectSettings

PAGE = 200
EVENTS_PAGE = 50
BACKFILL = timedelta(minutes=15)  # Prefect gives no more
Verdict = Literal["ACCEPT", "REJECT", "ABORT", "WAIT"]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class State(_Answer):
    """A state of a flow run. `type` is one of nine; `name` is free text."""

    id: UUID
    type: str
    name: str | None = None
    timestamp: datetime
    message: str | None = None


class Deployment(_Answer):
    """A deployment; its parameters' JSON Schema says what the flow takes."""

    id: UUID
    name: str
    flow_id: UUID
    parameter_openapi_schema: dict[str, Any] | None = None
    enforce_parameter_schema: bool = False
    paused: bool = False
    status: str | None = None

    def takes(self) -> frozenset[str]:
        """The names of the flow's parameters."""
        return frozenset((self.parameter_openapi_schema or {}).get("properties", {}))


class FlowRun(_Answer):
    """A flow run as REST gives it."""

    id: UUID
    name: str | None = None
    flow_id: UUID
    deployment_id: UUID | None = None
    state_id: UUID | None = None
    state: State | None = None
    run_count: int = 0
    tags: tuple[str, ...] = ()
    parameters: dict[str, Any] = {}
    idempotency_key: str | None = None
    expected_start_time: datetime | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class SetStateAnswer:
    """What Prefect did with a proposed state; `state_type` is the one that stands now, where it says."""

    status: Verdict
    state_type: str | None
    reason: str | None


class PrefectClient:
    """One server, through an HTTP client that is shared with nobody's cookies."""

    def __init__(self, settings: PrefectSettings, http: httpx.AsyncClient) -> None:
        self._api = settings.api_url.rstrip("/")
        self._http, self._timeout = http, settings.timeout_seconds
        key = settings.api_key.get_secret_value() if settings.api_key else None
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._key = key

    # -- creating and stopping -----------------------------------------------------------------------------------

    async def create_flow_run(
        self, deployment_id: UUID, *, parameters: Mapping[str, Any], idempotency_key: str, tags: Sequence[str],
        name: str | None = None, job_variables: Mapping[str, Any] | None = None,
    ) -> FlowRun:  # fmt: skip
        """Ask for a run; the same key gives the run that it made before, with 200. `job_variables` are laid over the
        deployment's, an `env` name by name.

        Raises:
            DeploymentNotFound, ParametersRejected: final. OrchestratorUnavailable: later may work.
        """
        body = {"parameters": dict(parameters), "idempotency_key": idempotency_key, "tags": list(tags)}
        if name is not None:
            body["name"] = name
        if job_variables is not None:
            body["job_variables"] = dict(job_variables)
        answer = await self._call("POST", f"/deployments/{deployment_id}/create_flow_run", json=body)
        if answer.status_code == 404:
            raise DeploymentNotFound(f"deployment {deployment_id} is gone from Prefect")
        if answer.status_code in (400, 409, 422):
            raise ParametersRejected(f"Prefect refuses the parameters: {_detail(answer)}")
        return FlowRun.model_validate(self._ok(answer))

    async def set_state(
        self, flow_run_id: UUID, *, state_type: str, name: str, message: str, transition_id: UUID | None = None
    ) -> SetStateAnswer | None:
        """Propose a state; None when the flow run does not exist."""
        details = {"transition_id": str(transition_id)} if transition_id else {}
        body = {"state": {"type": state_type, "name": name, "message": message, "state_details": details}}
        answer = await self._call("POST", f"/flow_runs/{flow_run_id}/set_state", json=body)
        if answer.status_code == 404:
            return None
        said = self._ok(answer)
        return SetStateAnswer(
            said["status"], (said.get("state") or {}).get("type"), (said.get("details") or {}).get("reason")
        )

    # -- reading -------------------------------------------------------------------------------------------------

    async def read_deployment_by_name(self, name: str) -> Deployment | None:
        """`<flow>/<deployment>` → the deployment, or None."""
        flow, _, deployment = name.partition("/")
        answer = await self._call("GET", f"/deployments/name/{_quoted(flow)}/{_quoted(deployment)}")
        return None if answer.status_code in (404, 422) else Deployment.model_validate(self._ok(answer))

    async def read_deployment(self, deployment_id: UUID) -> Deployment | None:
        answer = await self._call("GET", f"/deployments/{deployment_id}")
        return None if answer.status_code == 404 else Deployment.model_validate(self._ok(answer))

    async def read_flow_name(self, flow_id: UUID) -> str | None:
        answer = await self._call("GET", f"/flows/{flow_id}")
        return None if answer.status_code == 404 else str(self._ok(answer)["name"])

    async def read_flow_run(self, flow_run_id: UUID) -> FlowRun | None:
        answer = await self._call("GET", f"/flow_runs/{flow_run_id}")
        return None if answer.status_code == 404 else FlowRun.model_validate(self._ok(answer))

    async def read_flow_runs(self, ids: Sequence[UUID]) -> list[FlowRun]:
        """Those that exist, of these ids, in pages."""
        found: list[FlowRun] = []
        for start in range(0, len(ids), PAGE):
            wanted = [str(flow_run_id) for flow_run_id in ids[start : start + PAGE]]
            found += await self._filter({"flow_runs": {"id": {"any_": wanted}}, "limit": PAGE})
        return found

    async def flow_run_pages(self, flow_runs: Mapping[str, Any], *, sort: str) -> AsyncIterator[list[FlowRun]]:
        """By Prefect's own filter of flow runs; one that moves to the front meanwhile may come twice."""
        for offset in itertools.count(0, PAGE):
            body = {"flow_runs": dict(flow_runs), "sort": sort, "limit": PAGE, "offset": offset}
            page = await self._filter(body)
            yield page
            if len(page) < PAGE:
                return

    async def flow_run_states(self, flow_run_id: UUID) -> list[State]:
        """All states that a flow run had, oldest first."""
        answer = await self._call("GET", "/flow_run_states/", params={"flow_run_id": str(flow_run_id)})
        states = [State.model_validate(item) for item in self._ok(answer)]
        return sorted(states, key=lambda state: (state.timestamp, state.id))

    async def server_identity(self) -> str:
        """What changes when the server is another one: the oldest deployment's and flow's ids, as far as any exist."""
        answer = await self._call("POST", "/flows/filter", json={"limit": 1, "sort": "CREATED_DESC"})
        flows = self._ok(answer)
        return str(flows[-1]["id"]) if flows else "empty"

    async def healthy(self) -> bool:
        answer = await self._call("GET", "/health")
        return answer.status_code == 200

    async def last_heartbeats(self, ids: Sequence[UUID], since: datetime) -> dict[UUID, datetime]:
        """flow run id → when Prefect last received a heartbeat of its process, of those that sent one since then."""
        heard: dict[UUID, datetime] = {}
        for start in range(0, len(ids), EVENTS_PAGE):
            resources = [f"prefect.flow-run.{flow_run_id}" for flow_run_id in ids[start : start + EVENTS_PAGE]]
            event_filter = {
                "event": {"name": ["prefect.flow-run.heartbeat"]},
                "resource": {"id": resources, "distinct": True},  # the newest of each
                "occurred": {"since": since.isoformat(), "until": (utc_now() + timedelta(days=1)).isoformat()},
            }
            answer = await self._call("POST", "/events/filter", json={"filter": event_filter, "limit": EVENTS_PAGE})
            for event in self._ok(answer)["events"]:
                flow_run_id = UUID(event["resource"]["prefect.resource.id"].removeprefix("prefect.flow-run."))
                heard[flow_run_id] = datetime.fromisoformat(event["received"])
        return heard

    # -- events --------------------------------------------------------------------------------------------------

    async def events(
        self, prefix: str = "prefect.flow-run.", *, opened: Callable[[], None] = lambda: None
    ) -> AsyncIterator[dict[str, Any]]:
        """Events as they come, and a few minutes back, for as long as the connection lives; `opened`: it does.

        Raises:
            OrchestratorUnavailable: it could not be opened, or it ended.
        """
        url = self._api.replace("http", "ws", 1) + "/events/out"
        now = utc_now()
        # Without `until` Prefect fills in the moment of connecting, and nothing that happens later passes the filter.
        occurred = {"since": (now - BACKFILL).isoformat(), "until": (now + timedelta(days=3650)).isoformat()}
        event_filter = {"event": {"prefix": [prefix]}, "occurred": occurred}
        try:
            async with websockets.connect(
                url, subprotocols=[websockets.Subprotocol("prefect")], max_size=None, ping_interval=20, open_timeout=10
            ) as socket:
                await socket.send(json.dumps({"type": "auth", "token": self._key}))
                welcome = json.loads(await asyncio.wait_for(socket.recv(), 10))
                if welcome.get("type") != "auth_success":
                    raise OrchestratorUnavailable(f"Prefect's event stream refuses us: {welcome}")
                await socket.send(json.dumps({"type": "filter", "filter": event_filter}))
                opened()
                async for frame in socket:
                    said = json.loads(frame)
                    if said.get("type") == "event":
                        yield said["event"]
        except (OSError, TimeoutError, websockets.WebSocketException) as error:
            raise OrchestratorUnavailable(f"Prefect's event stream: {type(error).__name__}: {error}") from error
        raise OrchestratorUnavailable("Prefect closed its event stream")

    # -- plumbing ------------------------------------------------------------------------------------------------

    async def _filter(self, body: dict[str, Any]) -> list[FlowRun]:
        answer = await self._call("POST", "/flow_runs/filter", json=body)
        return [FlowRun.model_validate(item) for item in self._ok(answer)]

    async def _call(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        try:
            answer = await self._http.request(
                method, self._api + path, headers=self._headers, timeout=self._timeout, **kwargs
            )
        except httpx.HTTPError as error:
            sent = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            raise OrchestratorUnavailable(
                f"Prefect at {self._api}: {type(error).__name__}: {error}", sent=sent
            ) from error
        if answer.status_code >= 500 or answer.status_code in (401, 403, 408, 429):
            raise OrchestratorUnavailable(
                f"Prefect answered {answer.status_code} to {method} {path}: {_detail(answer)}"
            )
        return answer

    def _ok(self, answer: httpx.Response) -> Any:
        if answer.is_success:
            with contextlib.suppress(ValueError):
                return answer.json()
        raise OrchestratorUnavailable(f"Prefect answered {answer.status_code}: {_detail(answer)}")


def _detail(answer: httpx.Response) -> str:
    try:
        said = answer.json()
    except ValueError:
        return answer.text[:500]
    return str(said.get("detail", said) if isinstance(said, dict) else said)[:1000]


def _quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")
