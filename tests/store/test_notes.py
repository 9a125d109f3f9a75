"""Labels and notes of people."""

from __future__ import annotations

from pathlib import Path
from threading import Thread

import pytest

from lmrun.store.notes import Notes
from lmrun.store.runs import RunDirectory


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    return Notes(RunDirectory(tmp_path))


def test_a_run_without_notes_has_no_file(notes: Notes, tmp_path: Path) -> None:
    assert notes.all() == {}
    assert notes.get("m", "t", 0) is None
    assert list(tmp_path.iterdir()) == []


def test_a_note_is_kept_and_replaced(notes: Notes) -> None:
    notes.set("m", "t", 3, "bug", "look")
    notes.set("m", "t", 1, "odd")
    notes.set("m", "t", 3, "gold", "wrong")
    kept = {place[-1]: (note.mark, note.text) for place, note in notes.all().items()}
    assert kept == {1: ("odd", ""), 3: ("gold", "wrong")}
    assert notes.get("m", "t", 3) == notes.all()["m", "t", 3]


def test_an_empty_note_is_taken_away(notes: Notes) -> None:
    notes.set("m", "t", 3, "", "only words")
    assert notes.get("m", "t", 3)
    notes.set("m", "t", 3, "")
    assert notes.all() == {}


def test_every_thread_may_write(notes: Notes) -> None:
    threads = [Thread(target=notes.set, args=("m", "t", doc, f"mark {doc}")) for doc in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [note.mark for note in notes.all().values()] == [f"mark {doc}" for doc in range(8)]
