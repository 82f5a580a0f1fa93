"""What a part of the stack is, and what it may know about the stack it belongs to."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from deploy.native.layout import State
from deploy.native.probes import Probe

Group = Literal["infra", "services", "examples"]


@dataclass(frozen=True, slots=True)
class Stack:
    """What a part may know about the stack it belongs to."""

    state: State
    ports: Mapping[str, int]
    secrets: Mapping[str, str]
    env: Mapping[str, str]  # stack.env
    external: frozenset[str] = frozenset()

    def port(self, name: str) -> int:
        return self.ports[name]


@dataclass(frozen=True, slots=True)
class Part:
    """One process of the stack, or with `once` a command that must end well before others start; where it has a probe
    that says yes it is not needed again.
    """

    name: str
    group: Group
    command: Callable[[Stack], list[str]]
    needs: tuple[str, ...] = ()
    ready: Callable[[Stack], Probe] | None = None
    environment: Callable[[Stack], dict[str, str]] = lambda _: {}
    ports: tuple[str, ...] = ()
    prepare: Callable[[Stack], Awaitable[None]] | None = None
    finish: Callable[[Stack], Awaitable[None]] | None = None
    once: bool = False
    unprivileged: bool = False
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 10
    start_seconds: float = 120
    exists: Callable[[], bool] = lambda: True
    likely: tuple[tuple[str, str], ...] = field(default=())  # pattern in the log → what it means


def _base_environment() -> dict[str, str]:
    """The caller's environment without what would leak into a server from somebody's shell."""
    leaks = (
        "PYTHONPATH",
        "PYTHONHOME",
        "PYTHONDONTWRITEBYTECODE",  # each process would compile all that it imports, and keep the room that took
        "VIRTUAL_ENV",
        "PREFECT_",
        "KAFKA_",
        "PG",
        "POSTGRES_",
        "CENTRIFUGO_",
        "AWS_",
        "WEED_",
    )
    return {name: value for name, value in os.environ.items() if not name.startswith(leaks)}


def environment_of(part: Part, stack: Stack) -> dict[str, str]:
    return {**_base_environment(), **part.environment(stack)}
