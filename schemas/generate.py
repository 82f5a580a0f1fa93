"""Write what follows from the models: `json/*.json` (JSON Schema per message type) and `asyncapi.yaml`.

`python schemas/generate.py` writes, `--check` only compares and exits 1 where a file is out of date,
`--release 0.2` also freezes the present schemas as those of a release, which `compatibility.py` holds later ones to.
Needs pyyaml, which the distribution itself does not.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import yaml
from runtide_schemas import message
from runtide_schemas.topics import MAX_MESSAGE_BYTES, TOPICS, Topic

HERE = Path(__file__).resolve().parent
SCHEMA_ID = "https://runtide.example/schemas"
DIALECT = "https://json-schema.org/draft/2020-12/schema"

# topic → what its key means; elsewhere the run's id
KEYS = {
    "runs.commands.v1": ("The instance's id (of a cancel the run's); advice only, nothing relies on it.", "uuid"),
    "prefect.flow-run-states.v1": ("The flow run's id.", "uuid"),
    "instances.commands.v1": ("The tenant.", None),
    "instances.status.v1": ("The instance's id.", "uuid"),
    "activities.v1": ("The tenant.", None),
}
HEADERS = {
    "ce_specversion": ("CloudEvents version.", {"const": "1.0"}),
    "ce_id": ("Id of the event; of a command without command_id it stands for it.", {}),
    "ce_type": ("The same as `type` in the value.", {}),
    "ce_source": ("Who wrote it, as a URI reference.", {"format": "uri-reference"}),
    "ce_time": ("When it was written, ISO 8601 UTC.", {"format": "date-time"}),
    "ce_subject": ("What it is about.", {}),
    "ce_correlationid": ("Shared by all that follows from one command.", {}),
    "ce_causationid": ("The ce_id of the message that caused this one.", {}),
    "traceparent": ("W3C trace context.", {}),
    "content-type": ("Of the value.", {"const": "application/json"}),
}
OPTIONAL_HEADERS = ("ce_subject", "ce_correlationid", "ce_causationid", "traceparent")


def message_schema(model: type[message.Message]) -> dict[str, Any]:
    schema = model.model_json_schema()
    return {"$schema": DIALECT, "$id": f"{SCHEMA_ID}/{model.wire_type()}.json", **schema}


def json_schemas() -> dict[str, dict[str, Any]]:
    """type → JSON Schema of all that the topics carry."""
    return {model.wire_type(): message_schema(model) for topic in TOPICS for model in topic.messages}


def asyncapi() -> dict[str, Any]:
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Runtide",
            "version": "0.1.0",
            "license": {"name": "Apache-2.0"},
            "description": "CloudEvents 1.0 in Kafka's binary mode: the envelope is headers, the value is the message. "
            f"On topics that clients write every header may be absent. No message exceeds {MAX_MESSAGE_BYTES} bytes.",
        },
        "defaultContentType": "application/json",
        "channels": {_key(topic.name): _channel(topic) for topic in TOPICS},
        "operations": {_key(f"{_action(topic)}.{topic.name}"): _operation(topic) for topic in TOPICS},
        "components": {
            "messages": {
                model.wire_type(): _message(model, topic, required=not topic.open_door)
                for topic in TOPICS
                for model in topic.messages
            },
            "schemas": {"cloudEventHeaders": _headers(required=True), "clientHeaders": _headers(required=False)},
        },
    }


def _key(name: str) -> str:
    return name.replace(".", "_").replace("-", "_")


def _action(topic: Topic) -> str:
    return "receive" if topic.open_door else "send"


def _channel(topic: Topic) -> dict[str, Any]:
    configuration: dict[str, Any] = {"cleanup.policy": ["compact" if topic.compacted else "delete"]}
    if topic.retention_ms is not None:
        configuration["retention.ms"] = topic.retention_ms
    return {
        "address": topic.name,
        "title": topic.name,
        "description": f"{topic.about} Written by: {topic.writer}."
        + ("" if topic.public else " Not public: between the services."),
        "messages": {
            _key(kind): {"$ref": "#/components/messages/" + kind.replace("~", "~0").replace("/", "~1")}
            for kind in topic.types
        },
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": configuration,
                "bindingVersion": "0.5.0",
            }
        },
    }


def _operation(topic: Topic) -> dict[str, Any]:
    return {"action": _action(topic), "channel": {"$ref": f"#/channels/{_key(topic.name)}"}, "summary": topic.about}


def _message(model: type[message.Message], topic: Topic, *, required: bool) -> dict[str, Any]:
    meaning, text_format = KEYS.get(topic.name, ("The run's id.", "uuid"))
    key = {"type": "string", "description": meaning} | ({"format": text_format} if text_format else {})
    return {
        "name": model.wire_type(),
        "title": model.__name__,
        "summary": " ".join((model.__doc__ or "").split()) or model.__name__,
        "contentType": "application/json",
        "headers": {"$ref": f"#/components/schemas/{'cloudEventHeaders' if required else 'clientHeaders'}"},
        "payload": {
            "schemaFormat": "application/schema+json;version=draft-2020-12",
            "schema": {"$ref": f"./json/{model.wire_type()}.json"},
        },
        "bindings": {"kafka": {"key": key, "bindingVersion": "0.5.0"}},
    }


def _headers(*, required: bool) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {
            name: {"type": "string", "description": description, **more}
            for name, (description, more) in HEADERS.items()
        },
    }
    if required:
        schema["required"] = [name for name in HEADERS if name not in OPTIONAL_HEADERS]
    return schema


def open_types() -> frozenset[str]:
    """Written by clients and read by us: for such a type the reader may grow more lenient."""
    return frozenset(kind for topic in TOPICS if topic.open_door for kind in topic.types)


def files() -> dict[Path, str]:
    """path → what it must contain."""
    written = {HERE / "json" / f"{kind}.json": _json(schema) for kind, schema in json_schemas().items()}
    header = "# Generated from runtide_schemas by generate.py; do not edit.\n"
    written[HERE / "asyncapi.yaml"] = header + yaml.safe_dump(
        asyncapi(), sort_keys=False, allow_unicode=True, width=120
    )
    return written


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def out_of_date() -> list[Path]:
    """Files that differ, are missing, or belong to no message any more."""
    wanted = files()
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text("utf-8") != text]
    return stale + [path for path in sorted((HERE / "json").glob("*.json")) if path not in wanted]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a file is out of date")
    parser.add_argument("--release", metavar="VERSION", help="freeze the present schemas as those of this release")
    options = parser.parse_args(arguments)
    stale = out_of_date()
    if options.check:
        for path in stale:
            sys.stderr.write(f"out of date: schemas/{path.relative_to(HERE)}; run python schemas/generate.py\n")
        return 1 if stale else 0
    for path, text in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    for path in set(stale) - set(files()):
        path.unlink()
    if options.release:
        released = HERE / "released" / f"v{options.release}.json"
        released.parent.mkdir(exist_ok=True)
        released.write_text(_json(json_schemas()), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
