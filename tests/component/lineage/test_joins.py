"""Joins, told only by messages: the join runs exactly once per change, and records the versions that satisfied it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from runtide_schemas.vocabulary import version_id_of

from tests.component.lineage.told import Told
from tests.support.harness import ServiceHarness


class Joined:
    """Some roots that people run, and flows below them that refresh themselves, all ready at first."""

    def __init__(self, told: Told, **upstreams: tuple[str, ...]) -> None:
        self.told, self.upstreams = told, upstreams
        self.newest: dict[str, str] = {}

    async def begin(self) -> Joined:
        for name, above in self.upstreams.items():
            await self.told.register(name, *above, flow={"on_upstream": "refresh" if above else "notify"})
            await self.told.snapshot(name)
        for name in self.upstreams:
            await self.completes(name, output="day 0")
            await self.told.snapshot(name, status="ready")
        for name, above in self.upstreams.items():
            if above:
                assert (await self.told.decision(await self.told.asked(name)))["type"] == "request.skipped"
        return self

    async def completes(self, name: str, run_id: str | None = None, *, output: str) -> None:
        """Having read what is newest; `output` of another day is another version."""
        read = {upstream: self.newest[upstream] for upstream in self.upstreams[name]}
        run_id = await self.told.completed(name, run_id, read=read, output=output)
        self.newest[name] = run_id

    async def confirms(self, name: str, run_id: str, *, output: str) -> None:
        """It completes with the output that it had: its version stays."""
        read = {upstream: self.newest[upstream] for upstream in self.upstreams[name]}
        await self.told.completed(name, run_id, read=read, output=output)

    async def admitted(self, run_id: str) -> dict[str, Any]:
        return await self.told.kafka.until(
            "requests.decisions.v1", lambda m: m["run_id"] == run_id and m["type"] == "request.admitted"
        )

    async def waits_for(self, run_id: str) -> dict[str, str]:
        """Who is in the way, as the newest decision names them; all that was told so far is handled."""
        await self.told.is_quiet()
        said = [m for m in await self.told.about("requests.decisions.v1") if m["run_id"] == run_id]
        assert said[-1]["type"] == "request.parked"
        return {one["name"]: one["status"] for one in said[-1]["blockers"]}

    async def of(self, name: str) -> list[str]:
        """How each of lineage's requests for a flow ended so far, after the first."""
        await self.told.is_quiet()
        said = [m for m in await self.told.about("requests.decisions.v1") if m["instance_id"] == self.told.id(name)]
        said.sort(key=lambda m: (m["occurred_at"], m["number"]))
        ends = [m["type"].removeprefix("request.") for m in said if m["type"] != "request.parked"]
        asked = [m for m in await self.told.about("runs.commands.v1") if m["instance"] == self.told.id(name)]
        assert (ends[0], len(ends)) == ("skipped", len(asked))
        return ends[1:]

    def version(self, name: str) -> str:
        return str(version_id_of(UUID(self.newest[name]), 1))


DIAMOND: dict[str, tuple[str, ...]] = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")}


@pytest.fixture
async def diamond(lineage: ServiceHarness) -> Joined:
    return await Joined(Told(lineage), **DIAMOND).begin()


def inputs(admitted: dict[str, Any]) -> dict[str, str]:
    return {role: one["version_id"] for role, one in admitted["input_versions"].items()}


async def test_a_diamond_on_two_days_runs_its_join_once_a_day_on_that_days_versions(diamond: Joined) -> None:
    for day in ("monday", "tuesday"):
        await diamond.completes("a", output=day)
        b, c, d = [await diamond.told.asked(name) for name in "bcd"]
        assert set(await diamond.waits_for(d)) == {"b", "c"}
        await diamond.admitted(b)
        await diamond.admitted(c)
        await diamond.completes("b", b, output=day)
        assert set(await diamond.waits_for(d)) == {"c"}
        await diamond.completes("c", c, output=day)
        assert inputs(await diamond.admitted(d)) == {"b": diamond.version("b"), "c": diamond.version("c")}
        await diamond.completes("d", d, output=day)
        await diamond.told.snapshot("d", status="ready", flow__version_id=diamond.version("d"))
    assert await diamond.of("d") == ["admitted", "admitted"]


async def test_a_failing_branch_holds_the_join_by_name_until_it_is_mended(diamond: Joined) -> None:
    await diamond.completes("a", output="monday")
    b, c, d = [await diamond.told.asked(name) for name in "bcd"]
    await diamond.admitted(c)
    await diamond.completes("c", c, output="monday")
    await diamond.admitted(b)
    await diamond.told.run(b, "b", "failed")
    assert await diamond.waits_for(d) == {"b": "error"}
    mended = await diamond.told.ask("b")
    await diamond.admitted(mended)
    await diamond.completes("b", mended, output="monday")
    assert inputs(await diamond.admitted(d)) == {"b": diamond.version("b"), "c": diamond.version("c")}
    await diamond.completes("d", d, output="monday")
    await diamond.told.snapshot("d", status="ready", flow__version_id=diamond.version("d"))
    assert await diamond.of("d") == ["admitted"]


async def test_an_unchanged_branch_keeps_its_version_in_the_join(diamond: Joined) -> None:
    await diamond.completes("a", output="monday")
    b, c, d = [await diamond.told.asked(name) for name in "bcd"]
    for run_id in (b, c):
        await diamond.admitted(run_id)
    before = diamond.version("b")
    await diamond.confirms("b", b, output="day 0")
    await diamond.completes("c", c, output="monday")
    assert inputs(await diamond.admitted(d)) == {"b": before, "c": diamond.version("c")}
    await diamond.completes("d", d, output="monday")
    assert await diamond.of("d") == ["admitted"]


async def test_two_unchanged_branches_leave_the_join_ready_without_a_run(diamond: Joined) -> None:
    await diamond.completes("a", output="monday")
    b, c, d = [await diamond.told.asked(name) for name in "bcd"]
    for name, run_id in (("b", b), ("c", c)):
        await diamond.admitted(run_id)
        await diamond.confirms(name, run_id, output="day 0")
    skipped = await diamond.told.kafka.until(
        "requests.decisions.v1", lambda m: m["run_id"] == d and m["type"] == "request.skipped"
    )
    assert skipped["version_id"] == diamond.version("d")
    assert await diamond.of("d") == ["skipped"]


async def test_a_second_root_in_between_joins_the_same_wait(lineage: ServiceHarness) -> None:
    joined = await Joined(Told(lineage), a=(), x=(), b=("a",), c=("x",), d=("b", "c")).begin()
    await joined.completes("a", output="monday")
    b, d = [await joined.told.asked(name) for name in "bd"]
    assert await joined.waits_for(d) == {"b": "stale"}
    await joined.completes("x", output="monday")  # staggered: b is on its way
    c = await joined.told.asked("c")
    assert set(await joined.waits_for(d)) == {"b", "c"}
    await joined.completes("b", b, output="monday")
    assert set(await joined.waits_for(d)) == {"c"}
    await joined.completes("c", c, output="monday")
    assert inputs(await joined.admitted(d)) == {"b": joined.version("b"), "c": joined.version("c")}
    await joined.completes("d", d, output="monday")
    assert await joined.of("d") == ["admitted"]


async def test_a_version_taken_back_asks_for_what_read_it(lineage: ServiceHarness) -> None:
    joined = await Joined(Told(lineage), a=(), b=("a",), d=("b",)).begin()
    before = joined.version("a")
    await joined.completes("a", output="monday")
    b, d = [await joined.told.asked(name) for name in "bd"]
    await joined.completes("b", b, output="monday")
    await joined.completes("d", (await joined.admitted(d))["run_id"], output="monday")
    await joined.told.snapshot("d", status="ready", flow__version_id=joined.version("d"))
    await joined.told.run(joined.newest["a"], "a", "cancelled", supersedes=1)
    again, _ = [await joined.told.asked(name) for name in "bd"]
    assert inputs(await joined.admitted(again)) == {"a": before}


async def test_a_new_upstream_and_a_new_definition_ask_for_the_flow_itself(lineage: ServiceHarness) -> None:
    joined = await Joined(Told(lineage), a=(), x=(), b=("a",)).begin()
    await joined.told.command("instance.connect", instance="b", upstreams=[{"instance": "x"}])
    wired = await joined.admitted(await joined.told.asked("b"))
    assert set(wired["input_versions"]) == {"a", "x"}
    joined.upstreams["b"] = ("a", "x")
    await joined.completes("b", wired["run_id"], output="wired")
    await joined.told.snapshot("b", status="ready", flow__version_id=joined.version("b"))
    await joined.told.command("instance.change_definition", instance="b", digest="sha256:2")
    assert (await joined.told.decision(await joined.told.asked("b")))["type"] == "request.admitted"
