"""A world lived through at random, by lineage's own handlers: people, submission and Prefect are played by dice.

`Story(seed)` is always the same story. Roots are run by people; everything else refreshes itself. Of some flows a
backfill is open from the first day on. While it lives, all that can happen happens; `calm_down` lets end well what is
under way, and has people mend what failed.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from runtide_schemas import instances as wire
from runtide_schemas.commands import SubmitRun
from runtide_schemas.decisions import RequestAdmitted
from runtide_schemas.requests import InputVersion, RequestStatusChanged
from runtide_schemas.runs import RunStatusChanged
from runtide_schemas.vocabulary import (
    Basis,
    EdgeKind,
    FlowStatus,
    Gate,
    Mode,
    OnUpstream,
    RequestStatus,
    RunStatus,
    RunType,
    Trigger,
    run_id_of,
    version_id_of,
)

from services.lineage import handlers
from services.lineage.conclusion import DECIDE, EXPIRE
from services.lineage.domain.endings import BEGINNING, Completion, Run
from services.lineage.domain.gate import State
from services.lineage.domain.graph import FlowKey
from services.lineage.domain.world import Flow, Instance, Read, Schema, Upstream, World
from shared.messaging.decode import Received, Record
from shared.messaging.due import Due
from tests.unit.lineage.memory import MemoryStore, MemoryWork, Version, done, recomputed
from tests.unit.lineage.worlds import NOW, REFRESH, TENANT, id_of, instance, key, run, upstream

on_requests_status = handlers.hearing_requests(timedelta(hours=24), most_dates=100)
EDGES = ({}, {}, {}, {}, {}, {"optional": True}, {"kind": EdgeKind.SCHEMA})


@dataclass
class Played:
    """A run as Prefect plays it."""

    run_id: UUID
    name: str
    trigger: Trigger
    mode: Mode = Mode.INCREMENTAL
    inputs: dict[str, InputVersion] = field(default_factory=dict)
    seq: int = 0
    started_at: datetime | None = None
    ended_at: datetime | None = None
    status: RunStatus = RunStatus.PENDING
    digest: str | None = None
    columns: str | None = None


class Story:
    """`retry`: the policy of every flow (JSON, as stored), None: nothing is run once more by itself."""

    def __init__(self, seed: int, retry: str | None = None) -> None:
        self.retry = retry
        self.dice = random.Random(seed)
        self.time = 0.0
        self.store = MemoryStore(TENANT)
        self.names = [f"n{place}" for place in range(self.dice.randint(3, 7))]
        self.name_of = {id_of(name): name for name in self.names}
        self.backfilled = [name for name in self.names if self.dice.random() < 0.2]
        self.asked: list[SubmitRun] = []
        self.requests: dict[UUID, dict[str, Any]] = {}
        self.runs: dict[UUID, Played] = {}
        self.due: dict[tuple[str, str], datetime] = {}
        self.open: Counter[FlowKey] = Counter()
        self.allowed: Counter[str] = Counter()  # automatic runs that changes above a flow account for
        self.automatic: Counter[str] = Counter()  # automatic runs that it had
        self.faults: list[str] = []
        self.log: dict[Any, list[Received[Any]]] = {}  # handler → all that it was given, in the order of the log
        self._offset = 0
        self._begin()

    # -- the world at its beginning: everything ran once, and is ready ---------------------------------------------

    def _begin(self) -> None:
        for place, name in enumerate(self.names):
            above = [self._edge(other) for other in self.names[:place] if self.dice.random() < 0.45]
            self.store.instances[id_of(name)] = self._instance(name, above)
        bare = World(TENANT, dict(self.store.instances))
        for number, flow in enumerate(bare.graph.sorted(bare.flow_keys()), start=1):
            self._has_run(bare, flow, number)
        flows = recomputed(bare, lambda flow: self.store.past(flow, BEGINNING), self.now)
        self.store.instances = dict(bare.with_flows(flows).instances)
        for name in self.backfilled:
            self.ask(name, trigger=Trigger.BACKFILL)

    def _edge(self, name: str) -> Upstream:
        return upstream(name, **self.dice.choice(EDGES))

    def _instance(self, name: str, above: Sequence[Upstream]) -> Instance:
        made = instance(name, *above, on_upstream=OnUpstream.REFRESH if above else OnUpstream.NOTIFY)
        waits = {
            "max_wait": timedelta(seconds=self.dice.choice([60, 300])) if self.dice.random() < 0.2 else None,
            "min_interval": timedelta(seconds=self.dice.choice([30, 120])) if self.dice.random() < 0.1 else None,
        }
        room = 2 if name in self.backfilled else 1
        return made.with_flows({REFRESH: replace(made.flows[0], max_open_runs=room, retry=self.retry, **waits)})

    def _has_run(self, world: World, flow: FlowKey, number: int) -> None:
        name, at = self.name_of[flow.instance_id], NOW - timedelta(days=1) + timedelta(minutes=number)
        reads = tuple(
            Read(edge.role, edge.upstream, version_id_of(run(rank), 1), None, Basis.ADMITTED, Schema("c1"))
            for edge in world.graph.into(flow)
            for rank, other in enumerate(world.graph.sorted(world.flow_keys()), start=1)
            if other == edge.upstream
        )
        made = Completion(version_id_of(run(number), 1), run(number), 1, at, at, f"{name} 0", reads=reads,
                          schema_digest="c1")  # fmt: skip
        self.store.versions[made.completion_id] = Version(flow, made)
        self.store.all_runs[made.run_id] = Run(
            made.run_id, TENANT, flow.instance_id, REFRESH, 1, RunStatus.COMPLETED, Mode.INCREMENTAL, Trigger.MANUAL, 1,
            at, RunStatus.COMPLETED, at, 1,
        )  # fmt: skip

    # -- what lineage is told ---------------------------------------------------------------------------------------

    @property
    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.time)

    @property
    def world(self) -> World:
        return self.store.world

    def flow(self, name: str) -> Flow:
        found = self.world.flow(key(name))
        assert found is not None
        return found

    def tell(
        self, handler: Callable[[Any, Any], Coroutine[Any, Any, None]], batch: Iterable[Any], *, by_hand: bool = True
    ) -> None:
        """One batch, and what comes of it. `by_hand`: what it changes is no automatic run's doing."""
        self.time += self.dice.random()
        before = self.world
        work = MemoryWork(self.now, self.store)
        heard = [one if isinstance(one, Due) else self._received(one) for one in batch]
        self.log.setdefault(handler, []).extend(one for one in heard if isinstance(one, Received))
        done(handler(heard, work))
        for (kind, ref), at in work.due.items():
            if at is None:
                self.due.pop((kind, ref), None)
            elif kind in (EXPIRE, DECIDE):  # submission hears everything, so nothing is asked again
                self.due[kind, ref] = at
        self._account(before, by_hand=by_hand)
        if self.dice.random() < 0.02 and self.deviating:
            self.faults.append(f"{self.deviating} are not what recomputing says, at {self.time}")
        for message in work.said:
            self._hear(message)

    def _received(self, message: Any) -> Received[Any]:
        self._offset += 1
        at_ms = int(self.now.timestamp() * 1000)
        record = Record("topic", 0, self._offset, at_ms, None, b"", (), self._offset)
        return Received(message, f"m{self._offset}", self.now, None, None, record)

    def _hear(self, message: Any) -> None:
        """Submission and Prefect take what lineage said."""
        match message:
            case SubmitRun():
                self.asked.append(message)
            case RequestAdmitted():
                self._admitted(message)
            case _:
                pass

    def _admitted(self, message: RequestAdmitted) -> None:
        assert message.instance_id is not None
        name, body = self.name_of[message.instance_id], self.requests[message.run_id]
        trigger = body["trigger"]
        if trigger is Trigger.BACKFILL:
            self.start(Played(message.run_id, name, trigger))  # for ever, and today it is nobody's business
            return
        if trigger is Trigger.UPSTREAM:
            self.automatic[name] += 1
            if body["retries"] is not None:
                self.allowed[name] += 1  # a failure accounts for it
            if message.warning is not None:
                self.allowed[name] += 1  # excused from waiting: it runs again when what it waited for has come
            else:
                self._check_join(name, message)
        self.open[key(name)] += 1
        self.runs[message.run_id] = Played(message.run_id, name, trigger, body["mode"], dict(message.input_versions))

    def _check_join(self, name: str, message: RequestAdmitted) -> None:
        """A join never runs on half of what is new: all above is ready and idle, and what it reads is current."""
        world = self.world
        for above in world.graph.above(key(name)):
            flow = world.flow(above)
            if flow is None or flow.status is not FlowStatus.READY or self.open[above]:
                self.faults.append(f"{name} was admitted while {world.name_of(above)} was not ready and idle")
        for edge in world.graph.into(key(name)):
            flow, read = world.flow(edge.upstream), message.input_versions.get(edge.role)
            current = flow.version.version_id if flow and flow.version else None
            if (read.version_id if read else None) != current:
                self.faults.append(f"{name} was admitted on another version of {world.name_of(edge.upstream)}")

    # -- what a change accounts for ---------------------------------------------------------------------------------

    def _account(self, before: World, *, by_hand: bool) -> None:
        after = self.world
        for each in after.flow_keys():
            was, now = before.flow(each), after.flow(each)
            old, new = (flow.version if flow else None for flow in (was, now))
            if old is None or new is None or old.version_id == new.version_id:
                continue
            allowed: set[FlowKey] = set(after.graph.waiting_for([each]).parents) if by_hand else set()
            for edge in after.graph.out_of(each):
                reader = before.flow(edge.downstream)
                unread = edge.kind is EdgeKind.SCHEMA and reader is not None and reader.stale_by_version is not None
                if edge.optional or unread or (edge.kind is EdgeKind.SCHEMA and old.schema != new.schema):
                    allowed |= {edge.downstream, *after.graph.waiting_for([edge.downstream]).parents}
            self._allow(allowed)

    def _allow(self, flows: Iterable[FlowKey]) -> None:
        self.allowed.update(self.name_of[flow.instance_id] for flow in flows)

    # -- what people do ---------------------------------------------------------------------------------------------

    def command(self, command: wire.InstanceCommand, name: str) -> None:
        self.tell(handlers.on_instances_commands, [command])
        self._allow({key(name), *self.world.graph.waiting_for([key(name)]).parents})

    def redefine(self) -> None:
        name = self.dice.choice(self.names)
        digest = f"code {self._offset}"
        self.command(wire.ChangeDefinition(tenant=TENANT, instance=name, digest=digest), name)

    def rewire(self) -> None:
        place = self.dice.randrange(1, len(self.names))
        name, other = self.names[place], self.dice.choice(self.names[:place])
        known = {one.name for one in self.world.instances[id_of(name)].upstreams}
        kind: type[Any] = wire.DisconnectInstances if other in known else wire.ConnectInstances
        edge = wire.UpstreamSpec(instance=other, **(self.dice.choice(EDGES) if other not in known else {}))
        self.command(kind(tenant=TENANT, instance=name, upstreams=[edge]), name)

    def run_by_hand(self) -> None:
        """Somebody runs a root, without asking lineage."""
        roots = [one.name for one in self.world.instances.values() if not one.upstreams]
        busy = {one.name for one in self.runs.values() if not one.status.is_terminal}
        if idle := [name for name in roots if name not in busy]:
            self._start_unrequested(self.dice.choice(idle))

    def _start_unrequested(self, name: str) -> None:
        played = Played(run(10_000 + self._offset), name, Trigger.MANUAL)
        self.runs[played.run_id] = played
        self.start(played)

    def ask(self, name: str, *, mode: Mode = Mode.INCREMENTAL, trigger: Trigger = Trigger.MANUAL) -> None:
        """Somebody asks for a run, and waits."""
        self.announce([self._by_hand(name, mode, trigger)])

    def _by_hand(self, name: str, mode: Mode = Mode.INCREMENTAL, trigger: Trigger = Trigger.MANUAL) -> SubmitRun:
        return SubmitRun(command_id=f"hand {self._offset}", tenant=TENANT, instance=name, gate=Gate.WAIT, mode=mode,
                         trigger=trigger)  # fmt: skip

    def cancel(self) -> None:
        """Somebody takes back what he asked for."""
        waiting = [
            one.run_id
            for one in self.store.all_requests.values()
            if one.state is State.PARKED and one.trigger is Trigger.MANUAL
        ]
        if waiting:
            self.tell(on_requests_status, [self._request(self.dice.choice(waiting), RequestStatus.CANCELLED)])

    def change_ones_mind(self) -> None:
        """Somebody asks, and takes it back before lineage has heard of it."""
        run_id = self._taken(self._by_hand(self.dice.choice(self.names)))
        both = (RequestStatus.REQUESTED, RequestStatus.CANCELLED)
        self.tell(on_requests_status, [self._request(run_id, status) for status in both])

    def withdraw(self) -> None:
        """Prefect corrects a completed run: it failed, or was cancelled."""
        known = [one for one in self.runs.values() if one.status is RunStatus.COMPLETED]
        if known:
            played = self.dice.choice(known[-3:])
            played.status = self.dice.choice([RunStatus.FAILED, RunStatus.CANCELLED])
            self.tell(handlers.on_runs_status, [self._snapshot(played)])
            self._allow({key(played.name), *self.world.graph.waiting_for([key(played.name)]).parents})

    # -- what submission and Prefect do -----------------------------------------------------------------------------

    def announce(self, commands: Sequence[SubmitRun]) -> None:
        run_ids = [self._taken(command) for command in commands]
        self.tell(on_requests_status, [self._request(run_id, RequestStatus.REQUESTED) for run_id in run_ids])

    def _taken(self, command: SubmitRun) -> UUID:
        assert command.command_id is not None
        run_id = run_id_of(TENANT, command.command_id)
        self.requests[run_id] = {
            "instance_id": command.instance_id, "flow_kind": REFRESH, "trigger": command.trigger,
            "mode": command.mode, "gate": command.gate, "skip_if_ready": command.skip_if_ready, "seq": 0,
            "retries": command.retries,
        }  # fmt: skip
        return run_id

    def _request(self, run_id: UUID, status: RequestStatus) -> RequestStatusChanged:
        body = self.requests[run_id]
        body["seq"] += 1
        return RequestStatusChanged(tenant=TENANT, run_id=run_id, status=status, occurred_at=self.now, **body)

    def hear_requests(self) -> bool:
        if not self.asked:
            return False
        self.dice.shuffle(self.asked)
        count = self.dice.randint(1, len(self.asked))
        told, self.asked = self.asked[:count], self.asked[count:]
        self.announce(told)
        return True

    def start_a_run(self) -> bool:
        pending = [one for one in self.runs.values() if one.status is RunStatus.PENDING]
        if pending:
            played = self.dice.choice(pending)
            if self.dice.random() < 0.3:
                self.tell(on_requests_status, [self._request(played.run_id, RequestStatus.LAUNCHED)])
            self.start(played)
        return bool(pending)

    def start(self, played: Played) -> None:
        played.status, played.started_at = RunStatus.RUNNING, self.now
        self.tell(handlers.on_runs_status, [self._snapshot(played)])

    def end_runs(self, ends: Sequence[str]) -> bool:
        """One run ends, sometimes two in one batch."""
        running = [one for one in self.runs.values() if one.status is RunStatus.RUNNING]
        self.dice.shuffle(running)
        told = running[: self.dice.choice([1, 1, 2])]
        for played in told:
            self._end(played, self.dice.choice(ends))
        for automatic in (True, False):
            if batch := [one for one in told if (one.trigger is Trigger.UPSTREAM) is automatic]:
                self.tell(handlers.on_runs_status, [self._snapshot(one) for one in batch], by_hand=not automatic)
        return bool(told)

    def _end(self, played: Played, end: str) -> None:
        self.time += self.dice.random()
        played.ended_at = self.now
        if played.run_id in self.requests:
            self.open[key(played.name)] -= 1
        played.status = RunStatus.FAILED if end == "failed" else RunStatus.COMPLETED
        newest = self.store.past(key(played.name), BEGINNING).completions[-1]
        same = end == "unchanged"
        played.digest = newest.digest if same else None if end == "unsaid" else f"{played.name} {self._offset}"
        played.columns = newest.schema_digest if same else self.dice.choice(["c1", "c1", "c1", "c2", None])

    def _snapshot(self, played: Played) -> RunStatusChanged:
        played.seq += 1
        return RunStatusChanged(
            tenant=TENANT, run_id=played.run_id, run_type=RunType.PIPELINE, instance_id=id_of(played.name),
            instance_name=played.name, flow_kind=REFRESH, trigger=played.trigger, mode=played.mode,
            status=played.status, started_at=played.started_at, ended_at=played.ended_at,
            orchestrator_run_id=played.run_id, input_versions=played.inputs, output_digest=played.digest,
            schema_digest=played.columns,
            occurred_at=self.now, seq=played.seq,
        )  # fmt: skip

    def pass_time(self, until: datetime | None = None) -> None:
        """The clock goes on, and the due worker does what became due."""
        if until is None:
            self.time += self.dice.choice([1, 10, 60, 200])
        else:
            self.time = max(self.time, (until - NOW).total_seconds())
        ripe = [Due(kind, ref, at) for (kind, ref), at in self.due.items() if at <= self.now]
        for kind, handler in ((DECIDE, handlers.on_portions), (EXPIRE, handlers.on_deadlines)):
            if due := [one for one in ripe if one.kind == kind]:
                for one in due:
                    del self.due[one.kind, one.ref]
                self.tell(handler, due)

    # -- the story --------------------------------------------------------------------------------------------------

    def live(self, steps: int) -> None:
        ends = ["changed", "changed", "changed", "unchanged", "unsaid", *["failed"] * (6 if self.retry else 1)]
        people: list[Callable[[], object]] = [
            *[self.run_by_hand] * 4,
            self.withdraw,
            self.redefine,
            self.rewire,
            lambda: self.ask(self.dice.choice(self.names), mode=self.dice.choice([Mode.INCREMENTAL, Mode.PREVIEW])),
            self.cancel,
            self.change_ones_mind,
        ]
        machines: list[Callable[[], object]] = [self.hear_requests, self.start_a_run, lambda: self.end_runs(ends)]
        for _ in range(steps):
            by_people = self.dice.random() < 0.3
            if by_people or not any(move() for move in self.dice.sample(machines, len(machines))):
                self.dice.choice(people if by_people else [self.pass_time])()

    def calm_down(self) -> None:
        """No more changes: everything under way ends well, and people run what only they can run."""
        for _ in range(500):
            moved = self.hear_requests() or self.start_a_run() or self.end_runs(["changed", "unchanged"])
            if not moved and self.due:
                self.pass_time(min(self.due.values()))
            elif not moved and not self._mend():
                return
        raise AssertionError("it never becomes quiet")

    def _mend(self) -> bool:
        """Somebody runs the first flow that failed, never ran, or does not refresh itself."""
        waiting = {one.instance_id for one in self.live_requests if one.trigger is Trigger.MANUAL}
        for each in self.world.graph.sorted(self.world.flow_keys()):
            flow, name = self.world.flow(each), self.name_of[each.instance_id]
            assert flow is not None
            by_itself = flow.on_upstream is OnUpstream.REFRESH and flow.freshness is FlowStatus.STALE
            if flow.status is not FlowStatus.READY and not by_itself and each.instance_id not in waiting:
                self.ask(name)
                return True
        return False

    @property
    def live_requests(self) -> list[Any]:
        """But for those of backfills, which never end here."""
        return [
            one
            for one in self.store.all_requests.values()
            if one.state is not State.ENDED and one.trigger is not Trigger.BACKFILL
        ]

    @property
    def not_ready(self) -> list[str]:
        return [one.name for one in self.world.instances.values() if one.status != FlowStatus.READY]

    @property
    def deviating(self) -> list[str]:
        """The flows whose stored state is not what all that was ever said comes to."""
        scratch = recomputed(self.world, lambda flow: self.store.past(flow, BEGINNING), self.now)
        stored = {each: replace(flow, old_status=None) for each in scratch if (flow := self.world.flow(each))}
        return [self.name_of[each.instance_id] for each, flow in scratch.items() if not _same(flow, stored[each])]


def _same(scratch: Flow, stored: Flow) -> bool:
    """But for the reason: of several, a pass that goes only where something moved may name another one."""
    is_stale = (scratch.stale_by_version is None) is (stored.stale_by_version is None)
    unsaid = {"reason": None, "stale_by_version": None}
    return is_stale and replace(scratch, **unsaid) == replace(stored, **unsaid)


def lived(seed: int, retry: str | None = None) -> Story:
    story = Story(seed, retry)
    story.live(story.dice.randint(5, 20))
    story.calm_down()
    return story
