"""What README says of the contract is what the contract says."""

from __future__ import annotations

import json
import re
from pathlib import Path

from runtide_schemas.ids import RUNTIDE

ROOT = Path(__file__).resolve().parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_sample_of_a_run_status_is_a_golden_message() -> None:
    [sample] = [block for block in blocks("json") if '"run.status_changed"' in block]
    golden = ROOT / "schemas" / "golden" / "v0.1" / "run.status_changed.minimal.json"
    assert json.loads(sample) == json.loads(golden.read_text(encoding="utf-8"))


def test_the_namespace_of_ids_is_the_one_that_we_compute_with() -> None:
    assert str(RUNTIDE) in README


def test_its_examples_in_python_are_files_that_python_takes() -> None:
    for number, block in enumerate(blocks("python")):
        compile(block, f"example {number}", "exec")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
