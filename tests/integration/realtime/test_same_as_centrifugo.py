"""The realtime node says what the real Centrifugo said, line by line; and the comparison would notice if it did not."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.realtime.conftest import StartNode
from tests.integration.realtime.node import ROOT, SCENARIO_CONFIG
from tests.support.centrifugo_scenario import CASES, Line, Server, Transcripts, differences, transcripts

GOLDEN_FILE: Path = ROOT / "tests" / "golden" / "centrifugo" / "golden-6.9.1.json"
GOLDEN: Transcripts = json.loads(GOLDEN_FILE.read_text())


@pytest.fixture(scope="module")
async def said(realtime: Server) -> Transcripts:
    return await transcripts(realtime)


def test_the_golden_file_holds_every_case() -> None:
    assert set(GOLDEN) == set(CASES)
    assert sum(map(len, GOLDEN.values())) == 186


@pytest.mark.parametrize("case", CASES)
def test_the_server_says_what_centrifugo_said(said: Transcripts, case: str) -> None:
    found = differences(GOLDEN[case], said[case])
    assert not found, "\n".join(found)


@pytest.mark.parametrize("case", CASES)
def test_a_transcript_that_differs_in_one_line_is_noticed(case: str) -> None:
    for number in range(len(GOLDEN[case])):
        assert len(differences(GOLDEN[case], changed_at(GOLDEN[case], number))) == 1
        assert differences(GOLDEN[case], GOLDEN[case][:number] + GOLDEN[case][number + 1 :])


def changed_at(lines: list[Line], number: int) -> list[Line]:
    """One leaf of one line made different, the smallest lie a server can tell."""
    lines = copy.deepcopy(lines)
    lines[number][1] = _lie(lines[number][1])
    return lines


def _lie(value: Any) -> Any:
    match value:
        case dict() if value:
            last = list(value)[-1]
            return value | {last: _lie(value[last])}
        case list() if value:
            return [*value[:-1], _lie(value[-1])]
        case bool():
            return not value
        case int():
            return value + 1
        case str():
            return value + "!"
    return "!"


def namespaces(**changed: Any) -> str:
    """The scenario's namespaces with some settings of `run` and `instance` changed; None removes one."""
    configured = json.loads(SCENARIO_CONFIG.read_text())["channel"]["namespaces"]
    for namespace in configured:
        for key, value in changed.get(namespace["name"], {}).items():
            namespace[key] = value
            if value is None:
                del namespace[key]
    return json.dumps(configured)


# What the server does wrong, brought about by its own configuration → the cases that must notice.
FAULTS: dict[str, tuple[dict[str, str], set[str]]] = {
    "believes tokens for any audience": ({"CENTRIFUGO_CLIENT_TOKEN_AUDIENCE": ""}, {"connect_refusals"}),
    "believes tokens of any issuer": ({"CENTRIFUGO_CLIENT_TOKEN_ISSUER": ""}, {"connect_refusals"}),
    "lets in users without a name": (
        {"CENTRIFUGO_CLIENT_DISALLOW_ANONYMOUS_CONNECTION_TOKENS": "false"},
        {"connect_refusals"},
    ),
    "lets in pages of a foreign site": (
        {"CENTRIFUGO_CLIENT_ALLOWED_ORIGINS": "http://localhost:5173 http://evil.example"},
        {"connect_refusals"},
    ),
    "keeps five publications more": (
        {"CENTRIFUGO_CHANNEL_NAMESPACES": namespaces(run={"history_size": 109})},
        {"live_and_recovery"},
    ),
    "does not say who is present": (
        {"CENTRIFUGO_CHANNEL_NAMESPACES": namespaces(run={"presence": None})},
        {"client_rights"},
    ),
    "takes any name and any data": (
        {
            "CENTRIFUGO_CHANNEL_NAMESPACES": namespaces(
                run={"publication_data_format": None}, instance={"channel_regex": None}
            )
        },
        {"api_bad_requests", "subscribe_refusals"},
    ),
    "sends whole snapshots where a delta will do": (
        {"CENTRIFUGO_CHANNEL_NAMESPACES": namespaces(instance={"delta_publish": None})},
        {"cache_and_delta"},
    ),
}  # fmt: skip


@pytest.mark.own_realtime
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_server_with_a_fault_is_told_apart_by_the_cases_about_it(start_node: StartNode, fault: str) -> None:
    overrides, noticed_by = FAULTS[fault]
    node = await start_node(overrides=overrides)
    said = await transcripts(node.server)
    await node.stop()
    assert {case for case in CASES if differences(GOLDEN[case], said[case])} == noticed_by
