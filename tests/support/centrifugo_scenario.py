"""One scenario for any server that speaks Centrifugo's protocol, and the comparison of what two servers said.

`transcripts` runs 12 cases over raw WebSocket JSON frames and raw HTTP and returns, per case, every frame and answer,
normalised (epochs, client ids, ttl, the nonce of the run). The golden files hold what Centrifugo said; the server
must run with `tests/golden/centrifugo/config.json`. Cases share nothing, so they run at the same time.

Record a golden file of a server: `python -m tests.support.centrifugo_scenario API_URL WS_URL > golden-X.Y.Z.json`.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import itertools
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import websockets
from websockets.asyncio.client import ClientConnection, connect

API_KEY = "api-key-for-tests-0123456789abcdef"
TOKEN_KEY = "token-secret-for-tests-0123456789abcdef"
DIFFERENT_BY_NATURE = {"version", "node", "session"}
QUIET_SECONDS = 0.25
REPLY_SECONDS = 15
BARRIER_IDS = itertools.count(1_000_000)

Line = list[Any]
Transcripts = dict[str, list[Line]]


@dataclass(frozen=True, slots=True)
class Server:
    """Where a server is and what it believes. `api_url` ends in /api."""

    api_url: str
    ws_url: str
    api_key: str = API_KEY
    token_key: str = TOKEN_KEY


def encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def mint(key: str, alg: str = "HS256", **claims: Any) -> str:
    """A token with good claims except as said; None leaves a claim out."""
    good = {"aud": "runtide-realtime", "iss": "runtide-notifier", "exp": int(time.time()) + 600}
    body = {name: value for name, value in (good | claims).items() if value is not None}
    signed = encoded(json.dumps({"alg": alg, "typ": "JWT"}).encode()) + "." + encoded(json.dumps(body).encode())
    signature = b"" if alg == "none" else hmac.new(key.encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{encoded(signature)}"


@dataclass
class Run:
    """One case on one server: what was said, in order."""

    server: Server
    nonce: str
    http: httpx.AsyncClient
    lines: list[Line] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    peers: list[Peer] = field(default_factory=list)

    def note(self, what: str, value: Any) -> None:
        self.lines.append([what, value])

    def token(self, key: str | None = None, alg: str = "HS256", **claims: Any) -> str:
        return mint(key or self.server.token_key, alg, **claims)

    async def call(self, method: str, body: Any = None, raw: bytes | None = None, key: str | None = None) -> Any:
        content = raw if raw is not None else json.dumps(body).encode()
        headers = None if key is None else {"X-API-Key": key}
        answer = await self.http.post(f"{self.server.api_url}/{method}", content=content, headers=headers)
        try:
            value = answer.json()
        except ValueError:
            value = answer.text.strip()
        self.note(f"api {method} {answer.status_code}", value)
        return value

    async def pub(self, channel: str, data: Any, **more: Any) -> Any:
        return await self.call("publish", {"channel": channel, "data": data, **more})

    def normal(self, value: Any, key: str = "") -> Any:
        match value:
            case dict() if key == "presence":
                return sorted((self.normal(x) for x in value.values()), key=str)
            case dict():
                return {
                    k.replace(self.nonce, "~"): self.normal(x, k)
                    for k, x in sorted(value.items())
                    if k not in DIFFERENT_BY_NATURE
                }
            case list():
                return [self.normal(x, key) for x in value]
            case str() if key in ("epoch", "client"):
                return self.names.setdefault(value, f"{key}{len(self.names) + 1}")
            case str():
                return value.replace(self.nonce, "~")
            case int() if key == "ttl" and 590 <= value <= 600:
                return "ttl"
        return value


class Peer:
    """A raw connection: every frame in or out is written to the transcript."""

    def __init__(self, run: Run) -> None:
        self.run, self.commands, self.connected = run, 0, False
        self.ws: ClientConnection

    async def open(self, origin: str | None = None) -> Peer | None:
        try:
            self.ws = await connect(
                self.run.server.ws_url,
                max_size=None,
                max_queue=None,  # else a full queue hides the answer to our close frame
                proxy=None,
                origin=websockets.Origin(origin) if origin else None,
            )
        except websockets.InvalidStatus as refused:
            self.run.note("http", refused.response.status_code)
            return None
        self.run.peers.append(self)
        return self

    async def send(self, **command: Any) -> list[dict[str, Any]]:
        """Send one command; return what came until its reply, and what was sent before that reply."""
        self.commands += 1
        await self.ws.send(json.dumps({"id": self.commands, **command}))
        return await self.drain(until=self.commands)

    async def drain(self, until: int | None = None) -> list[dict[str, Any]]:
        """Everything the server has for us by now.

        A connected peer asks a question that every server refuses (an RPC) and reads until that answer: frames of a
        connection keep their order, so what was on its way has arrived. Before that, silence has to do.
        """
        got: list[dict[str, Any]] = []
        try:
            if until is not None:
                await self._read_until(until, got)
                self.connected = self.connected or any("connect" in frame for frame in got)
            if self.connected:
                barrier = next(BARRIER_IDS)
                await self.ws.send(json.dumps({"id": barrier, "rpc": {"method": "barrier", "data": {}}}))
                await self._read_until(barrier, got)
                got = [frame for frame in got if frame.get("id") != barrier]
            else:
                await self._read_until(None, got, QUIET_SECONDS)
        except TimeoutError:
            pass
        except websockets.ConnectionClosed as closed:
            self.run.note("closed", [closed.rcvd.code, closed.rcvd.reason] if closed.rcvd else None)
        got.sort(key=lambda frame: "push" in frame)  # a reply and a push may race
        self.run.note("frames", got)
        return got

    async def _read_until(self, id_: int | None, got: list[dict[str, Any]], seconds: float = REPLY_SECONDS) -> None:
        async with asyncio.timeout(seconds):
            while id_ is None or all(frame.get("id") != id_ for frame in got):
                for line in str(await self.ws.recv(decode=True)).splitlines():
                    if (frame := json.loads(line)) == {}:
                        await self.ws.send("{}")  # a ping
                    else:
                        got.append(frame)

    async def login(self, **claims: Any) -> Peer:
        await self.open()
        await self.send(connect={"token": self.run.token(**({"sub": "u1"} | claims))})
        return self

    async def sub(self, channel: str, user: str = "u1", **more: Any) -> list[dict[str, Any]]:
        token = self.run.token(sub=user, channel=channel)
        return await self.send(subscribe={"channel": channel, "token": token, **more})


Case = Callable[[Run, str], Awaitable[None]]
CASES: dict[str, Case] = {}


def case(function: Case) -> Case:
    CASES[function.__name__] = function
    return function


async def opened(run: Run) -> Peer:
    peer = await Peer(run).open()
    assert peer is not None, "a connection without Origin was refused"
    return peer


@case
async def api_auth(r: Run, z: str) -> None:
    for key in ("", "wrong", r.server.api_key):
        await r.call("history", {"channel": f"run:{z}"}, key=key)
    node = (await r.http.post(f"{r.server.api_url}/info", json={})).json()["result"]["nodes"][0]
    r.note("info", sorted({"uid", "name", "version", "num_clients", "num_subs", "num_channels"} - set(node)))


@case
async def api_bad_requests(r: Run, z: str) -> None:
    for body in (
        {},
        {"channel": ""},
        {"channel": f"run:{z}", "data": [1]},
        {"channel": f"run:{z}"},
        {"channel": f"nosuch:{z}", "data": {}},
        {"channel": z, "data": {}},
        {"channel": f"run:{z}", "data": {}, "unknown": 1},
        {"channel": f"run:{z}", "data": {}, "version": "7"},
        {"channel": f"instance:{z}:bad", "data": {}},
    ):
        await r.call("publish", body)
    await r.call("publish", raw=b"{bad")
    await r.call("nosuch", {})
    await r.call("broadcast", {"channels": [], "data": {}})
    await r.call("broadcast", {"channels": [f"run:{z}", "", f"nosuch:{z}"], "data": {"a": 1}})
    await r.call("history", {"channel": f"nosuch:{z}"})
    await r.call("presence", {"channel": f"tenant:{z}:feed"})


@case
async def api_batch(r: Run, z: str) -> None:
    ch = f"run:{z}:progress"
    commands: list[Any] = [
        {"publish": {"channel": ch, "data": {"n": 1}}},
        {"publish": {"channel": "nosuch:x", "data": {}}},
        {"broadcast": {"channels": [ch], "data": {"n": 2}}},
        {"history": {"channel": ch, "limit": 5}},
        {"nosuch": {}},
        {},
    ]
    await r.call("batch", {"commands": commands})
    parallel = [{"publish": {"channel": f"run:{z}:p{i}", "data": {"n": i}}} for i in range(3)]
    await r.call("batch", {"commands": parallel, "parallel": True})
    await r.call("batch", {"commands": []})


@case
async def dedupe_and_version(r: Run, z: str) -> None:
    ch = f"run:{z}:progress"
    await r.pub(ch, {"n": 1}, idempotency_key="k")
    await r.pub(ch, {"n": 99}, idempotency_key="k")
    for version, epoch in ((5, "a"), (4, "a"), (5, "a"), (6, "a"), (1, "b"), (2, ""), (7, "a")):
        await r.pub(ch, {"v": version, "e": epoch}, version=version, version_epoch=epoch)
    await r.pub(ch, {"n": 2}, skip_history=True)
    questions: tuple[dict[str, Any], ...] = (
        {"limit": 100},
        {"limit": 2, "reverse": True},
        {"limit": 0},
        {"limit": -1},
        {"limit": 5, "since": {"offset": 2, "epoch": "wrong"}},
    )
    for question in questions:
        await r.call("history", {"channel": ch, **question})
    await r.call("history_remove", {"channel": ch})
    await r.call("history", {"channel": ch, "limit": 5})


@case
async def connect_refusals(r: Run, z: str) -> None:
    now = int(time.time())
    for token in (
        None,
        "junk",
        r.token(sub="u1", exp=now - 5),
        r.token(key="wrong" * 8, sub="u1"),
        r.token(alg="none", sub="u1"),
        r.token(sub="u1", aud="other"),
        r.token(sub="u1", iss="other"),
        r.token(sub=""),
        r.token(sub="u1", channel="run:x"),
        r.token(sub="u1", nbf=now + 60),
        r.token(sub="u1", channels=["nosuch:x"]),
    ):
        await (await opened(r)).send(connect={"token": token} if token else {})
    await (await opened(r)).send(subscribe={"channel": f"run:{z}"})  # a command before connect
    await Peer(r).open(origin="http://evil.example")
    p = await Peer(r).open(origin="http://localhost:5173")
    assert p is not None, "an allowed Origin was refused"
    await p.send(connect={"token": r.token(sub="u1", exp=None)})


@case
async def subscribe_refusals(r: Run, z: str) -> None:
    ch = f"run:{z}:progress"
    for name, token in (
        (ch, None),
        (ch, r.token(sub="u1", channel=ch, exp=int(time.time()) - 5)),
        (ch, r.token(sub="u1", channel=ch, key="x" * 40)),
        (ch, r.token(sub="u1")),
        (f"nosuch:{z}", None),
        (z, None),
        (f"$run:{z}", None),
        (f"run:{z}#u1", None),
        (f"run:{z}#u2", None),
        (f"instance:{z}:bad", None),
        ("run:" + "a" * 300, None),
        ("run:é", None),
        ("", None),
    ):
        p = await Peer(r).login()
        await p.send(subscribe={"channel": name} | ({"token": token} if token else {}))
    for token in (
        r.token(sub="u1", channel=f"run:{z}:other"),
        r.token(sub="u2", channel=ch),
        r.token(sub="u1", channel=ch, client="nope"),
    ):
        p = await Peer(r).login()
        await p.send(subscribe={"channel": ch, "token": token})


@case
async def client_rights(r: Run, z: str) -> None:
    p, ch = await Peer(r).login(), f"run:{z}:progress"
    await p.sub(ch)
    await p.sub(ch)  # twice
    await r.call("presence", {"channel": ch})
    await r.call("presence_stats", {"channel": ch})
    await r.call("channels", {"pattern": f"run:{z}*"})
    commands: tuple[dict[str, Any], ...] = (
        {"publish": {"channel": ch, "data": {}}},
        {"publish": {"channel": "nosuch:x", "data": {}}},
        {"history": {"channel": ch, "limit": 1}},
        {"presence": {"channel": ch}},
        {"rpc": {"method": "x", "data": {}}},
        {"unsubscribe": {"channel": ch}},
        {"nosuch": {}},
    )
    for command in commands:
        await p.send(**command)


@case
async def live_and_recovery(r: Run, z: str) -> None:
    ch = f"run:{z}:progress"
    await r.pub(ch, {"n": 0})
    p = await Peer(r).login()
    at = (await p.sub(ch))[0]["subscribe"]
    await r.pub(ch, {"n": 1}, tags={"kind": "x"})
    await p.drain()
    await p.ws.close()
    for n in (2, 3):
        await r.pub(ch, {"n": n})
    since = {"recover": True, "epoch": at["epoch"]}
    for more in (
        since | {"offset": at.get("offset", 0) + 1},
        since | {"offset": 99},
        {"recover": True, "epoch": "wrong", "offset": 1},
        {"recover": True},
    ):
        q = await Peer(r).login()
        await q.sub(ch, **more)
    for n in range(105):  # more than history_size 100
        await r.http.post(f"{r.server.api_url}/publish", json={"channel": ch, "data": {"n": n}})
    q = await Peer(r).login()
    await q.sub(ch, **since, offset=1)


@case
async def cache_and_delta(r: Run, z: str) -> None:
    ch = f"instance:{z}:status"
    body = {"state": "ready", "rows": list(range(60))}
    p = await Peer(r).login()
    await p.sub(ch)
    await r.pub(ch, body | {"seq": 1}, version=1)
    await r.pub(ch, body | {"seq": 2}, version=2)
    await p.drain()
    q = await Peer(r).login()
    await q.sub(ch)
    d = await Peer(r).login()
    await d.sub(ch, delta="fossil")
    await r.pub(ch, body | {"seq": 3}, version=3)
    await r.pub(ch, body | {"seq": 4}, version=4)
    await d.drain()
    await (await Peer(r).login()).sub(f"tenant:{z}:feed", delta="fossil")  # delta is not allowed there


@case
async def tags_filter(r: Run, z: str) -> None:
    p, ch = await Peer(r).login(), f"tenant:{z}:feed"
    await p.sub(ch, tf={"key": "instance", "cmp": "in", "vals": ["a", "b"]})
    for i in "abc":
        await r.pub(ch, {"i": i}, tags={"instance": i})
    await r.pub(ch, {"i": "untagged"})
    await p.drain()


@case
async def server_side(r: Run, z: str) -> None:
    ch = f"tenant:{z}:feed"
    await r.pub(ch, {"n": 1})
    p = await Peer(r).login(channels=[ch])
    await r.pub(ch, {"n": 2})
    await p.drain()
    sub = r.lines[1][1][0]["connect"]["subs"][ch]
    q = await opened(r)
    since = {"recover": True, "epoch": sub["epoch"], "offset": sub["offset"]}
    await q.send(connect={"token": r.token(sub="u1", channels=[ch]), "subs": {ch: since}})
    await Peer(r).login(subs={ch: {}})


@case
async def refresh(r: Run, z: str) -> None:
    ch = f"run:{z}:progress"
    for command in (
        {"refresh": {"token": r.token(sub="u1")}},
        {"refresh": {"token": r.token(sub="u1", exp=1)}},
        {"refresh": {"token": r.token(sub="u2")}},
        {"refresh": {"token": "junk"}},
        {"sub_refresh": {"channel": ch, "token": r.token(sub="u1", channel=ch)}},
        {"sub_refresh": {"channel": ch, "token": r.token(sub="u1", channel=ch, exp=1)}},
        {"sub_refresh": {"channel": ch, "token": r.token(sub="u1", channel="run:other")}},
        {"sub_refresh": {"channel": ch, "token": "junk"}},
    ):
        p = await Peer(r).login()
        await p.sub(ch)
        await p.send(**command)


async def transcripts(server: Server) -> Transcripts:
    """What the server says in every case."""
    nonces = (f"z{time.time_ns():x}n{number}z" for number in itertools.count())
    cases = zip(CASES.values(), nonces, strict=False)
    said = await asyncio.gather(*(_transcript(server, function, nonce) for function, nonce in cases))
    return dict(zip(CASES, said, strict=True))


async def _transcript(server: Server, function: Case, nonce: str) -> list[Line]:
    async with httpx.AsyncClient(headers={"X-API-Key": server.api_key}, timeout=30, trust_env=False) as http:
        run = Run(server, nonce, http)
        try:
            await asyncio.wait_for(function(run, nonce), 60)
        except Exception as crash:  # noqa: BLE001  a crash is a line of the transcript
            run.note("crash", f"{type(crash).__name__}: {crash}")
        finally:
            await asyncio.gather(*(peer.ws.close() for peer in run.peers))
        return run.normal(run.lines)  # type: ignore[no-any-return]


def differences(golden: list[Line], seen: list[Line]) -> list[str]:
    """One sentence per line that differs; empty when the two servers said the same."""
    found = [
        f"line {number}\n  expected {json.dumps(expected)}\n  got      {json.dumps(got)}"
        for number, (expected, got) in enumerate(zip(golden, seen, strict=False))
        if expected != got
    ]
    if len(golden) != len(seen):
        found.append(f"expected {len(golden)} lines, got {len(seen)}: {json.dumps(seen[len(golden) :])}")
    return found


if __name__ == "__main__":
    names = {"RUNTIDE_CENTRIFUGO_API_KEY": API_KEY, "RUNTIDE_CENTRIFUGO_TOKEN_HMAC_KEY": TOKEN_KEY}
    keys = [os.environ.get(name, default) for name, default in names.items()]
    json.dump(asyncio.run(transcripts(Server(sys.argv[1], sys.argv[2], *keys))), sys.stdout, indent=1)
