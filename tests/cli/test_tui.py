"""``lmrun tui``: what its argument means, and what it does without a terminal."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lmrun import bundled
from lmrun.cli import tui
from lmrun.errors import LmrunError, ManifestError, RunError
from lmrun.store.runs import RunDirectory
from lmrun.store.writer import RunStore
from lmrun.tui.terminal import write_utf8


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    """A run with the name of a bundled manifest."""
    monkeypatch.chdir(tmp_path)
    directory = RunDirectory(tmp_path / "runs" / "20260101-000000-quickstart-abcd")
    directory.path.mkdir(parents=True)
    RunStore(directory).close()
    return directory


def test_a_file_or_a_bundled_name_is_a_manifest(run: RunDirectory) -> None:
    Path("m.toml").touch()
    assert tui._manifest("m.toml") == Path("m.toml")
    assert tui._manifest("quickstart") == bundled.configs_dir() / "quickstart.toml"
    with pytest.raises(ManifestError, match="there is no manifest"):
        tui._manifest("n.toml")


@pytest.mark.parametrize(
    "target", ["latest", "20260101-000000-quickstart-abcd", "runs/20260101-000000-quickstart-abcd"]
)
def test_a_run_is_no_manifest(target: str, run: RunDirectory) -> None:
    assert tui._manifest(target) is None
    found = tui._run(target, Path("runs"))
    assert found is not None
    assert found.id == run.id


def test_without_an_argument_the_newest_run_is_shown_if_there_is_one(run: RunDirectory) -> None:
    assert tui._manifest(None) is None
    newest = tui._run(None, Path("runs"))
    assert newest is not None
    assert newest.id == run.id
    assert tui._run(None, Path("elsewhere")) is None


def test_what_is_neither_is_told(run: RunDirectory) -> None:
    with pytest.raises(RunError, match="no run 'nonsense'"):
        tui._run("nonsense", Path("runs"))


def test_a_port_that_is_none_is_told() -> None:
    from lmrun.tui.web import serve

    with pytest.raises(LmrunError, match="port 70000"):
        serve(["true"], 70000)


def test_without_a_terminal_it_says_what_to_use_instead(run: RunDirectory) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    environment.pop("TEXTUAL_DRIVER", None)
    done = subprocess.run(
        [sys.executable, "-m", "lmrun", "tui"],
        stdin=subprocess.DEVNULL,
        check=False,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 2
    assert "this is no terminal" in done.stderr
    assert "lmrun batch" in done.stderr
    assert "lmrun show --plain" in done.stderr


def test_frames_are_drawn_whatever_the_locale_says(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = io.BytesIO()
    monkeypatch.setattr(sys, "__stderr__", io.TextIOWrapper(drawn, encoding="latin-1", errors="backslashreplace"))
    write_utf8()
    assert sys.__stderr__
    sys.__stderr__.write("╭")
    sys.__stderr__.flush()
    assert drawn.getvalue() == "╭".encode()
