"""`report_run`, with a fake at its own seams: the sink that takes records and the store that takes objects."""

import logging
from concurrent.futures import Future
from datetime import date, datetime
from uuid import UUID, uuid4

import numpy
import pyarrow
import pytest
from runtide._reporting_artifacts import ArtifactNotStored
from runtide._reporting_identity import Reporter
from runtide._reporting_run import RunReport
from runtide.flow import digest_of, report_run, schema_digest_of
from runtide_schemas.envelope import read_headers
from runtide_schemas.reports import ErrorReported, OutputReported
from runtide_schemas.topics import RUNS_REPORTS

FRAME = pyarrow.table({"day": ["2025-01-02", "2025-01-03"], "value": [1.0, 2.0]})


class FakeSink:
    """Acknowledges at once, or (`broker=False`) never."""

    def __init__(self, broker=True):
        self.broker, self.records, self.closed_after = broker, [], None

    def send(self, outgoing):
        self.records.append(outgoing)
        if self.broker:
            outgoing.sent.set_result(True)

    def close(self, timeout_seconds):
        self.closed_after = timeout_seconds

    @property
    def messages(self):
        return [RUNS_REPORTS.adapter.validate_json(record.value) for record in self.records]


class FakeStore:
    def __init__(self, available=True):
        self.available, self.objects = available, {}

    def put(self, bucket, key, content, content_type):
        if not self.available:
            raise ArtifactNotStored("S3 is away")
        self.objects[f"s3://{bucket}/{key}"] = (content, content_type)
        return f"s3://{bucket}/{key}"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    for name in ("KAFKA_BOOTSTRAP", "S3_ENDPOINT", "RUN_TRACKER_URL", "TENANT", "TOKEN"):
        monkeypatch.delenv(f"RUNTIDE_{name}", raising=False)


@pytest.fixture
def sink():
    return FakeSink()


@pytest.fixture
def store():
    return FakeStore()


@pytest.fixture
def reporting(sink, store):
    def start(run_id=None, attempt=1, **changes):
        changes = {"tenant": "acme", "sink": sink, "store": store, **changes}
        return report_run(run_id or uuid4(), attempt=attempt, **changes)

    return start


def test_reports_are_counted_and_carry_run_tenant_and_attempt(reporting, sink):
    with reporting(attempt=2) as run:
        run.read("prices")
        run.metrics({"rows_added": 3})
        run.complete()
    assert [message.n for message in sink.messages] == [1, 2, 3]
    assert {(message.run_id, message.tenant, message.attempt) for message in sink.messages} == {(run.run_id, "acme", 2)}
    assert {record.key for record in sink.records} == {str(run.run_id).encode()}


def test_a_second_block_of_the_same_attempt_goes_on_counting(reporting, sink):
    run_id = uuid4()
    with reporting(run_id) as run:
        run.read("prices")
    with reporting(run_id) as run:
        run.complete()
    assert [message.n for message in sink.messages] == [1, 2]


def test_outside_of_an_attempt_reports_take_their_place_in_the_log(reporting, sink):
    with reporting(attempt=None) as run:
        run.complete()
    assert [(message.attempt, message.n) for message in sink.messages] == [(None, None)]


def test_a_report_is_a_cloud_event_whose_id_survives_sending_it_twice(reporting, sink):
    run_id = uuid4()
    with reporting(run_id, token="secret") as run:
        run.complete()
    envelope = read_headers(sink.records[0].headers)
    assert envelope.type == "run.output_reported"
    assert UUID(envelope.id).version == 5
    assert envelope.subject == str(run_id)
    assert dict(sink.records[0].headers)["authorization"] == b"Bearer secret"


def test_an_input_read_without_a_version_is_the_admitted_one(reporting, sink):
    version = uuid4()
    with reporting() as run:
        run.read("prices")
        run.read("momentum", version=str(version))
    assert [message.inputs for message in sink.messages] == [{"prices": None}, {"momentum": version}]


def test_the_seal_carries_everything_about_the_output(reporting, sink):
    with reporting() as run:
        assert run.complete(
            metrics={"rows_added": numpy.int64(3), "mean": numpy.float64(0.5), "last_date": date(2025, 1, 3)},
            last_data_date=datetime(2025, 1, 3, 16),  # noqa: DTZ001
            digest="sha256:ab",
            rows_processed=numpy.int64(8),
            empty=True,
        )
    [seal] = sink.messages
    assert isinstance(seal, OutputReported)
    assert seal.metrics == {"rows_added": 3, "mean": 0.5, "last_date": "2025-01-03"}
    assert (seal.last_data_date, seal.digest, seal.rows_processed, seal.empty) == (
        date(2025, 1, 3),
        "sha256:ab",
        8,
        True,
    )


def test_a_metric_that_is_not_finite_is_left_out_and_said_so(reporting, sink, caplog):
    with reporting() as run:
        run.metrics(
            {"sharpe_ratio": float("nan"), "beta": 1.0, "importance": {"a": float("inf")}, "ic": [1.0, numpy.nan]}
        )
    assert sink.messages[0].metrics == {"beta": 1.0, "importance": {}, "ic": [1.0, None]}
    assert "sharpe_ratio" in caplog.text


def reporter_with(clock, sink):
    return RunReport(Reporter(uuid4(), "acme", 1), sink, None, clock=clock)


def test_progress_leaves_at_most_four_times_a_second_and_the_last_one_always(sink):
    now = 0.0
    run = reporter_with(lambda: now, sink)
    for step in range(100):
        now = step * 0.01
        run.progress(step)
    run.close(0)
    sent = [message.progress_pct for message in sink.messages]
    assert len(sent) <= 5
    assert sent[-1] == 99


def test_progress_that_was_held_leaves_before_the_seal(sink):
    run = reporter_with(lambda: 0.0, sink)
    run.progress(10)
    run.progress(90, step="write", detail="20 files")
    run.complete()
    run.progress(95)
    run.close(0)
    assert [message.type.split(".")[1] for message in sink.messages] == [
        "progress_reported",
        "progress_reported",
        "output_reported",
    ]
    assert sink.messages[1].step == "write"


@pytest.mark.parametrize(("given", "sent"), [(-5, 0), (140, 100), (None, None)])
def test_progress_stays_between_0_and_100(reporting, sink, given, sent):
    with reporting() as run:
        run.progress(given, step="x")
    assert sink.messages[0].progress_pct == sent


def test_an_artifact_lies_under_its_runs_prefix_and_is_reported_with_its_hash(reporting, sink, store):
    with reporting() as run:
        artifact = run.artifact("equity_curve", FRAME)
    [report] = sink.messages
    assert artifact.ref == report.ref == f"s3://runs/{run.run_id}/equity_curve.parquet"
    assert report.name == "equity_curve"
    content, content_type = store.objects[artifact.ref]
    assert (report.size_bytes, report.content_type) == (len(content), content_type)
    assert report.sha256 == digest_of(content).removeprefix("sha256:")


def test_the_seal_carries_the_schema_of_the_frames_that_were_stored(reporting, sink, store):
    with reporting() as run:
        run.artifact("equity_curve", FRAME)
        run.artifact("notes", {"a": 1})
        run.complete()
        run.artifact("trades", FRAME)
        run.complete()
        run.complete(schema_digest="sha256:own")
    one, two, own = [message.schema_digest for message in sink.messages if isinstance(message, OutputReported)]
    assert one == schema_digest_of(FRAME)
    assert two not in (None, one)
    assert own == "sha256:own"


def test_a_seal_without_frames_says_nothing_about_a_schema(reporting, sink):
    with reporting() as run:
        run.artifact("weights", {"AAPL": 0.5})
        run.complete()
    assert sink.messages[-1].schema_digest is None


def test_a_second_attempt_never_overwrites_what_somebody_read(reporting, store):
    with reporting(attempt=2) as run:
        ref = run.artifact("weights", {"AAPL": 0.5}).ref
    assert ref == f"s3://runs/{run.run_id}/attempt-2/weights.json"


@pytest.mark.parametrize(
    ("name", "content", "file_name", "reported"),
    [
        ("report.html", b"<p>", "report.html", "report"),
        ("model", b"\0", "model.bin", "model"),
        ("weights", [1, 2], "weights.json", "weights"),
    ],
)
def test_the_suffix_is_the_names_own_or_follows_from_the_content(reporting, name, content, file_name, reported):
    with reporting() as run:
        artifact = run.artifact(name, content)
    assert artifact.ref == f"s3://runs/{run.run_id}/{file_name}"
    assert artifact.name == reported


def test_a_file_is_uploaded_as_it_is(reporting, store, tmp_path):
    (tmp_path / "chart.png").write_bytes(b"png")
    with reporting() as run:
        artifact = run.artifact("chart", tmp_path / "chart.png")
    assert store.objects[artifact.ref] == (b"png", "image/png")


@pytest.mark.parametrize("name", ["../other", "a/b", ""])
def test_an_artifact_cannot_leave_its_prefix(reporting, name):
    with pytest.raises(ValueError, match="allowed"), reporting() as run:
        run.artifact(name, b"")


def test_an_artifact_that_s3_does_not_take_fails_the_flow(reporting, sink):
    with pytest.raises(ArtifactNotStored), reporting(store=FakeStore(available=False)) as run:
        run.artifact("weights", {})
    assert isinstance(sink.messages[-1], ErrorReported)


def test_an_exception_is_reported_with_its_traceback_and_raised_again(reporting, sink, store):
    with pytest.raises(LookupError, match="no prices"), reporting() as run:
        raise LookupError("no prices")
    [report] = sink.messages
    assert (report.error.type, report.error.message) == ("LookupError", "no prices")
    assert report.error.traceback_ref == f"s3://logs/{run.run_id}/traceback.txt"
    assert b"no prices" in store.objects[report.error.traceback_ref][0]


def test_the_error_is_reported_also_when_s3_is_away(reporting, sink):
    with pytest.raises(LookupError), reporting(store=FakeStore(available=False)):
        raise LookupError
    assert sink.messages[0].error.traceback_ref is None


def test_a_cancelled_flow_reports_no_error_and_waits_for_nothing(reporting, sink):
    def cancelled():
        with reporting() as run:
            run.read("prices")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cancelled()
    assert [message.type for message in sink.messages] == ["run.inputs_reported"]
    assert sink.closed_after == 0


def test_a_seal_that_cannot_be_sent_does_not_fail_a_computed_result(reporting, caplog):
    away = FakeSink(broker=False)
    with caplog.at_level(logging.ERROR), reporting(sink=away, seal_timeout_seconds=0.01) as run:
        assert run.complete(digest="sha256:ab") is False
    assert "was not acknowledged" in caplog.text
    assert '"type":"run.output_reported"' in caplog.text
    assert away.closed_after == 0


def test_without_kafka_and_s3_the_same_code_only_logs(caplog):
    with caplog.at_level(logging.INFO), report_run() as run:
        run.progress(50)
        artifact = run.artifact("equity_curve", FRAME)
        assert run.complete(metrics={"rows_added": 1})
    assert artifact.ref is None
    assert "run.output_reported" in caplog.text


def test_a_flow_that_knows_no_tenant_only_logs(monkeypatch, caplog):
    monkeypatch.setenv("RUNTIDE_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    with caplog.at_level(logging.INFO), report_run() as run:
        run.complete()
    assert "no tenant is known" in caplog.text


def test_a_future_that_is_given_up_is_not_waited_for_again(reporting):
    away = FakeSink(broker=False)

    def failing():
        with reporting(sink=away, seal_timeout_seconds=0.01) as run:
            run.complete()
            raise LookupError

    with pytest.raises(LookupError):
        failing()
    assert away.closed_after == 0
    assert all(isinstance(record.sent, Future) and not record.sent.done() for record in away.records)
