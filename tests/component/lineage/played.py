"""Random worlds for the whole service: each is a tenant, told only by messages. Submission, Prefect and people are
played by dice; what lineage says is read from Kafka.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from aiokafka import AIOKafkaConsumer, TopicPartition
from runtide_schemas.vocabulary import FlowStatus, OnUpstream, version_id_of

from services.lineage.domain.gate import State
from services.lineage.mirror import Loaded
from tests.component.lineage.told import Told, text
from tests.support.harness import ServiceHarness

READ = ("instances.commands.v1", "runs.status.v1", "requests.status.v1")
SAID = ("runs.commands.v1", "requests.decisions.v1")
EDGES: Sequence[dict[str, Any]] = ({}, {}, {}, {"optional": True}, {"kind": "schema_dependency"})


class Follower:
    """What lineage says, from the beginning on; and whether it has read all that it was told."""

    def __init__(self, lineage: ServiceHarness) -> None:
        self.lineage, self.prefix = lineage, lineage.kafka.prefix
        self.consumer = AIOKafkaConsumer(bootstrap_servers=lineage.kafka.bootstrap, enable_auto_commit=False)

    async def start(self) -> Follower:
        await self.consumer.start()
        self.consumer.assign(await self._partitions(SAID))
        await self.consumer.seek_to_beginning()
        return self

    async def stop(self) -> None:
        await self.consumer.stop()

    async def _partitions(self, topics: Sequence[str]) -> list[TopicPartition]:
        known = await self.consumer._client.fetch_all_metadata()
        return [
            TopicPartition(self.prefix + topic, partition)
            for topic in topics
            for partition in sorted(known.partitions_for_topic(self.prefix + topic) or ())
        ]

    async def heard(self) -> list[dict[str, Any]]:
        """What was said since the last time."""
        batches = await self.consumer.getmany(timeout_ms=200)
        return [json.loads(record.value) for records in batches.values() for record in records]

    async def is_settled(self) -> bool:
        """Lineage has read all that it was told and said all that it had to say, and we have heard it."""
        read = await self.consumer.end_offsets(await self._partitions(READ))
        rows = await self.lineage.rows("select topic, partition, next_offset from consumer_offsets")
        offsets = {(row["topic"], row["partition"]): row["next_offset"] for row in rows}
        if any(offsets.get((tp.topic.removeprefix(self.prefix), tp.partition), 0) < end for tp, end in read.items()):
            return False
        if await self.lineage.rows("select 1 from outbox limit 1"):
            return False
        said = await self.consumer.end_offsets(list(self.consumer.assignment()))
        return all([await self.consumer.position(tp) >= end for tp, end in said.items()])


@dataclass
class Played:
    """A run as Prefect plays it."""

    run_id: str
    name: str
    inputs: dict[str, Any]
    trigger: str
    status: str = "pending"
    started_at: datetime | None = None
    ended_at: datetime | None = None
    output: str | None = None
    columns: str = "c1"

    @property
    def reported(self) -> dict[str, Any]:
        return {
            "trigger": self.trigger,
            "input_versions": self.inputs,
            "output_digest": self.output,
            "schema_digest": self.columns if self.ended_at else None,
            "started_at": text(self.started_at) if self.started_at else None,
            "ended_at": text(self.ended_at) if self.ended_at else None,
        }


@dataclass
class PlayedWorld:
    """One tenant's world. `follow` takes in what lineage said; `live` and `end_well` do one thing each time."""

    seed: int
    lineage: ServiceHarness
    runs: dict[str, Played] = field(default_factory=dict)
    asked: list[dict[str, Any]] = field(default_factory=list)
    known: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.told = Told(self.lineage)
        self.dice = random.Random(self.seed)
        self.names = [f"n{place}" for place in range(self.dice.randint(3, 6))]
        self.edges: dict[str, list[dict[str, Any]]] = {
            name: [self._edge(other) for other in self.names[:place] if self.dice.random() < 0.5]
            for place, name in enumerate(self.names)
        }

    def _edge(self, name: str) -> dict[str, Any]:
        return {"instance": name, **self.dice.choice(EDGES)}

    async def begin(self) -> None:
        """Everything registered, and run once by somebody."""
        for name, edges in self.edges.items():
            flow = {"on_upstream": "refresh" if edges else "notify"}
            if self.dice.random() < 0.3:
                flow["max_wait"] = "PT2S"
            await self.told.register(name, upstreams=edges, flow=flow)
        for name in self.names:
            inputs = {
                edge["instance"]: {
                    "instance_id": self.told.id(edge["instance"]), "flow_kind": "refresh", "basis": "reported",
                    "version_id": str(_version_of(next(r for r in self.runs.values() if r.name == edge["instance"]))),
                }
                for edge in self.edges[name]
            }  # fmt: skip
            await self._start(Played(str(uuid4()), name, inputs, "manual"))
            await self._end([run for run in self.runs.values() if run.name == name][-1], "changed")

    def follow(self, message: dict[str, Any]) -> None:
        if message["tenant"] != self.told.tenant:
            return
        if message["type"] == "run.submit" and message["command_id"] not in self.known:
            self.known.add(message["command_id"])
            self.asked.append(message)
        elif message["type"] == "request.admitted":
            name = next(name for name in self.names if self.told.id(name) == message["instance_id"])
            trigger = self.told.asked_of(message["run_id"])["trigger"]
            inputs = {role: dict(one) for role, one in message["input_versions"].items()}
            self.runs.setdefault(message["run_id"], Played(message["run_id"], name, inputs, trigger))

    # -- submission and Prefect -------------------------------------------------------------------------------------

    async def _announce(self) -> bool:
        if not self.asked:
            return False
        command = self.asked.pop(self.dice.randrange(len(self.asked)))
        name = next(name for name in self.names if self.told.id(name) == command["instance"])
        await self.told.ask(name, command_id=command["command_id"], instance_name=None, gate=command["gate"],
                            skip_if_ready=command["skip_if_ready"], trigger=command["trigger"])  # fmt: skip
        return True

    def _of_status(self, status: str) -> list[Played]:
        return [run for run in self.runs.values() if run.status == status]

    async def _start_one(self) -> bool:
        pending = self._of_status("pending")
        if pending:
            await self._start(self.dice.choice(pending))
        return bool(pending)

    async def _start(self, run: Played) -> None:
        self.runs[run.run_id] = run
        run.status, run.started_at = "running", datetime.now(UTC)
        await self.told.run(run.run_id, run.name, "running", **run.reported)

    async def _end_one(self, ends: Sequence[str]) -> bool:
        running = self._of_status("running")
        if running:
            await self._end(self.dice.choice(running), self.dice.choice(ends))
        return bool(running)

    async def _end(self, run: Played, end: str) -> None:
        run.status, run.ended_at = "failed" if end == "failed" else "completed", datetime.now(UTC)
        before = [one for one in self.runs.values() if one.name == run.name and one.output and one is not run]
        run.output = before[-1].output if end == "unchanged" and before else f"{run.name} {uuid4()}"
        run.columns = (
            self.dice.choice(["c1", "c1", "c2"]) if end == "changed" else before[-1].columns if before else "c1"
        )
        await self.told.run(run.run_id, run.name, run.status, **run.reported)

    # -- people -----------------------------------------------------------------------------------------------------

    async def _run_a_root(self) -> None:
        busy = {run.name for run in self.runs.values() if run.status in ("pending", "running")}
        if idle := [name for name, edges in self.edges.items() if not edges and name not in busy]:
            await self._start(Played(str(uuid4()), self.dice.choice(idle), {}, "manual"))

    async def _withdraw(self) -> None:
        """Not of a flow's first run: nobody reads what never was."""
        first = {run.name: run.run_id for run in reversed(list(self.runs.values()))}
        known = [run for run in self._of_status("completed") if first[run.name] != run.run_id]
        if known:
            run = known[-1]
            run.status, run.ended_at = self.dice.choice(["failed", "cancelled"]), datetime.now(UTC)
            await self.told.run(run.run_id, run.name, run.status, **run.reported)

    async def _redefine(self) -> None:
        await self.told.command("instance.change_definition", instance=self.dice.choice(self.names), digest=uuid4().hex)

    async def _rewire(self) -> None:
        place = self.dice.randrange(1, len(self.names))
        name, other = self.names[place], self.dice.choice(self.names[:place])
        edges = [edge for edge in self.edges[name] if edge["instance"] == other]
        if edges:
            await self.told.command("instance.disconnect", instance=name, upstreams=[{"instance": other}])
            self.edges[name].remove(edges[0])
        else:
            self.edges[name].append(self._edge(other))
            await self.told.command("instance.connect", instance=name, upstreams=self.edges[name][-1:])

    # -- the story --------------------------------------------------------------------------------------------------

    async def live(self) -> None:
        """One thing happens."""
        if self.dice.random() < 0.35:
            people = [
                self._run_a_root,
                self._run_a_root,
                self._run_a_root,
                self._withdraw,
                self._redefine,
                self._rewire,
            ]
            await self.dice.choice(people)()
            return
        ends = ["changed", "changed", "unchanged", "failed"]
        machines = [self._announce, self._start_one, lambda: self._end_one(ends)]
        for move in self.dice.sample(machines, len(machines)):
            if await move():
                return

    async def end_well(self) -> bool:
        """Whatever is under way goes on and ends well; says whether anything was."""
        moved = [await self._announce(), await self._start_one(), await self._end_one(["changed", "unchanged"])]
        return any(moved)

    async def mend(self, loaded: Loaded) -> bool:
        """Somebody runs the first flow that failed, or does not refresh itself; says whether there was one."""
        world = loaded.world
        asked = {one.instance_id for one in loaded.requests.values() if not one.is_automatic}
        for key in world.graph.sorted(world.flow_keys()):
            flow = world.flow(key)
            assert flow is not None
            by_itself = flow.on_upstream is OnUpstream.REFRESH and flow.freshness is FlowStatus.STALE
            if flow.status is not FlowStatus.READY and not by_itself and key.instance_id not in asked:
                await self.told.ask(world.instances[key.instance_id].name, gate="wait", trigger="manual")
                return True
        return any(one.due_at and one.due_at < datetime.now(UTC) + timedelta(hours=1) for one in _waiting(loaded))


def _waiting(loaded: Loaded) -> list[Any]:
    return [one for one in loaded.requests.values() if one.state is State.PARKED]


def _version_of(run: Played) -> UUID:
    return version_id_of(UUID(run.run_id), 1)
