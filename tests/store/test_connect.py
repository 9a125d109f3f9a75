"""Databases open where they can, and say so where they cannot."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from lmrun.errors import StoreError
from lmrun.store import connect as module
from lmrun.store.connect import connect, connect_readonly

ONE = ("CREATE TABLE t (x INTEGER); -- a comment; with a semicolon\nCREATE INDEX i ON t (x)",)
TWO = (*ONE, "ALTER TABLE t ADD COLUMN y TEXT")


def journal(connection: sqlite3.Connection) -> str:
    return str(connection.execute("PRAGMA journal_mode").fetchone()[0])


def test_a_local_disk_gets_a_write_ahead_log(tmp_path: Path) -> None:
    assert journal(connect(tmp_path / "a.db", ONE)) == "wal"


def test_a_network_disk_gets_a_rollback_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "file_system", lambda _path: "nfs4")
    connection = connect(tmp_path / "a.db", ONE)
    assert journal(connection) == "delete"
    assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2


def test_the_file_system_is_that_of_the_nearest_mount(tmp_path: Path) -> None:
    assert module.file_system(tmp_path / "not" / "there" / "yet") == module.file_system(tmp_path)


def test_migrations_are_applied_once_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    connect(path, ONE).execute("INSERT INTO t VALUES (1)")
    connection = connect(path, TWO)
    assert [tuple(row) for row in connection.execute("SELECT * FROM t")] == [(1, None)]
    assert connect(path, TWO).execute("PRAGMA user_version").fetchone()[0] == 2


def test_a_newer_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    connect(path, TWO)
    with pytest.raises(StoreError, match="written by a newer lmrun"):
        connect(path, ONE)
    with pytest.raises(StoreError, match="schema version 2"):
        connect_readonly(path, ONE)


def test_an_older_database_is_read_where_the_caller_knows_it(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    connect(path, ONE)
    assert connect_readonly(path, TWO, oldest=1).execute("PRAGMA user_version").fetchone()[0] == 1
    with pytest.raises(StoreError, match=r"schema version 1, this lmrun reads version 2$") as caught:
        connect_readonly(path, TWO)
    assert "brings a run up to date" in (caught.value.hint or "")
    with pytest.raises(StoreError, match="reads version 2 to 3"):
        connect_readonly(path, (*TWO, ""), oldest=2)


def test_a_database_in_a_folder_that_cannot_be_written_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    connection = connect(folder / "a.db", ONE)
    connection.execute("INSERT INTO t VALUES (7)")
    connection.close()
    assert not (folder / "a.db-wal").exists()
    folder.chmod(0o555)
    try:
        assert connect_readonly(folder / "a.db", ONE).execute("SELECT x FROM t").fetchone()[0] == 7
    finally:
        folder.chmod(0o755)


def test_a_folder_in_place_of_a_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "a.db").mkdir()
    with pytest.raises(StoreError, match=r"a\.db"):
        connect(tmp_path / "a.db", ONE)
