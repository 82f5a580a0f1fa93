"""What goes wrong: each fault begins under load, ends by itself, and leaves everything as it was before."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import httpx
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from shared.failpoints import VARIABLE, Place
from tests.chaos.fleet import PARTS, READY_SECONDS, SERVICES, Fleet, Member
from tests.chaos.looking import Looking
from tests.chaos.worker import Worker
from tests.support.eventually import eventually

BURST, AT_ONCE = 6_000, 500


@dataclass(slots=True)
class Scene:
    """Where a fault happens. `patience` scales how long it lasts; `more` adds a little load and is called in waits."""

    fleet: Fleet
    stack: Any
    state_dir: Path
    worker: Worker
    looking: Looking
    patience: float
    more: Callable[[], None]

    async def lasts(self, seconds: float) -> None:
        """The fault is there for so long: its length is what is tried here, not something that is waited for."""
        await asyncio.sleep(seconds * self.patience)


def pid_of(state_dir: Path, part: str) -> int:
    """The process of a part of the stack that is ours."""
    record = json.loads((state_dir / "run" / f"{part}.json").read_text(encoding="utf-8"))
    return int(record["pid"])


# -- processes of ours ---------------------------------------------------------------------------------------------


async def kill_service(scene: Scene, service: str) -> None:
    await scene.fleet.members[service, 1].kill()
    await scene.fleet.restart(service)


async def terminate_service(scene: Scene, service: str) -> None:
    await scene.fleet.members[service, 1].end()
    await scene.fleet.restart(service)


async def freeze_service(scene: Scene, service: str) -> None:
    """Long enough to lose its place in the groups."""
    member = scene.fleet.members[service, 1]
    member.signal(signal.SIGSTOP)
    try:
        await scene.lasts(7)
    finally:
        member.signal(signal.SIGCONT)


async def join_and_leave(scene: Scene, service: str) -> None:
    """A second process takes half of the partitions, and gives them back."""
    second = await scene.fleet.start(service, 2)
    try:
        await scene.fleet.ready(second)
        await scene.lasts(1)
    finally:
        await second.end()
        scene.fleet.leave(second)


async def die_at(scene: Scene, service: str, place: Place, hits: int) -> None:
    """The process ends itself between an effect and the note of it."""
    await scene.fleet.members[service, 1].kill()
    member = await scene.fleet.start(service, **{VARIABLE: f"{place}:{hits}"})
    await eventually(
        lambda: _died(scene, member), within_seconds=READY_SECONDS, every_seconds=0.5,
        what=f"{service}'s death at {place}",
    )  # fmt: skip
    assert member.process.returncode == -signal.SIGKILL, f"{service} ended with {member.process.returncode}"
    await scene.fleet.restart(service)


def _died(scene: Scene, member: Member) -> bool:
    scene.more()
    return not member.alive


async def power_cut(scene: Scene) -> None:
    """Everything ends at once; the services are there again before any of their neighbours."""
    fleet = scene.fleet
    await asyncio.gather(*(scene.stack.kill(part) for part in PARTS), *(member.kill() for member in fleet.first()))
    await asyncio.gather(*(fleet.start(service) for service in SERVICES))
    for part in PARTS:
        await _up(scene, part)
    await fleet.all_ready()


# -- the broker ----------------------------------------------------------------------------------------------------


async def kill_part(scene: Scene, part: str) -> None:
    """Started again until it starts: PostgreSQL refuses while anything of the time before is still there."""
    await scene.stack.kill(part)
    await _up(scene, part)


async def _up(scene: Scene, part: str) -> None:
    async def started() -> bool:
        await scene.stack.start(part)
        return True

    await eventually(started, within_seconds=READY_SECONDS, every_seconds=1, what=f"{part} up again")


async def freeze_part(scene: Scene, part: str, seconds: float) -> None:
    pid = pid_of(scene.state_dir, part)
    os.kill(pid, signal.SIGSTOP)
    try:
        await scene.lasts(seconds)
    finally:
        os.kill(pid, signal.SIGCONT)


async def reset_groups(scene: Scene, service: str) -> None:
    """What Kafka remembers of a service's groups is set to the beginning, while nobody is in them."""
    await scene.fleet.members[service, 1].kill()
    kafka = scene.fleet.world.kafka
    rows = await scene.looking.rows(service, "select distinct consumer, topic from consumer_offsets")
    partitions = await scene.looking.ends()
    for row in rows:
        tps = [TopicPartition(kafka.prefix + topic, p) for topic, p in partitions if topic == row["topic"]]
        await eventually(
            partial(_commit_zero, kafka.bootstrap, kafka.prefix + row["consumer"], tps), within_seconds=60,
            every_seconds=0.3, what=f"a group to be empty: {row['consumer']}",
        )  # fmt: skip
    await scene.fleet.restart(service)


async def _commit_zero(bootstrap: str, group: str, tps: Sequence[TopicPartition]) -> bool:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign(tps)
        async with asyncio.timeout(5):
            await consumer.commit(dict.fromkeys(tps, 0))
        return True
    except (KafkaError, TimeoutError):
        return False  # the member that was killed is still known
    finally:
        await consumer.stop()


# -- wires ---------------------------------------------------------------------------------------------------------


async def slow_wire(scene: Scene, service: str, neighbour: str) -> None:
    wire = scene.fleet.wires[service, neighbour]
    wire.delay_seconds = 0.15
    await scene.lasts(3)
    await wire.mend()


async def half_open_wire(scene: Scene, service: str, neighbour: str) -> None:
    """The connection stands and nothing passes; what was on its way arrives late."""
    wire = scene.fleet.wires[service, neighbour]
    wire.passes.clear()
    await scene.lasts(4)
    await wire.mend()


async def cut_wire(scene: Scene, service: str, neighbour: str) -> None:
    wire = scene.fleet.wires[service, neighbour]
    await wire.cut()
    await scene.lasts(2)
    await wire.mend()


async def lose_answers(scene: Scene, service: str, neighbour: str) -> None:
    """What is asked happens, and whoever asked never hears of it."""
    wire = scene.fleet.wires[service, neighbour]
    before, wire.loses_answers = wire.answers_lost, True
    wire.drop()

    def lost() -> bool:
        scene.more()
        return wire.answers_lost - before >= 3

    try:
        await eventually(lost, within_seconds=60, every_seconds=0.2, what=f"an answer of {neighbour} to lose")
    finally:
        await wire.mend()


# -- PostgreSQL ----------------------------------------------------------------------------------------------------


async def terminate_backends(scene: Scene, service: str) -> None:
    """Those in the middle of a transaction, again and again, until some were."""
    conn = await asyncpg.connect(scene.fleet.world.dsn)

    async def some() -> bool:
        scene.more()
        ended = await conn.fetchval(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = current_database()"
            " and application_name = $1 and (state <> 'idle' or query ilike 'commit%')",
            f"runtide-{service}",
        )
        return bool(ended)

    try:
        for _ in range(5):
            await eventually(some, within_seconds=60, every_seconds=0.03, what="a backend to end")
    finally:
        await conn.close()


async def hold_lock(scene: Scene, service: str, table: str) -> None:
    """Somebody works by hand, and forgets to commit for longer than a lock is waited for."""
    conn = await asyncpg.connect(scene.fleet.world.dsn)
    try:
        async with conn.transaction():
            await conn.execute(f"lock table {service}.{table} in access exclusive mode")
            await scene.lasts(12)
    finally:
        await conn.close()


# -- Prefect and Centrifugo ----------------------------------------------------------------------------------------


async def delete_flow_run(scene: Scene) -> None:
    async def deleted() -> bool:
        scene.more()
        with contextlib.suppress(httpx.HTTPError):
            return await scene.worker.delete_one() is not None
        return False

    await eventually(deleted, within_seconds=60, every_seconds=0.1, what="an open flow run to delete")


async def burst_of_events(scene: Scene) -> None:
    """More events at once than a subscriber is allowed to lag behind; none of them is about a run of ours."""
    for _ in range(BURST // AT_ONCE):
        await scene.worker.emit(AT_ONCE)
        scene.more()


# -- order ---------------------------------------------------------------------------------------------------------


async def hold_back(scene: Scene, service: str, topic: str) -> None:
    """One consumer stands still while all the others go on: what it reads comes after everything else."""
    conn = await asyncpg.connect(scene.fleet.world.dsn)
    try:
        async with conn.transaction():
            held = await conn.fetch(
                f"select from {service}.consumer_offsets where topic = $1 order by partition for update", topic
            )
            assert held, f"{service} does not read {topic}"
            await scene.lasts(4)
    finally:
        await conn.close()
