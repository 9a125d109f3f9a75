"""Every page as a picture, at three sizes, dark and light: compared with the picture that was looked at before.

``pytest tests/tui/test_pictures.py --snapshot-update`` keeps new ones; look at them before they are committed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from benchmarks.tuibench.make import CREATED, make_run
from lmrun.store.runs import RunDirectory
from lmrun.tui.app import LmrunApp
from tests.tui.conftest import screen_text, wait_until

SIZES = ((80, 24), (120, 40), (200, 60))
THEMES = ("lmrun-dark", "lmrun-light")
MANIFEST = """\
# A small model on two tasks.
name = "colours"

[[models]]
name = "demo"
backend = "hf"
model = "bundled:demo"
dtpye = "float32"

[[tasks]]
name = "demo_facts"
num_fewshot = [0, 4]
"""
Compare = Callable[..., bool]


@pytest.fixture
def still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunDirectory]:
    """A run that is the same on every machine: its id, its times, its path."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lmrun.store.runs.secrets.token_hex", lambda _n: "5a1e")
    monkeypatch.setattr("lmrun.bundled.configs_dir", lambda: tmp_path / "none")
    (tmp_path / "colours.toml").write_text(MANIFEST, encoding="utf-8")
    run = make_run(Path("runs"), 600, 6)
    with run.log.open("w", encoding="utf-8") as log:
        for place in range(60):
            level = "error" if place % 13 == 5 else "warning" if place % 7 == 3 else "info"
            event = {"error": "model failed", "warning": "requests failed", "info": "looked up"}[level]
            fields = {"model": "qwen3-8b", "job": f"mmlu_{place:03}", "requests": 4 * place}
            log.write(json.dumps({"time": CREATED + place, "level": level, "event": event, **fields}) + "\n")
    yield run
    monkeypatch.undo()
    time.tzset()


def _until(app: LmrunApp, *words: str, press: str = "") -> Callable[[Pilot[Any]], Awaitable[None]]:
    """Press keys, each once the page is quiet, and wait until all of these words are on the screen."""

    async def steps(pilot: Pilot[Any]) -> None:
        for key in press.split():
            await wait_until(pilot, lambda: app.view is not None and not app.workers._workers, "quiet")
            await pilot.press(key)
            await pilot.pause()
        await wait_until(pilot, lambda: all(word in screen_text(app) for word in words), f"{words}")
        # What takes long to count comes with a later look.
        await wait_until(pilot, lambda: app.view is not None and app.view.tokens and app.view.truncated, "tokens")
        looks: list[object] = []
        while len(looks) < 3:
            if not looks or app.view is not looks[-1]:
                looks.append(app.view)
            await pilot.pause(0.02)

    return steps


PICTURES = {
    "dashboard": ("dashboard", "", ("mmlu_000", "100%")),
    "runs": ("runs", "", ("made",)),
    "samples": ("samples", "f", ("wrong", "✗")),
    "choices": ("samples", "tab tab", ("per char",)),
    "output": ("samples", "f j j j tab", ("Output",)),
    "compare": ("compare", "", ("mmlu_000",)),
    "manifests": ("manifests", "", ("1 problem",)),
    "log": ("log", "g", ("60 of 60 lines", "byte 0")),
    "help": ("dashboard", "question_mark", ("this page",)),
}
"""By name: page, keys, and what must be on the screen at the end."""


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("name", PICTURES)
def test_picture(name: str, size: tuple[int, int], theme: str, still: RunDirectory, snap_compare: Compare) -> None:
    page, press, words = PICTURES[name]
    app = LmrunApp(still, runs_dir=Path("runs"), page=page)
    look = _until(app, *words, press=press)

    async def steps(pilot: Pilot[Any]) -> None:
        app.theme = theme
        await look(pilot)

    assert snap_compare(app, terminal_size=size, run_before=steps)
