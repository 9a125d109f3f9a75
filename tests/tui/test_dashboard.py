"""The dashboard: what stands where at which size, and what every key does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from lmrun.engine.progress import Device, ModelProgress
from lmrun.store.reader import SampleQuery
from lmrun.store.runs import RunDirectory
from lmrun.store.writer import RunStore
from lmrun.tui.actions import PAGES
from lmrun.tui.app import LmrunApp
from lmrun.tui.pages.errors import ErrorsScreen
from lmrun.tui.pages.plots import PlotsScreen
from lmrun.tui.state import JobLine, RunView
from lmrun.tui.widgets.confirm import Confirm
from lmrun.tui.widgets.filter_bar import FilterBar
from lmrun.tui.widgets.job_table import JobTable
from tests.tui.conftest import app_for, drive, screen_text, wait_until

Recorded = list[tuple[str, dict[str, str]]]


def job(label: str, state: str = "waiting", model: str = "qwen3-8b", **more: Any) -> JobLine:
    line = JobLine(id=1, model=model, label=label, state=state, docs=100, requests=400, done=0, cache_hits=0, errors=0)
    return replace(line, **more)


def done(label: str, value: float, model: str = "qwen3-8b", **more: Any) -> JobLine:
    interval = (value - 0.01, value + 0.01)
    scored = {"metric": "acc", "value": value, "interval": interval, "percent": True}
    return job(label, "done", model, **{"done": 400, **scored, **more})


JOBS = (
    done("mmlu", 0.561),
    job("gsm8k", "failed", error="no such split", metric=""),
    job("hellaswag", "answering", done=100, errors=2, tokens_per_second=812.0, eta=95.0, cache_hits=40),
    job("drop@num_fewshot=3"),
    done("mmlu", 0.49, "gpt-5-mini"),
)
MODELS = (
    ModelProgress("qwen3-8b", "vllm", "Qwen/Qwen3-8B", "answering", 41.2, 18_234.0, 212, 256),
    ModelProgress("gpt-5-mini", "openai", "gpt-5-mini", "answering", 12.5, None, 38, 60, "429", 14, 3.12, 900_000),
)


def view(run: RunDirectory, **changes: Any) -> RunView:
    made = RunView(
        id=run.id,
        name="sweep",
        state="running",
        attached=True,
        phase="answering",
        detail="batch 7",
        elapsed=100.0,
        jobs=JOBS,
        models=MODELS,
        requests=2000,
        done=900,
        cache_hits=90,
        errors=2,
        rate=53.7,
        eta=600.0,
        usd=3.12,
        tokens=1_900_000,
        rss=3.5 * 2**30,
        cpu=180.0,
        history={"qwen3-8b": (1.0, 2.0, 3.0)},
    )
    return replace(made, **changes)


class Shown:
    """The view that every look gives."""

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self.view = view(run)
        self.recorded: Recorded = []
        self.queries: list[SampleQuery] = []

    def set(self, **changes: Any) -> None:
        """From the next look on."""
        self.view = view(self.run, **changes)


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shown:
    """An app that sees what the test wants it to see, and tells what it would do."""
    shown = Shown(RunDirectory(tmp_path / "20260101-000000-sweep-0000"))
    RunStore(shown.run).close()

    class Watch:
        def __init__(self, _run: RunDirectory) -> None: ...

        def look(self) -> RunView:
            return shown.view

        def close(self) -> None: ...

    monkeypatch.setattr("lmrun.tui.app.RunWatch", Watch)
    monkeypatch.setattr(LmrunApp, "command", lambda _, name, **more: shown.recorded.append((name, more)))
    monkeypatch.setattr(LmrunApp, "resume", lambda _, run: shown.recorded.append(("engine", {"run": run.id})))
    monkeypatch.setattr(LmrunApp, "samples", lambda _, query: shown.queries.append(query))
    return shown


def table(pilot: Pilot[None]) -> JobTable:
    return pilot.app.screen_stack[0].query_one(JobTable)


def labels(pilot: Pilot[None]) -> list[str]:
    return [job.label for job in table(pilot).jobs]


def text(pilot: Pilot[None]) -> str:
    assert isinstance(pilot.app, LmrunApp)
    return screen_text(pilot.app)


def has(pilot: Pilot[None], words: str) -> Callable[[], bool]:
    return lambda: words in text(pilot)


# -- layouts -----------------------------------------------------------------------------------------------------------

NARROW = (
    *("sweep", "● running", "qwen3-8b", "18.2k tok/s", "↓ 429", "45%", "900/2,000", "ETA 10m00s", "CPU 180%"),
    *("memory 3.5 GB", "answering · batch 7", "56.1 [55.1, 57.1]", "✓ mmlu", "✗ gsm8k", "▸ hellaswag", "drop 3-shot"),
)
MIDDLE = (
    *("models", "totals", "devices", "vllm · Qwen/Qw", "212/256 in flight", "38/60 in flight", "↓ 429", "$3.12"),
    *("errors 2", "cache 10.0%", "53.7 req/s", "100/400", "812", "1m35s", "49.0 [48.0, 50.0]", "1 Dash", "6 Log"),
    *("p pause", "⏎ samples", "▃▅▇", "█"),
)
WIDE = ("14 retries", "900.0k tokens", "vllm · Qwen/Qwen3-8B", "remarks", "no such split", "acc", "10.0%", "hits")


@pytest.mark.parametrize(
    ("size", "words"), [((80, 24), NARROW), ((120, 40), MIDDLE), ((200, 60), MIDDLE + WIDE)], ids=["80", "120", "200"]
)
def test_what_matters_is_in_view_at_every_size(shown: Shown, size: tuple[int, int], words: Sequence[str]) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.pause()
        seen = text(pilot)
        assert [word for word in words if word not in seen] == [], seen
        assert max(map(len, seen.splitlines())) <= size[0]

    drive(app_for(shown.run), steps, size)


def test_gpus_stand_in_lines_of_their_own_and_many_of_them_together(shown: Shown) -> None:
    gpus = [Device(f"{n} H200", 71 * 2**30, 139 * 2**30, 94.0, 612.0) for n in range(8)]
    shown.set(devices=gpus)

    async def steps(pilot: Pilot[None]) -> None:
        await wait_until(pilot, has(pilot, "2 H200"))
        seen = text(pilot)
        assert "71/139 GB" in seen and "94%" in seen and "612 W" in seen
        assert "3 H200" not in seen and "5 more" in seen and "355/695 GB" in seen and "3060 W" in seen

    drive(app_for(shown.run), steps)


def test_more_models_than_there_is_room_for_are_counted(shown: Shown) -> None:
    shown.set(models=[ModelProgress(f"m{n}", "hf", "x", "done" if n < 8 else "loading") for n in range(10)])

    async def steps(pilot: Pilot[None]) -> None:
        await wait_until(pilot, has(pilot, "… 5 more"))
        assert "m8" in text(pilot) and "m9" in text(pilot)

    drive(app_for(shown.run), steps)


def test_without_a_run_the_page_says_what_to_do() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        assert "no run is open" in text(pilot)
        await pilot.press("v", "e", "R", "enter", "s", "p")
        assert isinstance(pilot.app, LmrunApp) and len(pilot.app.screen_stack) == 1

    drive(app_for(None), steps)


# -- what goes on ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"state": "dead", "attached": False}, "✗ the engine is gone · R goes on with the run"),
        ({"state": "paused"}, "‖ paused: nothing is asked · p goes on"),
        ({"stalled": "no answer for 30s"}, "! no answer for 30s"),
        ({"problem": "the folder of the run is gone"}, "✗ the folder of the run is gone"),
        ({"state": "interrupted", "facts": {"stopped": "budget_usd"}}, "■ stopped by budget_usd · R goes on"),
        ({"state": "incomplete", "jobs": JOBS[:1]}, "e shows them · E asks them again"),
        ({"state": "complete", "jobs": JOBS[:1]}, "✓ everything is answered and scored"),
        ({"jobs": [done("a", 0.5, remarks="truncated 3.0%")]}, "! a: truncated 3.0%"),
        ({"notes": ["old", "warning: new\n  hint: x"]}, "answering · batch 7 · warning: new"),
    ],
)
def test_the_line_above_the_jobs_says_what_matters_most(shown: Shown, changes: dict[str, Any], words: str) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        shown.set(**changes)
        await wait_until(pilot, has(pilot, words))

    drive(app_for(shown.run), steps, (80, 24))


def test_the_death_of_the_engine_is_seen_without_a_key(shown: Shown) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        assert "the engine is gone" not in text(pilot)
        shown.set(state="dead", attached=False)
        await wait_until(pilot, has(pilot, "the engine is gone"))
        await wait_until(pilot, has(pilot, "✗ dead"))

    drive(app_for(shown.run), steps)


def test_the_cursor_follows_the_work_until_the_user_moves_it(shown: Shown) -> None:
    jobs = [job(f"task {n}") for n in range(100)]

    def at(place: int) -> list[JobLine]:
        ended = [replace(job, state="done", done=400) for job in jobs[:place]]
        return [*ended, replace(jobs[place], state="answering", done=5), *jobs[place + 1 :]]

    async def steps(pilot: Pilot[None]) -> None:
        for place in (3, 60):
            shown.set(jobs=at(place))
            await wait_until(pilot, lambda place=place: table(pilot).cursor == place)  # type: ignore[misc]
            await wait_until(pilot, has(pilot, f"▸ task {place}"))
        await pilot.press("k")
        shown.set(jobs=at(90))
        await wait_until(pilot, lambda: table(pilot).jobs[80].state == "done")
        assert table(pilot).cursor == 59

    drive(app_for(shown.run), steps, (80, 24))


def test_only_jobs_that_changed_are_drawn_again(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [job(f"task {n}") for n in range(200)]
    drawn: list[int] = []
    monkeypatch.setattr(JobTable, "refresh_line", lambda _, y: drawn.append(y))

    async def steps(pilot: Pilot[None]) -> None:
        shown.set(jobs=jobs)
        await wait_until(pilot, lambda: len(table(pilot).jobs) == 200)
        drawn.clear()
        changed = {place: replace(jobs[place], errors=1) for place in (2, 5, 150)}
        shown.set(jobs=[changed.get(place, line) for place, line in enumerate(jobs)])
        await wait_until(pilot, lambda: table(pilot).jobs[150].errors)
        assert drawn == [3, 6], "the third is out of sight, and the others have not changed"

    drive(app_for(shown.run), steps)


# -- every key ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "keys", "commands"),
    [
        ("running", ("p",), [("pause", {})]),
        ("paused", ("p",), [("resume", {})]),
        ("running", ("plus",), [("faster", {})]),
        ("running", ("equals_sign",), [("faster", {})]),
        ("running", ("underscore",), [("slower", {})]),
        ("running", ("E",), [("retry_errors", {})]),
        ("running", ("X", "y"), [("skip_job", {"model": "qwen3-8b", "label": "hellaswag"})]),
        ("running", ("X", "n"), []),
        ("running", ("X", "escape"), []),
        ("running", ("S", "enter"), [("stop", {})]),
        ("running", ("S", "n"), []),
        ("dead", ("S",), []),
        ("complete", ("X",), []),
        ("paused", ("R",), [("resume", {})]),
    ],
)
def test_commands(shown: Shown, state: Any, keys: Sequence[str], commands: Recorded) -> None:
    shown.set(state=state)

    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press(*keys)
        await pilot.pause()
        assert shown.recorded == commands
        assert not isinstance(pilot.app.screen, Confirm)

    drive(app_for(shown.run), steps)


@pytest.mark.parametrize(("state", "key"), [("dead", "R"), ("interrupted", "R"), ("incomplete", "E")])
def test_without_an_engine_one_is_started(shown: Shown, state: Any, key: str) -> None:
    shown.set(state=state, attached=False)

    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press(key)
        assert shown.recorded == [("engine", {"run": shown.run.id})]

    drive(app_for(shown.run), steps)


def test_what_cannot_be_undone_is_asked_first(shown: Shown) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("X")
        assert isinstance(pilot.app.screen, Confirm)
        assert "Leave out what is left of hellaswag of qwen3-8b?" in text(pilot)
        assert shown.recorded == []

    drive(app_for(shown.run), steps)


def test_enter_shows_the_samples_of_a_job(shown: Shown) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("g", "enter")
        assert shown.queries == [SampleQuery(model="qwen3-8b", task="mmlu")]

    drive(app_for(shown.run), steps)


def test_a_click_on_the_row_under_the_cursor_does_too(shown: Shown) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.click(JobTable, offset=(10, 1))
        assert table(pilot).cursor == 0 and shown.queries == []
        await pilot.click(JobTable, offset=(10, 1))
        assert shown.queries == [SampleQuery(model="qwen3-8b", task="mmlu")]

    drive(app_for(shown.run), steps)


def test_a_filter_lists_some_jobs_as_one_types(shown: Shown) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("slash", *"mmlu")
        await wait_until(pilot, lambda: labels(pilot) == ["mmlu", "mmlu"])
        assert "2 of 5 jobs" in text(pilot)
        await pilot.press("space", *"model:gpt*")
        await wait_until(pilot, lambda: [job.model for job in table(pilot).jobs] == ["gpt-5-mini"])
        await pilot.press("enter")
        assert pilot.app.focused is table(pilot)
        await pilot.press("slash", "escape")
        await wait_until(pilot, lambda: len(labels(pilot)) == 5)
        await pilot.press("escape")
        assert not pilot.app.screen.query_one(FilterBar).display

    drive(app_for(shown.run), steps)


def test_a_wrong_filter_is_said_to_be_wrong(shown: Shown) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("slash", *"takes:mmlu")
        await wait_until(pilot, has(pilot, "there is no key 'takes'"))
        assert isinstance(pilot.app.focused, Input)
        await pilot.press("escape")
        await wait_until(pilot, lambda: len(labels(pilot)) == 5)

    drive(app_for(shown.run), steps, (80, 24))


def test_sorting_goes_through_the_columns(shown: Shown) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        orders = []
        for head in ("task ▾", "model ▾", "progress ▾", "score ▾", "tok/s ▾", "err ▾", "ETA ▾"):
            await pilot.press("s")
            await wait_until(pilot, has(pilot, head))
            orders.append(labels(pilot)[0])
        assert orders == ["drop@num_fewshot=3", "mmlu", "mmlu", "mmlu", "hellaswag", "hellaswag", "hellaswag"]
        await pilot.press("s")
        await wait_until(pilot, lambda: "▾" not in text(pilot))
        assert labels(pilot) == [job.label for job in JOBS]

    drive(app_for(shown.run), steps)


def test_a_cursor_that_was_moved_stays_on_its_job(shown: Shown) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("G", "k", "s")
        await wait_until(pilot, has(pilot, "task ▾"))
        at = table(pilot).job
        assert at is not None and at.label == "drop@num_fewshot=3"

    drive(app_for(shown.run), steps)


def test_errors_by_kind(with_errors: RunDirectory) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("e")
        assert isinstance(pilot.app.screen, ErrorsScreen)
        await wait_until(pilot, has(pilot, "2 samples  scripted  colours, speech"))
        assert "the text holds 'colour 3'" in text(pilot)
        assert "E asks again" in text(pilot)
        await pilot.press("j", "k", "escape")
        assert not isinstance(pilot.app.screen, ErrorsScreen)

    drive(app_for(with_errors), steps)


def test_a_run_without_errors_says_so(shown: Shown) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("e")
        await wait_until(pilot, has(pilot, "✓ no errors"))
        assert "E asks again" not in text(pilot)

    drive(app_for(shown.run), steps)


def test_errors_can_be_asked_again_from_their_list(shown: Shown) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("e", "E")
        await pilot.pause()
        assert shown.recorded == [("retry_errors", {})]

    drive(app_for(shown.run), steps)


def test_plots_open_and_close(shown: Shown) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("v")
        assert isinstance(pilot.app.screen, PlotsScreen)
        await pilot.press("escape")
        assert pilot.app.screen is pilot.app.screen_stack[0]

    drive(app_for(shown.run), steps)


def test_every_action_of_the_page_is_there(shown: Shown) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        page = pilot.app.screen
        missing = [action.name for action in PAGES["dashboard"] if not hasattr(page, f"action_{action.name}")]
        assert missing == []

    drive(app_for(shown.run), steps)


def test_names_of_others_cannot_draw_on_the_terminal(shown: Shown) -> None:
    evil = "[red]\x1b[31mX\nY\u202e"
    shown.set(
        name=evil,
        detail=evil,
        jobs=[done(evil, 0.5, evil, remarks=evil), job(evil, "failed", error=evil)],
        models=[ModelProgress(evil, evil, evil, "answering", held_by=evil)],
        devices=[Device(evil, 1, 2)],
    )

    async def steps(pilot: Pilot[None]) -> None:
        for size in ((80, 24), (200, 60)):
            await pilot.resize_terminal(*size)
            seen = text(pilot)
            assert "[red]" in seen and "\x1b" not in seen and "\u202e" not in seen
            assert len(seen.splitlines()) == size[1]

    drive(app_for(shown.run), steps)


def test_without_a_run_there_is_nothing_to_plot(tmp_path: Path) -> None:
    app = app_for(None, runs_dir=tmp_path)

    async def look(pilot: Pilot[None]) -> None:
        await pilot.press("v")
        await wait_until(pilot, lambda: "there is no run yet" in screen_text(app))
        assert not isinstance(app.screen, PlotsScreen)

    drive(app, look)
