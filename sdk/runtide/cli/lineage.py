"""`runtide lineage`, `plan` and `why`: who reads whom, what a run would do, and why something is as it is."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import typer

from runtide.cli.output import Output, moment
from runtide.cli.restatements import show_repair
from runtide.cli.session import INSTANT, Exit, Json, rows_of, unknown, with_client
from runtide.cli.tree import Tree
from runtide.client import Runtide
from runtide.errors import NotFound

Instance = Annotated[str, typer.Argument(help="Name or id of the instance.")]
Flow = Annotated[str | None, typer.Argument(help="Which flow, where the instance has several: training, …")]


class Direction(StrEnum):
    UPSTREAM = "upstream"
    DOWNSTREAM = "downstream"
    BOTH = "both"


def lineage(
    instance: Instance,
    direction: Annotated[Direction, typer.Option(help="Which way to look.")] = Direction.BOTH,
    depth: Annotated[int, typer.Option(min=1, max=50, help="How many edges away.")] = 1,
    as_json: Json = False,
) -> None:
    """What an instance reads, and who reads it, as a tree."""
    out = Output(as_json=as_json)

    async def command(client: Runtide) -> Exit | None:
        body = await known(client, instance, client.lineage(instance, direction=direction, max_depth=depth))
        if as_json:
            out.json(body)
            return None
        for line in Tree(body).lines():
            out.line(line)
        return None

    with_client(out, command)


def plan(
    instance: Annotated[str | None, typer.Argument(help="Name or id of the instance.")] = None,
    flow: Flow = None,
    smart: Annotated[bool, typer.Option("--smart", help="Plan to do nothing if it is ready already.")] = False,
    repair: Annotated[
        str | None, typer.Option(metavar="ID", help="Instead: the re-runs that repair a restatement, in order.")
    ] = None,
    history: Annotated[bool, typer.Option("--history", help="With --repair: also what is no longer current.")] = False,
    as_json: Json = False,
) -> None:
    """What `submit --gate recursive` would do: who runs in which order, who does not and why, and what follows.
    Nothing is started.
    """
    out = Output(as_json=as_json)
    if (instance is None) == (repair is None):
        raise typer.BadParameter("name an instance, or a restatement with --repair ID")

    async def command(client: Runtide) -> Exit | None:
        if repair is not None:
            body = await client.plan_repair(repair, history=history)
            if as_json:
                out.json(body)
            else:
                show_repair(out, body)
            return None
        assert instance is not None
        body = await known(client, instance, client.plan(instance, flow, skip_if_ready=smart))
        if as_json:
            out.json(body)
        else:
            _show_plan(out, body)
        return Exit.OK if body.get("is_possible", True) else Exit.REFUSED

    with_client(out, command)


def why(
    instance: Instance,
    flow: Flow = None,
    at: Annotated[
        datetime | None,
        typer.Option(formats=INSTANT, help="As it was then (UTC)."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Why an instance is what it is: each step from the root cause to it, with the message by which it came."""
    out = Output(as_json=as_json)

    async def command(client: Runtide) -> Exit | None:
        then = at.replace(tzinfo=UTC) if at else None
        body = await known(client, instance, client.why(instance, at=then, flow_kind=flow))
        if as_json:
            out.json(body)
            return None
        for line in explained(body):
            out.line(line)
        return None

    with_client(out, command)


async def known(client: Runtide, instance: str, asked: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    """The answer; near names where there is no such instance."""
    try:
        return await asked
    except NotFound as error:
        raise await unknown(client, instance, error) from None


def _show_plan(out: Output, body: dict[str, Any]) -> None:
    batches = body.get("batches") or []
    aside, affected = rows_of(body, "aside"), rows_of(body, "blast_radius")
    rows = [(number, *_planned(node)) for number, batch in enumerate(batches, start=1) for node in batch]
    rows += [("-", *_planned(node)) for node in aside]
    out.table(("batch", "flow", "action", "why", "expected"), rows, empty="nothing to do")
    runs, batched = body.get("runs", 0), len(batches)
    out.line(f"{runs} {_s('run', runs)} in {batched} {_s('batch', batched, 'es')}, {_duration(body)}")
    for effect, said in (("refresh", "refreshes itself below them"), ("stale", "becomes stale below them")):
        names = [str(one.get("name")) for one in affected if one.get("effect") == effect]
        if names:
            out.line(f"{said}: {', '.join(names)}")
    if not body.get("is_possible", True):
        out.line("it can not be run so: what is blocked stands in the way")
        return
    out.line(f"run it with: runtide submit --plan {body.get('plan_id')}")


def _planned(node: dict[str, Any]) -> tuple[object, ...]:
    seconds = node.get("expected_seconds")
    reason = f"{node.get('reason')}: {node.get('because')}"
    return node.get("name"), node.get("action"), reason, None if seconds is None else f"{seconds:.0f} s"


def _duration(body: dict[str, Any]) -> str:
    if body.get("expected_seconds") is not None:
        path = body.get("critical_path") or []
        return f"about {body['expected_seconds']:.0f} s{' along ' + ' → '.join(path) if path else ''}"
    return f"at least {body.get('at_least_seconds', 0):.0f} s; not every flow has run yet"


def _s(word: str, count: int, plural: str = "s") -> str:
    return word if count == 1 else word + plural


def explained(body: dict[str, Any]) -> Iterator[str]:
    """What `Runtide.why` answers, line by line: the sentence, the chain, the version, and what is under way."""
    yield str(body.get("sentence"))
    for link in rows_of(body, "chain"):
        rule = f" (rule {link['rule']})" if link.get("rule") else ""
        source = f" [{link['message_id']}]" if link.get("message_id") else ""
        yield f"  {moment(link.get('at'))} {link.get('sentence')}{rule}{source}"
    version, run = body.get("version") or {}, body.get("run") or {}
    if version:
        verified = f", confirmed {moment(version['verified_at'])}" if version.get("verified_at") else ""
        made = f"made by run {version.get('run_id')} at {moment(version.get('made_at'))}"
        yield f"version {version.get('version_id')}, {made}{verified}"
    if run:
        whose = run.get("parent_actor") or run.get("actor") or "nobody here"
        yield f"run {run.get('run_id')} is open ({run.get('trigger')}), asked for by {whose}"
    for request in rows_of(body, "requests"):
        blockers = ", ".join(f"{one.get('name')} ({one.get('status')})" for one in rows_of(request, "blockers"))
        yield f"request {request.get('run_id')} of {request.get('actor')} waits for {blockers}"
