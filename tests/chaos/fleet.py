"""The four services as processes of their own, in a world of their own, each behind wires to its neighbours."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from deploy.native.ports import any_free
from tests.support.eventually import eventually
from tests.support.harness import World
from tests.support.wire import KafkaWire, Wire

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("submission", "run_tracker", "lineage", "notifier")
NEIGHBOURS = {
    "kafka": SERVICES,
    "postgres": SERVICES,
    "prefect": ("submission", "run_tracker"),
    "realtime": ("notifier",),
}
PARTS = ("kafka", "postgres", "prefect", "realtime")
READY_SECONDS = 240
# What waits minutes in production waits seconds here, so that quiet comes soon.
PATIENCE = {
    "RUNTIDE_KAFKA_SESSION_TIMEOUT_MS": "6000",
    "RUN_TRACKER_SWEEP_SECONDS": "2",
    "RUN_TRACKER_GONE_AFTER_SECONDS": "4",
    "RUN_TRACKER_SEAL_SECONDS": "3",
    "RUN_TRACKER_RECHECK_FIRST_SECONDS": "2",
    "RUN_TRACKER_RECHECK_LAST_SECONDS": "4",
    "RUN_TRACKER_MASS_LOSS_RUNS": "1000",
    "SUBMISSION_LAUNCH_LEASE_SECONDS": "5",
}


@dataclass(slots=True)
class Member:
    """One process of a service."""

    service: str
    slot: int
    url: str
    process: asyncio.subprocess.Process

    @property
    def alive(self) -> bool:
        return self.process.returncode is None

    def signal(self, number: signal.Signals) -> None:
        if self.alive:
            self.process.send_signal(number)

    async def kill(self) -> None:
        self.signal(signal.SIGKILL)
        await self.process.wait()

    async def end(self) -> None:
        """Ask it to leave."""
        self.signal(signal.SIGTERM)
        await asyncio.wait_for(self.process.wait(), 60)


class Fleet:
    """Who runs. A service's first process keeps its port, so that clients find it again."""

    def __init__(self, world: World, logs: Path) -> None:
        self.world, self._logs = world, logs
        self._ports = {service: any_free() for service in SERVICES}
        self.members: dict[tuple[str, int], Member] = {}
        self.wires: dict[tuple[str, str], Wire] = {}
        self.deaths: list[str] = []  # processes that ended by themselves

    async def open(self) -> Fleet:
        self._logs.mkdir(parents=True, exist_ok=True)
        for service in SERVICES:
            await self.world.migrate(service)
        for neighbour, users in NEIGHBOURS.items():
            for service in users:
                self.wires[service, neighbour] = await self._wire(neighbour).open()
                await self.wires[service, neighbour].mend()
        await asyncio.gather(*(self.start(service) for service in SERVICES))
        await self.all_ready()
        return self

    async def close(self) -> None:
        await asyncio.gather(*(member.kill() for member in self.members.values()))
        for wire in self.wires.values():
            await wire.close()

    def _wire(self, neighbour: str) -> Wire:
        env = self.world.env
        if neighbour == "kafka":
            return KafkaWire(env["RUNTIDE_KAFKA_BOOTSTRAP"])
        names = {"prefect": "RUNTIDE_PREFECT_API_URL", "realtime": "RUNTIDE_CENTRIFUGO_API_URL"}
        return Wire(self.world.dsn if neighbour == "postgres" else env[names[neighbour]])

    def url(self, service: str) -> str:
        return f"http://127.0.0.1:{self._ports[service]}"

    # -- processes -----------------------------------------------------------------------------------------------

    async def start(self, service: str, slot: int = 1, **more: str) -> Member:
        """A process of the service; it is not waited for."""
        port = self._ports[service] if slot == 1 else any_free()
        with (self._logs / f"{service}-{slot}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", f"services.{service}", "run", cwd=ROOT, stdin=asyncio.subprocess.DEVNULL,
                stdout=log, stderr=log, env=self._environment(service, slot, port) | more,
            )  # fmt: skip
        member = Member(service, slot, f"http://127.0.0.1:{port}", process)
        self.members[service, slot] = member
        return member

    def _environment(self, service: str, slot: int, port: int) -> dict[str, str]:
        wires = {
            neighbour: self.wires[service, neighbour] for neighbour in NEIGHBOURS if service in NEIGHBOURS[neighbour]
        }
        addresses = {
            "RUNTIDE_KAFKA_BOOTSTRAP": f"127.0.0.1:{wires['kafka'].port}",
            "RUNTIDE_POSTGRES_DSN": wires["postgres"].url,
        }
        if "prefect" in wires:
            addresses["RUNTIDE_PREFECT_API_URL"] = wires["prefect"].url
        if "realtime" in wires:
            addresses["RUNTIDE_CENTRIFUGO_API_URL"] = wires["realtime"].url
        name = service.upper()
        own = {f"{name}_HTTP_HOST": "127.0.0.1", f"{name}_HTTP_PORT": str(port),
               f"{name}_INSTANCE_ID": f"{self.world.id}-{service}-{slot}"}  # fmt: skip
        return {**os.environ, **self.world.env, **PATIENCE, **addresses, **own}

    async def restart(self, service: str, slot: int = 1) -> Member:
        """Start again what died or was killed, and wait for it."""
        member = await self.start(service, slot)
        await self.ready(member)
        return member

    async def ready(self, member: Member) -> None:
        async def probe() -> bool:
            assert member.alive, f"{member.service}-{member.slot} ended with {member.process.returncode}"
            return await answers(member.url + "/readyz")

        await eventually(probe, within_seconds=READY_SECONDS, every_seconds=0.1, what=f"{member.service} ready")

    async def all_ready(self) -> None:
        await asyncio.gather(*(self.ready(member) for member in self.first()))

    def first(self) -> Iterator[Member]:
        return (self.members[service, 1] for service in SERVICES)

    def leave(self, member: Member) -> None:
        """It is gone for good."""
        self.members.pop((member.service, member.slot), None)

    async def mend(self) -> None:
        """Every wire as good as new, and nobody stopped."""
        for wire in self.wires.values():
            await wire.mend()
        for member in self.members.values():
            member.signal(signal.SIGCONT)


async def answers(url: str) -> bool:
    try:
        async with httpx.AsyncClient(timeout=5) as http:
            return (await http.get(url)).status_code == 200
    except httpx.HTTPError:
        return False
