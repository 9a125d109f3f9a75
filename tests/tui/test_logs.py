"""The reader of logs: what it keeps, and how it takes a file that grows, is cut, or is no log."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrun.tui import logs
from lmrun.tui.logs import Log, LogTail, details, kinds, parse


def line(event: str = "batch", level: str = "debug", **fields: object) -> bytes:
    return json.dumps({"time": 1.5, "level": level, "event": event, **fields}).encode() + b"\n"


def append(path: Path, *lines: bytes) -> None:
    with path.open("ab") as file:
        file.writelines(lines)


def read(tail: LogTail) -> Log:
    found = tail.read()
    assert found is not None
    return found


def events(log: Log) -> list[str]:
    return [one.event for one in log.lines]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.jsonl"


def test_only_what_is_new_is_read(path: Path) -> None:
    append(path, line("one"), line("two"))
    tail = LogTail(path)
    assert events(read(tail)) == ["one", "two"]
    assert tail.read() is None
    append(path, line("three"))
    assert events(read(tail)) == ["one", "two", "three"]
    assert tail.read() is None


def test_a_line_without_its_end_waits(path: Path) -> None:
    half = line("two")
    append(path, line("one"), half[:20])
    tail = LogTail(path)
    assert events(read(tail)) == ["one"]
    append(path, half[20:40])
    assert events(read(tail)) == ["one"]
    append(path, half[40:], b"{")
    assert events(read(tail)) == ["one", "two"]


@given(st.lists(st.text(max_size=30), min_size=1, max_size=20), st.lists(st.integers(0, 2_000), max_size=8))
def test_pieces_make_the_same_lines(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], cuts: list[int]
) -> None:
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    path.touch()
    whole = b"".join(line(f"{n}", text=text) for n, text in enumerate(texts))
    tail, found = LogTail(path), Log()
    for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), len(whole)], strict=True):
        append(path, whole[start:stop])
        found = tail.read() or found
    assert events(found) == [str(n) for n in range(len(texts))]
    assert found.total == len(texts)
    for one, text in zip(found.lines, texts, strict=True):
        assert json.loads(path.read_bytes()[one.offset : one.offset + one.size])["text"] == text


def test_no_file_a_file_and_none_again(path: Path) -> None:
    tail = LogTail(path)
    assert tail.read() is None
    append(path, line("one"))
    assert events(read(tail)) == ["one"]
    path.unlink()
    assert read(tail).lines == ()
    assert tail.read() is None


def test_a_shorter_file_is_another_one(path: Path) -> None:
    append(path, line("one"), line("two"))
    tail = LogTail(path)
    tail.read()
    path.write_bytes(line("new"))
    assert events(read(tail)) == ["new"]


def test_a_rotated_file_is_another_one(path: Path) -> None:
    append(path, line("one"))
    tail = LogTail(path)
    tail.read()
    path.rename(path.with_suffix(".1"))
    append(path, line("new"), line("newer"), line("newest"))
    assert events(read(tail)) == ["new", "newer", "newest"]


def test_a_file_written_anew_and_longer_is_another_one(path: Path) -> None:
    append(path, line("one"), line("two"))
    tail = LogTail(path)
    tail.read()
    path.write_bytes(line("longer", text="x" * 500))
    assert events(read(tail)) == ["longer"]


def test_what_is_kept_has_an_end_and_old_errors_stay(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_TAIL", 5_000)
    monkeypatch.setattr(logs, "_BLOCK", 1_000)
    monkeypatch.setattr(logs, "KEPT", 20)
    append(path, line("first"), line("bad", "error"), *(line() for _ in range(500)), line("worse", "warning"))
    append(path, *(line(f"{n}") for n in range(100)))
    log = read(LogTail(path))
    assert events(log) == ["bad", "worse", *(f"{n}" for n in range(80, 100))]
    assert log.total == 603
    assert log.left == 0


def test_a_huge_file_is_read_step_by_step(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_STEP", 1_000)
    append(path, *(line(f"{n}") for n in range(100)))
    tail, looks = LogTail(path), 0
    log = read(tail)
    while log.left:
        log, looks = read(tail), looks + 1
    assert events(log) == [f"{n}" for n in range(100)]
    assert looks > 3


def test_a_line_longer_than_memory_likes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_LONGEST", 1_000)
    monkeypatch.setattr(logs, "_BLOCK", 300)
    append(path, line("one"), line("long", text="x" * 10_000), line("two"))
    log = read(LogTail(path))
    assert events(log) == ["one", "unreadable", "two"]
    assert log.lines[1].size > 10_000
    assert len(details(path, log.lines[1])) == 1_000


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff\xfe\x00garbage",
        b"[1, 2]",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b"9" * 10_000,
        b'{"time": 1',
        b"null",
        b"NaN",
    ],
)
def test_what_is_no_line_of_a_log_is_a_warning(raw: bytes, path: Path) -> None:
    append(path, raw + b"\n", line("after"))
    log = read(LogTail(path))
    assert [(one.level, one.event) for one in log.lines] == [("warning", "unreadable"), ("debug", "after")]
    assert details(path, log.lines[0])


@given(st.binary(max_size=200))
def test_no_bytes_are_a_problem(raw: bytes) -> None:
    one = parse(0, len(raw), raw)
    assert one.level in logs.LEVELS
    assert "\n" not in one.text + one.event


@given(
    st.dictionaries(
        st.sampled_from(["time", "level", "event", "kind", "error"]) | st.text(max_size=5),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        ),
    )
)
def test_no_values_are_a_problem(values: dict[str, object]) -> None:
    one = parse(0, 0, json.dumps(values).encode())
    assert one.level in logs.LEVELS
    assert all(len(value) <= 200 for value in one.told.values())
    assert len(kinds([one])) == one.bad


def test_empty_lines_are_none(path: Path) -> None:
    append(path, b"\n\n  \n", line("one"), b"\r\n")
    assert events(read(LogTail(path))) == ["one"]


def test_kinds_go_by_event_class_and_status() -> None:
    failed = {
        "message": "HTTP 500: broken",
        "traceback": "Traceback …\n  File …\nlmrun.errors.BackendError: HTTP 500: broken\n",
    }
    raw = [
        line("requests failed", "warning", kind="http_429", job="a"),
        line("requests failed", "warning", kind="http_429", job="b"),
        line("requests failed", "warning", kind="timeout"),
        line("job failed", "error", error=failed),
        line("retried", "warning", status=503),
        line("fine", "info", kind="http_429"),
    ]
    found = kinds([parse(0, 0, one) for one in raw])
    assert [(one.kind, one.count) for one in found] == [
        (("requests failed", "http_429", "429"), 2),
        (("requests failed", "timeout", ""), 1),
        (("job failed", "BackendError", "500"), 1),
        (("retried", "", "503"), 1),
    ]
    assert found[0].last.fields["job"] == "b"


def test_details_show_lines_as_lines(path: Path) -> None:
    append(
        path,
        line("x"),
        line("job failed", "error", error={"message": "a", "traceback": "one\n two\n"}, n=[1, {"a": 2}]),
    )
    log = read(LogTail(path))
    assert details(path, log.lines[1]).split("\n")[2:] == [
        'event: "job failed"',
        "error:",
        '  message: "a"',
        "  traceback:",
        "    │ one",
        "    │  two",
        'n: [1, {"a": 2}]',
    ]
    path.unlink()
    assert "No such file" in details(path, log.lines[1])
