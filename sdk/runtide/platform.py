"""A platform file: the instances of a tenant, checked as a whole before anything is sent.

    tenant: acme                      # optional; must be the client's
    instances:
      - name: prices
        instance_type: DatasetInstance
        flows:
          - kind: refresh
            deployment: refresh-prices/prod
            schedule: {sessions: XNYS, at: 18:05, timezone: America/New_York}
      - name: momentum
        instance_type: SignalInstance
        flows:
          - {kind: refresh, deployment: refresh-momentum/prod, on_upstream: refresh, max_wait: PT2H, retry: {max: 3}}
        upstreams: [prices]           # or {instance: prices, optional: true, …}

Each entry is an `instance.register`; every problem names its line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import to_json
from runtide_schemas.instances import FlowSpec, RegisterInstance, UpdateFrequency, UpstreamSpec
from runtide_schemas.policies import RetrySpec, ScheduleSpec

from runtide import yaml_lines
from runtide.errors import InvalidCommand, PlatformInvalid
from runtide.names import did_you_mean
from runtide.platform_checks import Entry, problems_between
from runtide.settings import ClientSettings

_TOP = ("tenant", "instances", "version")
_ENTRY = tuple(name for name in RegisterInstance.model_fields if name not in ("type", "tenant", "command_id", "actor"))
_NESTED: dict[str, type[BaseModel]] = {
    "flows": FlowSpec,
    "upstreams": UpstreamSpec,
    "update_frequency": UpdateFrequency,
}
_WITHIN: dict[type[BaseModel], dict[str, type[BaseModel]]] = {FlowSpec: {"schedule": ScheduleSpec, "retry": RetrySpec}}
_NO_TENANT = "nobody"


@dataclass(frozen=True, slots=True)
class Platform:
    """What a file says; it is valid. `warnings` are sentences about what may be meant otherwise."""

    name: str
    tenant: str | None
    entries: tuple[Entry, ...]
    warnings: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: str | Path) -> Platform:
        """Raises: PlatformInvalid with every problem and its line; InvalidCommand where there is no such file."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidCommand(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
        return cls.parse(text, name=str(path))

    @classmethod
    def parse(cls, text: str, *, name: str = "platform.yaml") -> Platform:
        """Raises: PlatformInvalid."""
        value, lines = yaml_lines.read(text, name=name)
        reading = _Reading(name, lines)
        tenant, bodies = reading.top(value)
        entries = tuple(entry for index, body in bodies if (entry := reading.entry(index, body)) is not None)
        problems, warnings = problems_between(entries, name=name)
        if reading.problems or problems:
            raise PlatformInvalid(sorted([*reading.problems, *problems], key=_line_first))
        return cls(name=name, tenant=tenant, entries=entries, warnings=tuple(warnings))

    def registrations(self, settings: ClientSettings) -> list[RegisterInstance]:
        """The commands, in the order of the file. Raises: PlatformInvalid where the file is another tenant's."""
        if self.tenant is not None and self.tenant != settings.tenant:
            raise PlatformInvalid([f"{self.name}: it is of tenant {self.tenant!r}, this client of {settings.tenant!r}"])
        said = {"tenant": settings.tenant, "actor": settings.actor}
        return [entry.command.model_copy(update=said) for entry in self.entries]


class _Reading:
    def __init__(self, name: str, lines: Mapping[yaml_lines.Path, int]) -> None:
        self.name = name
        self.lines = lines
        self.problems: list[str] = []

    def top(self, value: Any) -> tuple[str | None, Iterator[tuple[int, Any]]]:
        if isinstance(value, dict):
            self._unknown_keys((), value, _TOP)
        instances = value.get("instances") if isinstance(value, dict) else None
        if not isinstance(instances, list) or not instances:
            raise PlatformInvalid([f"{self.name}:1: expected `instances:` with a list of instances"])
        tenant = value.get("tenant")
        if tenant is not None and not isinstance(tenant, str):
            self.problem(("tenant",), f"the tenant is {tenant!r}, allowed is text")
        return tenant, enumerate(instances)

    def entry(self, index: int, body: Any) -> Entry | None:
        """None: it has problems, and they are noted."""
        path: yaml_lines.Path = ("instances", index)
        before = len(self.problems)
        if not isinstance(body, dict):
            self.problem(path, f"an instance is a mapping with name, instance_type and flows, got {body!r}")
            return None
        self._unknown_keys(path, body, _ENTRY)
        for field, model in _NESTED.items():
            self._nested(path, field, body.get(field), model)
        for required in ("name", "instance_type", "flows"):
            if body.get(required) in (None, [], ""):
                self.problem(path, f"instance {body.get('name', index + 1)!r} has no {required}")
        if len(self.problems) > before:
            return None
        named = {**body, "upstreams": _long_form(body["upstreams"])} if body.get("upstreams") else body
        try:
            command = RegisterInstance.model_validate_json(
                to_json({**named, "type": "instance.register", "tenant": _NO_TENANT})
            )
        except ValidationError as error:
            self._invalid(path, error)
            return None
        return Entry(command=command, path=path, lines=self.lines)

    def problem(self, path: yaml_lines.Path, text: str) -> None:
        self.problems.append(f"{self.name}:{line_of(self.lines, path)}: {text}")

    def _nested(self, path: yaml_lines.Path, field: str, value: Any, model: type[BaseModel]) -> None:
        items = enumerate(value) if isinstance(value, list) else [(None, value)]
        for index, item in items:
            if isinstance(item, dict):
                place = (*path, field) if index is None else (*path, field, index)
                self._unknown_keys(place, item, tuple(model.model_fields))
                for inner, inner_model in _WITHIN.get(model, {}).items():
                    self._nested(place, inner, item.get(inner), inner_model)

    def _unknown_keys(self, path: yaml_lines.Path, value: dict[str, Any], known: tuple[str, ...]) -> None:
        for key in value:
            if key not in known:
                self.problem((*path, key), f"unknown key {key!r}{did_you_mean(key, known)}")

    def _invalid(self, path: yaml_lines.Path, error: ValidationError) -> None:
        for fault in error.errors(include_url=False, include_context=False):
            place = ".".join(str(step) for step in fault["loc"])
            got = "" if isinstance(fault["input"], dict | list) else f", got {fault['input']!r}"
            said = fault["msg"].removeprefix("Value error, ")
            self.problem((*path, *fault["loc"]), f"{place}: {said}{got}")


def line_of(lines: Mapping[yaml_lines.Path, int], path: yaml_lines.Path) -> int:
    """The line of the path, or of the nearest that is around it."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


def _long_form(upstreams: Any) -> Any:
    if not isinstance(upstreams, list):
        return upstreams
    return [{"instance": upstream} if isinstance(upstream, str) else upstream for upstream in upstreams]


def _line_first(problem: str) -> tuple[int, str]:
    digits = problem.partition(": ")[0].rpartition(":")[2]
    return (int(digits) if digits.isdigit() else 0, problem)
