"""docker-compose.yml by what can be known without an engine."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.docker.__main__ import PORTS
from deploy.native.environment import SECRETS

ROOT = Path(__file__).resolve().parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ADDRESSES = {"listeners", "advertised.listeners", "listener.security.protocol.map"}

each = pytest.mark.parametrize("name", SERVICES)


@each
def test_ports_are_bound_to_loopback(name: str) -> None:
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in SERVICES[name].get("ports", []))


@each
def test_images_are_pinned_and_still_published(name: str) -> None:
    image = SERVICES[name]["image"]
    tag = image.rpartition("/")[2].partition(":")[2]
    assert re.search(r"\d+\.\d+", tag), image
    assert not image.startswith(("bitnami/", "minio/"))


@each
def test_what_keeps_running_has_a_health_check(name: str) -> None:
    assert "healthcheck" in SERVICES[name] or SERVICES[name].get("restart") == "no"


@each
def test_it_waits_for_health_or_completion_of_services_of_the_same_file(name: str) -> None:
    for need, how in SERVICES[name].get("depends_on", {}).items():
        expected = "service_healthy" if "healthcheck" in SERVICES[need] else "service_completed_successfully"
        assert how["condition"] == expected


@each
def test_it_belongs_to_a_profile(name: str) -> None:
    assert SERVICES[name]["profiles"] in (["core"], ["tools"], ["observe"])


def test_no_secret_has_a_default() -> None:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    assert all(":?" in use for use in re.findall(r"\$\{[^}]+\}", text))


@each
def test_what_names_a_secret_holds_a_reference_and_never_a_value(name: str) -> None:
    for variable, value in SERVICES[name].get("environment", {}).items():
        if re.search(r"PASSWORD|SECRET|_KEYS?$|_DSN$|CONNECTION_URL$", variable):
            assert re.search(r"\$\{[A-Z0-9_]+:\?", str(value)), variable


def test_every_secret_that_is_asked_for_is_made() -> None:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    made = {*SECRETS, "RUNTIDE_TENANT", "RUNTIDE_TOKEN", "RUNTIDE_COMMANDS_AUTH"}  # the last three in stack.env
    assert set(re.findall(r"\$\{([A-Z0-9_]+)", text)) == made


@pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if "build" in service])
def test_our_own_images_run_without_privileges(name: str) -> None:
    assert SERVICES[name]["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in SERVICES[name]["security_opt"]
    assert "privileged" not in SERVICES[name]


@each
def test_a_health_check_ends_and_gives_up(name: str) -> None:
    check = SERVICES[name].get("healthcheck", {"timeout": "1s", "interval": "1s", "retries": 1})
    assert {"timeout", "interval", "retries"} <= check.keys()


def test_every_stage_of_the_dockerfile_is_pinned_and_what_runs_is_not_root() -> None:
    stages = re.split(r"^FROM ", (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    assert all(re.match(r"\S+:\d+(\.\d+)*-\S+ AS \w+\n", stage) for stage in stages)
    run = [stage for stage in stages if re.search(r"^(CMD|ENTRYPOINT) ", stage, re.MULTILINE)]
    assert len(run) == 2
    assert all(re.search(r"^USER 10001$", stage, re.MULTILINE) for stage in run)


def test_volumes_are_named_and_mounted_files_exist() -> None:
    for service in SERVICES.values():
        for source in (volume.split(":")[0] for volume in service.get("volumes", [])):
            assert (ROOT / source).is_file() if source.startswith("./") else source in COMPOSE["volumes"]


def test_kafka_is_set_as_in_the_native_stack() -> None:
    environment = SERVICES["kafka"]["environment"]
    given = {name.removeprefix("KAFKA_").replace("_", ".").lower(): str(value) for name, value in environment.items()}
    native = (ROOT / "deploy" / "kafka" / "server.properties").read_text(encoding="utf-8").splitlines()
    wanted = dict(line.split("=", 1) for line in native if line and not line.startswith("#"))
    assert {name: given.get(name) for name in wanted.keys() - ADDRESSES} == {
        name: wanted[name] for name in wanted.keys() - ADDRESSES
    }


def test_the_published_ports_are_those_of_stack_env() -> None:
    published = {int(port.split(":")[1]) for service in SERVICES.values() for port in service.get("ports", [])}
    inside_only = {PORTS["realtime_internal"]}
    assert set(PORTS.values()) - inside_only <= published


def test_centrifugo_is_configured_without_secrets_and_with_history_for_what_it_recovers() -> None:
    config = json.loads((ROOT / "deploy" / "centrifugo" / "config.json").read_text(encoding="utf-8"))
    assert "http_api" not in config
    assert "hmac_secret_key" not in config["client"]["token"]
    assert config["websocket"]["message_size_limit"] == 1_048_576
    namespaces = {namespace["name"]: namespace for namespace in config["channel"]["namespaces"]}
    assert namespaces.keys() == {"instance", "run", "tenant", "lineage"}
    assert all(n["force_recovery"] and n["history_size"] and n["history_ttl"] for n in namespaces.values())
