"""The page compare: every key, against what the store says; the words that differ; texts that would do harm."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.pilot import Pilot
from textual.widgets import ContentSwitcher, Input, Static

from lmrun.store.pairs import MetricPair, PairReader, Side, TaskPair
from lmrun.store.runs import RunDirectory
from lmrun.tui.pages.compare import ComparePage
from lmrun.tui.widgets.compare import words
from lmrun.tui.widgets.compare.choose import ChooseSides
from lmrun.tui.widgets.compare.columns import difference_words, headline, remarks, score_words, why_not
from lmrun.tui.widgets.compare.pairs import PairList, PairView
from lmrun.tui.widgets.compare.tasks import TaskList, quadrant_words
from lmrun.tui.widgets.compare.words import drawn_diff, word_diff
from tests.tui.conftest import BOTH_TASKS, World, app_for, drive, screen_text, wait_until
from tests.tui.hostile import BIDI, ESCAPES, MARKUP, WIDTHS

# -- words ---------------------------------------------------------------------------------------------------------

TEXTS = st.text("ab .\n\x1b é", max_size=40)


@given(TEXTS, TEXTS)
def test_pieces_give_both_texts_again_and_agree_on_what_is_the_same(a: str, b: str) -> None:
    left, right = word_diff(a, b)
    assert "".join(piece.text for piece in left) == a
    assert "".join(piece.text for piece in right) == b
    assert "".join(p.text for p in left if p.same) == "".join(p.text for p in right if p.same)
    assert all(piece.same for piece in left + right) == (a == b)


def test_what_differs_is_marked_by_signs() -> None:
    left, right = drawn_diff("the answer is 41.", "the answer is 42, or so.")
    assert left.plain == "the answer is [-41-]."
    assert right.plain == "the answer is {+42, or so+}."


def test_a_line_that_ends_differently_shows_where_it_ends() -> None:
    assert drawn_diff("a", "a\n")[1].plain == "a{+⏎\n+}"


def test_of_very_many_words_all_between_the_first_and_the_last_difference_count_as_different() -> None:
    middle = " ".join(str(number) for number in range(words.MOST_WORDS))
    left, right = word_diff(f"same x {middle} y same", f"same z {middle} w same")
    assert [piece.same for piece in left] == [piece.same for piece in right] == [True, False, True]


def test_a_text_without_end_is_cut() -> None:
    left, right = drawn_diff("x" * 1_000_000, "y")
    assert len(left.plain) < words.LONGEST_TEXT + 100
    assert "950,000 more characters" in left.plain
    assert right.plain == "{+y+}"


@pytest.mark.parametrize("text", [*ESCAPES, *BIDI, "\x00\x9b2J"])
def test_no_text_does_anything_but_be_read(text: str) -> None:
    for side in drawn_diff(text, text[::-1]):
        assert not any((ord(c) < 0x20 and c != "\n") or 0x7F <= ord(c) < 0xA0 or c == "\u202e" for c in side.plain)


# -- words of a task -----------------------------------------------------------------------------------------------


def test_scores_fit_their_column() -> None:
    assert [score_words(value) for value in (0.51234, 12.3456, 1234.5, 123456.0, "N/A", True)] == [
        "0.5123",
        "12.35",
        "1234.50",
        "1.2e+05",
        "–",
        "–",
    ]


def test_a_difference_has_a_sign_and_is_only_given_for_the_same_docs() -> None:
    pairs = [MetricPair("acc", "none", True, a, b, paired) for a, b, paired in ((0.5, 0.75, True), (0.5, 0.25, True))]
    assert [difference_words(pair) for pair in pairs] == ["+0.2500", "-0.2500"]
    assert difference_words(MetricPair("acc", "none", True, 0.5, 0.5, True)) == "0"
    assert difference_words(MetricPair("acc", "none", True, 0.5, 0.75, False)) == "–"
    assert difference_words(MetricPair("acc", "none", True, "N/A", 0.75, True)) == "–"


def test_the_metric_that_says_right_or_wrong_stands_for_a_task() -> None:
    metrics = [MetricPair(name, "none", None, 1.0, 1.0, True) for name in ("perplexity", "acc_norm", "acc")]
    found = headline(TaskPair("t", 1, 1, metrics))
    assert found is not None
    assert found.metric == "acc"
    assert headline(TaskPair("t", 1, 1)) is None


def test_what_was_left_out_is_said() -> None:
    assert why_not(TaskPair("t", None, 3)) == "only in B"
    assert why_not(TaskPair("t", 3, None)) == "only in A"
    assert why_not(TaskPair("t", 3, 3, differing=3)) == "docs differ"
    assert why_not(TaskPair("t", 3, 3)) == "no docs in common"
    said = remarks(TaskPair("t", 10, 9, common=6, differing=2, scored=5, other_prompts=4))
    assert said == (
        "2 not comparable (the docs differ) · 2 only in A · 1 only in B · 1 not scored on both sides"
        " · ≠ 4 asked with another prompt"
    )


def test_each_count_that_is_not_zero_has_a_place_in_the_bar() -> None:
    drawn = quadrant_words(TaskPair("t", 9999, 9999, common=9999, both=9996, only_a=1, only_b=1, none=1)).plain
    bar = drawn.splitlines()[-1]
    assert [bar.count(fill) for fill in "▓▒░"] == [2, 2, 2]  # once in the bar, once in its key


# -- the page ------------------------------------------------------------------------------------------------------


def tasks_of(run: RunDirectory, a: str = "first", b: str = "second") -> dict[str, TaskPair]:
    """What the store says."""
    reader = PairReader(Side(run, a), Side(run, b))
    found = {task.label: task for task in reader.tasks()}
    reader.close()
    return found


def page_of(pilot: Pilot[None]) -> ComparePage:
    """The page that is shown."""
    screen = pilot.app.screen
    assert isinstance(screen, ComparePage)
    return screen


def text(pilot: Pilot[None]) -> str:
    """What stands on the screen."""
    return screen_text(pilot.app)  # type: ignore[arg-type]


async def shows(pilot: Pilot[None], *parts: str) -> None:
    """Wait until these stand on the screen."""
    await wait_until(pilot, lambda: all(part in text(pilot) for part in parts), f"{parts}")


def level(pilot: Pilot[None]) -> str | None:
    """Tasks, samples, or nothing."""
    return page_of(pilot).query_one(ContentSwitcher).current


def line_of(pilot: Pilot[None], word: str) -> list[str]:
    """Words of the first line that begins with one."""
    return next(line.split() for line in text(pilot).splitlines() if line.split()[:1] == [word])


def said(pilot: Pilot[None]) -> str:
    """What was said in the corner."""
    return " ".join(notice.message for notice in pilot.app._notifications)


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
def test_the_two_models_of_the_open_run_are_offered(two_models: RunDirectory, size: tuple[int, int]) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await shows(pilot, "A  first", "B  second", "colours", "speech")
        for task in tasks_of(two_models).values():
            counts = [task.common, task.both, task.only_a, task.only_b, task.none]
            assert line_of(pilot, task.label)[-5:] == [str(count) for count in counts]

    drive(app_for(two_models, "compare"), steps, size)


def test_what_came_while_another_page_was_shown_is_read(two_models: RunDirectory) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await shows(pilot, "speech")
        pilot.app.go("runs")  # type: ignore[attr-defined]
        await shows(pilot, "✓")
        db = sqlite3.connect(two_models.database)
        db.execute("DELETE FROM samples WHERE job_id = 1 AND doc_id > 6")
        db.commit()
        db.close()
        pilot.app.go("compare")  # type: ignore[attr-defined]
        await wait_until(pilot, lambda: line_of(pilot, "colours")[-5] == "7", "fewer pairs")

    drive(app_for(two_models, "compare"), steps)


def test_of_one_model_there_is_nothing_to_compare(finished: RunDirectory) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await shows(pilot, "Nothing to compare yet")
        await pilot.press("x", "f", "v", "enter", "slash", "escape")
        assert level(pilot) == "nothing"

    drive(app_for(finished, "compare"), steps)


def test_enter_lists_the_samples_of_a_task_and_escape_goes_back(two_models: RunDirectory) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await shows(pilot, "speech")
        await pilot.press("j", "enter")
        await shows(pilot, "answer of A", "all · 10", "Say: colour 0?", "gold", "A ✗ first")
        await pilot.press("escape")
        await shows(pilot, "Δ B−A")
        assert level(pilot) == "tasks-level"

    drive(app_for(two_models, "compare"), steps)


def test_f_goes_through_the_quadrants(two_models: RunDirectory) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        task = tasks_of(two_models)["colours"]
        await shows(pilot, "colours")
        await pilot.press("enter")
        await shows(pilot, "all · 10")
        counts = {"both right": task.both, "only A right": task.only_a, "only B right": task.only_b}
        for name, count in {**counts, "none right": task.none, "all": task.common}.items():
            await pilot.press("f")
            await shows(pilot, f"{name} · {count}")
            assert page_of(pilot).query_one(PairList).table.count == count

    drive(app_for(two_models, "compare"), steps)


def test_x_swaps_the_sides(two_models: RunDirectory) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await shows(pilot, "A  first", "speech")
        before = line_of(pilot, "colours")
        await pilot.press("x")
        await shows(pilot, "A  second", "B  first", "speech")
        after = line_of(pilot, "colours")
        assert (after[3], after[4]) == (before[4], before[3])
        assert after[-3:-1] == before[-3:-1][::-1]
        await pilot.press("enter", "f", "f")
        await shows(pilot, "only A right")
        await pilot.press("x")
        await shows(pilot, "only B right", "A  first")

    drive(app_for(two_models, "compare"), steps)


def test_v_puts_the_outputs_one_above_the_other(two_models: RunDirectory) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await shows(pilot, "speech")
        await pilot.press("j", "enter")
        await shows(pilot, "B ✗ second")
        assert side_by_side(pilot)
        await pilot.press("v")
        await wait_until(pilot, lambda: not side_by_side(pilot))
        await pilot.press("v")
        await wait_until(pilot, lambda: side_by_side(pilot))

    drive(app_for(two_models, "compare"), steps)


def side_by_side(pilot: Pilot[None]) -> bool:
    """Both outputs begin on one line."""
    a, b = (page_of(pilot).query_one(f"#text-{name}", Static).region for name in "ab")
    return a.y == b.y and a.x < b.x


def test_where_it_is_narrow_they_are_stacked(two_models: RunDirectory) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await shows(pilot, "speech")
        await pilot.press("j", "enter")
        await shows(pilot, "A ✗ first")
        assert not side_by_side(pilot)

    drive(app_for(two_models, "compare"), steps, (80, 24))


def test_choices_are_shown_with_both_log_likelihoods(two_models: RunDirectory) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await shows(pilot, "colours")
        await pilot.press("enter")
        await shows(pilot, "gold pick", "red", "green", "blue")
        choices = page_of(pilot).query_one("#choices", Static)
        lines = str(choices.content).splitlines()
        assert lines[0].split() == ["gold", "pick", "choice", "A", "B", "B−A"]
        gold, *others = (line.split() for line in lines[1:])
        assert gold[0] == "✓"
        assert gold[2] == "red"
        for line in (gold[2:], *(line[1:] for line in others)):
            a, b, difference = map(float, line[1:])
            assert b - a == pytest.approx(difference, abs=0.002)

    drive(app_for(two_models, "compare"), steps)


def test_the_outputs_scroll(two_models: RunDirectory) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await shows(pilot, "speech")
        await pilot.press("j", "enter")
        await shows(pilot, "A ✗ first")
        view = page_of(pilot).query_one(PairView)
        await pilot.press("ctrl+e", "ctrl+e")
        await wait_until(pilot, lambda: view.scroll_y > 0, "a scroll")
        await pilot.press("ctrl+y", "ctrl+y")
        await wait_until(pilot, lambda: view.scroll_y == 0, "a scroll back")

    drive(app_for(two_models, "compare"), steps, (80, 14))


def test_a_filter_leaves_some_tasks(two_models: RunDirectory) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await shows(pilot, "speech")
        await pilot.press("slash", *"task:col*", "enter")
        await shows(pilot, "1 of 2 tasks")
        assert page_of(pilot).query_one(TaskList).table.count == 1
        assert "speech" not in text(pilot)

    drive(app_for(two_models, "compare"), steps)


def test_c_chooses_both_sides(two_models: RunDirectory, world: World) -> None:
    other = world.run(world.manifest(world.stub("third", salt="third"), tasks=BOTH_TASKS), fresh=True).directory

    async def steps(pilot: Pilot[None]) -> None:
        await shows(pilot, "speech")
        await pilot.press("c")
        await wait_until(pilot, lambda: isinstance(pilot.app.screen, ChooseSides), "the list")
        await pilot.press(*"third", "enter")
        await shows(pilot, "side B")
        await pilot.press("escape")
        await shows(pilot, "side A")
        await pilot.press(*"third", "enter", *"second", "enter")
        await shows(pilot, "A  third", "B  second", "colours")
        assert line_of(pilot, "colours")[-5:] == [str(n) for n in counts]

    reader = PairReader(Side(other, "third"), Side(two_models, "second"))
    task = next(reader.tasks())
    reader.close()
    counts = [task.common, task.both, task.only_a, task.only_b, task.none]
    drive(app_for(two_models, "compare"), steps)


def test_the_same_side_twice_is_refused_and_the_arrows_move_while_one_types(two_models: RunDirectory) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await shows(pilot, "speech")
        await pilot.press("c")
        await wait_until(pilot, lambda: isinstance(pilot.app.screen, ChooseSides), "the list")
        await pilot.press("enter", "up", "enter")
        assert "are the same" in said(pilot)
        await pilot.press("pagedown", "pageup", "down", "enter")
        await wait_until(pilot, lambda: isinstance(pilot.app.screen, ComparePage), "the page")
        await pilot.press("c")
        await wait_until(pilot, lambda: isinstance(pilot.app.screen, ChooseSides), "the list")
        await pilot.press(*"nothing like it", "enter", "escape")
        await wait_until(pilot, lambda: isinstance(pilot.app.screen, ComparePage), "the page")

    drive(app_for(two_models, "compare"), steps)


def test_a_task_of_one_side_says_so(two_models: RunDirectory, world: World) -> None:
    other = world.run(world.manifest(world.stub("third")), fresh=True).directory

    async def steps(pilot: Pilot[None]) -> None:
        await shows(pilot, "speech")
        page_of(pilot).compare(Side(two_models, "first"), Side(other, "third"))
        await shows(pilot, "speech  only in A")
        await pilot.press("j", "enter")
        assert "only in A" in said(pilot)
        assert level(pilot) == "tasks-level"

    drive(app_for(two_models, "compare"), steps)


def test_a_run_that_cannot_be_read_is_named(two_models: RunDirectory, tmp_path: Path) -> None:
    broken = RunDirectory(tmp_path / "20260101-000000-broken-0000")
    broken.path.mkdir()
    broken.database.write_bytes(b"nothing" * 1000)

    async def steps(pilot: Pilot[None]) -> None:
        await shows(pilot, "speech")
        page_of(pilot).compare(Side(two_models, "first"), Side(broken, "x"))
        await wait_until(pilot, lambda: "cannot be read" in said(pilot), "words")

    drive(app_for(two_models, "compare"), steps)


def test_another_run_is_offered_where_none_was_chosen(two_models: RunDirectory, finished: RunDirectory) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await shows(pilot, "Nothing to compare yet")
        pilot.app.open_run(two_models)  # type: ignore[attr-defined]
        await shows(pilot, "A  first", "B  second")

    drive(app_for(finished, "compare"), steps)


def test_other_prompts_are_marked(world: World) -> None:
    models = world.stub("first"), world.stub("second")
    one = world.run(world.manifest(*models, tasks=BOTH_TASKS)).directory
    speech = world.folder / "tasks" / "speech.yaml"
    speech.write_text(speech.read_text().replace("Say: ", "Tell: "))
    two = world.run(world.manifest(*models, tasks=BOTH_TASKS), fresh=True).directory

    async def steps(pilot: Pilot[None]) -> None:
        await shows(pilot, "speech")
        page_of(pilot).compare(Side(one, "first"), Side(two, "first"))
        await shows(pilot, "≠ speech")
        await pilot.press("j", "enter")
        await shows(pilot, "≠ the prompts differ; this is A's", "doc 0 · ≠ other prompt")

    drive(app_for(one, "compare"), steps)


def test_outputs_that_would_do_harm_are_shown(world: World) -> None:
    replies = [part for part in (*ESCAPES, *MARKUP, *BIDI, *WIDTHS) if max(part) < "\ud800"]
    models = world.stub("a", replies=replies), world.stub("[bold]b[/]", replies=replies[::-1])
    run = world.run(world.manifest(*models, tasks=BOTH_TASKS)).directory

    async def steps(pilot: Pilot[None]) -> None:
        await shows(pilot, "speech")
        await pilot.press("j", "enter")
        await shows(pilot, "all · 10", "Say: colour 0?")
        for number in range(10):
            await shows(pilot, f"─ doc {number} ")
            assert not any((ord(c) < 0x20 and c != "\n") or 0x7F <= ord(c) < 0xA0 for c in text(pilot))
            await pilot.press("j")
        await pilot.press("c")
        await wait_until(pilot, lambda: isinstance(pilot.app.screen, ChooseSides), "the list")
        assert pilot.app.screen.query_one(Input).has_focus
        assert "\x1b" not in text(pilot)

    drive(app_for(run, "compare"), steps)
