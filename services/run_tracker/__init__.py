"""run_tracker: what is the truth about a run?

Consumes `requests.status`, `instances.status`, `prefect.flow-run-states` and `runs.reports`; publishes `runs.status`
and `runs.progress`; its bridge and sweep alone write `prefect.flow-run-states`, and its canceller alone asks Prefect
to cancel.
Serves `/v1/runs`. The fact not to break: state is a fold over stored facts, never over their order of arrival.
"""
