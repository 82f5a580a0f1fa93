from __future__ import annotations

import re
from pathlib import Path

import pytest

from deploy.native import setup, supervisor
from deploy.native.environment import BRINGS
from deploy.native.part import Part
from deploy.native.parts import BY_NAME, PARTS, SERVICES
from deploy.native.ports import PREFERRED
from deploy.native.tools import PREPARATIONS


def order(*groups: str) -> list[str]:
    return supervisor.needed([part for part in supervisor.select(groups, ()) if part.exists()])


def test_every_need_is_a_part_or_a_preparation() -> None:
    known = BY_NAME.keys() | PREPARATIONS.keys()
    needs = {need for part in PARTS for need in part.needs} | {
        need for _, needs, _ in PREPARATIONS.values() for need in needs
    }
    assert needs <= known


def test_everything_comes_after_what_it_needs() -> None:
    names = order("infra", "services", "examples")
    for name in names:
        needs = BY_NAME[name].needs if name in BY_NAME else PREPARATIONS[name][1]
        assert all(names.index(need) < names.index(name) for need in needs if need in names)


def test_services_start_after_topics_and_their_own_migration() -> None:
    for name in SERVICES:
        assert "prepare" in BY_NAME[name].needs


def test_infra_brings_none_of_our_services() -> None:
    assert {name for name in order("infra") if name in BY_NAME} == {"postgres", "kafka", "s3", "prefect", "realtime"}


def test_the_calendar_of_the_example_comes_with_the_example_alone() -> None:
    assert "calendars" in order("infra", "services", "examples")
    assert not {"calendars", "orchestrator"} & set(order("services"))


def test_a_named_service_brings_the_commands_before_it_but_no_server() -> None:
    chosen = [part.name for part in supervisor.select((), ["submission"])]
    assert chosen == ["prepare", "submission"]


def test_an_unknown_part_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no such part: kafak; there are postgres, kafka"):
        supervisor.select((), ["kafak"])


def test_every_port_belongs_to_one_part() -> None:
    ports = [port for part in PARTS for port in part.ports]
    assert sorted(ports) == sorted(PREFERRED)


def test_a_part_that_can_be_brought_is_in_the_table() -> None:
    assert set(BRINGS.values()) <= BY_NAME.keys()


def test_what_keeps_running_has_a_probe() -> None:
    assert all(part.ready for part in PARTS if not part.once)


def test_stopping_waits_for_whoever_needs_the_part() -> None:
    assert {"kafka", "postgres"} <= supervisor._all_needs(BY_NAME["lineage"])
    assert "postgres" in supervisor._all_needs(BY_NAME["flows"])


@pytest.mark.parametrize("part", [part for part in PARTS if part.likely], ids=lambda part: part.name)
def test_likely_causes_are_valid_patterns(part: Part) -> None:
    for pattern, meaning in part.likely:
        assert re.compile(pattern)
        assert meaning


def test_prefect_settings_are_read_from_the_shared_file() -> None:
    settings = setup.prefect_settings()
    assert settings["PREFECT_RUNNER_POLL_FREQUENCY"] == "1"
    assert settings["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"


def test_kafka_is_locked_with_one_version_and_every_jar_with_a_hash() -> None:
    lock = (Path(setup.ROOT) / "deploy" / "native" / "kafka.lock.toml").read_text(encoding="utf-8")
    entries = lock.split("[[dependencies]]")[1:]
    assert all(re.search(r'^sha256 = "[0-9a-f]{64}"$', entry, re.MULTILINE) for entry in entries)
    ours = [entry for entry in entries if 'groupId = "org.apache.kafka"' in entry]
    assert all('version = "4.3.1"' in entry for entry in ours)
    assert any('artifactId = "kafka-clients"' in entry for entry in ours)
