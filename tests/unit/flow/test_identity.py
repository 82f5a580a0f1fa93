"""Which run a flow's code belongs to."""

from uuid import UUID

import pytest
from runtide._reporting_identity import FlowRunFacts, identify
from runtide_schemas.vocabulary import adopted_run_id

RUN = UUID("11111111-1111-4111-8111-111111111111")
OTHER = UUID("22222222-2222-4222-8222-222222222222")
FLOW_RUN = "33333333-3333-4333-8333-333333333333"


def who(run_id=None, *, tenant=None, attempt=None, token=None, flow_run=None, **environment):
    return identify(run_id, tenant, attempt, token, flow_run, environment)


def flow_run(*tags, run_count=1, **parameters):
    return FlowRunFacts(FLOW_RUN, run_count, tags, parameters)


def test_the_argument_wins_over_the_tag():
    assert who(str(RUN), flow_run=flow_run(f"run:{OTHER}"), RUNTIDE_TENANT="acme").run_id == RUN


def test_a_requested_run_is_found_by_its_tag():
    assert who(flow_run=flow_run("team:a", f"run:{RUN}"), RUNTIDE_TENANT="acme").run_id == RUN


@pytest.mark.parametrize("tags", [(), ("run:not-a-uuid",)])
def test_a_flow_run_that_nobody_requested_is_the_adopted_run(tags):
    assert who(flow_run=flow_run(*tags), RUNTIDE_TENANT="acme").run_id == adopted_run_id(FLOW_RUN)


def test_plain_python_gets_a_run_id_of_its_own_and_no_attempt():
    first, second = who(), who()
    assert first.run_id != second.run_id
    assert first.attempt is None
    assert not first.tenant_known


def test_the_tenant_is_the_argument_else_the_tag_else_the_environment():
    tagged = flow_run("tenant:globex")
    assert who(tenant="initech", flow_run=tagged, RUNTIDE_TENANT="acme").tenant == "initech"
    assert who(flow_run=tagged, RUNTIDE_TENANT="acme").tenant == "globex"
    assert who(flow_run=flow_run(), RUNTIDE_TENANT="acme").tenant == "acme"


@pytest.mark.parametrize(("run_count", "attempt"), [(0, 1), (1, 1), (3, 3)])
def test_the_attempt_is_prefects_run_count_and_at_least_one(run_count, attempt):
    assert who(flow_run=flow_run(run_count=run_count), RUNTIDE_TENANT="acme").attempt == attempt


def test_the_first_attempt_owns_the_runs_prefix_and_later_ones_a_part_of_it():
    assert who(RUN, attempt=1).prefix == str(RUN)
    assert who(RUN).prefix == str(RUN)
    assert who(RUN, attempt=2).prefix == f"{RUN}/attempt-2"


def test_the_runs_own_token_wins_over_the_tenants():
    own = flow_run(runtide_token="own")
    assert who(flow_run=own, RUNTIDE_TENANT="acme", RUNTIDE_TOKEN="tenants").token == "own"
    assert who(flow_run=flow_run(), RUNTIDE_TENANT="acme", RUNTIDE_TOKEN="tenants").token == "tenants"


def test_a_flow_that_takes_no_token_has_its_own_in_its_environment():
    said = {"RUNTIDE_TENANT": "acme", "RUNTIDE_TOKEN": "tenants", "RUNTIDE_RUN_TOKEN": "own"}
    assert who(flow_run=flow_run(), **said).token == "own"
    assert who(flow_run=flow_run(runtide_token="parameter"), **said).token == "parameter"


def test_the_environments_token_is_not_shown_for_another_tenant():
    assert who(flow_run=flow_run("tenant:globex"), RUNTIDE_TENANT="acme", RUNTIDE_TOKEN="tenants").token is None


@pytest.mark.parametrize("wrong", [{"run_id": "prices"}, {"tenant": "Not A Tenant"}, {"attempt": 0}])
def test_says_what_is_wrong_and_what_is_allowed(wrong):
    with pytest.raises(ValueError, match="allowed"):
        who(**wrong)
