"""The realtime server as a program: how it starts, what it refuses, where it listens, how it ends; and revocation."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import centrifuge  # type: ignore[import-untyped]
import httpx
import pytest

from tests.integration.realtime.conftest import StartNode
from tests.integration.realtime.node import (
    DEPLOYED_CONFIG,
    SCENARIO_CONFIG,
    SECRETS,
    Api,
    Node,
    connection_token,
    eventually,
    subscription_token,
)

pytestmark = pytest.mark.own_realtime


@pytest.fixture(scope="module")
async def node(start_node: StartNode) -> Node:
    return await start_node(config=DEPLOYED_CONFIG)


@pytest.fixture
async def calls(node: Node) -> AsyncIterator[Api]:
    caller = Api(node.server)
    yield caller
    await caller.close()


class Ended(centrifuge.ClientEventHandler, centrifuge.SubscriptionEventHandler):  # type: ignore[misc]
    """Remembers the codes with which a connection or a subscription ended."""

    def __init__(self) -> None:
        self.codes: list[int] = []

    async def on_disconnected(self, ctx: centrifuge.DisconnectedContext) -> None:
        self.codes.append(ctx.code)

    async def on_connecting(self, ctx: centrifuge.ConnectingContext) -> None:
        if ctx.code:
            self.codes.append(ctx.code)

    async def on_unsubscribed(self, ctx: centrifuge.UnsubscribedContext) -> None:
        self.codes.append(ctx.code)


async def connected(node: Node, ended: Ended | None = None, user: str = "u1", **claims: Any) -> centrifuge.Client:
    client = centrifuge.Client(node.server.ws_url, ended, token=connection_token(user=user, **claims), proxy=None)
    await client.connect()
    await client.ready(10)
    return client


async def program(binary: Path, *arguments: str | Path, env: dict[str, str] | None = None) -> tuple[int, str, str]:
    """Run to the end: exit status, stdout, stderr."""
    process = await asyncio.create_subprocess_exec(
        binary, *arguments, env=env or {}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 15)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@pytest.mark.embedded_node
async def test_the_version_names_the_library(realtime_bin: Path) -> None:
    status, out, _ = await program(realtime_bin, "--version")
    assert status == 0
    assert "centrifuge v0.40.1" in out


@pytest.mark.parametrize("config", [DEPLOYED_CONFIG, SCENARIO_CONFIG], ids=["deployed", "scenario"])
async def test_a_good_configuration_passes_checkconfig(realtime_bin: Path, config: Path) -> None:
    assert await program(realtime_bin, "checkconfig", "-c", config, env=SECRETS) == (0, "", "")


@pytest.mark.embedded_node
@pytest.mark.parametrize("checking", [("checkconfig",), ()], ids=["checkconfig", "start"])
async def test_a_misspelt_key_ends_the_program_and_is_named(
    realtime_bin: Path, tmp_path: Path, checking: tuple[str, ...]
) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"client": {"allowed_orgins": []}}))
    status, _, err = await program(realtime_bin, *checking, "-c", file, env=SECRETS)
    assert status == 1
    assert "client.allowed_orgins" in err
    status, _, err = await program(
        realtime_bin, *checking, "-c", DEPLOYED_CONFIG, env=SECRETS | {"CENTRIFUGO_CLIENT_ALLOWED_ORGINS": "x"}
    )
    assert status == 1
    assert "CENTRIFUGO_CLIENT_ALLOWED_ORGINS" in err


@pytest.mark.embedded_node
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CENTRIFUGO_HTTP_API_INSECURE", "true"),
        ("CENTRIFUGO_CLIENT_INSECURE", "true"),
        ("CENTRIFUGO_CLIENT_INSECURE_SKIP_TOKEN_SIGNATURE_VERIFY", "true"),
        ("CENTRIFUGO_CLIENT_ALLOW_ANONYMOUS_CONNECT_WITHOUT_TOKEN", "true"),
        ("CENTRIFUGO_CLIENT_ALLOWED_ORIGINS", "*"),
        ("CENTRIFUGO_ADMIN_ENABLED", "true"),
        ("CENTRIFUGO_HTTP_API_KEY", ""),
        ("CENTRIFUGO_CLIENT_TOKEN_HMAC_SECRET_KEY", ""),
    ],
)
async def test_an_insecure_setting_keeps_the_program_from_starting(
    realtime_bin: Path, variable: str, value: str
) -> None:
    status, _, err = await program(realtime_bin, "-c", DEPLOYED_CONFIG, env=SECRETS | {variable: value})
    assert status == 1
    assert err.startswith("refused: ")


async def test_api_health_and_metrics_are_on_the_internal_port_alone(node: Node) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        for method, path in (("POST", "/api/info"), ("GET", "/health"), ("GET", "/metrics")):
            assert (await http.request(method, node.public_url + path)).status_code == 404
        assert (await http.get(node.internal_url + "/health")).json() == {}
        assert "centrifugo_node_num_clients" in (await http.get(node.internal_url + "/metrics")).text
        assert (await http.get(node.internal_url + "/connection/websocket")).status_code == 404


async def test_disconnect_ends_a_user_who_does_not_come_back(node: Node, calls: Api) -> None:
    ended = Ended()
    leaver, other = await connected(node, ended, "leaver"), await connected(node, user="other")
    assert await calls("disconnect", user="leaver") == {"result": {}}
    await eventually(lambda: ended.codes == [3503])
    assert other.state is centrifuge.ClientState.CONNECTED
    await leaver.disconnect()
    await other.disconnect()


async def test_unsubscribe_ends_one_channel_of_a_user(node: Node, calls: Api) -> None:
    client, ended = await connected(node), {"run:1:progress": Ended(), "run:2:progress": Ended()}
    for channel, events in ended.items():
        subscription = client.new_subscription(channel, events, token=subscription_token(channel))
        await subscription.subscribe()
        await subscription.ready(10)
    assert await calls("unsubscribe", user="u1", channel="run:1:progress") == {"result": {}}
    await eventually(lambda: ended["run:1:progress"].codes == [2000])
    assert ended["run:2:progress"].codes == []
    assert await calls("unsubscribe", user="u1", channel="nosuch:1") == {
        "error": {"code": 102, "message": "unknown channel"}
    }
    await client.disconnect()


async def test_a_thousand_channels_come_back_in_one_frame(node: Node, calls: Api) -> None:
    channels = [f"run:{number}:progress" for number in range(1000)]
    client = centrifuge.Client(node.server.ws_url, token=connection_token(), proxy=None)
    subscriptions = [client.new_subscription(channel, token=subscription_token(channel)) for channel in channels]
    for subscription in subscriptions:
        await subscription.subscribe()
    await client.connect()
    await eventually(lambda: all(s.state is centrifuge.SubscriptionState.SUBSCRIBED for s in subscriptions))
    assert len((await calls("channels", pattern="run:*:progress"))["result"]["channels"]) >= 1000
    await client.disconnect()


async def test_tokens_of_the_previous_key_open_until_it_is_taken_away(start_node: StartNode) -> None:
    rotating = await start_node(
        overrides={
            "CENTRIFUGO_CLIENT_TOKEN_HMAC_SECRET_KEY": "the-new-key",
            "CENTRIFUGO_CLIENT_TOKEN_HMAC_PREVIOUS_SECRET_KEY": "the-old-key",
        }
    )
    for key in ("the-new-key", "the-old-key"):
        await (await connected(rotating, key=key)).disconnect()
    rotating.overrides["CENTRIFUGO_CLIENT_TOKEN_HMAC_PREVIOUS_SECRET_KEY"] = ""
    await rotating.restart()
    ended = Ended()
    client = centrifuge.Client(rotating.server.ws_url, ended, token=connection_token("the-old-key"), proxy=None)
    await client.connect()
    await eventually(lambda: ended.codes == [3500])
    await rotating.stop()


async def test_a_restarted_server_forgets_versions_and_keys(start_node: StartNode) -> None:
    node = await start_node(config=DEPLOYED_CONFIG)
    api, message = Api(node.server), {"channel": "instance:a:status", "data": {}, "idempotency_key": "k"}
    first = await api("publish", **message, version=7)
    assert (await api("publish", **message, version=7)) == first
    await node.restart()
    assert (await api("publish", **message, version=3))["result"]["offset"] == 1
    assert (await api("history", channel="instance:a:status", limit=-1))["result"]["epoch"] != first["result"]["epoch"]
    await api.close()
    await node.stop()


async def test_sigterm_tells_clients_to_reconnect_and_exits_cleanly(start_node: StartNode) -> None:
    node, ended = await start_node(), Ended()
    client = await connected(node, ended)
    assert await node.stop(signal.SIGTERM) == 0
    await eventually(lambda: 3001 in ended.codes)
    await client.disconnect()
