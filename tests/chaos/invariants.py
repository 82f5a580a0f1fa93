"""The invariants I1–I10, each worked out from what lies in Kafka, PostgreSQL and Prefect after quiet.

A check answers with what contradicts it, in words; nothing means that it holds. They only read.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from runtide_schemas.vocabulary import RequestStatus

from shared.messaging.dead_letters import record_of
from tests.chaos.watcher import Said
from tests.support.history import History, Outcome, digest_of

Found = list[str]
Row = Mapping[str, Any]
RUN_ENDS = {"COMPLETED": "completed", "FAILED": "failed", "CRASHED": "failed", "CANCELLED": "cancelled"}
_SHOWN = 5


def answered(history: History, requests: Sequence[Row], instances: Iterable[str]) -> Found:
    """I1: each acknowledged command has its request, which ended, was launched, or says what it waits for."""
    by_run = defaultdict(list)
    for row in requests:
        by_run[str(row["run_id"])].append(row)
    found = [
        f"{one.kind} {one.run_id} was acknowledged at {one.at} and has {len(by_run[one.run_id])} requests"
        for one in history.of("submit", "conflict", "cancel", "http", outcome=Outcome.ACKNOWLEDGED)
        if one.run_id is not None and len(by_run[one.run_id]) != 1
    ]
    registered = sum(1 for _ in history.of("register", outcome=Outcome.ACKNOWLEDGED))
    if len(list(instances)) < registered:
        found.append(f"{registered} instances were registered, and {len(list(instances))} are known")
    for row in requests:
        status = RequestStatus(row["status"])
        parked = status is RequestStatus.PARKED and bool(row["blockers"])
        if not (status.is_end or status is RequestStatus.LAUNCHED or parked):
            found.append(f"request {row['run_id']} is {status} for ever, blockers {row['blockers']}")
    return found


def launched_once(flow_runs: Sequence[Row], requests: Sequence[Row]) -> Found:
    """I2: a run has at most one flow run in Prefect, and it is the one that its request names."""
    of_run = defaultdict(list)
    for flow_run in flow_runs:
        for tag in flow_run["tags"]:
            if tag.startswith("run:"):
                of_run[tag.removeprefix("run:")].append(flow_run["id"])
    found = [f"run {run_id} has {len(ids)} flow runs: {ids}" for run_id, ids in of_run.items() if len(ids) > 1]
    named = {str(row["run_id"]): row["orchestrator_run_id"] for row in requests}
    for run_id, [flow_run_id, *_] in of_run.items():
        if str(named.get(run_id)) != flow_run_id:
            found.append(f"run {run_id} has flow run {flow_run_id}, and its request names {named.get(run_id)}")
    return found


def said_in_order(outboxes: Mapping[str, int], topics: Mapping[str, Sequence[Any]]) -> Found:
    """I3: nothing is left to be sent; each key's messages lie in Kafka in the order of their seq, at first sight."""
    found = [f"the outbox of {service} holds {rows} rows" for service, rows in outboxes.items() if rows]
    for topic, records in topics.items():
        newest: dict[tuple[str, str], int] = {}
        seen = set[tuple[str, str, int]]()
        for record in records:
            said = json.loads(record.value)
            about = said.get("run_id") or said["instance_id"]
            key, seq = (said["tenant"], about), said["seq"]
            if (*key, seq) in seen:
                continue
            seen.add((*key, seq))
            if seq < newest.get(key, 0):
                found.append(f"{topic}: {about} says seq {seq} after {newest[key]}")
            newest[key] = max(seq, newest.get(key, 0))
    return found


def numbered(streams: Mapping[str, Sequence[Any]]) -> Found:
    """I4: of each request, run and instance every seq from 1 on is there, and each says one thing only."""
    found: Found = []
    for what, records in streams.items():
        said = defaultdict[tuple[str, str], dict[int, set[bytes]]](lambda: defaultdict(set))
        for record in records:
            message = json.loads(record.value)
            about = message.get("run_id") or message["instance_id"]
            said[message["tenant"], about][message["seq"]].add(record.value)
        for (_, about), seqs in said.items():
            if sorted(seqs) != list(range(1, len(seqs) + 1)):
                missing = sorted(set(range(1, max(seqs) + 1)) - seqs.keys())
                found.append(f"{what} {about} has no seq {missing[:_SHOWN]} of {max(seqs)}")
            found += [f"{what} {about} says two things as seq {n}" for n, words in seqs.items() if len(words) > 1]
    return found


def true_to_prefect(runs: Sequence[Row], flow_runs: Sequence[Row], deleted: set[str]) -> Found:
    """I5: where Prefect is at an end, so are we, at the same; what was taken from it has an end too."""
    states = {flow_run["id"]: flow_run["state_type"] for flow_run in flow_runs}
    found = []
    for run in runs:
        flow_run_id = str(run["orchestrator_run_id"])
        if flow_run_id == "None":
            continue
        state = states.get(flow_run_id)
        ours = f"{run['status']}/{run['sub_state']}"
        if state is None:
            if flow_run_id not in deleted or run["status"] not in RUN_ENDS.values():
                found.append(f"run {run['run_id']} is {ours}, and Prefect does not know {flow_run_id}")
        elif RUN_ENDS.get(state) != run["status"]:
            found.append(f"run {run['run_id']} is {ours}, and Prefect says {state}")
    return found


def set_aside(history: History, letters: Sequence[Row]) -> Found:
    """I6: the dead letters are the poison, byte for byte: all that was acknowledged, and nothing that was not sent."""
    stored = {f"{row['topic']}:{row['partition']}:{row['offset']}": row for row in letters}
    poison = list(history.of("poison"))
    found = [
        f"poison at {one.at} is no dead letter"
        for one in poison
        if one.outcome is Outcome.ACKNOWLEDGED and one.at not in stored
    ]
    if len(stored) != len(letters):
        found.append(f"{len(letters)} dead letters stand at {len(stored)} positions")
    sent = {one.at: one.digest for one in poison if one.at is not None}
    unknown = {one.digest for one in poison if one.at is None}
    for at, row in stored.items():
        record = record_of(row)  # type: ignore[arg-type]
        digest = digest_of(record.value, record.key, record.headers)
        if digest != sent.get(at, digest if digest in unknown else None):
            found.append(f"dead letter at {at} is not what was sent there: {row['reason']}")
    return found


def recomputed(answer: Mapping[str, Any]) -> Found:
    """I7: lineage's answers are those that its runs give from scratch."""
    return [
        f"{one['flow']}: {one['field']} is {one['stored']}, not {one['recomputed']}" for one in answer["deviations"]
    ]


def seen_live(seen: Mapping[str, Said], stored: Mapping[str, Said], foreign: Iterable[str]) -> Found:
    """I8: the last value of each entity at a client that was there all the time is the database's."""
    found = [f"a client of another tenant was told of {one}" for one in foreign]
    for entity, (seq, shown) in stored.items():
        at_client = seen.get(entity)
        if at_client is None or at_client[1] != shown:  # a run's seq also counts its progress, which no feed carries
            found.append(f"{entity} is {at_client} at the client, and {(seq, shown)} in the database")
    return found


def unmoved(before: Mapping[str, Any], after: Mapping[str, Any]) -> Found:
    """I9: what was read again from the beginning changed no table, and sent nothing."""
    return [
        f"{what} changed when all was read again: {_difference(before[what], after.get(what))}"
        for what in before
        if before[what] != after.get(what)
    ]


def caught_up(seconds: Mapping[str, float | None], most: float) -> Found:
    """I10: what lay in Kafka when a fault ended had been read soon after."""
    return [
        f"after {fault}: {'not' if took is None else f'only after {took:.0f} s'} at the end, allowed are {most:g} s"
        for fault, took in seconds.items()
        if took is None or took > most
    ]


def _difference(before: Any, after: Any) -> str:
    if isinstance(before, set) and isinstance(after, set):
        return (
            f"{len(before - after)} rows gone {_few(before - after)}, {len(after - before)} new {_few(after - before)}"
        )
    return f"{before} → {after}"


def _few(rows: Iterable[Any]) -> str:
    return ", ".join(str(row)[:400] for row in list(rows)[:2])
