"""Kafka's rights: each topic has its writers and readers, as the services and the list of topics have them."""

from __future__ import annotations

from importlib import import_module

import pytest
from runtide_schemas.topics import TOPICS, Topic

from deploy.kafka.acls import HERE, READERS, SERVICES, files
from services.notifier.app import PUSHED
from shared.settings import ServiceSettings
from tests.unit.access.test_every_path import ENV

BY_FILE = {name.removesuffix(".acl"): text.splitlines() for name, text in files().items()}


def may(operation: str) -> dict[str, set[str]]:
    """topic → principals with that right."""
    found: dict[str, set[str]] = {topic.name: set() for topic in TOPICS}
    for principal, lines in BY_FILE.items():
        for line in lines:
            words = line.split()
            if "--topic" in words and operation in words:
                found[words[words.index("--topic") + 1]].add(principal)
    return found


def test_the_files_are_those_of_the_topic_list() -> None:
    """Where this fails: python -m deploy.kafka.acls"""
    assert {path.name: path.read_text(encoding="utf-8") for path in HERE.glob("*.acl")} == files()


def writers_of(topic: Topic) -> set[str]:
    """Whom the list of topics names, by the names of the files."""
    return {
        "every service": {"submission", "run_tracker", "lineage"}, "clients": {"team"},
        "clients, lineage": {"team", "lineage"}, "flow code": {"team"},
    }.get(topic.writer, {topic.writer})  # fmt: skip


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_each_topic_has_the_writers_that_the_list_names(topic: Topic) -> None:
    assert may("Write")[topic.name] == writers_of(topic)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_reads_what_it_consumes_and_nothing_else(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENV.items():
        monkeypatch.setenv(name, value)
    module = import_module(f"services.{service}.settings")
    settings = next(
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, ServiceSettings) and value.__module__ == module.__name__
    )
    consumed = {one.topic.name for one in import_module(f"services.{service}.app").build(settings()).consumers}
    pushed = {topic.name for topic in PUSHED} if service == "notifier" else set()
    assert set(READERS[service]) == consumed | pushed


def test_nobody_but_its_one_reader_sees_the_tokens_that_lie_in_an_open_door() -> None:
    for topic in TOPICS:
        if topic.open_door:
            assert len(may("Read")[topic.name]) == 1
        assert topic.public or "team" not in may("Read")[topic.name]
