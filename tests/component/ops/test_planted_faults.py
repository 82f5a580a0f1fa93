"""Each planted fault has a name within a minute, in the service's own `/v1/ops` and in what the doctor says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from runtide.doctor import Finding

from tests.component.ops.faulty import Faulty
from tests.support.eventually import eventually
from tests.support.harness import World

FAULTS = [
    ("lineage", "kafka_away", "is the broker up?"),
    ("lineage", "outbox_not_sent", "the relay"),
    ("lineage", "calendar_ends", "runtide calendars sync XNYS"),
    ("submission", "requests_undecided", "runtide dead-letters list -s lineage"),
    ("submission", "launches_waiting", "runtide requests --status admitted"),
    ("submission", "prefect_away", "RUNTIDE_PREFECT_API_URL"),
    ("submission", "dead_letters", "runtide dead-letters replay -s submission --all"),
    ("submission", "tables_old", "python -m services.submission migrate"),
    ("submission", "topics_differ", "runtide topics apply"),
    ("run_tracker", "mass_loss_refused", "sweep confirm-loss"),
    ("run_tracker", "cancel_unconfirmed", "restart what serves its flow"),
    ("run_tracker", "run_unresponsive", "runtide cancel"),
    ("run_tracker", "runs_late", "worker"),
    ("notifier", "centrifugo_away", "pages show their age"),
]
FOUND_BY_THE_DOCTOR = {"topics_differ": "topics", "calendar_ends": "calendars"}  # by a look of its own
WITHIN_SECONDS = 60.0


@pytest.fixture(scope="module")
async def healthy(world: World) -> AsyncIterator[Faulty]:
    """Before anything is planted."""
    opened = await Faulty(world).open()
    yield opened
    await opened.close()


@pytest.fixture(scope="module")
async def faulty(healthy: Faulty) -> Faulty:
    await healthy.plant()
    return healthy


async def test_the_control_a_service_that_is_well_has_no_findings(healthy: Faulty) -> None:
    for name in ("submission", "run_tracker", "notifier"):
        await healthy.services[name].settled()
        await eventually(lambda name=name: _is_well(healthy, name), what=f"{name} without findings")


async def _is_well(faulty: Faulty, service: str) -> bool:
    """Others use the same Prefect, and ours sweeps every second: it may be quicker than Prefect's events."""
    assert (await faulty.found(service)).keys() <= {"drift"}
    return True


@pytest.mark.parametrize(("service", "name", "to_do"), FAULTS, ids=[name for _, name, _ in FAULTS])
async def test_a_planted_fault_is_named_with_its_time_and_what_to_do_first(
    faulty: Faulty, service: str, name: str, to_do: str
) -> None:
    async def named() -> Any:
        return (await faulty.found(service)).get(name)

    finding = await eventually(named, within_seconds=WITHIN_SECONDS, every_seconds=0.5, what=name)
    assert finding["said"]
    assert to_do in finding["to_do"]
    assert datetime.fromisoformat(finding["since"]) <= datetime.now(UTC)


async def test_the_doctor_names_them_all(faulty: Faulty, tmp_path: Path) -> None:
    async def all_named() -> list[Finding] | None:
        findings = await faulty.examined(tmp_path)
        wrong = {(one.part, one.name) for one in findings if one.state in ("warning", "failed")}
        expected = {
            (FOUND_BY_THE_DOCTOR.get(name, part), None if name in FOUND_BY_THE_DOCTOR else name)
            for part, name, _ in FAULTS
        }
        assert expected <= wrong
        return findings

    findings = await eventually(all_named, within_seconds=WITHIN_SECONDS, every_seconds=1)
    assert findings is not None
    assert all(one.to_do for one in findings if one.state in ("warning", "failed"))


async def test_the_doctor_finds_a_row_of_lineage_that_was_changed_by_hand(faulty: Faulty, tmp_path: Path) -> None:
    [freshness] = [one for one in await faulty.examined(tmp_path, lineage=True) if one.part == "freshness"]
    assert freshness.state == "failed"
    assert "prices/refresh has freshness ready, not not_initialized" in freshness.said


async def test_what_is_mended_is_no_longer_found(faulty: Faulty) -> None:
    for name in ("notifier", "submission", "lineage"):
        await faulty.wires[name].mend()
    await faulty.services["submission"].http.post("/v1/ops/dead-letters/drop", json={})
    gone = {
        "notifier": {"centrifugo_away"},
        "submission": {"prefect_away", "dead_letters", "launches_waiting", "requests_undecided"},
        "lineage": {"kafka_away", "outbox_not_sent"},
    }

    async def mended() -> bool:
        for service, names in gone.items():
            assert not names & (await faulty.found(service)).keys()
        return True

    await eventually(mended, within_seconds=WITHIN_SECONDS, every_seconds=0.5)
