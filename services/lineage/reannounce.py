"""Everything of a tenant said again: each instance, and the last answer to each request that still waits for one.

A restored lineage may have answered a request again under a number that submission knows already; so after a restore
answers are raised like snapshots, and submission takes what it still waits for.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from runtide_schemas.topics import REQUESTS_DECISIONS

from services.lineage import translation
from services.lineage.domain.gate import Request, State
from services.lineage.domain.world import Instance
from services.lineage.mirror import Loaded
from services.lineage.store import LineageStore
from shared.messaging.work import Work
from shared.reannounce import Portion, Said

LineageWork = Work[LineageStore]
_ANSWERED = (State.PARKED, State.ADMITTED)


async def reannounce(work: LineageWork, portion: Portion) -> Said:
    """The next instances by tenant and id, of one tenant at a time; its answers with its first instances."""
    after, _ = portion.key(2)
    tenant, found, goes_on = await _next(work, portion)
    if tenant is None:
        return Said(0, None)
    await work.store.lock([tenant])
    loaded = (await work.store.load([tenant]))[tenant]
    before = [loaded.world.instances[row["instance_id"]] for row in found]
    instances = [replace(one, seq=one.seq + portion.raise_by) for one in before]
    requests = await _answer_again(work, loaded, portion) if after != tenant else []
    world = loaded.world.with_announced(instances)
    await work.store.save_instances(list(zip(before, instances, strict=True)))
    await work.store.save_requests([(loaded.requests[one.run_id], one) for one in requests], now=work.now)
    after_all = {**loaded.requests, **{request.run_id: request for request in requests}}
    work.after_commit(await work.store.advance([Loaded.of(world, after_all.values())]))
    for instance in instances:
        work.publish(translation.snapshot_of(instance, world))
    return Said(len(instances) + len(requests), _cursor(tenant, instances) if goes_on else None)


async def _next(work: LineageWork, portion: Portion) -> tuple[str | None, list[Any], bool]:
    """The tenant whose turn it is, which of its instances, and whether there may be more of anything."""
    found = await work.store.again.instances_after(portion)
    if not found:
        return None, [], False
    mine = [row for row in found if row["tenant"] == found[0]["tenant"]]
    return found[0]["tenant"], mine, len(mine) < len(found) or len(found) == portion.limit


def _cursor(tenant: str, instances: list[Instance]) -> str:
    return f"{tenant}|{instances[-1].instance_id}"


async def _answer_again(work: LineageWork, loaded: Loaded, portion: Portion) -> list[Request]:
    """Those that were answered and have no end, with the number of the answer that was said again."""
    answered = {run_id: one for run_id, one in loaded.requests.items() if one.state in _ANSWERED and one.number}
    raise_by = portion.raise_by if portion.is_after_restore else 0
    again = []
    for row in await work.store.again.raise_answers(list(answered), by=raise_by):
        request = answered[row["run_id"]].but(number=row["number"])
        work.publish(REQUESTS_DECISIONS.adapter.validate_json(json.dumps(row["said"])))
        again.append(request)
    return again
