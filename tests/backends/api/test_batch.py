"""Batch mode against a server that speaks the batch APIs of OpenAI and Anthropic."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from lmrun.backends.api.batch import providers, pump
from lmrun.backends.base import ModelSpec, StreamingBackend
from lmrun.backends.registry import backend_class
from lmrun.errors import BackendError
from lmrun.requests import Message, Request, Response
from lmrun.testing.script import Fault, Script
from lmrun.testing.server import ScriptedServer

BACKENDS = ("openai-chat", "openai-completions", "anthropic")
SUBMIT = {"anthropic": "/v1/messages/batches"}
Make = Callable[..., StreamingBackend]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump, "FIRST_POLL", 0.02)
    monkeypatch.setattr(pump, "FIRST_HOLD", 0.02)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Builds loaded backends, whose batches are remembered in ``tmp_path / "state"``."""
    made: list[StreamingBackend] = []

    def backend(server: ScriptedServer, name: str, mode: str = "batch", **options: Any) -> StreamingBackend:
        state = tmp_path / "state"
        spec = ModelSpec(
            "m", name, server.script.model, {"base_url": server.base_url, "mode": mode, **options}, state=state
        )
        built = backend_class(name)(spec)
        assert isinstance(built, StreamingBackend)
        built.load()
        made.append(built)
        return built

    yield backend
    for one in made:
        one.close()


def prompts(name: str, count: int, **fields: Any) -> list[Request]:
    texts = (f"Question {i}: what is {i} + {i}?" for i in range(count))
    generation = {"max_gen_toks": 12, "until": ["\n\n"]}
    plain = name == "openai-completions"
    return [
        Request("generate_until", t if plain else (Message("user", t),), generation=generation, **fields) for t in texts
    ]


def answers(backend: StreamingBackend, requests: Sequence[Request]) -> dict[int, Response]:
    found: dict[int, Response] = {}
    for chunk in backend.stream(iter(enumerate(requests))):
        for position, response in chunk:
            assert position not in found
            found[position] = response
    return found


def plain(responses: dict[int, Response]) -> list[Response]:
    return [dataclasses.replace(responses[i], notes={}, attempts=1) for i in range(len(responses))]


def submissions(server: ScriptedServer, name: str) -> int:
    return sum(seen.body is not None and seen.path == SUBMIT.get(name, "/v1/batches") for seen in server.seen)


def left(tmp_path: Path) -> list[str]:
    return sorted(path.suffix for path in (tmp_path / "state").iterdir())


def interrupted_at_the_provider(backend: StreamingBackend, requests: Sequence[Request], server: ScriptedServer) -> None:
    """Submit, and go away while the batch is in progress."""
    slowly(server)
    stream = backend.stream(iter(enumerate(requests)))
    while not backend.usage().facts.get("at_provider"):
        assert next(stream) == []
    assert isinstance(stream, Generator)
    with pytest.raises(KeyboardInterrupt, match="stay at the provider"):
        stream.throw(KeyboardInterrupt())
    quickly(server)


def slowly(server: ScriptedServer) -> None:
    server.engine.script = dataclasses.replace(server.engine.script, batch_polls=10**9)


def quickly(server: ScriptedServer) -> None:
    server.engine.script = dataclasses.replace(server.engine.script, batch_polls=1)


# -- answers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BACKENDS)
def test_answers_are_those_of_live_requests(name: str, make: Make, tmp_path: Path) -> None:
    requests = prompts(name, 30)
    with ScriptedServer() as server:
        live = answers(make(server, name, "live"), requests)
        batch = answers(make(server, name), requests)
        assert submissions(server, name) == 1
    assert plain(batch) == plain(live)
    assert all(response.text and response.prompt_tokens and response.completion_tokens for response in batch.values())
    assert {response.notes["batch"] for response in batch.values()} != {None}
    assert left(tmp_path) == []


def test_scores_come_through_batches_too(make: Make) -> None:
    requests = [Request("loglikelihood", "The sky is", continuation) for continuation in (" blue", " green", " red")]
    with ScriptedServer() as server:
        live = make(server, "openai-completions", "live", scoring="echo")
        batch = make(server, "openai-completions", scoring="echo")
        assert plain(answers(batch, requests)) == plain(answers(live, requests))


@pytest.mark.parametrize("name", BACKENDS)
def test_no_batch_is_larger_than_the_provider_allows(name: str, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    for provider in (providers.OpenAIBatches, providers.AnthropicBatches):
        monkeypatch.setattr(provider, "most_requests", 10)
    with ScriptedServer() as server:
        assert len(answers(make(server, name), prompts(name, 25))) == 25
        assert submissions(server, name) == 3


def test_no_file_is_larger_than_the_provider_allows(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers.AnthropicBatches, "most_bytes", 2_000)
    with ScriptedServer() as server:
        assert len(answers(make(server, "anthropic"), prompts("anthropic", 25))) == 25
        sizes = [len(json.dumps(seen.body)) for seen in server.seen if seen.body is not None]
    assert len(sizes) > 1
    assert max(sizes) <= 2_200  # written with spaces here


def test_repeats_are_drawn_apart_and_equal_requests_are_sent_once(make: Make) -> None:
    one = prompts("anthropic", 1)[0]
    drawn = [dataclasses.replace(one, generation={"temperature": 1.0}, sample_index=i) for i in range(3)]
    with ScriptedServer() as server:
        found = answers(make(server, "anthropic"), [one, one, *drawn])
        (batch,) = [seen.body for seen in server.seen if seen.body is not None]
    assert len(found) == 5
    assert len(batch["requests"]) == 4
    assert found[0] == found[1]


# -- failures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BACKENDS)
def test_requests_that_expire_are_submitted_again(name: str, make: Make, tmp_path: Path) -> None:
    requests = prompts(name, 8)
    with ScriptedServer(Script(batch_expires=True)) as server:  # every second request of each batch
        found = answers(make(server, name), requests)
        assert submissions(server, name) == 4
    assert [found[i].error for i in range(8)] == [None] * 8
    assert sorted(found[i].attempts for i in range(8)) == [1, 1, 1, 1, 2, 2, 3, 4]
    assert left(tmp_path) == []


@pytest.mark.parametrize("name", BACKENDS)
def test_requests_that_expire_too_often_are_errors(name: str, make: Make) -> None:
    with ScriptedServer(Script(batch_expires=True)) as server:
        found = answers(make(server, name, retry={"attempts": 1}), prompts(name, 4))
        assert submissions(server, name) == 1
    errors = [response.error for response in found.values() if response.error]
    assert [error.kind for error in errors] == ["expired"] * 2


@pytest.mark.parametrize("name", BACKENDS)
def test_a_refused_request_is_an_error_of_its_own(name: str, make: Make) -> None:
    requests = prompts(name, 4)
    long = "word " * 5000
    requests[2] = dataclasses.replace(
        requests[2], context=long if name == "openai-completions" else (Message("user", long),)
    )
    with ScriptedServer() as server:
        found = answers(make(server, name), requests)
        assert submissions(server, name) == 1
    assert {i for i, response in found.items() if response.error} == {2}


def test_the_dialect_learns_from_a_batch(make: Make) -> None:
    with ScriptedServer(Script(refuses={"max_tokens": "max_completion_tokens"})) as server:
        found = answers(make(server, "openai-chat"), prompts("openai-chat", 6))
        assert submissions(server, "openai-chat") == 2
    assert all(response.error is None for response in found.values())
    assert all("max_tokens → max_completion_tokens" in response.notes["repaired"] for response in found.values())


class Refusing(ScriptedServer):
    """Refuses the first batches as a whole, when they are looked at."""

    def __init__(self, code: str, times: int) -> None:
        super().__init__()
        self.code, self.times = code, times

    async def reply(self, request: Any, body: bytes, kinds: frozenset[str]) -> Any:
        reply = await super().reply(request, body, kinds)
        if request.method == "GET" and "/batches/" in request.path and self.times:
            self.times -= 1
            problem = {"code": self.code, "message": "said by the provider", "line": None}
            failed = {**reply.payload, "status": "failed", "errors": {"object": "list", "data": [problem]}}
            return reply._replace(payload=failed)
        return reply


def test_where_the_provider_has_enough_smaller_batches_follow(make: Make) -> None:
    with Refusing("token_limit_exceeded", 1) as server:
        found = answers(make(server, "openai-chat", retry={"attempts": 1}), prompts("openai-chat", 8))
        assert submissions(server, "openai-chat") == 3
    assert all(response.error is None for response in found.values())


def test_a_batch_refused_for_good_stops_the_model(make: Make, tmp_path: Path) -> None:
    with Refusing("model_not_found", 1) as server, pytest.raises(BackendError, match="said by the provider"):
        answers(make(server, "openai-chat"), prompts("openai-chat", 8))
    assert left(tmp_path) == []


@pytest.mark.parametrize("name", BACKENDS)
def test_a_server_without_batches_says_so(name: str, make: Make, tmp_path: Path) -> None:
    faults = [Fault("status", path=SUBMIT.get(name, "/v1/files"), status=404)]
    with ScriptedServer(Script(faults=faults)) as server, pytest.raises(BackendError, match="no batch API") as caught:
        answers(make(server, name), prompts(name, 2))
    assert caught.value.hint == 'use mode = "live"'
    assert left(tmp_path) == []


def test_batches_need_a_run(make: Make) -> None:
    with ScriptedServer() as server:
        spec = ModelSpec("m", "anthropic", server.script.model, {"base_url": server.base_url, "mode": "batch"})
        backend = backend_class("anthropic")(spec)
        backend.load()
        with pytest.raises(BackendError, match="within a run"):
            list(backend.run(prompts("anthropic", 1)))
        backend.close()


# -- restarts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BACKENDS)
def test_what_is_at_the_provider_is_not_submitted_again(name: str, make: Make, tmp_path: Path) -> None:
    requests = prompts(name, 12)
    with ScriptedServer() as server:
        interrupted_at_the_provider(make(server, name), requests, server)
        assert left(tmp_path) == [".json", ".requests"]
        found = answers(make(server, name), [*requests, *prompts(name, 14)[12:]])
        assert submissions(server, name) == 2  # the second has what is new
        live = answers(make(server, name, "live"), prompts(name, 14))
    assert plain(found) == plain(live)
    assert left(tmp_path) == []


@pytest.mark.parametrize("name", BACKENDS)
def test_answers_that_nobody_asks_for_yet_are_kept(name: str, make: Make, tmp_path: Path) -> None:
    """A budget hands requests over in portions, each in a stream of its own."""
    requests = prompts(name, 9)
    with ScriptedServer() as server:
        interrupted_at_the_provider(make(server, name), requests, server)
        backend = make(server, name)
        portions = [answers(backend, requests[start : start + 3]) for start in (0, 3, 6)]
        assert [len(portion) for portion in portions] == [3, 3, 3]
        assert submissions(server, name) == 1
    assert left(tmp_path) == []


@pytest.mark.parametrize("name", BACKENDS)
def test_a_submission_whose_answer_was_lost_is_found_again(name: str, make: Make, tmp_path: Path) -> None:
    requests = prompts(name, 12)
    with ScriptedServer() as server:
        interrupted_at_the_provider(make(server, name), requests, server)
        (file,) = (tmp_path / "state").glob("*.json")
        file.write_text(json.dumps({**json.loads(file.read_text()), "id": None}))
        assert len(answers(make(server, name), requests)) == 12
        assert submissions(server, name) == 1


@pytest.mark.parametrize("name", BACKENDS)
def test_an_answer_that_is_cut_off_does_not_submit_twice(name: str, make: Make) -> None:
    faults = [Fault("cut_off", path=SUBMIT.get(name, "/v1/batches"), tries=1)]
    with ScriptedServer(Script(faults=faults)) as server:
        assert len(answers(make(server, name), prompts(name, 4))) == 4
        assert submissions(server, name) == 1


def test_a_batch_of_someone_else_is_not_ours(make: Make, tmp_path: Path) -> None:
    """Anthropic's batches have no names: one of the same size is tried, and what is not in it is submitted."""
    with ScriptedServer() as server:
        others = prompts("anthropic", 20)[10:]
        interrupted_at_the_provider(make(server, "anthropic"), others, server)
        (file,) = (tmp_path / "state").glob("*.json")
        ours = [f"{i:032x}" for i in range(10)]
        file.write_text(json.dumps({"id": None, "created": time.time(), "custom_ids": ours}))
        requests = prompts("anthropic", 10)
        found = answers(make(server, "anthropic"), requests)
        assert plain(found) == plain(answers(make(server, "anthropic", "live"), requests))


def test_a_batch_that_the_provider_does_not_know_is_not_paid_for_twice(make: Make, tmp_path: Path) -> None:
    requests = prompts("openai-chat", 4)
    with ScriptedServer() as server:
        interrupted_at_the_provider(make(server, "openai-chat"), requests, server)
    with ScriptedServer() as other, pytest.raises(BackendError, match="does not know the batch") as caught:
        answers(make(other, "openai-chat"), requests)
    assert submissions(other, "openai-chat") == 0
    (file,) = (tmp_path / "state").glob("*.json")
    assert caught.value.hint and str(file) in caught.value.hint


@pytest.mark.parametrize("name", BACKENDS)
def test_kill_between_submission_and_answers(name: str, make: Make, tmp_path: Path) -> None:
    requests = prompts(name, 12)
    with ScriptedServer() as server:
        slowly(server)
        process = subprocess.Popen([sys.executable, "-m", __spec__.name, name, server.base_url, str(tmp_path)])
        try:
            while not any("batch" in seen.path and seen.body is None for seen in server.seen):
                assert process.poll() is None
                time.sleep(0.01)
            os.kill(process.pid, signal.SIGKILL)
        finally:
            process.kill()
            process.wait()
        quickly(server)
        found = answers(make(server, name), requests)
        assert submissions(server, name) == 1
        assert plain(found) == plain(answers(make(server, name, "live"), requests))
    assert left(tmp_path) == []


def main(name: str, base_url: str, folder: str) -> None:
    """What is killed."""
    spec = ModelSpec("m", name, Script().model, {"base_url": base_url, "mode": "batch"}, state=Path(folder) / "state")
    backend = backend_class(name)(spec)
    assert isinstance(backend, StreamingBackend)
    backend.load()
    answers(backend, prompts(name, 12))


if __name__ == "__main__":
    main(*sys.argv[1:])
