"""Every fault, as a client sees it."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from lmrun.testing.limits import Limiter
from lmrun.testing.script import Fault, FaultKind, Limits, Script
from lmrun.testing.server import ScriptedServer
from tests.testing.client import Answer, ask, chat, complete, get, message, sent

SCORED = {"model": "tiny", "prompt": "The answer is 7.", "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1}


def faulty(*faults: Fault, **script: Any) -> ScriptedServer:
    return ScriptedServer(Script(faults=faults, **script))


def scored(*faults: FaultKind, **more: Any) -> Any:
    """The first choice of an echo, with faults."""
    with faulty(*map(Fault, faults)) as server:
        return ask(server, "/v1/completions", {**SCORED, **more}).json["choices"][0]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("status", "kind", "anthropic"),
    [
        (400, "invalid_request_error", "invalid_request_error"),
        (401, "invalid_request_error", "authentication_error"),
        (403, "permission_error", "permission_error"),
        (404, "invalid_request_error", "not_found_error"),
        (429, "requests", "rate_limit_error"),
        (500, "server_error", "api_error"),
        (503, "service_unavailable", "api_error"),
        (529, "server_error", "overloaded_error"),
    ],
)
def test_errors_have_the_shape_of_their_provider(status: int, kind: str, anthropic: str) -> None:
    with faulty(Fault("status", status=status)) as server:
        answer = ask(server, "/v1/completions", SCORED)
        assert answer.status == status
        assert answer.json["error"]["type"] == kind
        assert "Retry-After" not in answer.headers
        other = message(server)
        assert other.status == status
        assert (other.json["type"], other.json["error"]["type"]) == ("error", anthropic)


def test_an_error_says_when_to_come_back() -> None:
    with faulty(Fault("status", status=429, retry_after=2)) as server:
        assert ask(server, "/v1/completions", SCORED).headers["Retry-After"] == "2"


@pytest.mark.parametrize("kind", ["reset", "cut_off"])
def test_broken_connections(kind: FaultKind) -> None:
    with faulty(Fault(kind, tries=1)) as server:
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            ask(server, "/v1/completions", SCORED)
        assert ask(server, "/v1/completions", SCORED).status == 200
        assert server.stats()["faults"] == {kind: 1}


def test_a_truncated_answer_is_whole_http_and_no_json() -> None:
    with faulty(Fault("truncated", tries=1)) as server:
        first, second = (ask(server, "/v1/completions", SCORED) for _ in range(2))
        assert first.status == 200
        assert len(first.data) < len(second.data)
        with pytest.raises(json.JSONDecodeError):
            json.loads(first.data)


@pytest.mark.parametrize(("kind", "content_type"), [("garbage", "application/json"), ("html", "text/html")])
def test_answers_that_are_no_json(kind: FaultKind, content_type: str) -> None:
    with faulty(Fault(kind)) as server:
        answer = ask(server, "/v1/completions", SCORED)
        assert (answer.status, answer.headers["Content-Type"]) == (200, content_type)
        with pytest.raises(ValueError, match=r"Expecting|Extra|Invalid|utf"):
            json.loads(answer.data)


@pytest.mark.parametrize("kind", ["latency", "slow_first_byte", "slow_body"])
def test_slow_answers_are_the_same_answers(kind: FaultKind) -> None:
    with faulty(Fault(kind, seconds=0.2, tries=1)) as server:
        start = time.monotonic()
        slow = complete(server, "Why?")
        assert time.monotonic() - start >= 0.2
        assert slow["choices"] == complete(server, "Why?")["choices"]


def test_every_answer_can_be_late() -> None:
    with ScriptedServer(Script(latency=0.1)) as server:
        start = time.monotonic()
        complete(server, "Why?")
        assert time.monotonic() - start >= 0.1


def test_hanging_ends_with_the_client_or_the_server() -> None:
    with faulty(Fault("hang")) as server:
        body = json.dumps(SCORED).encode()
        with sent(server, "POST", "/v1/completions", body, {}):
            until(lambda: server.stats()["in_flight"] == 1)
        until(lambda: server.stats()["in_flight"] == 0)
        with sent(server, "POST", "/v1/completions", body, {}) as connection:
            until(lambda: server.stats()["in_flight"] == 1)
            server.close()
            with pytest.raises((ConnectionError, http.client.HTTPException)):
                connection.getresponse()


def test_null_content() -> None:
    with faulty(Fault("null_content")) as server:
        assert complete(server, "Why?")["choices"][0]["text"] is None
        assert chat(server)["choices"][0]["message"]["content"] is None
        assert chat(server)["choices"][0]["finish_reason"] == "stop"
        assert message(server).json["content"] is None


def test_choices_in_another_order_tell_their_place() -> None:
    with faulty(Fault("wrong_order", tries=1)) as server:
        mixed, right = (complete(server, ["a", "b", "c"])["choices"] for _ in range(2))
        assert [choice["index"] for choice in mixed] == [2, 1, 0]
        assert mixed[::-1] == right


def test_logprobs_that_are_not_there() -> None:
    choice = scored("no_logprobs", prompt_logprobs=0)
    assert choice["logprobs"] is None
    assert "prompt_logprobs" not in choice


def test_logprobs_of_zero() -> None:
    choice = scored("zero_logprobs", prompt_logprobs=0)
    assert set(choice["logprobs"]["token_logprobs"][1:]) == {0.0}
    assert {entry["logprob"] for entries in choice["prompt_logprobs"][1:] for entry in entries.values()} == {0.0}


def test_shifted_logprobs_look_right_and_are_wrong() -> None:
    right, shifted = scored()["logprobs"], scored("shifted_logprobs")["logprobs"]
    assert shifted["token_logprobs"][0] is None
    assert shifted["tokens"] == right["tokens"]
    assert len(shifted["token_logprobs"]) == len(right["token_logprobs"])
    assert not set(shifted["token_logprobs"][1:-1]) <= set(right["token_logprobs"][1:])
    right_tops, shifted_tops = (value["top_logprobs"] for value in (right, shifted))
    likeliest = [max(top, key=top.__getitem__) for top in right_tops[2:]]
    assert [max(top, key=top.__getitem__) for top in shifted_tops[1:-1]] == likeliest


def test_answers_that_are_cut_short() -> None:
    with faulty(Fault("length", tries=1)) as server:
        short, whole = (chat(server)["choices"][0] for _ in range(2))
        assert short["finish_reason"] == "length"
        assert whole["message"]["content"].startswith(short["message"]["content"])
        assert message(server).json["stop_reason"] == "max_tokens"


def test_refusals() -> None:
    with faulty(Fault("refusal")) as server:
        refused = chat(server)["choices"][0]["message"]
        assert refused["content"] is None
        assert refused["refusal"]
        assert message(server).json["stop_reason"] == "refusal"
    with faulty(Fault("content_filter")) as server:
        assert chat(server)["choices"][0]["finish_reason"] == "content_filter"


def outcomes(prompts: range, tries: int, fault: Fault, seed: int = 0) -> list[list[int]]:
    """Status of each try of each prompt."""
    with faulty(fault, seed=seed) as server:

        def one(i: int) -> Answer:
            return ask(server, "/v1/completions", {"model": "tiny", "prompt": f"prompt {i}", "max_tokens": 1})

        return [[one(i).status for _ in range(tries)] for i in prompts]


def test_faults_are_drawn_for_each_try_and_the_same_in_each_run() -> None:
    drawn = outcomes(range(60), 3, Fault("status", share=0.5))
    failures = [status for tries in drawn for status in tries].count(500)
    assert 60 < failures < 120
    assert any(len(set(tries)) == 2 for tries in drawn)
    assert drawn == outcomes(range(60), 3, Fault("status", share=0.5))
    assert drawn != outcomes(range(60), 3, Fault("status", share=0.5), seed=1)


def test_sticky_faults_stay_with_their_prompt() -> None:
    drawn = outcomes(range(60), 3, Fault("status", share=0.5, sticky=True, status=400))
    assert all(len(set(tries)) == 1 for tries in drawn)
    assert len({tuple(tries) for tries in drawn}) == 2


def test_the_first_of_two_faults_of_a_kind_happens() -> None:
    with faulty(Fault("status", when="bad", status=400), Fault("status", status=500)) as server:
        assert ask(server, "/v1/completions", {"model": "tiny", "prompt": "bad"}).status == 400
        assert ask(server, "/v1/completions", {"model": "tiny", "prompt": "good"}).status == 500


def test_faults_keep_to_prompts_and_addresses() -> None:
    with faulty(Fault("status", when="bad", path="/chat/")) as server:
        assert complete(server, "bad")
        assert chat(server, "good")
        messages = [{"role": "user", "content": [{"type": "text", "text": "bad"}]}]
        assert ask(server, "/v1/chat/completions", {"model": "tiny", "messages": messages}).status == 500
        assert get(server, "/v1/models").status == 200


def test_faults_see_the_text_of_token_ids() -> None:
    with faulty(Fault("status", when="bad", status=400)) as server:
        good, bad = (server.engine.tokens.encode(text) for text in ("a good prompt", "a bad prompt"))
        for prompt, status in ((good, 200), (bad, 400), ([good, bad], 400)):
            assert ask(server, "/v1/completions", {"model": "tiny", "prompt": prompt}).status == status


def test_a_rate_limit_is_kept_and_told() -> None:
    limits = Limits(requests_per_second=0.001)
    with ScriptedServer(Script(limits=limits)) as server:
        first, second = (ask(server, "/v1/completions", SCORED) for _ in range(2))
        assert (first.status, second.status) == (200, 429)
        assert first.headers["x-ratelimit-limit-requests"] == "1"
        assert first.headers["x-ratelimit-remaining-requests"] == "0"
        assert 900 < int(second.headers["Retry-After"]) <= 1000
        server.reset()
        third = message(server)
        assert (third.status, third.headers["anthropic-ratelimit-requests-remaining"]) == (200, "0")
        assert third.headers["anthropic-ratelimit-requests-reset"].endswith("Z")


def test_a_rate_limit_can_keep_its_mouth_shut() -> None:
    limiter = Limiter(Limits(requests_per_second=0.001, retry_after=False, headers=False))
    assert [bool(limiter.admit("/v1/completions", 1).refusal) for _ in range(2)] == [False, True]
    assert limiter.admit("/v1/completions", 1).headers == {}


def test_the_bucket_of_a_rate_limit_fills_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("lmrun.testing.limits.time.monotonic", lambda: now[0])
    limiter = Limiter(Limits(requests_per_second=5))

    def admitted(n: int) -> int:
        return sum(not limiter.admit("/v1/completions", 1).refusal for _ in range(n))

    assert admitted(10) == 5
    now[0] += 0.4
    assert admitted(10) == 2
    now[0] += 60
    assert admitted(10) == 5


def test_a_limit_of_requests_in_flight() -> None:
    with faulty(Fault("hang", when="wait"), limits=Limits(in_flight=1)) as server:
        waiting = {**SCORED, "prompt": "wait"}
        with sent(server, "POST", "/v1/completions", json.dumps(waiting).encode(), {}):
            until(lambda: server.stats()["in_flight"] == 1)
            assert ask(server, "/v1/completions", SCORED).status == 429
        until(lambda: server.stats()["in_flight"] == 0)
        assert ask(server, "/v1/completions", SCORED).status == 200
        assert server.stats()["in_flight_peak"] == 2


def test_many_clients_at_once() -> None:
    with faulty(Fault("status", share=0.3)) as server:
        statuses: list[int] = []

        def work(worker: int) -> None:
            for i in range(20):
                body = {"model": "tiny", "prompt": f"{worker} {i}", "max_tokens": 1}
                statuses.append(ask(server, "/v1/completions", body).status)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert server.stats()["statuses"] == {str(status): statuses.count(status) for status in set(statuses)}
        assert server.stats()["requests"] == 80
