"""The least that HTTP takes: an application that runs one statement and sends what it found, behind the same server as
a service, and a client that only reads the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

import uvicorn

from shared.running import Server

Answer = Callable[[str], Awaitable[bytes]]


class Asking:
    """A client that asks with its token, of ours and of a floor alike."""

    def __init__(self, url: str, token: str = "") -> None:
        parts = urlsplit(url)
        self._host, self._port, self._token = parts.hostname, parts.port, token

    async def milliseconds(self, *paths: str) -> list[float]:
        """How long each answer took, one after the other on one connection that is open before."""
        return [took for took, _ in await self._get(paths)]

    async def get(self, path: str) -> bytes:
        [(_, body)] = await self._get([path])
        return body

    async def _get(self, paths: Sequence[str]) -> list[tuple[float, bytes]]:
        reader, writer = await asyncio.open_connection(self._host, self._port, limit=1 << 24)
        answers = []
        for path in paths:
            began = time.perf_counter()
            writer.write(f"GET {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {self._token}\r\n\r\n".encode())
            body = await _body(reader)
            answers.append(((time.perf_counter() - began) * 1000, body))
        writer.close()
        await writer.wait_closed()
        return answers


async def _body(reader: asyncio.StreamReader) -> bytes:
    """Anything but a 200 is a fault of the benchmark."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    assert head.startswith(b"http/1.1 200"), head
    _, _, rest = head.partition(b"content-length:")
    return await reader.readexactly(int(rest.partition(b"\r\n")[0]))


@contextlib.asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[Asking]:
    """A client of an application that gives to each path what `answer` gives."""

    async def application(scope: Any, _: Any, send: Any) -> None:
        body = await answer(scope["path"])
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    server = Server(uvicorn.Config(application, port=0, log_config=None, access_log=False, lifespan="off"))
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield Asking(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}")
    finally:
        server.should_exit = True
        await running
