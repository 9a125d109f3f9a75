"""Page 5: find a manifest, read it, see what is wrong with it and what it would ask, start it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from lmrun.store.runs import RunDirectory
from lmrun.tui import manifests
from lmrun.tui.app import LmrunApp
from lmrun.tui.manifests import Checked, find_manifests, from_plan, from_validate
from lmrun.tui.pages import manifests as page_module
from lmrun.tui.pages.manifests import ManifestsPage
from lmrun.tui.widgets.manifest import CheckPane, problem_words
from lmrun.tui.widgets.virtual import VirtualTable
from tests.tui.conftest import World, app_for, drive, screen_text, wait_until

SOUND = {
    "problems": [],
    "warnings": ["a warning"],
    "models": [{"name": "stub"}, {"name": "other"}],
    "jobs": [{"task": "colours", "docs": 10}],
}
COUNTS = {"requests": 30, "distinct": 30, "cached": 12, "to_ask": 18, "prompt_tokens": 1234, "new_tokens": 0}
COST = {"usd_low": 0.5, "usd_high": 1.5}
PLAN = {
    "models": [{"model": "stub", "error": None, "method": "estimated"}],
    "jobs": [{"model": "stub", "label": "colours", "docs": 10, **COUNTS, **COST}],
    "total": {**COUNTS, **COST},
    "budget": {"verdict": ["within the budget"]},
}


def wrong(path: Path, line: int) -> dict[str, Any]:
    problem = {"message": "unknown key `limt`", "file": str(path), "line": line, "column": 1}
    return {**SOUND, "problems": [{**problem, "expected": "one of limit, seed", "hint": "did you mean 'limit'?"}]}


class Answers:
    """Stands for the commands: what each of them is asked, and answers."""

    def __init__(self, **answers: dict[str, Any]) -> None:
        self.answers = answers
        self.asked: list[list[str]] = []
        self.waits = False
        self.cancelled = 0

    async def __call__(self, arguments: list[str]) -> tuple[dict[str, Any] | None, str]:
        import asyncio

        self.asked.append(arguments)
        if self.waits:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        return self.answers.get(arguments[0]), "no words"

    def count(self, command: str) -> int:
        return sum(asked[0] == command for asked in self.asked)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    answers = Answers(validate=SOUND, plan=PLAN)
    monkeypatch.setattr(page_module, "ask", answers)
    monkeypatch.setattr(page_module, "REST", 0.01)
    monkeypatch.setattr(page_module, "LOOK", 0.05)
    return answers


def opened(world: World) -> LmrunApp:
    return LmrunApp(None, runs_dir=world.folder / "runs", page="manifests", manifest=world.manifest(world.stub()))


def page(app: LmrunApp) -> ManifestsPage:
    assert isinstance(app.screen, ManifestsPage)
    return app.screen


# -- finding -----------------------------------------------------------------------------------------------------------


def test_manifests_are_found_here_in_configs_bundled_and_in_runs(world: World, finished: RunDirectory) -> None:
    (world.folder / "configs").mkdir()
    (world.folder / "configs" / "c.toml").write_text("[[tasks]]\nname = 'x'\n")
    (world.folder / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    (world.folder / "binary.toml").write_bytes(b"\xff\xfe[[models]]")
    found = {(each.name, each.where): each for each in find_manifests(Path("runs"), None)}
    assert set(found) == {
        ("m", "here"),
        ("c", "configs"),
        ("leaderboard", "bundled"),
        ("quickstart", "bundled"),
        ("m", f"run {finished.id}"),
    }
    assert [key for key, each in found.items() if each.own] == [("m", "here"), ("c", "configs")]


def test_a_named_manifest_comes_first_and_once(world: World) -> None:
    named = world.manifest(world.stub())
    found = find_manifests(Path("runs"), named)
    assert found[0].path == named
    assert sum(each.path.resolve() == named.resolve() for each in found) == 1


def test_of_each_manifest_only_its_newest_run_is_listed(world: World) -> None:
    manifest = world.manifest(world.stub())
    world.run(manifest)
    newest = world.run(manifest, fresh=True).directory
    (of_run,) = [each for each in find_manifests(Path("runs"), None) if each.where.startswith("run ")]
    # Both runs may have begun in the same second, and then their names say nothing of their order.
    assert of_run.path.parent.name in {newest.id, *(run.name for run in (world.folder / "runs").iterdir())}


# -- what the commands say ---------------------------------------------------------------------------------------------


def test_problems_say_where_what_is_expected_and_a_hint() -> None:
    checked = from_validate(wrong(Path("m.toml"), 3), "")
    assert problem_words(checked.problems[0]).splitlines() == [
        "m.toml:3:1: unknown key `limt`",
        "  expected: one of limit, seed",
        "  hint: did you mean 'limit'?",
    ]
    assert checked.wrong_lines(Path("m.toml")) == {3}
    assert checked.wrong_lines(Path("other.toml")) == frozenset()


def test_a_command_that_fails_is_a_problem_with_its_words() -> None:
    assert from_validate(None, "Killed\n").problems[0]["message"] == "Killed"
    assert from_plan(None, "error: no", ()).problems[0]["message"] == "error: no"


def test_each_model_meets_each_task() -> None:
    lines = from_validate(SOUND, "").lines
    assert [(line.model, line.task, line.docs) for line in lines] == [("stub", "colours", 10), ("other", "colours", 10)]


# -- the page ----------------------------------------------------------------------------------------------------------


def test_a_manifest_is_shown_and_checked(world: World, answers: Answers) -> None:
    app = opened(world)

    async def steps(pilot: Pilot[None]) -> None:
        await wait_until(pilot, lambda: "can run: 2 models, 2 jobs, 20 docs" in screen_text(app))
        text = screen_text(app)
        assert "8 " in text
        assert 'name = "colours"' in text
        assert "! a warning" in text
        assert answers.asked[0][:2] == ["validate", str(world.folder / "m.toml")]

    drive(app, steps)


def test_a_problem_stands_with_its_line_and_the_cursor_goes_there(world: World, answers: Answers) -> None:
    answers.answers["validate"] = wrong(world.folder / "m.toml", 3)
    app = opened(world)

    async def steps(pilot: Pilot[None]) -> None:
        await wait_until(pilot, lambda: "✗ 1 problem" in screen_text(app))
        text = screen_text(app)
        assert "m.toml:3:1: unknown key `limt`" in text
        assert "did you mean 'limit'?" in text
        assert '3 ✗ backend = "scripted"' in text
        assert app.screen.query_one("#source", VirtualTable).cursor == 2
        await pilot.press("S")
        assert app.current_mode == "manifests"

    drive(app, steps)


def test_a_change_on_disk_is_read_and_checked(world: World, answers: Answers) -> None:
    app = opened(world)

    async def steps(pilot: Pilot[None]) -> None:
        await wait_until(pilot, lambda: answers.count("validate") == 1)
        path = world.folder / "m.toml"
        path.write_text("# another text\n" + path.read_text())
        os.utime(path, ns=(1, 1))
        await wait_until(pilot, lambda: "# another text" in screen_text(app))
        await wait_until(pilot, lambda: answers.count("validate") == 2)

    drive(app, steps)


def test_x_counts_and_x_again_cancels(world: World, answers: Answers) -> None:
    app = opened(world)

    async def steps(pilot: Pilot[None]) -> None:
        await wait_until(pilot, lambda: "can run" in screen_text(app))
        await pilot.press("x")
        await wait_until(pilot, lambda: "18 of 30 requests to ask, 0.5000–1.50 USD" in screen_text(app))
        assert "within the budget" in screen_text(app)
        answers.waits = True
        await pilot.press("x")
        await wait_until(pilot, lambda: answers.count("plan") == 2)
        assert "counting" in screen_text(app)
        await pilot.press("x")
        await wait_until(pilot, lambda: answers.cancelled == 1)
        await wait_until(pilot, lambda: "x counts" in screen_text(app))

    drive(app, steps)


def test_another_manifest_ends_the_check_of_the_one_before(world: World, answers: Answers) -> None:
    answers.waits = True
    app = opened(world)

    async def steps(pilot: Pilot[None]) -> None:
        await wait_until(pilot, lambda: len(answers.asked) == 1)
        await pilot.press("j")
        await wait_until(pilot, lambda: answers.cancelled == 1)
        await wait_until(pilot, lambda: len(answers.asked) == 2)
        assert answers.asked[1][1] != answers.asked[0][1]

    drive(app, steps)


def test_the_list_can_be_filtered(world: World, answers: Answers) -> None:
    app = opened(world)

    async def steps(pilot: Pilot[None]) -> None:
        table = app.screen.query_one("#list", VirtualTable)
        await wait_until(pilot, lambda: table.count == 3)
        await pilot.press("slash", *"quick", "enter")
        await wait_until(pilot, lambda: table.count == 1)
        await wait_until(pilot, lambda: "embedded default" in screen_text(app))

    drive(app, steps)


def test_the_filter_knows_where_manifests_are(world: World, finished: RunDirectory, answers: Answers) -> None:
    app = LmrunApp(None, runs_dir=world.folder / "runs", page="manifests")

    async def steps(pilot: Pilot[None]) -> None:
        table = app.screen.query_one("#list", VirtualTable)
        await wait_until(pilot, lambda: table.count == 4)
        for where, count in (("bundled", 2), ("run", 1), ("here", 1)):
            await pilot.press("slash", "ctrl+u", *f"where:{where}", "enter")
            await wait_until(pilot, lambda count=count: table.count == count, where)  # type: ignore[misc]
            assert f"/ where:{where}" in screen_text(app)
        assert "x plan" in screen_text(app)

    drive(app, steps)


def test_enter_goes_into_the_text_and_back(world: World, answers: Answers) -> None:
    app = opened(world)

    async def steps(pilot: Pilot[None]) -> None:
        source, table = (app.screen.query_one(f"#{name}", VirtualTable) for name in ("source", "list"))
        await wait_until(pilot, lambda: source.count > 0 and table.has_focus)
        await pilot.press("enter")
        await wait_until(pilot, lambda: source.has_focus)
        await pilot.press("j")
        await wait_until(pilot, lambda: source.cursor == 1)
        await pilot.press("enter")
        await wait_until(pilot, lambda: table.has_focus)

    drive(app, steps)


def test_start_hands_the_manifest_to_the_app(world: World, answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Path] = []
    monkeypatch.setattr(LmrunApp, "start", lambda _self, manifest: started.append(manifest))
    app = opened(world)

    async def steps(pilot: Pilot[None]) -> None:
        await wait_until(pilot, lambda: "can run" in screen_text(app))
        await pilot.press("S")
        await wait_until(pilot, lambda: started == [world.folder / "m.toml"])

    drive(app, steps)


def test_edit_opens_the_users_editor_and_reads_what_was_written(
    world: World, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = world.folder / "editor.sh"
    editor.write_text('#!/bin/sh\necho "# from the editor" >> "$1"\n')
    editor.chmod(0o755)
    monkeypatch.setenv("EDITOR", str(editor))
    app = opened(world)
    monkeypatch.setattr(app, "suspend", contextlib.nullcontext)

    async def steps(pilot: Pilot[None]) -> None:
        await wait_until(pilot, lambda: answers.count("validate") == 1)
        await pilot.press("e", "enter", "G")
        await wait_until(pilot, lambda: "# from the editor" in screen_text(app))

    drive(app, steps)


def test_a_bundled_manifest_is_not_edited(world: World, answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    edited: list[Path] = []

    def edit(_app: LmrunApp, path: Path) -> str:
        edited.append(path)
        return ""

    monkeypatch.setattr(page_module, "edit", edit)
    app = opened(world)

    async def steps(pilot: Pilot[None]) -> None:
        await wait_until(pilot, lambda: answers.asked)
        await pilot.press("G", "e")
        await wait_until(pilot, lambda: "it stays as it is" in screen_text(app))
        assert not edited

    drive(app, steps)


def test_hostile_text_of_a_manifest_is_shown_safely(world: World, answers: Answers) -> None:
    path = world.manifest(world.stub())
    path.write_text('[[models]]\nname = "\x1b[2J\x07[red]x[/red] \u202e"\n' + "#" * 100_000 + "\n")
    app = LmrunApp(None, runs_dir=Path("runs"), page="manifests", manifest=path)

    async def steps(pilot: Pilot[None]) -> None:
        await wait_until(pilot, lambda: "[red]x[/red]" in screen_text(app))
        assert "\x1b" not in screen_text(app)
        assert "\u202e" not in screen_text(app)

    drive(app, steps)


def test_the_real_commands_answer_as_the_page_expects(world: World) -> None:
    app = opened(world)

    async def steps(pilot: Pilot[None]) -> None:
        await wait_until(pilot, lambda: "can run: 1 model, 1 jobs, 10 docs" in screen_text(app))
        await pilot.press("x")
        await wait_until(pilot, lambda: "30 of 30 requests to ask" in screen_text(app))
        world.manifest(world.stub(), tasks='[[tasks]]\nname = "colors"\n')
        await wait_until(pilot, lambda: "m.toml:6:1: there is no task" in screen_text(app))
        assert "✗ [[tasks]]" in screen_text(app)

    drive(app, steps)


def test_nothing_is_there_to_check_without_a_manifest(world: World, answers: Answers) -> None:
    app = app_for(None, "manifests")

    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("slash", *"nothing-like-this", "enter")
        await wait_until(pilot, lambda: app.screen.query_one("#list", VirtualTable).count == 0)
        await pilot.press("x", "S", "e")
        await wait_until(pilot, lambda: "there is no manifest" in screen_text(app))
        assert app.screen.query_one(CheckPane).query_one("#plan", VirtualTable).count == 0

    drive(app, steps)


def test_checked_is_empty_at_first() -> None:
    assert Checked().wrong_lines(Path("m.toml")) == frozenset()
    assert manifests.read_lines(Path("no-such.toml")) == ["# No such file or directory"]
