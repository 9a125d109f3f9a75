"""The page runs: every key, runs that are broken, and what is never deleted."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Static

from lmrun.engine.listing import run_summary
from lmrun.engine.open import hold
from lmrun.engine.remove import remove_run
from lmrun.errors import RunError
from lmrun.store.pairs import Side
from lmrun.store.runs import RunDirectory
from lmrun.tui.app import LmrunApp
from lmrun.tui.filters import Filter, parse_filter
from lmrun.tui.pages.compare import ComparePage
from lmrun.tui.pages.runs import RunsPage
from lmrun.tui.run_list import KEYS, ORDERS, RunList, listed
from lmrun.tui.widgets.typed_confirm import TypedConfirm
from tests.tui.conftest import app_for, drive, screen_text, wait_until


def text(pilot: Pilot[None]) -> str:
    """What stands on the screen."""
    return screen_text(pilot.app)  # type: ignore[arg-type]


async def shows(pilot: Pilot[None], *parts: str) -> None:
    """Wait until these stand on the screen."""
    await wait_until(pilot, lambda: all(part in text(pilot) for part in parts), f"{parts}")


def said(pilot: Pilot[None]) -> str:
    """What was said in the corner."""
    return " ".join(notice.message for notice in pilot.app._notifications)


def page_of(pilot: Pilot[None]) -> RunsPage:
    """The page that is shown."""
    screen = pilot.app.screen
    assert isinstance(screen, RunsPage)
    return screen


def names(pilot: Pilot[None]) -> list[str]:
    """The runs of the list, in its order."""
    return [line.name for line in page_of(pilot).table._runs]


def set_facts(run: RunDirectory, **facts: str | None) -> None:
    """Change what a run says of itself; the values are JSON, None removes one."""
    db = sqlite3.connect(run.database)
    for name, value in facts.items():
        db.execute("DELETE FROM run WHERE name = ?", (name,))
        if value is not None:
            db.execute("INSERT INTO run VALUES (?, ?)", (name, value))
    db.commit()
    db.close()


def copy(run: RunDirectory, name: str, **facts: str | None) -> RunDirectory:
    """The same run under another name, with other facts."""
    made = RunDirectory(run.path.with_name(name))
    shutil.copytree(run.path, made.path)
    set_facts(made, name=f'"{name[16:-5]}"', **facts)
    return made


@pytest.fixture
def runs(two_models: RunDirectory) -> dict[str, RunDirectory]:
    """A complete run, one with every other state, and three that cannot be read."""
    here = f'"{socket.gethostname()}"'
    found = {
        "m": two_models,
        "live": copy(two_models, "20260105-000000-live-0000", status='"running"', pid=str(os.getpid()), host=here),
        "dead": copy(two_models, "20260104-000000-dead-0000", status='"running"', pid="null", host=here),
        "half": copy(two_models, "20260103-000000-half-0000", status='"incomplete"'),
        "gone": RunDirectory(two_models.path.with_name("20260102-000000-gone-0000")),
        "torn": RunDirectory(two_models.path.with_name("20260101-000000-torn-0000")),
        "late": copy(two_models, "20250101-000000-late-0000"),
    }
    found["gone"].path.mkdir()
    found["torn"].path.mkdir()
    found["torn"].database.write_bytes(b"no database" * 1000)
    db = sqlite3.connect(found["late"].database)
    db.execute("PRAGMA user_version = 99")
    db.close()
    return found


ORDER = ["m", "live", "dead", "half", "gone", "torn", "late"]


def at(name: str) -> list[str]:
    """Keys that bring the cursor to a run."""
    return ["j"] * ORDER.index(name)


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
def test_all_runs_are_listed_with_their_state(runs: dict[str, RunDirectory], size: tuple[int, int]) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await shows(pilot, "late")
        assert names(pilot) == ORDER
        lines = text(pilot).splitlines()
        marks = {name: next(line for line in lines if f" {name} " in f"{line} ").split()[0] for name in ORDER[1:]}
        assert marks == {"live": "●", "dead": "✗", "half": "!", "gone": "✗", "torn": "✗", "late": "✗"}
        await shows(pilot, "✓ complete", "samples")

    drive(app_for(runs["m"], "runs"), steps, size)


def test_what_is_wrong_with_a_broken_run_is_said_and_it_cannot_be_used(runs: dict[str, RunDirectory]) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await shows(pilot, "late")
        for name, words in (("gone", "no run.db"), ("torn", "not a database"), ("late", "schema version 99")):
            await pilot.press("g", *at(name))
            await shows(pilot, words)
            for key in ("enter", "space", "R"):
                pilot.app.clear_notifications()
                await pilot.press(key)
                assert "cannot be used" in said(pilot)
            assert isinstance(pilot.app.screen, RunsPage)

    drive(app_for(runs["m"], "runs"), steps)


def test_the_detail_has_models_scores_path_and_what_to_do(runs: dict[str, RunDirectory]) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await shows(pilot, "late")
        await pilot.press(*at("half"))
        await shows(pilot, "R asks again", "first", "second", "colours", "exact_match")
        detail = str(page_of(pilot).query_one("#detail Static", Static).content)
        assert str(runs["half"].path) in detail
        await pilot.press("g", *at("dead"))
        await shows(pilot, "its engine is gone")
        await pilot.press("g", *at("live"))
        await shows(pilot, "an engine works on it")

    drive(app_for(runs["m"], "runs"), steps, (200, 60))


def test_the_detail_scrolls(runs: dict[str, RunDirectory]) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await shows(pilot, "✓ complete", "samples")
        detail = page_of(pilot).query_one("#detail")
        await pilot.press("ctrl+e")
        await wait_until(pilot, lambda: detail.scroll_y > 0, "a scroll")
        await pilot.press("ctrl+y")
        await wait_until(pilot, lambda: detail.scroll_y == 0, "a scroll back")

    drive(app_for(runs["m"], "runs"), steps, (80, 24))


def test_enter_opens_a_run(runs: dict[str, RunDirectory]) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await shows(pilot, "late")
        await pilot.press(*at("half"), "enter")
        app = pilot.app
        assert isinstance(app, LmrunApp)
        await wait_until(pilot, lambda: app.current_mode == "dashboard", "the dashboard")
        assert app.run_directory == runs["half"]

    drive(app_for(runs["m"], "runs"), steps)


def test_a_filter_and_an_order(runs: dict[str, RunDirectory]) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await shows(pilot, "late")
        await pilot.press("slash", *"status:broken", "enter")
        await wait_until(pilot, lambda: names(pilot) == ["gone", "torn", "late"], "the broken ones")
        await shows(pilot, "3 of 7 runs")
        await pilot.press("s")
        await shows(pilot, "name▾")
        assert names(pilot) == ["gone", "late", "torn"]
        await pilot.press("s")
        await shows(pilot, "▾ started")  # by the marks of states
        await pilot.press(*["s"] * (len(ORDERS) - 2))
        await shows(pilot, "started▾")

    drive(app_for(runs["m"], "runs"), steps, (200, 60))


def test_two_marked_runs_are_compared(runs: dict[str, RunDirectory]) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await shows(pilot, "late")
        await pilot.press("space", "k", *at("half"), "space")
        await wait_until(pilot, lambda: text(pilot).count("◆") == 2, "two marks")
        await pilot.press("d")
        await shows(pilot, "colours", f"A  first   {runs['m'].id}", f"B  first   {runs['half'].id}")
        page = pilot.app.screen
        assert isinstance(page, ComparePage)
        assert page._sides == (Side(runs["m"], "first"), Side(runs["half"], "first"))

    drive(app_for(None, "runs", runs["m"].path.parent), steps)


def test_a_third_mark_takes_the_place_of_the_first_and_a_mark_can_be_taken_back(runs: dict[str, RunDirectory]) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await shows(pilot, "late")
        await pilot.press("space", "space", "space")
        assert [path.name for path in page_of(pilot)._marks] == [runs["live"].id, runs["dead"].id]
        await pilot.press("k", "space")
        assert [path.name for path in page_of(pilot)._marks] == [runs["live"].id]

    drive(app_for(runs["m"], "runs"), steps)


def test_without_marks_the_run_under_the_cursor_is_compared_with_the_open_one(runs: dict[str, RunDirectory]) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await shows(pilot, "late")
        await pilot.press(*at("half"), "d")
        await shows(pilot, f"A  first   {runs['m'].id}", f"B  first   {runs['half'].id}")

    drive(app_for(runs["m"], "runs"), steps)


def test_the_open_run_alone_is_compared_by_its_models(runs: dict[str, RunDirectory]) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await shows(pilot, "late")
        await pilot.press("d")
        await shows(pilot, "A  first", "B  second")

    drive(app_for(runs["m"], "runs"), steps)


def test_a_run_of_one_model_alone_cannot_be_compared(finished: RunDirectory) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await shows(pilot, "✓")
        await pilot.press("d")
        assert "mark two runs" in said(pilot)

    drive(app_for(finished, "runs"), steps)


def test_only_what_can_go_on_is_resumed(runs: dict[str, RunDirectory], monkeypatch: pytest.MonkeyPatch) -> None:
    resumed: list[RunDirectory] = []
    monkeypatch.setattr(LmrunApp, "resume", lambda _app, run: resumed.append(run))

    async def steps(pilot: Pilot[None]) -> None:
        await shows(pilot, "late")
        await pilot.press("R")
        assert "is complete" in said(pilot)
        await pilot.press("j", "R")
        assert "an engine works on" in said(pilot)
        assert not resumed
        await pilot.press("j", "R", "j", "R")
        assert resumed == [runs["dead"], runs["half"]]

    drive(app_for(runs["m"], "runs"), steps)


async def ask_to_delete(pilot: Pilot[None], name: str, words: str) -> None:
    """Delete a run as a user does."""
    await pilot.press("g", *at(name), "D")
    await wait_until(pilot, lambda: isinstance(pilot.app.screen, TypedConfirm), "the question")
    await pilot.press(*words, "enter")


def test_a_run_is_deleted_once_its_id_is_typed(runs: dict[str, RunDirectory]) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await shows(pilot, "late")
        await ask_to_delete(pilot, "half", runs["half"].id)
        await wait_until(pilot, lambda: "is deleted" in said(pilot), "words")
        assert not runs["half"].path.exists()
        await wait_until(pilot, lambda: names(pilot) == [name for name in ORDER if name != "half"], "a shorter list")
        assert sorted(p.name for p in runs["m"].path.parent.iterdir() if p.is_dir()) == sorted(
            run.id for name, run in runs.items() if name != "half"
        )

    drive(app_for(runs["m"], "runs"), steps)


def test_a_broken_run_and_the_open_one_can_be_deleted(runs: dict[str, RunDirectory]) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await shows(pilot, "late")
        await ask_to_delete(pilot, "torn", "delete")
        await wait_until(pilot, lambda: not runs["torn"].path.exists(), "the deletion")
        await ask_to_delete(pilot, "m", "delete")
        await wait_until(pilot, lambda: not runs["m"].path.exists(), "the deletion")
        await shows(pilot, "no run")

    drive(app_for(runs["m"], "runs"), steps)


def test_another_word_deletes_nothing(runs: dict[str, RunDirectory]) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await shows(pilot, "late")
        await ask_to_delete(pilot, "half", "yes")
        await shows(pilot, "nothing is done")
        await pilot.press("escape")
        await wait_until(pilot, lambda: isinstance(pilot.app.screen, RunsPage), "the page")
        assert runs["half"].database.exists()

    drive(app_for(runs["m"], "runs"), steps)


def test_a_run_at_work_is_not_deleted(runs: dict[str, RunDirectory]) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await shows(pilot, "late")
        await pilot.press(*at("live"), "D")
        assert "stop it first" in said(pilot)
        assert isinstance(pilot.app.screen, RunsPage)
        assert runs["live"].database.exists()

    drive(app_for(runs["m"], "runs"), steps)


def test_a_new_run_appears_and_a_deleted_one_goes(runs: dict[str, RunDirectory]) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await shows(pilot, "late")
        await pilot.press(*at("dead"))
        copy(runs["m"], "20260106-000000-new-0000")
        shutil.rmtree(runs["half"].path)
        await wait_until(pilot, lambda: names(pilot) == ["m", "new", "live", "dead", "gone", "torn", "late"])
        line = page_of(pilot).table.line
        assert line is not None
        assert line.name == "dead"  # the cursor stays on its run

    drive(app_for(runs["m"], "runs"), steps)


def test_an_empty_folder_says_so(tmp_path: Path) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await shows(pilot, "No runs in")
        await pilot.press("enter", "space", "d", "D", "R", "s")
        assert isinstance(pilot.app.screen, RunsPage)

    drive(app_for(None, "runs", tmp_path / "nothing"), steps)


def test_names_that_would_do_harm_are_shown(two_models: RunDirectory) -> None:
    set_facts(two_models, name='"\\u001b[31m[b]x\\u0000\\u202e"')

    async def steps(pilot: Pilot[None]) -> None:
        await shows(pilot, "␛[b]x␀�")
        assert "\x1b" not in text(pilot)

    drive(app_for(two_models, "runs"), steps)


# -- the list itself --------------------------------------------------------------------------------------------------


def test_a_run_is_read_again_only_where_it_has_changed_or_goes_on(
    runs: dict[str, RunDirectory], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def counted(run: RunDirectory) -> object:
        read.append(run.id)
        return run_summary(run)

    monkeypatch.setattr("lmrun.tui.run_list.run_summary", counted)
    runs_dir = runs["m"].path.parent
    found = RunList(runs_dir)
    assert [line.name for line in found.read()] == ORDER
    read.clear()
    found.read()
    assert read == [runs["live"].id]
    set_facts(runs["half"], status='"complete"')
    os.utime(runs["half"].database, (1, 2_000_000_000))
    states = {line.name: line.status for line in found.read()}
    assert states["half"] == "complete"


def test_every_order_takes_every_run(runs: dict[str, RunDirectory]) -> None:
    lines = RunList(runs["m"].path.parent).read()
    for order in ORDERS:
        assert len(listed(lines, Filter(keys=KEYS), order)) == len(lines)
    assert [line.name for line in listed(lines, parse_filter("model:second !dead", KEYS), "name")] == [
        "half",
        "live",
        "m",
    ]


# -- what is never deleted ---------------------------------------------------------------------------------------------


def outside(run: RunDirectory) -> RunDirectory:
    """A run elsewhere."""
    folder = run.path.parent.parent / "elsewhere"
    folder.mkdir()
    made = RunDirectory(folder / run.id)
    shutil.copytree(run.path, made.path)
    return made


def linked(run: RunDirectory) -> RunDirectory:
    """A link among the runs that leads elsewhere."""
    link = run.path.with_name("20260101-000000-link-0000")
    link.symlink_to(outside(run).path)
    return RunDirectory(link)


def nameless(run: RunDirectory) -> RunDirectory:
    """A folder among the runs that is named otherwise."""
    return RunDirectory(shutil.copytree(run.path, run.path.with_name("mine")))


def nested(run: RunDirectory) -> RunDirectory:
    """A folder in a run."""
    return RunDirectory(shutil.copytree(run.path, run.path / "20260101-000000-nested-0000"))


@pytest.mark.parametrize("make", [outside, linked, nameless, nested])
def test_only_folders_of_runs_are_deleted(finished: RunDirectory, make: Callable[[RunDirectory], RunDirectory]) -> None:
    run = make(finished)
    with pytest.raises(RunError, match="no folder of a run"):
        remove_run(run, finished.path.parent)
    assert run.database.exists()


def test_links_in_a_run_are_not_followed(finished: RunDirectory, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("x")
    (finished.path / "folder").symlink_to(kept)
    (finished.path / "results" / "file").symlink_to(kept / "file")
    remove_run(finished, finished.path.parent)
    assert not finished.path.exists()
    assert (kept / "file").read_text() == "x"
    assert not [path for path in finished.path.parent.iterdir() if path.is_dir()]


def test_a_run_that_an_engine_holds_is_not_deleted(finished: RunDirectory) -> None:
    with hold(finished), pytest.raises(RunError, match="being worked on"):
        remove_run(finished, finished.path.parent)
    remove_run(finished, finished.path.parent)
    assert not finished.path.exists()
