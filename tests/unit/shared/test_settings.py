"""Settings: from the environment or from files, no secret with a default, none ever printed, no misspelt name."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import SettingsConfigDict
from runtide_schemas.topics import RUNS_STATUS

from services.lineage.settings import LineageSettings
from services.notifier.settings import NotifierSettings
from services.submission.settings import SubmissionSettings
from shared.main import _print
from shared.settings import (
    CONTRACT_NAMES,
    CentrifugoSettings,
    Group,
    S3Settings,
    ServiceSettings,
    environment_names,
    unknown_names,
)

ENV = {
    "RUNTIDE_KAFKA_BOOTSTRAP": "localhost:9092",
    "RUNTIDE_POSTGRES_DSN": "postgresql://runtide:secret-dsn@localhost/runtide",
    "RUNTIDE_PREFECT_API_URL": "http://localhost:4200/api",
    "RUNTIDE_CENTRIFUGO_API_URL": "http://localhost:9000",
    "RUNTIDE_CENTRIFUGO_API_KEY": "secret-api",
    "RUNTIDE_CENTRIFUGO_WS_URL": "ws://localhost:8000/connection/websocket",
    "RUNTIDE_CENTRIFUGO_TOKEN_HMAC_KEY": "secret-token",
    "RUNTIDE_S3_ENDPOINT": "http://localhost:8333",
    "RUNTIDE_S3_ACCESS_KEY": "secret-access",
    "RUNTIDE_S3_SECRET_KEY": "secret-secret",
    "RUNTIDE_AUTH_HMAC_KEYS": "secret-auth-0123456789abcdef01234567",
}


class Whole(SubmissionSettings):
    """A service that speaks to every neighbour."""

    centrifugo: CentrifugoSettings = Field(default_factory=CentrifugoSettings)
    s3: S3Settings = Field(default_factory=S3Settings)


SECRETS = [name for name, value in ENV.items() if "secret-" in value]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith(("RUNTIDE_", "SUBMISSION_", "NOTIFIER_", "LINEAGE_")):
            monkeypatch.delenv(name)
    for name, value in ENV.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_has_no_default(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(name)
    with pytest.raises(ValidationError):
        Whole()


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_may_come_from_a_file(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from-a-file-0123456789abcdef01234567\n", encoding="utf-8")
    monkeypatch.delenv(name)
    monkeypatch.setenv(f"{name}_FILE", str(tmp_path / "secret"))
    assert "from-a-file-0123456789abcdef01234567" in _secrets(Whole())
    assert unknown_names(Whole, {f"{name}_FILE": "x"}) == []


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "url").write_text("http://file/api", encoding="utf-8")
    monkeypatch.setenv("RUNTIDE_PREFECT_API_URL_FILE", str(tmp_path / "url"))
    assert Whole().prefect.api_url == ENV["RUNTIDE_PREFECT_API_URL"]


def test_a_file_that_is_not_there_is_an_error_and_no_empty_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNTIDE_S3_SECRET_KEY")
    monkeypatch.setenv("RUNTIDE_S3_SECRET_KEY_FILE", "/nowhere/at/all")
    with pytest.raises(OSError, match="nowhere"):
        Whole()


def test_a_service_reads_its_own_prefix_and_not_anothers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBMISSION_LAUNCHES_PER_DEPLOYMENT", "2")
    monkeypatch.setenv("NOTIFIER_HTTP_PORT", "9999")
    settings = Whole()
    assert (settings.launches_per_deployment, settings.http_port) == (2, 8101)
    assert NotifierSettings().http_port == 9999


def test_lineage_forgets_no_run_sooner_than_the_topic_that_tells_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert RUNS_STATUS.retention_ms is not None
    days = RUNS_STATUS.retention_ms / 86_400_000
    monkeypatch.setenv("LINEAGE_KEEP_RUNS_DAYS", str(days))
    assert LineageSettings().keep_runs_days == days
    monkeypatch.setenv("LINEAGE_KEEP_RUNS_DAYS", str(days - 1))
    with pytest.raises(ValidationError, match=r"keep_runs_days\n.*greater than or equal to 30"):
        LineageSettings()


def test_printing_the_settings_prints_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    _print(Whole())
    printed = capsys.readouterr().out
    assert "bootstrap: localhost:9092" in printed
    assert printed.count("********") == len(SECRETS)
    assert "secret-" not in printed
    assert "secret-" not in repr(Whole())


def test_a_misspelt_name_is_found_and_a_foreign_one_is_not() -> None:
    environment = {**ENV, "RUNTIDE_KAFKA_BOOTSTRAPS": "x", "SUBMISSION_LAUNCH_LEASE": "5", "HOME": "/", "KAFKA_X": "y"}
    assert unknown_names(Whole, environment) == ["RUNTIDE_KAFKA_BOOTSTRAPS", "SUBMISSION_LAUNCH_LEASE"]


def test_the_names_of_the_stacks_file_are_known() -> None:
    environment = dict.fromkeys(CONTRACT_NAMES, "x")
    assert unknown_names(Whole, environment) == []


def test_every_variable_is_listed_once() -> None:
    names = [name for name, _ in environment_names(Whole)]
    assert len(names) == len(set(names))
    assert {"RUNTIDE_KAFKA_BOOTSTRAP", "SUBMISSION_HTTP_PORT", "SUBMISSION_LAUNCHES_AT_ONCE", *ENV} <= set(names)


def test_a_short_signing_key_is_refused_also_as_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    for keys in ("short", ENV["RUNTIDE_AUTH_HMAC_KEYS"] + ",short", ENV["RUNTIDE_AUTH_HMAC_KEYS"] + ","):
        monkeypatch.setenv("RUNTIDE_AUTH_HMAC_KEYS", keys)
        with pytest.raises(ValidationError, match="shorter than 32"):
            Whole()


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        Whole().http_port = 1  # type: ignore[misc]


def _secrets(settings: Group) -> set[str]:
    found: set[str] = set()
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, Group):
            found |= _secrets(value)
        elif isinstance(value, SecretStr):
            found.add(value.get_secret_value())
    return found


def test_every_service_has_a_prefix_of_its_own() -> None:
    class Loose(ServiceSettings):
        model_config = SettingsConfigDict(env_prefix="LOOSE_")

    assert "LOOSE_INSTANCE_ID" in [name for name, _ in environment_names(Loose)]


def test_a_service_is_never_told_a_secret_that_it_has_no_use_for() -> None:
    names = {name for name, _ in environment_names(SubmissionSettings)}
    assert not {name for name in names if name.startswith(("RUNTIDE_S3_", "RUNTIDE_CENTRIFUGO_"))}
