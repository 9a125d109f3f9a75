"""The control socket: whoever comes, the engine goes on and the others are served."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from lmrun.engine.control import server as serving
from lmrun.engine.control.client import ControlClient
from lmrun.engine.control.protocol import LONGEST_REQUEST, address, read_snapshot, write_snapshot
from lmrun.engine.control.server import ControlServer, control
from lmrun.engine.progress import Device, JobProgress, Machine, ModelProgress, Tracker
from lmrun.engine.steering import Steering
from lmrun.store.log import RunLog
from lmrun.store.runs import RunDirectory
from tests.engine.control.conftest import until


class Engine:
    """What an engine shows and hears, without the engine."""

    def __init__(self, path: Path) -> None:
        self.run = RunDirectory(path)
        path.mkdir(parents=True, exist_ok=True)
        self.tracker = Tracker()
        self.tracker.start("r", [JobProgress("m", "j", docs=3)], [ModelProgress("m", "scripted", "tiny")])
        self.log = RunLog(self.run.log, lambda *_, **__: None)
        self.steering = Steering(self.tracker, self.log)
        self.server = ControlServer(self.run.control, self.steering, self.tracker)

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.steering.close()
        self.server.close()
        self.log.close()

    def connect(self) -> socket.socket:
        """A raw connection."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(30)
        with address(self.run.control) as name:
            connection.connect(name)
        return connection


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine(tmp_path / "run") as engine:
        yield engine


def line(connection: socket.socket) -> object:
    with connection.makefile("rb") as file:
        return json.loads(file.readline())


def ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def is_served(engine: Engine) -> bool:
    client = ControlClient(engine.run)
    try:
        return client.snapshot() is not None
    finally:
        client.close()


def test_a_snapshot_comes_over_as_it_was(engine: Engine) -> None:
    devices = (Device("0 H200", 1.0, 2.0, None, 3.5),)
    engine.tracker.measure(lambda: Machine(devices, 5.0, 12.5))
    engine.tracker.note("a note with \x1b[31m and “quotes”")
    sent = engine.tracker.snapshot()
    client = ControlClient(engine.run)
    got = client.snapshot()
    client.close()
    assert got
    changing = {"since": 0.0, "elapsed": 0.0}
    lists = {"jobs": tuple(got.jobs), "models": tuple(got.models), "devices": tuple(got.devices)}
    assert replace(got, notes=tuple(got.notes), **lists, **changing) == replace(sent, **changing)  # type: ignore[arg-type]


def test_what_a_newer_engine_says_more_is_left_out() -> None:
    tracker = Tracker()
    tracker.start("r", [JobProgress("m", "j")])
    values = json.loads(write_snapshot(tracker.snapshot()))["snapshot"]
    values["colour"] = "blue"
    values["jobs"][0]["weather"] = {"rain": True}
    assert read_snapshot(values).jobs == [JobProgress("m", "j")]


def test_only_its_user_may_use_the_socket(engine: Engine) -> None:
    mode = engine.run.control.stat().st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600
    assert [path.name for path in engine.run.path.iterdir() if "control" in path.name] == ["control.sock"]


def test_a_command_that_has_to_wait_is_answered(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "PATIENCE", 0.05)
    engine.tracker.phase("loading", "tiny")
    client = ControlClient(engine.run)
    reply = client.send("pause")
    assert reply.ok and "loading tiny" in reply.words
    engine.steering.poll()
    assert engine.tracker.snapshot().paused
    client.close()


def test_who_asks_is_logged(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "PATIENCE", 0.05)
    client = ControlClient(engine.run)
    client.send("pause")
    client.close()
    engine.steering.poll()
    (logged,) = map(json.loads, engine.run.log.read_text().splitlines())
    assert (logged["do"], logged["by"]) == ("pause", f"process {os.getpid()} of user {os.getuid()}")


def test_an_engine_that_hangs_is_not_said_to_be_gone_and_gets_a_command_once(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    listener = serving._listening(run.control)
    client = ControlClient(run, patience=0.05)
    client._connected()  # it has been talked to before
    reply = client.send("stop")
    assert not reply.ok and "does not answer" in reply.words
    assert client.snapshot() is None
    client.close()
    heard: list[bytes] = []
    while len(heard) < 2:
        connection, _ = listener.accept()
        heard.append(connection.makefile("rb").read())
        connection.close()
    listener.close()
    assert heard == [b'{"do": "stop"}\n', b'{"do": "snapshot"}\n']


def test_without_an_engine_there_is_no_answer(tmp_path: Path) -> None:
    client = ControlClient(RunDirectory(tmp_path))
    assert client.snapshot() is None
    reply = client.send("stop")
    assert not reply.ok and "no engine" in reply.words


@pytest.mark.parametrize(
    "garbage",
    [b"\n", b"hello\n", b"[1]\n", b'{"do": 3}\n', b"\xff\xfe\x00\n", b"[" * 50_000 + b"\n", b'{"do": "fly"}\n'],
    ids=["nothing", "words", "list", "number", "bytes", "nested", "unknown"],
)
def test_garbage_is_answered(engine: Engine, garbage: bytes) -> None:
    with engine.connect() as connection:
        connection.sendall(garbage)
        answer = line(connection)
        assert isinstance(answer, dict) and answer["ok"] is False and answer["words"]
        connection.sendall(b'{"do": "snapshot"}\n')
        assert isinstance(line(connection), dict)


def test_a_line_without_end_ends_the_connection(engine: Engine) -> None:
    with engine.connect() as connection:
        piece, sent = b"x" * LONGEST_REQUEST, 0
        with pytest.raises(OSError):  # broken pipe or reset
            while sent < 10_000_000:
                sent += connection.send(piece)
    assert is_served(engine)


def test_one_that_never_reads_holds_nobody_up(engine: Engine) -> None:
    engine.tracker.note("long " * 100_000)
    with engine.connect() as deaf:
        deaf.sendall(b'{"do": "snapshot"}\n' * 1000)
        assert is_served(engine) and is_served(engine)
        assert sum(len(client.outgoing) for client in engine.server._clients.values()) < 1_000_000
    until(lambda: not engine.server._clients)


def test_one_that_vanishes_is_forgotten(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    for request in (b"", b'{"do"', b'{"do": "snapshot"}\n', b'{"do": "pause"}\n'):
        with engine.connect() as connection:
            connection.sendall(request)
    assert is_served(engine)
    until(lambda: engine.steering._asked or None)
    engine.steering.poll()
    until(lambda: not engine.server._clients)
    assert engine.tracker.snapshot().paused


@pytest.mark.parametrize("do", ["snapshot", "pause"])
def test_one_that_has_said_all_still_gets_its_answer(engine: Engine, do: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "PATIENCE", 0.05)
    with engine.connect() as connection:
        connection.sendall(f'{{"do": "{do}"}}\n'.encode())
        connection.shutdown(socket.SHUT_WR)
        answer = line(connection)
        assert isinstance(answer, dict) and answer["ok"]
        assert ended(connection)
    until(lambda: not engine.server._clients)


def test_there_is_always_room_for_one_more(engine: Engine) -> None:
    with ExitStack() as stack:
        crowd = [stack.enter_context(engine.connect()) for _ in range(serving.MOST_CLIENTS)]
        until(lambda: len(engine.server._clients) == serving.MOST_CLIENTS)
        crowd[0].sendall(b'{"do": "snapshot"}\n')
        assert line(crowd[0])
        assert is_served(engine)
        assert ended(crowd[1]), "the one that was silent for longest makes room"
        crowd[0].sendall(b'{"do": "snapshot"}\n')
        assert line(crowd[0])


def test_several_clients_at_once(engine: Engine) -> None:
    clients = [ControlClient(engine.run) for _ in range(5)]
    for _ in range(3):
        assert all(client.snapshot() for client in clients)
    for client in clients:
        client.close()


def test_a_client_finds_the_next_engine(tmp_path: Path) -> None:
    path = tmp_path / "run"
    client = ControlClient(RunDirectory(path))
    for _ in range(2):
        with Engine(path):
            assert client.snapshot()
        assert client.snapshot() is None
    assert not (path / "control.sock").exists()
    client.close()


def test_a_path_can_be_long(tmp_path: Path) -> None:
    with Engine(tmp_path / ("long-" * 30) / ("longer-" * 30)) as engine:
        assert is_served(engine)
        assert engine.run.control.exists()
    assert not engine.run.control.exists()


def test_where_no_socket_can_be_made_the_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: Path) -> socket.socket:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(serving, "_listening", refuse)
    run, tracker = RunDirectory(tmp_path), Tracker()
    log = RunLog(run.log, lambda *_, **__: None)
    with control(run, Steering(tracker, log), tracker, log):
        pass
    log.close()
    (logged,) = map(json.loads, run.log.read_text().splitlines())
    assert (logged["event"], logged["level"]) == ("no control socket", "warning")


def test_after_the_end_commands_are_refused(engine: Engine) -> None:
    client = ControlClient(engine.run)
    assert not engine.steering.take_retry()
    reply = client.send("retry_errors")
    assert (reply.ok, reply.words) == (False, "the run is over")
    client.close()
