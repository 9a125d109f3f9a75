"""``/chat/completions``: what is sent, and what is read from the replies."""

from __future__ import annotations

import math
from typing import Any

import pytest

from lmrun.backends.api.call import Call, Malformed, Ready
from lmrun.backends.api.chat import ChatWire
from lmrun.backends.api.found import Found
from lmrun.requests import Message, Request, Response
from lmrun.testing.generating import Engine
from lmrun.testing.script import Script
from tests.backends.api.asking import ask, calls, chat_wire, engine, reply_to, sent

CHAT = (
    Message("system", "Be brief."),
    Message("user", "2+2?"),
    Message("assistant", "4"),
    Message("user", "3+3?"),
)
GENERATION = {"until": ["\n"], "max_gen_toks": 9}


def generate(context: Any = CHAT, **fields: Any) -> Request:
    return Request("generate_until", context, generation=GENERATION, **fields)


def read(request: Request, message: dict[str, Any], wire: ChatWire | None = None, **choice: Any) -> Response:
    call = sent(wire or chat_wire(), request)
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", **message}, **choice}
    (response,) = call.read({"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 3}})
    return response


class TestBodies:
    def test_turns_and_parameters(self) -> None:
        call = sent(chat_wire(extra_body={"top_k": 3}), generate(seed=7))
        assert call.path == "/chat/completions"
        assert call.body == {
            "model": "tiny",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "2+2?"},
                {"role": "assistant", "content": "4"},
                {"role": "user", "content": "3+3?"},
            ],
            "max_tokens": 9,
            "temperature": 0.0,
            "stop": ["\n"],
            "seed": 7,
            "top_k": 3,
        }

    def test_a_text_is_one_message_of_the_user(self) -> None:
        assert sent(chat_wire(), generate("2+2?")).body["messages"] == [{"role": "user", "content": "2+2?"}]

    def test_an_answer_that_is_begun_is_to_be_continued(self) -> None:
        body = sent(chat_wire(), generate((*CHAT, Message("assistant", "The answer is")))).body
        assert body["messages"][-1] == {"role": "assistant", "content": "The answer is"}
        assert body["continue_final_message"] is True
        assert body["add_generation_prompt"] is False

    def test_stops_are_not_sent_where_reasoning_is_split_off(self) -> None:
        assert "stop" not in sent(chat_wire(reasoning="auto"), generate()).body

    def test_every_sample_has_its_seed(self) -> None:
        wire = chat_wire()
        requests = [generate(sample_index=i, seed=40 + i) for i in range(3)]
        made = [call for call in calls(wire, requests) if isinstance(call, Call)]
        assert [call.body["seed"] for call in made] == [40, 41, 42]


class TestAnswers:
    def test_what_the_scripted_model_says(self) -> None:
        (response,) = ask(chat_wire(), [generate()])
        assert response.text
        assert response.prompt_tokens > 9
        assert response.completion_tokens > 0

    @pytest.mark.parametrize(
        ("reason", "expected"),
        [
            ("stop", "stop"),
            ("length", "length"),
            ("content_filter", "refusal"),
            ("eos_token", "stop"),
            ("stop_sequence", "stop"),
            (None, "stop"),
        ],
    )
    def test_why_it_ended(self, reason: str | None, expected: str) -> None:
        assert read(generate(), {"content": "6"}, finish_reason=reason).finish_reason == expected

    @pytest.mark.parametrize("reason", ["abort", "error"])
    def test_an_answer_that_the_server_broke_off_is_none(self, reason: str) -> None:
        with pytest.raises(Malformed, match="broke the answer off"):
            read(generate(), {"content": "6"}, finish_reason=reason)

    def test_a_stop_within_the_answer(self) -> None:
        response = read(generate(), {"content": "6\nAnd 7"}, finish_reason="length")
        assert (response.text, response.finish_reason) == ("6", "stop")

    @pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
    def test_reasoning_that_the_server_splits_off(self, field: str) -> None:
        response = read(generate(), {"content": "6", field: "three\nand three"})
        assert (response.text, response.reasoning) == ("6", "three\nand three")

    def test_reasoning_in_the_answer(self) -> None:
        wire = chat_wire(reasoning={"start": "<r>", "end": "</r>"})
        response = read(generate(), {"content": "<r>three\nand three</r>\n6\n7"}, wire)
        assert (response.text, response.reasoning, response.finish_reason) == ("6", "three\nand three", "stop")

    def test_reasoning_that_a_prefill_has_opened(self) -> None:
        wire = chat_wire(reasoning={"start": "<r>", "end": "</r>"})
        response = read(generate((*CHAT, Message("assistant", "<r>"))), {"content": "three"}, wire)
        assert (response.text, response.reasoning, response.finish_reason) == ("", "three", "length")

    def test_a_refusal(self) -> None:
        response = read(generate(), {"content": None, "refusal": "I cannot do that."})
        assert (response.text, response.finish_reason) == ("I cannot do that.", "refusal")

    def test_parts_of_text(self) -> None:
        assert (
            read(generate(), {"content": [{"type": "text", "text": "6"}, {"type": "text", "text": "!"}]}).text == "6!"
        )

    @pytest.mark.parametrize(
        ("message", "reason", "note"),
        [
            ({"content": None, "tool_calls": [{"id": "x"}]}, "tool_calls", "a tool call in its place"),
            ({"content": None, "reasoning_content": "three"}, "stop", "nothing after the reasoning"),
            ({"content": None}, "length", "cut off before it"),
            ({"content": None}, "content_filter", "withheld"),
        ],
    )
    def test_no_answer_for_a_reason(self, message: dict[str, Any], reason: str, note: str) -> None:
        response = read(generate(), message, finish_reason=reason)
        assert response.text == ""
        assert response.notes == {"no_answer": note}

    @pytest.mark.parametrize("message", [{"content": None}, {}, {"content": 5}])
    def test_no_answer_for_no_reason_is_malformed(self, message: dict[str, Any]) -> None:
        with pytest.raises(Malformed):
            read(generate(), message)

    def test_an_empty_answer_is_one(self) -> None:
        assert read(generate(), {"content": ""}).text == ""

    def test_what_it_cost(self) -> None:
        call = sent(chat_wire(), generate())
        message = {"role": "assistant", "content": "6"}
        usage = {
            "prompt_tokens": 30,
            "completion_tokens": 12,
            "prompt_tokens_details": {"cached_tokens": 16, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 8},
        }
        (response,) = call.read({"choices": [{"index": 0, "message": message}], "usage": usage})
        assert (response.prompt_tokens, response.cached_tokens) == (30, 16)
        assert (response.completion_tokens, response.reasoning_tokens) == (12, 8)

    @pytest.mark.parametrize(
        "usage",
        [
            None,
            {},
            "12",
            [1],
            {"prompt_tokens": None, "prompt_tokens_details": None},
            {"prompt_tokens": -5, "completion_tokens": -1, "completion_tokens_details": "none"},
            {"prompt_tokens": 10**18, "completion_tokens": "7", "prompt_tokens_details": {"cached_tokens": 10**6}},
            {"prompt_tokens": 0, "completion_tokens": 0},
        ],
    )
    def test_a_server_that_does_not_say_what_it_cost(self, usage: Any) -> None:
        """The answer counts all the same, and a budget goes by estimates."""
        call = sent(chat_wire(), generate())
        (response,) = call.read({"choices": [{"index": 0, "message": {"content": "6 or 7"}}], "usage": usage})
        assert response.text == "6 or 7"
        assert (response.cached_tokens, response.completion_tokens, response.reasoning_tokens) == (0, 2, 0)
        assert 0 < response.prompt_tokens < 100

    def test_a_message_is_needed(self) -> None:
        with pytest.raises(Malformed, match="no message"):
            sent(chat_wire(), generate()).read({"choices": [{"index": 0, "text": "6"}]})


class TestChoices:
    @staticmethod
    def choices(*words: str) -> list[Request]:
        return [Request("loglikelihood", CHAT, word) for word in words]

    def test_one_call_scores_all_of_them(self) -> None:
        wire = chat_wire()
        wire.found = Found(top_logprobs=20)
        probe = self.choices("?")
        (call,) = calls(wire, probe)
        assert isinstance(call, Call)
        assert (call.body["logprobs"], call.body["top_logprobs"], call.body["max_tokens"]) == (True, 20, 1)
        listed = reply_to(call)["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        words = [entry for entry in listed if entry["token"].strip() == entry["token"] and entry["token"]][:3]
        responses = ask(wire, self.choices(*(f" {entry['token']}" for entry in words)))
        assert [r.logprob for r in responses] == [entry["logprob"] for entry in words]
        assert sum(r.prompt_tokens for r in responses) == reply_to(call)["usage"]["prompt_tokens"]

    def test_the_likeliest_is_greedy(self) -> None:
        call = sent(chat_wire(), self.choices(" A")[0])
        (response,) = call.read(_alternatives({"A": -0.1, " A": -3.0, "B": -2.5}))
        assert (response.logprob, response.is_greedy) == (-0.1, True)

    def test_a_choice_that_is_not_listed_is_an_error(self) -> None:
        (call,) = calls(chat_wire(), self.choices(" A", " Because it rains"))
        assert isinstance(call, Call)
        first, second = call.read(_alternatives({"A": -0.1, "B": -2.5}))
        assert first.logprob == -0.1
        assert second.error is not None
        assert second.error.kind == "choice_not_in_top_logprobs"
        assert "openai-completions" in second.error.message

    def test_spellings_that_tokens_share_score_nothing(self) -> None:
        reply = _alternatives({"A": -0.1, "B": -2.5})
        entries = reply["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        entries.append({"token": "B", "logprob": -4.0})
        (response,) = sent(chat_wire(), self.choices(" B")[0]).read(reply)
        assert response.error is not None

    def test_certainty_of_all_choices_is_no_score(self) -> None:
        (call,) = calls(chat_wire(), self.choices("A", "B"))
        assert isinstance(call, Call)
        kinds = [r.error.kind if r.error else None for r in call.read(_alternatives({"A": 0.0, "B": 0.0}))]
        assert kinds == [None, "suspicious_logprobs"]

    def test_two_choices_may_be_equally_likely(self) -> None:
        (call,) = calls(chat_wire(), self.choices("A", "B"))
        assert isinstance(call, Call)
        even = math.log(0.5)
        assert [r.logprob for r in call.read(_alternatives({"A": even, "B": even}))] == [even, even]

    @pytest.mark.parametrize("logprobs", [None, {}, {"content": None}])
    def test_a_server_without_logprobs_is_malformed(self, logprobs: Any) -> None:
        call = sent(chat_wire(), self.choices("A")[0])
        with pytest.raises(Malformed):
            call.read({"choices": [{"index": 0, "message": {"content": "A"}, "logprobs": logprobs}]})

    @pytest.mark.parametrize("content", [[], [{"token": "A", "logprob": -0.1}]])
    def test_no_alternatives_score_nothing(self, content: list[Any]) -> None:
        call = sent(chat_wire(), self.choices("A")[0])
        (response,) = call.read(
            {"choices": [{"index": 0, "message": {"content": ""}, "logprobs": {"content": content}}]}
        )
        assert response.error is not None
        assert response.error.kind == "choice_not_in_top_logprobs"

    def test_rolling_cannot_be_asked(self) -> None:
        (ready,) = calls(chat_wire(), [Request("loglikelihood_rolling", continuation="x")])
        assert isinstance(ready, Ready)
        assert ready.response.error is not None
        assert ready.response.error.kind == "unsupported_request"


def _alternatives(logprobs: dict[str, float]) -> dict[str, Any]:
    top = [{"token": token, "logprob": value, "bytes": list(token.encode())} for token, value in logprobs.items()]
    content = [{**top[0], "top_logprobs": top}]
    message = {"role": "assistant", "content": top[0]["token"]}
    return {"choices": [{"index": 0, "message": message, "logprobs": {"content": content}, "finish_reason": "length"}]}


def test_a_server_that_splits_reasoning_off() -> None:
    model = Engine(Script(reasoning="reasoning_content"))
    call = sent(chat_wire(), Request("generate_until", CHAT, generation={"max_gen_toks": 40}))
    (response,) = call.read(reply_to(call, model=model))
    assert response.reasoning
    assert response.reasoning_tokens > 0
    assert engine().script.reasoning == ""
