"""Small datasets on disk, and a guard that fails a test which opens a socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

Rows = Sequence[dict[str, Any]]

ROWS: list[dict[str, Any]] = [
    {"question": "Warum?", "choices": ["a", "b"], "answer": 1, "meta": {"id": "q1", "source": None}},
    {"question": "where\u2028?", "choices": [], "answer": 0, "meta": {"id": "q2", "source": "ärger"}},
    {"question": None, "choices": ["c"], "answer": None, "meta": None},
]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or writes the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("LMRUN_CACHE_DIR", str(folder))
    return folder


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: Any, **_kwargs: Any) -> NoReturn:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)


WriteParquet = Callable[..., Path]


@pytest.fixture
def write_parquet() -> WriteParquet:
    def write(path: Path, rows: Rows = ROWS, **options: Any) -> Path:
        import pyarrow as pa
        import pyarrow.parquet as pq

        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(list(rows)), path, **options)
        return path

    return write


@pytest.fixture
def real_mirror() -> Path:
    """The benchmark mirror that ``LMRUN_TEST_MIRROR`` names."""
    folder = os.environ.get("LMRUN_TEST_MIRROR")
    if not folder:
        pytest.skip("LMRUN_TEST_MIRROR is not set")
    return Path(folder)
