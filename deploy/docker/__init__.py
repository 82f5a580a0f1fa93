"""The verbs of `deploy.native` by Docker Compose: `python3 -m deploy.docker up | down | status | logs | …`."""
