from uuid import UUID

import pytest
from runtide_schemas import vocabulary as v
from runtide_schemas.vocabulary import FlowKind, InstanceType, RequestStatus, RunStatus, RunType

RUN_TYPES = [
    ("DatasetInstance", "refresh", "PipelineRun"),
    ("SignalInstance", "refresh", "PipelineRun"),
    ("ExperimentInstance", "preview", "ExperimentRun"),
    ("BacktestInstance", "backtest", "BacktestRun"),
    ("PortfolioOptimizerInstance", "optimize", "PortfolioOptimizationRun"),
    ("ModelInstance", "training", "TrainingRun"),
    ("ModelInstance", "inference", "InferenceRun"),
    ("ModelInstance", "monitoring", "MonitoringRun"),
    ("DatasetInstance", "monitoring", "MonitoringRun"),
]


def test_ids_are_the_ones_that_clients_have_computed_before() -> None:
    run_id = v.run_id_of("acme", "5f0c")
    assert str(v.RUNTIDE) == "e75d39f7-9630-5518-a853-cd05eb06aee8"
    assert str(v.instance_id_of("acme", "prices")) == "cf322e4b-10dc-5cda-abb1-dd945cedcfff"
    assert str(run_id) == "8bf93940-edd8-5fdf-a499-b4ddb402b0a4"
    assert str(v.adopted_run_id("0D5E8A43-7d1c-4d0c-9b7a-3f5b8f0f2a10")) == "18842e10-77e8-5caf-87ce-5de8057f07a7"
    assert str(v.version_id_of(run_id, 1)) == "7a005701-bde0-558d-ac01-6cd34f2f3b3e"


def test_an_instance_called_by_its_own_id_is_that_id() -> None:
    given = "0D5E8A43-7D1C-4D0C-9B7A-3F5B8F0F2A10"
    assert v.instance_id_of("acme", given) == UUID(given)


def test_no_tenant_can_take_the_id_of_another() -> None:
    assert v.run_id_of("acme", "1") != v.run_id_of("other", "1")
    assert v.instance_id_of("acme", "prices") != v.instance_id_of("other", "prices")


@pytest.mark.parametrize("text", ["0d5e8a437d1c4d0c9b7a3f5b8f0f2a10", "prices", "a.b_c-D", "9"])
def test_a_text_that_is_no_canonical_uuid_is_a_name(text: str) -> None:
    assert v.is_name(text)
    assert not v.is_uuid(text)


@pytest.mark.parametrize("text", ["", "-a", "a b", "a/b", "a\n", "x" * 129, "0d5e8a43-7d1c-4d0c-9b7a-3f5b8f0f2a10"])
def test_what_is_not_a_name(text: str) -> None:
    assert not v.is_name(text)


@pytest.mark.parametrize("text", ["", "Acme", "-a", "a_b", "acme\n", "x" * 64])
def test_what_is_not_a_tenant(text: str) -> None:
    assert not v.is_tenant(text)


def test_the_table_of_run_types_is_complete_and_every_other_pair_is_refused() -> None:
    table = {(InstanceType(i), FlowKind(k)): RunType(r) for i, k, r in RUN_TYPES}
    for instance_type in InstanceType:
        for kind in FlowKind:
            assert v.run_type_of(instance_type, kind) == table.get((instance_type, kind))
    assert {r for _, _, r in RUN_TYPES} == set(RunType)


def test_every_instance_type_has_its_main_flow() -> None:
    for instance_type in InstanceType:
        assert v.main_flow_kind(instance_type) in v.flow_kinds_of(instance_type)
    assert v.main_flow_kind(InstanceType.MODEL) is FlowKind.INFERENCE


def test_only_refresh_and_training_run_one_at_a_time_by_default() -> None:
    assert {kind for kind in FlowKind if v.default_max_open_runs(kind) == 1} == {"refresh", "training"}
    assert {v.default_max_open_runs(kind) for kind in FlowKind} == {1, 10}


@pytest.mark.parametrize(("short", "kind"), [("train", "training"), ("infer", "inference"), ("monitor", "monitoring")])
def test_short_flow_kinds_are_read_as_the_long_ones(short: str, kind: str) -> None:
    assert v.flow_kind_of(short) is v.flow_kind_of(kind) is FlowKind(kind)


def test_an_unknown_flow_kind_is_answered_with_what_is_allowed() -> None:
    with pytest.raises(ValueError, match=r"'dance'; allowed: refresh, preview"):
        v.flow_kind_of("dance")


def test_action_prefixes_are_the_run_types_in_snake_case() -> None:
    assert [v.action_prefix(run_type) for run_type in RunType] == [
        "pipeline_run",
        "experiment_run",
        "backtest_run",
        "portfolio_optimization_run",
        "training_run",
        "inference_run",
        "monitoring_run",
    ]


def test_launched_is_no_end_of_a_request_and_three_statuses_end_a_run() -> None:
    assert {status for status in RequestStatus if status.is_end} == {
        "refused",
        "skipped",
        "expired",
        "cancelled",
        "launch_failed",
        "finished",
        "failed",
    }
    assert {status for status in RunStatus if status.is_terminal} == {"completed", "failed", "cancelled"}
