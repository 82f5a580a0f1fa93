"""What is pending is told by the names of files; Alembic, which applies them, must see the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from shared.migrate import configuration
from shared.revisions import ROOT, known

SERVICES = sorted(path.parent.name for path in Path(ROOT, "services").glob("*/tables.py"))
LOADED = "import sys, {}; sys.exit('alembic' in sys.modules)"


@pytest.mark.parametrize("service", SERVICES)
def test_the_names_of_the_files_are_the_order_in_which_alembic_applies_them(service: str) -> None:
    script = ScriptDirectory.from_config(configuration(service))
    assert known(service) == [one.revision for one in reversed(list(script.iterate_revisions("heads", "base")))]


def loads_alembic(modules: str) -> bool:
    return bool(subprocess.run([sys.executable, "-c", LOADED.format(modules)], cwd=ROOT, check=False).returncode)


def test_a_running_service_does_not_load_alembic() -> None:
    assert not loads_alembic("shared.main, shared.application, services.notifier.app")


def test_control_the_job_that_migrates_does() -> None:
    assert loads_alembic("shared.migrate")
