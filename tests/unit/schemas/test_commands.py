import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from runtide_schemas.commands import CancelRun, InvalidSubmission, SubmitRun, read_submission
from runtide_schemas.instances import FlowSpec, RegisterInstance
from runtide_schemas.topics import INSTANCES_COMMANDS, RUNS_COMMANDS, TOPICS
from runtide_schemas.vocabulary import FlowKind, Gate, Mode, Trigger, instance_id_of, run_id_of

SUBMIT: dict[str, Any] = {"type": "run.submit", "tenant": "acme", "instance": "momentum", "command_id": "1"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
PLAN = "0b9f3f52-7b1c-5d2a-9c4e-0a1b2c3d4e5f"
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def submission(**fields: Any) -> SubmitRun | InvalidSubmission:
    read: SubmitRun | InvalidSubmission = RUNS_COMMANDS.adapter.validate_json(json.dumps(SUBMIT | fields))
    return read


def test_a_bare_submission_gets_the_defaults_of_the_contract() -> None:
    read = RUNS_COMMANDS.adapter.validate_json(b'{"type":"run.submit","tenant":"acme","instance":"momentum"}')
    assert read == SubmitRun(tenant="acme", instance="momentum")
    assert (read.mode, read.gate, read.trigger) == (Mode.INCREMENTAL, Gate.STRICT, Trigger.MANUAL)
    assert (read.command_id, read.flow_kind, read.wait_until, read.actor) == (None, None, None, "unknown")
    assert read.parameters == {}
    assert read.skip_if_ready is False


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"mode": "sideways"}, "mode: Input should be 'incremental', 'overwrite' or 'preview' (got 'sideways')"),
        ({"gate": "open"}, "gate: Input should be 'strict', 'wait', 'force' or 'recursive' (got 'open')"),
        ({"flow_kind": "dance"}, "flow_kind: unknown flow kind 'dance'; allowed: refresh"),
        ({"wait_until": "tomorrow"}, "wait_until: Input should be a valid datetime"),
        ({"wait_until": "2026-11-20T12:00:00"}, "wait_until: Input should have timezone info"),
        ({"parameters": [1]}, "parameters: Input should be an object"),
        ({"parameters": {"x": "y" * 65536}}, "bytes of JSON, allowed are 65536"),
        ({"parameters": {"a": [{"b": float("nan")}]}}, "a[0].b is nan, allowed are finite numbers"),
        ({"parameters": {"a": "b\0c"}}, "a contains a NUL character"),
        ({"skip_if_ready": "yes"}, "skip_if_ready: Input should be a valid boolean (got 'yes')"),
        ({"instance": "no name"}, "instance: String should match pattern"),
        ({"actor": 7}, "actor: Input should be a valid string (got 7)"),
        ({"plan_id": "tuesday's"}, "plan_id: Input should be a valid UUID"),
        ({"plan_id": PLAN, "gate": "wait"}, "gate is 'wait'; with plan_id allowed: recursive"),
    ],
)
def test_a_readable_but_invalid_submission_is_a_value_with_a_reason(fields: dict[str, Any], reason: str) -> None:
    read = submission(**fields)
    assert isinstance(read, InvalidSubmission)
    assert reason in read.reason
    assert (read.tenant, read.command_id) == ("acme", "1")
    assert read.instance_id == instance_id_of("acme", fields.get("instance", "momentum"))
    assert read == read_submission(SUBMIT | fields)


@pytest.mark.parametrize("command_id", ["", "x" * 201, 7, "a\0b"])
def test_an_unreadable_command_id_counts_as_none_given(command_id: object) -> None:
    read = submission(command_id=command_id)
    assert isinstance(read, InvalidSubmission)
    assert read.command_id is None
    assert read.reason.startswith("command_id: ")


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"not json",
        b"\xff",
        b"null",
        b"[]",
        b'{"type":"run.submit","instance":"momentum"}',
        b'{"type":"run.submit","tenant":"acme"}',
        b'{"type":"run.submit","tenant":"No Tenant","instance":"momentum"}',
        b'{"type":"run.submit","tenant":"acme","instance":7}',
        b'{"type":"run.cancel","tenant":"acme","run_id":"no-uuid"}',
        b'{"type":"run.dance","tenant":"acme","instance":"momentum"}',
        b'{"tenant":"acme","instance":"momentum"}',
        b'{"type":"run.submit","tenant":"acme","instance":"\\ud800","mode":"x"}',
        b'{"type":"run.submit","tenant":"acme","instance":"m","parameters":{"a":' + b"[" * 5000 + b"]" * 5000 + b"}}",
    ],
)
def test_what_names_no_tenant_and_instance_cannot_be_read(value: bytes) -> None:
    with pytest.raises(ValidationError):
        RUNS_COMMANDS.adapter.validate_json(value)


@UNHURRIED
@given(st.dictionaries(st.sampled_from([*SubmitRun.model_fields, "x"]), JSON, max_size=6))
def test_whatever_else_it_says_a_submission_with_tenant_and_instance_gets_an_answer(fields: dict[str, Any]) -> None:
    value = fields | {"type": "run.submit", "tenant": "acme", "instance": "momentum"}
    text = json.dumps(value)
    read = RUNS_COMMANDS.adapter.validate_json(text)
    assert isinstance(read, SubmitRun | InvalidSubmission)
    assert read == read_submission(text.encode()) == read_submission(value)
    assert len(read.digest) == 64


@UNHURRIED
@given(st.sampled_from(TOPICS), JSON, st.data())
def test_no_value_raises_anything_but_a_validation_error(topic: Any, value: Any, data: st.DataObject) -> None:
    if isinstance(value, dict):
        value["type"] = data.draw(st.sampled_from(topic.types))
    with suppress(ValidationError):
        topic.adapter.validate_json(json.dumps(value))


def test_two_submissions_that_ask_for_the_same_have_one_digest() -> None:
    asked = SubmitRun(tenant="acme", instance="model", flow_kind=FlowKind.TRAINING, command_id="1", actor="ana")
    same = read_submission(
        {
            "tenant": "acme",
            "instance": str(instance_id_of("acme", "model")),
            "flow_kind": "train",
            "mode": "incremental",
            "gate": "strict",
            "parameters": {},
            "actor": "bob",
        }
    )
    assert same.digest == asked.digest


@pytest.mark.parametrize(
    "other",
    [
        {"mode": "overwrite"},
        {"parameters": {"a": 1}},
        {"gate": "wait"},
        {"instance": "prices"},
        {"flow_kind": "train"},
        {"plan_id": PLAN},
        {"parent_run_id": PLAN},
    ],
)
def test_a_submission_that_asks_for_something_else_has_another_digest(other: dict[str, Any]) -> None:
    assert submission(**other).digest != submission().digest


def test_a_digest_that_a_database_holds_from_before_is_the_same_today() -> None:
    assert submission().digest == "7a35e7d4f8e645cbad674334143308c3d90140d0afc7af42d237a4a1fc6edffd"


def test_on_behalf_of_whom_it_is_asked_is_no_difference() -> None:
    assert submission(on_behalf_of="ana@acme").digest == submission().digest


def test_the_order_of_parameters_is_no_difference() -> None:
    assert submission(parameters={"a": 1, "b": 2}).digest == submission(parameters={"b": 2, "a": 1}).digest


def test_a_dict_may_hold_pythons_own_times_and_ids() -> None:
    until = datetime(2026, 11, 20, 12, tzinfo=UTC)
    read = read_submission({"tenant": "acme", "instance": "momentum", "wait_until": until, "mode": Mode.PREVIEW})
    assert isinstance(read, SubmitRun)
    assert read.wait_until == until
    with pytest.raises(ValueError, match="a set is not JSON"):
        read_submission({"tenant": "acme", "instance": "momentum", "parameters": {"a": {1}}})


def test_times_are_normalised_to_utc_and_written_with_z() -> None:
    read = submission(wait_until="2026-11-20T07:00:00-05:00")
    assert isinstance(read, SubmitRun)
    assert b'"wait_until":"2026-11-20T12:00:00Z"' in read.to_json()


def test_a_writer_cannot_construct_a_wrong_message() -> None:
    wrong: list[dict[str, Any]] = [{"run_id": "1"}, {"run_id": str(run_id_of("acme", "1"))}, {"run_id": None}]
    for fields in wrong:
        with pytest.raises(ValidationError):
            CancelRun(tenant="acme", **fields)
    message = CancelRun(tenant="acme", run_id=run_id_of("acme", "1"))
    with pytest.raises(ValidationError):
        message.tenant = "other"


def test_a_registration_keeps_what_it_does_not_name_absent_on_its_way() -> None:
    flows = [FlowSpec(kind=FlowKind.REFRESH, deployment="refresh-prices/prod")]
    sent = RegisterInstance(tenant="acme", name="prices", flows=flows, owner=None)
    got = INSTANCES_COMMANDS.adapter.validate_json(sent.to_json())
    assert json.loads(sent.to_json()).keys() == {"type", "tenant", "command_id", "actor", "name", "flows", "owner"}
    assert [field for field in RegisterInstance.model_fields if got.names(field)][-2:] == ["flows", "owner"]
    assert not got.names("upstreams")
    assert not got.names("update_frequency")


def test_null_takes_the_date_rule_away_but_no_list() -> None:
    read = RegisterInstance.model_validate_json(
        b'{"type":"instance.register","tenant":"acme","name":"prices","update_frequency":null,"flows":null}'
    )
    assert read.names("update_frequency")
    assert not read.names("flows")


@pytest.mark.parametrize("name", ["", "a b", "0d5e8a43-7d1c-4d0c-9b7a-3f5b8f0f2a10"])
def test_an_instance_is_registered_under_a_name_and_never_a_uuid(name: str) -> None:
    with pytest.raises(ValidationError):
        RegisterInstance(tenant="acme", name=name)


def test_a_flow_names_its_deployment_as_prefect_does() -> None:
    for deployment in ("prod", "a/b/c", "/prod", "flow/"):
        with pytest.raises(ValidationError):
            FlowSpec(kind=FlowKind.REFRESH, deployment=deployment)
