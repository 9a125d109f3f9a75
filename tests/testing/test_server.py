"""The server itself: its life, its counts, its keys, its command line."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from lmrun.testing.script import Fault, Limits, Script, read_script
from lmrun.testing.server import ScriptedServer
from tests.testing.client import ask, complete, get


def test_nothing_is_left_of_a_server() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with ScriptedServer() as server:
            complete(server, "x")
        assert not [thread for thread in threading.enumerate() if thread.name == "ScriptedServer"]
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", server.port)) != 0


def test_a_port_that_is_taken_is_an_error() -> None:
    with ScriptedServer() as server, pytest.raises(OSError, match="address already in use"):
        ScriptedServer(port=server.port).__enter__()


def test_an_exception_in_the_block_ends_the_server_too() -> None:
    with pytest.raises(RuntimeError, match="mine"), ScriptedServer():
        raise RuntimeError("mine")
    assert not [thread for thread in threading.enumerate() if thread.name == "ScriptedServer"]


def test_counts() -> None:
    with ScriptedServer(Script(faults=[Fault("status", when="bad", status=400)])) as server:
        for prompt in ("good", "good", "bad"):
            ask(server, "/v1/completions", {"model": "tiny", "prompt": prompt})
        stats = get(server, "/stats").json
        assert stats == server.stats()
        assert stats == {
            "requests": 3,
            "statuses": {"200": 2, "400": 1},
            "faults": {"status": 1},
            "tries": {"1": 1, "2": 1},
            "in_flight": 0,
            "in_flight_peak": 1,
        }
        assert ask(server, "/reset").status == 200
        assert server.stats()["requests"] == 0
        assert server.seen == []


def test_requests_are_kept_without_keys_and_not_forever() -> None:
    with ScriptedServer(Script(api_key="secret"), keep=2) as server:
        headers = {"Authorization": "Bearer secret", "X-Custom": "a"}
        for i in range(3):
            ask(server, f"/v1/completions?i={i}", {"model": "tiny", "prompt": f"{i}"}, headers=headers)
        assert [(seen.query, seen.body["prompt"]) for seen in server.seen] == [("i=1", "1"), ("i=2", "2")]
        assert server.seen[0].headers["x-custom"] == "a"
        assert "secret" not in str(server.seen)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Bearer right"}, 200),
        ({"x-api-key": "right"}, 200),
        ({"api-key": "right"}, 200),
    ],
)
def test_keys(headers: dict[str, str], status: int) -> None:
    with ScriptedServer(Script(api_key="right")) as server:
        body = {"model": "tiny", "prompt": "x"}
        assert ask(server, "/v1/completions", body, headers=headers).status == status


def test_what_is_not_there_or_no_json() -> None:
    with ScriptedServer() as server:
        assert get(server, "/v1/nothing").status == 404
        assert get(server, "/health").status == 200
        assert ask(server, "/v1/completions", b"{").status == 400
        assert ask(server, "/v1/completions", []).status == 400


def test_large_bodies() -> None:
    with ScriptedServer(Script(context_length=10_000_000)) as server:
        assert complete(server, "Yes no " * 400_000, max_tokens=1)["usage"]["prompt_tokens"] > 800_000


def test_a_script_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "script.toml"
    path.write_text(
        'latency = 0.05\nmax_stops = 4\n[limits]\nin_flight = 8\n[refuses]\nmax_tokens = ""\n'
        '[[faults]]\nkind = "status"\nshare = 0.1\nstatus = 503\n'
    )
    assert read_script(path) == Script(
        latency=0.05,
        max_stops=4,
        limits=Limits(in_flight=8),
        refuses={"max_tokens": ""},
        faults=[Fault("status", share=0.1, status=503)],
    )


def test_the_command_line(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "lmrun.testing.server",
        "--port",
        "0",
        "--latency",
        "0",
        "--tokenizer",
        str(tmp_path),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://127.0.0.1:(\d+)", process.stdout.readline())
            assert found
            with socket.create_connection(("127.0.0.1", int(found[1])), timeout=30):
                pass
        finally:
            process.terminate()
    assert Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode("Yes").ids
