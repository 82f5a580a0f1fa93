"""Rows of requests, and of what was decided about them, to values and back. No decision lives here.

Of thousands that are decided at once most move alike: what moves is written once for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime
from operator import attrgetter
from typing import Any, NamedTuple
from uuid import UUID

from runtide_schemas.vocabulary import BackfillOrder, BackfillStep, FlowKind, Gate, Mode, OnFailure, Trigger

from services.lineage.domain.backfill import Range
from services.lineage.domain.gate import Request, State
from services.lineage.domain.graph import FlowKey
from services.lineage.domain.recursive import Asked
from services.lineage.domain.retry import Retries
from services.lineage.rows import Row, dumps

REQUESTS = """
select * from open_requests where tenant = :tenant and revision > :since and (state <> 'ended' or :since >= 0)
"""
MOVE_REQUESTS = """
update open_requests r set
    state = m.state, kind = m.kind, shown = m.shown, number = m.number, seq = m.seq, due_at = m.due_at,
    ended_as = m.ended_as, ended_at = coalesce(r.ended_at, m.ended_at), revision = m.revision
from unnest(cast(:ids as uuid[]), cast(:places as int[])) as n (run_id, place)
join jsonb_populate_recordset(null::open_requests, cast(:moves as jsonb)) with ordinality as m
    on m.ordinality = n.place
where r.run_id = n.run_id
"""
INSERT_DECISIONS = """
insert into decisions
select * from unnest(
    cast(:run_ids as uuid[]), cast(:numbers as int[]), cast(:tenants as text[]), cast(:answers as text[]),
    cast(:ats as timestamptz[]), cast(:said as jsonb[]), cast(:seen as jsonb[])
)
"""
_MOVES = ("state", "kind", "shown", "number", "seq", "due_at", "ended_as")
_moves = attrgetter(*_MOVES)
_stays = attrgetter(*(one for one in Request.__struct_fields__ if one not in _MOVES))


class DecisionRow(NamedTuple):
    """The columns of `decisions`, in their order; `said` (the message) and `seen` as JSON."""

    run_id: UUID
    number: int
    tenant: str
    answer: str
    decided_at: datetime
    said: str
    seen: str


def decision_columns(decisions: Sequence[DecisionRow]) -> dict[str, list[Any]]:
    """The parameters of `INSERT_DECISIONS`."""
    names = ("run_ids", "numbers", "tenants", "answers", "ats", "said", "seen")
    return dict(zip(names, map(list, zip(*decisions, strict=True)), strict=True))


def only_moves(before: Request | None, after: Request) -> bool:
    """It is stored, and nothing differs but where it stands."""
    return before is not None and _stays(before) == _stays(after)


def moves_of(moved: Iterable[tuple[Request, int]], now: datetime) -> dict[str, Any]:
    """The parameters of `MOVE_REQUESTS` for these requests, each with the revision of its tenant."""
    places: dict[tuple[Any, ...], int] = {}
    ids, at = [], []
    for request, revision in moved:
        ids.append(request.run_id)
        at.append(places.setdefault((*_moves(request), revision), len(places) + 1))
    moves = [
        {**dict(zip((*_MOVES, "revision"), move, strict=True)), "ended_at": now if move[0] is State.ENDED else None}
        for move in places
    ]
    return {"ids": ids, "places": at, "moves": dumps(moves)}


def request_of(row: Row) -> Request:
    return Request(
        run_id=row["run_id"],
        tenant=row["tenant"],
        instance_id=row["instance_id"],
        instance_name=row["instance_name"],
        kind=FlowKind(row["kind"]) if row["kind"] else None,
        gate=Gate(row["gate"]),
        skip_if_ready=row["skip_if_ready"],
        wait_until=row["wait_until"],
        asked_at=row["asked_at"],
        parameters=row["parameters"],
        trigger=Trigger(row["trigger"]),
        mode=Mode(row["mode"]),
        state=State(row["state"]),
        shown=tuple((name, status) for name, status in row["shown"]),
        number=row["number"],
        seq=row["seq"],
        backfill=_range_of(row["backfill"]) if row["backfill"] else None,
        ended_as=row["ended_as"],
        due_at=row["due_at"],
        stands_for=row["stands_for"],
        actor=row["actor"],
        parent_run_id=row["parent_run_id"],
        plan_id=row["plan_id"],
        asked=tuple(_asked_of(one) for one in row["asked"]),
        planned_for=row["planned_for"],
        retries=_retries_of(row["retries"]) if row["retries"] else None,
    )


def _range_of(stored: Mapping[str, Any]) -> Range:
    return Range(
        start=date.fromisoformat(stored["start"]),
        end=date.fromisoformat(stored["end"]),
        step=BackfillStep(stored["step"]) if stored["step"] else None,
        max_open=stored["max_open"],
        order=BackfillOrder(stored["order"]),
        parameter=stored["parameter"],
        on_failure=OnFailure(stored["on_failure"]),
        mode=Mode(stored["mode"]),
    )


def _asked_of(stored: Mapping[str, Any]) -> Asked:
    key = FlowKey(UUID(stored["instance_id"]), FlowKind(stored["flow_kind"]))
    return Asked(key, UUID(stored["run_id"]), stored["ended_as"])


def _retries_of(stored: Mapping[str, Any]) -> Retries:
    ids = {name: UUID(stored[name]) for name in ("run_id", "first_run_id")}
    return Retries(**{**stored, **ids, "not_before": datetime.fromisoformat(stored["not_before"])})


def request_row(request: Request, now: datetime) -> dict[str, Any]:
    return {
        "run_id": request.run_id,
        "tenant": request.tenant,
        "instance_id": request.instance_id,
        "instance_name": request.instance_name,
        "kind": request.kind,
        "gate": request.gate,
        "skip_if_ready": request.skip_if_ready,
        "wait_until": request.wait_until,
        "parameters": dict(request.parameters),
        "trigger": request.trigger,
        "mode": request.mode,
        "state": request.state,
        "shown": request.shown,
        "number": request.number,
        "seq": request.seq,
        "asked_at": request.asked_at,
        "backfill": asdict(request.backfill) if request.backfill else None,
        "ended_as": request.ended_as,
        "due_at": request.due_at,
        "stands_for": request.stands_for,
        "ended_at": now if request.state is State.ENDED else None,
        "actor": request.actor,
        "parent_run_id": request.parent_run_id,
        "plan_id": request.plan_id,
        "planned_for": request.planned_for,
        "retries": asdict(request.retries) if request.retries else None,
        "asked": [
            {"instance_id": key.instance_id, "flow_kind": key.kind, "run_id": run_id, "ended_as": ended_as}
            for key, run_id, ended_as in ((one.flow, one.run_id, one.ended_as) for one in request.asked)
        ],
    }
