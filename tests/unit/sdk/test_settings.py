"""Where a client finds its stack, and that two stacks are never mixed."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from runtide import settings
from runtide.errors import ConfigurationError
from runtide.settings import ClientSettings
from runtide_schemas.commands import SubmitRun

STACK = """# Written by `make up`.
export RUNTIDE_TENANT=acme
RUNTIDE_KAFKA_BOOTSTRAP='127.0.0.1:9092'
RUNTIDE_SUBMISSION_URL=http://127.0.0.1:8101/
RUNTIDE_TOKEN={token}
"""


def token(**claims: object) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"header.{payload}.signature-of-some-length"


@pytest.fixture
def below(tmp_path: Path) -> Path:
    (tmp_path / ".runtide").mkdir()
    text = STACK.format(token=token(sub="ana@acme", tenant="acme"))
    (tmp_path / ".runtide" / "stack.env").write_text(text, encoding="utf-8")
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    return deep


def test_the_stack_file_of_a_parent_directory_fills_what_is_absent(below: Path) -> None:
    found = settings.load({}, below)
    assert (found.tenant, found.kafka_bootstrap, found.actor) == ("acme", "127.0.0.1:9092", "ana@acme")
    assert found.url_of("submission") == "http://127.0.0.1:8101"
    assert found.sources["tenant"].endswith("stack.env")


def test_what_the_environment_says_wins(below: Path) -> None:
    found = settings.load({"RUNTIDE_TENANT": "other", "RUNTIDE_TOKEN": token(tenant="other")}, below)
    assert (found.tenant, found.kafka_bootstrap) == ("other", "127.0.0.1:9092")
    assert found.sources["tenant"] == "environment"


@pytest.mark.parametrize(
    "said", [{"RUNTIDE_TENANT": "globex"}, {"RUNTIDE_TOKEN": token(tenant="globex")}], ids=["tenant", "token"]
)
def test_a_tenant_and_the_token_of_another_are_refused_before_anything_is_asked(
    below: Path, said: dict[str, str]
) -> None:
    with pytest.raises(ConfigurationError, match="of tenant") as refused:
        settings.load(said, below)
    for word in ("'acme'", "'globex'", "stack.env", "environment", "set RUNTIDE_TOKEN to", "or RUNTIDE_TENANT to"):
        assert word in str(refused.value)


@pytest.mark.parametrize("opaque", ["no-jwt", "a.b.c", token(sub="ana"), token(tenant=7)])
def test_a_token_that_names_no_tenant_is_left_to_the_server(tmp_path: Path, opaque: str) -> None:
    assert settings.load({"RUNTIDE_TENANT": "acme", "RUNTIDE_TOKEN": opaque}, tmp_path).token == opaque


def test_a_stack_file_of_another_stack_is_left_out(below: Path) -> None:
    found = settings.load({"RUNTIDE_KAFKA_BOOTSTRAP": "kafka.prod:9092", "RUNTIDE_TENANT": "acme"}, below)
    assert found.submission_url is None
    assert found.ignored == "RUNTIDE_KAFKA_BOOTSTRAP of the environment names another stack"


def test_the_tenant_may_come_from_the_token(tmp_path: Path) -> None:
    assert settings.load({"RUNTIDE_TOKEN": token(tenant="acme")}, tmp_path).tenant == "acme"


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("x.y.z\n", encoding="utf-8")
    found = settings.load({"RUNTIDE_TENANT": "acme", "RUNTIDE_TOKEN_FILE": str(tmp_path / "token")}, tmp_path)
    assert found.token == "x.y.z"


def test_without_a_tenant_it_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"RUNTIDE_TENANT is not set.*make up"):
        settings.load({}, tmp_path)


def test_a_tenant_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="the tenant is 'Acme Inc'"):
        settings.load({"RUNTIDE_TENANT": "Acme Inc"}, tmp_path)


def test_the_masked_settings_show_no_token(below: Path) -> None:
    found = settings.load({}, below)
    assert found.token is not None
    assert found.token not in str(found.masked())
    assert found.token not in repr(found)


def test_a_broken_stack_file_is_named_with_its_line(below: Path) -> None:
    (below / ".runtide").mkdir()
    (below / ".runtide" / "stack.env").write_text("A=1\nB='never closed\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"stack\.env:2: No closing quotation"):
        settings.load({}, below)


def test_kafka_carries_the_token_for_the_tenant_that_it_speaks_for_alone() -> None:
    token = f"x.{base64.urlsafe_b64encode(json.dumps({'tenant': 'acme'}).encode()).decode()}.y"
    settings = ClientSettings(tenant="acme", token=token)
    assert settings.token_for(SubmitRun(tenant="acme", instance="momentum")) == token
    assert settings.token_for(SubmitRun(tenant="globex", instance="momentum")) is None
    assert ClientSettings(tenant="acme").token_for(SubmitRun(tenant="acme", instance="momentum")) is None
