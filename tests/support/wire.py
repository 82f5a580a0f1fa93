"""A TCP connection to a part of the stack that can be cut, and stays cut until it is mended."""

from __future__ import annotations

import asyncio
import contextlib
from urllib.parse import urlsplit


class Wire:
    """Stands in for `url`; begins cut. A cut part refuses connections, as one that is down does.

    `swallows_answers`: what is asked has its effect, and nobody hears of it.
    """

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._listener: asyncio.Server | None = None
        self._ends: set[asyncio.StreamWriter] = set()
        self._port = 0
        self.swallows_answers = False

    async def open(self) -> Wire:
        """Choose a port; nobody answers there yet."""
        await self.mend()
        await self.cut()
        return self

    @property
    def url(self) -> str:
        return self._target._replace(netloc=f"127.0.0.1:{self._port}").geturl()

    async def mend(self) -> None:
        self._listener = await asyncio.start_server(self._carry, "127.0.0.1", self._port)
        self._port = self._listener.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for end in self._ends:
            end.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._ends.add(writer)
        far: asyncio.StreamWriter | None = None
        try:
            far_reader, far = await asyncio.open_connection(self._target.hostname, self._target.port)
            self._ends.add(far)
            pumps = [
                asyncio.create_task(self._pump(reader, far)),
                asyncio.create_task(self._pump(far_reader, writer, back=True)),
            ]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        except OSError:
            pass  # the part is down: the client sees a cut connection
        finally:
            for end in (writer, far):
                if end is not None:
                    end.transport.abort()
                    self._ends.discard(end)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, back: bool = False) -> None:
        with contextlib.suppress(OSError):
            while piece := await source.read(65536):
                if not (back and self.swallows_answers):
                    sink.write(piece)
                    await sink.drain()
