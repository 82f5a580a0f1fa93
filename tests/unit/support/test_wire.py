"""The fault proxy does what its name says: else the faults of chaos would be none."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator

import pytest

from tests.support.eventually import eventually
from tests.support.wire import KafkaWire, Wire


class Far:
    """Answers every line with itself in capitals, and keeps it: the effect."""

    def __init__(self) -> None:
        self.effects: list[bytes] = []
        self.port = 0

    async def open(self) -> Far:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self.server = server
        return self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            self.effects.append(line)
            writer.write(line.upper())
        writer.close()


@pytest.fixture
async def far() -> AsyncIterator[Far]:
    opened = await Far().open()
    yield opened
    opened.server.close()


@pytest.fixture
async def wire(far: Far) -> AsyncIterator[Wire]:
    opened = await Wire(f"tcp://user:secret@127.0.0.1:{far.port}/base").open()
    await opened.mend()
    yield opened
    await opened.close()


async def ask(wire: Wire, line: bytes = b"a\n") -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", wire.port)
    try:
        writer.write(line)
        return await reader.readline()
    except ConnectionResetError:
        return b""
    finally:
        writer.transport.abort()


async def test_what_is_said_passes_both_ways_and_the_address_keeps_everything_but_host_and_port(wire: Wire) -> None:
    assert await ask(wire) == b"A\n"
    assert wire.url == f"tcp://user:secret@127.0.0.1:{wire.port}/base"


async def test_a_slow_wire_takes_its_time_in_each_direction(wire: Wire) -> None:
    wire.delay_seconds = 0.05
    began = time.monotonic()
    assert await ask(wire) == b"A\n"
    assert time.monotonic() - began >= 0.1


async def test_a_half_open_wire_stands_and_lets_nothing_pass_until_it_is_mended(wire: Wire, far: Far) -> None:
    wire.passes.clear()
    asking = asyncio.create_task(ask(wire))
    done, _ = await asyncio.wait([asking], timeout=0.1)
    assert not done
    assert far.effects == []
    await wire.mend()
    assert await asking == b"A\n"


async def test_a_lost_answer_had_its_effect(wire: Wire, far: Far) -> None:
    wire.loses_answers = True
    assert await ask(wire) == b""
    assert (far.effects, wire.answers_lost) == ([b"a\n"], 1)
    await wire.mend()
    assert await ask(wire) == b"A\n"


async def test_a_cut_wire_breaks_what_stands_and_refuses_what_comes(wire: Wire) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", wire.port)
    writer.write(b"a\n")
    assert await reader.readline() == b"A\n"
    await wire.cut()
    assert await reader.read() == b""
    writer.transport.abort()
    with pytest.raises(ConnectionRefusedError):
        await ask(wire)


async def test_a_cut_wires_port_goes_to_nobody_else(wire: Wire) -> None:
    await wire.cut()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", wire.port))
    await wire.mend()
    assert await ask(wire) == b"A\n"


async def test_kafkas_answers_name_the_wire_and_not_the_broker() -> None:
    async def broker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        answer = b"\x00\x09127.0.0.1" + struct.pack(">i", port) + b"\x00rest"
        writer.write(struct.pack(">i", len(answer)) + answer)
        await eventually(lambda: reader.at_eof())
        writer.close()

    server = await asyncio.start_server(broker, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    wire = KafkaWire(f"127.0.0.1:{port}")
    await wire.open()
    await wire.mend()
    reader, writer = await asyncio.open_connection("127.0.0.1", wire.port)
    writer.write(b"metadata\n")
    said = await reader.readexactly(4 + 2 + 9 + 4 + 5)
    assert said[15:19] == struct.pack(">i", wire.port)
    writer.transport.abort()
    await wire.close()
    server.close()
