"""Anthropic's messages: what is sent, and how answers are read. Replies are those of the provider's documentation."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from lmrun.backends.api.anthropic import AnthropicWire
from lmrun.backends.api.call import Asked, Call, Malformed, Ready
from lmrun.backends.api.dialect import Dialect, Rules
from lmrun.backends.api.options import ApiOptions
from lmrun.backends.base import ModelSpec, Needs, StreamingBackend
from lmrun.backends.registry import backend_class
from lmrun.errors import BackendError
from lmrun.requests import Context, Message, Request, RequestKind, Response
from lmrun.testing.script import Fault, Script
from lmrun.testing.server import ScriptedServer


def wire(**options: Any) -> AnthropicWire:
    spec = ModelSpec("claude", "anthropic", "claude-sonnet-4-5", options)
    return AnthropicWire(spec, ApiOptions.of(spec))


def ask(context: Context, _options: Mapping[str, Any] | None = None, **generation: Any) -> Call:
    request = Request("generate_until", context, generation=generation)
    (call,) = wire(**(_options or {})).calls([Asked(7, request)])
    assert isinstance(call, Call)
    assert call.owners == (7,)
    return call


def text(value: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": value}]


def reply(*content: Mapping[str, Any], stop_reason: str = "end_turn", **usage: Any) -> dict[str, Any]:
    return {
        "id": "msg_013Zva2CMHLNnXjNJJKqJ2EF",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": list(content),
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 5, **usage},
    }


def answer(call: Call, *content: str, stop_reason: str = "end_turn") -> Response:
    (response,) = call.read(reply(*(text(value)[0] for value in content), stop_reason=stop_reason))
    return response


# -- what is sent ------------------------------------------------------------------------------------------------------


def test_plain_text_becomes_one_message_of_the_user() -> None:
    call = ask("2+2=", until=["\n"], max_gen_toks=8)
    assert call.path == "/messages"
    assert call.body == {
        "model": "claude-sonnet-4-5",
        "max_tokens": 8,
        "messages": [{"role": "user", "content": text("2+2=")}],
        "temperature": 0.0,
    }
    assert call.notes == {"dropped_stops": 1}  # the provider refuses stops of white space


def test_system_prompt_stands_apart_and_turns_of_one_role_are_merged() -> None:
    chat = (
        Message("system", "Be brief."),
        Message("user", "1+1?"),
        Message("assistant", "2"),
        Message("user", "Thanks."),
        Message("user", "2+2?"),
    )
    body = ask(chat).body
    assert body["system"] == "Be brief."
    assert body["messages"] == [
        {"role": "user", "content": text("1+1?")},
        {"role": "assistant", "content": text("2")},
        {"role": "user", "content": text("Thanks.") + text("2+2?")},
    ]


def test_blocks_without_text_are_left_out() -> None:
    assert ask((Message("user", " \n"), Message("user", "hi"))).body["messages"] == [
        {"role": "user", "content": text("hi")}
    ]


@pytest.mark.parametrize("context", ["", " \n", (), (Message("system", "s"),), (Message("assistant", " "),)])
def test_nothing_to_send_is_an_error_of_that_request_alone(context: Context) -> None:
    asked = [Asked(0, Request("generate_until", context)), Asked(1, Request("generate_until", "hi"))]
    ready, call = wire().calls(asked)
    assert isinstance(ready, Ready) and ready.response.error and ready.response.error.kind == "empty_prompt"
    assert isinstance(call, Call)


def test_a_system_message_in_the_middle_is_not_moved_silently() -> None:
    context = (Message("user", "a"), Message("system", "b"), Message("user", "c"))
    (ready,) = wire().calls([Asked(0, Request("generate_until", context))])
    assert isinstance(ready, Ready) and ready.response.error and ready.response.error.kind == "unsupported_prompt"


@pytest.mark.parametrize(
    ("prefill", "sent", "comes", "given"),
    [
        ("The answer is", "The answer is", " 42", " 42"),
        ("The answer is ", "The answer is", " 42", "42"),  # as if the white space had been sent
        ("The answer is ", "The answer is", "42", "42"),
        ("```python\n", "```python", "\ndef f(): ...", "def f(): ..."),
    ],
)
def test_white_space_at_the_end_of_a_prefill_is_stripped(prefill: str, sent: str, comes: str, given: str) -> None:
    call = ask((Message("user", "6*7?"), Message("assistant", prefill)))
    assert call.body["messages"][-1] == {"role": "assistant", "content": text(sent)}
    assert answer(call, comes).text == given


def test_a_prefill_of_white_space_is_none() -> None:
    call = ask((Message("user", "6*7?"), Message("assistant", "\n")))
    assert [message["role"] for message in call.body["messages"]] == ["user"]


def test_sampling_parameters_are_sent_only_where_something_is_drawn() -> None:
    drawn = ask("a", temperature=0.7, top_p=0.9, top_k=40).body
    assert (drawn["temperature"], drawn["top_p"], drawn["top_k"]) == (0.7, 0.9, 40)
    greedy = ask("a", temperature=0.0, top_p=0.9, top_k=40, do_sample=False).body
    assert greedy["temperature"] == 0.0
    assert not {"top_p", "top_k"} & set(greedy)


def test_a_model_that_thinks_takes_no_temperature() -> None:
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    body = ask("a", {"extra_body": thinking}, max_gen_toks=4096).body
    assert "temperature" not in body
    assert body["thinking"] == thinking["thinking"]


def test_stops_are_not_sent_where_reasoning_stands_in_the_answer() -> None:
    call = ask("a", {"reasoning": {"start": "<think>", "end": "</think>"}}, until=["Q:"])
    assert "stop_sequences" not in call.body
    response = answer(call, "<think>Q: is that it?</think>42 Q: next")
    assert (response.reasoning, response.text, response.finish_reason) == ("Q: is that it?", "42 ", "stop")


def test_headers_carry_version_and_key() -> None:
    assert wire().headers("k") == {"anthropic-version": "2023-06-01", "x-api-key": "k"}
    assert "x-api-key" not in wire().headers(None)


# -- what comes back ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stop_reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("pause_turn", "length"),
        ("refusal", "refusal"),
    ],
)
def test_stop_reasons(stop_reason: str, finish: str) -> None:
    assert answer(ask("a"), "b", stop_reason=stop_reason).finish_reason == finish


def test_all_stops_are_applied_here() -> None:
    call = ask("a", until=["\n\n", "Q:"])
    assert call.body["stop_sequences"] == ["Q:"]
    response = answer(call, "42\n\nmore", stop_reason="max_tokens")
    assert (response.text, response.finish_reason) == ("42", "stop")


def test_counts_that_are_none_cost_no_answer() -> None:
    odd: dict[str, Any] = {
        "input_tokens": -3,
        "output_tokens": "7",
        "cache_read_input_tokens": [1],
        "output_tokens_details": 5,
    }
    (response,) = ask("a").read(reply(text("42")[0], **odd))
    assert (response.text, response.prompt_tokens, response.completion_tokens) == ("42", 0, 1)


def test_thinking_is_kept_apart_from_the_answer() -> None:
    (response,) = ask("a").read(
        reply(
            {"type": "thinking", "thinking": "Let me see.", "signature": "EqQB"},
            {"type": "redacted_thinking", "data": "EmwK"},
            {"type": "text", "text": "4"},
            {"type": "text", "text": "2"},
            output_tokens=20,
            output_tokens_details={"thinking_tokens": 15},
        )
    )
    assert (response.text, response.reasoning) == ("42", "Let me see.")
    assert (response.completion_tokens, response.reasoning_tokens) == (20, 15)
    assert response.notes == {"redacted_thinking": 1}


def test_tokens_of_the_cache_are_prompt_tokens_too() -> None:
    (response,) = ask("a").read(
        reply(text("b")[0], input_tokens=3, cache_read_input_tokens=100, cache_creation_input_tokens=20)
    )
    assert (response.prompt_tokens, response.cached_tokens) == (123, 100)


def test_an_empty_answer_is_an_answer_but_no_content_is_not() -> None:
    call = ask("a")
    empty = answer(call)  # documented: the model may end its turn at once
    assert (empty.text, empty.notes) == ("", {"no_answer": "end_turn"})
    for broken in ({**reply(), "content": None}, {**reply(), "stop_reason": None}, {"type": "message"}):
        with pytest.raises(Malformed):
            call.read(broken)
    with pytest.raises(Malformed):
        call.read(reply({"type": "text"}))


# -- what is refused ---------------------------------------------------------------------------------------------------


class Never:
    """Sends nothing."""

    dialect = Dialect(Rules())

    async def get(self, path: str) -> Any:
        raise AssertionError("nothing is to be sent")

    async def __call__(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        raise AssertionError("nothing is to be sent")


@pytest.mark.parametrize("kind", ["loglikelihood", "loglikelihood_rolling"])
def test_scores_are_refused_with_alternatives(kind: RequestKind) -> None:
    with pytest.raises(BackendError, match=f"{kind} requests cannot be answered") as caught:
        asyncio.run(wire().check(Needs(frozenset({kind})), Never()))
    assert caught.value.hint
    assert all(other in caught.value.hint for other in ("generative", "openai-completions", "hf"))


def test_a_prefill_is_refused_where_the_model_thinks() -> None:
    thinking = wire(extra_body={"thinking": {"type": "adaptive"}})
    with pytest.raises(BackendError, match="thinks first"):
        asyncio.run(thinking.check(Needs(frozenset({"generate_until"}), prefill=True), Never()))


# -- over HTTP ---------------------------------------------------------------------------------------------------------


def over_http(server: ScriptedServer, *requests: Request, needs: Needs | None = None, **options: Any) -> list[Response]:
    """Answers of a server, which is looked at first as in a run."""
    spec = ModelSpec("claude", "anthropic", server.script.model, {"base_url": server.base_url, **options})
    backend = backend_class("anthropic")(spec)
    assert isinstance(backend, StreamingBackend)
    backend.load()
    try:
        backend.check(needs or Needs(frozenset({"generate_until"}), messages=True))
        found = {position: response for chunk in backend.run(requests) for position, response in chunk}
    finally:
        backend.close()
    return [found[i] for i in range(len(requests))]


def chat(*turns: str, **generation: Any) -> Request:
    messages = [Message("system", "Be brief.")]
    messages += [Message("assistant" if i % 2 else "user", turn) for i, turn in enumerate(turns)]
    return Request("generate_until", tuple(messages), generation={"max_gen_toks": 16, **generation})


def test_a_server_takes_what_is_sent() -> None:
    with ScriptedServer(Script(replies={"6*7": " 42\n\nQ: and 7*8?"})) as server:
        few_shot, prefilled, drawn = over_http(
            server,
            chat("1+1?", "2", "6*7?", until=["Q:", "\n"]),
            chat("6*7?", "The answer is ", until=["\n\n"]),
            chat("6*7?", temperature=0.5, top_p=0.9, top_k=5),
            needs=Needs(frozenset({"generate_until"}), messages=True, prefill=True, sampled=True, most_stops=2),
        )
    assert (few_shot.text, few_shot.finish_reason) == (" 42", "stop")
    assert prefilled.text == "42"
    assert few_shot.prompt_tokens and few_shot.completion_tokens
    assert drawn.error is None


def test_thinking_over_http() -> None:
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    with ScriptedServer(Script(replies={"6*7": "42"})) as server:
        (response,) = over_http(server, chat("6*7?", max_gen_toks=2048), extra_body=thinking)
    assert response.text == "42"
    assert response.reasoning
    assert response.error is None


def test_a_failing_server_is_asked_again_and_a_refusal_is_final() -> None:
    faults = [Fault("status", status=529, tries=1, when="6*7"), Fault("refusal", when="forbidden")]
    with ScriptedServer(Script(faults=faults)) as server:
        overloaded, refused = over_http(server, chat("6*7?"), chat("something forbidden"))
    assert overloaded.error is None and overloaded.attempts == 2
    assert refused.error is None and refused.finish_reason == "refusal"


def test_a_wrong_key_stops_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "sk-ant-wrong")
    with ScriptedServer(Script(api_key="sk-ant-right")) as server:
        with pytest.raises(BackendError) as caught:
            over_http(server, chat("hi"), api_key_env="SOME_KEY")
        assert "sk-ant-wrong" not in f"{caught.value} {caught.value.hint}"
        monkeypatch.setenv("SOME_KEY", "sk-ant-right")
        (response,) = over_http(server, chat("hi"), api_key_env="SOME_KEY")
        assert response.error is None
