"""A graph as arrays, so that a walk over a million edges costs milliseconds: nodes are numbers from 0.

What is narrow is walked in Python, what is wide by numpy: a long tail costs as little as a dense middle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Nodes = NDArray[np.intp]
Flags = NDArray[np.bool_]
MANY = 50  # edges of a node, and
WIDE = 2_000  # of a layer, from which numpy is faster


@dataclass(frozen=True, slots=True)
class Reached:
    """`order`: the nodes reached, nearest first. `parents`: each of them → the one before it."""

    order: list[int]
    parents: Mapping[int, int]


class Arrows:
    """Edges in one direction, node → those that it leads to: `targets[starts[n]:starts[n + 1]]`."""

    def __init__(self, size: int, sources: Nodes, targets: Nodes) -> None:
        order = np.argsort(sources, kind="stable")
        self.size = size
        self.targets = targets[order]
        self.starts: Nodes = np.zeros(size + 1, dtype=np.intp)
        np.cumsum(np.bincount(sources, minlength=size), out=self.starts[1:])
        self._rows: list[tuple[int, ...] | Nodes | None] = [None] * size

    def below(self, node: int) -> Nodes:
        """Those that one node leads to."""
        return self.targets[self.starts[node] : self.starts[node + 1]]

    def walk(self, roots: Iterable[int], passes: Callable[[int], bool] | None = None) -> Reached:
        """Everything that the roots lead to, each visited once; not what does not pass, nor what only that leads to. A
        root is reached only if it lies below another one.
        """
        parents: dict[int, int] = {}
        seen = bytearray(self.size)
        flags: Flags = np.frombuffer(seen, dtype=np.bool_)
        layer = list(dict.fromkeys(roots))
        is_root = frozenset(layer)
        order: list[int] = []
        while layer:
            reached: list[int] = []
            for node in layer:
                row = self._rows[node]
                if row is None:
                    row = self._row(node)
                if type(row) is tuple:
                    for target in row:
                        if not seen[target]:
                            seen[target] = True
                            parents[target] = node
                            reached.append(target)
                elif b"\0" in flags[row].tobytes():
                    wide = np.unique(row[~flags[row]])
                    flags[wide] = True
                    new = wide.tolist()
                    parents |= dict.fromkeys(new, node)
                    reached += new
            if passes is not None:
                reached = list(filter(passes, reached))
            reached.sort()
            order += reached
            layer = [node for node in reached if node not in is_root]
        return Reached(order, parents)

    def _row(self, node: int) -> tuple[int, ...] | Nodes:
        """What a node leads to, kept for the next walk: few as numbers, many as an array."""
        targets = self.targets[self.starts[node] : self.starts[node + 1]]
        row = self._rows[node] = targets if len(targets) >= MANY else tuple(targets.tolist())
        return row

    def _edges_of(self, layer: Nodes) -> tuple[Nodes, Nodes]:
        counts = self.starts[layer + 1] - self.starts[layer]
        ends = np.cumsum(counts)
        places = np.arange(ends[-1]) + np.repeat(self.starts[layer] - (ends - counts), counts)
        return np.repeat(layer, counts), self.targets[places]

    def layers(self) -> list[list[int]]:
        """Kahn: batches of nodes, each led to only by earlier ones. Nodes of a cycle are in none."""
        waits_for = np.bincount(self.targets, minlength=self.size)
        layer: list[int] = np.flatnonzero(waits_for == 0).tolist()
        found = []
        while layer:
            found.append(layer)
            edges = int((self.starts[[node + 1 for node in layer]] - self.starts[layer]).sum())
            layer = self._freed_narrow(layer, waits_for) if edges < WIDE else self._freed_wide(layer, waits_for)
        return found

    def _freed_narrow(self, layer: Sequence[int], waits_for: Nodes) -> list[int]:
        freed = []
        for node in layer:
            for target in self.targets[self.starts[node] : self.starts[node + 1]].tolist():
                waits_for[target] -= 1
                if waits_for[target] == 0:
                    freed.append(target)
        return sorted(freed)

    def _freed_wide(self, layer: Sequence[int], waits_for: Nodes) -> list[int]:
        _, targets = self._edges_of(np.asarray(layer, dtype=np.intp))
        counts = np.bincount(targets, minlength=self.size)
        waits_for -= counts
        freed: list[int] = np.flatnonzero((counts > 0) & (waits_for == 0)).tolist()
        return freed
