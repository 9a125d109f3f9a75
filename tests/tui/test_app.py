"""What can be done on every page, and which run the app shows."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from textual.pilot import Pilot

from lmrun.store.reader import RunReader
from lmrun.store.runs import RunDirectory, all_runs
from lmrun.tui import engine as starting
from lmrun.tui.app import LmrunApp
from lmrun.tui.config import Config, Look
from lmrun.tui.dialogs import Leave, Notice
from lmrun.tui.engine import Options
from lmrun.tui.pages.base import Page
from tests.tui.conftest import World, app_for, drive, screen_text, wait_until


@pytest.mark.parametrize(
    ("key", "page"),
    [("1", "dashboard"), ("2", "runs"), ("3", "samples"), ("4", "compare"), ("5", "manifests"), ("6", "log")],
)
def test_each_page_has_its_key(key: str, page: str, finished: RunDirectory) -> None:
    app = app_for(finished, page="runs" if page != "runs" else "log")

    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press(key)
        assert app.current_mode == page
        await wait_until(pilot, lambda: "complete" in screen_text(app))

    drive(app, steps)


def test_minus_goes_back(finished: RunDirectory) -> None:
    app = app_for(finished)

    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("6", "minus")
        assert app.current_mode == "dashboard"
        await pilot.press("minus")
        assert app.current_mode == "log"

    drive(app, steps)


# -- engines -----------------------------------------------------------------------------------------------------------

GATED = '[[tasks]]\nname = "colours"\n'


def _slow(world: World, latency_ms: int = 200) -> Path:
    """A manifest whose thirty requests are answered one at a time."""
    return world.manifest(world.stub(chunk=1, latency_ms=latency_ms), tasks=GATED)


def _status(run: RunDirectory) -> str:
    reader = RunReader(run)
    try:
        return str(reader.info().get("status"))
    finally:
        reader.close()


def _runs(world: World) -> list[RunDirectory]:
    return list(all_runs(world.folder / "runs"))


def _app(world: World, manifest: Path | None = None, options: Options | None = None) -> LmrunApp:
    folder = world.folder / "runs"
    return LmrunApp(None, runs_dir=folder, page="manifests", manifest=manifest, start=True, options=options)


def test_a_manifest_is_started_and_its_run_shown_until_it_is_complete(world: World) -> None:
    app = _app(world, _slow(world, 1))
    states = []

    async def steps(pilot: Pilot[None]) -> None:
        def complete() -> bool:
            states.append(app.view.state if app.view else "")
            return states[-1] == "complete"

        await wait_until(pilot, complete)
        (run,) = _runs(world)
        assert app.run_directory is not None
        assert app.run_directory.path.resolve() == run.path.resolve()
        assert app.current_mode == "dashboard"
        assert '"event": "launch"' in run.engine_log.read_text()
        assert not list((world.folder / "runs").glob(".starting-*"))
        await wait_until(pilot, lambda: app._engines[0].exit_code == 0)

    drive(app, steps)
    assert "starting" in states


def test_why_an_engine_did_not_start_is_told_in_its_own_words(world: World) -> None:
    manifest = world.manifest(world.stub(), tasks='[[tasks]]\nname = "colors"\n')
    app = _app(world, manifest)

    async def steps(pilot: Pilot[None]) -> None:
        await wait_until(pilot, lambda: isinstance(app.screen, Notice))
        await wait_until(pilot, lambda: "did you mean 'colours'" in screen_text(app))
        assert "m.toml:6:1" in screen_text(app)
        await pilot.press("escape")
        assert app.current_mode == "manifests"
        assert app.view is None

    drive(app, steps)
    assert not list((world.folder / "runs").glob(".starting-*"))


def test_an_engine_that_a_full_disk_silences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "LMRUN", (sys.executable, "-S", "-c", "raise SystemExit(1)"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: SimpleNamespace(free=0))
    engine = starting.start_batch(tmp_path / "m.toml", Options(), tmp_path / "runs")
    engine._process.wait()
    engine.look()
    assert engine.failure == "it said nothing, for the disk is full: exit code 1"


def test_a_manifest_that_cannot_be_read_starts_nothing(world: World) -> None:
    manifest = _slow(world)
    manifest.write_text("[[models]\n")
    app = _app(world, manifest)

    async def steps(pilot: Pilot[None]) -> None:
        await wait_until(pilot, lambda: isinstance(app.screen, Notice))
        await wait_until(pilot, lambda: "m.toml:1" in screen_text(app))

    drive(app, steps)
    assert not (world.folder / "runs").exists()


def test_resume_goes_on_with_this_very_run(world: World) -> None:
    missing = world.folder / "missing"
    missing.touch()
    run = world.run(world.manifest(world.stub(fail="colour 3", fail_while=str(missing)))).directory
    missing.unlink()
    app = app_for(run)

    async def steps(pilot: Pilot[None]) -> None:
        await wait_until(pilot, lambda: app.view and app.view.state == "incomplete")
        app.resume(run)
        await wait_until(pilot, lambda: app.view and app.view.state == "starting")
        await wait_until(pilot, lambda: app.view and app.view.state == "complete")
        assert app.view is not None
        assert app.view.id == run.id
        await wait_until(pilot, lambda: app._engines[0].exit_code == 0)

    drive(app, steps)
    assert [each.id for each in _runs(world)] == [run.id]


def test_a_run_that_an_engine_works_on_is_not_resumed_but_attached_to(world: World) -> None:
    manifest = _slow(world)
    app, other = _app(world, manifest), _app(world, manifest)

    async def steps(pilot: Pilot[None]) -> None:
        await wait_until(pilot, lambda: app.view and app.view.attached)

        async def attach(second: Pilot[None]) -> None:
            await wait_until(second, lambda: other.view and other.view.attached)
            assert other.run_directory == app.run_directory
            assert not other._engines

        async with other.run_test(size=(120, 40)) as second:
            await attach(second)
        assert app.run_directory is not None
        app.resume(app.run_directory)
        app.command("stop")
        await wait_until(pilot, lambda: app._engines[0].exit_code is not None)

    drive(app, steps)
    assert len(_runs(world)) == 1


def test_leaving_asks_what_becomes_of_a_run_that_goes_on(world: World) -> None:
    app = _app(world, _slow(world))

    async def steps(pilot: Pilot[None]) -> None:
        await wait_until(pilot, lambda: app.view and app.view.attached)
        await pilot.press("q")
        await wait_until(pilot, lambda: isinstance(app.screen, Leave))
        await pilot.press("escape")
        assert isinstance(app.screen, Page)
        await pilot.press("ctrl+c")
        await wait_until(pilot, lambda: isinstance(app.screen, Leave))
        await pilot.press("s")
        await wait_until(pilot, lambda: app.farewell)
        assert app._engines[0]._process.wait(30) == 130

    drive(app, steps)
    (run,) = _runs(world)
    assert _status(run) == "interrupted"
    assert app.farewell == f"{app.run_directory.path} stops; resume it with: lmrun retry {app.run_directory.path}\n"  # type: ignore[union-attr]


def test_detaching_leaves_the_run_alone(world: World) -> None:
    app = _app(world, _slow(world))

    async def steps(pilot: Pilot[None]) -> None:
        await wait_until(pilot, lambda: app.view and app.view.attached)
        await pilot.press("q")
        await wait_until(pilot, lambda: isinstance(app.screen, Leave))
        await pilot.press("d")
        await wait_until(pilot, lambda: app.farewell)

    drive(app, steps)
    assert "goes on; watch it again with: lmrun tui" in app.farewell
    assert app._engines[0]._process.wait(60) == 0
    assert _status(_runs(world)[0]) == "complete"


def test_an_app_without_a_live_run_is_left_at_once(finished: RunDirectory) -> None:
    app = app_for(finished)

    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("q")

    assert drive(app, steps).farewell == ""
    assert app.return_code == 0


def test_the_death_of_an_engine_is_told_with_the_key_to_resume(world: World) -> None:
    app = _app(world, _slow(world))

    async def steps(pilot: Pilot[None]) -> None:
        await wait_until(pilot, lambda: app.view and app.view.attached)
        app._engines[0]._process.kill()
        await wait_until(pilot, lambda: app.view and app.view.state == "dead")
        await wait_until(pilot, lambda: "killed by SIGKILL" in screen_text(app))
        assert app.run_directory is not None
        app.resume(app.run_directory)
        await wait_until(pilot, lambda: app.view and app.view.state == "complete")
        await wait_until(pilot, lambda: all(e.exit_code is not None for e in app._engines))

    drive(app, steps)
    assert len(_runs(world)) == 1
    assert len(set(world.calls())) == 30


def test_a_command_without_an_engine_says_so(finished: RunDirectory) -> None:
    app = app_for(finished)

    async def steps(pilot: Pilot[None]) -> None:
        app.command("pause")
        await wait_until(pilot, lambda: "no engine answers" in screen_text(app))

    drive(app, steps)


def test_options_are_handed_on_as_they_were_given(tmp_path: Path) -> None:
    given = Options(0.5, ("a.b=1",), (tmp_path,), True, tmp_path, True, tmp_path, fresh=True)
    folder = str(tmp_path)
    reading = ["--limit", "0.5", "--set", "a.b=1", "--tasks-path", folder, "--mirror", folder, "--trust", "--offline"]
    assert given.reading() == reading
    assert given.running() == [*reading, "--runs-dir", folder, "--fresh"]
    assert Options().running() == []


def test_a_theme_that_there_is_not_is_told(finished: RunDirectory) -> None:
    app = LmrunApp(finished, runs_dir=finished.path.parent, config=Config(Look("solarised-light")))

    async def steps(pilot: Pilot[None]) -> None:
        await wait_until(pilot, lambda: "there is no theme 'solarised-light'" in screen_text(app))

    drive(app, steps)
