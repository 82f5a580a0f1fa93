"""What the verbs of the stack answer to a name that is none of its parts."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.native.__main__ import main


def test_the_log_of_an_unknown_part_is_answered_with_the_parts_that_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["logs", "nosuch", "--state-dir", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "no such part: nosuch; there are " in said
    assert "lineage" in said
