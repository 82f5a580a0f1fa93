"""Rows to values and back, and the longer statements of the store. No decision lives here."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from runtide_schemas.vocabulary import (
    Basis,
    EdgeKind,
    FlowKind,
    FlowStatus,
    InstanceStatus,
    InstanceType,
    Mode,
    OnUpstream,
    ReportsPolicy,
    RunStatus,
    Trigger,
)
from sqlalchemy import RowMapping

from services.lineage.domain.endings import Completion, Past, Run, version_of
from services.lineage.domain.graph import FlowKey
from services.lineage.domain.world import Cause, Delay, Flow, Heard, Instance, Read, Schema, Upstream

Row = RowMapping
_encode = msgspec.json.Encoder().encode

_SINCE = "s.tenant = :tenant and s.revision > :since"
INSTANCES = f"""
select i.*, s.seq, s.announced_at, s.old_status, s.cause, s.answers
from standings s join instances i using (instance_id) where {_SINCE} order by i.instance_id
"""
FLOWS = f"""
select f.*, s.answers, v.run_id as v_run_id, v.attempt as v_attempt, v.started_at as v_started_at,
    v.ended_at as v_ended_at, v.artifact_version as v_artifact_version, v.reads as v_reads, v.confirms as v_confirms,
    v.schema_digest as v_schema_digest, v.schema_since as v_schema_since
from standings s join flows f using (instance_id) left join versions v on v.version_id = f.completion_id
where {_SINCE} order by f.instance_id, f.place
"""
EDGES = f"""
select e.* from standings s join edges e using (instance_id) where {_SINCE} order by e.instance_id, e.place, e.flow_kind
"""
UPDATE_STANDINGS = """
update standings s set revision = n.revision, seq = n.seq, announced_at = n.announced_at, status = n.status,
    old_status = n.old_status, cause = cast(n.cause as jsonb), answers = cast(n.answers as jsonb)
from unnest(
    cast(:ids as uuid[]), cast(:revisions as bigint[]), cast(:seqs as bigint[]), cast(:ats as timestamptz[]),
    cast(:statuses as text[]), cast(:old_statuses as text[]), cast(:causes as text[]), cast(:answers as text[])
) as n (instance_id, revision, seq, announced_at, status, old_status, cause, answers)
where s.instance_id = n.instance_id
"""
INSERT_STANDINGS = """
insert into standings (instance_id, tenant, revision, seq, announced_at, status, old_status, cause, answers)
select instance_id, tenant, revision, seq, announced_at, status, old_status, cast(cause as jsonb),
    cast(answers as jsonb)
from unnest(
    cast(:ids as uuid[]), cast(:tenants as text[]), cast(:revisions as bigint[]), cast(:seqs as bigint[]),
    cast(:ats as timestamptz[]), cast(:statuses as text[]), cast(:old_statuses as text[]), cast(:causes as text[]),
    cast(:answers as text[])
) as n (instance_id, tenant, revision, seq, announced_at, status, old_status, cause, answers)
"""
_EVENT = (
    "tenant, instance_id, kind, at, seq, old_status, status, old_freshness, freshness, rule, reason, old_version_id, "
    "version_id, open_run_id, run_id, above_instance_id, above_kind, message_id"
)
INSERT_EVENTS = f"""
insert into status_events ({_EVENT})
select {_EVENT} from json_populate_recordset(null::status_events, cast(:rows as json))
"""
VERSIONS_AT = """
select v.version_id
from unnest(cast(:instances as uuid[]), cast(:kinds as text[]), cast(:ats as timestamptz[]))
    with ordinality as a (instance_id, kind, at, n)
left join lateral (
    select coalesce(confirms, version_id) as version_id from versions w
    where w.tenant = :tenant and w.instance_id = a.instance_id and w.kind = a.kind and w.withdrawn_at is null
        and not w.is_backfill
        and w.ended_at <= a.at
    order by ended_at desc, run_id desc, attempt desc limit 1
) v on true
order by a.n
"""
_ASKED = """
with asked as (
    select a.instance_id, a.kind, greatest(a.changed_from, t.forgotten_until) as changed_from, t.forgotten_until
    from unnest(cast(:instances as uuid[]), cast(:kinds as text[]), cast(:froms as timestamptz[]))
        as a (instance_id, kind, changed_from)
    left join tenants t on t.tenant = :tenant
)
"""
COMPLETIONS = (
    _ASKED
    + """
select v.*
from asked a
cross join lateral (
    select coalesce(max(b.ended_at), '-infinity') as at from versions b
    where b.tenant = :tenant and b.instance_id = a.instance_id and b.kind = a.kind and b.withdrawn_at is null
        and not b.is_backfill and b.ended_at < a.changed_from
) since
join versions v on v.tenant = :tenant and v.instance_id = a.instance_id and v.kind = a.kind
    and v.withdrawn_at is null and not v.is_backfill and v.ended_at >= since.at
order by v.ended_at, v.run_id, v.attempt
"""
)
PASTS = (
    _ASKED
    + """
select a.instance_id, a.kind, a.forgotten_until, last.run_id as last_run_id, last.ended_at as last_run_at,
    coalesce((
        select r.end_status = 'failed' from runs r
        where r.tenant = :tenant and r.instance_id = a.instance_id and r.kind = a.kind and r.decides
            and r.ended_at is not null
        order by r.ended_at desc, r.run_id desc limit 1
    ), false) as newest_end_failed,
    (
        select max(v.last_data_date) from versions v
        where v.tenant = :tenant and v.instance_id = a.instance_id and v.kind = a.kind and v.withdrawn_at is null
            and not v.is_backfill
    ) as last_data_date,
    (
        select r.run_id from runs r
        where r.tenant = :tenant and r.instance_id = a.instance_id and r.kind = a.kind and r.status = 'running'
            and r.trigger <> 'backfill'
        order by r.started_at desc nulls last, r.run_id desc limit 1
    ) as open_run_id
from asked a
left join lateral (
    select r.run_id, r.ended_at from runs r
    where r.tenant = :tenant and r.instance_id = a.instance_id and r.kind = a.kind and r.ended_at is not null
    order by r.ended_at desc, r.run_id desc limit 1
) last on true
"""
)
SAVE_COMPLETIONS = """
insert into versions
select * from jsonb_populate_recordset(null::versions, cast(:rows as jsonb))
on conflict (version_id) do update set
    started_at = excluded.started_at, ended_at = excluded.ended_at, digest = excluded.digest,
    sealed_late = versions.sealed_late or (versions.digest is null and excluded.digest is not null),
    last_data_date = excluded.last_data_date, rows_processed = excluded.rows_processed,
    artifact_version = excluded.artifact_version, reads = excluded.reads, withdrawn_at = null,
    schema_digest = excluded.schema_digest
"""


def dumps(batch: Collection[Mapping[str, Any]]) -> str:
    """Rows as one JSON array: times, spans and ids as text, which PostgreSQL reads by the column's type."""
    return json.dumps(list(batch), default=_text)


def events_text(events: Sequence[Mapping[str, Any]]) -> str:
    """Of thousands at once: there is nothing in them that people wrote freely but text."""
    return _encode(events).decode()


def _text(value: object) -> Any:
    match value:
        case datetime() | date():
            return value.isoformat()
        case timedelta():
            return f"{value.total_seconds():f} seconds"
        case UUID():
            return str(value)
        case _:
            raise TypeError(f"a {type(value).__name__} is no column: {value!r}")


def instances_of(instances: Iterable[Row], flows: Iterable[Row], edges: Iterable[Row]) -> list[Instance]:
    flows_by: dict[UUID, list[Flow]] = {}
    for row in flows:
        flows_by.setdefault(row["instance_id"], []).append(_flow_of(row))
    edges_by: dict[UUID, dict[int, Upstream]] = {}
    for row in edges:
        places = edges_by.setdefault(row["instance_id"], {})
        known = places.get(row["place"])
        if known is None or known.flows is None:
            places[row["place"]] = known or _upstream_of(row)
        else:
            places[row["place"]] = replace(known, flows=(*known.flows, FlowKind(row["flow_kind"])))
    return [
        _instance_of(
            row,
            tuple(flows_by.get(row["instance_id"], ())),
            tuple(edges_by.get(row["instance_id"], {}).values()),
        )
        for row in instances
    ]


def _instance_of(row: Row, flows: tuple[Flow, ...], upstreams: tuple[Upstream, ...]) -> Instance:
    return Instance(
        instance_id=row["instance_id"],
        tenant=row["tenant"],
        name=row["name"],
        instance_type=InstanceType(row["instance_type"]),
        flows=flows,
        upstreams=upstreams,
        update_frequency=canonical(row["update_frequency"]),
        owner=row["owner"],
        status_order=tuple(map(InstanceStatus, row["status_order"])) if row["status_order"] else None,
        definition_digest=row["definition_digest"],
        definition_changed_at=row["definition_changed_at"],
        retired_at=row["retired_at"],
        delay=_delay_of(row["delay"]) if row["delay"] else None,
        old_status=InstanceStatus(row["old_status"]) if row["old_status"] else None,
        cause=_cause_of(row["cause"]) if row["cause"] else None,
        seq=row["seq"],
        announced_at=row["announced_at"],
        heard=tuple(Heard(part, offset, datetime.fromisoformat(at)) for part, offset, at in row["heard"]),
    )


def canonical(value: object) -> str | None:
    """The same JSON is the same text, however it was stored."""
    return None if value is None else json.dumps(value, sort_keys=True)


def _cause_of(found: Mapping[str, Any]) -> Cause:
    return Cause(_uuid(found["run_id"]), _uuid(found["version_id"]), UUID(found["instance_id"]), tuple(found["path"]))


def _delay_of(found: Mapping[str, Any]) -> Delay:
    until, day = found["until"], found["data_date"]
    return Delay(
        until=datetime.fromisoformat(until) if until else None,
        reason=found["reason"],
        since=datetime.fromisoformat(found["since"]),
        data_date=date.fromisoformat(day) if day else None,
    )


def names_calendar(row: Row) -> bool:
    """The instance has a date rule that counts in a calendar."""
    rule = row["update_frequency"]
    return rule is not None and rule.get("calendar") is not None


def _uuid(text: str | None) -> UUID | None:
    return UUID(text) if text else None


def _flow_of(row: Row) -> Flow:
    version = None
    if row["v_run_id"] is not None:
        version = version_of(
            Completion(
                completion_id=row["completion_id"],
                run_id=row["v_run_id"],
                attempt=row["v_attempt"],
                started_at=row["v_started_at"],
                ended_at=row["v_ended_at"],
                artifact_version=row["v_artifact_version"],
                reads=_reads_of(row["v_reads"]),
                confirms=row["v_confirms"],
                schema_digest=row["v_schema_digest"],
                schema_since=row["v_schema_since"],
            )
        )
    answer = row["answers"].get(row["kind"], (FlowStatus.NOT_INITIALIZED,))
    freshness, reason, stale_by_version, old_status, expected, next_due_at = (*answer, *(None,) * 5)[:6]
    return Flow(
        kind=FlowKind(row["kind"]),
        deployment=row["deployment"],
        on_upstream=OnUpstream(row["on_upstream"]),
        reports=ReportsPolicy(row["reports"]),
        max_open_runs=row["max_open_runs"],
        max_wait=row["max_wait"],
        min_interval=row["min_interval"],
        schedule=canonical(row["schedule"]),
        retry=canonical(row["retry"]),
        version=version,
        newest_end_failed=row["newest_end_failed"],
        last_run_id=row["last_run_id"],
        last_run_at=row["last_run_at"],
        last_data_date=row["last_data_date"],
        open_run_id=row["open_run_id"],
        last_admitted_at=row["last_admitted_at"],
        superseded=row["superseded"],
        freshness=FlowStatus(freshness),
        reason=reason,
        stale_by_version=stale_by_version,
        expected_data_date=date.fromisoformat(expected) if expected else None,
        next_due_at=datetime.fromisoformat(next_due_at) if next_due_at else None,
        old_status=FlowStatus(old_status) if old_status else None,
    )


def _reads_of(stored: Iterable[Mapping[str, Any]]) -> tuple[Read, ...]:
    return tuple(
        Read(
            one["role"],
            FlowKey(UUID(one["instance_id"]), FlowKind(one["flow_kind"])),
            _uuid(one["version_id"]),
            one["artifact_version"],
            Basis(one["basis"]),
            _schema_of(one["schema"]) if one.get("schema") else None,
        )
        for one in stored
    )


def _schema_of(stored: Mapping[str, Any]) -> Schema:
    return Schema(stored["digest"], _uuid(stored["since"]))


def _upstream_of(row: Row) -> Upstream:
    kind = row["upstream_flow_kind"]
    return Upstream(
        instance_id=row["upstream_instance_id"],
        name=row["upstream_name"],
        role=row["role"],
        kind=EdgeKind(row["kind"]),
        flow_kind=FlowKind(kind) if kind else None,
        flows=None if row["all_flows"] else (FlowKind(row["flow_kind"]),),
        optional=row["optional"],
        max_lag=row["max_lag"],
    )


def instance_row(instance: Instance) -> dict[str, Any]:
    return {
        "instance_id": instance.instance_id,
        "tenant": instance.tenant,
        "name": instance.name,
        "instance_type": instance.instance_type,
        "owner": instance.owner,
        "status_order": instance.status_order,
        "update_frequency": json.loads(instance.update_frequency) if instance.update_frequency else None,
        "definition_digest": instance.definition_digest,
        "definition_changed_at": instance.definition_changed_at,
        "retired_at": instance.retired_at,
        "delay": asdict(instance.delay) if instance.delay else None,
        "heard": instance.heard,
    }


def standing_columns(changed: Sequence[Instance]) -> dict[str, list[Any]]:
    """The answers last given, column by column."""
    return answer_columns(changed) | {
        "ats": [one.announced_at for one in changed],
        "statuses": [one.status for one in changed],
        "old_statuses": [one.old_status for one in changed],
    }


def answer_columns(changed: Sequence[Instance]) -> dict[str, list[Any]]:
    """The same, but for what many may share."""
    return {
        "ids": [one.instance_id for one in changed],
        "seqs": [one.seq for one in changed],
        "causes": [_cause_text(one.cause) for one in changed],
        "answers": [_encode({flow.kind: _answer_row(flow) for flow in one.flows}).decode() for one in changed],
    }


def _answer_row(flow: Flow) -> tuple[Any, ...]:
    """What `_flow_of` reads again; a row may be shorter, as older code wrote it."""
    said = (flow.freshness, flow.reason, flow.stale_by_version, flow.old_status)
    return (*said, flow.expected_data_date, flow.next_due_at) if flow.next_due_at or flow.expected_data_date else said


def _cause_text(cause: Cause | None) -> str | None:
    if cause is None:
        return None
    return _encode(cause).decode()


def is_only_answered(before: Instance | None, after: Instance) -> bool:
    """Nothing differs but the answers: all that most instances of a pass are."""
    return (
        before is not None
        and before.upstreams is after.upstreams
        and before.definition == after.definition
        and [flow.facts for flow in before.flows] == [flow.facts for flow in after.flows]
    )


def changed_flow_rows(before: Instance | None, after: Instance) -> Iterator[dict[str, Any]]:
    for place, flow in enumerate(after.flows):
        stays = before is not None and place < len(before.flows) and before.flows[place].facts == flow.facts
        if not stays:
            yield {
                "instance_id": after.instance_id,
                "kind": flow.kind,
                "tenant": after.tenant,
                "place": place,
                "deployment": flow.deployment,
                "on_upstream": flow.on_upstream,
                "reports": flow.reports,
                "max_open_runs": flow.max_open_runs,
                "max_wait": flow.max_wait,
                "min_interval": flow.min_interval,
                "schedule": json.loads(flow.schedule) if flow.schedule else None,
                "retry": json.loads(flow.retry) if flow.retry else None,
                "completion_id": flow.version.completion_id if flow.version else None,
                "newest_end_failed": flow.newest_end_failed,
                "last_run_id": flow.last_run_id,
                "last_run_at": flow.last_run_at,
                "last_data_date": flow.last_data_date,
                "open_run_id": flow.open_run_id,
                "last_admitted_at": flow.last_admitted_at,
                "superseded": flow.superseded,
            }


def gone_flows(before: Instance | None, after: Instance) -> list[FlowKey]:
    kept = {flow.kind for flow in after.flows}
    flows = before.flows if before else ()
    return [FlowKey(after.instance_id, flow.kind) for flow in flows if flow.kind not in kept]


def rewired(before: Instance | None, after: Instance) -> bool:
    """Its edges must be written again: they, or the flows that they lead to, are others."""
    if before is None:
        return bool(after.upstreams)
    same_flows = [flow.kind for flow in before.flows] == [flow.kind for flow in after.flows]
    return before.upstreams != after.upstreams or (bool(after.upstreams) and not same_flows)


def edge_rows(instance: Instance) -> Iterator[dict[str, Any]]:
    for place, upstream in enumerate(instance.upstreams):
        own = tuple(flow.kind for flow in instance.flows)
        for kind in own if upstream.flows is None else upstream.flows:
            yield {
                "instance_id": instance.instance_id,
                "flow_kind": kind,
                "upstream_instance_id": upstream.instance_id,
                "upstream_flow_kind": upstream.flow_kind,
                "kind": upstream.kind,
                "tenant": instance.tenant,
                "place": place,
                "all_flows": upstream.flows is None,
                "upstream_name": upstream.name,
                "role": upstream.role,
                "optional": upstream.optional,
                "max_lag": upstream.max_lag,
            }


def run_of(row: Row) -> Run:
    return Run(
        run_id=row["run_id"],
        tenant=row["tenant"],
        instance_id=row["instance_id"],
        kind=FlowKind(row["kind"]),
        seq=row["seq"],
        status=RunStatus(row["status"]),
        mode=Mode(row["mode"]),
        trigger=Trigger(row["trigger"]),
        attempt=row["attempt"],
        started_at=row["started_at"],
        end_status=RunStatus(row["end_status"]) if row["end_status"] else None,
        ended_at=row["ended_at"],
        end_attempt=row["end_attempt"],
    )


def run_row(run: Run) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "tenant": run.tenant,
        "instance_id": run.instance_id,
        "kind": run.kind,
        "seq": run.seq,
        "status": run.status,
        "mode": run.mode,
        "trigger": run.trigger,
        "attempt": run.attempt,
        "started_at": run.started_at,
        "end_status": run.end_status,
        "ended_at": run.ended_at,
        "end_attempt": run.end_attempt,
        "decides": run.decides,
    }


def completion_row(run: Run, completion: Completion, now: datetime) -> dict[str, Any]:
    return {
        "version_id": completion.completion_id,
        "run_id": completion.run_id,
        "attempt": completion.attempt,
        "tenant": run.tenant,
        "instance_id": run.instance_id,
        "kind": run.kind,
        "started_at": completion.started_at,
        "ended_at": completion.ended_at,
        "minted_at": now,
        "digest": completion.digest,
        "sealed_late": False,
        "last_data_date": completion.last_data_date,
        "rows_processed": completion.rows_processed,
        "artifact_version": completion.artifact_version,
        "is_backfill": run.trigger is Trigger.BACKFILL,
        "reads": [
            {
                "role": read.role,
                "instance_id": read.upstream.instance_id,
                "flow_kind": read.upstream.kind,
                "version_id": read.version_id,
                "artifact_version": read.artifact_version,
                "basis": read.basis,
                **({"schema": read.schema._asdict()} if read.schema is not None else {}),
            }
            for read in completion.reads
        ],
        "schema_digest": completion.schema_digest,
        "schema_since": completion.schema_since,
    }


def read_rows(tenant: str, completion: Completion) -> Iterator[dict[str, Any]]:
    for read in completion.reads:
        if read.version_id is not None:
            yield {
                "version_id": completion.completion_id,
                "role": read.role,
                "upstream_version_id": read.version_id,
                "tenant": tenant,
                "run_id": completion.run_id,
                "attempt": completion.attempt,
            }


def pasts_of(
    facts: Iterable[Row], completions: Sequence[Row], changed_from: Mapping[FlowKey, datetime]
) -> dict[FlowKey, Past]:
    by_flow: dict[FlowKey, list[Completion]] = {}
    for row in completions:
        by_flow.setdefault(FlowKey(row["instance_id"], FlowKind(row["kind"])), []).append(_completion_of(row))
    result = {}
    for row in facts:
        key = FlowKey(row["instance_id"], FlowKind(row["kind"]))
        result[key] = Past(
            completions=tuple(by_flow.get(key, ())),
            changed_from=max(changed_from[key], row["forgotten_until"] or changed_from[key]),
            newest_end_failed=row["newest_end_failed"],
            last_run_id=row["last_run_id"],
            last_run_at=row["last_run_at"],
            last_data_date=row["last_data_date"],
            open_run_id=row["open_run_id"],
        )
    return result


def _completion_of(row: Row) -> Completion:
    return Completion(
        completion_id=row["version_id"],
        run_id=row["run_id"],
        attempt=row["attempt"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        digest=row["digest"],
        sealed_late=row["sealed_late"],
        last_data_date=row["last_data_date"],
        rows_processed=row["rows_processed"],
        artifact_version=row["artifact_version"],
        reads=_reads_of(row["reads"]),
        confirms=row["confirms"],
        schema_digest=row["schema_digest"],
        schema_since=row["schema_since"],
    )
