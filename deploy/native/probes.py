"""Is it ready? Each probe asks once and answers at once; the supervisor repeats it."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable

Probe = Callable[[], Awaitable[bool]]


def http_ok(url: str, *, accept: tuple[int, ...] = (200,)) -> Probe:
    """An HTTP GET answers with one of the accepted codes."""

    async def probe() -> bool:
        return await asyncio.to_thread(_status, url) in accept

    return probe


def _status(url: str) -> int:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, ValueError):
        return 0


def calendar_known(url: str, code: str, token: str, *, days: int) -> Probe:
    """Lineage at this address has the calendar, for more than so many days."""
    asked = urllib.request.Request(f"{url}/v1/calendars", headers={"authorization": f"Bearer {token}"})

    def days_left() -> int:
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked, timeout=5) as answer:
                return next((one["days_left"] for one in json.load(answer)["calendars"] if one["code"] == code), 0)
        except (OSError, ValueError):
            return 0

    async def probe() -> bool:
        return await asyncio.to_thread(days_left) > days

    return probe


def tcp_open(port: int) -> Probe:
    """Somebody listens."""

    async def probe() -> bool:
        try:
            _, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), 2)
        except (OSError, TimeoutError):
            return False
        writer.close()
        return True

    return probe


def kafka_answers(port: int) -> Probe:
    """The broker answers ApiVersions v0, so it serves requests and does not merely listen."""
    request = b"\x00\x00\x00\x0c\x00\x12\x00\x00\x00\x00\x00\x01\x00\x02rt"

    async def probe() -> bool:
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), 2)
        except (OSError, TimeoutError):
            return False
        try:
            writer.write(request)
            answer = await asyncio.wait_for(reader.readexactly(10), 2)
            return answer[4:10] == b"\x00\x00\x00\x01\x00\x00"
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            return False
        finally:
            writer.close()

    return probe


def command_succeeds(command: list[str], env: dict[str, str]) -> Probe:
    """A command ends with 0."""

    async def probe() -> bool:
        quiet = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(*command, stdout=quiet, stderr=quiet, stdin=quiet, env=env)
        return await process.wait() == 0

    return probe


def prefect_serves(api_url: str) -> Probe:
    """At least one deployment is polled for by somebody who runs it."""

    async def probe() -> bool:
        return await asyncio.to_thread(_a_deployment_is_ready, api_url)

    return probe


def _a_deployment_is_ready(api_url: str) -> bool:
    asked = urllib.request.Request(
        f"{api_url}/deployments/filter", data=b"{}", headers={"content-type": "application/json"}
    )
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked, timeout=5) as answer:
            return any(deployment.get("status") == "READY" for deployment in json.load(answer))
    except (OSError, ValueError):
        return False


def all_of(*probes: Probe) -> Probe:
    async def probe() -> bool:
        for one in probes:
            if not await one():
                return False
        return True

    return probe


async def yes() -> bool:
    return True
