"""`make diamond`: serve five flows, tell the story of three days, and end with 0 only if every sentence was true."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from rich.console import Console
from runtide import Runtide
from runtide.errors import RuntideError
from runtide.log import Follow
from runtide.settings import read_stack_file

from deploy.native import bootstrap
from examples.diamond.listening import TOPICS, Heard
from examples.diamond.serve import SERVING
from examples.diamond.story import Story, StoryBroke

LOG = "flows.log"
PATIENCE_SECONDS = 420


@asynccontextmanager
async def served(story: str, environment: Mapping[str, str], home: Path) -> AsyncIterator[None]:
    """The five flows as `<flow>/<story>`; their log lies in `home`."""
    env = {**os.environ, **environment, "PREFECT_HOME": str(home)}
    env["PREFECT_API_URL"] = env["RUNTIDE_PREFECT_API_URL"]
    python = await asyncio.to_thread(bootstrap.prefect)
    with (home / LOG).open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            python, "-m", "examples.diamond.serve", story, cwd=bootstrap.ROOT, env=env, stdout=PIPE, stderr=log
        )
    assert process.stdout is not None
    try:
        if (await process.stdout.readline()).decode().strip() != SERVING:
            raise StoryBroke("the flows are not served")
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


@asynccontextmanager
async def opened(client: Runtide, environment: Mapping[str, str], console: Console) -> AsyncIterator[Story]:
    """A story of a name of its own, with its flows served."""
    name = f"diamond-{uuid4().hex[:6]}"
    with TemporaryDirectory() as home:
        try:
            wish = Follow(TOPICS, None, datetime.now(UTC))
            async with served(name, environment, Path(home)), client.log.follow(wish) as follower:
                yield Story(client, name, Heard(follower, f"{name}-"), console)
        except (StoryBroke, RuntideError, asyncio.CancelledError):
            console.print((Path(home) / LOG).read_text(encoding="utf-8"), markup=False)
            raise


async def main() -> int:
    console = Console(highlight=False)
    async with Runtide.from_env() as client:
        stack = read_stack_file(client.settings.stack_file) if client.settings.stack_file else {}
        try:
            async with asyncio.timeout(PATIENCE_SECONDS), opened(client, {**stack, **os.environ}, console) as story:
                await story.tell()
        except (RuntideError, StoryBroke, TimeoutError) as error:
            said = str(error) or f"not finished within {PATIENCE_SECONDS} s"
            console.print(f"[red]the story did not come true:[/] {said}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
