"""Runs whose files hold what no lmrun has written: every page says so, and the other runs are as usable as before."""

from __future__ import annotations

import json
import shutil
import socket
import sqlite3
from typing import Any

import pytest
from textual.pilot import Pilot

from lmrun.engine.listing import run_summaries, seen_models
from lmrun.engine.open import unfinished
from lmrun.store.runs import RunDirectory
from lmrun.tui.actions import PAGES
from lmrun.tui.filters import Filter
from lmrun.tui.pages.plots import PlotsScreen
from lmrun.tui.run_list import ORDERS, RunList, listed
from lmrun.tui.stored import PATIENCE_MS
from lmrun.tui.watch import RunWatch
from tests.tui.conftest import World, app_for, drive, screen_text, wait_until

ALIVE = f"""INSERT OR REPLACE INTO run VALUES ('status', '"running"'), ('host', '{json.dumps(socket.gethostname())}')"""
UNREADABLE = {
    "no table": "DROP TABLE run",
    "no JSON": "UPDATE run SET value = '{nope'",
    "no text": "UPDATE run SET value = x'ff00fe'",
    "models": "UPDATE models SET facts = '[1'",
    "errors": "UPDATE jobs SET error = '{bad'",
}
STRANGE = {
    "created": "UPDATE run SET value = '\"yesterday\"' WHERE name = 'created'",
    "finished": "UPDATE run SET value = '[1]' WHERE name = 'finished'",
    "name": "UPDATE run SET value = '[1, 2]' WHERE name = 'name'",
    "status": "UPDATE run SET value = '[]' WHERE name = 'status'",
    "pid": f"{ALIVE}, ('pid', '-1')",
    "doc": "UPDATE samples SET doc = '{', target = '{', choices = '7'",
    "answers": "UPDATE responses SET response = x'00ff'",
    "scores": "UPDATE scores SET metrics = '{', span = '\"x\"'",
    "gauges": "INSERT INTO gauges VALUES ('x', 'in_flight', 'y')",
}


def damage(run: RunDirectory, statement: str) -> None:
    with sqlite3.connect(run.database) as db:
        db.execute(statement)
    db.close()


@pytest.fixture
def beside(finished: RunDirectory) -> RunDirectory:
    """Another run in the same folder, which is damaged later: the newer one."""
    other = finished.path.with_name("29991231-235959-other-0000")
    shutil.copytree(finished.path, other)
    return RunDirectory(other)


@pytest.mark.parametrize("what", UNREADABLE)
def test_the_app_says_that_a_run_cannot_be_read(what: str, finished: RunDirectory) -> None:
    damage(finished, UNREADABLE[what])
    app = app_for(finished)

    async def look(pilot: Pilot[None]) -> None:
        await wait_until(pilot, lambda: app.view and app.view.problem.startswith("the run cannot be read"))

    drive(app, look)


@pytest.mark.parametrize("what", ["no table", "no JSON", "no text", "models"])
def test_a_run_that_is_damaged_while_it_is_shown_stays_as_it_was(what: str, finished: RunDirectory) -> None:
    watch = RunWatch(finished)
    try:
        before = watch.look()
        damage(finished, UNREADABLE[what])
        after = watch.look()
    finally:
        watch.close()
    assert after.problem.startswith("the run cannot be read")
    assert [job.label for job in after.jobs] == [job.label for job in before.jobs]


@pytest.mark.parametrize("what", ["no JSON", "errors", "strange"])
def test_pages_of_a_damaged_run(what: str, finished: RunDirectory) -> None:
    for statement in STRANGE.values() if what == "strange" else [UNREADABLE[what]]:
        damage(finished, statement)
    app = app_for(finished)

    async def look(pilot: Pilot[None]) -> None:
        for number, page in enumerate(PAGES, start=1):
            await pilot.press(str(number))
            assert app.current_mode == page
            await wait_until(pilot, lambda: all(worker.is_finished for worker in app.workers))
        await pilot.press("1", "v")
        await wait_until(pilot, lambda: all(worker.is_finished for worker in app.workers))
        assert isinstance(app.screen, PlotsScreen)

    drive(app, look)


@pytest.mark.parametrize("what", [*UNREADABLE, *STRANGE])
def test_the_runs_beside_a_damaged_one_are_listed_and_found(
    what: str, beside: RunDirectory, finished: RunDirectory
) -> None:
    folder = finished.path.parent
    damage(beside, {**UNREADABLE, **STRANGE}[what])
    lines = RunList(folder).read()
    assert {line.run.id for line in lines} == {beside.id, finished.id}
    for order in ORDERS:
        assert len(listed(lines, Filter(), order)) == 2
    assert all(isinstance(line.seconds(0.0), float | None) for line in lines)
    assert finished.id in [summary.run.id for summary in run_summaries(folder)]
    assert seen_models(folder)


@pytest.mark.parametrize("what", UNREADABLE)
def test_a_damaged_run_stops_no_other_one(what: str, beside: RunDirectory, world: World) -> None:
    damage(beside, UNREADABLE[what])
    assert unfinished(world.folder / "runs", "of another manifest") is None


def test_samples_of_a_database_that_was_held_come_when_they_are_asked_for_again(finished: RunDirectory) -> None:
    holder = sqlite3.connect(finished.database, isolation_level=None)
    holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    holder.execute("UPDATE run SET value = value")
    app = app_for(finished, "samples")

    async def look(pilot: Pilot[None]) -> None:
        await wait_until(pilot, lambda: "locked" in screen_text(app) or "! " in screen_text(app))
        holder.close()
        await pilot.press("u")
        await wait_until(pilot, lambda: "1 of 20 samples" in screen_text(app))

    drive(app, look)


def test_a_database_that_somebody_holds_does_not_hold_up_the_app(
    finished: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    patience = []
    connect = sqlite3.connect

    def watched(*arguments: Any, **options: Any) -> sqlite3.Connection:
        patience.append(options["timeout"])
        return connect(*arguments, **options)  # type: ignore[no-any-return]

    holder = connect(finished.database, isolation_level=None)
    holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    holder.execute("UPDATE run SET value = value")
    monkeypatch.setattr(sqlite3, "connect", watched)
    watch = RunWatch(finished)
    try:
        assert "locked" in watch.look().problem
        assert patience == [PATIENCE_MS / 1000]
        holder.execute("ROLLBACK")
        holder.close()
        found = watch.look()
    finally:
        watch.close()
    assert (found.state, found.problem) == ("complete", "")
