"""`make bench`: each goal, its figure, its floor and the ratio, all of one run. `make bench GOALS=P7` for some."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from benchmarks import answers, measuring, order, relay, staleness, states
from benchmarks.measuring import Figure
from deploy.native import environment
from shared import collector
from tests.support.harness import World

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / ".runtide" / "bench"
GOALS: dict[str, Callable[[World], Awaitable[list[Figure]]]] = {
    "P1": states.figures,
    "P7": relay.figures,
    "P8": staleness.figures,
    "P9": order.figures,
    "P10": answers.statuses,
    "P13": answers.graph,
}


async def measure(goals: list[str]) -> list[Figure]:
    """Every goal in a world of its own."""
    found: list[Figure] = []
    collector.calm()  # as in a service; floor and ours alike
    for goal in goals:
        world = await World(environment.read(STATE / "stack.env")).open()
        try:
            for figure in await GOALS[goal](world):
                print(figure.line(), flush=True)
                found.append(figure)
        finally:
            await world.close()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("goals", nargs="*", help=f"some of {', '.join(GOALS)}")
    goals = parser.parse_args().goals or list(GOALS)
    native = [sys.executable, "-m", "deploy.native", "--state-dir", str(STATE)]
    subprocess.run([*native, "up", "postgres", "kafka"], cwd=ROOT, check=True)
    try:
        figures = uvloop.run(measure(goals))
    finally:
        subprocess.run([*native, "down"], cwd=ROOT, check=True)
    print(f"written to {measuring.keep(figures).relative_to(ROOT)}")
    return 0 if all(figure.reached for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
