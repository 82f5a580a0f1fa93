"""Every fault of a chaos run by kind and place. Which happen, and in which order, is the seed's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from shared.failpoints import Place
from tests.chaos import faults
from tests.chaos.faults import Scene
from tests.chaos.fleet import NEIGHBOURS, SERVICES

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
    """`kind` is what is counted, `name` says where."""

    kind: str
    where: str
    happen: Callable[[Scene], Awaitable[None]]

    @property
    def name(self) -> str:
        return f"{self.kind}: {self.where}"


def catalogue() -> list[Fault]:
    """Every fault there is; which happen, and in which order, is the seed's."""
    found: list[Fault] = []
    for service in SERVICES:
        found += [
            Fault("kill -9", service, partial(faults.kill_service, service=service)),
            Fault("SIGTERM under load", service, partial(faults.terminate_service, service=service)),
            Fault("SIGSTOP", service, partial(faults.freeze_service, service=service)),
            Fault("second process joins and leaves", service, partial(faults.join_and_leave, service=service)),
            Fault("group offsets to the beginning", service, partial(faults.reset_groups, service=service)),
            Fault("backends terminated", service, partial(faults.terminate_backends, service=service)),
        ]
    for place, services in _DIES_AT.items():
        for service in services:
            found.append(
                Fault(f"dies at {place}", service, partial(faults.die_at, service=service, place=place, hits=2))
            )
    for neighbour, users in NEIGHBOURS.items():
        for service in users:
            where = f"{service} – {neighbour}"
            found += [
                Fault("slow wire", where, partial(faults.slow_wire, service=service, neighbour=neighbour)),
                Fault("half-open wire", where, partial(faults.half_open_wire, service=service, neighbour=neighbour)),
                Fault("cut wire", where, partial(faults.cut_wire, service=service, neighbour=neighbour)),
                Fault("answers lost", where, partial(faults.lose_answers, service=service, neighbour=neighbour)),
            ]
    for part in ("kafka", "postgres", "prefect", "realtime"):
        found.append(Fault(f"kill -9 of {part}", "the whole stack", partial(faults.kill_part, part=part)))
    for part, seconds in (("kafka", 7), ("prefect", 4)):
        frozen = partial(faults.freeze_part, part=part, seconds=seconds)
        found.append(Fault("SIGSTOP of a neighbour", part, frozen))
    for service, table in (("submission", "requests"), ("run_tracker", "runs"), ("lineage", "tenants")):
        found.append(
            Fault("table locked", f"{service}.{table}", partial(faults.hold_lock, service=service, table=table))
        )
    found.append(Fault("flow run deleted", "prefect", faults.delete_flow_run))
    for service, topics in HELD_BACK.items():
        for topic in topics:
            held_back = partial(faults.hold_back, service=service, topic=topic)
            found.append(Fault("topic held back", f"{service} ← {topic}", held_back))
    return found
