"""Who logs in to the guarded Kafka, how, and how a service is asked for what it says of Kafka."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import Any

import httpx
from pydantic import SecretStr

from deploy.kafka.acls import SERVICES
from shared.settings import KafkaSettings
from tests.conftest import ROOT
from tests.support.guarded_kafka import ADMIN, GuardedKafka
from tests.support.harness import World

USERS = {service: f"runtide-{service.replace('_', '-')}" for service in SERVICES} | {"team": "research"}
FILES = (*SERVICES, "team:research")


async def granted(guarded: GuardedKafka, prefix: str, *files: str) -> None:
    """As docs/access.md says it."""
    env = {**os.environ, **guarded.env(ADMIN), "RUNTIDE_KAFKA_PREFIX": prefix}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "deploy.kafka.acls", "apply", *files, cwd=ROOT, env=env,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()


def as_user(prefix: str, guarded: GuardedKafka, user: str, password: str | None = None) -> KafkaSettings:
    return KafkaSettings(
        bootstrap=guarded.env(ADMIN)["RUNTIDE_KAFKA_BOOTSTRAP"], prefix=prefix, security_protocol="SASL_PLAINTEXT",
        sasl_username=user, sasl_password=SecretStr(password or guarded.passwords[user]),
    )  # fmt: skip


def team(world: World, guarded: GuardedKafka, **changes: str) -> dict[str, str]:
    """What a team's environment says; it speaks TLS."""
    urls = {"RUNTIDE_TENANT": "acme", "RUNTIDE_KAFKA_PREFIX": world.kafka.prefix}
    return {**urls, **guarded.env(USERS["team"], protocol="SASL_SSL"), **changes}


async def ready(http: httpx.AsyncClient) -> dict[str, Any]:
    try:
        return dict((await http.get("/readyz")).json())
    except httpx.TransportError:
        return {"ready": False, "degraded": {}}


async def works(http: httpx.AsyncClient) -> bool:
    found = await ready(http)
    return bool(found["ready"] and not found["degraded"])
