"""What a release wrote stays readable, and says the same when we write it again."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from pydantic import ValidationError
from runtide_schemas.topics import TOPICS, key_of, topic_of

SCHEMAS = Path(__file__).resolve().parents[3] / "schemas"
GOLDEN = sorted((SCHEMAS / "golden").glob("v*/*.json"))
TOPIC_OF_TYPE = {kind: topic for topic in TOPICS for kind in topic.types}


def named(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text("utf-8")))


def kept(before: Any, after: Any) -> bool:
    """All that `before` says, `after` says too; it may say more."""
    if isinstance(before, dict) and isinstance(after, dict):
        return all(name in after and kept(value, after[name]) for name, value in before.items())
    if isinstance(before, list) and isinstance(after, list):
        return len(before) == len(after) and all(kept(*pair) for pair in zip(before, after, strict=True))
    return bool(before == after)


@pytest.mark.parametrize("path", GOLDEN, ids=named)
def test_a_golden_message_is_read_and_written_again_unchanged(path: Path) -> None:
    value = read(path)
    topic = TOPIC_OF_TYPE[value["type"]]
    message = topic.adapter.validate_json(path.read_bytes())
    again = message.to_json()
    assert kept(value, json.loads(again))
    assert topic.adapter.validate_json(again) == message
    assert topic_of(message) is topic
    assert key_of(message)


@pytest.mark.parametrize("path", GOLDEN, ids=named)
def test_jsonschema_accepts_a_golden_message_as_an_independent_reader(path: Path) -> None:
    value = read(path)
    validator = Draft202012Validator(read(SCHEMAS / "json" / f"{value['type']}.json"), format_checker=FormatChecker())
    validator.validate(value)
    written = TOPIC_OF_TYPE[value["type"]].adapter.validate_json(path.read_bytes()).to_json()
    validator.validate(json.loads(written))


@pytest.mark.parametrize("path", GOLDEN, ids=named)
def test_a_tolerant_reader_ignores_what_a_newer_writer_adds(path: Path) -> None:
    value = read(path)
    adapter = TOPIC_OF_TYPE[value["type"]].adapter
    assert adapter.validate_json(json.dumps(value | {"from_the_future": {"a": 1}})) == adapter.validate_json(
        json.dumps(value)
    )


@pytest.mark.parametrize("path", [p for p in GOLDEN if p.stem.endswith(".minimal")], ids=named)
def test_a_minimal_message_has_nothing_to_spare(path: Path) -> None:
    value = read(path)
    for field in value:
        with pytest.raises(ValidationError):
            TOPIC_OF_TYPE[value["type"]].adapter.validate_json(
                json.dumps({name: one for name, one in value.items() if name != field})
            )


def test_every_type_has_a_full_and_a_minimal_golden_message() -> None:
    names = {path.stem for path in GOLDEN}
    for kind in TOPIC_OF_TYPE:
        assert {f"{kind}.full", f"{kind}.minimal"} <= names


@pytest.mark.parametrize("path", [p for p in GOLDEN if p.stem.endswith(".full")], ids=named)
def test_a_full_message_names_every_field_of_its_release(path: Path) -> None:
    released = read(SCHEMAS / "released" / f"{path.parent.name}.json")
    value = read(path)
    assert set(value) == set(released[value["type"]]["properties"])
