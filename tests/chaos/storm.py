"""One chaos run: load on, faults one after the other, then quiet, then the invariants."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos import invariants
from tests.chaos.catalogue import Fault, catalogue
from tests.chaos.faults import Scene
from tests.chaos.fleet import SERVICES, Fleet
from tests.chaos.load import Load
from tests.chaos.looking import STATUS, Looking
from tests.chaos.watcher import Watcher
from tests.chaos.worker import Worker
from tests.support.eventually import eventually
from tests.support.harness import World

OTHER_TENANT = "globex"


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of it. `patience` scales how long faults last."""

    seed: int
    faults: int
    messages: int
    patience: float = 1.0
    most_seconds_behind: float = 90.0
    quiet_seconds: float = 180.0
    flood: int = 40  # a beat's messages of each kind
    together: float = 0.0  # how often a fault does not wait for the end of the one before it
    kinds: tuple[str, ...] = ()  # only these; none: all


SHORT = {"faults": 25, "messages": 20_000}  # each kind once
LONG = {
    "faults": 200, "messages": 1_000_000, "patience": 3.0, "flood": 150, "quiet_seconds": 1800.0,
    "most_seconds_behind": 300.0, "together": 0.5,
}  # fmt: skip


def chosen(plan: Plan) -> list[Fault]:
    """As many faults as asked for, each kind before any comes again; the seed says which and in which order."""
    dice = random.Random(f"{plan.seed}/faults")
    found: list[Fault] = []
    while len(found) < plan.faults:
        kinds: dict[str, list[Fault]] = {}
        for fault in catalogue():
            if not plan.kinds or fault.kind in plan.kinds:
                kinds.setdefault(fault.kind, []).append(fault)
        one_of_each = [dice.choice(faults) for faults in kinds.values()]
        dice.shuffle(one_of_each)
        found += one_of_each
    return found[: plan.faults]


def moments(plan: Plan) -> list[list[Fault]]:
    """The faults in their order, with those together that happen at once: none needs what another one stops."""
    dice = random.Random(f"{plan.seed}/moments")
    found: list[list[Fault]] = []
    for fault in chosen(plan):
        free = bool(found) and not any(fault.touches & other.touches for other in found[-1])
        if free and dice.random() < plan.together:
            found[-1].append(fault)
        else:
            found.append([fault])
    return found


@dataclass(slots=True)
class Result:
    """What happened, and what contradicts each invariant."""

    seed: int
    faults: Counter[str] = field(default_factory=Counter)
    behind: dict[str, float | None] = field(default_factory=dict)  # fault → seconds until all was read again
    messages: int = 0
    records: dict[str, int] = field(default_factory=dict)
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    runs: int = 0
    found: dict[str, list[str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        return not any(self.found.values())


class Storm:
    def __init__(self, stack: Any, state_dir: Path, plan: Plan, say: Callable[[str], None]) -> None:
        self.stack, self.state_dir, self.plan, self.say = stack, state_dir, plan, say
        self.result = Result(plan.seed)
        self.logs = state_dir / "chaos"

    async def run(self) -> Result:
        self.say(f"seed {self.plan.seed}")
        async with self._opened() as (fleet, worker, load, looking):
            working = asyncio.create_task(worker.run())
            try:
                async with self._timed("load and faults"):
                    await self._under_load(fleet, worker, load, looking, working)
                async with self._timed("until quiet"):
                    await load.settled()
                    await looking.quiet(within_seconds=self.plan.quiet_seconds)
                async with self._timed("invariants"):
                    await self._judge(fleet, worker, load, looking)
            finally:
                working.cancel()
        return self.result

    @contextlib.asynccontextmanager
    async def _timed(self, what: str) -> AsyncIterator[None]:
        began = time.monotonic()
        yield
        self.result.seconds[what] = round(time.monotonic() - began, 1)
        self.say(f"{what}: {self.result.seconds[what]} s")

    @contextlib.asynccontextmanager
    async def _opened(self) -> AsyncIterator[tuple[Fleet, Worker, Load, Looking]]:
        async with contextlib.AsyncExitStack() as stack:
            world = await World(self.stack.env).open()
            stack.push_async_callback(world.close)
            fleet = Fleet(world, self.logs)
            stack.push_async_callback(fleet.close)
            async with self._timed("start"):
                await fleet.open()
            worker = Worker(
                world.env["RUNTIDE_PREFECT_API_URL"], world.kafka, world.env["RUNTIDE_TENANT"], self.plan.seed
            )
            stack.push_async_callback(worker.close)
            await worker.open()
            load = Load(world.env, lambda: fleet.url("submission"), worker.deployment, self.plan.seed)
            stack.push_async_callback(load.close)
            await load.open()
            looking = Looking(fleet, worker)
            stack.push_async_callback(looking.close)
            self.watcher = await Watcher(world.env, world.env["RUNTIDE_TENANT"], looking.shown).open()
            stack.push_async_callback(self.watcher.close)
            self.stranger = await Watcher(world.env, OTHER_TENANT).open()
            stack.push_async_callback(self.stranger.close)
            yield fleet, worker, load, looking

    # -- load and faults -----------------------------------------------------------------------------------------

    async def _seen_live(self, looking: Looking) -> list[str]:
        """Asked until it agrees or half a minute is over: a publication is on its way for a moment."""
        found: list[str] = []

        async def agrees() -> bool:
            found[:] = invariants.seen_live(self.watcher.rows, await looking.shown(), list(self.stranger.rows))
            return not found

        with contextlib.suppress(AssertionError):
            await eventually(agrees, within_seconds=30, every_seconds=0.5)
        return found

    async def _under_load(
        self, fleet: Fleet, worker: Worker, load: Load, looking: Looking, working: asyncio.Task[None]
    ) -> None:
        await load.register()
        await load.settled()
        loading = asyncio.create_task(self._beats(load))
        scene = Scene(fleet, self.stack, self.state_dir, worker, looking, self.plan.patience, load.command)
        try:
            for faults in moments(self.plan):
                await _beside(self._at_once(faults, scene), loading, working)
        finally:
            loading.cancel()
        while load.messages < self.plan.messages:
            self._beat(load, self.plan.flood * 10)
            await asyncio.sleep(0)
            await load.settled()

    async def _at_once(self, faults: Sequence[Fault], scene: Scene) -> None:
        lasted = dict(zip(faults, await asyncio.gather(*(_timed(fault, scene) for fault in faults)), strict=True))
        await scene.fleet.mend()
        took = await scene.looking.seconds_until_read(self.plan.most_seconds_behind)
        await scene.fleet.all_ready()
        for fault in faults:
            self.result.faults[fault.kind] += 1
            number = self.result.faults.total()
            self.result.behind[f"{number} {fault.name}"] = took
            said = f"{number:3} {fault.name:<60} lasted {lasted[fault]:5.1f} s"
            self.say(
                f"{said}, read again after {took or -1:5.1f} s" if fault is faults[-1] else f"{said}, together with"
            )

    async def _beats(self, load: Load) -> None:
        while True:
            self._beat(load, self.plan.flood)
            await asyncio.sleep(0.5)

    def _beat(self, load: Load, flood: int) -> None:
        for _ in range(2):
            load.command()
        if load.messages < self.plan.messages:
            load.flood_states(flood)
            load.flood_reports(flood)
        if load.dice.random() < 0.5:
            load.poison()

    # -- afterwards ----------------------------------------------------------------------------------------------

    async def _judge(self, fleet: Fleet, worker: Worker, load: Load, looking: Looking) -> None:
        result, plan = self.result, self.plan
        records = {topic: await fleet.world.kafka.records(topic) for topic in STATUS}
        requests = await looking.rows("submission", "select *, blockers::text from requests")
        runs = await looking.rows("run_tracker", "select * from runs")
        letters = [row for service in SERVICES for row in await looking.rows(service, "select * from dead_letters")]
        instances = [row["name"] for row in await looking.rows("lineage", "select name from instances")]
        flow_runs = await worker.flow_runs()
        result.messages, result.outcomes, result.runs = load.messages, load.history.counts(), len(flow_runs)
        result.records = await looking.counts()
        of_runs = [*records["runs.status.v1"], *records["runs.progress.v1"]]
        result.found = {
            "I1": invariants.answered(load.history, requests, instances),
            "I2": invariants.launched_once(flow_runs, requests),
            "I3": invariants.said_in_order(await looking.outboxes(), records),
            "I4": invariants.numbered({"request": records["requests.status.v1"], "run": of_runs}),
            "I5": invariants.true_to_prefect(runs, flow_runs, worker.deleted),
            "I6": invariants.set_aside(load.history, letters),
            "I7": invariants.recomputed(await looking.http("lineage", "/v1/ops/lineage")),
            "I8": await self._seen_live(looking),
            "I9": await self._again_from_zero(fleet, looking),
            "I10": invariants.caught_up(result.behind, plan.most_seconds_behind),
        }

    async def _again_from_zero(self, fleet: Fleet, looking: Looking) -> list[str]:
        """Set every row back by hand, without Prefect, so that nothing new comes in between."""
        before = {**await looking.tables(), **await looking.said()}
        await asyncio.gather(*(member.kill() for member in fleet.first()))
        for service in SERVICES:
            await looking.rows(service, "update consumer_offsets set next_offset = 0")
        for (_, neighbour), wire in fleet.wires.items():
            if neighbour == "prefect":
                await wire.cut()
        await asyncio.gather(*(fleet.restart(service) for service in SERVICES))
        took = await looking.seconds_until_read(self.plan.quiet_seconds)
        await eventually(lambda: _nothing_waits(looking), within_seconds=self.plan.quiet_seconds, every_seconds=0.5)
        found: list[str] = []

        async def is_unmoved() -> bool:
            found[:] = invariants.unmoved(before, {**await looking.tables(), **await looking.said()})
            return not found

        with contextlib.suppress(AssertionError):  # what two consumers left to each other settles itself in a moment
            await eventually(is_unmoved, within_seconds=30, every_seconds=1)
        return found + ([] if took is not None else ["it was not read to the end"])


async def _beside(doing: Coroutine[Any, Any, None], *others: asyncio.Task[None]) -> None:
    """Do this while the others go on. Raises: what one of them raised."""
    task = asyncio.create_task(doing)
    done, _ = await asyncio.wait({task, *others}, return_when=asyncio.FIRST_COMPLETED)
    if task not in done:
        task.cancel()
    for one in done:
        one.result()


async def _timed(fault: Fault, scene: Scene) -> float:
    began = time.monotonic()
    await fault.happen(scene)
    return time.monotonic() - began


async def _nothing_waits(looking: Looking) -> bool:
    return not await looking.waiting()
