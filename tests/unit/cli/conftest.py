"""The command line with our own seams underneath: a log in memory, services behind a mock transport."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from runtide import settings as settings_module
from runtide.cli import app, session
from runtide.client import Runtide
from typer.testing import CliRunner, Result

from tests.unit.sdk.memory_log import MemoryLog
from tests.unit.sdk.stories import SETTINGS, URLS


@dataclass
class Cli:
    """`routes`: "METHOD host path" → answer; what is not there is a 404."""

    log: MemoryLog = field(default_factory=MemoryLog)
    routes: dict[str, httpx.Response | Callable[[httpx.Request], httpx.Response]] = field(default_factory=dict)
    asked: list[httpx.Request] = field(default_factory=list)

    def __call__(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments))

    def json(self, *arguments: str) -> Any:
        result = self(*arguments, "--json")
        return json.loads(result.stdout)

    def open(self) -> Runtide:
        settings = replace(SETTINGS, token="t", **URLS) if self.routes else SETTINGS
        return Runtide(settings, log=self.log, transport=httpx.MockTransport(self._serve))

    def _serve(self, sent: httpx.Request) -> httpx.Response:
        self.asked.append(sent)
        route = self.routes.get(f"{sent.method} {sent.url.host} {sent.url.path}")
        if route is None:
            return httpx.Response(404, json={"code": "NOT_FOUND", "detail": f"{sent.url.path} does not exist"})
        return route(sent) if callable(route) else route


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cli:
    made = Cli()
    monkeypatch.setattr(session, "open_client", made.open)
    for name in settings_module.VARIABLES.values():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return made
