"""Random histories told to lineage message by message, and who a search over all paths finds tainted."""

from __future__ import annotations

import json
import random
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4, uuid5

from runtide_schemas.vocabulary import restatement_id_of, version_id_of

from tests.component.lineage.told import DIGESTS, Told, text
from tests.support.harness import ServiceHarness
from tests.support.tainting import Walk, brute_force

DAYS = [date(2026, 1, day) for day in range(1, 8)]


class History:
    """A tenant's runs of a random graph: they read older or newer versions, confirm, fail, are corrected, are sealed
    late; and what is declared superseded in between. `reads`: attempt → (role, version), as its last snapshot says.
    """

    def __init__(self, lineage: ServiceHarness, seed: int) -> None:
        self.dice = random.Random(seed)
        self.told = Told(lineage)
        self.names = [f"n{place}" for place in range(self.dice.randint(4, 6))]
        self.above = {
            name: self.dice.sample(self.names[:place], min(place, self.dice.randint(1, 2)))
            for place, name in enumerate(self.names)
        }
        self.reads: dict[UUID, list[tuple[str, UUID]]] = {}
        self.declared: dict[UUID, dict[str, Any]] = {}
        self._made: dict[str, list[UUID]] = {name: [] for name in self.names}
        self._late: list[list[dict[str, Any]]] = []
        self._count = 0

    async def begin(self, early: int = 8, runs: int = 24) -> None:
        """Register everything, and tell the first runs."""
        for name in self.names:
            await self.told.register(name, *self.above[name])
        stories = [self._run() for _ in range(runs)]
        self._late = stories[early:]
        await self._tell(stories[:early])

    async def go_on(self) -> None:
        """Declare, tell the other runs in any order, and declare again."""
        await self.declare(
            version_id=self.dice.choice([made for name in self.names[:3] for made in self._made[name][:4]])
        )
        await self.declare()
        await self._tell(self._late)
        await self.declare()

    def _run(self) -> list[dict[str, Any]]:
        """One run as its snapshots; it began and ended after those before it, some long after every declaration."""
        self._count += 1
        name, run_id = self.dice.choice(self.names), uuid4()
        later = self.dice.random() < 0.25
        began = (
            datetime.now(UTC) + (timedelta(days=1) if later else timedelta(hours=-2)) + timedelta(minutes=self._count)
        )
        inputs = {
            above: {"instance_id": self.told.id(above), "flow_kind": "refresh", "basis": "admitted",
                    "version_id": str(self.dice.choice(self._made[above]))}
            for above in self.above[name] if self._made[above] and self.dice.random() < 0.95
        }  # fmt: skip
        digest = str(uuid5(DIGESTS, f"{name}/{self.dice.choice('xxy')}"))
        day = self.dice.choice([*DAYS, None])
        whole = {
            "run_id": str(run_id), "name": name, "status": "completed", "input_versions": inputs,
            "started_at": text(began), "ended_at": text(began + timedelta(seconds=30)), "output_digest": digest,
            "last_data_date": day.isoformat() if day else None,
        }  # fmt: skip
        self._made[name].append(version_id_of(run_id, 1))
        self.reads[version_id_of(run_id, 1)] = [(role, UUID(one["version_id"])) for role, one in inputs.items()]
        match self.dice.choice(["well", "well", "well", "well", "failed", "preview", "corrected", "sealed late"]):
            case "failed":
                return [{**whole, "status": "failed"}]
            case "preview":
                return [{**whole, "mode": "preview"}]
            case "corrected":
                return [whole, {**whole, "status": "failed"}]
            case "sealed late":
                return [{**whole, "output_digest": None, "last_data_date": None, "input_versions": {}}, whole]
            case _:
                return [whole]

    async def _tell(self, stories: list[list[dict[str, Any]]]) -> None:
        """Of one run in order, otherwise in any."""
        waiting = [list(story) for story in stories]
        while waiting:
            story = self.dice.choice(waiting)
            await self.told.run(**story.pop(0))
            waiting = [left for left in waiting if left]

    async def declare(self, version_id: UUID | None = None) -> None:
        made_by = {made: name for name, its in self._made.items() for made in its}
        name = made_by[version_id] if version_id else self.dice.choice(self.names[:2])
        first = self.dice.choice(DAYS[2:])
        command = {"instance": name, "version_id": str(version_id) if version_id else None,
                   "first_data_date": first.isoformat(), "last_data_date": DAYS[-1].isoformat()}  # fmt: skip
        command_id = uuid4().hex
        self.declared[restatement_id_of(self.told.tenant, command_id)] = command
        for _ in range(2):  # the same command twice is one restatement
            await self.told.command("version.supersede", **command, command_id=command_id, reason="restated")

    async def expected(self) -> dict[UUID, dict[UUID, Walk]]:
        """Restatement → attempt → path, from what was told and from which completion confirms which version."""
        rows = await self.told.lineage.rows("select * from versions where tenant = $1", self.told.tenant)
        confirms = {row["version_id"]: row["confirms"] for row in rows if row["confirms"]}
        made_on = {row["restatement_id"]: row["declared_at"] for row in await self.restatements()}
        result = {}
        for restatement_id, command in self.declared.items():
            if restatement_id not in made_on:
                continue  # it named a version that was none (of a failed run)
            named = command["version_id"]
            superseded = [UUID(named)] if named else [
                row["version_id"] for row in rows
                if str(row["instance_id"]) == self.told.id(command["instance"])
                and row["started_at"] <= made_on[restatement_id]
                and (row["last_data_date"] is None or row["last_data_date"].isoformat() >= command["first_data_date"])
            ]  # fmt: skip
            result[restatement_id] = brute_force(self.reads, confirms, superseded)
        return result

    async def restatements(self) -> list[dict[str, Any]]:
        return await self.told.lineage.rows("select * from restatements where tenant = $1", self.told.tenant)

    async def marked(self) -> dict[UUID, dict[UUID, Walk]]:
        """The same as lineage has it."""
        result: dict[UUID, dict[UUID, Walk]] = {row["restatement_id"]: {} for row in await self.restatements()}
        for row in await self.told.lineage.rows("select * from taints where tenant = $1", self.told.tenant):
            path = tuple((UUID(version_id), role) for version_id, role in json.loads(row["path"]))
            result[row["restatement_id"]][row["version_id"]] = path
        return result
