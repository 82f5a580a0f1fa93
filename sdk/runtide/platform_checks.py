"""What must hold between the instances of a platform file, as lineage will ask it too. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from runtide_schemas.instances import RegisterInstance, UpstreamSpec
from runtide_schemas.vocabulary import (
    FlowKind,
    InstanceType,
    flow_kinds_of,
    is_uuid,
    main_flow_kind,
    run_type_of,
)

from runtide.names import did_you_mean

FlowNode = tuple[str, FlowKind]


@dataclass(frozen=True, slots=True)
class Entry:
    """One instance of the file; `lines` is path → line, `path` its own."""

    command: RegisterInstance
    path: tuple[str | int, ...]
    lines: Mapping[tuple[str | int, ...], int]

    @property
    def kinds(self) -> list[FlowKind]:
        return [flow.kind for flow in self.command.flows or ()]

    def line(self, *within: str | int) -> int:
        path = (*self.path, *within)
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def problems_between(entries: Sequence[Entry], *, name: str) -> tuple[list[str], list[str]]:
    """(problems, warnings), each a sentence that begins with file and line."""
    by_name = {entry.command.name: entry for entry in entries}
    problems = [f"{name}:{line}: {text}" for entry in entries for line, text in _alone(entry)]
    problems += [f"{name}:{line}: {text}" for line, text in _twice(entries)]
    warnings: list[str] = []
    for entry in entries:
        for index, upstream in enumerate(entry.command.upstreams or ()):
            line = entry.line("upstreams", index)
            source = _found(upstream, entries, by_name)
            if source is None and not is_uuid(upstream.instance):
                warnings.append(
                    f"{name}:{line}: {entry.command.name} reads {upstream.instance}, which is not in this file"
                    f"{did_you_mean(upstream.instance, by_name)}"
                )
            problems += [f"{name}:{line}: {text}" for text in _edge(entry, upstream, source)]
    if not problems and (cycle := _cycle(entries, by_name)):
        at = by_name[cycle[0][0]].line("upstreams")
        problems.append(f"{name}:{at}: cycle: {' → '.join(f'{instance}/{kind}' for instance, kind in cycle)}")
    return problems, warnings


def _alone(entry: Entry) -> Iterator[tuple[int, str]]:
    command = entry.command
    assert command.instance_type is not None
    allowed = ", ".join(flow_kinds_of(command.instance_type))
    for index, kind in enumerate(entry.kinds):
        if run_type_of(command.instance_type, kind) is None:
            yield (
                entry.line("flows", index),
                f"a {command.instance_type} has no flow {kind.value!r}; allowed: {allowed}",
            )
        if kind in entry.kinds[:index]:
            yield entry.line("flows", index), f"{command.name} names the flow {kind.value!r} twice"
    frequency = command.update_frequency
    if frequency is not None and frequency.timezone is not None:
        try:
            ZoneInfo(frequency.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            yield entry.line("update_frequency", "timezone"), f"unknown time zone {frequency.timezone!r}"


def _twice(entries: Sequence[Entry]) -> Iterator[tuple[int, str]]:
    seen: dict[str, Entry] = {}
    for entry in entries:
        first = seen.setdefault(entry.command.name, entry)
        if first is not entry:
            yield entry.line("name"), f"the name {entry.command.name!r} is taken by line {first.line('name')}"


def _found(upstream: UpstreamSpec, entries: Sequence[Entry], by_name: Mapping[str, Entry]) -> Entry | None:
    if not is_uuid(upstream.instance):
        return by_name.get(upstream.instance)
    wanted = UUID(upstream.instance)
    return next((entry for entry in entries if entry.command.instance_id == wanted), None)


def _edge(entry: Entry, upstream: UpstreamSpec, source: Entry | None) -> Iterator[str]:
    own = entry.command.name
    for kind in upstream.flows or ():
        if kind not in entry.kinds:
            yield f"the edge to {upstream.instance} names the flow {kind.value!r}; {own} has: {', '.join(entry.kinds)}"
    if source is None:
        return
    if source.command.instance_id is not None and not is_uuid(upstream.instance):
        yield f"{upstream.instance} has an id of its own: name it as {source.command.instance_id}"
    reads = _read_kind(upstream, source)
    if reads not in source.kinds:
        yield f"{source.command.name} has no flow {reads.value!r}; it has: {', '.join(source.kinds)}"
    readers = upstream.flows if upstream.flows is not None else entry.kinds
    if source is entry and (reads in (upstream.flows or ()) or list(readers) == [reads]):
        yield f"{own}/{reads.value} can not read itself"


def _read_kind(upstream: UpstreamSpec, source: Entry) -> FlowKind:
    assert source.command.instance_type is not None
    return upstream.flow_kind or main_flow_kind(source.command.instance_type)


def _cycle(entries: Sequence[Entry], by_name: Mapping[str, Entry]) -> list[FlowNode] | None:
    """The flows of one cycle, the first again at the end, each reading the one before it."""
    reads: dict[FlowNode, set[FlowNode]] = {}
    for entry in entries:
        for upstream in entry.command.upstreams or ():
            source = _found(upstream, entries, by_name)
            if source is None:
                continue
            node = (source.command.name, _read_kind(upstream, source))
            for kind in upstream.flows if upstream.flows is not None else entry.kinds:
                if (entry.command.name, kind) != node:
                    reads.setdefault((entry.command.name, kind), set()).add(node)
        if entry.command.instance_type is InstanceType.MODEL and FlowKind.TRAINING in entry.kinds:
            inference = (entry.command.name, FlowKind.INFERENCE)
            reads.setdefault(inference, set()).add((entry.command.name, FlowKind.TRAINING))
    try:
        TopologicalSorter(reads).prepare()
    except CycleError as error:
        found: list[FlowNode] = error.args[1]
        return found
    return None
