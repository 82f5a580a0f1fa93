"""notifier: who must see this, now or later?

Consumes requests.status, runs.status, runs.progress, instances.status and activities; pushes to Centrifugo; owns the
tables owners and activities; serves /v1/realtime, /v1/activities and the dashboard's files. Its push is the one
consumer without a transaction: what it publishes are snapshots with `seq`, so repeats are harmless.
"""
