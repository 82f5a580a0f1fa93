"""The realtime server says what Centrifugo said, line by line; and the comparison would notice if it did not.

Two recordings: Centrifugo 6.9.1 as released, and Centrifugo 6.9.1 built with the newer `centrifuge` that the embedded
node is built on. The node is held to the second, every other server to the first.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.realtime.conftest import StartNode
from tests.integration.realtime.node import ROOT, SCENARIO_CONFIG, Api
from tests.support.centrifugo_scenario import CASES, Line, Server, Transcripts, differences, transcripts


def recorded(name: str) -> Transcripts:
    said: Transcripts = json.loads((ROOT / "tests" / "golden" / "centrifugo" / name).read_text())
    return said


RELEASED = recorded("golden-6.9.1.json")
NEWER_LIBRARY = recorded("golden-6.9.1-centrifuge-0.40.1.json")


async def expected_of(server: Server) -> Transcripts:
    """What this server must say."""
    api = Api(server)
    nodes = (await api("info"))["result"]["nodes"]
    await api.close()
    return NEWER_LIBRARY if nodes[0]["version"].endswith(" RUNTIDE") else RELEASED


@pytest.fixture(scope="module")
async def said(realtime: Server) -> Transcripts:
    return await transcripts(realtime)


@pytest.fixture(scope="module")
async def expected(realtime: Server) -> Transcripts:
    return await expected_of(realtime)


@pytest.mark.parametrize(("golden", "lines"), [(RELEASED, 185), (NEWER_LIBRARY, 186)], ids=["released", "newer"])
def test_a_golden_file_holds_every_case(golden: Transcripts, lines: int) -> None:
    assert set(golden) == set(CASES)
    assert sum(map(len, golden.values())) == lines


@pytest.mark.parametrize("case", CASES)
def test_the_server_says_what_centrifugo_said(said: Transcripts, expected: Transcripts, case: str) -> None:
    found = differences(expected[case], said[case])
    assert not found, "\n".join(found)


def test_the_newer_library_ends_an_expired_subscription_and_leaves_out_an_epoch_and_differs_in_nothing_else() -> None:
    assert {case for case in CASES if RELEASED[case] != NEWER_LIBRARY[case]} == {"refresh", "live_and_recovery"}
    kept = [line for line in RELEASED["refresh"] if line not in NEWER_LIBRARY["refresh"]]
    ended = [line for line in NEWER_LIBRARY["refresh"] if line not in RELEASED["refresh"]]
    assert kept == [["frames", [{"id": 3, "sub_refresh": {}}]]]
    assert ended == [["closed", [3006, "subscription expired"]]]
    released, newer = copy.deepcopy(RELEASED["live_and_recovery"]), NEWER_LIBRARY["live_and_recovery"]
    [with_epoch] = [line for line in released if line not in newer]
    del with_epoch[1][0]["subscribe"]["publications"][0]["epoch"]
    assert released == newer


@pytest.mark.parametrize("golden", [RELEASED, NEWER_LIBRARY], ids=["released", "newer"])
@pytest.mark.parametrize("case", CASES)
def test_a_transcript_that_differs_in_one_line_is_noticed(golden: Transcripts, case: str) -> None:
    for number in range(len(golden[case])):
        assert len(differences(golden[case], changed_at(golden[case], number))) == 1
        assert differences(golden[case], golden[case][:number] + golden[case][number + 1 :])


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


def configured(changes: dict[str, Any], file: Path) -> Path:
    """The scenario's configuration with the values at these paths changed (None removes one), written to a file."""
    config = json.loads(SCENARIO_CONFIG.read_text())
    for path, value in changes.items():
        *parents, key = path.split(".")
        holder = config
        for parent in parents:
            holder = _named(holder, parent) if isinstance(holder, list) else holder[parent]
        holder[key] = value
        if value is None:
            del holder[key]
    file.write_text(json.dumps(config))
    return file


def _named(namespaces: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(namespace for namespace in namespaces if namespace["name"] == name)


# What the server does wrong, brought about by its own configuration → the cases that must notice.
FAULTS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "believes tokens for any audience": ({"client.token.audience": None}, {"connect_refusals"}),
    "believes tokens of any issuer": ({"client.token.issuer": None}, {"connect_refusals"}),
    "lets in users without a name": ({"client.disallow_anonymous_connection_tokens": False}, {"connect_refusals"}),
    "lets in pages of a foreign site": (
        {"client.allowed_origins": ["http://localhost:5173", "http://evil.example"]},
        {"connect_refusals"},
    ),
    "keeps five publications more": ({"channel.namespaces.run.history_size": 109}, {"live_and_recovery"}),
    "does not say who is present": ({"channel.namespaces.run.presence": None}, {"client_rights"}),
    "takes any name and any data": (
        {"channel.namespaces.run.publication_data_format": None, "channel.namespaces.instance.channel_regex": None},
        {"api_bad_requests", "subscribe_refusals"},
    ),
    "sends whole snapshots where a delta will do": (
        {"channel.namespaces.instance.delta_publish": None},
        {"cache_and_delta"},
    ),
}


@pytest.mark.own_realtime
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_server_with_a_fault_is_told_apart_by_the_cases_about_it(
    start_node: StartNode, tmp_path: Path, fault: str
) -> None:
    changes, noticed_by = FAULTS[fault]
    node = await start_node(config=configured(changes, tmp_path / "config.json"))
    said, expected = await transcripts(node.server), await expected_of(node.server)
    await node.stop()
    assert {case for case in CASES if differences(expected[case], said[case])} == noticed_by
