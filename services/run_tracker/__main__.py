"""`python -m services.run_tracker run | migrate | config check | offsets skip | sweep confirm-loss`."""

import asyncio

import typer

from services.run_tracker.app import build
from services.run_tracker.settings import RunTrackerSettings
from services.run_tracker.upkeep import Mark, Upkeep
from shared.clock import utc_now
from shared.main import main
from shared.postgres import engine_for

sweep = typer.Typer(name="sweep", no_args_is_help=True, help="Comparing our states with Prefect's.")


@sweep.callback()
def _of_sweep() -> None:
    """A group, although it has one command."""


@sweep.command("confirm-loss")
def confirm_loss() -> None:
    """What Prefect no longer knows is gone for good, however much it is: an operator's decision."""

    async def confirm() -> str | None:
        engine = engine_for(RunTrackerSettings().postgres, schema="run_tracker", application="runtide-run_tracker-job")
        try:
            async with engine.begin() as conn:
                upkeep = Upkeep(conn)
                await upkeep.confirm_loss(Mark.SWEEP, utc_now())
                return (await upkeep.load_sweep(Mark.SWEEP)).refused
        finally:
            await engine.dispose()

    refused = asyncio.run(confirm())
    typer.echo(f"confirmed for ten minutes: {refused or 'no loss is refused now'}")


if __name__ == "__main__":
    main("run_tracker", RunTrackerSettings, build, sweep)
