"""lineage: is it fresh, may it run, what does it make stale?

Owns instances, flows, edges, versions, decisions and restatements. It alone decides requests, under the lock of their
tenant, and it alone says `instances.status` and `*_run.completed`.
"""
