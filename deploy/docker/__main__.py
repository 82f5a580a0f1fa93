"""Compose with this stack's secrets, and `stack.env` for everybody on the host."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

from deploy.native import environment
from deploy.native.bootstrap import ROOT
from deploy.native.layout import State, state_at

# As docker-compose.yml publishes them.
PORTS = {
    "postgres": 5432,
    "kafka": 9092,
    "s3": 8333,
    "prefect": 4200,
    "realtime": 8000,
    "realtime_internal": 9000,
    "submission": 8101,
    "run_tracker": 8102,
    "lineage": 8103,
    "notifier": 8104,
}
VERBS = ("up", "down", "restart", "status", "logs", "reset", "doctor")


def compose(state: State, *words: str) -> int:
    files = ["--env-file", str(state.secrets_file), "--env-file", str(state.env_file)]
    command = ["docker", "compose", *files, "--profile", "core", *words]
    return subprocess.call(command, cwd=ROOT)


def write_environment(state: State) -> dict[str, str]:
    """Secrets made once, and the names of the contract with the published ports."""
    state.create()
    secrets = environment.load_secrets(state.secrets_file)
    written = environment.read(state.env_file)
    values = environment.compose(PORTS, secrets, {})
    if written.get("RUNTIDE_AUTH_HMAC_KEYS") == values["RUNTIDE_AUTH_HMAC_KEYS"]:
        values |= {name: written[name] for name in ("RUNTIDE_TOKEN", "RUNTIDE_TOKEN_OTHER") if name in written}
    mode = environment.COMMANDS_AUTH
    values[mode] = os.environ.get(mode) or written.get(mode) or "open"
    environment.save(state.env_file, values)
    return values


def missing() -> str | None:
    """Why Docker cannot be used here, if it cannot."""
    if not shutil.which("docker"):
        return "there is no `docker` on PATH; `make up` without STACK=docker needs none"
    for words, without in ((("compose", "version"), "Docker's compose plugin"), (("info",), "a running Docker engine")):
        seen = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
        if seen.returncode:
            said = seen.stderr.strip().splitlines() or ["it says nothing"]
            return f"{without} is needed: {said[-1]}"
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.docker", description=__doc__)
    parser.add_argument("verb", choices=VERBS)
    parser.add_argument("parts", nargs="*", metavar="part")
    options = parser.parse_args(arguments)
    if problem := missing():
        print(f"  MISSING docker: {problem}", file=sys.stderr)
        return 1
    state = state_at(None)
    values = write_environment(state)
    words = {
        "up": ["up", "--detach", "--build", "--wait"],
        "down": ["down"],
        "restart": ["restart"],
        "status": ["ps", "--all"],
        "logs": ["logs", "--tail", os.environ.get("LINES_OF_LOG", "50")],
        "reset": ["down", "--volumes", "--remove-orphans"],
        "doctor": ["config", "--quiet"],
    }[options.verb]
    code = compose(state, *words, *options.parts)
    if code == 0 and options.verb == "up":
        print(f"addresses and tokens in {state.env_file}; dashboard: {values['RUNTIDE_DASHBOARD_URL']}")
    if code == 0 and options.verb == "reset":
        state.remove()
    return code


if __name__ == "__main__":
    raise SystemExit(main())
