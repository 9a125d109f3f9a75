"""The page log: what each key does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Static

from lmrun.store.reader import RunReader
from lmrun.store.runs import RunDirectory
from lmrun.tui.app import LmrunApp
from lmrun.tui.widgets.filter_bar import FilterBar
from lmrun.tui.widgets.virtual import VirtualTable
from tests.tui.conftest import app_for, drive, screen_text, wait_until

LINES: tuple[tuple[str, str, dict[str, object]], ...] = (
    ("debug", "batch", {"n": 8}),
    ("warning", "requests failed", {"kind": "http_429", "job": "colours", "n": 2}),
    ("info", "looked up", {"model": "stub", "job": "colours"}),
    ("debug", "batch", {"n": 9}),
    ("warning", "requests failed", {"kind": "http_429", "job": "speech", "n": 1}),
    ("error", "job failed", {"job": "speech", "error": {"message": "no", "traceback": "T\nlmrun.errors.RunError: no"}}),
    ("info", "finished", {"status": "incomplete"}),
)


def write(path: Path, begun: float) -> None:
    with path.open("a") as file:
        for number, (level, event, fields) in enumerate(LINES):
            file.write(json.dumps({"time": begun + number * 61, "level": level, "event": event, **fields}) + "\n")


@pytest.fixture
def logged(finished: RunDirectory) -> RunDirectory:
    """A run with a log of seven lines."""
    reader = RunReader(finished)
    begun = reader.info()["created"]
    reader.close()
    finished.log.write_text("")
    write(finished.log, begun)
    return finished


class Seen:
    """The page as a test looks at it."""

    def __init__(self, app: LmrunApp) -> None:
        self.app = app

    @property
    def table(self) -> VirtualTable:
        return self.app.screen.query_one(VirtualTable)

    @property
    def summary(self) -> str:
        return str(self.app.screen.query_one("#summary", Static).render())

    @property
    def line(self) -> str:
        return str(self.app.screen.query_one("#line", Static).render())

    @property
    def events(self) -> list[str]:
        rows = self.table._fetch(0, self.table.count)
        return [row[3].text for row in rows]


def on_log(run: RunDirectory, steps: Callable[[Pilot[None], Seen], object], size: tuple[int, int] = (120, 40)) -> None:
    app = app_for(run, "log")

    async def go(pilot: Pilot[None]) -> None:
        seen = Seen(app)
        await wait_until(pilot, lambda: seen.table.count == len(LINES), "the log")
        await steps(pilot, seen)  # type: ignore[misc]

    drive(app, go, size)


def test_lines_and_the_one_under_the_cursor(logged: RunDirectory) -> None:
    async def steps(pilot: Pilot[None], seen: Seen) -> None:
        text = screen_text(seen.app)
        assert "+0:05:05  ✗ error   job failed" in text
        assert "+0:01:01  ! warning requests failed" in text
        assert "· info" in text
        assert "7 of 7 lines" in seen.summary
        await pilot.press("k")
        await wait_until(pilot, lambda: "│ lmrun.errors.RunError: no" in seen.line)

    on_log(logged, steps)


@pytest.mark.parametrize("size", [(80, 24), (40, 12), (200, 60)])
def test_other_sizes(logged: RunDirectory, size: tuple[int, int]) -> None:
    async def steps(pilot: Pilot[None], seen: Seen) -> None:
        assert "✗" in screen_text(seen.app)
        assert "finished" in screen_text(seen.app)

    on_log(logged, steps, size)


def test_level(logged: RunDirectory) -> None:
    async def steps(pilot: Pilot[None], seen: Seen) -> None:
        for words, count in (("no details", 5), ("warnings and errors", 3), ("errors only", 1), ("all lines", 7)):
            await pilot.press("l")
            await wait_until(pilot, lambda: seen.table.count == count, words)  # noqa: B023
            assert words in seen.summary

    on_log(logged, steps)


def test_filter(logged: RunDirectory) -> None:
    async def steps(pilot: Pilot[None], seen: Seen) -> None:
        await pilot.press("slash", *"speech", "enter")
        await wait_until(pilot, lambda: seen.table.count == 2)
        assert seen.events == ["requests failed", "job failed"]
        assert seen.table.has_focus
        await pilot.press("slash", "escape", *"level:warning !job:speech", "enter")
        await wait_until(pilot, lambda: seen.events == ["requests failed"])
        await pilot.press("slash", "escape", "escape")
        await wait_until(pilot, lambda: seen.table.count == 7)
        assert not seen.app.screen.query_one(FilterBar).has_class("-open")

    on_log(logged, steps)


def test_next_error(logged: RunDirectory) -> None:
    async def steps(pilot: Pilot[None], seen: Seen) -> None:
        found = []
        for _ in range(4):
            await pilot.press("E")
            found.append(seen.table.cursor)
        assert found == [1, 4, 5, 1]

    on_log(logged, steps)


def test_next_error_where_there_is_none(finished: RunDirectory) -> None:
    app = app_for(finished, "log")

    async def steps(pilot: Pilot[None]) -> None:
        await wait_until(pilot, lambda: app.screen.query_one(VirtualTable).count)
        before = app.screen.query_one(VirtualTable).cursor
        await pilot.press("E")
        assert [note.message for note in app._notifications] == ["No warnings and no errors"]
        assert app.screen.query_one(VirtualTable).cursor == before

    drive(app, steps)


def test_follow(logged: RunDirectory) -> None:
    async def steps(pilot: Pilot[None], seen: Seen) -> None:
        assert "following" in seen.summary
        write(logged.log, 0.0)
        await wait_until(pilot, lambda: seen.table.cursor == 13, "the end")
        await pilot.press("k")
        await wait_until(pilot, lambda: "following" not in seen.summary)
        write(logged.log, 0.0)
        await wait_until(pilot, lambda: seen.table.count == 21)
        assert seen.table.cursor == 12, "who has moved up is left there"
        await pilot.press("F")
        assert seen.table.cursor == 20
        await pilot.press("F")
        write(logged.log, 0.0)
        await wait_until(pilot, lambda: seen.table.count == 28)
        assert seen.table.cursor == 20
        await pilot.press("G")
        await wait_until(pilot, lambda: "following" in seen.summary)

    on_log(logged, steps)


def test_cursor_stays_on_its_line(logged: RunDirectory) -> None:
    async def steps(pilot: Pilot[None], seen: Seen) -> None:
        await pilot.press("g", "j", "j", "j", "j")
        await wait_until(pilot, lambda: '"speech"' in seen.line)
        await pilot.press("l", "l")
        await wait_until(pilot, lambda: seen.table.count == 3)
        assert seen.table.cursor == 1

    on_log(logged, steps)


def test_kinds_of_errors(logged: RunDirectory) -> None:
    async def steps(pilot: Pilot[None], seen: Seen) -> None:
        await pilot.press("e")
        await wait_until(pilot, lambda: seen.table.count == 2)
        text = screen_text(seen.app)
        assert "×2 ! requests failed    http_429             429" in text
        assert "×1 ✗ job failed         RunError" in text
        await pilot.press("enter")
        await wait_until(pilot, lambda: seen.events == ["requests failed"] * 2)
        assert "only requests failed http_429 429" in seen.summary
        await pilot.press("escape")
        await wait_until(pilot, lambda: seen.table.count == 7)
        await pilot.press("e", "e")
        await wait_until(pilot, lambda: seen.table.count == 7)

    on_log(logged, steps)


def test_another_run_another_log(logged: RunDirectory, two_models: RunDirectory) -> None:
    async def steps(pilot: Pilot[None], seen: Seen) -> None:
        await pilot.press("k", "slash", *"speech", "enter")
        lines = two_models.log.read_text().splitlines()
        seen.app.open_run(two_models)
        expected = sum("speech" in line for line in lines)
        await wait_until(pilot, lambda: seen.table.count == expected)
        assert "following" in seen.summary

    on_log(logged, steps)


def test_no_run(tmp_path: Path) -> None:
    app = app_for(None, "log", tmp_path)

    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("E", "e", "e", "l", "F", "j", "enter", "escape")
        assert "0 of 0 lines" in screen_text(app)

    drive(app, steps)
