"""The graph around an instance as two trees: what it reads, and who reads it. What was shown is not shown again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.text import Text

from runtide.cli.output import STYLES, cell
from runtide.cli.session import rows_of


class Tree:
    """Of the answer of `/v1/lineage`; siblings are in the order that it gives."""

    def __init__(self, body: dict[str, Any]) -> None:
        self._nodes = {str(node["id"]): node for node in rows_of(body, "nodes")}
        self._center = str(body["center_id"])
        self._sources: dict[str, list[str]] = {}
        self._targets: dict[str, list[str]] = {}
        for edge in rows_of(body, "edges"):
            source, target = str(edge["source"]), str(edge["target"])
            _add(self._sources, target, source)
            _add(self._targets, source, target)

    def lines(self) -> Iterator[Text]:
        yield self._said(self._center)
        shown = {self._center}
        for title, neighbours in (("reads", self._sources), ("is read by", self._targets)):
            if neighbours.get(self._center):
                yield Text(title, style="dim")
                yield from self._below(self._center, neighbours, "", shown)
        if len(self._nodes) == 1:
            yield Text("nothing is connected to it", style="dim")

    def _below(self, node: str, neighbours: Mapping[str, list[str]], indent: str, shown: set[str]) -> Iterator[Text]:
        children = sorted(neighbours.get(node, ()), key=self._place)
        for child in children:
            last = child is children[-1]
            again = child in shown
            shown.add(child)
            branch = "└── " if last else "├── "
            yield Text.assemble((indent + branch, "dim"), self._said(child), (" (see above)" if again else "", "dim"))
            if not again:
                yield from self._below(child, neighbours, indent + ("    " if last else "│   "), shown)

    def _place(self, node: str) -> tuple[int, int]:
        known = self._nodes[node]
        return known.get("layer", 0), known.get("order", 0)

    def _said(self, node: str) -> Text:
        known = self._nodes[node]
        status = cell(known.get("status"))
        return Text.assemble(
            (cell(known.get("name")), "bold"), " ", (status, STYLES.get(status, "")),
            (f" {known.get('type') or 'not registered'}", "dim"),
        )  # fmt: skip


def _add(found: dict[str, list[str]], key: str, value: str) -> None:
    """Once, also where several kinds of edges connect the two."""
    if value not in found.setdefault(key, []):
        found[key].append(value)
