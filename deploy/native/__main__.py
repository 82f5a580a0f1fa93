"""The verbs of the stack without Docker."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Sequence

from deploy.native import doctor, processes, setup, supervisor
from deploy.native import logs as log_files
from deploy.native.bootstrap import BootstrapFailed
from deploy.native.environment import IncompleteEnvironment
from deploy.native.layout import State, state_at
from deploy.native.parts import BY_NAME, PARTS
from deploy.native.probes import Probe

GROUPS = {
    "all": ("infra", "services", "examples"),
    "infra": ("infra",),
    "services": ("services",),
    "core": ("infra", "services"),
}


def say(line: str) -> None:
    print(f"  {line}".rstrip(), flush=True)


def up(state: State, options: argparse.Namespace) -> int:
    began = time.monotonic()
    if doctor.report(state, only_missing=True):
        return 1
    with supervisor.locked(state, say):
        wanted = supervisor.select(GROUPS[options.only], options.parts)
        stack = asyncio.run(supervisor.up(state, wanted, say))
    print(f"up in {time.monotonic() - began:.1f} s; addresses and tokens in {state.env_file}")
    print(f"memory: {_together(state).in_words}")
    if supervisor.is_up(state, BY_NAME["notifier"]):
        prefect = stack.env["RUNTIDE_PREFECT_API_URL"].removesuffix("/api")
        print(f"dashboard: {stack.env['RUNTIDE_DASHBOARD_URL']}   prefect: {prefect}")
    return 0


def down(state: State, options: argparse.Namespace) -> int:
    with supervisor.locked(state, say):
        asyncio.run(supervisor.down(state, options.parts or processes.known_names(state.run), say))
    return 0


def restart(state: State, options: argparse.Namespace) -> int:
    options.parts = options.parts or [part.name for part in PARTS if part.group == "services" and not part.once]
    down(state, options)
    return up(state, options)


def reset(state: State, options: argparse.Namespace) -> int:
    options.parts = []
    down(state, options)
    setup.forget_sockets(state)
    state.remove()
    say("data, logs, ports and secrets of this stack are gone")
    return 0


def status(state: State, _: argparse.Namespace) -> int:
    """A line per part; 0 if all that was started runs and is ready."""
    stack = supervisor.look(state)
    code, total = 0, processes.Memory()
    for part in PARTS:
        if part.once:
            continue
        running = processes.find(state.run, part.name)
        known = (state.run / f"{part.name}.json").exists()
        ready = bool(running and part.ready and asyncio.run(_probe(part.ready(stack))))
        if running:
            word = "ready" if ready else "not ready"
        else:
            word = "ended" if known else "yours" if part.name in stack.external else "-"
        code = code or (3 if known and not ready else 0)
        memory = processes.memory_of(running.pid) if running else None
        total += memory or processes.Memory()
        where = f"127.0.0.1:{stack.port(part.ports[0])}" if part.ports and running else ""
        say(f"{part.name:<12} {word:<10} {running.pid if running else '':<8} {memory or ''!s:<9} {where}")
    if total.mebibytes:
        say(f"together {total.in_words}")
    return code


def _together(state: State) -> processes.Memory:
    found = (processes.find(state.run, part.name) for part in PARTS)
    held = (processes.memory_of(running.pid) for running in found if running)
    return sum(filter(None, held), processes.Memory())


async def _probe(probe: Probe) -> bool:
    try:
        return await asyncio.wait_for(probe(), 5)
    except TimeoutError:
        return False


def logs(state: State, options: argparse.Namespace) -> int:
    supervisor.select((), options.parts)
    return log_files.follow(state, options.parts or [part.name for part in PARTS], options.lines, options.follow)


def check(state: State, _: argparse.Namespace) -> int:
    return doctor.report(state)


VERBS = {"up": up, "down": down, "restart": restart, "status": status, "logs": logs, "reset": reset, "doctor": check}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.native", description=__doc__)
    parser.add_argument("verb", choices=VERBS)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"some parts only: {', '.join(BY_NAME)}")
    parser.add_argument("--only", choices=GROUPS, default="all", help="a group of parts (default: all)")
    parser.add_argument(
        "--state-dir", help="keep everything of this stack here (default: .runtide); for a second stack"
    )
    parser.add_argument("-n", "--lines", type=int, default=50, help="logs: how many lines")
    parser.add_argument("-f", "--follow", action="store_true", help="logs: go on")
    options = parser.parse_args(arguments)
    try:
        return VERBS[options.verb](state_at(options.state_dir), options)
    except (supervisor.PartFailed, BootstrapFailed, IncompleteEnvironment, ValueError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # `status | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("interrupted; what was started goes on: `down` ends it", file=sys.stderr)
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
