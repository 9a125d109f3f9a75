"""The proxy in front of a server that really answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from lmrun.testing.proxy import FaultProxy
from lmrun.testing.script import Fault, FaultKind, Script
from lmrun.testing.server import ScriptedServer
from tests.testing.client import ask, chat, complete, get, message


@pytest.fixture(scope="module")
def real() -> Iterator[ScriptedServer]:
    with ScriptedServer(Script(api_key="right")) as server:
        yield server


AUTHORIZED = {"Authorization": "Bearer right", "anthropic-version": "2023-06-01"}
SCORED = {"model": "tiny", "prompt": "The answer is 7.", "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1}


def scored(real: ScriptedServer, *faults: FaultKind) -> Any:
    with FaultProxy(real.url, Script(faults=[Fault(kind) for kind in faults])) as proxy:
        return ask(proxy, "/v1/completions", SCORED, headers=AUTHORIZED).json["choices"][0]


def test_answers_come_through(real: ScriptedServer) -> None:
    with FaultProxy(real.url) as proxy:
        direct, through = (ask(server, "/v1/completions", SCORED, headers=AUTHORIZED) for server in (real, proxy))
        assert direct.json["choices"] == through.json["choices"]
        assert through.headers["Content-Type"] == "application/json"
        assert ask(proxy, "/v1/completions", SCORED).status == 401
        assert real.seen[-1].path == "/v1/completions"
        ask(proxy, "/v1/messages?a=b", {}, headers=AUTHORIZED)
        assert real.seen[-1].query == "a=b"
        assert ask(proxy, "/v1/models", method="GET", headers=AUTHORIZED).json["data"][0]["id"] == "tiny"


def test_faults_come_between(real: ScriptedServer) -> None:
    before = real.stats()["requests"]
    with FaultProxy(real.url, Script(faults=[Fault("status", status=503, tries=1)])) as proxy:
        statuses = [ask(proxy, "/v1/completions", SCORED, headers=AUTHORIZED).status for _ in range(2)]
        assert statuses == [503, 200]
        assert proxy.stats()["statuses"] == {"503": 1, "200": 1}
    assert real.stats()["requests"] == before + 1


def test_answers_are_changed(real: ScriptedServer) -> None:
    right = scored(real)["logprobs"]["token_logprobs"]
    shifted = scored(real, "shifted_logprobs")["logprobs"]["token_logprobs"]
    assert shifted == [None, *right[2:], right[-1]]
    assert scored(real, "no_logprobs")["logprobs"] is None
    assert scored(real, "length")["finish_reason"] == "length"


def test_errors_of_the_real_server_are_left_alone(real: ScriptedServer) -> None:
    with FaultProxy(real.url, Script(faults=[Fault("wrong_order")])) as proxy:
        answer = ask(proxy, "/v1/completions", {"model": "other"}, headers=AUTHORIZED)
        assert (answer.status, answer.json["error"]["code"]) == (404, "model_not_found")


def test_a_server_that_is_away(real: ScriptedServer) -> None:
    with ScriptedServer() as gone:
        pass
    with FaultProxy(gone.url) as proxy:
        answer = ask(proxy, "/v1/completions", SCORED)
        assert answer.status == 502
        assert "does not answer" in answer.json["error"]["message"]
        assert message(proxy).json["type"] == "error"


def test_a_proxy_in_front_of_nothing_that_asks_for_a_key() -> None:
    with ScriptedServer() as server, FaultProxy(server.url) as proxy:
        assert chat(proxy)["choices"] == chat(server)["choices"]
        assert complete(proxy, "x")["choices"] == complete(server, "x")["choices"]
        assert get(proxy, "/health").status == 200
