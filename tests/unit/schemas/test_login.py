"""Who we are to Kafka: what can not be meant is refused with what was got, what is allowed and what to do."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from pydantic import SecretStr
from runtide.errors import ConfigurationError
from runtide.flow import report_run
from runtide.settings import ClientSettings, load
from runtide_schemas.login import KafkaLogin, LoginImpossible

from shared.messaging.broker import broker_for
from shared.settings import KafkaSettings

PASSWORD = "a-password-nobody-may-see"
LINEAGE = {"sasl_username": "runtide-lineage", "sasl_password": PASSWORD}


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ({"security_protocol": "SASL"}, r"is 'SASL'; allowed are PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL"),
        ({"security_protocol": "SASL_SSL"}, r"\'SASL_SSL\', without \S+USERNAME and \S+PASSWORD; set a name"),
        (
            {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "GSSAPI", **LINEAGE},
            r"MECHANISM is 'GSSAPI'; allowed are PLAIN, SCRAM-SHA-256, SCRAM-SHA-512",
        ),
        (LINEAGE, r"'PLAINTEXT', which asks for no password, beside \S+USERNAME and \S+PASSWORD; set SASL_SSL or"),
        ({"ssl_ca_file": "ca.pem"}, r"'PLAINTEXT', which encrypts nothing, beside \S+CA_FILE; set SSL or SASL_SSL"),
        ({"security_protocol": "SSL", "ssl_ca_file": "/nowhere/ca.pem"}, r"'/nowhere/ca.pem', and there is no such"),
        ({"security_protocol": "SSL", "ssl_key_file": __file__}, r"SSL_KEY_FILE is set, without \S+SSL_CERT_FILE"),
        ({"security_protocol": "SSL", "ssl_ca_file": __file__}, r"SSL_CA_FILE cannot be used: .*; give PEM files"),
    ],
)  # fmt: skip
def test_what_can_not_be_meant_is_refused_by_services_sdk_and_flows_alike(
    said: dict[str, str], wanted: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(LoginImpossible, match=wanted):
        KafkaLogin(**said)
    for name, value in {"bootstrap": "127.0.0.1:9", **said}.items():
        monkeypatch.setenv(f"RUNTIDE_KAFKA_{name.upper()}", value)
    with pytest.raises(ValueError, match=wanted):
        KafkaSettings()
    with pytest.raises(ConfigurationError, match=wanted):
        ClientSettings(tenant="acme", **{f"kafka_{name}": value for name, value in said.items()})
    with report_run(tenant="acme", attempt=1) as run:  # a flow is never failed by Kafka
        run.complete()
    assert "are only logged" in caplog.text
    assert PASSWORD not in caplog.text


def test_a_password_is_in_no_repr_and_in_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    login = KafkaLogin(security_protocol="SASL_PLAINTEXT", **LINEAGE)
    client = ClientSettings(
        tenant="acme", kafka_security_protocol="SASL_PLAINTEXT",
        **{f"kafka_{name}": value for name, value in LINEAGE.items()},
    )  # fmt: skip
    service = KafkaSettings(
        bootstrap="k:9092", security_protocol="SASL_PLAINTEXT", sasl_username="x", sasl_password=SecretStr(PASSWORD)
    )
    assert PASSWORD not in f"{login!r} {client!r} {client.masked()} {service!r}"
    monkeypatch.setenv("RUNTIDE_KAFKA_SASL_PASSWORD", PASSWORD)
    with pytest.raises(ValueError, match="which asks for no password") as caught:
        KafkaSettings(bootstrap="k:9092")
    assert PASSWORD not in str(caught.value)


def test_services_sdk_and_flows_say_the_same_to_a_broker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(f"{PASSWORD}\n", encoding="utf-8")
    environment = {
        "RUNTIDE_TENANT": "acme", "RUNTIDE_KAFKA_BOOTSTRAP": "one:9092,two:9092",
        "RUNTIDE_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "RUNTIDE_KAFKA_SASL_MECHANISM": "SCRAM-SHA-256",
        "RUNTIDE_KAFKA_SASL_USERNAME": "team", "RUNTIDE_KAFKA_SASL_PASSWORD_FILE": str(tmp_path / "password"),
        "RUNTIDE_KAFKA_SSL_CA_FILE": "",
    }  # fmt: skip
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    wanted = {
        "security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "SCRAM-SHA-256", "sasl_plain_username": "team",
        "sasl_plain_password": PASSWORD,
    }  # fmt: skip
    assert KafkaLogin.from_environment(environment).arguments() == wanted
    assert load(environment, tmp_path).kafka_client() == {"bootstrap_servers": ["one:9092", "two:9092"], **wanted}
    assert KafkaSettings().client() == {"bootstrap_servers": ["one:9092", "two:9092"], **wanted}


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL", "SSL", "PLAINTEXT"])
def test_faststream_is_told_what_aiokafka_is_told(protocol: str, mechanism: str) -> None:
    who = {"sasl_username": "x", "sasl_password": SecretStr(PASSWORD)} if protocol.startswith("SASL") else {}
    settings = KafkaSettings(bootstrap="k:9092", security_protocol=protocol, sasl_mechanism=mechanism, **who)
    told = broker_for(settings, client_id="test")._connection_kwargs
    for name, value in settings.login().arguments().items():
        assert told[name] == value or isinstance(told[name], ssl.SSLContext)
