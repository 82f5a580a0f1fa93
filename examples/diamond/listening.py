"""What the services say of one story on Kafka: its requests, runs and instances, and the versions in their order."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar
from uuid import UUID

from runtide.log import Follower
from runtide_schemas.instances import InstanceStatusChanged
from runtide_schemas.message import Message
from runtide_schemas.requests import RequestStatusChanged
from runtide_schemas.runs import RunStatusChanged
from runtide_schemas.topics import INSTANCES_STATUS, REQUESTS_STATUS, RUNS_STATUS

T = TypeVar("T")
TOPICS = (REQUESTS_STATUS, RUNS_STATUS, INSTANCES_STATUS)


class Heard:
    """The newest snapshot of everything whose name begins with the story's; instances go by their last letter."""

    def __init__(self, follower: Follower, story: str) -> None:
        self._follower, self._story = follower, story
        self.requests: dict[UUID, RequestStatusChanged] = {}
        self.runs: dict[UUID, RunStatusChanged] = {}
        self.instances: dict[str, InstanceStatusChanged] = {}
        self.causes: dict[tuple[str, UUID], list[str]] = {}
        self.versions: dict[str, list[UUID]] = {}

    async def until(self, holds: Callable[[], T | None]) -> T:
        """Listen until there is an answer; one that never comes is the listener's to bound."""
        while not (answer := holds()):
            message = await self._follower.next()
            if message is not None:
                self._keep(message)
        return answer

    def _keep(self, message: Message) -> None:
        match message:
            case RequestStatusChanged(instance_name=str(name)) if self._is_new(name, self.requests, message):
                self.requests[message.run_id] = message
            case RunStatusChanged(instance_name=name) if self._is_new(name, self.runs, message):
                self.runs[message.run_id] = message
            case InstanceStatusChanged(name=name) if name.startswith(self._story):
                letter = name[-1]
                self.instances[letter] = message
                if message.cause and message.cause.run_id:
                    self.causes[letter, message.cause.run_id] = [name[-1] for name in message.cause.path]
                version, known = message.flows[0].version_id, self.versions.setdefault(letter, [])
                if version and version not in known:
                    known.append(version)

    def _is_new(self, name: str, known: dict[UUID, T], message: RequestStatusChanged | RunStatusChanged) -> bool:
        before = known.get(message.run_id)
        return name.startswith(self._story) and (before is None or before.seq < message.seq)

    def requests_of(self, letter: str) -> list[RequestStatusChanged]:
        return [request for request in self.requests.values() if (request.instance_name or "")[-1:] == letter]

    def runs_of(self, letter: str) -> list[RunStatusChanged]:
        """In the order in which they were heard of."""
        return [run for run in self.runs.values() if run.instance_name[-1] == letter]

    def label(self, letter: str, version: UUID | None) -> str:
        """`b1` is the first version of b."""
        known = self.versions.get(letter, [])
        return f"{letter}{known.index(version) + 1}" if version in known else f"{letter}?"

    def is_at_rest(self) -> bool:
        """Everything is ready, and nothing is asked for or runs."""
        return all(one.status == "ready" for one in self.instances.values()) and not any(
            self._is_open(request) for request in self.requests.values()
        )

    def _is_open(self, request: RequestStatusChanged) -> bool:
        run = self.runs.get(request.run_id)
        return not (request.status.is_end or (run is not None and run.status.is_terminal))
