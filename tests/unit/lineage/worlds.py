"""Worlds in a line or two: `world("a -> b -> c")`, flows by name, runs that read what is current."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from uuid import UUID, uuid5

from runtide_schemas.vocabulary import (
    Basis,
    EdgeKind,
    FlowKind,
    FlowStatus,
    Gate,
    InstanceType,
    OnUpstream,
    instance_id_of,
    version_id_of,
)

from services.lineage.domain.gate import Request
from services.lineage.domain.graph import FlowKey
from services.lineage.domain.staleness import Restated, Root, restate
from services.lineage.domain.world import UNKNOWN, Flow, Instance, Read, Schema, Upstream, Version, World

TENANT = "acme"
NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
REFRESH = FlowKind.REFRESH


@cache
def run(number: int) -> UUID:
    return uuid5(UUID(int=0), f"run {number}")


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@cache
def id_of(name: str) -> UUID:
    return instance_id_of(TENANT, name)


def key(name: str, kind: FlowKind | None = REFRESH) -> FlowKey:
    return FlowKey(id_of(name), kind)


def upstream(name: str, **fields: object) -> Upstream:
    return Upstream(id_of(name), name, role=str(fields.pop("role", name)), **fields)  # type: ignore[arg-type]


def instance(name: str, *upstreams: str | Upstream, kinds: Sequence[FlowKind] = (REFRESH,),
             type: InstanceType | None = None, on_upstream: OnUpstream = OnUpstream.NOTIFY,
             max_open_runs: int = 1) -> Instance:  # fmt: skip
    return Instance(
        id_of(name),
        TENANT,
        name,
        type or (InstanceType.MODEL if FlowKind.TRAINING in kinds else InstanceType.SIGNAL),
        tuple(Flow(kind, f"{kind}-{name}/prod", on_upstream, max_open_runs=max_open_runs) for kind in kinds),
        tuple(upstream(each) if isinstance(each, str) else each for each in upstreams),
    )


def world_of(*instances: Instance) -> World:
    return World(TENANT, {one.instance_id: one for one in instances})


def world(*chains: str, on_upstream: OnUpstream = OnUpstream.NOTIFY) -> World:
    """`"a -> b -> c", "a -> c"`: every name an instance with one refresh flow."""
    reads: dict[str, list[str]] = {}
    for chain in chains:
        names = chain.split(" -> ")
        for name in names:
            reads.setdefault(name, [])
        for above, below in pairwise(names):
            reads[below].append(above)
    return World(TENANT, {id_of(n): instance(n, *above, on_upstream=on_upstream) for n, above in reads.items()})


def version(number: int, reads: tuple[Read, ...] = (), **fields: object) -> Version:
    version_id = version_id_of(run(number), 1)
    return Version(version_id, run(number), version_id, at(number - 0.5), at(number), reads=reads, **fields)  # type: ignore[arg-type]


def current_reads(of: World, name: str, kind: FlowKind = REFRESH) -> tuple[Read, ...]:
    found = []
    for edge in of.graph.into(key(name, kind)):
        flow = of.flow(edge.upstream)
        if flow and flow.version:
            schema = flow.version.schema if edge.kind is EdgeKind.SCHEMA else None
            found.append(Read(edge.role, edge.upstream, flow.version.version_id, None, Basis.ADMITTED, schema))
    return tuple(found)


def complete(of: World, name: str, number: int, *, kind: FlowKind = REFRESH, reads: tuple[Read, ...] | None = None,
             changed: bool = True, schema: Schema = UNKNOWN) -> Restated:  # fmt: skip
    """The flow completed its run `number`, having read what is current, or `reads`."""
    flow = of.flow(key(name, kind))
    assert flow is not None
    made = version(number, current_reads(of, name, kind) if reads is None else reads, schema=schema)
    if not changed and flow.version:
        made = replace(made, version_id=flow.version.version_id, verified_at=made.ended_at)
    after = of.with_flows({key(name, kind): replace(flow, version=made, newest_end_failed=False, open_run_id=None)})
    root = Root(f"{run(number)}/1", changed=changed, run_id=run(number), version_id=made.version_id)
    return restate(after, {key(name, kind): root}, NOW)


def all_ready(of: World) -> World:
    """Every flow completed once, upstreams first."""
    ordered = of.graph.sorted(of.flow_keys())
    for number, flow_key in enumerate(ordered, start=1):
        assert flow_key.kind is not None
        of = complete(of, of.instances[flow_key.instance_id].name, number, kind=flow_key.kind).world
    return of


def statuses(of: World) -> dict[str, FlowStatus]:
    return {one.name: one.flows[0].status for one in of.instances.values()}


def put(of: World, name: str, **facts: object) -> World:
    """Other facts of a flow, and the answer that follows."""
    flow = of.flow(key(name))
    assert flow is not None
    return restate(
        of.with_flows({key(name): replace(flow, **facts)}), {key(name): Root("x", changed="version" in facts)}, NOW
    ).world  # type: ignore[arg-type]


def request(name: str, number: int = 100, **fields: object) -> Request:
    given = {"kind": REFRESH, "gate": Gate.STRICT, "skip_if_ready": False, "wait_until": None}
    given |= {"asked_at": NOW, **fields}
    return Request(run(number), TENANT, id_of(name), name, **given)  # type: ignore[arg-type]
