"""Which store a flow gets, and how the one without keys waits, gives up, and guards the token."""

from uuid import uuid4

import httpx
import pytest
from runtide._reporting_artifacts import ArtifactNotStored, S3Store
from runtide._reporting_identity import Reporter
from runtide._reporting_uploads import UploadStore
from runtide.flow import _store

TRACKER = {"RUNTIDE_RUN_TRACKER_URL": "http://tracker.test"}
ENDPOINT = {"RUNTIDE_S3_ENDPOINT": "http://s3.test"}
KEYS = ENDPOINT | {"RUNTIDE_S3_ACCESS_KEY": "a", "RUNTIDE_S3_SECRET_KEY": "s"}
REPORTER = Reporter(uuid4(), "acme", 2, token="secret")


@pytest.mark.parametrize(
    ("environment", "token", "wanted"),
    [
        (TRACKER | KEYS, "secret", S3Store),
        (TRACKER, "secret", UploadStore),
        (TRACKER | ENDPOINT, "secret", UploadStore),
        (TRACKER | ENDPOINT, None, S3Store),
        (TRACKER, None, type(None)),
        (ENDPOINT, "secret", S3Store),
        ({}, "secret", type(None)),
    ],
    ids=["keys win", "token", "endpoint without keys", "no token", "nothing for it", "open S3", "nothing"],
)
def test_keys_win_then_run_tracker_then_a_store_that_asks_for_none(environment, token, wanted):
    assert type(_store(environment, Reporter(uuid4(), "acme", 1, token=token), known=True)) is wanted


def test_run_tracker_is_not_asked_about_a_run_that_was_made_up_here():
    assert _store(TRACKER, REPORTER, known=False) is None


class Away:
    """run_tracker and S3 that answer what they are told to, and then well."""

    def __init__(self, *answers):
        self.answers, self.asked, self.pauses = list(answers), [], []

    def __call__(self, sent):
        self.asked.append(sent)
        if self.answers:
            status = self.answers.pop(0)
            if status is None:
                raise httpx.ConnectError("refused")
            return httpx.Response(status, text="not now")
        if sent.url.host == "s3.test":
            return httpx.Response(200)
        return httpx.Response(200, json={"ref": "s3://runs/r/a.json", "url": "http://s3.test/runs/r/a.json?signed"})

    def put(self, patience_seconds=30.0, bucket="runs"):
        store = UploadStore(
            "http://tracker.test/", REPORTER, patience_seconds=patience_seconds,
            transport=httpx.MockTransport(self), pause=self.pauses.append,
        )  # fmt: skip
        return store.put(bucket, f"{REPORTER.prefix}/a.json", b"{}", "application/json")


def test_the_token_goes_to_run_tracker_and_never_to_the_object_store():
    services = Away()
    assert services.put() == "s3://runs/r/a.json"
    asked, put = services.asked
    assert asked.url.path == f"/v1/runs/{REPORTER.run_id}/uploads"
    assert asked.headers["authorization"] == "Bearer secret"
    assert "authorization" not in put.headers
    assert (put.method, put.content, put.headers["content-type"]) == ("PUT", b"{}", "application/json")


def test_a_run_that_is_not_known_yet_and_parts_that_are_away_are_asked_again():
    services = Away(404, None, 503, 500)
    assert services.put() == "s3://runs/r/a.json"
    assert services.pauses == [0.2, 0.4, 0.8, 1.6]


@pytest.mark.parametrize("status", [401, 403, 409, 422])
def test_a_refusal_ends_at_once(status):
    services = Away(status)
    with pytest.raises(ArtifactNotStored, match=f"run_tracker answered {status}: not now"):
        services.put()
    assert services.pauses == []


def test_what_stays_away_is_given_up_after_the_patience():
    with pytest.raises(ArtifactNotStored, match="run_tracker answered 503"):
        Away(503).put(patience_seconds=0)
