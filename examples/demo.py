"""`make demo`: all seven run types on real prices, over Kafka, through Prefect, to their end.

Chapter one takes history anew up to the last session but one, and asks for everything below; each request waits by name
until what it reads is ready. Chapter two adds the newest session: what lies downstream goes stale, with the cause, and
the signal refreshes itself. Ends with 0 only if every run ended as the story says; the stack stays up.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text
from runtide import Runtide
from runtide.board import Board
from runtide.errors import RuntideError
from runtide.platform import Platform
from runtide.runs import Result, Run
from runtide_schemas.runs import RunStatusChanged

PLATFORM = Path(__file__).parent / "quant" / "platform.yaml"
PATIENCE_SECONDS = 420
BELOW_PRICES = {"momentum", "momentum-preview", "return-model", "model-portfolio", "momentum-60-40"}
ASKED = (
    ("momentum-preview", "preview"),
    ("return-model", "training"),
    ("return-model", "inference"),
    ("return-model", "monitoring"),
    ("model-portfolio", "optimize"),
    ("momentum-60-40", "backtest"),
)
HEADLINES = {
    "PipelineRun": ("rows_added", "last_date"),
    "ExperimentRun": ("rows_computed", "nan_pct"),
    "TrainingRun": ("val_ic", "val_rmse"),
    "InferenceRun": ("num_predictions", "latency_ms"),
    "MonitoringRun": ("psi", "missing_pct"),
    "PortfolioOptimizationRun": ("expected_sharpe", "effective_n"),
    "BacktestRun": ("sharpe_ratio", "max_drawdown"),
}
STYLES = {"completed": "green", "failed": "red", "running": "cyan", "parked": "yellow", "cancelled": "magenta"}


class StoryBroke(Exception):
    """Something did not end as it should have."""


@dataclass
class Story:
    """What the demo knows while it runs."""

    client: Runtide
    console: Console
    board: Board = field(default_factory=Board)
    live: Live | None = None
    began: float = field(default_factory=time.monotonic)
    told: dict[UUID, str] = field(default_factory=dict)

    def say(self, text: str) -> None:
        self.console.print(f"[dim]{time.monotonic() - self.began:5.1f} s[/]  {text}")

    async def watch(self, since: datetime) -> None:
        """Keep the table of runs as they move."""
        async with aclosing(self.client.everything(since)) as messages:
            async for message in messages:
                for update in self.board.apply(message):
                    row = self.board.rows[update.run_id]
                    if self.live is not None:
                        self.live.update(self.table())
                    elif self.told.get(update.run_id) != update.status:
                        self.told[update.run_id] = update.status
                        self.say(f"{row.name} {row.flow_kind}: {update.status} {update.message or ''}".rstrip())

    def table(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("run", "instance", "flow", "status", "progress", "step"):
            table.add_column(column)
        for row in sorted(self.board.rows.values(), key=lambda row: row.run_id.hex):
            update = row.update
            waits = f"waits for {', '.join(blocker.name for blocker in update.blockers)}" if update.blockers else ""
            table.add_row(
                str(row.run_id)[:8], row.name, row.flow_kind, Text(update.status, style=STYLES.get(update.status, "")),
                f"{update.progress_pct:.0f} %" if update.progress_pct is not None else "",
                update.step or waits or (update.message or "")[:60],
            )  # fmt: skip
        return table


async def main() -> int:
    console = Console(highlight=False)
    async with Runtide.from_env() as client:
        story = Story(client, console)
        watching = asyncio.create_task(story.watch(datetime.now(UTC)))
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                results = await tell(story)
        except (RuntideError, StoryBroke, TimeoutError) as error:
            said = str(error) or f"not finished within {PATIENCE_SECONDS} s"
            console.print(f"[red]the demo did not end as it should:[/] {said}")
            console.print("look at: make status · make logs · runtide doctor")
            return 1
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        console.print(ended(results))
        dashboard = os.environ.get("RUNTIDE_DASHBOARD_URL") or dashboard_of(client)
        console.print(f"\n[bold]dashboard[/]  {dashboard}/#token={client.settings.token}", soft_wrap=True)
        console.print("[dim]the stack stays up: make status, make down[/]")
    return 0


async def tell(story: Story) -> list[Result]:
    """Both chapters; every run's result."""
    client = story.client
    applied = await client.apply(Platform.read(PLATFORM))
    story.say(f"platform registered: {len(applied.snapshots)} instances new or changed")
    live = Live(story.table(), console=story.console, refresh_per_second=8) if story.console.is_terminal else None
    story.live = live
    if live is not None:
        live.start()
    try:
        prices = await client.submit_run(
            "prices", "refresh", mode="overwrite", gate="wait", parameters={"hold_back_sessions": 1}
        )
        results = [await prices.result()]
        asked = [await client.submit_run(name, flow, gate="wait") for name, flow in ASKED]
        results += await asyncio.gather(*(run.result() for run in asked))
        await until_ready(client, BELOW_PRICES)
        story.say("chapter two: the newest session arrives")
        before = await statuses(client)
        newest = await client.submit_run("prices", "refresh", gate="wait")
        results.append(await newest.result())
        moved = await went_stale(client, newest, BELOW_PRICES)
    finally:
        if live is not None:
            live.stop()
    for name, path in sorted(moved.items()):
        story.say(f"{name}: {before[name]} → stale, because of {' → '.join(path)}")
    await until_ready(client, {"momentum"})
    story.say("momentum refreshed itself: ready again")
    story.say(await dates_of(client, "prices"))
    return results


async def dates_of(client: Runtide, name: str) -> str:
    """How far its data goes, and when the next date falls due."""
    flow = (await client.instance(name))["flows"][0]
    due = datetime.fromisoformat(flow["next_due_at"]).astimezone(ZoneInfo("America/New_York"))
    expected = f"expected {flow['expected_data_date']}"
    return f"{name}: data to {flow['last_data_date']}, {expected}; the next is due {due:%a %d %b %H:%M} in New York"


async def statuses(client: Runtide) -> dict[str, str]:
    return {row["name"]: row["status"] for row in (await client.instances())["instances"]}


async def until_ready(client: Runtide, names: set[str]) -> None:
    while not names <= {name for name, status in (await statuses(client)).items() if status == "ready"}:
        await asyncio.sleep(0.3)


async def went_stale(client: Runtide, run: Run, names: set[str]) -> dict[str, list[str]]:
    """name → path of its staleness from the run that caused it.

    Raises:
        StoryBroke: something that reads prices did not notice.
    """
    for _ in range(100):
        rows = (await client.instances())["instances"]
        causes = {row["name"]: row["cause"] for row in rows if caused_by(row.get("cause"), run.id)}
        if causes.keys() >= names:
            return {name: list(causes[name]["path"]) for name in names}
        await asyncio.sleep(0.1)
    raise StoryBroke(f"{', '.join(sorted(names - causes.keys()))} did not go stale after {run.id}")


def caused_by(cause: dict[str, Any] | None, run_id: UUID) -> bool:
    return cause is not None and cause.get("run_id") == str(run_id)


def ended(results: list[Result]) -> Table:
    """The table of runs at the end."""
    table = Table(title="runs", title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in ("type", "instance", "status", "seconds", "headline"):
        table.add_column(column)
    for result in results:
        run = result.snapshot
        if isinstance(run, RunStatusChanged):
            names = HEADLINES.get(str(run.run_type), ())
            said = "  ".join(f"{name} {shown(run.metrics[name])}" for name in names if name in run.metrics)
            table.add_row(run.run_type, run.instance_name, run.status, f"{run.duration_seconds or 0:.1f}", said)
    return table


def shown(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def dashboard_of(client: Runtide) -> str:
    return client.settings.url_of("notifier")


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
