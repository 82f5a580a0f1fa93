"""The graph of `up` and `down`, with small programs in place of servers."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.native import environment, probes, processes, supervisor
from deploy.native.layout import State, state_at
from deploy.native.part import Part, Stack
from deploy.native.ports import PREFERRED

SERVE = "import time; print('serving', flush=True); time.sleep(60)"


def part(name: str, program: str, *needs: str, once: bool = False) -> Part:
    def ready(stack: Stack):
        async def probe() -> bool:
            log = stack.state.logs / f"{name}.log"
            return log.exists() and "serving" in log.read_text()

        return probe

    return Part(
        name=name, group="infra", needs=needs, once=once, command=lambda _: [sys.executable, "-c", program],
        ready=None if once else ready, start_seconds=20,
    )  # fmt: skip


class Bench:
    """A state directory, the parts in it, and what was said."""

    def __init__(self, state: State, monkeypatch: pytest.MonkeyPatch) -> None:
        self.state, self.said, self._monkeypatch = state, [], monkeypatch

    async def up(self, *parts: Part, external: frozenset[str] = frozenset()) -> list[str]:
        self._monkeypatch.setattr(supervisor, "PARTS", parts)
        self._monkeypatch.setattr(supervisor, "BY_NAME", {one.name: one for one in parts})
        self.said.clear()
        stack = Stack(self.state, PREFERRED, {}, {}, external)
        await supervisor.Upping(stack, parts, self.said.append).run()
        return [line.split()[0] for line in self.said]

    async def down(self) -> list[str]:
        self.said.clear()
        await supervisor.down(self.state, processes.known_names(self.state.run), self.said.append)
        return [line.split()[0] for line in self.said]


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    state = state_at(str(tmp_path / "state"))
    state.create()
    bench = Bench(state, monkeypatch)
    yield bench
    await bench.down()


async def test_starts_in_the_order_of_needs_and_stops_in_the_other(bench: Bench) -> None:
    parts = part("page", SERVE, "job"), part("job", "pass", "store", once=True), part("store", SERVE)
    assert await bench.up(*parts) == ["store", "job", "page"]
    assert await bench.down() == ["page", "store"]


async def test_a_second_up_starts_nothing_anew(bench: Bench) -> None:
    await bench.up(part("store", SERVE))
    before = processes.find(bench.state.run, "store")
    await bench.up(part("store", SERVE))
    assert "running" in bench.said[0]
    assert processes.find(bench.state.run, "store") == before


async def test_a_command_whose_probe_says_yes_is_not_run_again(bench: Bench) -> None:
    async def no() -> bool:
        return False

    job = part("job", "raise SystemExit(3)", once=True)
    assert await bench.up(replace(job, ready=lambda _: probes.yes)) == ["job"]
    assert bench.said[0].endswith("done before")
    with pytest.raises(supervisor.PartFailed, match="job ended with 3"):
        await bench.up(replace(job, ready=lambda _: no))


async def test_a_part_that_was_killed_is_started_again(bench: Bench) -> None:
    await bench.up(part("store", SERVE))
    before = processes.find(bench.state.run, "store")
    assert before
    await processes.stop(replace(before, stop_signal=9), patience_seconds=5)
    await bench.up(part("store", SERVE))
    after = processes.find(bench.state.run, "store")
    assert after
    assert after.pid != before.pid


async def test_a_failed_command_keeps_what_needs_it_from_starting(bench: Bench) -> None:
    broken = part("job", "raise SystemExit('no such table')", "store", once=True)
    with pytest.raises(supervisor.PartFailed, match=r"(?s)^job ended with 1.*no such table"):
        await bench.up(part("store", SERVE), broken, part("page", SERVE, "job"))
    assert processes.find(bench.state.run, "store")
    assert processes.find(bench.state.run, "page") is None


async def test_a_server_that_ends_instead_of_serving_is_told_at_once(bench: Bench) -> None:
    with pytest.raises(supervisor.PartFailed, match="store ended with 3"):
        await asyncio.wait_for(bench.up(part("store", "raise SystemExit(3)")), 15)


async def test_what_the_caller_brings_is_not_started_and_counts_as_there(bench: Bench) -> None:
    parts = part("store", "raise SystemExit(3)"), part("page", SERVE, "store")
    assert await bench.up(*parts, external=frozenset({"store"})) == ["store", "page"]
    assert processes.find(bench.state.run, "store") is None


async def test_services_of_another_mode_end_and_are_wanted_again(bench: Bench) -> None:
    service = replace(part("lineage", SERVE), group="services")
    await bench.up(part("store", SERVE), service)
    wanted, token = (part("page", SERVE),), environment.COMMANDS_AUTH
    for before, mode in (({}, "open"), ({token: "token"}, "token")):
        stack = Stack(bench.state, PREFERRED, {}, {token: mode})
        assert (
            await supervisor._end_those_of_another_mode(bench.state, before, stack, wanted, bench.said.append) == wanted
        )
    assert processes.find(bench.state.run, "lineage")
    stack = Stack(bench.state, PREFERRED, {}, {token: "token"})
    found = await supervisor._end_those_of_another_mode(bench.state, {}, stack, (), bench.said.append)
    assert [one.name for one in found] == ["lineage"]
    assert processes.find(bench.state.run, "lineage") is None
    assert processes.find(bench.state.run, "store")
