"""Plots: scores with intervals at the right places, gauges over time, and what is said where there is nothing."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import ContentSwitcher

from lmrun.store.gauges import Point, gauge_series
from lmrun.store.runs import RunDirectory
from lmrun.store.writer import RunStore
from lmrun.tui.app import LmrunApp
from lmrun.tui.pages.plots import TABS, PlotsScreen
from lmrun.tui.state import JobLine
from lmrun.tui.widgets.score_plot import plotted
from lmrun.tui.widgets.time_plot import TimePlot
from tests.tui.conftest import app_for, drive, screen_text, wait_until


def job(label: str, value: float, low: float, high: float, model: str = "m", *, percent: bool = True) -> JobLine:
    return JobLine(
        1, model, label, "done", 10, 10, 10, 0, 0, metric="acc", value=value, interval=(low, high), percent=percent
    )


def text(pilot: Pilot[None]) -> str:
    assert isinstance(pilot.app, LmrunApp)
    return screen_text(pilot.app)


def measure(run: RunDirectory, names: dict[str, float], count: int = 50) -> None:
    RunStore(run).close()
    rows = [(1000.0 + 5 * n, name, value + n % 7) for n in range(count) for name, value in names.items()]
    with closing(sqlite3.connect(run.database)) as db:
        db.executemany("INSERT INTO gauges VALUES (?, ?, ?)", rows)
        db.commit()


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A run of which nothing is known."""
    run = RunDirectory(tmp_path / "20260101-000000-sweep-0000")
    RunStore(run).close()
    return run


# -- scores ------------------------------------------------------------------------------------------------------------


def test_a_point_and_its_interval_stand_where_the_scale_says() -> None:
    # 101 cells between the ends: a cell per percent.
    width = 101 + len("task") + 1 + 20 + 2
    scale, line, below = (content.plain for content in plotted([job("task", 0.5, 0.4, 0.6)], width))
    axis = line[5:106]
    assert axis.index("●") == 50 and axis.index("├") == 40 and axis.index("┤") == 60
    assert axis[41:50] == "─" * 9
    assert line.rstrip().endswith("50.0 [40.0, 60.0]")
    assert scale[5] == "0" and "50" in scale[54:57] and scale.rstrip().endswith("100") and below == scale
    assert axis[0] == axis[25] == axis[75] == axis[100] == "┊"


@pytest.mark.parametrize(("low", "high", "value"), [(0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.0, 1.0, 0.5), (0.5, 0.5, 0.5)])
@pytest.mark.parametrize("width", [60, 80, 200])
def test_every_line_is_as_wide_as_its_place(low: float, high: float, value: float, width: int) -> None:
    lines = plotted([job("a", value, low, high), job("b" * 90, 2.0, 1.0, 3.0, "model" * 9, percent=False)], width)
    assert {line.cell_length for line in lines[1:-1]} == {width}
    assert "●" in lines[1].plain and "acc: no" in lines[2].plain


def test_models_stand_beneath_each_other_for_each_task() -> None:
    jobs = [job(label, 0.5, 0.4, 0.6, model) for model in ("one", "two") for label in ("first", "second")]
    lines = [content.plain.split()[:2] for content in plotted(jobs, 80)[1:-1]]
    assert [line[0] for line in lines] == ["first", "two", "second", "two"]


def test_scores_of_a_run_are_plotted(two_models: RunDirectory) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("v")
        await wait_until(pilot, lambda: "●" in text(pilot))
        seen = text(pilot)
        assert "colours" in seen and "speech" in seen and "first" in seen and "second" in seen
        await pilot.press("j", "k")

    drive(app_for(two_models), steps, (80, 24))


# -- over time ---------------------------------------------------------------------------------------------------------


def test_gauges_are_thinned_out_to_their_means() -> None:
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute("CREATE TABLE gauges (time REAL NOT NULL, name TEXT NOT NULL, value REAL NOT NULL)")
        assert gauge_series(db, 10) == {}
        db.executemany("INSERT INTO gauges VALUES (?, ?, ?)", [(n, "a", n) for n in range(1000)] + [(3.0, "b", 7.0)])
        series = gauge_series(db, 10)
    assert len(series["a"]) in (10, 11) and series["b"] == [Point(3.0, 7.0)]
    assert all(point.time == pytest.approx(point.value) for point in series["a"])
    assert [point.time for point in series["a"]] == sorted(point.time for point in series["a"])


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)], ids=["80", "120", "200"])
@pytest.mark.parametrize("theme", ["lmrun-dark", "lmrun-light"])
def test_throughput_and_memory_are_drawn(run: RunDirectory, size: tuple[int, int], theme: str) -> None:
    measure(run, {"requests_per_second": 40.0, "tokens_per_second": 18e3, "rss_bytes": 3e9, "gpu0_memory_bytes": 7e10})

    async def steps(pilot: Pilot[None]) -> None:
        pilot.app.theme = theme
        await pilot.press("v", "tab")
        await wait_until(pilot, lambda: "tokens per second" in text(pilot))
        seen = text(pilot)
        assert "requests per second" in seen and "18.0k" in seen and "4m05s" in seen and "nothing was" not in seen
        await pilot.press("tab")
        await wait_until(pilot, lambda: "65.2 GB" in text(pilot))
        assert "gpu0" in text(pilot) and "engine" in text(pilot)

    drive(app_for(run), steps, size)


def test_tabs_go_round_in_both_directions(run: RunDirectory) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("v")
        switcher = pilot.app.screen.query_one(ContentSwitcher)
        seen = []
        for key in ("tab", "right", "l", "shift+tab", "left", "h"):
            await pilot.press(key)
            seen.append(switcher.current)
        assert seen == [TABS[1], TABS[2], TABS[0], TABS[2], TABS[1], TABS[0]]
        await pilot.press("v")
        assert not isinstance(pilot.app.screen, PlotsScreen)

    drive(app_for(run), steps, (80, 24))


def test_a_run_of_which_nothing_is_known_says_so(run: RunDirectory) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("v")
        await wait_until(pilot, lambda: "no job has a score yet" in text(pilot))
        for _ in range(2):
            await pilot.press("tab")
            await wait_until(pilot, lambda: "nothing was measured yet" in text(pilot))

    drive(app_for(run), steps, (80, 24))


def test_a_single_measurement_is_drawn(run: RunDirectory) -> None:
    measure(run, {"tokens_per_second": 0.0}, count=1)

    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("v", "tab")
        await wait_until(pilot, lambda: pilot.app.screen.query_one("#tokens", TimePlot).display)
        await wait_until(pilot, lambda: "tokens per second" in text(pilot))

    drive(app_for(run), steps, (80, 24))


def test_a_run_that_is_gone_says_so(run: RunDirectory) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        shutil.rmtree(run.path)
        await pilot.press("v", "tab")
        await wait_until(pilot, lambda: "cannot be read" in text(pilot))

    drive(app_for(run), steps, (80, 24))
