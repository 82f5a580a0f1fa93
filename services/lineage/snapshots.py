"""Snapshots as they are said, thousands at once. The model says all of it but the edges: what one edge says hardly ever
changes, so its JSON is kept, and put where the model has an empty list.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from runtide_schemas import instances as wire
from runtide_schemas.message import LIST_LIMIT

from services.lineage import translation
from services.lineage.domain.world import Instance, Upstream, World
from shared.messaging.drafts import Draft, draft_of

_NONE = b'"upstreams":[]'  # a text that said so would have its quotes escaped


def snapshot_draft(instance: Instance, world: World) -> Draft:
    """What `translation.snapshot_of` says, byte by byte."""
    draft = draft_of(translation.snapshot_of(instance, world, with_edges=False))
    if not instance.upstreams:
        return draft
    own, instances = instance.kinds, world.instances
    edges = b",".join([_edge(one, own, instances.get(one.instance_id)) for one in instance.upstreams[:LIST_LIMIT]])
    payload = draft.payload.replace(_NONE, b'"upstreams":[' + edges + b"]", 1)
    return Draft(draft.type, draft.topic, draft.key, payload)


def _edge(upstream: Upstream, own: tuple[Any, ...], known: Instance | None) -> bytes:
    name = known.name if known else upstream.name
    kind = upstream.flow_kind or (known.main_kind if known else None)
    flows = own if upstream.flows is None else upstream.flows
    return _json_of(
        upstream.instance_id, name, upstream.role, upstream.kind, kind, flows, upstream.optional, upstream.max_lag
    )


@lru_cache(maxsize=20_000)
def _json_of(instance_id: Any, name: Any, role: Any, kind: Any, flow_kind: Any, flows: Any, *rest: Any) -> bytes:
    optional, max_lag = rest
    said = wire.UpstreamSnapshot(
        instance_id=instance_id, name=name, role=role, kind=kind, flow_kind=flow_kind, flows=list(flows),
        optional=optional, max_lag=max_lag,
    )  # fmt: skip
    return said.model_dump_json().encode()
