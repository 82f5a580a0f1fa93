"""Every alert asks for metrics that a service has, and every fault with a name of its own has an alert."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import REGISTRY

ROOT = Path(__file__).resolve().parents[3]
OBSERVE = ROOT / "deploy" / "observe"
RULES: list[dict[str, Any]] = yaml.safe_load((OBSERVE / "alerts.yml").read_text(encoding="utf-8"))["groups"][0]["rules"]
_NAMED = re.compile(r'\bFinding\(\s*f?"([a-z_{}]+)"|Trouble\.[A-Z_]+: "([a-z_]+)"')


def metrics() -> set[str]:
    for name in ("submission", "run_tracker", "lineage", "notifier"):
        import_module(f"services.{name}.app")
    return set(REGISTRY._names_to_collectors)


def asked_for(rules: list[dict[str, Any]]) -> set[str]:
    return {name for rule in rules for name in re.findall(r"runtide_\w+", rule["expr"])}


def findings_of_the_code() -> set[str]:
    sources = [ROOT / "shared" / "watch.py", *(ROOT / "services").glob("*/alarms.py")]
    found = {name for path in sources for groups in _NAMED.findall(path.read_text(encoding="utf-8")) for name in groups}
    neighbours = {f"{part}_away" for part in ("kafka", "prefect", "centrifugo")}
    return (found - {"", "{part}_away"}) | neighbours


def test_every_metric_of_the_alert_rules_exists() -> None:
    assert asked_for(RULES) <= metrics()
    assert not asked_for([{"expr": "runtide_misspelled > 0"}]) <= metrics()  # the control


def test_every_finding_that_a_service_can_have_has_an_alert() -> None:
    alerted = {rule["labels"]["finding"] for rule in RULES if "finding" in rule["labels"]}
    [general] = [rule for rule in RULES if "finding" not in rule["labels"]]
    alerted |= set(re.search(r'finding=~"([^"]+)"', general["expr"])[1].split("|"))  # type: ignore[index]
    assert {"mass_loss_refused", "cancel_unconfirmed", "outbox_not_sent"} <= findings_of_the_code()
    assert findings_of_the_code() == alerted


def test_prometheus_reads_the_rules_where_compose_puts_them() -> None:
    [place] = yaml.safe_load((OBSERVE / "prometheus.yml").read_text(encoding="utf-8"))["rule_files"]
    volumes = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]["prometheus"][
        "volumes"
    ]
    assert f"./deploy/observe/alerts.yml:{place}:ro" in volumes


def test_every_finding_is_explained_to_operators() -> None:
    explained = set(re.findall(r"`([a-z_]+)`", (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")))
    assert findings_of_the_code() <= explained
