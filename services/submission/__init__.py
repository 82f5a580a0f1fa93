"""submission: what was asked, and was it started exactly once?

Consumes runs.commands and requests.decisions; publishes requests.status and the activities request.* and
command.refused; owns the tables requests and launches; serves /v1/requests. It alone creates flow runs in Prefect,
by a leased launcher with `idempotency_key = run id`, never inside a consumer's transaction.
"""
