"""Lineage's handlers without PostgreSQL and Kafka: a store that keeps everything in memory, and a work that keeps what
was said and scheduled. It answers as `LineageStore` does; the same worlds run over the real one in
`tests/component/lineage/test_worlds.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from runtide_schemas.topics import topic_named
from runtide_schemas.vocabulary import RunStatus, Trigger

from services.lineage.domain.endings import BEGINNING, Completion, Past, Run, chained, settled
from services.lineage.domain.gate import Request
from services.lineage.domain.graph import FlowKey
from services.lineage.domain.staleness import answered
from services.lineage.domain.world import Flow, Instance, Schema, World
from services.lineage.mirror import Loaded
from services.lineage.request_rows import DecisionRow
from shared.messaging.drafts import Draft


@dataclass
class Version:
    """A completed attempt as stored."""

    flow: FlowKey
    completion: Completion
    withdrawn: bool = False


class NoRestatements:
    """Nothing was ever superseded."""

    async def restated(self, tenants: Iterable[str]) -> set[str]:
        return set()

    async def tell_reads(self, reads: object, ended: object) -> set[str]:
        return set()

    async def refused(self, ids: object) -> set[UUID]:
        return set()


@dataclass
class MemoryStore:
    """One tenant's tables."""

    tenant: str
    instances: dict[UUID, Instance] = field(default_factory=dict)
    all_requests: dict[UUID, Request] = field(default_factory=dict)
    all_runs: dict[UUID, Run] = field(default_factory=dict)
    versions: dict[UUID, Version] = field(default_factory=dict)
    decisions: list[DecisionRow] = field(default_factory=list)
    restatements: NoRestatements = field(default_factory=NoRestatements)
    _world: World | None = None

    @property
    def world(self) -> World:
        if self._world is None:
            self._world = World(self.tenant, dict(self.instances))
        return self._world

    def loaded(self) -> Loaded:
        return Loaded.of(self.world, self.all_requests.values())

    async def lock(self, tenants: object) -> None: ...

    async def load(self, tenants: Collection[str]) -> dict[str, Loaded]:
        return {tenant: self.loaded() for tenant in tenants}

    async def advance(self, changed: Collection[Loaded]) -> Callable[[], None]:
        for loaded in changed:
            counted = Loaded.of(loaded.world, loaded.requests.values())  # what is remembered is what would be loaded
            assert list(loaded.requests) == list(counted.requests)
            assert loaded.world.open_runs == counted.world.open_runs
            assert loaded.world.about_the_past == counted.world.about_the_past
            self._world = loaded.world
        return lambda: None

    async def owners(self, instance_ids: Collection[UUID]) -> dict[UUID, str]:
        return {one: self.tenant for one in instance_ids if one in self.instances}

    async def requests(self, run_ids: Collection[UUID]) -> dict[UUID, Request]:
        return {one: self.all_requests[one] for one in run_ids if one in self.all_requests}

    async def runs(self, run_ids: Collection[UUID]) -> dict[UUID, Run]:
        return {one: self.all_runs[one] for one in run_ids if one in self.all_runs}

    async def schemas(self, version_ids: Collection[UUID]) -> dict[UUID, Schema]:
        known = {one: self.versions[one].completion for one in version_ids if one in self.versions}
        return {one: Schema(each.schema_digest, each.schema_since) for one, each in known.items()}

    async def versions_at(self, tenant: str, asked: Sequence[tuple[FlowKey, datetime]]) -> list[UUID | None]:
        found = []
        for key, at in asked:
            before = [one for one in self._valid(key) if one.ended_at <= at]
            found.append(before[-1].version_id if before else None)
        return found

    async def pasts(self, tenant: str, changed_from: Mapping[FlowKey, datetime]) -> dict[FlowKey, Past]:
        return {key: self.past(key, since) for key, since in changed_from.items()}

    def past(self, key: FlowKey, changed_from: datetime) -> Past:
        valid = self._valid(key)
        since = max((one.ended_at for one in valid if one.ended_at < changed_from), default=BEGINNING)
        runs = [run for run in self.all_runs.values() if run.flow == key]
        ended = sorted((run for run in runs if run.ended_at), key=lambda run: (run.ended_at, run.run_id))
        deciding = [run for run in ended if run.decides]
        running = sorted(
            (run for run in runs if run.status is RunStatus.RUNNING and run.trigger is not Trigger.BACKFILL),
            key=lambda run: (run.started_at, run.run_id),
        )
        dates = [one.last_data_date for one in valid if one.last_data_date]
        return Past(
            completions=tuple(one for one in valid if one.ended_at >= since),
            changed_from=changed_from,
            newest_end_failed=bool(deciding) and deciding[-1].end_status is RunStatus.FAILED,
            last_run_id=ended[-1].run_id if ended else None,
            last_run_at=ended[-1].ended_at if ended else None,
            last_data_date=max(dates, default=None),
            open_run_id=running[-1].run_id if running else None,
        )

    def _valid(self, key: FlowKey) -> list[Completion]:
        of_flow = (one.completion for one in self.versions.values() if one.flow == key and not one.withdrawn)
        return sorted(of_flow, key=lambda one: one.place)

    async def save_runs(self, runs: Collection[Run]) -> None:
        self.all_runs |= {run.run_id: run for run in runs}

    async def save_completions(self, completions: Iterable[tuple[Run, Completion]], *, now: datetime) -> None:
        for run, one in completions:
            known = self.versions.get(one.completion_id)
            late = known is not None and (
                known.completion.sealed_late or (known.completion.digest is None and one.digest is not None)
            )
            confirms = known.completion.confirms if known else None
            since = known.completion.schema_since if known else None
            stored = replace(one, sealed_late=late, confirms=confirms, schema_since=since)
            self.versions[one.completion_id] = Version(run.flow, stored)

    async def save_confirmed(self, completions: Collection[Completion]) -> None:
        for one in completions:
            known = self.versions[one.completion_id]
            known.completion = replace(
                known.completion,
                confirms=one.confirms,
                schema_digest=one.schema_digest,
                schema_since=one.schema_since,
            )

    async def withdraw(self, run_ids: Collection[UUID], *, now: datetime) -> dict[UUID, datetime]:
        found: dict[UUID, datetime] = {}
        for version in self.versions.values():
            run_id, ended_at = version.completion.run_id, version.completion.ended_at
            if run_id in run_ids and not version.withdrawn:
                version.withdrawn = True
                found[run_id] = min(found.get(run_id, ended_at), ended_at)
        return found

    async def save_instances(
        self, changed: Sequence[tuple[Instance | None, Instance]], turned: Sequence[Instance]
    ) -> None:
        self.instances |= {after.instance_id: after for after in (*(after for _, after in changed), *turned)}

    async def save_events(self, events: object) -> None: ...

    async def save_requests(self, changed: Sequence[tuple[Request | None, Request]], *, now: datetime) -> None:
        self.all_requests |= {after.run_id: after for _, after in changed}

    async def save_decisions(self, decisions: Sequence[DecisionRow]) -> None:
        self.decisions.extend(decisions)

    async def newly_refused(self, activity_ids: Collection[UUID], *, now: datetime) -> set[UUID]:
        return set(activity_ids)


@dataclass
class MemoryWork:
    """What a handler needs of a transaction."""

    now: datetime
    store: MemoryStore
    said: list[Any] = field(default_factory=list)
    due: dict[tuple[str, str], datetime | None] = field(default_factory=dict)

    def publish(self, message: Any, *, cause: object = None) -> None:
        if isinstance(message, Draft):
            message = topic_named(message.topic).adapter.validate_json(message.payload)
        self.said.append(message)

    def schedule(self, kind: str, ref: str, due_at: datetime) -> None:
        self.due[kind, ref] = due_at

    def unschedule(self, kind: str, ref: str) -> None:
        self.due[kind, ref] = None

    def after_commit(self, wake: Callable[[], None]) -> None:
        wake()


def done(handled: Coroutine[Any, Any, None]) -> None:
    """Run a handler over a store that really waits for nothing."""
    try:
        handled.send(None)
    except StopIteration:
        return
    raise AssertionError("the handler waited for something that is not in memory")


def recomputed(world: World, past_of: Callable[[FlowKey], Past], now: datetime) -> dict[FlowKey, Flow]:
    """Every flow from scratch: its definition, all that its runs ever said, and the answer, upstreams first."""
    bare = {}
    for key in world.flow_keys():
        flow, past = world.flow(key), past_of(key)
        assert flow is not None
        blank = Flow(
            flow.kind,
            flow.deployment,
            flow.on_upstream,
            flow.reports,
            flow.max_open_runs,
            flow.max_wait,
            flow.min_interval,
            flow.schedule,
            flow.retry,
            last_admitted_at=flow.last_admitted_at,
        )
        bare[key] = settled(blank, past, chained(replace(past, changed_from=BEGINNING)))
    scratch = World(world.tenant, {one.instance_id: one for one in world.instances.values()}).with_flows(bare)
    found: dict[FlowKey, Flow] = {}
    for key in scratch.graph.sorted(bare):
        found[key] = replace(answered(scratch, key, bare[key], found, now), old_status=None)
    return found
