"""Hostile text is shown, and does nothing: in functions, in widgets and on every page."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual._compositor import CompositorUpdate
from textual.pilot import Pilot

from lmrun.display.format import safe
from lmrun.store.runs import RunDirectory
from lmrun.tui.app import LmrunApp
from lmrun.tui.text import fit, one_line, shown
from lmrun.tui.widgets.frame import TABS
from lmrun.tui.widgets.virtual import VirtualTable
from tests.tui.conftest import app_for, drive, screen_text, wait_until
from tests.tui.hostile import CORPUS, ESCAPES, LONG, SHORT, acts, written

anything = (
    st.text(alphabet=st.characters(categories=None), max_size=80)
    | st.sampled_from(SHORT)
    | st.lists(st.sampled_from(SHORT), max_size=4).map("".join)
)
corpus = pytest.mark.parametrize("text", CORPUS, ids=lambda text: f"{text[:12]!r}…{len(text)}")


@corpus
def test_safe_text_of_the_corpus(text: str) -> None:
    assert acts(safe(text), allowed="\n\t") == []
    assert acts(one_line(text)) == []
    assert acts(shown(text).plain, allowed="\n") == []
    assert shown(text).spans == [] or len(text) > 200_000, "markup must stay text"


@given(anything)
def test_any_text_is_safe(text: str) -> None:
    assert acts(safe(text), allowed="\n\t") == []
    assert acts(one_line(text)) == []
    assert acts(shown(text).plain, allowed="\n") == []
    safe(text).encode()
    assert len(safe(text).split("\n")) == len(safe(text).splitlines() or [""]) or safe(text).endswith("\n")


@given(anything)
@example("\x1f\u200c\x1f")
def test_safe_text_is_left_as_it_is(text: str) -> None:
    assert safe(safe(text)) == safe(text)


@given(anything, st.integers(0, 60), st.booleans())
def test_fit_fills_the_cells(text: str, width: int, right: bool) -> None:
    drawn = fit(one_line(text), width, right=right)
    assert cell_len(drawn) == width
    assert acts(drawn) == []


@given(anything)
def test_cells_do_not_depend_on_the_neighbours(text: str) -> None:
    """What is drawn beside it stands where it should: no character reaches into the next column."""
    cell = fit(one_line(text), 20)
    assert cell_len(f" {cell} next") == 26


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("שלום עולם", "שלום עולם"),
        ("مرحبا", "مرحبا"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("क्षत्रिय", "क्षत्रिय"),
        ("e\u0301", "e\u0301"),
        ("\u0301x", "◌\u0301x"),
        ("a\n\u0301b", "a\n◌\u0301b"),
        ("o" + "\u0301" * 9 + "x", "o" + "\u0301" * 4 + "�x"),
        ("a\u200bb\u2060c\ufeffd", "a�b�c�d"),
        ("a\u200eb\u061cc\u200d", "a�b�c�"),
        ("👨\u200d👩\u200d👧", "👨👩👧"),
        ("⚠️", "⚠"),
        ("a\u2028b\u2029c", "a␤b␤c"),
        ("\x1b]0;never ended", "␛0;never ended"),
        ("\x1b]52;c;aGk=\x07x", "␛x"),
        ("\U000e0041\U000e0042", "��"),
    ],
)
def test_what_is_seen(text: str, seen: str) -> None:
    assert safe(text) == seen


# -- the pages ---------------------------------------------------------------------------------------------------------

WORDS = (("models", "name"), ("models", "model"), ("jobs", "label"), ("jobs", "alias"), ("texts", "body"))
JSON = (
    *(("samples", column) for column in ("doc", "target", "choices", "error")),
    *(("responses", "response"), ("models", "facts"), ("scores", "filtered")),
)
"""Columns of the store that hold what others wrote: as it is, and as JSON."""


def _poison(number: int, before: str) -> str:
    """A hostile text that differs from its neighbours, as names have to."""
    return f"{SHORT[number % len(SHORT)]}{before}{SHORT[(number + 7) % len(SHORT)]}"


def _poisoned(found: object, number: int) -> object:
    if isinstance(found, str):
        return _poison(number, found)
    if isinstance(found, list):
        return [_poisoned(one, number + place) for place, one in enumerate(found)]
    if isinstance(found, dict):
        return {name: _poisoned(one, number + place) for place, (name, one) in enumerate(found.items())}
    return found


def _poison_store(run: RunDirectory) -> None:
    db = sqlite3.connect(run.database)
    db.create_function("word", 2, lambda n, text: _poison(n, text).encode("utf-8", "replace").decode())
    db.create_function("json_words", 2, lambda n, text: text and json.dumps(_poisoned(json.loads(text), n)))
    with db:
        for table, column in WORDS:
            db.execute(f"UPDATE {table} SET {column} = word(rowid, {column})")
        for table, column in JSON:
            db.execute(f"UPDATE {table} SET {column} = json_words(rowid, {column})")
        db.execute("UPDATE models SET error = ?", (json.dumps({"message": "".join(SHORT), "hint": "".join(SHORT)}),))
        db.execute("UPDATE run SET value = ? WHERE name = 'name'", (json.dumps("".join(ESCAPES)),))
        db.execute("UPDATE samples SET doc = ? WHERE id = 2", (json.dumps({"question": LONG[0]}),))
    db.close()


def _poison_log(path: Path) -> None:
    lines = [json.dumps({"time": 1.0, "level": "error", "event": text, text: text, "kind": text}) for text in SHORT]
    lines += [json.dumps({"time": n, "level": "warning", "event": "x", "text": text}) for n, text in enumerate(LONG)]
    lines += ["[" * 100_000, '{"a":' * 5_000, "{}", '{"time": "never", "level": [], "event": {"a": 1}}', "9" * 10_000]
    raw = (
        "\n".join(lines).encode()
        + b"\n"
        + b"\n".join(text.encode("utf-8", "replace") for text in SHORT)
        + b"\n\xff\xfe\x00"
    )
    with path.open("ab") as file:
        file.write(raw)


@pytest.fixture
def hostile(with_errors: RunDirectory) -> RunDirectory:
    """A run of which every word that comes from outside is hostile."""
    _poison_store(with_errors)
    _poison_log(with_errors.log)
    return with_errors


def frame(app: LmrunApp) -> str:
    """What the app writes to the terminal for what is on the screen."""
    update = app.screen._compositor.render_update(full=True)
    assert isinstance(update, CompositorUpdate)
    return update.render_segments(app.console)


def harmless(app: LmrunApp) -> None:
    """Nothing on the screen is more than text, and no line is longer than the screen."""
    assert written(frame(app)) == []
    assert acts(screen_text(app), allowed="\n") == []
    width = app.screen.size.width
    assert [line for line in screen_text(app).split("\n") if cell_len(line) > width] == []


KEYS = {
    "dashboard": ("j", "s", "e", "escape", "v", "escape"),
    "runs": ("j",),
    "samples": ("j", "enter", "J", "J", *["right_square_bracket"] * 5, "t", "r", "z", "z", "f", "escape"),
    "compare": ("j", "x", "enter", "j", "v", "f", "escape"),
    "manifests": ("j",),
    "log": ("k", "k", "E", "E", "e", "enter", "escape", "l", "g", "j", "j"),
}
"""What a user does on a page to see all of it."""


@pytest.mark.parametrize("size", [(120, 40), (80, 24)])
@pytest.mark.parametrize("page", TABS)
def test_pages_with_a_hostile_run(hostile: RunDirectory, page: str, size: tuple[int, int]) -> None:
    app = app_for(hostile, page)

    async def look(pilot: Pilot[None]) -> None:
        await wait_until(pilot, lambda: (app.view is not None and app.screen.focused is not None) or page != "log")
        harmless(app)
        for key in (*KEYS[page], "question_mark", "escape", "ctrl+p", "escape"):
            await pilot.press(key)
            await wait_until(pilot, lambda: all(worker.is_finished for worker in app.workers if worker.name != "look"))
            await pilot.pause()
            harmless(app)

    drive(app, look, size)


def test_a_hostile_log_is_read_whole(hostile: RunDirectory) -> None:
    app = app_for(hostile, "log")

    async def look(pilot: Pilot[None]) -> None:
        table = app.screen.query_one(VirtualTable)
        await wait_until(pilot, lambda: table.count > len(SHORT))
        for row in range(table.count):
            table.move_to(row)
            await wait_until(pilot, lambda: all(w.is_finished for w in app.workers if w.name == "line"))
            harmless(app)

    drive(app, look)


def test_hostile_text_is_refused_as_markup(finished: RunDirectory) -> None:
    """A click on what looks like a link of Textual does nothing."""
    with sqlite3.connect(finished.database) as db:
        db.execute("UPDATE run SET value = ? WHERE name = 'name'", (json.dumps("[@click=app.leave]quit[/]"),))
    db.close()
    app = app_for(finished, "log")

    async def look(pilot: Pilot[None]) -> None:
        assert "[@click=app.leave]quit[/]" in screen_text(app)
        await pilot.click("#name", offset=(12, 0))
        await pilot.pause()
        assert app.is_running

    drive(app, look)
