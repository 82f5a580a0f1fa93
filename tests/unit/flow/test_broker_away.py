"""Kafka is away: the sink with nobody behind its port."""

import logging
import socket

import pytest
from runtide._reporting_kafka import KafkaSink, Outgoing
from runtide.flow import report_run


@pytest.fixture
def nobody():
    """An address that refuses connections for as long as the test lasts."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


def outgoing(droppable=False):
    return Outgoing("runs.reports.v1", b"run", b"{}", [], droppable=droppable)


def test_progress_is_dropped_and_said_once_while_the_rest_waits_until_it_is_given_up(nobody, caplog):
    sink = KafkaSink(nobody)
    kept, dropped = outgoing(), [outgoing(droppable=True) for _ in range(3)]
    for record in (kept, *dropped):
        sink.send(record)
    assert [record.sent.result(10) for record in dropped] == [False] * 3
    assert not kept.sent.done()
    sink.close(0)
    assert kept.sent.result(10) is False
    assert caplog.text.count("does not take reports") == 1


def test_a_closed_sink_takes_nothing_more(nobody):
    sink = KafkaSink(nobody)
    sink.close(5)
    late = outgoing()
    sink.send(late)
    assert late.sent.result(1) is False


def test_a_flow_ends_well_although_its_seal_was_never_acknowledged(nobody, monkeypatch, caplog):
    monkeypatch.setenv("RUNTIDE_KAFKA_BOOTSTRAP", nobody)
    monkeypatch.delenv("RUNTIDE_S3_ENDPOINT", raising=False)
    with caplog.at_level(logging.ERROR), report_run(tenant="acme", attempt=1, seal_timeout_seconds=0.2) as run:
        run.progress(50)
        assert run.complete() is False
    assert "Send it later to runs.reports.v1" in caplog.text
