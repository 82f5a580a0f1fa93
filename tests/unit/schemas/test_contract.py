"""Topics, generated files, and the check that a change stays readable by old readers."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from runtide_schemas.topics import TOPICS, topic_named

from schemas import compatibility, generate

DAY_MS = 86_400_000
SCHEMAS = Path(__file__).resolve().parents[3] / "schemas"
INTENT = {
    "runs.commands.v1": (6, 7, True),
    "requests.status.v1": (12, 30, True),
    "requests.decisions.v1": (6, 7, False),
    "prefect.flow-run-states.v1": (12, 7, False),
    "runs.reports.v1": (12, 7, True),
    "runs.status.v1": (12, 30, True),
    "runs.progress.v1": (12, 1, True),
    "instances.commands.v1": (3, 7, True),
    "instances.status.v1": (6, None, True),
    "activities.v1": (6, 90, True),
}


def test_the_topics_are_those_of_the_architecture() -> None:
    assert [topic.name for topic in TOPICS] == list(INTENT)
    for topic in TOPICS:
        partitions, days, public = INTENT[topic.name]
        assert topic.partitions == partitions
        assert topic.retention_ms == (None if days is None else days * DAY_MS)
        assert topic.compacted == (days is None)
        assert topic.public == public
        assert topic_named(topic.name) is topic


def test_each_type_lies_in_one_topic() -> None:
    kinds = [kind for topic in TOPICS for kind in topic.types]
    assert len(kinds) == len(set(kinds))


def test_the_type_is_required_on_the_wire_although_python_knows_it() -> None:
    for topic in TOPICS:
        with pytest.raises(ValueError, match="'type'"):
            topic.adapter.validate_json(b'{"tenant": "acme"}')
        with pytest.raises(ValueError, match=r"no\.such\.type"):
            topic.adapter.validate_json(b'{"type": "no.such.type"}')


def test_the_generated_files_are_up_to_date() -> None:
    assert generate.out_of_date() == []
    assert generate.main(["--check"]) == 0


def test_the_asyncapi_document_names_every_topic_and_message_and_its_references_resolve() -> None:
    document = yaml.safe_load((SCHEMAS / "asyncapi.yaml").read_text("utf-8"))
    assert document["asyncapi"].startswith("3.0")
    assert {channel["address"] for channel in document["channels"].values()} == set(INTENT)
    assert set(document["components"]["messages"]) == {kind for topic in TOPICS for kind in topic.types}
    for reference in references(document):
        if reference.startswith("#/"):
            target: Any = document
            for step in reference[2:].split("/"):
                target = target[step]
        else:
            assert (SCHEMAS / reference).is_file()


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if "$ref" in value else []
        return own + [reference for inner in value.values() for reference in references(inner)]
    return [reference for inner in value for reference in references(inner)] if isinstance(value, list) else []


def test_every_message_of_the_last_release_is_still_readable() -> None:
    assert compatibility.last_release() is not None
    assert compatibility.main() == 0


Schemas = dict[str, Any]
RUN, SUBMIT = "run.status_changed", "run.submit"


def remove_a_field(new: Schemas) -> None:
    del new[RUN]["properties"]["step"]


def rename_a_field(new: Schemas) -> None:
    new[RUN]["properties"]["phase"] = new[RUN]["properties"].pop("step")


def retype_a_field(new: Schemas) -> None:
    new[RUN]["properties"]["attempt"] = {"type": "string"}


def retype_a_nullable_field(new: Schemas) -> None:
    new[RUN]["properties"]["last_data_date"]["anyOf"][0]["format"] = "date-time"


def require_a_field(new: Schemas) -> None:
    new[SUBMIT]["required"].append("flow_kind")


def no_longer_promise_a_field(new: Schemas) -> None:
    new[RUN]["required"].remove("seq")


def drop_a_message(new: Schemas) -> None:
    del new["request.parked"]


def drop_an_enum_value(new: Schemas) -> None:
    new[RUN]["$defs"]["RunStatus"]["enum"].remove("cancelled")


def remove_a_field_of_a_part(new: Schemas) -> None:
    del new["instance.status_changed"]["$defs"]["FlowSnapshot"]["properties"]["freshness"]


def retype_the_members_of_a_map(new: Schemas) -> None:
    new[RUN]["properties"]["artifacts"]["additionalProperties"] = {"type": "object"}


def shorten_a_text(new: Schemas) -> None:
    new[SUBMIT]["properties"]["command_id"]["anyOf"][0]["maxLength"] = 36


def forbid_null(new: Schemas) -> None:
    new[SUBMIT]["properties"]["wait_until"]["anyOf"].pop()


def allow_null_where_readers_expect_none(new: Schemas) -> None:
    new[RUN]["properties"]["seq"] = {"anyOf": [new[RUN]["properties"]["seq"], {"type": "null"}]}


@pytest.mark.parametrize(
    "change",
    [
        remove_a_field,
        rename_a_field,
        retype_a_field,
        retype_a_nullable_field,
        require_a_field,
        no_longer_promise_a_field,
        drop_a_message,
        drop_an_enum_value,
        remove_a_field_of_a_part,
        retype_the_members_of_a_map,
        shorten_a_text,
        forbid_null,
        allow_null_where_readers_expect_none,
    ],
)
def test_control_a_change_that_breaks_readers_is_found(change: Callable[[Schemas], None]) -> None:
    new = changed(change)
    assert compatibility.breaks(generate.json_schemas(), new, generate.open_types())


def add_an_optional_field(new: Schemas) -> None:
    new[RUN]["properties"]["zone"] = {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}


def add_a_message(new: Schemas) -> None:
    new["run.paused"] = new[RUN]


def add_an_enum_value(new: Schemas) -> None:
    new[RUN]["$defs"]["SubState"]["enum"].append("dancing")


def no_longer_require_a_clients_field(new: Schemas) -> None:
    new["run.cancel"]["required"].remove("run_id")


def allow_a_longer_text(new: Schemas) -> None:
    new[SUBMIT]["properties"]["command_id"]["anyOf"][0]["maxLength"] = 400


@pytest.mark.parametrize(
    "change",
    [add_an_optional_field, add_a_message, add_an_enum_value, no_longer_require_a_clients_field, allow_a_longer_text],
)
def test_a_change_that_old_readers_do_not_notice_is_fine(change: Callable[[Schemas], None]) -> None:
    assert compatibility.breaks(generate.json_schemas(), changed(change), generate.open_types()) == []


def changed(change: Callable[[Schemas], None]) -> Schemas:
    new: Schemas = copy.deepcopy(json.loads(json.dumps(generate.json_schemas())))
    change(new)
    return new
