"""The story: three days of a diamond, each sentence checked against what the services said.

`d` joins three paths. It is asked for by nobody but lineage, waits by name for what is not ready, and runs once per
change; where a change does not reach it, it does not run.
"""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import Any
from uuid import UUID

import httpx
from rich.console import Console
from rich.table import Table
from runtide import Runtide
from runtide.cli.lineage import explained
from runtide.platform import Platform
from runtide.runs import Run
from runtide_schemas.requests import RequestStatusChanged
from runtide_schemas.runs import RunStatusChanged

from examples.diamond.listening import Heard

PLATFORM = Path(__file__).with_name("platform.yaml")


class StoryBroke(Exception):
    """A sentence of the story is not true."""


class Story:
    """`name` is this telling's own: instances are `<name>-a` … `<name>-e`, deployments `diamond-a/<name>` …"""

    def __init__(self, client: Runtide, name: str, heard: Heard, console: Console) -> None:
        self.client, self.name, self.heard, self.console = client, name, heard, console
        self._told: set[UUID] = set()

    async def tell(self) -> None:
        """Raises: StoryBroke."""
        text = Template(PLATFORM.read_text(encoding="utf-8")).substitute(story=self.name)
        await self.client.apply(Platform.parse(text, name=PLATFORM.name))
        await self.day_one()
        await self.day_two()
        await self.day_three()
        await self.why("d", "is ready")
        self.ran_once_per_change(2)
        flow_runs = await self.flow_runs_of("d")
        self.check(f"Prefect knows {flow_runs} flow runs of d", flow_runs == 2)

    async def day_one(self) -> None:
        """Both roots arrive; everything is new."""
        await self.ask("a", prices={"ACME": 10, "BETA": 20, "CITY": 30})
        await self.ask("e", rate=1.10)
        await self.heard.until(lambda: self.today("d") and self.heard.is_at_rest())
        self.check("a, b, c, d and e ran once each", self.counts() == {"a": 1, "b": 1, "c": 1, "d": 1, "e": 1})
        self.check("d read the versions that were ready: b1, c1, e1", self.read_by_d() == "b1 c1 e1")
        self.close("day one: everything is new")

    async def day_two(self) -> None:
        """The highest price stays, a price is missing, and the second root comes in between."""
        root = await self.ask("a", prices={"ACME": 30, "BETA": 20, "CITY": None})
        await self.heard.until(lambda: all((letter, root.id) in self.heard.causes for letter in "bcd"))
        path = self.heard.causes["d", root.id]
        self.check(f"b, c and d went stale because of a: {' → '.join(path)}", path[0] == "a" and path[-1] == "d")
        failed = await self.heard.until(lambda: self.ended("c"))
        said = failed.error.message if failed.error else ""
        self.check(f"c failed: {said}", failed.status == "failed" and said == "no price of CITY")
        waiting = await self.heard.until(self.d_waits_for_c_alone)
        self.check("b made the same as before: no new version", len(self.heard.versions["b"]) == 1)
        second = await self.ask("e", rate=1.20)
        await self.heard.until(lambda: self.heard.instances["e"].flows[0].last_run_id == second.id)
        await self.heard.until(lambda: len(self.heard.versions["e"]) == 2)
        asked = [
            one.run_id for one in self.heard.requests_of("d") if not one.status.is_end and one.status != "launched"
        ]
        self.check("e changed too, and joined the same wait of d", asked == [waiting.run_id] and not self.today("d"))
        await self.why("d", "is stale")
        await self.ask("c", drop_missing=True)
        await self.heard.until(lambda: self.today("d") and self.heard.is_at_rest())
        self.check("c was repaired, and d ran once for all of it", self.counts()["d"] == 1)
        self.check("it is the run that had waited", self.today("d")[0].run_id == waiting.run_id)
        self.check("d read the old b and the new c and e: b1, c2, e2", self.read_by_d() == "b1 c2 e2")
        self.close("day two: b unchanged, c failed and repaired, e in between")

    async def day_three(self) -> None:
        """Other prices, of which highest and mean are the same."""
        root = await self.ask("a", prices={"ACME": 20, "BETA": 25, "CITY": 30})
        await self.heard.until(lambda: ("d", root.id) in self.heard.causes)
        await self.heard.until(lambda: self.heard.requests_of("d")[-1].status == "skipped" and self.heard.is_at_rest())
        self.check("b and c ran, and changed nothing", self.counts() == {"a": 1, "b": 1, "c": 1, "d": 0, "e": 0})
        self.check("d was asked for and skipped: its inputs are what it has read", not self.today("d"))
        self.close("day three: a changed, and neither b nor c")

    def ran_once_per_change(self, changes: int) -> None:
        runs = self.heard.runs_of("d")
        once = len(runs) == changes and all(run.status == "completed" and run.attempt == 1 for run in runs)
        self.check(f"d ran {changes} times for {changes} changes", once)
        self.check("nobody asked for d but lineage", all(run.trigger == "upstream" for run in runs))

    def check(self, sentence: str, is_true: bool) -> None:
        if not is_true:
            raise StoryBroke(sentence)
        self.console.print(f"[green]✓[/] {sentence}", soft_wrap=True)

    async def why(self, letter: str, expected: str) -> None:
        """Lineage's own words: the chain from the root cause to what this flow shows."""
        chain = list(explained(await self.client.why(f"{self.name}-{letter}")))
        self.check(f"why {letter}: {chain[0]}", expected in chain[0])
        for line in chain[1:]:
            self.console.print(line, markup=False, soft_wrap=True)

    async def ask(self, letter: str, **parameters: Any) -> Run:
        """A run of this flow by hand, to its end. Raises: RuntideError where that is no success."""
        run = await self.client.submit_run(f"{self.name}-{letter}", "refresh", parameters=parameters)
        await run.result()
        return run

    def d_waits_for_c_alone(self) -> RequestStatusChanged | None:
        """The one request of d that waits, with c as the reason that it names."""
        parked = [one for one in self.heard.requests_of("d") if one.status == "parked"]
        reasons = [(blocker.name[-1], blocker.status) for one in parked for blocker in one.blockers]
        return parked[0] if reasons == [("c", "error")] else None

    def today(self, letter: str) -> list[RunStatusChanged]:
        return [run for run in self.heard.runs_of(letter) if run.run_id not in self._told]

    def ended(self, letter: str) -> RunStatusChanged | None:
        return next((run for run in self.today(letter) if run.status.is_terminal), None)

    def counts(self) -> dict[str, int]:
        return {letter: len(self.today(letter)) for letter in "abcde"}

    def read_by_d(self) -> str:
        return self.read_by(self.today("d")[-1])

    def read_by(self, run: RunStatusChanged) -> str:
        """The versions that the run recorded as its inputs."""
        return " ".join(self.heard.label(role, read.version_id) for role, read in sorted(run.input_versions.items()))

    def close(self, title: str) -> None:
        """The table of the day."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("flow", "ran", "ended", "read", "is at"):
            table.add_column(column)
        for letter in "abcde":
            runs, version = self.today(letter), self.heard.instances[letter].flows[0].version_id
            read = (self.read_by(run) for run in runs)
            table.add_row(
                letter, str(len(runs)), ", ".join(run.status for run in runs), ", ".join(filter(None, read)),
                self.heard.label(letter, version),
            )  # fmt: skip
        self.console.print(f"\n[bold]{title}[/]", table, "", sep="\n")
        self._told |= self.heard.runs.keys()

    async def flow_runs_of(self, letter: str) -> int:
        """Counted by Prefect itself."""
        async with httpx.AsyncClient() as http:
            answer = await http.post(
                f"{self.client.settings.prefect_api_url}/flow_runs/count",
                json={
                    "flows": {"name": {"any_": [f"diamond-{letter}"]}},
                    "deployments": {"name": {"any_": [self.name]}},
                },
            )
        return int(answer.raise_for_status().json())
