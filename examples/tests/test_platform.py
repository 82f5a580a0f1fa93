"""The platform file, the flows and their deployments name the same things."""

from pathlib import Path

import yaml
from runtide_schemas.instances import RegisterInstance
from runtide_schemas.vocabulary import RunType, run_type_of

from examples.quant.deployments import FLOWS

PLATFORM = yaml.safe_load((Path(__file__).parents[1] / "quant" / "platform.yaml").read_text(encoding="utf-8"))
INSTANCES = [
    RegisterInstance.model_validate({"type": "instance.register", "tenant": "acme", **body}, strict=False)
    for body in PLATFORM["instances"]
]


def test_every_deployment_that_is_registered_is_served():
    served = {f"{flow.name}/prod" for flow in FLOWS}
    assert {flow.deployment for instance in INSTANCES for flow in instance.flows} <= served


def test_all_seven_run_types_are_there():
    types = {run_type_of(instance.instance_type, flow.kind) for instance in INSTANCES for flow in instance.flows}
    assert types == set(RunType)


def test_every_flow_of_the_platform_takes_the_run_id_and_the_mode():
    for flow in FLOWS:
        if flow.name != "silent":
            assert {"run_id", "mode"} <= set(flow.parameters.properties), flow.name


def test_upstreams_are_registered_before_they_are_named():
    known: set[str] = set()
    for instance in INSTANCES:
        known.add(instance.name)
        assert {upstream.instance for upstream in instance.upstreams or ()} <= known
