"""What a flow's runs have left behind: which ended last, which version is current, which was confirmed.

Newest is by (ended_at, run id), never by arrival: whatever the order in which snapshots come, the same rows give the
same answer. An unchanged output digest makes no new version; it confirms the one before it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from uuid import UUID

from runtide_schemas.vocabulary import Basis, EdgeKind, FlowKind, Mode, RunStatus, Trigger, version_id_of

from services.lineage.domain.graph import Edge, FlowKey
from services.lineage.domain.world import Flow, Read, Schema, Version

BEGINNING = datetime.min.replace(tzinfo=UTC)
NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Run:
    """What lineage remembers of a run: the newest snapshot's `seq` and status, and its last end. A reopened run keeps
    its last end until its next one. `end_status` None: it has not ended yet.
    """

    run_id: UUID
    tenant: str
    instance_id: UUID
    kind: FlowKind
    seq: int
    status: RunStatus
    mode: Mode
    trigger: Trigger
    attempt: int
    started_at: datetime | None = None
    end_status: RunStatus | None = None
    ended_at: datetime | None = None
    end_attempt: int | None = None

    @property
    def flow(self) -> FlowKey:
        return FlowKey(self.instance_id, self.kind)

    @property
    def is_running(self) -> bool:
        """Open and started: what `running` is shown for."""
        return self.status is RunStatus.RUNNING

    @property
    def decides(self) -> bool:
        """Its last end says something about freshness: not a preview, nor a cancelled run, nor a backfill, whose end
        would hide how today's runs ended.
        """
        return self.counts_today and self.end_status not in (None, RunStatus.CANCELLED)

    @property
    def counts_today(self) -> bool:
        """A preview makes nothing that others could read, and a backfill is about the past."""
        return self.mode is not Mode.PREVIEW and self.trigger is not Trigger.BACKFILL


@dataclass(frozen=True, slots=True)
class Seen:
    """One snapshot of a run, as far as lineage cares. `inputs` are in the roles of the run."""

    run_id: UUID
    tenant: str
    instance_id: UUID
    kind: FlowKind
    seq: int
    status: RunStatus
    mode: Mode
    trigger: Trigger
    attempt: int
    at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    digest: str | None = None
    schema_digest: str | None = None
    last_data_date: date | None = None
    rows_processed: int | None = None
    artifact_version: str | None = None
    inputs: tuple[Read, ...] = ()

    @property
    def flow(self) -> FlowKey:
        return FlowKey(self.instance_id, self.kind)

    @property
    def mints(self) -> bool:
        """A completion that counts; a preview makes nothing that others could read."""
        return self.status is RunStatus.COMPLETED and self.mode is not Mode.PREVIEW


@dataclass(frozen=True, slots=True)
class Completion:
    """One completed attempt that counts. `confirms`: the version that it found unchanged, None if it minted its own
    (`completion_id`). `sealed_late`: it was taken without a digest first, so it stays a version of its own.
    `schema_digest`, `schema_since`: its columns, as in `Schema`.
    """

    completion_id: UUID
    run_id: UUID
    attempt: int
    started_at: datetime | None
    ended_at: datetime
    digest: str | None = None
    sealed_late: bool = False
    last_data_date: date | None = None
    rows_processed: int | None = None
    artifact_version: str | None = None
    reads: tuple[Read, ...] = ()
    confirms: UUID | None = None
    schema_digest: str | None = None
    schema_since: UUID | None = None

    @property
    def version_id(self) -> UUID:
        """The version that is current after it."""
        return self.confirms or self.completion_id

    @property
    def place(self) -> tuple[datetime, UUID, int]:
        return self.ended_at, self.run_id, self.attempt


@dataclass(frozen=True, slots=True)
class Past:
    """A flow's past, as far as it matters now. `completions`: those that count, from the last one before the earliest
    change on (or from the first), oldest first. `changed_from`: what ended earlier is as it was.
    """

    completions: tuple[Completion, ...] = ()
    changed_from: datetime = BEGINNING
    newest_end_failed: bool = False
    last_run_id: UUID | None = None
    last_run_at: datetime | None = None
    last_data_date: date | None = None
    open_run_id: UUID | None = None


def after(run: Run | None, seen: Seen) -> Run | None:
    """The run after this snapshot; None: it is not newer than what is known, and changes nothing."""
    if run is not None and (seen.seq <= run.seq or seen.tenant != run.tenant):
        return None
    ends = seen.status.is_terminal
    return Run(
        run_id=seen.run_id,
        tenant=seen.tenant,
        instance_id=seen.instance_id,
        kind=seen.kind,
        seq=seen.seq,
        status=seen.status,
        mode=seen.mode,
        trigger=seen.trigger,
        attempt=seen.attempt,
        started_at=seen.started_at,
        end_status=seen.status if ends else run.end_status if run else None,
        ended_at=(seen.ended_at or seen.at) if ends else run.ended_at if run else None,
        end_attempt=seen.attempt if ends else run.end_attempt if run else None,
    )


def moved(before: Run | None, after: Run) -> bool:
    """Whether it says anything new about freshness; most snapshots (a metric, a sub state) do not."""
    return before is None or replace(before, seq=after.seq) != after


def completes(before: Run | None, after: Run) -> bool:
    """By this snapshot the run became completed: not where it only says more about the same completion."""
    if after.status is not RunStatus.COMPLETED:
        return False
    return before is None or before.status is not RunStatus.COMPLETED or before.end_attempt != after.end_attempt


def completion_of(seen: Seen, reads: tuple[Read, ...]) -> Completion:
    return Completion(
        completion_id=version_id_of(seen.run_id, seen.attempt),
        run_id=seen.run_id,
        attempt=seen.attempt,
        started_at=seen.started_at,
        ended_at=seen.ended_at or seen.at,
        digest=seen.digest,
        last_data_date=seen.last_data_date,
        rows_processed=seen.rows_processed,
        artifact_version=seen.artifact_version,
        reads=reads,
        schema_digest=seen.schema_digest,
    )


def reads_of(seen: Seen, edges: Iterable[Edge], assumed: Mapping[FlowKey, UUID]) -> tuple[Read, ...]:
    """What the run read along each edge: what its snapshot says (by flow, else by role), else what is assumed. What it
    says beyond the edges is kept too.
    """
    by_flow = {one.upstream: one for one in seen.inputs}
    by_role = {one.role: one for one in seen.inputs}
    reads: dict[str, Read] = dict(by_role)
    for edge in edges:
        said = by_flow.get(edge.upstream) or by_role.get(edge.role)
        if said is not None and said.version_id is not None:
            reads[edge.role] = replace(said, role=edge.role, upstream=edge.upstream)
        elif edge.upstream in assumed:
            reads[edge.role] = Read(edge.role, edge.upstream, assumed[edge.upstream], None, Basis.ASSUMED)
    return tuple(reads.values())


def by_schema(edges: Iterable[Edge]) -> frozenset[FlowKey]:
    """The upstreams of which only the columns matter."""
    return frozenset(edge.upstream for edge in edges if edge.kind is EdgeKind.SCHEMA)


def versions_read(completions: Iterable[tuple[Completion, Collection[FlowKey]]]) -> set[UUID]:
    """The versions that these completions read of these upstreams."""
    return {
        read.version_id
        for completion, upstreams in completions
        for read in completion.reads
        if read.version_id is not None and read.upstream in upstreams
    }


def with_schemas(completion: Completion, upstreams: Collection[FlowKey], schemas: Mapping[UUID, Schema]) -> Completion:
    """With the columns of what it read of these upstreams. `schemas`: version → its columns."""
    reads = (
        replace(read, schema=schemas.get(read.version_id)) if read.version_id and read.upstream in upstreams else read
        for read in completion.reads
    )
    return replace(completion, reads=tuple(reads))


def unsaid(seen: Seen, edges: Iterable[Edge]) -> tuple[FlowKey, ...]:
    """The upstreams of a run that nobody requested whose versions its snapshot does not say: those current at its start
    are assumed.
    """
    if seen.trigger is not Trigger.SCHEDULED or seen.started_at is None:
        return ()
    said = {one.upstream for one in seen.inputs if one.version_id} | {one.role for one in seen.inputs if one.version_id}
    return tuple(edge.upstream for edge in edges if edge.upstream not in said and edge.role not in said)


def chained(past: Past) -> tuple[Completion, ...]:
    """The completions with `confirms` and the columns worked out, each by the one before it."""
    result: list[Completion] = []
    for completion in past.completions:
        before = result[-1] if result else None
        if completion.ended_at >= past.changed_from:
            completion = replace(completion, confirms=_confirmed(completion, before))
            schema = _schema(completion, before)
            completion = replace(completion, schema_digest=schema.digest, schema_since=schema.since)
        result.append(completion)
    return tuple(result)


def _confirmed(completion: Completion, before: Completion | None) -> UUID | None:
    same = before is not None and completion.digest is not None and completion.digest == before.digest
    return before.version_id if before is not None and same and not completion.sealed_late else None


def _schema(completion: Completion, before: Completion | None) -> Schema:
    """The same content has the same columns. Where the ones before were known, silence counts as other ones; where they
    were not, what is said now is taken for what they were.
    """
    digest = completion.schema_digest
    if before is None:
        return Schema(digest)
    if digest is None and completion.confirms is not None:
        digest = before.schema_digest
    changed = before.schema_digest is not None and digest != before.schema_digest
    return Schema(digest, completion.completion_id if changed else before.schema_since)


def settled(flow: Flow, past: Past, completions: Sequence[Completion]) -> Flow:
    """The flow with the facts of its past; `completions` are chained. Its freshness is not asked here."""
    newest = completions[-1] if completions else None
    version = version_of(newest) if newest else None
    same = flow.version is not None and version is not None and flow.version.version_id == version.version_id
    return replace(
        flow,
        version=version,
        superseded=flow.superseded if same else None,
        newest_end_failed=past.newest_end_failed,
        last_run_id=past.last_run_id,
        last_run_at=past.last_run_at,
        last_data_date=past.last_data_date,
        open_run_id=past.open_run_id,
    )


def version_of(newest: Completion) -> Version:
    """The current version, as the newest completion leaves it."""
    return Version(
        version_id=newest.version_id,
        run_id=newest.run_id,
        completion_id=newest.completion_id,
        started_at=newest.started_at,
        ended_at=newest.ended_at,
        verified_at=newest.ended_at if newest.confirms else None,
        artifact_version=newest.artifact_version,
        reads=newest.reads,
        schema=Schema(newest.schema_digest, newest.schema_since),
    )
