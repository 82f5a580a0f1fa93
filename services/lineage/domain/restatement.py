"""A restatement: data of some dates were wrong, so what was made of them is superseded and whoever read it is tainted.

The fact not to break: who is tainted follows from the facts alone (who read what, which completion confirms which
version, what is superseded), never from the order in which they came. Who reads a completion that found its output
unchanged reads the version that it confirms, and is tainted only if that version is: by what made it first.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from heapq import heappop, heappush
from typing import NamedTuple
from uuid import UUID

from runtide_schemas.vocabulary import FlowKind

from services.lineage.domain.graph import FlowKey

EARLIEST_ZONE = timedelta(hours=14)  # where a day begins first on earth


class Step(NamedTuple):
    """A version on a path, and the role in which its run read the one before; the first one has no role."""

    version_id: UUID
    role: str


Path = tuple[Step, ...]
"""From the superseded version to the version of an attempt, both included."""
_Key = tuple[tuple[int, str], ...]
Reads = Mapping[UUID, Sequence[tuple[str, UUID]]]
"""Version of an attempt → (role, the version that it read)."""


@dataclass(frozen=True, slots=True)
class Restatement:
    """Who declared what, and why. `version_id` None: every version of the flow whose run started until `declared_at`
    and whose data reach `first_data_date`.
    """

    restatement_id: UUID
    tenant: str
    instance_id: UUID
    kind: FlowKind
    version_id: UUID | None
    first_data_date: date
    last_data_date: date
    reason: str
    actor: str
    command_id: str
    declared_at: datetime

    @property
    def flow(self) -> FlowKey:
        return FlowKey(self.instance_id, self.kind)

    @property
    def said(self) -> tuple[object, ...]:
        """What a repeated command must say again, whoever says it and whenever."""
        return self.flow, self.version_id, self.first_data_date, self.last_data_date, self.reason

    def why(self, version_id: UUID) -> str:
        """The sentence that rule 5 gives for the flow whose current version this is."""
        days = f"{self.first_data_date} to {self.last_data_date}"
        return f"its version {version_id} was superseded for {days}: {self.reason}"


def unsound(restatement: Restatement) -> str | None:
    """What is wrong with what it says, None: nothing. A day that has begun nowhere on earth has no data yet."""
    first, last = restatement.first_data_date, restatement.last_data_date
    if first > last:
        return f"first_data_date {first} is after last_data_date {last}"
    newest = (restatement.declared_at + EARLIEST_ZONE).date()
    if last > newest:
        return f"last_data_date {last} lies in the future; the newest day with data is {newest}"
    if not restatement.reason.strip():
        return "a reason is needed: people will read it"
    return None


def spread(reads: Reads, superseded: Collection[UUID], known: Mapping[UUID, Path]) -> dict[UUID, Path]:
    """Attempt → its shortest path from a superseded version, of those among `reads` that have one. `known`: the paths
    of attempts that are not among `reads`. Equally short: the one with the smallest ids, root first. Each attempt is
    settled once.
    """
    readers: dict[UUID, list[tuple[str, UUID]]] = {}
    waiting: list[tuple[int, _Key, Path]] = []
    for reader, its in reads.items():
        for role, version_id in its:
            readers.setdefault(version_id, []).append((role, reader))
            before: Path | None = None if version_id in reads else known.get(version_id)
            if version_id in superseded:
                before = (Step(version_id, ""),)
            if before is not None:
                path = (*before, Step(reader, role))
                heappush(waiting, (len(path), _key(path), path))
    found: dict[UUID, Path] = {}
    while waiting:
        length, key, path = heappop(waiting)
        attempt = path[-1].version_id
        if attempt in found:
            continue
        found[attempt] = path
        for role, reader in readers.get(attempt, ()):
            if reader not in found:
                heappush(waiting, (length + 1, (*key, (reader.int, role)), (*path, Step(reader, role))))
    return found


def _key(path: Path) -> _Key:
    """The order of paths, in numbers: comparing UUIDs is what would take the time."""
    return tuple((step.version_id.int, step.role) for step in path)
