"""Is every message of the last release still readable, and do its readers still understand what we write now?

`python schemas/compatibility.py` compares `released/<newest>.json` with the models and exits 1 on a break. A break is a
message or field that went (a rename is one), another type, a value or length no longer allowed, a field newly required;
in what we write ourselves also a field no longer promised or a type grown wider, for old readers. Not a break: new
types, new optional fields, new enum values (readers are deployed first).
"""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RELEASED = Path(__file__).resolve().parent / "released"

Schema = dict[str, Any]
_LOWER_BOUNDS = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER_BOUNDS = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")


@dataclass(frozen=True, slots=True)
class Break:
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True, slots=True)
class _Shape:
    """A schema without references; `body` is the one variant beside null."""

    body: Schema
    nullable: bool
    definitions: Schema


def breaks(old: dict[str, Schema], new: dict[str, Schema], open_types: frozenset[str] = frozenset()) -> list[Break]:
    """type → schema, before and after; `open_types` are written by clients and only read by us."""
    found: list[Break] = []
    for kind, schema in old.items():
        if kind not in new:
            found.append(Break(kind, "the message type went"))
        else:
            before, after = _shape(schema, schema.get("$defs", {})), _shape(new[kind], new[kind].get("$defs", {}))
            found.extend(_compare(kind, before, after, open_door=kind in open_types))
    return found


def _shape(schema: Schema, definitions: Schema) -> _Shape:
    nullable = False
    while True:
        if "$ref" in schema:
            schema = definitions[schema["$ref"].rsplit("/", 1)[-1]]
        elif "anyOf" in schema:
            variants = [variant for variant in schema["anyOf"] if variant.get("type") != "null"]
            nullable = nullable or len(variants) < len(schema["anyOf"])
            if len(variants) != 1:
                return _Shape({"anyOf": variants}, nullable, definitions)
            schema = variants[0]
        else:
            return _Shape(schema, nullable, definitions)


def _compare(where: str, old: _Shape, new: _Shape, *, open_door: bool) -> Iterator[Break]:
    if old.nullable and not new.nullable:
        yield Break(where, "may no longer be null")
    if new.nullable and not old.nullable and not open_door:
        yield Break(where, "may now be null, which its readers do not expect")
    before, after = old.body, new.body
    if before.get("anyOf") != after.get("anyOf"):
        yield Break(where, "its alternatives changed")
        return
    kinds = [(schema.get("type"), schema.get("format")) for schema in (before, after)]
    if kinds[0] != kinds[1]:
        was, now = (" ".join(part for part in kind if part) or "anything" for kind in kinds)
        yield Break(where, f"was {was}, is {now}")
        return
    yield from _compare_values(where, before, after)
    yield from _compare_fields(where, old, new, open_door=open_door)
    for inner in ("items", "additionalProperties"):
        if isinstance(before.get(inner), dict) and isinstance(after.get(inner), dict):
            inside = _shape(before[inner], old.definitions), _shape(after[inner], new.definitions)
            yield from _compare(f"{where}[]", *inside, open_door=open_door)
        elif isinstance(after.get(inner), dict) and after[inner]:
            yield Break(where, "its members were anything, are restricted now")


def _compare_values(where: str, before: Schema, after: Schema) -> Iterator[Break]:
    if before.get("const") != after.get("const"):
        yield Break(where, f"was {before.get('const')!r}, is {after.get('const')!r}")
    if "enum" in after:
        gone = [value for value in before.get("enum", ()) if value not in after["enum"]]
        if gone or "enum" not in before:
            yield Break(where, f"no longer allowed: {', '.join(map(str, gone)) or 'other values than listed'}")
    for bound in _LOWER_BOUNDS:
        if bound in after and after[bound] > before.get(bound, float("-inf")):
            yield Break(where, f"{bound} was {before.get(bound)}, is {after[bound]}")
    for bound in _UPPER_BOUNDS:
        if bound in after and after[bound] < before.get(bound, float("inf")):
            yield Break(where, f"{bound} was {before.get(bound)}, is {after[bound]}")
    if "pattern" in after and after["pattern"] != before.get("pattern"):
        yield Break(where, f"pattern was {before.get('pattern')}, is {after['pattern']}")


def _compare_fields(where: str, old: _Shape, new: _Shape, *, open_door: bool) -> Iterator[Break]:
    before, after = old.body.get("properties", {}), new.body.get("properties", {})
    required_before, required_after = set(old.body.get("required", ())), set(new.body.get("required", ()))
    for field in before:
        if field not in after:
            yield Break(f"{where}.{field}", "the field went")
        else:
            inside = _shape(before[field], old.definitions), _shape(after[field], new.definitions)
            yield from _compare(f"{where}.{field}", *inside, open_door=open_door)
    for field in sorted(required_after - required_before):
        yield Break(f"{where}.{field}", "is required now")
    if not open_door:
        for field in sorted((required_before - required_after) & set(after)):
            yield Break(f"{where}.{field}", "is no longer promised to its readers")


def last_release(folder: Path = RELEASED) -> Path | None:
    releases = list(folder.glob("v*.json"))
    return max(releases, key=lambda path: [int(number) for number in re.findall(r"\d+", path.stem)], default=None)


def main() -> int:
    from generate import json_schemas, open_types

    released = last_release()
    if released is None:
        sys.stderr.write("no release in schemas/released yet\n")
        return 0
    old, new = json.loads(released.read_text("utf-8")), json_schemas()
    found = breaks(old, new, open_types())
    for broken in found:
        sys.stderr.write(f"{released.stem} → now: {broken}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
