from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest
from runtide_schemas.vocabulary import Basis, Mode, RunStatus, Trigger, version_id_of

from services.lineage.domain import endings
from services.lineage.domain.endings import BEGINNING, Completion, Past, Run, Seen, chained
from services.lineage.domain.world import Read
from tests.unit.lineage.worlds import REFRESH, TENANT, at, id_of, key, run, version, world


def completion(number: int, digest: str | None, **fields: object) -> Completion:
    version_id = version_id_of(run(number), 1)
    return Completion(version_id, run(number), 1, at(number - 0.5), at(number), digest, **fields)  # type: ignore[arg-type]


def seen(status: RunStatus, seq: int, attempt: int = 1, **fields: object) -> Seen:
    given = {"mode": Mode.INCREMENTAL, "trigger": Trigger.MANUAL, "at": at(seq), **fields}
    if status.is_terminal:
        given.setdefault("ended_at", at(seq))
    return Seen(run(1), TENANT, id_of("a"), REFRESH, seq, status, attempt=attempt, **given)  # type: ignore[arg-type]


def folded(*snapshots: Seen) -> Run:
    state: Run | None = None
    for snapshot in snapshots:
        state = endings.after(state, snapshot) or state
    assert state is not None
    return state


@pytest.mark.parametrize(
    ("digests", "versions"),
    [
        (["x"], [1]),
        (["x", "y"], [1, 2]),
        (["x", "x"], [1, 1]),
        (["x", "x", "x", "y", "y"], [1, 1, 1, 4, 4]),
        (["x", "y", "x"], [1, 2, 3]),  # back to an old output is a change
        ([None, None], [1, 2]),  # unknown is changed
        (["x", None, "x"], [1, 2, 3]),
    ],
)
def test_an_unchanged_digest_confirms_the_version_before_it(digests: list[str | None], versions: list[int]) -> None:
    past = Past(tuple(completion(number, digest) for number, digest in enumerate(digests, start=1)))
    assert [one.version_id for one in chained(past)] == [version_id_of(run(number), 1) for number in versions]


def test_a_seal_that_came_late_keeps_the_version_that_was_minted_without_it() -> None:
    past = Past((completion(1, "x"), completion(2, "x", sealed_late=True)))
    assert chained(past)[-1].version_id == version_id_of(run(2), 1)


def test_what_ended_before_the_change_keeps_its_answer() -> None:
    before = completion(2, "x", confirms=version_id_of(run(1), 1))
    past = Past((before, completion(3, "x")), changed_from=at(3))
    assert [one.version_id for one in chained(past)] == [version_id_of(run(1), 1)] * 2


def test_a_version_confirmed_by_one_that_was_withdrawn_stands_alone() -> None:
    past = Past((completion(2, "x", confirms=version_id_of(run(1), 1)),), changed_from=BEGINNING)
    assert chained(past)[0].version_id == version_id_of(run(2), 1)


def test_the_current_version_has_the_inputs_of_the_run_that_confirmed_it() -> None:
    read = Read("prices", key("prices"), version(9).version_id, None, Basis.ADMITTED)
    chain = chained(Past((completion(1, "x"), completion(2, "x", reads=(read,)))))
    flow = world("prices -> a").flow(key("a"))
    assert flow is not None
    settled = endings.settled(flow, Past(), chain)
    assert settled.version is not None
    assert settled.version.version_id == version_id_of(run(1), 1)
    assert settled.version.verified_at == at(2)
    assert settled.version.reads == (read,)


@pytest.mark.parametrize(
    ("snapshots", "status", "end"),
    [
        ([seen(RunStatus.RUNNING, 1)], "running", None),
        ([seen(RunStatus.RUNNING, 1), seen(RunStatus.COMPLETED, 2)], "completed", "completed"),
        # corrected: the newer end wins
        ([seen(RunStatus.CANCELLED, 1), seen(RunStatus.COMPLETED, 2)], "completed", "completed"),
        ([seen(RunStatus.COMPLETED, 1), seen(RunStatus.FAILED, 2)], "failed", "failed"),
        # reopened: its last end stands until the next one
        ([seen(RunStatus.COMPLETED, 1), seen(RunStatus.RUNNING, 2, attempt=2)], "running", "completed"),
        ([seen(RunStatus.FAILED, 1), seen(RunStatus.RUNNING, 2, 2), seen(RunStatus.COMPLETED, 3, 2)],
         "completed", "completed"),
        # late and repeated ones change nothing
        ([seen(RunStatus.COMPLETED, 2), seen(RunStatus.RUNNING, 1)], "completed", "completed"),
        ([seen(RunStatus.COMPLETED, 2), seen(RunStatus.FAILED, 2)], "completed", "completed"),
    ],
)  # fmt: skip
def test_a_runs_snapshots_fold_by_seq(snapshots: list[Seen], status: str, end: str | None) -> None:
    state = folded(*snapshots)
    assert (state.status, state.end_status) == (status, end)


@pytest.mark.parametrize(
    ("snapshot", "decides"),
    [
        (seen(RunStatus.COMPLETED, 1), True),
        (seen(RunStatus.FAILED, 1), True),
        (seen(RunStatus.CANCELLED, 1), False),
        (seen(RunStatus.RUNNING, 1), False),
        (seen(RunStatus.FAILED, 1, trigger=Trigger.BACKFILL), False),
        (seen(RunStatus.COMPLETED, 1, trigger=Trigger.BACKFILL), False),
        (seen(RunStatus.COMPLETED, 1, mode=Mode.PREVIEW), False),
        (seen(RunStatus.FAILED, 1, mode=Mode.PREVIEW), False),
    ],
)
def test_a_preview_a_cancel_and_a_backfill_say_nothing_about_freshness(snapshot: Seen, decides: bool) -> None:
    assert folded(snapshot).decides is decides


def test_a_preview_mints_nothing() -> None:
    assert not seen(RunStatus.COMPLETED, 1, mode=Mode.PREVIEW).mints
    assert seen(RunStatus.COMPLETED, 1).mints


@pytest.mark.parametrize(
    ("before", "after", "completes"),
    [
        (None, seen(RunStatus.COMPLETED, 1), True),
        (seen(RunStatus.RUNNING, 1), seen(RunStatus.COMPLETED, 2), True),
        (seen(RunStatus.COMPLETED, 1), seen(RunStatus.COMPLETED, 2), False),  # a late seal says more of the same
        (seen(RunStatus.FAILED, 1), seen(RunStatus.COMPLETED, 2), True),
        (seen(RunStatus.COMPLETED, 1), seen(RunStatus.COMPLETED, 2, attempt=2), True),
        (seen(RunStatus.RUNNING, 1), seen(RunStatus.FAILED, 2), False),
    ],
)
def test_a_completion_is_told_once_per_attempt(before: Seen | None, after: Seen, completes: bool) -> None:
    was = folded(before) if before else None
    now = endings.after(was, after)
    assert now is not None
    assert endings.completes(was, now) is completes


EDGES = world("prices -> a", "rates -> a").graph.into(key("a"))


def _read(role: str, name: str, version_id: UUID | None) -> Read:
    return Read(role, key(name), version_id, None, Basis.REPORTED)


@pytest.mark.parametrize(
    ("inputs", "assumed", "read"),
    [
        ((_read("prices", "prices", run(1)), _read("rates", "rates", run(2))), {}, {"prices": 1, "rates": 2}),
        ((_read("px", "prices", run(1)),), {}, {"prices": 1}),  # another role, the same flow
        ((_read("prices", "nobody", run(1)),), {}, {"prices": 1}),  # the same role
        ((), {key("rates"): run(7)}, {"rates": 7}),
        ((_read("rates", "rates", None),), {key("rates"): run(7)}, {"rates": 7}),
    ],
)
def test_what_a_run_read_is_what_it_says_else_what_is_assumed(
    inputs: tuple[Read, ...], assumed: dict[object, UUID], read: dict[str, int]
) -> None:
    reads = endings.reads_of(seen(RunStatus.COMPLETED, 1, inputs=inputs), EDGES, assumed)  # type: ignore[arg-type]
    by_flow = {one.upstream: one.version_id for one in reads if one.version_id}
    assert {name: by_flow.get(key(name)) for name in read} == {name: run(number) for name, number in read.items()}


def test_only_runs_that_nobody_requested_have_their_inputs_assumed() -> None:
    scheduled = seen(RunStatus.COMPLETED, 1, trigger=Trigger.SCHEDULED, started_at=at(0))
    assert set(endings.unsaid(scheduled, EDGES)) == {key("prices"), key("rates")}
    assert endings.unsaid(replace(scheduled, trigger=Trigger.MANUAL), EDGES) == ()
    assert endings.unsaid(replace(scheduled, started_at=None), EDGES) == ()


@pytest.mark.parametrize(
    ("said", "known"),
    [
        ([None, None], [(None, 0), (None, 0)]),
        (["s1", "s1"], [("s1", 0), ("s1", 0)]),
        ([None, "s1", "s2", "s2"], [(None, 0), ("s1", 0), ("s2", 3), ("s2", 3)]),
        (["s1", None, "s1", "s1"], [("s1", 0), (None, 2), ("s1", 2), ("s1", 2)]),  # silence is a change, speech none
        (["s1", "s2", "s1"], [("s1", 0), ("s2", 2), ("s1", 3)]),
    ],
)
def test_since_when_the_columns_are_what_they_are(said: list[str | None], known: list[tuple[str | None, int]]) -> None:
    past = Past(tuple(completion(number, f"d{number}", schema_digest=one) for number, one in enumerate(said, start=1)))
    sinces = [version_id_of(run(number), 1) if number else None for _, number in known]
    assert [(one.schema_digest, one.schema_since) for one in chained(past)] == [
        (digest, since) for (digest, _), since in zip(known, sinces, strict=True)
    ]


def test_unchanged_content_has_the_columns_that_it_had() -> None:
    past = Past((completion(1, "x", schema_digest="s1"), completion(2, "x"), completion(3, None, schema_digest="s1")))
    assert [(one.schema_digest, one.schema_since) for one in chained(past)] == [("s1", None)] * 3
