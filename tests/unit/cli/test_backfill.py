"""`runtide backfill`: what is sent, what is shown, and the exit codes that scripts rely on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from runtide_schemas.backfills import Backfill, Progress
from runtide_schemas.commands import SubmitRun
from runtide_schemas.message import Message
from runtide_schemas.vocabulary import Code, run_id_of

from tests.unit.cli.conftest import Cli
from tests.unit.sdk.stories import request

RANGE = ("--from", "2024-01-02", "--until", "2024-01-08")


def progress(**numbers: Any) -> Progress:
    return Progress(total=5, **numbers)


def story(command: Message, *ends: dict[str, Any]) -> list[Message]:
    """What a backfill leads to: it is asked for, gets half way, and ends."""
    if not isinstance(command, SubmitRun):
        return []
    run_id = run_id_of(command.tenant, str(command.command_id))
    asked = {"command_id": command.command_id, "instance_name": command.instance, "backfill": command.backfill}
    half = {"progress": progress(done=2, open=2), "message": "2 of 5 done, 2 open"}
    return [
        request("requested", 1, run_id, **asked),
        request("parked", 2, run_id, **asked, **half),
        *(request(end.pop("status"), 3 + n, run_id, **asked, **end) for n, end in enumerate(map(dict, ends))),
    ]


FINISHED = {"status": "finished", "progress": progress(done=5), "message": "5 of 5 done"}
FAILED = {"status": "failed", "progress": progress(done=4, failed=1), "code": Code.BACKFILL_INCOMPLETE,
          "message": "4 of 5 done, 1 failed (2024-01-04)"}  # fmt: skip
CANCELLED = {"status": "cancelled", "progress": progress(done=2, open=2), "message": "cancelled: wrong universe"}


def test_it_sends_the_range_and_says_how_to_follow(cli: Cli) -> None:
    cli.log.answers = story
    result = cli(
        "backfill", "prices", "refresh", *RANGE, "--max-open", "2", "--step", "week", "--order", "newest_first",
        "--on-failure", "continue", "--parameter", "day", "-p", "window=20", "--gate", "wait",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    [(command, *_)] = cli.log.sent
    assert isinstance(command, SubmitRun)
    assert command.backfill == Backfill.model_validate_json(json.dumps({
        "start": "2024-01-02", "end": "2024-01-08", "step": "week", "max_open": 2, "order": "newest_first",
        "parameter": "day", "on_failure": "continue",
    }))  # fmt: skip
    assert (command.instance, command.flow_kind, command.parameters) == ("prices", "refresh", {"window": 20})
    assert "parked" in result.stdout
    assert "runtide watch " in result.stdout


@pytest.mark.parametrize(
    ("end", "code", "says"),
    [
        (FINISHED, 0, "finished: 5 of 5 done"),
        (FAILED, 1, "the backfill failed: BACKFILL_INCOMPLETE: 4 of 5 done, 1 failed (2024-01-04)"),
        (CANCELLED, 4, "was cancelled"),
    ],
)
def test_the_exit_code_says_whether_every_date_is_done(cli: Cli, end: dict[str, Any], code: int, says: str) -> None:
    cli.log.answers = lambda command: story(command, end)
    result = cli("backfill", "prices", *RANGE, "--wait")
    assert result.exit_code == code, result.output
    assert "prices parked 40% 2 of 5 done, 2 open" in result.stdout
    assert says in result.output


def test_as_json_the_last_line_has_the_progress(cli: Cli) -> None:
    cli.log.answers = lambda command: story(command, FINISHED)
    lines = [json.loads(line) for line in cli("backfill", "prices", *RANGE, "--wait", "--json").stdout.splitlines()]
    assert (lines[1]["status"], lines[1]["progress"]["open"]) == ("parked", 2)
    assert (lines[-1]["type"], lines[-1]["status"], lines[-1]["progress"]["done"]) == ("result", "finished", 5)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--from", "2024-01-08", "--until", "2024-01-02"), "end 2024-01-02 is before start 2024-01-08"),
        ((*RANGE, "--gate", "recursive"), "a backfill takes gate strict, wait or force"),
        ((*RANGE, "-p", "data_date=2024-01-02"), "parameters name data_date"),
        (("--from", "2024-01-02"), "--until"),
        ((*RANGE, "--max-open", "0"), "--max-open"),
    ],
)
def test_what_can_not_be_asked_for_exits_2_and_sends_nothing(cli: Cli, arguments: tuple[str, ...], says: str) -> None:
    result = cli("backfill", "prices", *arguments)
    assert result.exit_code == 2
    assert says in result.output
    assert cli.log.sent == []
