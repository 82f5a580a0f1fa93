"""What a recursive request would do, before it does it: who runs, in which order, who does not and why, what follows.

A plan is a forecast by the same rules that the gate goes by. What it promises (`promises`) is all that must still be
true when it is run; the fact not to break: what is shown and what is promised come from the same nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from runtide_schemas.vocabulary import FlowStatus, OnUpstream

from services.lineage.domain import gate
from services.lineage.domain.graph import FlowKey, batches
from services.lineage.domain.recursive import Coming, can_run, is_coming
from services.lineage.domain.world import World

Promises = Mapping[str, Mapping[str, Any]]


class Action(StrEnum):
    """`wait`: somebody else runs it; `blocked`: nobody can."""

    RUN = "run"
    WAIT = "wait"
    SKIP = "skip"
    BLOCKED = "blocked"

    @property
    def takes_part(self) -> bool:
        """The target waits for a run of it."""
        return self in (Action.RUN, Action.WAIT)


_OPTIONAL = Action.SKIP, "optional", "it is read where there is a version of it, and not waited for"


@dataclass(frozen=True, slots=True)
class Node:
    """A flow of the plan. `reason`: one word; `because`: a sentence; `reads`: what of the plan it waits for."""

    flow: FlowKey
    name: str
    action: Action
    reason: str
    because: str
    status: str
    version_id: UUID | None
    deployment: str | None
    expected_seconds: float | None
    reads: tuple[FlowKey, ...] = ()


@dataclass(frozen=True, slots=True)
class Affected:
    """A flow below what runs: it becomes stale, or refreshes itself. `below`: the nearest flow of the plan."""

    flow: FlowKey
    name: str
    effect: str
    status: str
    below: str


@dataclass(frozen=True, slots=True)
class Plan:
    """`batches`: what takes part, in order; those of one batch run side by side. `aside`: what does not take part.
    `expected_seconds` None: of something that takes part nobody knows how long it takes; `at_least_seconds` without it.
    """

    target: FlowKey
    batches: tuple[tuple[Node, ...], ...]
    aside: tuple[Node, ...]
    affected: tuple[Affected, ...]
    expected_seconds: float | None
    at_least_seconds: float
    critical_path: tuple[str, ...]

    @property
    def nodes(self) -> Iterable[Node]:
        yield from (node for batch in self.batches for node in batch)
        yield from self.aside

    @property
    def is_possible(self) -> bool:
        return not any(node.action is Action.BLOCKED for node in self.aside)


def make(
    world: World,
    target: FlowKey,
    *,
    skip_if_ready: bool,
    others: Coming,
    seconds: Mapping[FlowKey, float] | None = None,
) -> Plan:
    """`others`: what others run or wait to run; `seconds`: how long a run of a flow took, where that is known."""
    nodes: dict[FlowKey, Node] = {}
    flow = world.flow(target)
    done = skip_if_ready and flow is not None and flow.status is FlowStatus.READY
    blocking = {blocked.flow: blocked for blocked in gate.upstream_blockers(world, target)}
    for key in world.graph.sorted(world.graph.above(target)):
        said = _said(world, key, blocking, others, nodes, done=done)
        nodes[key] = _node(world, key, *said, nodes, seconds or {})
    nodes[target] = _node(world, target, *_of_target(world, target, done=done), nodes, seconds or {})
    for key in _read_if_there(world, nodes):
        nodes[key] = _node(world, key, *_OPTIONAL, nodes, seconds or {})
    taking_part = {key: node for key, node in nodes.items() if node.action.takes_part}
    ordered = batches({key: node.reads for key, node in taking_part.items()})
    expected, at_least, path = _critical(ordered, taking_part)
    return Plan(
        target=target,
        batches=tuple(tuple(sorted((nodes[key] for key in batch), key=lambda n: n.name)) for batch in ordered),
        aside=tuple(sorted((n for n in nodes.values() if not n.action.takes_part), key=lambda node: node.name)),
        affected=tuple(_affected(world, taking_part)),
        expected_seconds=expected,
        at_least_seconds=at_least,
        critical_path=tuple(nodes[key].name for key in path),
    )


def promises(plan: Plan) -> dict[str, dict[str, Any]]:
    """What must still be so when the plan is run: node → what is to happen, on what, after what; and what follows."""
    names = {node.flow: node.name for node in plan.nodes}
    said: dict[str, dict[str, Any]] = {
        _id(node.flow): {
            "name": node.name,
            "action": node.action.value,
            "on": node.deployment if node.action is Action.RUN else _kept(node),
            "after": sorted(names[key] for key in node.reads),
        }
        for node in plan.nodes
    }
    for one in plan.affected:  # what is left out may lie below what runs
        said.setdefault(_id(one.flow), {"name": one.name})["effect"] = one.effect
    return said


def changes(before: Promises, now: Promises) -> list[str]:
    """What no longer holds, node by node, in the order of their names; empty: the plan holds."""
    told = []
    for key in sorted({*before, *now}, key=lambda key: str((before.get(key) or now[key])["name"])):
        was, is_now = before.get(key), now.get(key)
        if was != is_now:
            name = (was or is_now or {})["name"]
            told.append(f"{name} was to {_described(was)}, and now would {_described(is_now)}")
    return told


def takes_part(before: Promises, key: FlowKey) -> bool:
    """The plan said that the target waits for a run of this flow."""
    said = before.get(_id(key), {})
    return "action" in said and Action(said["action"]).takes_part


def _said(
    world: World,
    key: FlowKey,
    blocking: Mapping[FlowKey, gate.Blocked],
    others: Coming,
    nodes: Mapping[FlowKey, Node],
    *,
    done: bool,
) -> tuple[Action, str, str]:
    """What happens with a flow above the target, in a word and a sentence."""
    standing = gate.standing(world, key)
    if done:
        return Action.SKIP, "not_needed", "the target is ready already"
    if not can_run(world, key):
        return Action.BLOCKED, standing.status.value, standing.reason
    flow = world.flow(key)
    assert flow is not None
    if key in blocking:
        if not is_coming(world, key, others):
            return Action.RUN, standing.status.value, standing.reason
        if flow.open_run_id is not None:
            return Action.WAIT, "running", f"run {flow.open_run_id} is open already"
        how = others[key]
        return Action.WAIT, how, "a run of it begins already" if how == "running" else "a request for it waits already"
    first = [nodes[e.upstream].name for e in world.graph.into(key) if e.propagates and _runs(nodes, e.upstream)]
    if first:
        return Action.RUN, "follows", f"{', '.join(first)} runs before it, and may change what it reads"
    if flow.status is not FlowStatus.READY:
        return Action.SKIP, "excused", f"it is {flow.status}, and nothing that reads it waits for that"
    return Action.SKIP, "ready", "it is ready"


def _read_if_there(world: World, nodes: Mapping[FlowKey, Node]) -> list[FlowKey]:
    """The flows that the nodes read by optional edges alone."""
    optional = (edge.upstream for key in nodes for edge in world.graph.into(key) if edge.optional)
    return [key for key in dict.fromkeys(optional) if key not in nodes]


def _of_target(world: World, target: FlowKey, *, done: bool) -> tuple[Action, str, str]:
    flow = world.flow(target)
    assert flow is not None
    if done:
        return Action.SKIP, "ready", "it is ready already"
    busy = gate.busy_blocker(world, target, flow)
    return Action.RUN, "target", f"it waits: {busy[0].reason}" if busy else "it was asked for"


def _node(
    world: World,
    key: FlowKey,
    action: Action,
    reason: str,
    because: str,
    nodes: Mapping[FlowKey, Node],
    seconds: Mapping[FlowKey, float],
) -> Node:
    flow = world.flow(key)
    reads = {edge.upstream for edge in world.graph.into(key) if edge.gates and _runs(nodes, edge.upstream)}
    return Node(
        flow=key,
        name=world.name_of(key),
        action=action,
        reason=reason,
        because=because,
        status=gate.standing(world, key).status.value,
        version_id=flow.version.version_id if flow and flow.version else None,
        deployment=flow.deployment if flow else None,
        expected_seconds=seconds.get(key),
        reads=tuple(sorted(reads, key=world.name_of)) if action.takes_part else (),
    )


def _runs(nodes: Mapping[FlowKey, Node], key: FlowKey) -> bool:
    return key in nodes and nodes[key].action.takes_part


def _critical(
    ordered: list[list[FlowKey]], nodes: Mapping[FlowKey, Node]
) -> tuple[float | None, float, tuple[FlowKey, ...]]:
    """How long it takes (None where something is not known), how long at least, and the path that decides it."""
    ends: dict[FlowKey, float] = {}
    before: dict[FlowKey, FlowKey] = {}
    for key in (key for batch in ordered for key in batch):
        slowest = max(nodes[key].reads, key=lambda read: ends[read], default=None)
        if slowest is not None:
            before[key] = slowest
        ends[key] = (nodes[key].expected_seconds or 0.0) + (ends[slowest] if slowest is not None else 0.0)
    if not ends:
        return 0.0, 0.0, ()
    path = [max(ends, key=lambda key: ends[key])]
    while path[-1] in before:
        path.append(before[path[-1]])
    known = all(node.expected_seconds is not None for node in nodes.values())
    at_least = max(ends.values())
    return (at_least if known else None), at_least, tuple(reversed(path))


def _affected(world: World, taking_part: Mapping[FlowKey, Node]) -> Iterable[Affected]:
    reach = world.graph.below([key for key, node in taking_part.items()])
    for key in sorted(reach.parents, key=world.name_of):
        flow = world.flow(key)
        if key in taking_part or flow is None or not can_run(world, key):
            continue
        effect = "refresh" if flow.on_upstream is OnUpstream.REFRESH else "stale"
        yield Affected(key, world.name_of(key), effect, flow.status.value, world.name_of(reach.path_to(key)[0]))


def _kept(node: Node) -> str | None:
    """What the plan relies on of a flow that it does not run: its version, where it is ready."""
    is_ready = node.action is Action.SKIP and node.reason in ("ready", "not_needed")
    return str(node.version_id) if is_ready and node.version_id else None


def _described(said: Mapping[str, Any] | None) -> str:
    if said is None:
        return "have no part in it"
    effect = {"refresh": "refresh itself", "stale": "become stale"}.get(said.get("effect", ""), "")
    if "action" not in said:
        return effect
    return " and ".join(filter(None, (_done(said), effect)))


def _done(said: Mapping[str, Any]) -> str:
    after = f" after {', '.join(said['after'])}" if said["after"] else ""
    match Action(said["action"]):
        case Action.RUN:
            return f"run {said['on']}{after}"
        case Action.WAIT:
            return f"be waited for, as it runs already{after}"
        case Action.SKIP:
            return f"be left as it is{' with version ' + said['on'] if said['on'] else ''}"
        case Action.BLOCKED:
            return "stand in the way"


def _id(key: FlowKey) -> str:
    return f"{key.instance_id}/{key.kind}"
