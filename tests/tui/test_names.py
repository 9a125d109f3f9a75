"""Names in narrow columns: settings of one task stay apart, and metrics have their names."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.pilot import Pilot

from lmrun.display.format import safe
from lmrun.tui.state import JobLine, RunView
from lmrun.tui.text import fit
from lmrun.tui.widgets.job_table import columns
from lmrun.tui.widgets.now_line import said
from tests.tui.conftest import World, app_for, drive, screen_text, wait_until


def job(**more: Any) -> JobLine:
    given: dict[str, Any] = {
        "model": "tiny",
        "label": "arc@num_fewshot=5",
        "state": "done",
        "metric": "exact_match",
        **more,
    }
    return JobLine(id=1, docs=1, requests=1, done=1, cache_hits=0, errors=0, **given)


def test_the_middle_is_cut_and_both_ends_stay() -> None:
    assert fit("demo_arithmetic 4-shot", 14, middle=True) == "demo_ar…4-shot"
    assert fit("demo_arithmetic 4-shot", 5, middle=True) == "demo…"
    assert fit("short", 8, middle=True) == "short   "


@given(st.text(max_size=60).map(lambda text: safe(text).replace("\n", " ").replace("\t", " ")), st.integers(1, 40))
def test_what_is_cut_in_the_middle_fills_its_cells(text: str, width: int) -> None:
    assert cell_len(fit(text, width, middle=True)) == width


def test_the_metric_has_its_name_where_there_is_room() -> None:
    for models, width, there in ((["a"], 118, True), (["a", "b"], 118, True), (["a"], 90, False)):
        shown = [c for c in columns([job(model=m) for m in models], "", width) if c.least <= width]
        assert any(column.title == "metric" for column in shown) == there
        assert sum(column.width + 1 for column in shown) <= width - 20, "the task has its room"


def test_what_is_left_to_do_comes_before_doubts_about_a_job() -> None:
    view = RunView("r", "r", "incomplete", attached=False, phase="", detail="", elapsed=0.0, jobs=())
    words = said(view, job(remarks="truncated 3.0%"))[1]
    assert words.index("E asks them again") < words.index("arc 5-shot: truncated 3.0%")


def test_settings_of_one_task_can_be_told_apart(world: World) -> None:
    tasks = '[[tasks]]\nname = "colours"\nnum_fewshot = [0, 2]\n'
    run = world.run(world.manifest(world.stub("first"), world.stub("second"), tasks=tasks)).directory
    app = app_for(run, "samples")

    async def look(pilot: Pilot[None]) -> None:
        for page in "342":
            await pilot.press(page)
            await wait_until(pilot, lambda: "colours 0-shot" in screen_text(app), page)
            assert "@num" not in screen_text(app)

    drive(app, look)
