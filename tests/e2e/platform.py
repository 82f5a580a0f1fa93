"""A platform seen from outside: bare JSON lines in, public topics and HTTP out. No code of ours in between."""

from __future__ import annotations

import json
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx
from aiokafka import AIOKafkaConsumer, TopicPartition

from tests.support.eventually import eventually
from tests.support.kafka import Kafka

RUNTIDE = uuid.uuid5(uuid.NAMESPACE_URL, "https://runtide.example/ns")
ENDS = ("completed", "failed", "cancelled")
REQUEST_ENDS = ("refused", "skipped", "expired", "cancelled", "launch_failed", "finished", "failed")


def run_id_of(tenant: str, command_id: str) -> str:
    """As the contract says it, computed here anew."""
    return str(uuid.uuid5(RUNTIDE, f"{tenant}/{command_id}"))


def bearer(token: str) -> list[tuple[str | bytes, bytes]]:
    """The header that proves who sends a line."""
    return [("authorization", f"Bearer {token}".encode())]


class Follower:
    """Reads topics from their present end on, and keeps every message; one per test."""

    def __init__(self, bootstrap: str, topics: tuple[str, ...]) -> None:
        self._bootstrap, self._topics = bootstrap, topics
        self._consumer: AIOKafkaConsumer | None = None
        self.messages: dict[str, list[dict[str, Any]]] = {topic: [] for topic in topics}

    async def start(self) -> Follower:
        consumer = AIOKafkaConsumer(bootstrap_servers=self._bootstrap, enable_auto_commit=False)
        await consumer.start()
        cluster = await consumer._client.fetch_all_metadata()
        tps = [TopicPartition(topic, p) for topic in self._topics for p in cluster.partitions_for_topic(topic) or ()]
        consumer.assign(tps)
        for tp, end in (await consumer.end_offsets(tps)).items():
            consumer.seek(tp, end)
        self._consumer = consumer
        return self

    async def stop(self) -> None:
        if self._consumer is not None:
            await self._consumer.stop()

    async def poll(self) -> None:
        assert self._consumer is not None
        for tp, records in (await self._consumer.getmany(timeout_ms=100)).items():
            self.messages[tp.topic] += [json.loads(record.value) for record in records]

    async def until(
        self, topic: str, wanted: Callable[[dict[str, Any]], bool], *, within_seconds: float = 60.0
    ) -> dict[str, Any]:
        """The first message that is wanted, of those seen since the start."""

        async def probe() -> dict[str, Any] | None:
            await self.poll()
            return next((m for m in self.messages[topic] if wanted(m)), None)

        found = await eventually(probe, within_seconds=within_seconds, what=f"a message on {topic}")
        assert found is not None
        return found

    def of_run(self, topic: str, run_id: str) -> list[dict[str, Any]]:
        return [m for m in self.messages[topic] if m.get("run_id") == run_id]


class Platform:
    """One tenant's view of the stack."""

    def __init__(self, env: Mapping[str, str], kafka: Kafka, follower: Follower) -> None:
        self.env, self.kafka, self.follower = env, kafka, follower
        self.tenant = env["RUNTIDE_TENANT"]
        self.actor = f"dev@{self.tenant}"  # whom the stack's token names
        self.http = httpx.AsyncClient(headers={"Authorization": f"Bearer {env['RUNTIDE_TOKEN']}"}, timeout=20)

    def url(self, service: str, path: str) -> str:
        return self.env[f"RUNTIDE_{service.upper()}_URL"] + path

    async def get(self, service: str, path: str) -> Any:
        answer = await self.http.get(self.url(service, path))
        answer.raise_for_status()
        return answer.json()

    async def say(self, topic: str, line: dict[str, Any], *, key: bytes | None = None) -> str:
        """One bare JSON line, with its tenant's token where the stack asks for tokens; answers its position."""
        tokens = {self.tenant: self.env["RUNTIDE_TOKEN"]}
        token = tokens.get(line["tenant"], self.env["RUNTIDE_TOKEN_OTHER"])
        headers = bearer(token) if self.env.get("RUNTIDE_COMMANDS_AUTH") == "token" else []
        return await self.kafka.send(topic, line, key=key, headers=headers)

    async def register(
        self, name: str, *, flow: str = "sleeper", kind: str = "refresh", instance_type: str = "DatasetInstance",
        upstreams: list[dict[str, Any]] | None = None, **more: Any,
    ) -> str:  # fmt: skip
        """Register an instance with one flow and wait for its snapshot; answers its id."""
        message = {
            "type": "instance.register", "tenant": self.tenant, "name": name, "instance_type": instance_type,
            "flows": [{"kind": kind, "deployment": f"{flow}/prod", **more}], "upstreams": upstreams or [],
        }  # fmt: skip
        await self.say("instances.commands.v1", message, key=self.tenant.encode())
        found = await self.follower.until("instances.status.v1", lambda m: m["name"] == name)
        return str(found["instance_id"])

    async def submit(self, instance: str, **fields: Any) -> str:
        """One bare JSON line; answers the run id, computed as the contract says from command id or acknowledgement."""
        line = {"type": "run.submit", "tenant": self.tenant, "instance": instance, **fields}
        position = await self.say("runs.commands.v1", line)
        return run_id_of(fields.get("tenant", self.tenant), fields.get("command_id", position))

    async def ended(self, run_id: str, *, within_seconds: float = 90.0) -> dict[str, Any]:
        """Follow requests.status until launched or an end, then runs.status to its end."""
        request = await self.follower.until(
            "requests.status.v1",
            lambda m: m["run_id"] == run_id and m["status"] in ("launched", *REQUEST_ENDS),
            within_seconds=within_seconds,
        )
        if request["status"] in REQUEST_ENDS and request["status"] != "launch_failed":
            return request
        return await self.follower.until(
            "runs.status.v1",
            lambda m: m["run_id"] == run_id and m["status"] in ENDS,
            within_seconds=within_seconds,
        )

    async def flow_runs(self, run_id: str) -> list[dict[str, Any]]:
        """Prefect's flow runs of a run, by tag."""
        answer = await self.http.post(
            self.env["RUNTIDE_PREFECT_API_URL"] + "/flow_runs/filter",
            json={"flow_runs": {"tags": {"all_": [f"run:{run_id}"]}}},
        )
        answer.raise_for_status()
        return list(answer.json())

    async def eventually(self, probe: Callable[[], Awaitable[Any]], **options: Any) -> Any:
        return await eventually(probe, **options)


def contiguous(seqs: list[int]) -> bool:
    """Whether these are 1, 2, 3, … without a gap, each once."""
    return sorted(seqs) == list(range(1, len(seqs) + 1))
