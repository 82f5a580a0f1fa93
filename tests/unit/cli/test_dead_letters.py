"""`runtide dead-letters show | replay | drop`."""

from __future__ import annotations

import base64
import json

import httpx

from tests.unit.cli.conftest import Cli

LETTERS = "lineage.test /v1/ops/dead-letters"


def test_a_dead_letter_is_replayed_in_its_service(cli: Cli) -> None:
    cli.routes[f"POST {LETTERS}/7/replay"] = httpx.Response(200, json={"status": "replayed"})
    result = cli("dead-letters", "replay", "7", "--service", "lineage")
    assert "lineage dead letter 7: replayed" in result.stdout
    assert result.exit_code == 0


def test_letters_are_chosen_by_number_or_by_what_they_are_and_never_by_accident(cli: Cli) -> None:
    cli.routes[f"POST {LETTERS}/replay"] = httpx.Response(200, json={"replayed": []})
    assert cli("dead-letters", "drop", "7").exit_code == 2  # whose?
    assert cli("dead-letters", "replay", "-s", "lineage").exit_code == 2  # which?
    assert cli("dead-letters", "replay", "7", "--all", "-s", "lineage").exit_code == 2
    assert cli.asked == []


def test_all_of_a_reason_are_replayed_portion_by_portion_and_those_that_fail_still_are_named(cli: Cli) -> None:
    failing = {"id": 3, "code": "STILL_FAILS", "reason": "InvalidMessage: n is -1"}

    def serve(sent: httpx.Request) -> httpx.Response:
        if json.loads(sent.content)["after"] == 0:
            return httpx.Response(200, json={"replayed": [1, 2], "failed": [], "cursor": 2})
        return httpx.Response(200, json={"replayed": [4], "failed": [failing], "cursor": None})

    cli.routes[f"POST {LETTERS}/replay"] = serve
    result = cli("dead-letters", "replay", "-s", "lineage", "--reason", "n is")
    assert [json.loads(sent.content) for sent in cli.asked] == [
        {"reason": "n is", "after": 0}, {"reason": "n is", "after": 2},
    ]  # fmt: skip
    assert "lineage dead letter 3: STILL_FAILS: InvalidMessage: n is -1" in result.stdout
    assert "3 replayed, 1 failed" in result.stderr
    assert result.exit_code == 1


def test_what_a_terminal_would_obey_is_shown_and_never_obeyed(cli: Cli) -> None:
    raw = b"\x1b[2J\xff"
    letter = {"id": 7, "value": "\x1b[2J\\xff", "raw": {"value": base64.b64encode(raw).decode()}}
    cli.routes[f"GET {LETTERS}/7"] = httpx.Response(200, json=letter)
    shown = cli("dead-letters", "show", "7", "-s", "lineage").stdout
    assert "\x1b" not in shown
    assert "\\x1b[2J\\xff" in shown
    assert cli("dead-letters", "show", "7", "-s", "lineage", "--raw", "value").stdout_bytes == raw
