"""Asks every path of a service, once for a thing that is there and once for its twin that is nowhere.

To a stranger both must look the same: status and body, but for the id that was asked for. What paths there are, and
what they take, is read from the service's own OpenAPI, so that a new path is asked too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

PART = "part"  # what a thing inside of another is called
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT[0-9:.]+(?:Z|\+00:00)")
_TOKEN = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+")


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path; `body` is the schema of what it takes."""

    method: str
    path: str
    query: tuple[str, ...]
    body: Mapping[str, Any] | None
    required: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def takes_an_id(self) -> bool:
        return "{" in self.path

    def takes(self, value: str) -> bool:
        """Channels are asked for where channels are taken, all else everywhere."""
        return ":" not in value or any("channel" in name for name in self.body or {})

    def asks(self, value: str) -> Iterator[tuple[str, dict[str, Any], Any]]:
        """Address, query and body, with the value wherever a text is taken: what must be said, then one more each."""
        first, *others = re.findall(r"\{[^}]+\}", self.path) or [""]
        path = self.path.replace(first, value) if first else self.path
        for other in others:
            path = path.replace(other, PART)
        fields = {name: _filled(field, value) for name, field in (self.body or {}).items()}
        needed = {name: fields[name] for name in fields if name in self.required}
        said = [name for name in fields if name not in self.required and fields[name] in (value, [value])]
        bodies = [needed, *({**needed, name: fields[name]} for name in said)]
        for query in [{}, *({name: value} for name in self.query)]:
            for body in bodies if not query else bodies[:1]:
                yield path, {"wait_seconds": 0, **query} if self.method == "POST" else query, body or None


def _filled(field: Mapping[str, Any], value: str) -> Any:
    for kind in (field, *field.get("anyOf", ())):
        match kind:
            case {"enum": [first, *_]} | {"const": first}:
                return first
            case {"format": "date"}:
                return "2025-01-02"
            case {"type": "string"}:
                return value
            case {"type": "array"}:
                return [_filled(kind.get("items", {}), value)]
            case {"type": "integer" | "number"}:
                return 1
            case {"type": "boolean"}:
                return True
            case {"type": "object"}:
                return {}
    return value


async def operations(http: httpx.AsyncClient) -> list[Operation]:
    """Reading ones first, so that nothing that is asked changes what is read."""
    said = (await http.get("/openapi.json")).json()
    schemas = said.get("components", {}).get("schemas", {})
    found = []
    for path, methods in said["paths"].items():
        for method, operation in methods.items():
            if "security" not in operation:  # tests/unit/access knows each of these
                continue
            takes = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
            refs = [one["$ref"] for one in (takes, *takes.get("anyOf", ())) if "$ref" in one]
            body = schemas[refs[0].rsplit("/", 1)[1]] if refs else {}
            query = tuple(
                one["name"] for one in operation.get("parameters", ())
                if one["in"] == "query" and _filled(one["schema"], "text") == "text" and one["name"] != "cursor"
            )  # fmt: skip
            props, needed = body.get("properties"), frozenset(body.get("required", ()))
            found.append(Operation(method.upper(), path, query, props, needed))
    return sorted(found, key=lambda one: (one.method != "GET", one.path))


async def told_apart(
    http: httpx.AsyncClient, found: Sequence[Operation], pairs: Mapping[str, str], token: str
) -> dict[str, str]:
    """operation → how the bearer of the token could tell something that is there (its value a twin) from nothing."""
    differences: dict[str, str] = {}
    headers = {"Authorization": f"Bearer {token}"}
    for operation in found:
        for there, nowhere in pairs.items():
            if not operation.takes(there):
                continue
            for first, second in zip(operation.asks(there), operation.asks(nowhere), strict=True):
                answers = [
                    await http.request(operation.method, path, params=query, json=body, headers=headers)
                    for path, query, body in (first, second)
                ]
                seen = [_shown(answer, value) for answer, value in zip(answers, (there, nowhere), strict=True)]
                if seen[0] != seen[1]:
                    differences.setdefault(str(operation), f"{first}: {seen[0][:300]} / {seen[1][:300]}")
                for other in pairs:
                    if _UUID.fullmatch(other) and other not in there and other in answers[0].text:
                        differences.setdefault(str(operation), f"{first} shows {other}")
    return differences


def _shown(answer: httpx.Response, value: str) -> str:
    if answer.status_code == 422:  # the form is wrong, and how that is said depends on the letters
        return f"422 {answer.json()['code']}"
    text = f"{answer.status_code} {answer.text}".replace(value, "<it>")
    return _TOKEN.sub("<token>", _TIME.sub("<time>", _UUID.sub("<id>", text)))
