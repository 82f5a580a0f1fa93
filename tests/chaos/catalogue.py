"""Every fault of a chaos run by kind and place. Which happen, and in which order, is the seed's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial

from shared.failpoints import Place
from tests.chaos import faults
from tests.chaos.faults import Scene
from tests.chaos.fleet import NEIGHBOURS, PARTS, SERVICES

_DIES_AT = {
    Place.BEFORE_TRANSACTION: SERVICES,
    Place.COMMITTED: SERVICES,
    Place.SENT: ("submission", "run_tracker", "lineage"),
    Place.LAUNCHED: ("submission",),
    Place.PUSHED: ("notifier",),
}
HELD_BACK = {
    "run_tracker": ("runs.reports.v1", "requests.status.v1", "prefect.flow-run-states.v1", "instances.status.v1"),
    "submission": ("runs.commands.v1", "requests.decisions.v1"),
    "lineage": ("runs.status.v1", "requests.status.v1", "instances.commands.v1"),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """`kind` is what is counted, `where` says where. Two that `touch` nothing in common may happen at once."""

    kind: str
    where: str
    happen: Callable[[Scene], Awaitable[None]]
    touches: frozenset[str]

    @property
    def name(self) -> str:
        return f"{self.kind}: {self.where}"


def catalogue() -> list[Fault]:
    """Every fault there is; which happen, and in which order, is the seed's."""
    return [*_of_services(), *_of_wires(), *_of_parts(), *_of_order()]


def _of_services() -> Iterator[Fault]:
    for service in SERVICES:
        alone = frozenset({service})
        yield Fault("kill -9", service, partial(faults.kill_service, service=service), alone)
        yield Fault("SIGTERM under load", service, partial(faults.terminate_service, service=service), alone)
        yield Fault("SIGSTOP", service, partial(faults.freeze_service, service=service), alone)
        joins = partial(faults.join_and_leave, service=service)
        yield Fault("second process joins and leaves", service, joins, alone)
        reset = partial(faults.reset_groups, service=service)
        yield Fault("group offsets to the beginning", service, reset, alone | {"kafka", "postgres"})
        ended = partial(faults.terminate_backends, service=service)
        yield Fault("backends terminated", service, ended, alone | {"postgres"})
    for place, services in _DIES_AT.items():
        for service in services:
            dies = partial(faults.die_at, service=service, place=place, hits=2)
            yield Fault(f"dies at {place}", service, dies, frozenset({service}))


def _of_wires() -> Iterator[Fault]:
    kinds = {
        "slow wire": faults.slow_wire,
        "half-open wire": faults.half_open_wire,
        "cut wire": faults.cut_wire,
        "answers lost": faults.lose_answers,
    }
    for neighbour, users in NEIGHBOURS.items():
        for service in users:
            wire = f"{service} – {neighbour}"
            for kind, happen in kinds.items():
                # Answers are lost where questions are asked: both ends must be there.
                ends = {service, neighbour} if kind == "answers lost" else set()
                yield Fault(kind, wire, partial(happen, service=service, neighbour=neighbour), frozenset({wire, *ends}))


def _of_parts() -> Iterator[Fault]:
    for part in PARTS:
        yield Fault(f"kill -9 of {part}", "the whole stack", partial(faults.kill_part, part=part), frozenset({part}))
    for part, seconds in (("kafka", 7), ("prefect", 4)):
        frozen = partial(faults.freeze_part, part=part, seconds=seconds)
        yield Fault("SIGSTOP of a neighbour", part, frozen, frozenset({part}))
    yield Fault("power cut", "the whole stack", faults.power_cut, frozenset({*PARTS, *SERVICES}))
    yield Fault("flow run deleted", "prefect", faults.delete_flow_run, frozenset({"prefect"}))
    yield Fault("burst of events", "prefect", faults.burst_of_events, frozenset({"prefect"}))


def _of_order() -> Iterator[Fault]:
    for service, table in (("submission", "requests"), ("run_tracker", "runs"), ("lineage", "tenants")):
        held = partial(faults.hold_lock, service=service, table=table)
        yield Fault("table locked", f"{service}.{table}", held, frozenset({"postgres", service}))
    for service, topics in HELD_BACK.items():
        for topic in topics:
            held = partial(faults.hold_back, service=service, topic=topic)
            yield Fault("topic held back", f"{service} ← {topic}", held, frozenset({"postgres", service}))
