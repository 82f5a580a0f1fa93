"""Chaos in its short form: faults under load, then quiet, then the invariants."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from tests.chaos import report
from tests.chaos.storm import SHORT, Plan, Storm
from tests.conftest import STATE


@pytest.mark.timeout(1500)
async def test_faults_under_load_break_no_invariant(stack: Any, show: Callable[[str], None]) -> None:
    seed = int(os.environ.get("SEED") or 1)  # the same in every run; `make chaos` draws one
    faults = int(os.environ.get("FAULTS") or SHORT["faults"])
    plan = Plan(seed=seed, **{**SHORT, "faults": faults})
    result = await Storm(stack, STATE, plan, lambda line: print(line, flush=True)).run()
    for line in report.lines(result):
        show(line)
    assert result.holds, "\n".join(report.lines(result))
