"""Is everything there? Each part is looked at for itself; a finding says what is wrong and what to do about it."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Literal

import httpx
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from runtide_schemas import cluster

from runtide.api import Api
from runtide.errors import RuntideError
from runtide.kafka import opened_admin
from runtide.settings import SERVICES, ClientSettings, claims_of

State = Literal["ok", "warning", "failed", "skipped"]
TIMEOUT_SECONDS = 5.0


_PARTS = {
    "kafka_away": "kafka",
    "topics_differ": "topics",
    "prefect_away": "prefect",
    "centrifugo_away": "realtime",
    "calendar_ends": "calendars",
}

_SAYS_IT_TOO = {"migrations": "tables_old", "consumers": "kafka_away", "postgres": "postgres_away"}


@dataclass(frozen=True, slots=True)
class Finding:
    """`name`: the fault's own, where a service names it (`/v1/ops`); `since`: as an ISO time."""

    part: str
    state: State
    said: str
    to_do: str | None = None
    name: str | None = None
    since: str | None = None


async def examine(
    settings: ClientSettings, transport: httpx.AsyncBaseTransport | None = None, *, lineage: bool = False
) -> list[Finding]:
    """All findings, in the order in which to read them. `lineage`: also whether all freshness is what the runs say."""
    api = Api(settings, transport)
    async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS, transport=transport) as http:
        try:
            groups = await asyncio.gather(
                _kafka(settings),
                *(_service(api, settings, service) for service in SERVICES),
                _prefect(http, settings),
                _s3(http, settings),
                _realtime(http, settings),
                _calendars(api, settings),
                *([_freshness(api)] if lineage else []),
            )
        finally:
            await api.close()
    return _folded([_token(settings), *(finding for group in groups for finding in group)])


def healthy(findings: Sequence[Finding]) -> bool:
    return all(finding.state != "failed" for finding in findings)


def _folded(findings: Sequence[Finding]) -> list[Finding]:
    """One cause is said once: what services feel of a part that is found wrong itself."""
    wrong = {finding.part for finding in findings if finding.state in ("warning", "failed")}
    return [one for one in findings if one.name is None or _PARTS.get(one.name) not in wrong]


def _token(settings: ClientSettings) -> Finding:
    if not settings.token:
        return Finding(
            "token", "warning", "RUNTIDE_TOKEN is not set", "without it only Kafka works; `make up` makes one"
        )
    claims = claims_of(settings.token)
    if claims.get("tenant") != settings.tenant:
        said = f"RUNTIDE_TOKEN is of tenant {claims.get('tenant')!r}, RUNTIDE_TENANT is {settings.tenant!r}"
        return Finding("token", "failed", said, "set both from the same stack.env")
    expires = claims.get("exp")
    if isinstance(expires, int | float) and datetime.fromtimestamp(expires, UTC) < datetime.now(UTC):
        said = f"RUNTIDE_TOKEN expired at {datetime.fromtimestamp(expires, UTC):%Y-%m-%d %H:%M}Z"
        return Finding("token", "failed", said, "get a new one; `make up` writes one into .runtide/stack.env")
    return Finding("token", "ok", f"{claims.get('sub')} of {settings.tenant}: {claims.get('scope') or 'no scopes'}")


async def _kafka(settings: ClientSettings) -> list[Finding]:
    if not settings.kafka_bootstrap:
        return [Finding("kafka", "skipped", "RUNTIDE_KAFKA_BOOTSTRAP is not set")]
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS * 2), opened_admin(settings) as admin:
            brokers = len((await admin.describe_cluster())["brokers"])
            topics = await _topics(admin, settings.kafka_prefix)
    except (RuntideError, KafkaError, TimeoutError) as error:
        return [Finding("kafka", "failed", str(error) or repr(error), "is the broker up? `make status`, `make up`")]
    said = f"{brokers} broker{'s' if brokers != 1 else ''} at {settings.kafka_bootstrap}"
    return [Finding("kafka", "ok", said), topics]


async def _topics(admin: AIOKafkaAdminClient, prefix: str) -> Finding:
    try:
        changes = await cluster.plan(admin, prefix=prefix)
    except cluster.NotAllowed as error:
        return Finding("topics", "skipped", str(error))
    if not changes:
        return Finding("topics", "ok", "as this version wants them")
    said = "; ".join(f"{change.topic}: {change.what}" for change in changes[:3])
    more = f" and {len(changes) - 3} more" if len(changes) > 3 else ""
    state: State = "failed" if any(change.fatal for change in changes) else "warning"
    return Finding("topics", state, said + more, "runtide topics apply")


async def _service(api: Api, settings: ClientSettings, service: str) -> list[Finding]:
    if not settings.has(service):
        return [Finding(service, "skipped", f"RUNTIDE_{service.upper()}_URL is not set")]
    try:
        status, body = await api.ready(service)
    except RuntideError as error:
        return [Finding(service, "failed", str(error), f"`make status`, `make logs PART={service}`")]
    try:
        faults = [fault for fault in (await api.get(service, "/v1/ops")).get("findings", []) if isinstance(fault, dict)]
    except RuntideError as error:
        return [*_readiness(settings, service, status, body), Finding(service, "skipped", f"faults not shown: {error}")]
    named = {fault.get("name") for fault in faults}
    return [
        *_readiness(settings, service, status, {**body, "degraded": {}}, named),
        *(_fault(service, fault) for fault in faults),
    ]


def _readiness(
    settings: ClientSettings, service: str, status: int, body: dict[str, Any], named: Collection[object] = ()
) -> list[Finding]:
    """What `/readyz` says to everybody; empty where the faults that are `named` say it all."""
    degraded, checks = body.get("degraded"), body.get("checks")
    if status == 200:
        parts = [f"{part}: {_problem(value)}" for part, value in degraded.items()] if isinstance(degraded, dict) else []
        if not parts:
            return [Finding(service, "ok", f"ready at {settings.url_of(service)}")]
        said = f"ready, but {'; '.join(parts)}"
        return [Finding(service, "warning", said, "its work waits and goes on by itself")]
    wrong = [
        f"{name}: {_problem(check)}"
        for name, check in (checks.items() if isinstance(checks, dict) else ())
        if isinstance(check, dict) and not check.get("ok") and _SAYS_IT_TOO.get(name) not in named
    ]
    if named and not wrong:
        return []
    said = "; ".join(wrong) or f"/readyz answered {status}"
    return [Finding(service, "failed", f"not ready: {said}", f"`make logs PART={service}`")]


def _fault(service: str, fault: dict[str, Any]) -> Finding:
    """A fault as the service names it."""
    since = fault.get("since")
    age = f" (since {moment_of(since)})" if since else ""
    state: State = "failed" if fault.get("state") == "failed" else "warning"
    said = f"{fault.get('name')}{age}: {fault.get('said')}"
    return Finding(service, state, said, fault.get("to_do"), fault.get("name"), since)


def moment_of(since: str) -> str:
    """`09:12Z`, with the date where that is not today's."""
    at = datetime.fromisoformat(since).astimezone(UTC)
    return f"{at:%H:%M}Z" if at.date() == datetime.now(UTC).date() else f"{at:%Y-%m-%d %H:%M}Z"


async def _prefect(http: httpx.AsyncClient, settings: ClientSettings) -> list[Finding]:
    return await _answers(
        http, "prefect", settings.prefect_api_url, "/health", "runs wait until it answers", exact=True
    )


async def _s3(http: httpx.AsyncClient, settings: ClientSettings) -> list[Finding]:
    return await _answers(http, "s3", settings.s3_endpoint, "", "artifacts cannot be stored or read until it answers")


async def _realtime(http: httpx.AsyncClient, settings: ClientSettings) -> list[Finding]:
    to_do = "pages show their age until it answers; nothing is lost"
    found = await _answers(http, "realtime", settings.centrifugo_api_url, "/health", to_do)
    if not settings.centrifugo_ws_url or found[0].state != "ok":
        return found
    origin = settings.dashboard_url or settings.notifier_url
    try:
        status = await _handshake(http, settings.centrifugo_ws_url, origin)
    except (httpx.TransportError, httpx.InvalidURL) as error:
        said = f"{settings.centrifugo_ws_url} does not answer: {error or type(error).__name__}"
        return [Finding("realtime", "failed", said, to_do)]
    if status == 403:
        said = f"{settings.centrifugo_ws_url} refuses pages of {origin}"
        return [Finding("realtime", "failed", said, "add it to its client.allowed_origins")]
    return found


async def _handshake(http: httpx.AsyncClient, ws_url: str, origin: str | None) -> int:
    """The status with which a WebSocket is opened, as a page of `origin` would: 101 if it may."""
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    headers |= {"Sec-WebSocket-Key": base64.b64encode(secrets.token_bytes(16)).decode()}
    headers |= {"Origin": origin.rstrip("/")} if origin else {}
    async with http.stream("GET", "http" + ws_url.removeprefix("ws"), headers=headers) as answer:
        return answer.status_code


async def _calendars(api: Api, settings: ClientSettings) -> list[Finding]:
    """Their horizons; an empty list where lineage does not answer, which is a finding of its own."""
    if not settings.has("lineage") or not settings.token:
        return []
    try:
        body = await api.get("lineage", "/v1/calendars")
    except RuntideError:
        return []
    rows = [row for row in body.get("calendars", []) if isinstance(row, dict)]
    ending = [row for row in rows if row.get("ends_soon")]
    if ending:
        said = "; ".join(f"{row['code']} ends on {row['last_day']}, in {row['days_left']} days" for row in ending)
        to_do = f"runtide calendars sync {' '.join(str(row['code']) for row in ending)}"
        return [Finding("calendars", "warning", said, to_do)]
    known = ", ".join(f"{row['code']} to {row['last_day']}" for row in rows) or "none; date rules may need some"
    return [Finding("calendars", "ok", known)]


async def _freshness(api: Api) -> list[Finding]:
    """Every flow worked out from scratch by lineage, beside what it has stored."""
    try:
        body = await api.get("lineage", "/v1/ops/lineage")
    except RuntideError as error:
        return [Finding("freshness", "failed", str(error), "it needs lineage and a token with the scope ops")]
    if body.get("agrees"):
        return [Finding("freshness", "ok", f"{body.get('flows')} flows are as worked out from scratch")]
    first = (f"{one['flow']} has {one['field']} {one['stored']}, not {one['recomputed']}" for one in body["deviations"])
    said = f"{body['deviations_total']} deviations: {'; '.join(islice(first, 5))}"
    return [Finding("freshness", "failed", said, "a defect: keep its log and tables; a run of the flow mends it")]


async def _answers(
    http: httpx.AsyncClient, part: str, url: str | None, path: str, to_do: str, *, exact: bool = False
) -> list[Finding]:
    """Any answer will do, unless `exact`: then it must be a good one."""
    if not url:
        return [Finding(part, "skipped", "its address is not set")]
    try:
        answer = await http.get(url.rstrip("/") + path)
    except (httpx.TransportError, httpx.InvalidURL) as error:
        return [Finding(part, "failed", f"{url} does not answer: {error or type(error).__name__}", to_do)]
    if answer.status_code >= 500 or (exact and answer.is_error):
        return [Finding(part, "failed", f"{url} answered {answer.status_code}", to_do)]
    return [Finding(part, "ok", f"answers at {url}")]


def _problem(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    if pending := value.get("pending"):
        return f"migrations not applied: {pending}"
    if isinstance(topics := value.get("topics"), dict):
        return f"nothing is read of {', '.join(name for name, topic in topics.items() if not topic.get('ok'))}"
    return str(value.get("problem") or {name: part for name, part in value.items() if name != "ok"})
