from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from deploy.native import environment, supervisor
from deploy.native.layout import State, state_at
from deploy.native.ports import PREFERRED
from services.submission.settings import SubmissionSettings
from shared.auth import SCOPES, verify
from shared.settings import AuthSettings, unknown_names

CONTRACT = {
    "RUNTIDE_KAFKA_BOOTSTRAP", "RUNTIDE_POSTGRES_DSN", "RUNTIDE_S3_ENDPOINT", "RUNTIDE_S3_ACCESS_KEY",
    "RUNTIDE_S3_SECRET_KEY", "RUNTIDE_PREFECT_API_URL", "RUNTIDE_CENTRIFUGO_API_URL", "RUNTIDE_CENTRIFUGO_API_KEY",
    "RUNTIDE_CENTRIFUGO_WS_URL", "RUNTIDE_SUBMISSION_URL", "RUNTIDE_RUN_TRACKER_URL", "RUNTIDE_LINEAGE_URL",
    "RUNTIDE_NOTIFIER_URL", "RUNTIDE_DASHBOARD_URL", "RUNTIDE_TENANT", "RUNTIDE_TOKEN", "RUNTIDE_TOKEN_OTHER",
}  # fmt: skip


COMMANDS_AUTH = environment.COMMANDS_AUTH


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> State:
    """An empty stack, and nothing of a stack in the environment."""
    for name in list(environment.BRINGS) + [name for names in environment.GOES_WITH.values() for name in names]:
        monkeypatch.delenv(name, raising=False)
    for name in ("RUNTIDE_TENANT", "RUNTIDE_TOKEN", "RUNTIDE_TOKEN_OTHER", "RUNTIDE_AUTH_HMAC_KEYS", COMMANDS_AUTH):
        monkeypatch.delenv(name, raising=False)
    state = state_at(str(tmp_path / "state"))
    state.create()
    return state


def test_stack_env_holds_every_name_of_the_contract_and_only_its_owner_reads_it(state: State) -> None:
    supervisor.load(state)
    assert environment.read(state.env_file).keys() >= CONTRACT
    assert {stat.S_IMODE(file.stat().st_mode) for file in (state.env_file, state.secrets_file)} == {0o600}


def test_no_service_finds_a_variable_in_it_that_nobody_reads(state: State) -> None:
    assert unknown_names(SubmissionSettings, supervisor.load(state).env) == []


def test_a_shell_reads_back_what_was_written(tmp_path: Path) -> None:
    odd = {"A": "plain", "B": "two words $HOME 'quoted' \"twice\"", "C": "a#b", "D": ""}
    environment.save(tmp_path / "stack.env", odd)
    for name, value in odd.items():
        said = subprocess.run(
            ["sh", "-c", f'. {tmp_path}/stack.env; printf %s "${name}"'], capture_output=True, text=True
        )
        assert said.stdout == value
    assert environment.read(tmp_path / "stack.env") == odd


def test_a_variable_set_before_wins_and_its_part_is_not_started(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIDE_KAFKA_BOOTSTRAP", "kafka.example:9092")
    for _ in range(2):  # a second `up` sees the same value in its own file, and it is still not ours
        stack = supervisor.load(state)
        assert stack.external == {"kafka"}
        assert stack.env["RUNTIDE_KAFKA_BOOTSTRAP"] == "kafka.example:9092"
    assert supervisor.look(state).external == {"kafka"}


async def test_a_part_that_was_brought_is_not_stopped_and_down_says_so(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("API_URL", "WS_URL", "API_KEY", "TOKEN_HMAC_KEY"):
        monkeypatch.setenv(f"RUNTIDE_CENTRIFUGO_{name}", f"somewhere-{name}")
    assert supervisor.load(state).external == {"realtime"}
    said: list[str] = []
    await supervisor.down(state, ["realtime", "kafka"], said.append)
    assert [line.split(maxsplit=1) for line in said] == [["realtime", "yours, not stopped"]]


def test_a_centrifugo_without_its_token_key_is_refused_by_name(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_URL", "WS_URL", "API_KEY"):
        monkeypatch.setenv(f"RUNTIDE_CENTRIFUGO_{name}", f"somewhere-{name}")
    with pytest.raises(environment.IncompleteEnvironment, match=r"without RUNTIDE_CENTRIFUGO_TOKEN_HMAC_KEY$"):
        supervisor.load(state)


def test_a_shell_that_sourced_the_file_changes_nothing(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    before = supervisor.load(state)
    for name, value in before.env.items():
        monkeypatch.setenv(name, value)
    after = supervisor.load(state)
    assert (after.external, after.env) == (frozenset(), before.env)


def test_a_part_brought_without_its_keys_is_refused_by_name(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIDE_S3_ENDPOINT", "http://s3.example")
    with pytest.raises(environment.IncompleteEnvironment, match="RUNTIDE_S3_ACCESS_KEY, RUNTIDE_S3_SECRET_KEY"):
        supervisor.load(state)


def test_the_dashboard_is_the_notifier_wherever_that_is(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIDE_NOTIFIER_URL", "http://pages.example")
    assert supervisor.load(state).env["RUNTIDE_DASHBOARD_URL"] == "http://pages.example"


def test_the_services_accept_the_tokens_with_every_scope_of_two_tenants() -> None:
    keys = {name: name.lower() * 8 for name in environment.SECRETS}
    values = environment.compose(PREFERRED, keys, {})
    settings = AuthSettings(hmac_keys=values["RUNTIDE_AUTH_HMAC_KEYS"])  # type: ignore[arg-type]
    callers = [verify(settings, values[name]) for name in ("RUNTIDE_TOKEN", "RUNTIDE_TOKEN_OTHER")]
    assert [(caller.tenant, caller.actor) for caller in callers] == [("acme", "dev@acme"), ("globex", "dev@globex")]
    assert all(caller.scopes == frozenset(SCOPES) for caller in callers)


def test_a_new_key_makes_new_tokens(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    before = supervisor.load(state).env["RUNTIDE_TOKEN"]
    monkeypatch.setenv("RUNTIDE_AUTH_HMAC_KEYS", "k" * 32)
    assert supervisor.load(state).env["RUNTIDE_TOKEN"] != before


def test_secrets_are_made_once(state: State) -> None:
    assert supervisor.load(state).secrets == supervisor.load(state).secrets


def test_who_is_believed_on_kafka_is_what_was_said_last(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    assert COMMANDS_AUTH not in supervisor.load(state).env
    monkeypatch.setenv(COMMANDS_AUTH, "token")
    assert supervisor.load(state).env[COMMANDS_AUTH] == "token"
    assert supervisor.load(state).env[COMMANDS_AUTH] == "token"  # also in a shell that sourced the file
    monkeypatch.delenv(COMMANDS_AUTH)
    assert supervisor.load(state).env[COMMANDS_AUTH] == "token"
    monkeypatch.setenv(COMMANDS_AUTH, "open")
    assert supervisor.load(state).env[COMMANDS_AUTH] == "open"


def test_the_login_to_a_kafka_that_was_brought_is_kept_with_it(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIDE_KAFKA_SASL_USERNAME", "team")
    with pytest.raises(environment.IncompleteEnvironment, match="SASL_USERNAME set without RUNTIDE_KAFKA_BOOTSTRAP"):
        supervisor.load(state)
    monkeypatch.setenv("RUNTIDE_KAFKA_BOOTSTRAP", "kafka.example:9092")
    for _ in range(2):
        assert supervisor.load(state).env["RUNTIDE_KAFKA_SASL_USERNAME"] == "team"
    assert supervisor.look(state).external == {"kafka"}
