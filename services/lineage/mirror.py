"""What this process remembers of its tenants between batches, so that a batch loads only what others changed.

The fact not to break: a tenant is remembered at a revision only after the transaction that made it has committed; who
asks has read the tenant's revision, under its lock or in one snapshot. So a process that died, rolled back or shares a
tenant with another one is never wrong, only slower.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from services.lineage.domain.gate import Request, State
from services.lineage.domain.graph import FlowKey
from services.lineage.domain.world import World

TENANTS_REMEMBERED = 200


@dataclass(frozen=True, slots=True)
class Loaded:
    """A tenant as stored: its world, and its requests that have no end, oldest first."""

    world: World
    requests: Mapping[UUID, Request]

    @classmethod
    def of(cls, world: World, requests: Iterable[Request]) -> Loaded:
        """Those of the requests that have no end, and the runs that they keep open."""
        live = sorted(
            (one for one in requests if one.state is not State.ENDED), key=lambda one: (one.asked_at, one.run_id)
        )
        open_runs: dict[FlowKey, set[UUID]] = {}
        for request in live:
            if request.state is State.ADMITTED:
                open_runs.setdefault(FlowKey(request.instance_id, request.kind), set()).add(request.run_id)
        counted = world.with_open_runs(
            {key: frozenset(runs) for key, runs in open_runs.items()},
            frozenset(one.run_id for one in live if one.is_of_backfill and one.state is State.ADMITTED),
        )
        return cls(counted, {request.run_id: request for request in live})

    @classmethod
    def after(
        cls, world: World, requests: Mapping[UUID, Request], changed: Sequence[tuple[Request | None, Request]]
    ) -> Loaded:
        """The same of a world that counts its open runs already. `changed`: before and after of each request that is
        not as it was loaded; where none of these is new, or was asked at another time, their order is as it was.
        """
        lives = [(before, now) for before, now in changed if now.state is not State.ENDED]
        if any(before is None or before.asked_at != now.asked_at for before, now in lives):
            return cls.of(world, requests.values())
        live = dict(requests)
        for _, now in changed:
            if now.state is State.ENDED:
                del live[now.run_id]
        return cls(world.with_open_runs(world.open_runs, world.about_the_past), live)  # without what a pass looked up


class Remembered(NamedTuple):
    revision: int
    loaded: Loaded


class Mirror:
    """One per process. The tenants not asked for longest are forgotten."""

    def __init__(self, remember: int = TENANTS_REMEMBERED) -> None:
        self._tenants: OrderedDict[str, Remembered] = OrderedDict()
        self._most = remember

    def get(self, tenant: str) -> Remembered | None:
        known = self._tenants.get(tenant)
        if known is not None:
            self._tenants.move_to_end(tenant)
        return known

    def put(self, revision: int, loaded: Loaded) -> None:
        """What is newer stays: two transactions may tell of their commits in either order."""
        tenant = loaded.world.tenant
        known = self._tenants.get(tenant)
        if known is None or known.revision < revision:
            self._tenants[tenant] = Remembered(revision, loaded)
            self._tenants.move_to_end(tenant)
        while len(self._tenants) > self._most:
            self._tenants.popitem(last=False)
