"""Walks over arrays against the plainest search that can be written, in Python and by numpy alike."""

from __future__ import annotations

import random
from collections import deque
from graphlib import TopologicalSorter

import numpy as np
import pytest

from services.lineage.domain import reach
from services.lineage.domain.reach import Arrows

Edges = list[tuple[int, int]]


def some_edges(dice: random.Random) -> tuple[int, Edges]:
    size = dice.randint(1, 30)
    wanted = dice.random()
    return size, [(a, b) for a in range(size) for b in range(a + 1, size) if dice.random() < wanted]


def arrows(size: int, edges: Edges) -> Arrows:
    sources, targets = np.array(edges, dtype=np.intp).reshape(-1, 2).T
    return Arrows(size, sources, targets)


def plain_walk(edges: Edges, roots: list[int], stopped: set[int]) -> dict[int, int]:
    """Node → how far it is from the roots."""
    far, waiting = {}, deque((root, 0) for root in roots)
    while waiting:
        node, depth = waiting.popleft()
        for source, target in edges:
            if source == node and target not in far and target not in stopped:
                far[target] = depth + 1
                if target not in roots:
                    waiting.append((target, depth + 1))
    return far


@pytest.mark.parametrize("wide", [0, 3, 10**9], ids=["by numpy", "mixed", "in Python"])
def test_a_walk_reaches_what_a_plain_search_reaches_nearest_first(wide: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "MANY", wide)
    for seed in range(300):
        dice = random.Random(seed)
        size, edges = some_edges(dice)
        roots = dice.sample(range(size), dice.randint(1, min(3, size)))
        stopped = {node for node in range(size) if dice.random() < 0.2}
        found = arrows(size, edges).walk(roots, lambda node, stopped=stopped: node not in stopped)
        far = plain_walk(edges, roots, stopped)
        assert set(found.order) == far.keys(), seed
        assert [far[node] for node in found.order] == sorted(far.values()), seed
        assert all((found.parents[node], node) in edges for node in found.order), seed


@pytest.mark.parametrize("wide", [0, 3, 10**9], ids=["by numpy", "mixed", "in Python"])
def test_layers_are_the_batches_of_the_standard_library(wide: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "WIDE", wide)
    for seed in range(300):
        size, edges = some_edges(random.Random(seed))
        sorter = TopologicalSorter({node: [a for a, b in edges if b == node] for node in range(size)})
        sorter.prepare()
        batches = []
        while sorter.is_active():
            batches.append(sorted(sorter.get_ready()))
            sorter.done(*batches[-1])
        assert arrows(size, edges).layers() == batches, seed
