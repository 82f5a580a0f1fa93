"""The example of joins on the whole stack, and that its own check of "exactly once" can fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from runtide import Runtide, settings

from examples.diamond.__main__ import PATIENCE_SECONDS, opened
from examples.diamond.story import StoryBroke


@pytest.mark.timeout(PATIENCE_SECONDS + 60)
async def test_the_join_of_a_diamond_runs_exactly_once_per_change(stack: Any, tmp_path: Path) -> None:
    async with (
        Runtide(settings.load(stack.env, tmp_path)) as client,
        opened(client, stack.env, Console(quiet=True)) as story,
    ):
        await story.tell()
        await story.ask("d")  # once too often, by hand
        await story.heard.until(lambda: story.ended("d"))
        with pytest.raises(StoryBroke, match="d ran 2 times for 2 changes"):
            story.ran_once_per_change(2)
