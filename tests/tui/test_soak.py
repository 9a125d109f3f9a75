"""An engine at 2,000 events a second: the app keeps up, stays small, and answers every key on the way."""

from __future__ import annotations

import asyncio
import gc
import json
import sqlite3
from dataclasses import replace
from itertools import cycle

import pytest
from textual.message_pump import MessagePump
from textual.pilot import Pilot

from lmrun.engine.progress import Device, ModelProgress
from lmrun.store.runs import RunDirectory
from lmrun.tui import app as app_module
from lmrun.tui.app import LmrunApp
from lmrun.tui.logs import KEPT
from lmrun.tui.state import JobLine, RunView
from lmrun.tui.widgets.virtual import VirtualTable
from tests.tui.conftest import app_for, drive, wait_until

EVENTS, TICK = 2_000, 0.25
"""Of the engine: in each second, and seconds between two pictures of it."""
SECONDS = 6
"""Of the engine's clock."""
JOBS = 50


class ScriptedEngine:
    """Writes log and store as an engine does, and can be looked at; as fast as it can, by a clock of its own."""

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self._ticks = 0
        run.log.write_text('{"level": "debug", "event": "before"}\n' * KEPT)  # as many as are kept
        self.looks = 0
        self.view = RunView(
            id=run.id,
            name="soak",
            state="running",
            attached=True,
            phase="answering",
            detail="",
            elapsed=0.0,
            jobs=[self._job(number, 0) for number in range(JOBS)],
            models=[ModelProgress("m", "scripted", "m", state="answering")],
            devices=[Device("0 H200", 1e9, 1.4e11, 50.0, 300.0)],
            requests=EVENTS * SECONDS,
        )

    def _job(self, number: int, done: int) -> JobLine:
        return JobLine(number, "m", f"task_{number}", "answering", 480, 480, done, 0, 0)

    @property
    def events(self) -> int:
        """So far."""
        return int(self._ticks * EVENTS * TICK)

    def tick(self) -> None:
        """A quarter of a second: 500 answers, each with a line of the log and a row of the store."""
        count = int(EVENTS * TICK)
        db = sqlite3.connect(self._run.database)
        with db:
            rows = ((self.events + n, "answers", float(n)) for n in range(count))
            db.executemany("INSERT INTO gauges VALUES (?, ?, ?)", rows)
        db.close()
        with self._run.log.open("a", buffering=1) as log:
            for n in range(self.events, self.events + count):
                level = "warning" if n % 50 == 0 else "debug"
                log.write(
                    json.dumps({"time": n, "level": level, "event": "answered", "kind": f"k{n % 7}", "n": n}) + "\n"
                )
        self._ticks += 1
        done = self.events // JOBS
        self.view = replace(
            self.view,
            elapsed=self._ticks * TICK,
            done=self.events,
            jobs=[self._job(number, done) for number in range(JOBS)],
        )

    def look(self) -> RunView:
        """The newest picture, as ``RunWatch`` gives it."""
        self.looks += 1
        return self.view

    def close(self) -> None:
        """Nothing is held."""


def newest(table: VirtualTable) -> int:
    """How many events there were by the last line of the table."""
    fields = table._fetch(table.count - 1, table.count)[0][-1].text
    return int(fields.rpartition("=")[2]) + 1


def queued(app: LmrunApp) -> int:
    """Messages that wait anywhere in the app."""
    pumps: list[MessagePump] = [app, *app.screen_stack, *app.screen.walk_children()]
    return max(pump.message_queue_size for pump in pumps)


async def held(pilot: Pilot[None]) -> int:
    """Objects that are alive once everything has come to rest."""
    await pilot.pause()
    gc.collect()
    return len(gc.get_objects())


@pytest.mark.timeout(120)
def test_soak(finished: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ScriptedEngine(finished)
    monkeypatch.setattr(app_module, "RunWatch", lambda _run: engine)
    app = app_for(finished, "log")
    alive: list[int] = []
    longest = 0
    keys = cycle(
        [("1", "dashboard"), ("2", "runs"), ("3", "samples"), ("4", "compare"), ("5", "manifests"), ("6", "log")]
    )

    async def steps(pilot: Pilot[None]) -> None:
        nonlocal longest
        table = app.screen.query_one(VirtualTable)
        for _ in range(int(SECONDS / TICK)):
            key, page = next(keys)
            before = engine.events
            writing = asyncio.create_task(asyncio.to_thread(engine.tick))
            app._tick()
            await pilot.press(key)
            assert app.current_mode == page, "the key was answered while the engine wrote"
            longest = max(longest, queued(app))
            await writing
            assert engine.events == before + EVENTS * TICK
            app._tick()
            await wait_until(pilot, lambda: app.view is engine.view, "the newest picture")
            if page == "log":
                await wait_until(pilot, lambda: newest(table) == engine.events, "the newest lines")
                await pilot.press("k", "G")
                assert table.cursor == table.count - 1 >= KEPT - 1
            if page == "log":
                alive.append(await held(pilot))

    drive(app, steps)
    assert engine.events == EVENTS * SECONDS
    assert engine.looks >= SECONDS / TICK
    assert longest <= 100, "messages pile up"
    assert max(alive[1:]) - alive[0] < 5_000, "what has been seen is not let go"
