"""Who is tainted, found without cleverness: every path from every superseded version, each walked to its end."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from uuid import UUID

Walk = tuple[tuple[UUID, str], ...]


def brute_force(
    reads: Mapping[UUID, Sequence[tuple[str, UUID]]], confirms: Mapping[UUID, UUID], superseded: Collection[UUID]
) -> dict[UUID, Walk]:
    """Attempt → the first of its shortest paths. `confirms`: completion → the version that it found unchanged."""
    found: dict[UUID, Walk] = {}
    for version_id in {confirms.get(one, one) for one in superseded}:
        for walk in _walks(((version_id, ""),), reads, confirms):
            attempt = walk[-1][0]
            known = found.get(attempt)
            if known is None or (len(walk), walk) < (len(known), known):
                found[attempt] = walk
    return found


def _walks(
    so_far: Walk, reads: Mapping[UUID, Sequence[tuple[str, UUID]]], confirms: Mapping[UUID, UUID]
) -> Iterator[Walk]:
    for reader, its in reads.items():
        for role, read in its:
            if confirms.get(read, read) == so_far[-1][0] and reader not in {one for one, _ in so_far}:
                walk = (*so_far, (reader, role))
                yield walk
                yield from _walks(walk, reads, confirms)
