from __future__ import annotations

import json
from dataclasses import replace

import pytest
from runtide_schemas.vocabulary import Code, FlowKind, InstanceType, OnUpstream

from services.lineage.domain import definition
from services.lineage.domain.definition import FlowDefinition, Registration, Rejected
from services.lineage.domain.world import Instance, Upstream, World
from tests.unit.lineage.sessions import XNYS
from tests.unit.lineage.worlds import NOW, TENANT, all_ready, at, id_of, instance, key, upstream, world

EMPTY = World(TENANT, {})
REFRESH = (FlowDefinition(FlowKind.REFRESH, "refresh-x/prod"),)
MODEL = tuple(FlowDefinition(kind, f"{kind}-x/prod") for kind in (FlowKind.TRAINING, FlowKind.INFERENCE))


def register(of: World, name: str, **fields: object) -> Instance | Rejected:
    given = {"instance_type": InstanceType.SIGNAL, "flows": REFRESH, **fields}
    return definition.registered(of, Registration(id_of(name), name, **given))  # type: ignore[arg-type]


def kept(answer: Instance | Rejected) -> Instance:
    assert isinstance(answer, Instance), answer
    return answer


@pytest.mark.parametrize(
    ("of", "name", "fields", "says"),
    [
        (EMPTY, "x", {"instance_type": None}, "name its instance_type and flows"),
        (EMPTY, "x", {"flows": None}, "name its instance_type and flows"),
        (EMPTY, "x", {"flows": ()}, "name its instance_type and flows"),
        (EMPTY, "x", {"flows": MODEL}, "a SignalInstance has no flow 'training'; allowed: refresh"),
        (EMPTY, "x", {"flows": REFRESH * 2}, "names the flow 'refresh' twice"),
        (world("x"), "x", {"instance_type": InstanceType.DATASET}, "an instance keeps its type"),
        (EMPTY, "x", {"upstreams": (upstream("x"),)}, "x/refresh can not read itself"),
        (EMPTY, "x", {"upstreams": (upstream("a"), upstream("a", role="again"))}, "names a twice"),
        (EMPTY, "x", {"upstreams": (upstream("a"), upstream("b", role="a"))}, "two upstreams in the role 'a'"),
        (world("x -> b -> c"), "x", {"upstreams": (upstream("c"),)}, "cycle: "),
        (world("b -> c"), "x", {"upstreams": (upstream("b", flow_kind=FlowKind.TRAINING),)}, "has no flow 'training'"),
        (EMPTY, "x", {"upstreams": (upstream("a", flows=(FlowKind.TRAINING,)),)}, "x has: refresh"),
    ],
)
def test_what_can_not_be_registered_is_refused_by_name(
    of: World, name: str, fields: dict[str, object], says: str
) -> None:
    answer = register(of, name, **fields)
    assert isinstance(answer, Rejected)
    assert answer.code is Code.INVALID_COMMAND
    assert says in answer.message


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({"calendar": "XNYZ"}, "calendar 'XNYZ' is not known; nearest: XNYS; run: runtide calendars sync XNYZ"),
        ({"timezone": "America/New_Yrok"}, "unknown time zone 'America/New_Yrok'; nearest: America/New_York"),
    ],
)
def test_a_date_rule_on_days_that_nobody_knows_is_refused_with_the_nearest(rule: dict[str, str], says: str) -> None:
    known = EMPTY.with_calendars({"XNYS": XNYS})
    answer = register(known, "x", update_frequency=(json.dumps({"frequency": "daily", **rule}),))
    assert isinstance(answer, Rejected)
    assert says in answer.message
    fine = json.dumps({"frequency": "daily", "calendar": "XNYS", "timezone": "Europe/Berlin"})
    assert kept(register(known, "x", update_frequency=(fine,))).update_frequency == fine


ORDER = ("ready", "running", "stale_source_delayed", "stale", "not_initialized", "error")


@pytest.mark.parametrize("order", [(), ORDER[:5], (*ORDER, "error"), (*ORDER[:5], "broken"), (*ORDER[:5], "retired")])
def test_an_order_of_statuses_that_is_none_is_refused_with_the_words(order: tuple[str, ...]) -> None:
    answer = register(EMPTY, "x", status_order=(order,))
    assert isinstance(answer, Rejected)
    assert "status_order names each of error, not_initialized, stale" in answer.message


def test_an_order_of_statuses_is_kept_until_it_is_named_as_null() -> None:
    x = kept(register(EMPTY, "x", status_order=(ORDER,)))
    of = EMPTY.with_instance(x)
    assert kept(register(of, "x")).status_order == x.status_order == ORDER
    assert kept(register(of, "x", status_order=(None,))).status_order is None


def test_a_cycle_through_an_instance_that_was_not_there_yet_is_refused_when_it_comes() -> None:
    of = World(TENANT, {id_of("a"): instance("a", "x")})
    answer = register(of, "x", upstreams=(upstream("a"),))
    assert isinstance(answer, Rejected)
    assert answer.message in ("cycle: x/refresh → a/refresh → x/refresh", "cycle: a/refresh → x/refresh → a/refresh")


def test_a_model_may_not_read_in_a_ring_through_its_own_flows() -> None:
    answer = register(
        EMPTY, "m", instance_type=InstanceType.MODEL, flows=MODEL,
        upstreams=(upstream("m", role="own", flow_kind=FlowKind.INFERENCE, flows=(FlowKind.TRAINING,)),),
    )  # fmt: skip
    assert isinstance(answer, Rejected)
    assert "cycle: " in answer.message


def test_a_name_belongs_to_one_instance() -> None:
    answer = definition.registered(world("x"), Registration(id_of("other"), "x", InstanceType.SIGNAL, REFRESH))
    assert isinstance(answer, Rejected)
    assert "belongs to instance" in answer.message


def test_registering_again_replaces_what_it_names_and_keeps_the_rest() -> None:
    of = all_ready(world("a -> x"))
    of = of.with_instance(replace(of.instances[id_of("x")], owner="ana", update_frequency="{}"))
    before = of.instances[id_of("x")]
    assert kept(register(of, "x", instance_type=None, flows=None)) == before
    renewed = kept(register(of, "x", flows=(replace(REFRESH[0], on_upstream=OnUpstream.REFRESH),), upstreams=()))
    assert renewed.upstreams == ()
    assert renewed.flows[0].on_upstream is OnUpstream.REFRESH
    assert renewed.flows[0].version == before.flows[0].version  # facts stay
    assert (renewed.owner, renewed.update_frequency) == ("ana", "{}")
    assert kept(register(of, "x", owner=(None,), update_frequency=(None,))).owner is None


def test_the_limit_of_open_runs_has_a_default_by_kind() -> None:
    model = kept(register(EMPTY, "m", instance_type=InstanceType.MODEL, flows=MODEL))
    assert [flow.max_open_runs for flow in model.flows] == [1, 10]


def test_an_edge_without_a_role_has_its_upstreams_name_for_one() -> None:
    [edge] = kept(register(world("a"), "x", upstreams=(Upstream(id_of("a"), str(id_of("a")), ""),))).upstreams
    assert (edge.name, edge.role) == ("a", "a")


def test_an_edge_without_a_flow_reads_the_main_one_once_its_upstream_is_registered() -> None:
    x = instance("x", "m")
    alone = World(TENANT, {x.instance_id: x})
    assert [edge.upstream for edge in alone.graph.edges] == [key("m", None)]
    model = kept(register(alone, "m", instance_type=InstanceType.MODEL, flows=MODEL))
    edges = alone.with_instance(model).graph.into(key("x"))
    assert [edge.upstream for edge in edges] == [key("m", FlowKind.INFERENCE)]


def test_connecting_twice_is_connecting_once_and_disconnecting_takes_it_away() -> None:
    of = world("a", "x")
    once = kept(definition.connected(of, id_of("x"), (upstream("a"),)))
    twice = kept(definition.connected(of.with_instance(once), id_of("x"), (upstream("a"),)))
    assert twice == once
    gone = definition.disconnected(of.with_instance(once), id_of("x"), (upstream("a", role=""),))
    assert kept(gone).upstreams == ()
    again = definition.disconnected(of, id_of("x"), (upstream("a"),))
    assert isinstance(again, Rejected)


def test_disconnecting_one_of_several_flows_keeps_the_others() -> None:
    model = instance("m", "a", kinds=(FlowKind.TRAINING, FlowKind.INFERENCE))
    of = World(TENANT, {model.instance_id: model})
    left = kept(definition.disconnected(of, id_of("m"), (upstream("a", flows=(FlowKind.INFERENCE,)),)))
    assert left.upstreams[0].flows == (FlowKind.TRAINING,)


def test_a_retired_instance_is_revived_by_registering_it_again() -> None:
    of = world("x")
    gone = kept(definition.retired(of, id_of("x"), now=NOW))
    assert gone.status == "retired"
    after = of.with_instance(gone)
    assert kept(definition.retired(after, id_of("x"), now=at(9))).retired_at == NOW
    refused = definition.connected(after, id_of("x"), (upstream("a"),))
    assert isinstance(refused, Rejected)
    assert refused.code is Code.INSTANCE_RETIRED
    assert kept(register(after, "x")).status == "not_initialized"


def test_the_same_definition_again_is_no_change() -> None:
    of = world("x")
    first = kept(definition.redefined(of, id_of("x"), "sha256:1", at=at(1)))
    again = kept(definition.redefined(of.with_instance(first), id_of("x"), "sha256:1", at=at(2)))
    assert again.definition_changed_at == at(1)


def test_a_command_about_nobody_is_refused() -> None:
    answer = definition.redefined(EMPTY, id_of("x"), "d", at=NOW)
    assert isinstance(answer, Rejected)
    assert answer.code is Code.UNKNOWN_INSTANCE
