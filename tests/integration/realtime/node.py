"""A realtime server as a test sees it: where it is, and for one we started, how to stop and restart it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from deploy.native.ports import any_free
from tests.support.centrifugo_scenario import API_KEY, TOKEN_KEY, Server, mint

ROOT = Path(__file__).resolve().parents[3]
SCENARIO_CONFIG = ROOT / "tests" / "golden" / "centrifugo" / "config.json"
DEPLOYED_CONFIG = ROOT / "deploy" / "centrifugo" / "config.json"
SECRETS = {"CENTRIFUGO_HTTP_API_KEY": API_KEY, "CENTRIFUGO_CLIENT_TOKEN_HMAC_SECRET_KEY": TOKEN_KEY}


async def eventually(condition: Callable[[], Any] | Callable[[], Awaitable[Any]], seconds: float = 30) -> Any:
    """Ask until the answer is true, and return it. Raises: TimeoutError naming the condition."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                answer = condition()
                if asyncio.iscoroutine(answer):
                    answer = await answer
                if answer:
                    return answer
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise TimeoutError(f"not true after {seconds} s: {getattr(condition, '__name__', condition)}") from None


@dataclass
class Node:
    """One process of the embedded node or of a Centrifugo, on loopback and ports of its own."""

    binary: Path
    log: Path
    config: Path = SCENARIO_CONFIG
    overrides: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=any_free)
    internal_port: int = field(default_factory=any_free)
    process: asyncio.subprocess.Process | None = None

    @property
    def server(self) -> Server:
        return Server(f"{self.internal_url}/api", f"ws://127.0.0.1:{self.port}/connection/websocket")

    @property
    def public_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def internal_url(self) -> str:
        return f"http://127.0.0.1:{self.internal_port}"

    def environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("CENTRIFUGO_")}
        addresses = {
            "CENTRIFUGO_HTTP_SERVER_ADDRESS": "127.0.0.1",  # Centrifugo's own default is every interface
            "CENTRIFUGO_HTTP_SERVER_PORT": str(self.port),
            "CENTRIFUGO_HTTP_SERVER_INTERNAL_ADDRESS": "127.0.0.1",
            "CENTRIFUGO_HTTP_SERVER_INTERNAL_PORT": str(self.internal_port),
        }
        return inherited | SECRETS | addresses | self.overrides

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                self.binary, "-c", self.config, env=self.environment(), stdout=log, stderr=log
            )
        async with httpx.AsyncClient(trust_env=False) as http:

            async def healthy() -> bool:
                assert self.process is not None
                if self.process.returncode is not None:
                    raise AssertionError(f"exit {self.process.returncode}: {self.log.read_text()[-2000:]}")
                with contextlib.suppress(httpx.TransportError):
                    return (await http.get(f"{self.internal_url}/health")).is_success
                return False

            await eventually(healthy)

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """The exit status, once it is gone."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(how)
        return await asyncio.wait_for(self.process.wait(), 15)

    async def restart(self) -> None:
        """kill -9, and up again at the same address: history, offsets, versions and epochs are gone."""
        await self.stop(signal.SIGKILL)
        await self.start()


class Api:
    """The HTTP API in a few words; every answer must be a 200."""

    def __init__(self, server: Server) -> None:
        self.url = server.api_url
        self.http = httpx.AsyncClient(headers={"X-API-Key": server.api_key}, timeout=5, trust_env=False)

    async def __call__(self, method: str, **body: Any) -> Any:
        answer = await self.http.post(f"{self.url}/{method}", json=body)
        answer.raise_for_status()
        return answer.json()

    async def close(self) -> None:
        await self.http.aclose()


def connection_token(key: str = TOKEN_KEY, user: str = "u1", **claims: Any) -> str:
    return mint(key, sub=user, **claims)


def subscription_token(channel: str, key: str = TOKEN_KEY, user: str = "u1", **claims: Any) -> str:
    return mint(key, sub=user, channel=channel, **claims)
