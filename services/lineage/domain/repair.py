"""What must run again so that nothing current rests on superseded data, and in which order. Pure.

What is current is the newest completion of a flow. One that is tainted is in the plan, unless the versions that it read
were found unchanged since by runs that read other data in the same roles: then it is what a re-run would make.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from runtide_schemas.vocabulary import FlowKind, Mode, RunStatus

from services.lineage.domain.graph import FlowKey
from services.lineage.domain.restatement import Path, Restatement
from services.lineage.domain.world import World

RANGES = (
    ("first_data_date", "last_data_date"),
    ("data_date", "data_date_end"),
    ("start_date", "end_date"),
    ("start", "end"),
)
"""The pairs of parameters by which flows take a range of data dates."""


@dataclass(frozen=True, slots=True)
class Tainted:
    """An attempt that a restatement taints, as it is now. `reads`: role → the version read, a confirmed one under its
    own id. `counts`: its completion makes or confirms a version; `confirms`: which, where it is not its own.
    """

    version_id: UUID
    run_id: UUID
    attempt: int
    flow: FlowKey
    path: Path
    status: RunStatus | None
    mode: Mode
    ended_at: datetime | None
    counts: bool
    confirms: UUID | None = None
    reads: tuple[tuple[str, UUID], ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)


class Standing(StrEnum):
    """What a tainted attempt means for the repair: its flow runs again for it; it is no longer what is current; it made
    nothing that could be; or its input was found unchanged since.
    """

    AGAIN = "again"
    HISTORY = "history"
    NOTHING = "nothing"
    VERIFIED = "verified"
    IMPOSSIBLE = "impossible"


@dataclass(frozen=True, slots=True)
class Rerun:
    """One run to ask for. `instead_of`: the run whose place it takes; `tainted` None: the superseded flow's own."""

    flow: FlowKey
    instead_of: UUID
    mode: Mode
    parameters: Mapping[str, Any]
    tainted: Tainted | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    tainted: Tainted
    standing: Standing
    reason: str


@dataclass(frozen=True, slots=True)
class Repair:
    """`batches`: what can run side by side, each after the one before it. `judged`: every tainted attempt, with why it
    is or is not in them. `source`: what becomes of the superseded flow itself.
    """

    batches: tuple[tuple[Rerun, ...], ...]
    judged: tuple[Judged, ...]
    source: str


def repair(
    world: World,
    restatement: Restatement,
    tainted: Sequence[Tainted],
    superseded: Collection[UUID],
    confirmed: Mapping[UUID, Collection[frozenset[str]]],
    *,
    parameters: Mapping[str, Any],
    history: bool = False,
) -> Repair:
    """The plan. `superseded`: the versions that the restatement is about; `confirmed`: version → of each untainted
    completion that confirmed it the roles in which it read something; `parameters`: of the superseded flow's newest
    run. With `history` also what is no longer current runs again, once per mode and parameters, before what is current.
    """
    resting = still_resting(tainted, superseded, confirmed)
    judged = [_judged(world, one, resting) for one in tainted]
    wanted: dict[FlowKey, list[Rerun]] = {}
    source, reason = _source(world, restatement, superseded, parameters)
    if source is not None:
        wanted[restatement.flow] = [source]
    for one in judged:
        if one.standing is Standing.AGAIN and one.tainted.flow not in wanted:
            wanted[one.tainted.flow] = [_again(one.tainted, restatement)]
    if history:
        judged = [_with_history(world, one, wanted, restatement) for one in _newest_first(judged)]
    return Repair(_batches(world, wanted), tuple(judged), reason)


def still_resting(
    tainted: Iterable[Tainted], superseded: Collection[UUID], confirmed: Mapping[UUID, Collection[frozenset[str]]]
) -> frozenset[UUID]:
    """The attempts that still rest on superseded data: all that are tainted, but for those that read only versions
    which a run has found unchanged since from data that do not rest on it.
    """
    attempts = {one.version_id: one for one in tainted}
    bad = attempts.keys() | set(superseded)
    doubtful = {
        one: frozenset(role for role, read in attempt.reads if read in bad) for one, attempt in attempts.items()
    }
    made: dict[UUID, list[Tainted]] = {}
    for attempt in attempts.values():
        if attempt.counts:
            made.setdefault(attempt.confirms or attempt.version_id, []).append(attempt)

    def is_sound(version_id: UUID, resting: Collection[UUID]) -> bool:
        again = [
            frozenset(role for role, _ in one.reads)
            for one in made.get(version_id, ())
            if one.version_id not in resting
        ]
        seen = (*confirmed.get(version_id, ()), *again)
        return version_id not in superseded and any(doubtful[version_id] <= roles for roles in seen)

    resting = frozenset(attempts)
    while True:
        unsound = bad - {one for one in attempts if is_sound(one, resting)}
        left = frozenset(one for one in resting if any(read in unsound for _, read in attempts[one].reads))
        if left == resting:
            return resting
        resting = left


def _judged(world: World, one: Tainted, resting: Collection[UUID]) -> Judged:
    instance, flow = world.instances.get(one.flow.instance_id), world.flow(one.flow)
    if not one.counts:
        what = "a preview" if one.status is RunStatus.COMPLETED else f"it ended {one.status or 'without a version'}"
        return Judged(one, Standing.NOTHING, f"{what}: nobody reads what it made")
    if instance is None or flow is None or flow.version is None:
        return Judged(one, Standing.IMPOSSIBLE, f"{world.name_of(one.flow)} is not there any more")
    if flow.version.completion_id != one.version_id:
        return Judged(one, Standing.HISTORY, f"history, superseded by run {flow.version.run_id}")
    if one.version_id not in resting:
        return Judged(one, Standing.VERIFIED, "what it read was found unchanged since by a run that read other data")
    if instance.retired_at is not None:
        return Judged(one, Standing.IMPOSSIBLE, f"{instance.name} is retired; registering it again revives it")
    return Judged(one, Standing.AGAIN, "its current version rests on superseded data")


def _source(
    world: World, restatement: Restatement, superseded: Collection[UUID], parameters: Mapping[str, Any]
) -> tuple[Rerun | None, str]:
    """The re-run of the superseded flow, if what it shows as current is superseded."""
    key, name = restatement.flow, world.name_of(restatement.flow)
    flow, instance = world.flow(key), world.instances.get(key.instance_id)
    if flow is None or instance is None or flow.version is None:
        return None, f"{name} has no version"
    if flow.version.version_id not in superseded:
        return None, f"{name} has another version since: {flow.version.version_id}"
    if instance.retired_at is not None:
        return None, f"{name} is retired; registering it again revives it"
    given = _within(parameters, restatement)
    return Rerun(key, flow.version.run_id, Mode.OVERWRITE, given), f"{name} runs again first"


def _again(one: Tainted, restatement: Restatement) -> Rerun:
    """A flow that refreshes rows by date overwrites those of the restated dates and all after them; elsewhere the run
    is asked for as it was.
    """
    if one.flow.kind is not FlowKind.REFRESH:
        return Rerun(one.flow, one.run_id, one.mode, one.parameters, one)
    return Rerun(one.flow, one.run_id, Mode.OVERWRITE, _within(one.parameters, restatement, open_end=True), one)


def _within(parameters: Mapping[str, Any], restatement: Restatement, *, open_end: bool = False) -> dict[str, Any]:
    """The parameters with the restated range, where they name one. `open_end`: up to where they went, if that is later:
    what is computed from a restated day lies on it or after it.
    """
    given = dict(parameters)
    first, last = restatement.first_data_date.isoformat(), restatement.last_data_date.isoformat()
    for begin, end in RANGES:
        if begin in given and end in given:
            given[begin] = first
            given[end] = max(last, str(given[end])) if open_end else last
            return given
    return given


def _with_history(world: World, one: Judged, wanted: dict[FlowKey, list[Rerun]], restatement: Restatement) -> Judged:
    """Put it among `wanted`, before what is there of its flow, unless something there asks for the same."""
    if one.standing is not Standing.HISTORY or world.instances[one.tainted.flow.instance_id].retired_at is not None:
        return one
    rerun = _again(one.tainted, restatement)
    its = wanted.get(rerun.flow, [])
    covered = next((other.instead_of for other in its if _asks(other) == _asks(rerun)), None)
    if covered is not None:
        return replace(one, reason=f"{one.reason}; the re-run instead of {covered} asks for the same")
    wanted[rerun.flow] = [rerun, *its]
    return replace(one, standing=Standing.AGAIN)


def _newest_first(judged: Iterable[Judged]) -> list[Judged]:
    return sorted(judged, key=lambda one: (str(one.tainted.ended_at), one.tainted.run_id), reverse=True)


def _asks(rerun: Rerun) -> tuple[Mode, str]:
    return rerun.mode, json.dumps(dict(rerun.parameters), sort_keys=True, default=str)


def _batches(world: World, wanted: Mapping[FlowKey, Sequence[Rerun]]) -> tuple[tuple[Rerun, ...], ...]:
    """Kahn over the whole graph, where only what runs again takes a place: a flow begins when the last re-run above it
    is over, and its own run one after another.
    """
    before: dict[FlowKey, int] = {}
    places: dict[int, list[Rerun]] = {}
    for key in world.graph.sorted({*world.graph.rank, *wanted}):
        before[key] = max(
            (before[edge.upstream] + len(wanted.get(edge.upstream, ())) for edge in world.graph.into(key)), default=0
        )
        for number, rerun in enumerate(wanted.get(key, ())):
            places.setdefault(before[key] + number, []).append(rerun)
    return tuple(tuple(sorted(places[at], key=lambda one: world.name_of(one.flow))) for at in sorted(places))
