"""A TCP connection to a part of the stack that can be made slow, deaf, forgetful, or cut."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from urllib.parse import urlsplit


class Wire:
    """Stands in for `url`; begins cut. A cut part refuses connections, as one that is down does.

    What can be wrong is a field that may change at any time: `delay_seconds` in each direction; `passes.clear()`: the
    connection stands and nothing passes, as when a cable is pulled; `loses_answers`: what is asked arrives and has its
    effect, and instead of the answer the connection breaks. `swallows_answers`: it does not even break.
    """

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._listener: asyncio.Server | None = None
        self._ends: set[asyncio.StreamWriter] = set()
        self._held = socket.socket()
        self.delay_seconds = 0.0
        self.loses_answers = self.swallows_answers = False
        self.answers_lost = 0
        self.passes = asyncio.Event()
        self.passes.set()

    async def open(self) -> Wire:
        """Choose a port; nobody answers there yet. It stays bound while the wire is cut, else a connection that
        somebody opens meanwhile may get it as its own end."""
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._held.bind(("127.0.0.1", 0))
        return self

    async def close(self) -> None:
        await self.cut()
        self._held.close()

    @property
    def url(self) -> str:
        address = f"127.0.0.1:{self.port}"
        held, at, _ = self._target.netloc.rpartition("@")
        return self._target._replace(netloc=f"{held}{at}{address}").geturl()

    @property
    def port(self) -> int:
        return int(self._held.getsockname()[1])

    async def mend(self) -> None:
        """As good as new; what was cut stays cut, and may connect again."""
        self.delay_seconds = 0.0
        self.loses_answers = self.swallows_answers = False
        self.passes.set()
        if self._listener is None:
            self._listener = await asyncio.start_server(self._carry, "127.0.0.1", self.port)

    async def cut(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        self.drop()

    def drop(self) -> None:
        """Break the connections that there are; new ones may come."""
        for end in self._ends:
            end.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._ends.add(writer)
        far: asyncio.StreamWriter | None = None
        try:
            far_reader, far = await asyncio.open_connection(self._target.hostname, self._target.port)
            self._ends.add(far)
            pumps = [asyncio.create_task(self._ask(reader, far)), asyncio.create_task(self._answer(far_reader, writer))]
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

    async def _ask(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while piece := await source.read(65536):
                await self._pass(piece, sink)

    async def _answer(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while piece := await self.read_answer(source):
                if self.loses_answers:
                    self.answers_lost += 1
                    return
                if not self.swallows_answers:
                    await self._pass(piece, sink)

    async def read_answer(self, source: asyncio.StreamReader) -> bytes:
        return await source.read(65536)

    async def _pass(self, piece: bytes, sink: asyncio.StreamWriter) -> None:
        if self.delay_seconds:
            await asyncio.sleep(self.delay_seconds)
        await self.passes.wait()
        sink.write(piece)
        await sink.drain()


class KafkaWire(Wire):
    """Kafka tells its clients where its brokers are: its answers name this wire instead, so that all goes through."""

    def __init__(self, bootstrap: str) -> None:
        super().__init__(f"kafka://{bootstrap}")
        self._broker = b"127.0.0.1" + struct.pack(">i", self._target.port or 0)

    async def read_answer(self, source: asyncio.StreamReader) -> bytes:
        """One whole answer."""
        size = await source.readexactly(4)
        answer = await source.readexactly(int.from_bytes(size, "big"))
        return size + answer.replace(self._broker, b"127.0.0.1" + struct.pack(">i", self.port))
