"""The page of samples: the list, the views of a sample, and every key."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

from lmrun.store.notes import Notes
from lmrun.store.reader import SampleQuery
from lmrun.store.runs import RunDirectory
from lmrun.tui.actions import PAGES
from lmrun.tui.app import LmrunApp
from lmrun.tui.pages.samples import SamplesPage
from lmrun.tui.widgets.filter_bar import FilterBar
from lmrun.tui.widgets.sample.listing import SampleList
from lmrun.tui.widgets.sample.note import NoteScreen
from lmrun.tui.widgets.sample.pane import SamplePane
from lmrun.tui.widgets.sample.reader import Reader
from lmrun.tui.widgets.sample.tabs import Tabs
from lmrun.tui.widgets.virtual import VirtualTable
from tests.tui.conftest import World, app_for, drive, screen_text, wait_until

WIDE, NARROW = (120, 40), (80, 24)


@dataclass
class Seen:
    """The page, as a test looks at it."""

    app: LmrunApp
    pilot: Pilot[None]

    @property
    def page(self) -> SamplesPage:
        page = self.app.screen_stack[0]
        assert isinstance(page, SamplesPage)
        return page

    @property
    def list(self) -> SampleList:
        return self.page.query_one(SampleList)

    @property
    def pane(self) -> SamplePane:
        return self.page.query_one(SamplePane)

    @property
    def reader(self) -> Reader:
        return self.page.query_one(Reader)

    @property
    def text(self) -> str:
        return "\n".join(line.gutter + line.text for line in self.reader._lines)

    @property
    def rows(self) -> int:
        return self.page.query_one(VirtualTable).count

    @property
    def cursor(self) -> int:
        return self.page.query_one(VirtualTable).cursor

    async def until(self, condition: Callable[[], object], what: str = "") -> None:
        await wait_until(self.pilot, condition, what)

    async def settled(self) -> None:
        """The list is read, and the sample under the cursor is drawn."""

        def done() -> bool:
            pane = self.pane
            return self.list._complete and not pane._busy and pane._wanted == pane._drawn

        await self.until(done, "settled")
        await self.pilot.pause()
        await self.until(done, "settled")

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.settled()

    def shown(self) -> str:
        return screen_text(self.app)


Steps = Callable[[Seen], Awaitable[Any]]


def look(run: RunDirectory, steps: Steps, size: tuple[int, int] = WIDE, query: SampleQuery | None = None) -> None:
    app = LmrunApp(run, runs_dir=run.path.parent, page="samples", query=query) if query else app_for(run, "samples")

    async def go(pilot: Pilot[None]) -> None:
        seen = Seen(app, pilot)
        await seen.settled()
        await steps(seen)

    drive(app, go, size)


def change(run: RunDirectory, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(run.database)) as db, db:
        db.execute(statement, values)


def respond(run: RunDirectory, label: str, doc_id: int, **fields: Any) -> None:
    """Let the model have answered something else."""
    with closing(sqlite3.connect(run.database)) as db, db:
        rows = db.execute(
            """SELECT r.key, a.response FROM requests r JOIN responses a ON a.key = r.key
               JOIN samples s ON s.id = r.sample_id JOIN jobs j ON j.id = s.job_id
               WHERE j.label = ? AND s.doc_id = ?""",
            (label, doc_id),
        ).fetchall()
        for key, text in rows:
            response = {**json.loads(text), **fields}
            db.execute("UPDATE responses SET response = ? WHERE key = ?", (json.dumps(response), key))


# -- the list ----------------------------------------------------------------------------------------------------------


def test_every_action_of_the_page_is_tested_here() -> None:
    tests = Path(__file__).read_text(encoding="utf-8")
    for action in PAGES["samples"]:
        assert f"# action {action.name}\n" in tests, action.name


@pytest.mark.parametrize("size", [WIDE, NARROW, (200, 60)])
def test_list_and_sample_are_shown_at_once(finished: RunDirectory, size: tuple[int, int]) -> None:
    async def steps(seen: Seen) -> None:
        assert seen.rows == 20
        shown = seen.shown()
        assert "1 of 20 samples" in shown
        assert "Q: colour 0?" in shown and "gold" in shown and "predicted" in shown
        assert "doc 0 · colours" in shown

    look(finished, steps, size)


def test_marks_say_how_samples_ended(with_errors: RunDirectory) -> None:
    change(with_errors, "UPDATE samples SET status = 'pending', correct = NULL WHERE doc_id = 5")

    async def steps(seen: Seen) -> None:
        marks = {row[0].text for row in seen.list._rows(0, 20)}
        assert marks == {"✓", "✗", "!", "…"}

    look(with_errors, steps)


def test_the_sample_under_the_cursor_is_shown(finished: RunDirectory) -> None:
    async def steps(seen: Seen) -> None:
        await seen.press("j", "j", "j")
        assert "Q: colour 3?" in seen.text
        await seen.press("G")
        assert "Say: colour 9?" in seen.text
        await seen.press("g", "g")
        assert "Q: colour 0?" in seen.text

    look(finished, steps)


def test_the_page_can_be_opened_before_it_was_shown(two_models: RunDirectory) -> None:
    query = SampleQuery(model="second", task="colours", outcomes=("wrong",))

    async def steps(seen: Seen) -> None:
        await seen.until(lambda: seen.page.query_one(FilterBar).text, "the filter")
        await seen.settled()
        assert seen.page.query_one(FilterBar).text == "model:second task:colours wrong"
        assert 0 < seen.rows < 10
        rows = seen.list._rows(0, seen.rows)
        assert {row[0].text for row in rows} == {"✗"} and {row[2].text for row in rows} == {"second"}

    look(two_models, steps, query=query)


def test_another_run_brings_other_samples(world: World, finished: RunDirectory) -> None:
    other = world.run(world.manifest(world.stub(), tasks='[[tasks]]\nname = "speech"\n')).directory

    async def steps(seen: Seen) -> None:
        seen.app.open_run(other)
        await seen.until(lambda: seen.rows == 10, "the other run")
        await seen.settled()
        assert "Say: colour 0?" in seen.text

    look(finished, steps)


def test_rows_stay_while_a_run_goes_on(finished: RunDirectory) -> None:
    """Action refresh."""
    # action refresh
    with closing(sqlite3.connect(finished.database)) as db:
        late = db.execute("SELECT * FROM samples WHERE id = 3").fetchone()

    async def steps(seen: Seen) -> None:
        await seen.press("j", "j", "j")
        here = seen.list.selected
        with closing(sqlite3.connect(finished.database)) as db, db:
            db.execute(f"INSERT INTO samples VALUES ({', '.join('?' * len(late))})", late)
        seen.list.look_again()
        await seen.until(lambda: "1 new, u shows them" in seen.shown(), "the number of new ones")
        assert seen.rows == 19 and seen.list.selected == here
        await seen.press("u")
        assert seen.rows == 20 and seen.list.selected == here and "new" not in seen.shown().split("samples")[1][:20]

    change(finished, "DELETE FROM samples WHERE id = 3")
    look(finished, steps)


# -- which samples -----------------------------------------------------------------------------------------------------


def test_a_filter_is_typed(finished: RunDirectory) -> None:
    # action filter
    async def steps(seen: Seen) -> None:
        await seen.pilot.press("slash", *"task:speech")
        await seen.until(lambda: seen.rows == 10, "filtered")
        await seen.press("enter")
        assert isinstance(seen.app.focused, VirtualTable)
        await seen.press("slash", "space", *"9?", "enter")
        assert seen.rows == 1 and "Say: colour 9?" in seen.text

    look(finished, steps)


def test_outcomes_in_turn(with_errors: RunDirectory) -> None:
    # action cycle
    async def steps(seen: Seen) -> None:
        counts = []
        for expected in ("wrong", "right", "error", "truncated", "no-match", ""):
            await seen.press("f")
            await seen.until(lambda text=expected: seen.page.query_one(FilterBar).text == text, expected)  # type: ignore[misc]
            await seen.settled()
            counts.append(seen.rows)
        wrong, right, errors, truncated, _, everything = counts
        assert wrong and right and wrong + right + errors == everything == 20
        assert errors == 2 and truncated == 0

    look(with_errors, steps)


def test_an_empty_list_says_so(finished: RunDirectory) -> None:
    async def steps(seen: Seen) -> None:
        await seen.press("slash", *"nowhere", "enter")
        assert "no sample fits" in seen.shown() and seen.pane.detail is None and seen.text == ""
        await seen.press("y", "m", "o", "J", "t", "r", "n", "z")

    look(finished, steps)


def test_wrong_answers_forward_and_back(finished: RunDirectory) -> None:
    # action next_wrong
    # action previous_wrong
    async def steps(seen: Seen) -> None:
        wrong = [i for i, row in enumerate(seen.list._rows(0, 20)) if row[0].text == "✗" and i > 0]
        for row in wrong[:3]:
            await seen.pilot.press("J")
            await seen.until(lambda at=row: seen.cursor == at, f"row {row}")  # type: ignore[misc]
        await seen.pilot.press("K")
        await seen.until(lambda: seen.cursor == wrong[1], "back")
        await seen.press("G")
        await seen.pilot.press("J")
        await seen.until(lambda: seen.app._notifications, "that there is none")
        assert seen.cursor == 19

    look(finished, steps)


def test_next_and_previous_from_within_a_sample(finished: RunDirectory) -> None:
    # action next_sample
    # action previous_sample
    async def steps(seen: Seen) -> None:
        await seen.press("enter", "n", "n")
        assert "Q: colour 2?" in seen.text and isinstance(seen.app.focused, Reader)
        await seen.press("N")
        assert "Q: colour 1?" in seen.text

    look(finished, steps)


# -- how it is shown ---------------------------------------------------------------------------------------------------


def test_views_in_turn(finished: RunDirectory) -> None:
    # action tab_next
    # action tab_previous
    async def steps(seen: Seen) -> None:
        views = []
        for key in ("tab", "tab", "tab", "tab", "right_square_bracket", "shift+tab", "left_square_bracket"):
            await seen.press(key)
            views.append(seen.page.query_one(Tabs).view)
        assert views == ["Output", "Choices", "Meta", "Prompt", "Output", "Prompt", "Meta"]
        await seen.pilot.click(Tabs, offset=(10, 0))
        assert seen.page.query_one(Tabs).view == "Output"

    look(finished, steps)


def test_reasoning_is_folded_and_unfolded(finished: RunDirectory) -> None:
    # action fold
    respond(finished, "speech", 0, reasoning="first I think\nthen I doubt", reasoning_tokens=6)

    async def steps(seen: Seen) -> None:
        await seen.press("slash", *"task:speech", "enter", "tab")
        assert "reasoning · 26 characters, 6 tokens" in seen.text and "doubt" not in seen.text
        await seen.press("r")
        assert "┆ then I doubt" in seen.text
        await seen.press("r")
        assert "doubt" not in seen.text
        await seen.press("tab", "r")
        assert seen.page.query_one(Tabs).view == "Output" and "doubt" in seen.text

    look(finished, steps)


def test_zoom_and_back(finished: RunDirectory) -> None:
    # action zoom
    # action back
    async def steps(seen: Seen) -> None:
        both = (seen.list.display, seen.pane.display)
        await seen.press("z")
        only_list = (seen.list.display, seen.pane.display)
        await seen.press("z")
        assert (both, only_list) == ((True, True), (True, False))
        await seen.press("enter")
        assert (seen.list.display, seen.pane.display) == (False, True)
        await seen.press("escape")
        assert (seen.list.display, seen.pane.display) == (True, True)
        assert isinstance(seen.app.focused, VirtualTable)
        await seen.press("f")
        assert seen.rows < 20
        await seen.press("escape")
        await seen.until(lambda: seen.rows == 20, "all samples again")

    look(finished, steps, NARROW)


def test_a_long_sample_is_scrolled_with_and_without_the_focus(finished: RunDirectory) -> None:
    # action scroll_down
    # action scroll_up
    body = "\n".join(f"line {i}" for i in range(500))
    change(finished, "UPDATE texts SET body = ?", body)

    async def steps(seen: Seen) -> None:
        await seen.press("ctrl+e")
        there = seen.reader.scroll_offset.y
        assert there > 3 and seen.cursor == 0
        await seen.press("ctrl+y")
        assert seen.reader.scroll_offset.y == 0
        await seen.press("enter", "j", "j", "k")
        assert seen.reader.scroll_offset.y == 1
        await seen.press("G")
        assert "line 499" in seen.shown()
        await seen.press("ctrl+u", "ctrl+d", "g")
        assert seen.reader.scroll_offset.y == 0
        await seen.press("G", "n")
        assert seen.reader.scroll_offset.y == 0  # another sample begins at its beginning

    look(finished, steps)


# -- views -------------------------------------------------------------------------------------------------------------


async def view(seen: Seen, name: str) -> str:
    seen.pane.show_view(name)  # type: ignore[arg-type]
    await seen.settled()
    return seen.text


def test_views_of_multiple_choice(finished: RunDirectory) -> None:
    async def steps(seen: Seen) -> None:
        prompt = seen.text
        assert "scored · 3 continuations" in prompt
        assert all(f"┃ {colour}" in prompt for colour in ("red", "green", "blue"))
        choices = await view(seen, "Choices")
        assert "→ red" in choices and "→ green" not in choices
        assert choices.count("◂ chosen") == 3  # raw, per character, and what the sign means
        assert "per char" in choices and "█" in choices
        assert "nothing is generated" in await view(seen, "Output")
        meta = await view(seen, "Meta")
        assert '"question": "colour 0?"' in meta and "loglikelihood" in meta and "acc" in meta

    look(finished, steps)


def test_views_of_a_generation(finished: RunDirectory) -> None:
    async def steps(seen: Seen) -> None:
        await seen.press("slash", *"task:speech", "enter")
        assert "the model goes on here · until ⏎, max_gen_toks 8" in seen.text
        output = await view(seen, "Output")
        number = output.split("⟦")[1].split("⟧")[0]
        assert number.isdigit() and f"answer is ⟦{number}⟧." in output
        assert f"number  matched ⟦{number}⟧ exact_match" in output
        assert "no choices" in await view(seen, "Choices")

    look(finished, steps)


def test_several_answers_and_how_they_ended(world: World) -> None:
    path = world.folder / "tasks" / "speech.yaml"
    path.write_text(path.read_text() + "repeats: 2\n")
    run = world.run(world.manifest(world.stub(), tasks='[[tasks]]\nname = "speech"\n')).directory
    respond(run, "speech", 0, finish_reason="length")

    async def steps(seen: Seen) -> None:
        output = await view(seen, "Output")
        assert "output 1 of 2 · cut off by the token limit" in output and "output 2 of 2" in output
        assert "repeat 1" in await view(seen, "Meta")

    look(run, steps)


def test_an_error_is_shown_in_full(with_errors: RunDirectory) -> None:
    async def steps(seen: Seen) -> None:
        await seen.press("slash", *"error", "enter")
        for name in ("Output", "Choices", "Meta"):
            assert "the text holds 'colour 3'" in await view(seen, name), name

    look(with_errors, steps)


CHAT = '[[tasks]]\nname = "speech"\nnum_fewshot = 2\nsystem_instruction = "Be brief."\napply_chat_template = true\n'


@pytest.mark.parametrize("chat", [True, False])
def test_examples_are_told_apart_from_the_question(world: World, chat: bool) -> None:
    path = world.folder / "tasks" / "speech.yaml"
    path.write_text(path.read_text() + "fewshot_config: {sampler: first_n}\nfewshot_split: test\n")
    tasks = CHAT if chat else CHAT.replace("true", "false").replace('system_instruction = "Be brief."\n', "")
    run = world.run(world.manifest(world.stub(), tasks=tasks)).directory

    async def steps(seen: Seen) -> None:
        await seen.press("G")
        titles = [line.text.strip("─ ") for line in seen.reader._lines if line.fill]
        examples = [title for title in titles if "example" in title]
        if chat:
            assert titles[0] == "system" and "Be brief." in seen.text
            assert examples == [f"{role} · example {i} of 2" for i in (1, 2) for role in ("user", "assistant")]
            assert titles[5] == "user"
        else:
            assert titles[:3] == ["example 1 of 2", "example 2 of 2", "question"]
        question = seen.text[seen.text.rindex("── user" if chat else "── question") :]
        assert "Say: colour 9?" in question and "Say: colour 0?" not in question

    look(run, steps)


ROLLING = """
task: prose
dataset_path: json
dataset_kwargs: {data_files: {test: colours.jsonl}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{question}} and more"
metric_list: [{metric: byte_perplexity}]
"""


def test_views_of_a_whole_text(world: World) -> None:
    (world.folder / "tasks" / "prose.yaml").write_text(ROLLING)
    run = world.run(world.manifest(world.stub(), tasks='[[tasks]]\nname = "prose"\n')).directory

    async def steps(seen: Seen) -> None:
        assert "all of them scored" in seen.text and "colour 0? and more" in seen.text
        assert "per byte" in await view(seen, "Choices")

    look(run, steps)


# -- what is done with it ----------------------------------------------------------------------------------------------


def test_a_label_and_a_note_are_kept(finished: RunDirectory) -> None:
    # action label
    async def steps(seen: Seen) -> None:
        await seen.press("j")
        await seen.pilot.press("m")
        await seen.until(lambda: isinstance(seen.app.screen, NoteScreen), "the dialog")
        await seen.pilot.press(*"bad gold".replace(" ", "_"))
        seen.app.screen.query_one(TextArea).text = "line one\nline two [b]"
        await seen.pilot.press("ctrl+s")
        await seen.until(lambda: seen.app.screen is seen.page, "closed")
        await seen.settled()
        note = Notes(finished).get("stub", "colours", 1)
        assert note and (note.mark, note.text) == ("bad_gold", "line one\nline two [b]")
        assert "★" in "".join(cell.text for cell in seen.list._rows(1, 2)[0])
        assert "line two [b]" in await view(seen, "Meta")
        await seen.press("slash", *"label:bad*", "enter")
        assert seen.rows == 1
        await seen.pilot.press("m")
        await seen.until(lambda: isinstance(seen.app.screen, NoteScreen), "the dialog again")
        assert seen.app.screen.query_one(Input).value == "bad_gold"
        await seen.pilot.press("escape")
        await seen.until(lambda: seen.app.screen is seen.page, "closed")
        assert Notes(finished).get("stub", "colours", 1) == note

    look(finished, steps, NARROW)


def test_copy_as_curl(finished: RunDirectory) -> None:
    # action copy
    async def steps(seen: Seen) -> None:
        await seen.pilot.press("y")
        await seen.until(lambda: seen.app.clipboard, "the command")
        assert seen.app.clipboard.startswith("# for a server of stub")
        assert "http://localhost:8000/v1/completions" in seen.app.clipboard
        await seen.until(lambda: seen.app._notifications, "a word of it")

    look(finished, steps)


def test_open_in_the_editor(finished: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # action edit
    script = tmp_path / "my editor.sh"
    script.write_text(f'#!/bin/sh\ncp "$2" "{tmp_path}/seen.txt"; echo "$1" > "{tmp_path}/word"\n')
    script.chmod(0o755)
    monkeypatch.setenv("EDITOR", f"'{script}' --wait")

    async def steps(seen: Seen) -> None:
        await seen.press("o")  # no terminal here: it says so
        await seen.until(lambda: seen.app._notifications, "why not")
        assert not (tmp_path / "seen.txt").exists()
        monkeypatch.setattr(seen.app, "suspend", nullcontext)
        await seen.press("o")
        assert "Q: colour 0?" in (tmp_path / "seen.txt").read_text() and (tmp_path / "word").read_text() == "--wait\n"

    look(finished, steps)


# -- tokens ------------------------------------------------------------------------------------------------------------


def test_prompt_as_tokens(finished: RunDirectory) -> None:
    # action tokens
    manifest = finished.manifest.read_text().replace('"scripted"', '"hf"')
    lines = [line for line in manifest.splitlines() if not line.startswith(("options", "[models.options]", "calls"))]
    text = "\n".join(line.replace('model = "stub"', 'model = "bundled:demo"') for line in lines)
    finished.manifest.write_text(text)

    async def steps(seen: Seen) -> None:
        await seen.pilot.press("t")
        await seen.until(lambda: "tokens ·" in seen.text, "tokens")
        await seen.settled()
        assert "Q: colour 0?⏎" in seen.text and "A:┃ red" in seen.text and "┃ green" in seen.text
        styles = {span.style for line in seen.reader._lines for span in line.spans}
        assert {"even", "odd", "join"} <= styles
        await seen.press("t")
        assert "scored · 3" in seen.text

    look(finished, steps)


def test_without_a_tokenizer_it_says_why(finished: RunDirectory) -> None:
    async def steps(seen: Seen) -> None:
        await seen.pilot.press("t")
        await seen.until(lambda: "no tokens: no tokenizer is known" in seen.text, "why not")

    look(finished, steps)


# -- hostile texts -----------------------------------------------------------------------------------------------------

HOSTILE = (
    "\x1b[31mred\x1b]0;title\x07 \x00 [bold]x[/] [@click=app.quit]y[/] \u202eabc \u200f \ud800 \x9b31m "
    "日本語 \t e\u0301 "
)


def test_hostile_texts_are_only_shown(finished: RunDirectory) -> None:
    change(finished, "UPDATE texts SET body = ?", HOSTILE.replace("\ud800", "") * 3 + "\n" + "x" * 1_000_000)
    change(finished, "UPDATE samples SET doc = ?", json.dumps({HOSTILE: HOSTILE}))
    change(finished, "UPDATE samples SET target = ?", json.dumps(HOSTILE))
    respond(finished, "speech", 0, text=HOSTILE, reasoning=HOSTILE, notes={HOSTILE: HOSTILE})
    respond(finished, "speech", 1, error={"kind": HOSTILE, "message": HOSTILE})

    async def steps(seen: Seen) -> None:
        for keys in ("g", "slash,t,a,s,k,colon,s,p,e,e,c,h,enter", "j"):
            await seen.press(*keys.split(","))
            for name in ("Prompt", "Output", "Choices", "Meta"):
                text = await view(seen, name)
                shown = seen.shown()
                for sign in ("\x1b", "\x07", "\x00", "\u202e", "\x9b", "\ud800"):
                    assert sign not in text and sign not in shown, (name, sign)
        assert "[bold]x[/]" in await view(seen, "Meta")

    look(finished, steps)
