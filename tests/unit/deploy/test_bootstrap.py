from __future__ import annotations

from pathlib import Path

import pytest

from deploy.native import bootstrap

PINS = """\
urllib3==2.8.0 \\
    --hash=sha256:aa
    # via requests
uv==0.13.9 \\
    --hash=sha256:bb \\
    --hash=sha256:cc
    # via -r native.in
zstd==1.0 \\
    --hash=sha256:dd
"""


def test_the_pin_of_one_package_is_cut_out_with_its_hashes() -> None:
    assert bootstrap._pin_of("uv", PINS) == "uv==0.13.9 \\\n    --hash=sha256:bb \\\n    --hash=sha256:cc\n"


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RUNTIDE_CACHE", str(tmp_path))
    assert bootstrap.cache_dir() == tmp_path


def test_uv_is_given_the_indexes_that_pip_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UV_DEFAULT_INDEX", raising=False)
    monkeypatch.delenv("UV_INDEX_URL", raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", "https://pypi.example/simple")
    assert bootstrap.tool_environment()["UV_DEFAULT_INDEX"] == "https://pypi.example/simple"


def test_what_the_caller_set_for_uv_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://pypi.example/simple")
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://mine.example/simple")
    assert bootstrap.tool_environment()["UV_DEFAULT_INDEX"] == "https://mine.example/simple"


def test_a_digest_changes_with_the_content(tmp_path: Path) -> None:
    file = tmp_path / "pins.txt"
    file.write_text("a==1")
    before = bootstrap.digest_of([file])
    file.write_text("a==2")
    assert bootstrap.digest_of([file]) != before


def test_an_unchanged_environment_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pins = tmp_path / "pins.txt"
    pins.write_text("a==1")
    environment = tmp_path / "env"
    (environment / "bin").mkdir(parents=True)
    (environment / "bin" / "python").touch(mode=0o755)
    (environment / ".runtide-stamp.json").write_text(f'{{"pins.txt": "{bootstrap.digest_of([pins])}"}}')
    monkeypatch.setattr(bootstrap, "uv", lambda: pytest.fail("nothing to install"))
    assert bootstrap.ensure(environment, pins) == environment / "bin" / "python"


def test_a_failing_command_says_what_it_printed() -> None:
    with pytest.raises(bootstrap.BootstrapFailed, match="no such thing"):
        bootstrap.run(["sh", "-c", "echo no such thing; exit 3"])
