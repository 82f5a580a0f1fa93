"""A platform file is checked as a whole, and every problem names its line."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from runtide.errors import PlatformInvalid
from runtide.platform import Platform
from runtide_schemas.vocabulary import FlowKind, OnUpstream

from tests.unit.sdk.stories import SETTINGS

GOOD = """\
tenant: acme
instances:
  - name: prices
    instance_type: DatasetInstance
    owner: data@acme
    flows:
      - {kind: refresh, deployment: refresh-prices/prod}
    update_frequency: {frequency: daily, available_at: 18:00, timezone: America/New_York}
  - name: momentum
    instance_type: SignalInstance
    flows:
      - kind: refresh
        deployment: refresh-momentum/prod
        on_upstream: refresh
    upstreams: [prices]
  - name: model
    instance_type: ModelInstance
    flows:
      - {kind: train, deployment: train/prod}
      - {kind: infer, deployment: infer/prod}
    upstreams:
      - {instance: momentum, role: features, flows: [training]}
"""


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(PlatformInvalid) as invalid:
        Platform.parse(text, name="p.yaml")
    return invalid.value.problems


def test_a_good_file_becomes_registrations_of_the_clients_tenant() -> None:
    prices, momentum, model = Platform.parse(GOOD).registrations(SETTINGS)
    assert (prices.tenant, prices.actor) == ("acme", "ana@acme")
    assert prices.update_frequency is not None
    assert prices.update_frequency.available_at == "18:00"
    assert momentum.flows is not None
    assert momentum.flows[0].on_upstream is OnUpstream.REFRESH
    assert momentum.upstreams is not None
    assert momentum.upstreams[0].instance == "prices"
    assert [flow.kind for flow in model.flows or ()] == [FlowKind.TRAINING, FlowKind.INFERENCE]
    assert not prices.names("upstreams")


def test_when_a_flow_runs_by_itself_is_said_with_it_and_a_wrong_word_names_its_line() -> None:
    by_itself = "schedule: {sessions: XNYS, at: 18:05}\n        retry: {max: 2, on: [timed_out]}"
    [_, momentum, _] = Platform.parse(GOOD.replace("on_upstream: refresh", by_itself)).registrations(SETTINGS)
    [flow] = momentum.flows or ()
    assert flow.schedule is not None
    assert flow.retry is not None
    assert (flow.schedule.sessions, flow.schedule.at, flow.retry.on) == ("XNYS", "18:05", ["timed_out"])
    wrong = GOOD.replace("on_upstream: refresh", by_itself.replace("sessions", "session"))
    assert problems(wrong)[0] == "p.yaml:14: unknown key 'session'; did you mean 'sessions'?"


def test_how_long_a_refresh_waits_is_a_duration() -> None:
    waits = GOOD.replace("on_upstream: refresh", "max_wait: PT2H\n        min_interval: P1D")
    [_, momentum, _] = Platform.parse(waits).registrations(SETTINGS)
    assert momentum.flows is not None
    assert (momentum.flows[0].max_wait, momentum.flows[0].min_interval) == (timedelta(hours=2), timedelta(days=1))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("owner: data@acme", "ownr: data@acme", "p.yaml:5: unknown key 'ownr'; did you mean 'owner'?"),
        ("frequency: daily", "frequency: dayly", "p.yaml:8: update_frequency.frequency: Input should be 'daily'"),
        ("18:00", "25:00", "p.yaml:8: update_frequency.available_at: String should match"),
        ("America/New_York", "America/Newyork", "p.yaml:8: unknown time zone 'America/Newyork'"),
        ("deployment: refresh-momentum/prod", "deployment: refresh-momentum", "p.yaml:13: flows.0.deployment"),
        ("on_upstream: refresh", "on_upstrem: refresh", "p.yaml:14: unknown key 'on_upstrem'; did you mean 'on_up"),
        (
            "on_upstream: refresh",
            "max_wait: two hours",
            "p.yaml:14: flows.0.max_wait: Input should be a valid duration",
        ),
        ("kind: train,", "kind: refresh,", "p.yaml:19: a ModelInstance has no flow 'refresh'; allowed: training"),
        ("kind: infer,", "kind: training,", "p.yaml:20: model names the flow 'training' twice"),
        ("flows: [training]", "flows: [monitoring]", "p.yaml:22: the edge to momentum names the flow 'monitoring'"),
        ("name: momentum", "name: prices", "p.yaml:9: the name 'prices' is taken by line 3"),
        ("name: prices", "name: my prices", "p.yaml:3: name: "),
        ("    instance_type: SignalInstance\n", "", "p.yaml:9: instance 'momentum' has no instance_type"),
        ("upstreams: [prices]", "upstreams: [momentum]", "p.yaml:15: momentum/refresh can not read itself"),
        ("upstreams: [prices]", "upstreams: [model]", "cycle: "),
        ("instances:", "instance:", "p.yaml:1: expected `instances:`"),
        ("  - name: prices", "  - name: prices\n    name: prices", "p.yaml:4: the key 'name' is there twice"),
        ("flows:\n      - {kind: refresh", "flows:\n      - {kind: refresh]", "p.yaml:7:"),
    ],
)
def test_a_problem_is_found_with_its_line(old: str, new: str, said: str) -> None:
    assert any(said in problem for problem in problems(GOOD.replace(old, new, 1)))


def test_all_problems_are_told_at_once_in_the_order_of_the_file() -> None:
    found = problems(
        GOOD.replace("owner:", "ownr:").replace("on_upstream:", "on_upstrem:").replace("name: model", "nme: m")
    )
    assert [problem.split(":")[1] for problem in found] == ["5", "14", "16", "16"]


def test_an_upstream_that_is_not_in_the_file_is_a_warning_with_near_names() -> None:
    platform = Platform.parse(GOOD.replace("[prices]", "[price]"), name="p.yaml")
    assert platform.warnings == ("p.yaml:15: momentum reads price, which is not in this file; did you mean 'prices'?",)


def test_a_file_of_another_tenant_is_refused() -> None:
    with pytest.raises(PlatformInvalid, match="it is of tenant 'acme', this client of 'other'"):
        Platform.parse(GOOD).registrations(replace(SETTINGS, tenant="other"))


def test_a_merge_key_fills_what_is_absent() -> None:
    text = """\
instances:
  - &dataset
    name: a
    instance_type: DatasetInstance
    flows: [{kind: refresh, deployment: f/a}]
  - <<: *dataset
    name: b
"""
    assert [c.name for c in Platform.parse(text).registrations(SETTINGS)] == ["a", "b"]
