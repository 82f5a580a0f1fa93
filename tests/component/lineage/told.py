"""What lineage is told by others: commands of people, requests of submission, runs of run_tracker, as bare JSON."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4, uuid5

from runtide_schemas.vocabulary import instance_id_of, run_id_of, version_id_of

from tests.support.eventually import eventually
from tests.support.harness import ServiceHarness

DIGESTS = UUID(int=0)


def text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


class Told:
    """One tenant's story. Times are the story's own: each run ends a second after the one before it."""

    def __init__(self, lineage: ServiceHarness, tenant: str | None = None) -> None:
        self.lineage, self.kafka = lineage, lineage.kafka
        self.tenant = tenant or f"t-{uuid4().hex[:8]}"
        self._seq: dict[tuple[str, str], int] = defaultdict(int)
        self._clock = datetime.now(UTC) - timedelta(hours=1)
        self._asked: dict[str, dict[str, Any]] = {}
        self._taken: set[str] = set()

    def id(self, name: str) -> str:
        return str(instance_id_of(self.tenant, name))

    def tick(self) -> datetime:
        self._clock += timedelta(seconds=1)
        return self._clock

    async def command(self, type: str, **fields: Any) -> None:
        await self.kafka.send(
            "instances.commands.v1",
            {"type": type, "tenant": self.tenant, "actor": "ana@acme", **fields},
            key=self.tenant.encode(),
        )

    async def register(self, name: str, *upstreams: str, type: str = "SignalInstance", **fields: Any) -> None:
        """An instance with one refresh flow; `upstreams` by name."""
        flow = {"kind": "refresh", "deployment": f"refresh-{name}/prod", **fields.pop("flow", {})}
        await self.command(
            "instance.register",
            **{
                "name": name,
                "instance_type": type,
                "flows": [flow],
                "upstreams": [{"instance": upstream} for upstream in upstreams],
                **fields,
            },
        )

    async def ask(self, name: str, *, command_id: str | None = None, **fields: Any) -> str:
        """Submission says `requested`; answers the run id."""
        command_id = command_id or uuid4().hex
        run_id = str(run_id_of(self.tenant, command_id))
        self._asked[run_id] = {
            "command_id": command_id,
            "instance_id": self.id(name),
            "instance_name": name,
            "flow_kind": "refresh",
            "mode": "incremental",
            "parameters": {},
            "actor": "ana@acme",
            "gate": "strict",
            **fields,
        }
        await self.request(run_id, "requested")
        return run_id

    async def asked(self, name: str) -> str:
        """Submission says that it has lineage's next request for the flow; answers its run id."""

        async def probe() -> dict[str, Any] | None:
            for command in await self.about("runs.commands.v1"):
                if command["instance"] == self.id(name) and command["command_id"] not in self._taken:
                    return command
            return None

        command = await eventually(probe, what=f"a request for {name}")
        assert command is not None
        self._taken.add(command["command_id"])
        return await self.ask(name, command_id=command["command_id"], instance_name=None, gate="wait",
                              skip_if_ready=True, trigger="upstream")  # fmt: skip

    def asked_of(self, run_id: str) -> dict[str, Any]:
        """What was asked under this id."""
        return self._asked[run_id]

    async def request(self, run_id: str, status: str) -> None:
        """The request's next snapshot."""
        snapshot = {
            "type": "request.status_changed",
            "tenant": self.tenant,
            "run_id": run_id,
            **self._asked.get(run_id, {}),
            "status": status,
            "occurred_at": text(datetime.now(UTC)),
            "seq": self._next("request", run_id),
        }
        await self.kafka.send("requests.status.v1", snapshot, key=run_id.encode())

    async def run(self, run_id: str, name: str, status: str, **fields: Any) -> dict[str, Any]:
        """The run's next snapshot."""
        ended = {"ended_at": text(self.tick())} if status in ("completed", "failed", "cancelled") else {}
        snapshot = {
            "type": "run.status_changed",
            "tenant": self.tenant,
            "run_id": run_id,
            "run_type": "PipelineRun",
            "instance_id": self.id(name),
            "instance_name": name,
            "flow_kind": "refresh",
            "actor": "ana@acme",
            "status": status,
            "started_at": text(self._clock),
            **ended,
            "occurred_at": text(self._clock),
            "seq": self._next("run", run_id),
            **fields,
        }
        await self.kafka.send("runs.status.v1", snapshot, key=run_id.encode())
        return snapshot

    async def completed(self, name: str, run_id: str | None = None, *, read: dict[str, str] | None = None,
                        output: str | None = None, **fields: Any) -> str:  # fmt: skip
        """A run of the instance completed, having read these versions (upstream name → run id); answers its run id."""
        run_id = run_id or str(uuid4())
        inputs = {
            upstream: {
                "instance_id": self.id(upstream),
                "flow_kind": "refresh",
                "version_id": str(version_id_of(UUID(of_run), 1)),
                "basis": "admitted",
            }
            for upstream, of_run in (read or {}).items()
        }
        digest = str(uuid5(DIGESTS, output)) if output else None
        await self.run(run_id, name, "completed", input_versions=inputs, output_digest=digest, **fields)
        return run_id

    async def decision(self, run_id: str, number: int = 1) -> dict[str, Any]:
        return await self.kafka.until(
            "requests.decisions.v1", lambda m: m["run_id"] == run_id and m["number"] == number
        )

    async def snapshot(self, name: str, **wanted: Any) -> dict[str, Any]:
        """A snapshot of the instance with these values (`flow__…`: of its first flow)."""

        def fits(message: dict[str, Any]) -> bool:
            return message["instance_id"] == self.id(name) and all(
                message["flows"][0][field.removeprefix("flow__")] == value
                if field.startswith("flow__")
                else message[field] == value
                for field, value in wanted.items()
            )

        return await self.kafka.until("instances.status.v1", fits)

    async def about(self, topic: str) -> list[dict[str, Any]]:
        """Everything on a topic of this tenant."""
        return [message for message in await self.kafka.all(topic) if message["tenant"] == self.tenant]

    async def is_quiet(self) -> None:
        """Everything told so far was heard and answered."""
        await self.lineage.settled()

    def _next(self, kind: str, id: str) -> int:
        self._seq[kind, id] += 1
        return self._seq[kind, id]
