"""A flow that fails is run once more by the policy of its flow, on the whole stack with a real Prefect."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.platform import Platform, run_id_of

MOST = 10


async def test_a_flow_that_fails_is_retried_until_it_completes_and_the_chain_is_one_history(
    platform: Platform, name: str, tmp_path: Path
) -> None:
    repaired = tmp_path / "repaired"
    await platform.register(name, retry={"max": MOST, "backoff": "PT1S", "backoff_max": "PT2S"})
    first = await platform.submit(name, actor=platform.actor, parameters={"seconds": 0.1, "needs": str(repaired)})
    chain, run = [first], await platform.ended(first)
    assert run["status"] == "failed", run
    repaired.touch()
    while run["status"] == "failed" and len(chain) <= MOST:
        chain.append(run_id_of(platform.tenant, f"retry/{chain[-1]}"))
        run = await platform.ended(chain[-1])
    assert run["status"] == "completed", run
    attempts = (await platform.get("submission", f"/v1/requests/{chain[-1]}"))["attempts"]
    assert [(one["number"], one["run_id"]) for one in attempts] == list(enumerate(chain))
    assert [one["retries"] for one in attempts] == [None, *chain[:-1]]
    assert {one["reason"] for one in attempts[1:]} == {"failed"}
    asked = platform.follower.of_run("requests.status.v1", chain[-1])[0]
    assert (asked["actor"], asked["on_behalf_of"], asked["trigger"]) == ("system:lineage", platform.actor, "manual")
    for run_id in chain:
        assert len(await platform.flow_runs(run_id)) == 1
    ready = await platform.follower.until("instances.status.v1", lambda m: m["name"] == name and m["status"] == "ready")
    assert ready["flows"][0]["last_run_id"] == chain[-1]
    assert run_id_of(platform.tenant, f"retry/{chain[-1]}") not in {
        m["run_id"] for m in platform.follower.messages["requests.status.v1"]
    }
