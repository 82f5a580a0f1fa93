"""What clients do all the while: commands over Kafka and HTTP on a small random platform, and the flood beside them.

Every choice comes from the seed; only the moments are the machine's.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from tests.e2e.platform import run_id_of
from tests.support.history import History, Sent, digest_of

COMMANDS, INSTANCES, REPORTS, STATES = (
    "runs.commands.v1", "instances.commands.v1", "runs.reports.v1", "prefect.flow-run-states.v1",
)  # fmt: skip
POISON: tuple[tuple[str, bytes | None, list[tuple[str, bytes]]], ...] = (
    ("bad JSON", b'{"type": "run.submit"', []),
    ("wrong type", b'{"type": "run.cancel", "tenant": 5, "run_id": []}', []),
    ("unknown type", b'{"type": "run.explode", "tenant": "acme"}', []),
    ("header not UTF-8", b"{}", [("ce_id", b"\xff\xfe")]),
    ("tombstone", None, []),
    ("not UTF-8", b"\xff\xfe\x00", []),
    ("too large", b'{"pad": "' + b"x" * 300_000 + b'"}', []),
    ("absurd time", b'{"type": "run.cancel", "tenant": "acme"}', [("ce_time", b"99999-13-41T99:00:00Z")]),
)
_KAFKA_DOWN = (KafkaError, TimeoutError, asyncio.CancelledError)


class Load:
    """Sends from `start` to `stop`; `history` knows what became of each command and each poison."""

    def __init__(self, env: Any, submission_url: Callable[[], str], deployment: str, seed: int) -> None:
        self._env, self._url, self._deployment = env, submission_url, deployment
        self.tenant, self.dice = env["RUNTIDE_TENANT"], random.Random(f"{seed}/load")
        self.history, self.flood = History(), 0
        self.instances: list[str] = []
        self.producer = AIOKafkaProducer(
            bootstrap_servers=env["RUNTIDE_KAFKA_BOOTSTRAP"], enable_idempotence=True, linger_ms=5
        )
        self.http = httpx.AsyncClient(headers={"Authorization": f"Bearer {env['RUNTIDE_TOKEN']}"}, timeout=10)
        self._under_way: set[asyncio.Task[None]] = set()
        self._numbers = itertools.count()
        self._submitted: list[dict[str, Any]] = []
        self._states: list[dict[str, Any]] = []

    @property
    def messages(self) -> int:
        """How many were sent by us: commands, poison, and the flood."""
        return len(self.history.sent) + self.flood

    async def open(self) -> Load:
        await self.producer.start()
        return self

    async def close(self) -> None:
        await self.http.aclose()
        await self.producer.stop()

    # -- the platform --------------------------------------------------------------------------------------------

    async def register(self, count: int = 8) -> None:
        """Sources first; each of the others reads one or two before it, and half of them refresh by themselves."""
        for number in range(count):
            above = self.dice.sample(self.instances, min(len(self.instances), self.dice.choice((1, 1, 2))))
            upstreams = [{"instance": name} for name in above] if number >= count // 3 else []
            flow = {"kind": "refresh", "deployment": self._deployment, "max_open_runs": 4,
                    "on_upstream": self.dice.choice(("refresh", "notify"))}  # fmt: skip
            message = {"type": "instance.register", "tenant": self.tenant, "name": f"chaos-{number}",
                       "command_id": uuid.UUID(int=self.dice.getrandbits(128)).hex,
                       "instance_type": "SignalInstance" if upstreams else "DatasetInstance",
                       "flows": [flow], "upstreams": upstreams}  # fmt: skip
            self.instances.append(message["name"])
            self._to_kafka("register", INSTANCES, message, key=self.tenant.encode())

    # -- commands ------------------------------------------------------------------------------------------------

    def command(self) -> None:
        """One of the things that clients ask for."""
        kinds = (
            self._run,
            self._unknown,
            self._again,
            self._conflict,
            self._cancel,
            self._cancel_ahead,
            self._over_http,
        )
        self.dice.choices(kinds, weights=(2, 6, 3, 1, 1, 2, 3))[0]()

    def _run(self) -> None:
        self._submit("submit", instance=self.dice.choice(self.instances), gate=self.dice.choice(("wait", "force")))

    def _unknown(self) -> None:
        self._submit("submit", instance=f"nobody-{next(self._numbers)}")

    def _again(self) -> None:
        if self._submitted:
            self._to_kafka("submit", COMMANDS, self.dice.choice(self._submitted))

    def _conflict(self) -> None:
        if self._submitted:
            self._to_kafka(
                "conflict", COMMANDS, self.dice.choice(self._submitted) | {"actor": "mallory", "mode": "full_refresh"}
            )

    def _cancel(self) -> None:
        if self._submitted:
            command = self.dice.choice(self._submitted[-20:])
            run_id = run_id_of(self.tenant, command["command_id"])
            self._to_kafka("cancel", COMMANDS, {"type": "run.cancel", "tenant": self.tenant, "run_id": run_id})

    def _cancel_ahead(self) -> None:
        run_id = str(uuid.UUID(int=self.dice.getrandbits(128), version=4))
        self._to_kafka("cancel", COMMANDS, {"type": "run.cancel", "tenant": self.tenant, "run_id": run_id})

    def _submit(self, kind: str, **fields: Any) -> None:
        command_id = uuid.UUID(int=self.dice.getrandbits(128)).hex
        line = {"type": "run.submit", "tenant": self.tenant, "command_id": command_id, **fields}
        self._submitted.append(line)
        self._to_kafka(kind, COMMANDS, line)

    def _over_http(self) -> None:
        command_id = uuid.UUID(int=self.dice.getrandbits(128)).hex
        known = self.dice.random() < 0.2
        instance = self.dice.choice(self.instances) if known else f"nobody-{next(self._numbers)}"
        one = self.history.note("http", run_id=run_id_of(self.tenant, command_id))
        self._follow(
            one, self._post({"instance": instance, "gate": "wait"}, command_id), surely_not=(httpx.ConnectError,)
        )

    async def _post(self, body: dict[str, Any], command_id: str) -> None:
        answer = await self.http.post(
            self._url() + "/v1/requests", json=body, headers={"Idempotency-Key": command_id}
        )  # fmt: skip
        if answer.status_code >= 500:  # refused or not, below that the request is there
            answer.raise_for_status()

    # -- poison --------------------------------------------------------------------------------------------------

    def poison(self) -> None:
        """Bytes that nobody can read, into a topic that reads from strangers or from ourselves."""
        _, value, headers = self.dice.choice(POISON)
        topic = self.dice.choice((COMMANDS, REPORTS, STATES, INSTANCES))
        key = self.dice.randbytes(6)
        one = self.history.note("poison", digest=digest_of(value, key, headers))
        self._follow(one, self._send(topic, value, key, headers))

    # -- the flood -----------------------------------------------------------------------------------------------

    def flood_states(self, count: int) -> None:
        """States of flow runs that are nobody's: out of order, a tenth of them twice."""
        while len(self._states) < count + 200:
            self._states += self._story_of_a_stranger()
        batch, self._states = self._states[:count], self._states[count:]
        self.dice.shuffle(batch)
        batch += self.dice.sample(batch, len(batch) // 10)
        for state in batch:
            self._spill(STATES, state, state["flow_run_id"].encode())

    def _story_of_a_stranger(self) -> list[dict[str, Any]]:
        flow_run_id, began = str(uuid.UUID(int=self.dice.getrandbits(128))), datetime(2026, 1, 5, tzinfo=UTC)
        return [
            {"type": "prefect.flow_run_state_observed", "flow_run_id": flow_run_id, "flow_run_name": "stranger",
             "state_id": str(uuid.UUID(int=self.dice.getrandbits(128))), "state_type": state_type,
             "state_name": state_type.title(), "state_timestamp": (began + timedelta(seconds=n)).isoformat(),
             "source": "event", "observed_at": began.isoformat()}
            for n, state_type in enumerate(("SCHEDULED", "PENDING", "RUNNING", "COMPLETED"))
        ]  # fmt: skip

    def flood_reports(self, count: int) -> None:
        """Progress of runs that are, of runs that will be, and of runs that never are; some of it twice."""
        for _ in range(count):
            known = self._submitted and self.dice.random() < 0.5
            run_id = (
                run_id_of(self.tenant, self.dice.choice(self._submitted)["command_id"]) if known
                else str(uuid.UUID(int=self.dice.getrandbits(128)))
            )  # fmt: skip
            n = self.dice.randint(1, 5)
            report = {"type": "run.progress_reported", "tenant": self.tenant, "run_id": run_id, "attempt": 1, "n": n,
                      "progress_pct": 10.0 * n}  # fmt: skip
            self._spill(REPORTS, report, run_id.encode())

    def _spill(self, topic: str, value: dict[str, Any], key: bytes) -> None:
        """Sent and not followed: what it must leave behind is a natural key, not an answer."""
        self.flood += 1
        self._keep(self._ignoring(self._send(topic, json.dumps(value).encode(), key, [])))

    async def _ignoring(self, sending: Any) -> None:
        with contextlib.suppress(KafkaError, TimeoutError):
            await sending

    # -- sending -------------------------------------------------------------------------------------------------

    def _to_kafka(self, kind: str, topic: str, message: dict[str, Any], *, key: bytes | None = None) -> None:
        run_id = message.get("run_id") or (
            run_id_of(self.tenant, message["command_id"]) if message["type"] == "run.submit" else None
        )
        one = self.history.note(kind, run_id=run_id)
        self._follow(one, self._send(topic, json.dumps(message).encode(), key, []))

    async def _send(
        self, topic: str, value: bytes | None, key: bytes | None, headers: Sequence[tuple[str, bytes]]
    ) -> str:
        sent = await self.producer.send_and_wait(
            self._env["RUNTIDE_KAFKA_PREFIX"] + topic, value, key=key, headers=list(headers)
        )
        return f"{topic}:{sent.partition}:{sent.offset}"

    def _follow(self, one: Sent, sending: Any, surely_not: tuple[type[BaseException], ...] = ()) -> None:
        failures = (*_KAFKA_DOWN, httpx.HTTPError)
        self._keep(self.history.follow(one, sending, failures=failures, surely_not=surely_not))

    def _keep(self, sending: Any) -> None:
        task = asyncio.ensure_future(sending)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def settled(self) -> None:
        """Every send has its outcome, though it be unknown."""
        while self._under_way:
            await asyncio.wait(set(self._under_way))
        await self.producer.flush()
