"""What keeps our states from being Prefect's, and which runs go on only when somebody looks: named, with what to do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from runtide_schemas.vocabulary import SubState

SWEEP_LATE = timedelta(minutes=2)
BRIDGE_AWAY = timedelta(minutes=1)
DRIFT_RECENT = timedelta(minutes=10)
LAUNCH_WAITS = timedelta(minutes=5)


class Trouble(StrEnum):
    """The names under which `/v1/ops/truth` knows it; as a finding it has a name of its own (`alarms.py`)."""

    SWEEP_LATE = "SWEEP_LATE"
    LOSS_REFUSED = "LOSS_REFUSED"
    BRIDGE_AWAY = "BRIDGE_AWAY"
    DRIFT = "DRIFT"
    CANCEL_UNCONFIRMED = "CANCEL_UNCONFIRMED"
    UNRESPONSIVE = "UNRESPONSIVE"
    LAUNCH_WAITS = "LAUNCH_WAITS"


TO_DO: Mapping[Trouble, str] = {
    Trouble.SWEEP_LATE: "is Prefect up? until it answers, states are as of the last sweep",
    Trouble.LOSS_REFUSED: (
        "is RUNTIDE_PREFECT_API_URL the right server? if its runs are gone for good: "
        "`python -m services.run_tracker sweep confirm-loss`"
    ),
    Trouble.BRIDGE_AWAY: "look into run_tracker's log; the sweep brings every state meanwhile, later",
    Trouble.DRIFT: "nothing is wrong now; if it goes on, events of Prefect are lost: look at its health and load",
    Trouble.CANCEL_UNCONFIRMED: (
        "its process does not obey, or its runner no longer listens: restart what serves its flow, "
        "or set the flow run to Cancelled in Prefect once its process is gone"
    ),
    Trouble.UNRESPONSIVE: "its process is silent, as after a kill: `runtide cancel` it, and it ends by itself",
    Trouble.LAUNCH_WAITS: "does a worker serve its deployment, and has it a free slot?",
}


SUB_STATES: Mapping[Trouble, str] = {
    Trouble.CANCEL_UNCONFIRMED: SubState.CANCEL_UNCONFIRMED.value,
    Trouble.UNRESPONSIVE: SubState.UNRESPONSIVE.value,
}
"""How the runs of a trouble are shown; those that were never begun have no such state."""


@dataclass(frozen=True, slots=True)
class Named:
    """One trouble, in words; `runs`: how many it is about, where it is about runs."""

    code: Trouble
    said: str
    runs: int | None = None

    @property
    def to_do(self) -> str:
        return TO_DO[self.code]


@dataclass(frozen=True, slots=True)
class Standing:
    """When the sweep and the bridge last reached Prefect, and what they found."""

    swept_at: datetime | None
    refused: str | None
    bridged_at: datetime | None
    drifted_at: datetime | None
    drift: int = 0


def troubles(standing: Standing, hanging: Sequence[str | None], now: datetime) -> list[Named]:
    """Everything that is wrong now. `hanging`: the sub_state of each run that does not go on; None: never begun."""
    found = []
    if standing.refused is not None:
        found.append(Named(Trouble.LOSS_REFUSED, f"nothing is marked as lost: {standing.refused}"))
    if _older(standing.swept_at, now, SWEEP_LATE):
        found.append(Named(Trouble.SWEEP_LATE, f"the last sweep that reached Prefect was {_at(standing.swept_at)}"))
    if _older(standing.bridged_at, now, BRIDGE_AWAY):
        found.append(Named(Trouble.BRIDGE_AWAY, f"Prefect's event stream was open last {_at(standing.bridged_at)}"))
    if standing.drifted_at is not None and not _older(standing.drifted_at, now, DRIFT_RECENT):
        said = f"the sweep found {standing.drift} states that no event had brought, the last {_at(standing.drifted_at)}"
        found.append(Named(Trouble.DRIFT, said))
    counts = {code: hanging.count(SUB_STATES.get(code)) for code in _SAID}
    for code, runs in counts.items():
        if runs:
            found.append(Named(code, f"{runs} {'run' if runs == 1 else 'runs'} {_SAID[code]}", runs))
    return found


_SAID: Mapping[Trouble, str] = {
    Trouble.CANCEL_UNCONFIRMED: "asked to cancel and not ended within a minute",
    Trouble.UNRESPONSIVE: "without a heartbeat for three intervals",
    Trouble.LAUNCH_WAITS: f"not begun {LAUNCH_WAITS.seconds // 60} minutes after the launch",
}


def _older(at: datetime | None, now: datetime, than: timedelta) -> bool:
    return at is None or now - at > than


def _at(at: datetime | None) -> str:
    return "never" if at is None else f"at {at:%Y-%m-%d %H:%M:%S}Z"
