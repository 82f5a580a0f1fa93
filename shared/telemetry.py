"""Metrics and trace context. Labels never carry ids; a trace crosses Kafka in the `traceparent` header."""

from __future__ import annotations

import random
import re

from prometheus_client import Counter, Gauge, Histogram

RECORDS = Counter("runtide_consumer_records_total", "Records read from Kafka", ["consumer"])
BATCHES = Histogram(
    "runtide_consumer_batch_seconds", "One batch from decoding to commit", ["consumer"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)  # fmt: skip
RETRIES = Counter("runtide_consumer_retries_total", "Batches tried again because of trouble outside", ["consumer"])
DEAD_LETTERS = Counter("runtide_dead_letters_total", "Records that could not be handled", ["consumer"])
UNPROVEN = Counter("runtide_unproven_total", "Messages refused for want of a token that holds", ["consumer"])
LAG = Gauge("runtide_consumer_lag_records", "Records not yet read", ["consumer"])
RELAYED = Counter("runtide_outbox_sent_total", "Messages sent to Kafka", ["topic"])
OUTBOX_DEPTH = Gauge("runtide_outbox_rows", "Messages waiting to be sent")
OUTBOX_OLDEST = Gauge("runtide_outbox_oldest_seconds", "Age of the oldest message waiting to be sent")
DEAD_LETTERS_NEW = Gauge("runtide_dead_letters_new", "Dead letters that nobody has decided about")
OLDEST = Gauge("runtide_consumer_oldest_seconds", "Age of what is being read, 0 at the end", ["consumer"])
AWAY = Gauge("runtide_neighbour_away_seconds", "How long a neighbour has been away", ["part"])
FINDINGS = Gauge("runtide_findings", "1 for each fault that the last look found", ["finding", "state"])
DUE = Counter("runtide_due_total", "Things that became true by the clock", ["kind"])

_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def child_of(traceparent: str | None) -> str:
    """A new span under the given one, or the start of a new trace (W3C Trace Context, version 00)."""
    span = f"{random.getrandbits(64) or 1:016x}"
    if traceparent and _TRACEPARENT.fullmatch(traceparent):
        return traceparent[:36] + span + traceparent[52:]
    return f"00-{random.getrandbits(128) or 1:032x}-{span}-01"
