"""Chats as OpenAI and vLLM have them, and Anthropic's messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from lmrun.testing.chat import THOUGHT
from lmrun.testing.script import Script
from lmrun.testing.server import ScriptedServer
from tests.testing.client import ask, chat, complete, message

VERSION = {"anthropic-version": "2023-06-01"}


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


def asked(server: ScriptedServer, messages: list[dict[str, Any]], **more: Any) -> Any:
    return ask(server, "/v1/chat/completions", {"model": "tiny", "messages": messages, "temperature": 0, **more}).json


def test_the_shape_of_a_chat(server: ScriptedServer) -> None:
    reply = chat(server)
    (choice,) = reply["choices"]
    assert reply["object"] == "chat.completion"
    assert choice["message"].keys() == {"role", "content", "refusal"}
    assert (choice["index"], choice["finish_reason"], choice["logprobs"]) == (0, "stop", None)
    assert reply["usage"]["completion_tokens_details"] == {"reasoning_tokens": 0}
    assert choice["message"]["content"].endswith(".")


def test_logprobs_of_a_chat(server: ScriptedServer) -> None:
    (choice,) = chat(server, logprobs=True, top_logprobs=3)["choices"]
    content = choice["logprobs"]["content"]
    assert "".join(entry["token"] for entry in content[:-1]) == choice["message"]["content"]
    for entry in content:
        assert bytes(entry["bytes"]).decode() == entry["token"]
        assert entry["logprob"] == entry["top_logprobs"][0]["logprob"]
        assert [top["logprob"] for top in entry["top_logprobs"]] == sorted(
            (top["logprob"] for top in entry["top_logprobs"]), reverse=True
        )
    refused = ask(server, "/v1/chat/completions", {"model": "tiny", "messages": [], "top_logprobs": 2})
    assert refused.status == 400


def test_a_chat_agrees_with_the_completion_of_its_text(server: ScriptedServer) -> None:
    text = "<user>\nWhat is 2 + 2?\n<assistant>\n"
    content = chat(server)["choices"][0]["message"]["content"]
    assert complete(server, text, max_tokens=100)["choices"][0]["text"] == content


def test_parts_of_a_message_are_one_text(server: ScriptedServer) -> None:
    parts = [{"type": "text", "text": "What is "}, {"type": "text", "text": "2 + 2?"}]
    reply = asked(server, [{"role": "user", "content": parts}])
    assert reply["choices"] == chat(server)["choices"]
    image = {"type": "image_url", "image_url": {"url": "data:,"}}
    other = asked(server, [{"role": "user", "content": [*parts, image]}])
    assert other["usage"]["prompt_tokens"] > reply["usage"]["prompt_tokens"]


def test_a_prefill_is_continued_where_it_is_asked_for(server: ScriptedServer) -> None:
    messages = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "The answer is"}]
    continued = asked(server, messages, continue_final_message=True, add_generation_prompt=False)
    assert " answer" not in continued["choices"][0]["message"]["content"]
    assert " answer" in asked(server, messages)["choices"][0]["message"]["content"]
    with ScriptedServer(Script(continues=True)) as other:
        assert asked(other, messages)["choices"] == continued["choices"]
    with ScriptedServer(Script(refuses_prefill=True)) as other:
        assert "prefill" in asked(other, messages)["error"]["message"]


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_has_a_field_of_its_own(field: str) -> None:
    with ScriptedServer(Script(reasoning=field)) as server:
        reply = chat(server, max_completion_tokens=60)
        assert reply["choices"][0]["message"][field] == THOUGHT
        assert reply["usage"]["completion_tokens_details"]["reasoning_tokens"] > 0
        short = chat(server, max_tokens=2)["choices"][0]
        assert (short["message"]["content"], short["finish_reason"]) == ("", "length")


def test_the_shape_of_a_message(server: ScriptedServer) -> None:
    reply = message(server).json
    (block,) = reply["content"]
    assert (reply["type"], reply["role"], block["type"]) == ("message", "assistant", "text")
    assert (reply["stop_reason"], reply["stop_sequence"]) == ("end_turn", None)
    assert set(reply["usage"]) >= {"input_tokens", "output_tokens", "cache_read_input_tokens"}
    assert block["text"] == chat(server)["choices"][0]["message"]["content"]
    assert message(server, max_tokens=2).json["stop_reason"] == "max_tokens"
    stopped = message(server, stop_sequences=[" answer"]).json
    assert (stopped["stop_reason"], stopped["stop_sequence"]) == ("stop_sequence", " answer")


def test_messages_are_counted_as_they_are_read(server: ScriptedServer) -> None:
    messages = [{"role": "user", "content": "What is 2 + 2?"}]
    body = {"model": "tiny", "system": "Be brief.", "messages": messages}
    counted = ask(server, "/v1/messages/count_tokens", body, headers=VERSION).json
    assert counted == {"input_tokens": message(server, system="Be brief.").json["usage"]["input_tokens"]}


def test_thinking_is_a_block(server: ScriptedServer) -> None:
    thinking = {"type": "enabled", "budget_tokens": 1024}
    reply = message(server, thinking=thinking, temperature=1, max_tokens=2000).json
    assert reply["content"][0]["type"] == "thinking"
    assert reply["content"][0]["thinking"] == THOUGHT
    assert 0 < reply["usage"]["output_tokens_details"]["thinking_tokens"] < reply["usage"]["output_tokens"]


def test_a_message_ends_what_the_assistant_began(server: ScriptedServer) -> None:
    messages = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "The answer is"}]
    (block,) = message(server, messages=messages).json["content"]
    assert " answer" not in block["text"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"max_tokens": None}, "max_tokens: Field required"),
        ({"temperature": 1.5}, "range: 0..1"),
        ({"stop_sequences": ["\n\n"]}, "non-whitespace"),
        ({"messages": [{"role": "system", "content": "x"}]}, "top-level 'system'"),
        ({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y "}]}, "whitespace"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}, "temperature": 1}, "budget_tokens"),
    ],
)
def test_refused_messages_say_why(server: ScriptedServer, body: dict[str, Any], words: str) -> None:
    answer = message(server, **body)
    assert answer.status == 400
    assert answer.json["type"] == "error"
    assert answer.json["error"]["type"] == "invalid_request_error"
    assert words in answer.json["error"]["message"]


def test_messages_need_a_version(server: ScriptedServer) -> None:
    assert "anthropic-version" in ask(server, "/v1/messages", {"model": "tiny"}).json["error"]["message"]
