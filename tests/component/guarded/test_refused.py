"""A login that the broker refuses, and a right that it does not give, have a name wherever somebody looks."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from aiokafka.errors import TopicAuthorizationFailedError
from runtide.client import Runtide
from runtide.errors import KafkaUnavailable
from runtide.flow import report_run
from runtide.settings import load

from deploy.native import ports
from shared.watch import TOPICS_EVERY_SECONDS
from tests.component.guarded.users import USERS, granted, ready, team, works
from tests.conftest import ROOT
from tests.support.eventually import eventually
from tests.support.guarded_kafka import GuardedKafka
from tests.support.harness import ServiceHarness, World

LATE = "runtide-notifier-2"


async def test_a_service_that_may_not_log_in_or_has_no_rights_names_that_until_it_may(
    world: World, guarded: GuardedKafka, services: dict[str, ServiceHarness], tmp_path: Path
) -> None:
    """A process of its own, with its log; `services` have made the tables."""
    password, log = "not-known-to-the-broker-yet", tmp_path / "notifier.log"
    async with notifier(world, password, log) as http:
        refused = await eventually(lambda: away(http), within_seconds=90, what="Kafka among what is away")
        assert f"refuses the login of '{LATE}' by SCRAM-SHA-512: " in refused
        await guarded.add_user(LATE, password)
        unauthorized = TopicAuthorizationFailedError.__name__
        await eventually(lambda: away(http, unauthorized), within_seconds=90, what="a right that is missing")
        await granted(guarded, world.kafka.prefix, f"notifier:{LATE}")
        await eventually(lambda: works(http), within_seconds=90, what="a service that may log in")
    assert refused in log.read_text(encoding="utf-8")
    assert password not in log.read_text(encoding="utf-8")


async def test_a_login_that_is_taken_back_is_named_and_gone_once_it_is_given_again(
    guarded: GuardedKafka, services: dict[str, ServiceHarness]
) -> None:
    context, user = services["lineage"].running.context, USERS["lineage"]
    password = guarded.passwords[user]

    async def found() -> set[str]:
        context.watch._topics_at = -TOPICS_EVERY_SECONDS  # asked now, not in half a minute
        return {finding.name for finding in await context.watch.look()}

    await guarded.add_user(user, "another-one")
    await eventually(lambda: named(found, "kafka_away"), what="a login that is refused")
    assert f"refuses the login of '{user}'" in context.degraded["kafka"][0]
    await guarded.add_user(user, password)
    await eventually(lambda: named(found, "kafka_away", present=False), what="a login that is taken")
    assert "kafka" not in context.degraded


async def test_the_sdk_and_a_flow_name_a_refused_login_and_the_flow_ends_well(
    world: World, guarded: GuardedKafka, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    environment = team(world, guarded, RUNTIDE_KAFKA_SASL_PASSWORD="a-wrong-one")
    async with Runtide(load(environment, ROOT / "nowhere")) as client:
        with pytest.raises(KafkaUnavailable, match="refuses the login of 'research'"):
            await client.submit_run("prices")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with report_run(attempt=1, seal_timeout_seconds=1) as report:
        report.complete()
    assert "refuses the login of 'research'" in caplog.text
    assert "a-wrong-one" not in caplog.text


async def test_a_certificate_of_somebody_else_is_not_believed(world: World, guarded: GuardedKafka) -> None:
    environment = team(world, guarded, RUNTIDE_KAFKA_SSL_CA_FILE="")
    async with Runtide(load(environment, ROOT / "nowhere")) as client:
        with pytest.raises(KafkaUnavailable, match=r"certificate that we do not trust.*set \S+SSL_CA_FILE"):
            await client.submit_run("prices")


@asynccontextmanager
async def notifier(world: World, password: str, log: Path) -> AsyncIterator[httpx.AsyncClient]:
    [port] = ports.pick({}, in_use=frozenset(), preferred={"http": 0}, use_preferred=False).values()
    login = {"RUNTIDE_KAFKA_SASL_USERNAME": LATE, "RUNTIDE_KAFKA_SASL_PASSWORD": password}
    env = {**os.environ, **world.env, **login, "NOTIFIER_HTTP_PORT": str(port), "NOTIFIER_INSTANCE_ID": "late"}
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.notifier", "run", cwd=ROOT, env=env, stdout=file, stderr=file
        )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=15) as http:
            yield http
    finally:
        process.terminate()
        await process.wait()


async def away(http: httpx.AsyncClient, wanted: str = "") -> str:
    """What is said of Kafka, while the service is not ready because of it."""
    found = await ready(http)
    said = "" if found["ready"] else str(found["degraded"].get("kafka", {}).get("problem", ""))
    return said if wanted in said else ""


async def named(found: Callable[[], Awaitable[set[str]]], name: str, *, present: bool = True) -> bool:
    return (name in await found()) is present
