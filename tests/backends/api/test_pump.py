"""Sending against a real server that misbehaves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from lmrun.backends.api.failures import Failed
from lmrun.backends.api.options import Concurrency, Retry, Timeout
from lmrun.backends.api.pump import HOPELESS, Gone
from lmrun.requests import Request, Response
from lmrun.testing.script import Fault, Limits, Script
from lmrun.testing.server import ScriptedServer
from tests.backends.api.support import KEY, prompts, rig

QUICK = Retry(attempts=8, max_wait=0.01)


def answers(script: Script, requests: list[Request], **options: Any) -> tuple[dict[int, Response], dict[str, Any]]:
    """Answers from a server with this script, and what the server has counted."""
    with ScriptedServer(script) as server, rig(server.base_url, **{"retry": QUICK, **options}) as sending:
        return sending.answers(requests), server.stats()


@pytest.fixture(scope="module")
def expected() -> dict[int, Response]:
    return answers(Script(), prompts(300))[0]


def test_every_request_is_answered_once(expected: dict[int, Response]) -> None:
    assert sorted(expected) == list(range(300))
    assert all(r.text and r.attempts == 1 and not r.error for r in expected.values())


def test_faults_that_pass_change_no_answer(expected: dict[int, Response]) -> None:
    faults = [
        Fault("status", share=0.05, status=500),
        Fault("status", share=0.02, status=503),
        Fault("reset", share=0.03),
        Fault("truncated", share=0.03),
        Fault("garbage", share=0.02),
        Fault("html", share=0.02),
        Fault("cut_off", share=0.02),
        Fault("wrong_order", share=0.02),
        Fault("null_content", share=0.02),
    ]
    found, stats = answers(Script(faults=faults), prompts(300))
    assert {i: r.text for i, r in found.items()} == {i: r.text for i, r in expected.items()}
    assert sum(r.attempts for r in found.values()) == stats["requests"] > 300


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refusal_of_one_request_is_final_and_asked_once(status: int) -> None:
    script = Script(faults=[Fault("status", status=status, when="prompt 7 ")])
    found, stats = answers(script, prompts(10, "prompt {} "))
    assert [i for i, r in found.items() if r.error] == [7]
    error = found[7].error
    assert error is not None and error.kind == f"http_{status}" and found[7].attempts == 1
    assert stats["requests"] == 10


def test_the_same_fault_five_times_is_final() -> None:
    script = Script(faults=[Fault("status", status=500, when="prompt 3 ")])
    found, _ = answers(script, prompts(6, "prompt {} "))
    error = found[3].error
    assert error is not None and error.kind == "http_500" and found[3].attempts == 5
    assert sum(1 for r in found.values() if r.error) == 1


def test_attempts_bound_a_reply_that_is_never_right() -> None:
    script = Script(faults=[Fault("truncated", when="prompt 3 ")])
    found, _ = answers(script, prompts(6, "prompt {} "), retry=Retry(3, 0.01))
    error = found[3].error
    assert error is not None and error.kind == "malformed" and found[3].attempts == 3


def test_a_request_that_hangs_is_given_up_and_asked_again() -> None:
    script = Script(faults=[Fault("hang", tries=1, when="prompt 3 ")])
    found, stats = answers(script, prompts(6, "prompt {} "), timeout=Timeout(total=0.5))
    assert not any(r.error for r in found.values()) and found[3].attempts == 2
    assert stats["requests"] == 7


@pytest.mark.parametrize(("status", "kind"), [(401, "unauthorized"), (403, "forbidden"), (404, "not_found")])
def test_a_refusal_of_the_model_stops_at_once(status: int, kind: str) -> None:
    script = Script(faults=[Fault("status", status=status)], latency=0.01)
    with ScriptedServer(script) as server, rig(server.base_url, concurrency=Concurrency(4, 4)) as sending:
        with pytest.raises(Gone) as gone:
            sending.answers(prompts(1000))
        assert gone.value.failed.kind == kind and gone.value.failed.fatal
        assert server.stats()["requests"] <= 8


def test_nothing_listens() -> None:
    with ScriptedServer(Script()) as server:
        address = server.base_url
    with rig(address, retry=Retry(2, 0.01)) as sending, pytest.raises(Gone) as gone:
        sending.answers(prompts(50))
    assert gone.value.failed.kind == "connection"


def test_a_server_that_only_fails_is_left() -> None:
    script = Script(faults=[Fault("status", status=503)])
    with ScriptedServer(script) as server, rig(server.base_url, retry=Retry(2, 0.001)) as sending:
        found: list[tuple[int, Response]] = []
        with pytest.raises(Gone) as gone:
            for chunk in sending.pump.stream(iter(enumerate(prompts(1000)))):
                found.extend(chunk)
        assert gone.value.failed.kind == "http_503"
        assert HOPELESS <= len(found) < 200
        assert all(r.error for _, r in found)


def test_calls_are_joined_and_only_the_bad_one_fails() -> None:
    script = Script(faults=[Fault("status", status=400, when="prompt 5 ")])
    found, stats = answers(script, prompts(32, "prompt {} "), batch_prompts=8, concurrency=Concurrency(2, 2))
    assert [i for i, r in found.items() if r.error] == [5]
    assert sorted(found) == list(range(32))
    assert stats["requests"] == 4 + 8


def test_parts_are_put_together() -> None:
    requests = [Request("loglikelihood_rolling", continuation="one two three"), *prompts(2)]
    found, stats = answers(Script(), requests)
    assert found[0].logprob == -3.0
    assert stats["requests"] == 5


def test_a_part_that_fails_fails_the_whole() -> None:
    requests = [Request("loglikelihood_rolling", continuation="one bad three"), *prompts(2)]
    found, _ = answers(Script(faults=[Fault("status", status=400, when="bad")]), requests)
    assert found[0].error is not None and found[0].error.kind == "http_400"
    assert sorted(found) == [0, 1, 2]


def test_what_cannot_be_asked_is_an_error_beside_the_others() -> None:
    requests = [Request("generate_until", context="a", continuation="unanswerable"), *prompts(2)]
    found, stats = answers(Script(), requests)
    assert found[0].error is not None and found[0].error.kind == "odd"
    assert stats["requests"] == 2


def test_requests_are_read_a_bounded_number_ahead() -> None:
    read = 0

    def requests() -> Iterator[tuple[int, Request]]:
        nonlocal read
        for pair in enumerate(prompts(400)):
            read += 1
            yield pair

    done, most = 0, 0
    with ScriptedServer(Script()) as server, rig(server.base_url, concurrency=Concurrency(4, 4)) as sending:
        for chunk in sending.pump.stream(requests()):
            done += len(chunk)
            most = max(most, read - done)
    assert done == 400
    assert most <= 2 * 4 + 1


def test_no_more_are_in_flight_than_allowed() -> None:
    _, stats = answers(Script(latency=0.005), prompts(100), concurrency=Concurrency(3, 5))
    assert stats["in_flight_peak"] == 5


def test_a_limit_of_requests_in_flight_is_found() -> None:
    script = Script(latency=0.02, limits=Limits(in_flight=4, retry_after=False, headers=False))
    found, stats = answers(script, prompts(300), concurrency=Concurrency(32, 32), retry=Retry())
    assert len(found) == 300 and not any(r.error for r in found.values())
    assert stats["requests"] < 300 * 1.5


@pytest.mark.parametrize("told", [True, False])
def test_a_limit_of_requests_per_second_is_found(told: bool) -> None:
    limits = Limits(requests_per_second=25, retry_after=told, headers=told)
    found, stats = answers(Script(limits=limits), prompts(250), concurrency=Concurrency(8, 64), retry=Retry())
    assert len(found) == 250 and not any(r.error for r in found.values())
    assert stats["requests"] < 250 * 2


def test_a_repair_is_made_once_and_costs_no_try() -> None:
    script = Script(refuses={"max_tokens": "max_completion_tokens"}, latency=0.01)
    with ScriptedServer(script) as server, rig(server.base_url, concurrency=Concurrency(4, 4)) as sending:
        found = sending.answers(prompts(20))
        stats = server.stats()
        repairs = sending.sender.dialect.repairs
    assert repairs == ["max_tokens → max_completion_tokens"]
    assert not any(r.error for r in found.values())
    assert all(r.notes["repaired"] == ["max_tokens → max_completion_tokens"] for r in found.values())
    assert {r.attempts for r in found.values()} == {1}
    assert stats["requests"] <= 20 + 4


def test_interrupt_drains_what_is_in_flight() -> None:
    def requests() -> Iterator[tuple[int, Request]]:
        for position, request in enumerate(prompts(1000)):
            if position == 40:
                raise KeyboardInterrupt
            yield position, request

    script = Script(latency=0.2)
    with ScriptedServer(script) as server, rig(server.base_url, concurrency=Concurrency(8, 16)) as sending:
        found: list[tuple[int, Response]] = []
        with pytest.raises(KeyboardInterrupt):
            for chunk in sending.pump.stream(requests()):
                found.extend(chunk)
        stats = server.stats()
        assert stats["requests"] == len(found) and not any(r.error for _, r in found)
        assert sending.pump.drained > 0 and sending.pump.abandoned == 0


@pytest.mark.parametrize("interrupted", [False, True])
def test_while_held_nothing_is_sent_not_even_again(expected: dict[int, Response], interrupted: bool) -> None:
    script = Script(latency=0.01, faults=[Fault("status", share=0.3, status=503, tries=2)])
    with ScriptedServer(script) as server, rig(server.base_url, retry=QUICK) as sending:
        chunks = sending.pump.stream(iter(enumerate(prompts(300))))
        found = dict(next(chunks))
        sending.thread.soon(sending.sender.gate.hold, True)
        while chunk := next(chunks):
            found.update(chunk)
        assert sending.limits.in_flight == 0 and 0 < len(found) < 300
        asked = server.stats()["requests"]
        assert next(chunks) == [] and server.stats()["requests"] == asked
        if interrupted:
            with pytest.raises(KeyboardInterrupt):
                chunks.throw(KeyboardInterrupt())
            assert server.stats()["requests"] == asked
            return
        sending.thread.soon(sending.sender.gate.hold, False)
        for chunk in chunks:
            found.update(chunk)
    assert {i: r.text for i, r in found.items()} == {i: r.text for i, r in expected.items()}


def test_what_is_not_on_its_way_can_be_dropped() -> None:
    with (
        ScriptedServer(Script(latency=0.05)) as server,
        rig(server.base_url, concurrency=Concurrency(2, 16)) as sending,
    ):
        chunks = sending.pump.stream(iter(enumerate(prompts(30))))
        found = dict(next(chunks))
        dropped = set(sending.pump.drop(range(10, 100)))
        assert dropped and dropped <= set(range(10, 30))
        for chunk in chunks:
            found.update(chunk)
        assert set(found) == set(range(30)) - dropped
        assert server.stats()["requests"] == len(found)


def test_a_second_interrupt_abandons() -> None:
    script = Script(faults=[Fault("hang")])
    with ScriptedServer(script) as server, rig(server.base_url, concurrency=Concurrency(4, 4)) as sending:
        chunks = sending.pump.stream(iter(enumerate(prompts(10))))
        assert next(chunks) == []
        assert chunks.throw(KeyboardInterrupt()) == []
        with pytest.raises(KeyboardInterrupt):
            chunks.throw(KeyboardInterrupt())
        assert sending.pump.abandoned == 4
        assert sending.limits.in_flight == 0


def test_a_stream_that_is_closed_leaves_nothing_behind() -> None:
    with ScriptedServer(Script(latency=0.05)) as server, rig(server.base_url) as sending:
        chunks = sending.pump.stream(iter(enumerate(prompts(100))))
        next(chunks)
        chunks.close()
        assert sending.limits.in_flight == 0


@pytest.mark.parametrize("status", [400, 401, 500])
def test_no_message_holds_the_key(status: int) -> None:
    with EchoingServer(status) as server, rig(server.base_url, retry=Retry(1, 0.01)) as sending:
        try:
            found = sending.answers(prompts(1))
            error = found[0].error
            message = error.message if error else ""
        except Gone as gone:
            message = str(gone) + repr(gone.failed) + repr(gone.failed.reply)
    assert "[key]" in message and KEY not in message


class EchoingServer(ScriptedServer):
    """Repeats the key in its errors, as some providers do."""

    def __init__(self, status: int) -> None:
        super().__init__(Script())
        self._status = status

    async def reply(self, request: Any, body: bytes, kinds: frozenset[str]) -> Any:
        answer = await super().reply(request, body, kinds)
        words = f"Incorrect API key provided: {request.headers['Authorization']}"
        return answer._replace(status=self._status, payload={"error": {"message": words}})


def test_failures_are_counted() -> None:
    script = Script(faults=[Fault("status", status=500, tries=2, when="prompt 3 ")])
    with ScriptedServer(script) as server, rig(server.base_url, retry=QUICK) as sending:
        found = sending.answers(prompts(10, "prompt {} "))
        assert found[3].attempts == 3
        assert sending.sender.counts.retries == 2
        assert sending.sender.counts.failures == {"http_500": 2}
        assert sum(sending.sender.counts.retrying.values()) == 0


def test_a_probe_comes_first_and_fails_soon() -> None:
    with ScriptedServer(Script()) as server, rig(server.base_url) as sending:
        reply = sending.thread.run(sending.post("/completions", {"model": "tiny", "prompt": "x"}))
        assert reply["choices"]
        address = server.base_url
    with rig(address, retry=QUICK) as sending, pytest.raises(Failed) as failed:
        sending.thread.run(sending.post("/completions", {}))
    assert failed.value.kind == "connection" and failed.value.attempts == 3


def test_a_probe_of_a_web_page_fails_soon() -> None:
    with ScriptedServer(Script(faults=[Fault("html")])) as server, rig(server.base_url, retry=QUICK) as sending:
        with pytest.raises(Failed) as failed:
            sending.thread.run(sending.post("/completions", {"model": "tiny", "prompt": "x"}))
        assert server.stats()["requests"] == 3
    assert failed.value.kind == "malformed" and "502 Bad Gateway" in failed.value.message
