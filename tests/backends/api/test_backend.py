"""The backend as the engine uses it, with the real wires."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from lmrun.backends.api import chat_backend, completions_backend
from lmrun.backends.api.backend import ApiBackend
from lmrun.backends.base import ModelSpec, StreamingBackend
from lmrun.errors import BackendError
from lmrun.requests import Message, Request, Response
from lmrun.testing.script import Fault, Script
from lmrun.testing.server import ScriptedServer
from lmrun.testing.serving import Server
from tests.backends.api.support import KEY, prompts

CHAT = [Request("generate_until", context=(Message("user", f"question {i}"),)) for i in range(20)]


@pytest.fixture
def server() -> Iterator[Server]:
    with ScriptedServer(Script()) as running:
        yield running


def spec(server: Server, backend: str = "openai-completions", model: str = "tiny", **options: Any) -> ModelSpec:
    return ModelSpec("m", backend, model, {"base_url": server.base_url, **options})


def all_answers(backend: StreamingBackend, requests: list[Request]) -> dict[int, Response]:
    backend.load()
    try:
        return dict(one for chunk in backend.run(requests, {1}) for one in chunk)
    finally:
        backend.close()


def test_completions(server: Server) -> None:
    found = all_answers(completions_backend(spec(server)), prompts(20))
    assert sorted(found) == [0, *range(2, 20)]
    assert all(r.text is not None and not r.error for r in found.values())


def test_chat(server: Server) -> None:
    found = all_answers(chat_backend(spec(server, "openai-chat")), CHAT)
    assert sorted(found) == [0, *range(2, 20)]
    assert all(r.text is not None and not r.error for r in found.values())


def fingerprint(server: Server, **options: Any) -> str:
    return completions_backend(spec(server, **options)).identify().fingerprint


def test_the_identity_is_of_what_can_change_an_answer(server: Server) -> None:
    same = fingerprint(server)
    for how in (
        {"concurrency": {"max": 4}},
        {"retry": {"attempts": 2}},
        {"timeout": {"total": 3.0}},
        {"requests_per_minute": 5, "tokens_per_minute": 6},
        {"api_key_env": "SOME_KEY"},
        {"price": {"input": 1.0, "output": 2.0}},
        {"batch_prompts": 4},
        {"headers": {"X-API-Key": "who"}},
        {"base_url": server.base_url + "/"},
    ):
        assert fingerprint(server, **how) == same, how
    for what in (
        {"extra_body": {"top_k": 1}},
        {"headers": {"beta": "1"}},
        {"max_length": 100},
        {"too_long": "middle"},
        {"prompts": "text"},
        {"scoring": "echo"},
        {"dialect": {"drop": "seed"}},
        {"base_url": "http://127.0.0.1:1/v1"},
    ):
        assert fingerprint(server, **what) != same, what
    assert chat_backend(spec(server, "openai-chat")).identify().fingerprint != same


def test_a_key_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(BackendError, match="OPENAI_API_KEY"):
        chat_backend(ModelSpec("m", "openai-chat", "gpt-4o")).load()
    with pytest.raises(BackendError, match="MY_KEY"):
        completions_backend(spec(server, api_key_env="MY_KEY")).load()


def test_offline_allows_only_this_machine(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(BackendError, match="offline"):
        chat_backend(ModelSpec("m", "openai-chat", "gpt-4o", offline=True)).load()
    local = completions_backend(ModelSpec("m", "openai-completions", "tiny", {"base_url": server.base_url}, True))
    local.load()
    local.close()


def test_it_must_be_loaded_first(server: Server) -> None:
    backend = completions_backend(spec(server))
    with pytest.raises(BackendError, match="not loaded"):
        next(backend.stream(iter(enumerate(prompts(1)))))
    backend.close()


def refusal(backend: StreamingBackend) -> BackendError:
    backend.load()
    try:
        with pytest.raises(BackendError) as error:
            list(backend.stream(iter(enumerate(prompts(5)))))
        return error.value
    finally:
        backend.close()


def test_a_wrong_key_is_explained_without_showing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    with ScriptedServer(Script(api_key="another")) as server:
        error = refusal(completions_backend(spec(server, api_key_env="MY_KEY")))
    assert "MY_KEY" in (error.hint or "") and KEY not in str(error) + str(error.hint)


@pytest.mark.parametrize("status", [200, 302, 400, 500])
def test_a_server_that_repeats_the_key_gets_it_into_nothing(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    reply = {"message": KEY, "choices": [{"index": 0, "text": KEY, "error": {"message": KEY}}]}
    with answering(status, reply) as url:
        options = {"base_url": url, "api_key_env": "MY_KEY", "retry": {"attempts": 1}}
        backend = completions_backend(ModelSpec("m", "openai-completions", "tiny", options))
        backend.load()
        try:
            found = str(list(backend.stream(iter(enumerate(prompts(1))))))
        except BackendError as error:
            found = f"{error} {error.hint}"
        finally:
            backend.close()
    assert "[key]" in found and KEY not in found


@contextmanager
def answering(status: int, reply: Any) -> Iterator[str]:
    """The address of a server that always says the same, and names the key as the place to go."""

    class Same(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Location", f"http://127.0.0.1:9/{self.headers['Authorization']}")
            self.end_headers()
            self.wfile.write(json.dumps(reply).encode())

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Same) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()
            serving.join()


def test_a_right_key_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    for header in (None, "api-key"):
        named = {"api_key_header": header} if header else {}
        with ScriptedServer(Script(api_key=KEY)) as server:
            found = all_answers(completions_backend(spec(server, api_key_env="MY_KEY", **named)), prompts(3))
        assert not any(r.error for r in found.values())


def test_an_unknown_model_is_answered_with_those_that_there_are(server: Server) -> None:
    error = refusal(completions_backend(spec(server, model="tony")))
    assert "did you mean 'tiny'" in (error.hint or "")


def test_a_path_that_is_not_there(server: Server) -> None:
    wrong = {"base_url": server.base_url + "/v9"}
    error = refusal(completions_backend(spec(server, **wrong)))
    assert "base_url" in (error.hint or "")


def test_query_headers_and_body_of_the_manifest_are_sent(server: Server) -> None:
    options: dict[str, Any] = {
        "query": {"api-version": "7"},
        "headers": {"X-Team": "evals"},
        "extra_body": {"top_k": 3},
    }
    all_answers(completions_backend(spec(server, **options)), prompts(3))
    seen = server.seen[-1]
    assert seen.query == "api-version=7"
    assert seen.headers["x-team"] == "evals"
    assert seen.body["top_k"] == 3


def test_a_refused_parameter_of_the_manifest_does_not_come_back() -> None:
    with ScriptedServer(Script(refuses={"top_k": ""})) as server:
        found = all_answers(completions_backend(spec(server, extra_body={"top_k": 3})), prompts(3))
        assert "top_k" not in server.seen[-1].body
    assert not any(response.error for response in found.values())
    assert found[2].notes["repaired"] == ["top_k left out"]


def test_usage_says_what_holds_it_back() -> None:
    faults = [Fault("status", status=429, retry_after=30, when="prompt 3 ")]
    with ScriptedServer(Script(faults=faults, latency=0.01)) as server:
        backend = completions_backend(spec(server))
        backend.load()
        try:
            chunks = backend.stream(iter(enumerate(prompts(9, "prompt {} "))))
            while "429" not in backend.usage().phase:
                next(chunks)
            usage = backend.usage()
            assert "paused for" in usage.phase and "1 retrying (429)" in usage.phase
            assert usage.facts["failures"] == {"rate_limited": 1}
            assert usage.held_by.startswith("paused by server ") and usage.limit
            assert isinstance(chunks, Iterator)
            chunks.close()  # type: ignore[attr-defined]
        finally:
            backend.close()


def test_it_can_be_closed_twice_and_used_by_several(server: Server) -> None:
    one, other = (completions_backend(spec(server)) for _ in range(2))
    assert all_answers(one, prompts(5)) == all_answers(other, prompts(5))
    one.close()
    assert isinstance(one, ApiBackend) and isinstance(one, StreamingBackend)


def test_a_plain_loop_serves_where_there_is_no_uvloop(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert len(all_answers(completions_backend(spec(server)), prompts(30))) == 29
