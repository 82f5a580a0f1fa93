"""The stack that tests meet, and a world of one's own on it.

`RUNTIDE_TEST_STACK` chooses where it comes from: `native` (default: the stack in `RUNTIDE_TEST_STATE_DIR`, else in
`.runtide`, started with `python -m deploy.native up` where it is not up), `existing` (default where
RUNTIDE_KAFKA_BOOTSTRAP is set: addresses from RUNTIDE_* variables, nothing is started or stopped) or `docker`.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

import pytest

from deploy.native import supervisor
from deploy.native.layout import state_at

if TYPE_CHECKING:
    from tests.support.harness import World

ROOT = Path(__file__).resolve().parent.parent
STATE = Path(os.environ.get("RUNTIDE_TEST_STATE_DIR") or ROOT / ".runtide")
NEEDED = (
    "RUNTIDE_KAFKA_BOOTSTRAP", "RUNTIDE_POSTGRES_DSN", "RUNTIDE_S3_ENDPOINT", "RUNTIDE_PREFECT_API_URL",
    "RUNTIDE_CENTRIFUGO_API_URL", "RUNTIDE_CENTRIFUGO_WS_URL",
)  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    # aiokafka leaves a connection behind that is still being made when its client closes: a service stopped early.
    for said in ("unclosed <StreamWriter", "Unclosed AIOKafkaConnection"):
        config.addinivalue_line("filterwarnings", f"ignore:{said}:ResourceWarning")


_SHOWN = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def show(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """A line at the end of the run, also where all passes: what a long test found out."""
    return request.config.stash.setdefault(_SHOWN, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash.get(_SHOWN, []):
        terminalreporter.write_line(line)


def not_ours(part: str) -> None:
    pytest.skip(f"{part} is not ours to stop")


class Stack(Protocol):
    """PostgreSQL, Kafka, S3, Prefect and the realtime node, really running. Part names as in deploy.native."""

    env: Mapping[str, str]

    async def stop(self, part: str) -> None: ...
    async def start(self, part: str) -> None: ...
    async def restart(self, part: str) -> None: ...
    async def kill(self, part: str) -> None: ...


class ExistingStack:
    """Somebody else's: it is used, and never stopped."""

    def __init__(self) -> None:
        self.env = {name: value for name, value in os.environ.items() if name.startswith(("RUNTIDE_", "PREFECT_"))}
        missing = [name for name in NEEDED if name not in self.env]
        if missing:
            pytest.fail(f"RUNTIDE_TEST_STACK=existing needs {', '.join(missing)}", pytrace=False)

    async def stop(self, part: str) -> None:
        not_ours(part)

    start = restart = kill = stop


class NativeStack:
    """One that we start: what is not up is started, and stays up afterwards for the next run.

    A part that a variable brought (a Centrifugo by URL) is somebody else's: a test that would stop it is skipped.
    """

    def __init__(self) -> None:
        if not _is_up(_read_env()):
            subprocess.run([*_DEPLOY, "up"], cwd=ROOT, check=True)
        self.env = _read_env()
        self._brought = supervisor.look(state_at(str(STATE))).external

    async def stop(self, part: str) -> None:
        await self._deploy("down", part)

    async def start(self, part: str) -> None:
        await self._deploy("up", part)

    async def restart(self, part: str) -> None:
        await self._deploy("restart", part)

    async def kill(self, part: str) -> None:
        """kill -9 of the part's process, in the middle of whatever it does."""
        if part in self._brought:
            not_ours(part)
        record = json.loads((STATE / "run" / f"{part}.json").read_text(encoding="utf-8"))
        os.kill(record["pid"], signal.SIGKILL)

    async def _deploy(self, verb: str, part: str) -> None:
        if part in self._brought:
            not_ours(part)
        process = await asyncio.create_subprocess_exec(
            *_DEPLOY, verb, part, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        said, _ = await process.communicate()
        assert process.returncode == 0, f"deploy.native {verb} {part}: {said.decode()}"


_DEPLOY = (sys.executable, "-m", "deploy.native", "--state-dir", str(STATE))


def _read_env() -> dict[str, str]:
    file = STATE / "stack.env"
    if not file.is_file():
        return {}
    words = shlex.split(file.read_text(encoding="utf-8"), comments=True)
    return dict(word.split("=", 1) for word in words)


def _is_up(env: Mapping[str, str]) -> bool:
    if any(name not in env for name in NEEDED):
        return False
    for name in NEEDED:
        address = urlsplit(env[name] if "//" in env[name] else f"//{env[name]}")
        try:
            socket.create_connection((address.hostname or "", address.port or 80), timeout=2).close()
        except OSError:
            return False
    return True


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The running stack."""
    back_end = os.environ.get("RUNTIDE_TEST_STACK") or (
        "existing" if "RUNTIDE_KAFKA_BOOTSTRAP" in os.environ else "native"
    )
    match back_end:
        case "existing":
            yield ExistingStack()
        case "native":
            yield NativeStack()
        case "docker":
            from tests.support.docker_stack import DockerStack

            with DockerStack() as containers:
                yield containers
        case _:
            pytest.fail(f"RUNTIDE_TEST_STACK is {back_end!r}; allowed: native, existing, docker", pytrace=False)


@pytest.fixture(scope="module")
async def world(stack: Stack) -> AsyncIterator[World]:
    """A database and a Kafka prefix for the tests of one file."""
    from tests.support.harness import World  # here: unit tests do not pay for it

    opened = await World(stack.env).open()
    yield opened
    await opened.close()
