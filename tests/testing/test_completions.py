"""``/v1/completions``: its shape, and that all ways to ask for log-probabilities agree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmrun.testing.script import Script
from lmrun.testing.server import ScriptedServer
from tests.testing.client import ask, complete, get

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30) | st.sampled_from(
    ["Question: What is 2 + 2?\nAnswer:", "The answer is 7.", "naïve café ☕"]
)


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


def test_the_shape_of_a_reply(server: ScriptedServer) -> None:
    reply = complete(server, "Question: What?\nAnswer:", max_tokens=30)
    (choice,) = reply["choices"]
    assert reply["object"] == "text_completion"
    assert (choice["index"], choice["logprobs"], choice["finish_reason"]) == (0, None, "stop")
    assert choice["text"].endswith(".")
    assert " The answer is " in choice["text"]
    usage = reply["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens_details"] == {"cached_tokens": 0}


def test_echo_without_new_tokens(server: ScriptedServer) -> None:
    (choice,) = complete(server, "Yes é", max_tokens=0, echo=True, logprobs=2)["choices"]
    logprobs = choice["logprobs"]
    assert choice["text"] == "Yes é"
    assert logprobs["tokens"] == ["Yes", " ", "bytes:\\xc3", "bytes:\\xa9"]
    assert logprobs["text_offset"] == [0, 3, 4, 5]
    assert len({len(value) for value in logprobs.values()}) == 1
    assert logprobs["token_logprobs"][0] is None
    assert logprobs["top_logprobs"][0] is None
    for token, own, top in zip(*(logprobs[k][1:] for k in ("tokens", "token_logprobs", "top_logprobs")), strict=True):
        assert top[token] == own
        assert len(top) in {2, 3}
        assert own <= max(top.values()) < 0


def test_one_new_token_is_appended_to_the_echo(server: ScriptedServer) -> None:
    (choice,) = complete(server, "Yes.", max_tokens=1, echo=True, logprobs=0)["choices"]
    assert choice["text"].startswith("Yes.")
    assert choice["logprobs"]["text_offset"] == [0, 3, 4]
    assert choice["logprobs"]["top_logprobs"] is None


@settings(max_examples=60, deadline=None)
@given(TEXTS, TEXTS)
def test_all_ways_of_scoring_agree(server: ScriptedServer, context: str, continuation: str) -> None:
    text = context + continuation
    ids = ask(server, "/tokenize", {"prompt": text}).json["tokens"]
    by_text, by_ids = (
        complete(server, prompt, max_tokens=0, echo=True, logprobs=1)["choices"][0]["logprobs"]
        for prompt in (text, ids)
    )
    assert by_text == by_ids
    listed = complete(server, text, max_tokens=1, prompt_logprobs=1)["choices"][0]["prompt_logprobs"]
    assert listed[0] is None
    own = [entries[str(i)]["logprob"] for i, entries in zip(ids[1:], listed[1:], strict=True)]
    assert own == by_text["token_logprobs"][1:]
    assert [max(entries.values(), key=lambda e: e["logprob"])["rank"] for entries in listed[1:]] == [1] * (len(ids) - 1)
    for n in {1, len(ids) // 2, len(ids) - 1} - {0, len(ids)}:
        top = complete(server, ids[:n], max_tokens=1, logprobs=20)["choices"][0]["logprobs"]["top_logprobs"][0]
        if by_text["tokens"][n] in top:
            assert top[by_text["tokens"][n]] == by_text["token_logprobs"][n]
        best = max(by_text["top_logprobs"][n].items(), key=lambda item: item[1])
        assert best in top.items()


@settings(max_examples=30, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=4))
def test_a_batch_gives_what_each_prompt_gives_alone(server: ScriptedServer, texts: list[str]) -> None:
    together = complete(server, texts, max_tokens=5, logprobs=1, n=2, temperature=1)["choices"]
    assert [choice.pop("index") for choice in together] == list(range(2 * len(texts)))
    alone = [complete(server, text, max_tokens=5, logprobs=1, n=2, temperature=1)["choices"] for text in texts]
    assert together == [{k: v for k, v in choice.items() if k != "index"} for pair in alone for choice in pair]


@settings(max_examples=30, deadline=None)
@given(TEXTS)
def test_greedy_answers_are_greedy_when_they_are_scored(server: ScriptedServer, text: str) -> None:
    generated = complete(server, text, max_tokens=8, return_token_ids=True)["choices"][0]
    ids = generated["prompt_token_ids"] + generated["token_ids"]
    scored = complete(server, ids, max_tokens=0, echo=True, logprobs=1)["choices"][0]["logprobs"]
    start = len(generated["prompt_token_ids"])
    assert all(len(top) == 1 for top in scored["top_logprobs"][max(start, 1) :])


def test_token_ids_in_place_of_strings(server: ScriptedServer) -> None:
    reply = complete(server, "Yes", max_tokens=0, echo=True, logprobs=1, return_tokens_as_token_ids=True)
    (token,) = reply["choices"][0]["logprobs"]["tokens"]
    (i,) = ask(server, "/tokenize", {"prompt": "Yes"}).json["tokens"]
    assert token == f"token_id:{i}"


def test_sampling_depends_on_the_seed_alone(server: ScriptedServer) -> None:
    def drawn(**more: Any) -> list[str]:
        reply = complete(server, "Once", max_tokens=12, temperature=1, **more)
        return [choice["text"] for choice in reply["choices"]]

    assert drawn(seed=1) == drawn(seed=1)
    assert drawn(seed=1) != drawn(seed=2)
    assert len(set(drawn(n=3))) == 3


def test_stop_strings_end_the_answer(server: ScriptedServer) -> None:
    whole = complete(server, "Why?", max_tokens=30)["choices"][0]["text"]
    (cut,) = complete(server, "Why?", max_tokens=30, stop=["nowhere", " answer"], logprobs=0)["choices"]
    assert cut["text"] == whole[: whole.index(" answer")]
    assert (cut["finish_reason"], cut["stop_reason"]) == ("stop", " answer")
    assert "".join(cut["logprobs"]["tokens"]) == cut["text"]


def test_answers_end_where_max_tokens_says(server: ScriptedServer) -> None:
    (choice,) = complete(server, "Why?", max_tokens=2)["choices"]
    assert choice["finish_reason"] == "length"


def test_prompts_with_the_same_beginning_are_cached(server: ScriptedServer) -> None:
    beginning = "The day is long. " * 30
    complete(server, beginning + "Yes", max_tokens=1)
    usage = complete(server, beginning + "No", max_tokens=1)["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] == (usage["prompt_tokens"] - 1) // 64 * 64
    scored = complete(server, beginning + "No", max_tokens=0, echo=True, logprobs=1)["usage"]
    assert scored["prompt_tokens_details"]["cached_tokens"] == 0


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"prompt": "x", "model": "other"}, 404, "model"),
        ({}, 400, "prompt"),
        ({"prompt": [99999]}, 400, "prompt"),
        ({"prompt": "x", "logprobs": 21}, 400, "logprobs"),
        ({"prompt": "x", "temperature": 3}, 400, "temperature"),
        ({"prompt": "x", "max_tokens": 5000}, 400, "prompt"),
        ({"prompt": "x", "stream": True}, 400, "stream"),
    ],
)
def test_refusals_say_why(server: ScriptedServer, body: dict[str, Any], status: int, param: str) -> None:
    answer = ask(server, "/v1/completions", {"model": "tiny", **body})
    assert answer.status == status
    error = answer.json["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == param


def test_models_and_tokenize(server: ScriptedServer) -> None:
    (model,) = get(server, "/v1/models").json["data"]
    assert (model["id"], model["max_model_len"]) == ("tiny", 4096)
    reply = ask(server, "/tokenize", {"model": "tiny", "prompt": "Yes no", "return_token_strs": True}).json
    assert (reply["count"], reply["token_strs"], reply["max_model_len"]) == (2, ["Yes", " no"], 4096)
    messages = [{"role": "user", "content": "Yes no"}]
    assert ask(server, "/tokenize", {"messages": messages}).json["count"] > 2


def test_rules_of_a_script() -> None:
    script = Script(
        replies={"France": "Paris."},
        max_stops=4,
        max_logprobs=5,
        refuses={"max_tokens": "max_completion_tokens"},
        ignores=["echo", "logprobs"],
        fixed_temperature=True,
        text_only=True,
        context_length=50,
    )
    refused: list[tuple[dict[str, Any], str, str]] = [
        ({"max_tokens": 5}, "max_tokens", "Use 'max_completion_tokens' instead."),
        ({"temperature": 0}, "temperature", "Only the default (1) value is supported."),
        ({"stop": list("abcde")}, "stop", "maximum length 4"),
        ({"prompt": "Yes " * 50}, "prompt", "maximum context length is 50 tokens"),
        ({"prompt": [1, 2]}, "prompt", "valid string"),
        ({"prompt_logprobs": 6}, "prompt_logprobs", "<= 5"),
    ]
    with ScriptedServer(script) as server:
        for body, param, words in refused:
            error = ask(server, "/v1/completions", {"model": "tiny", "prompt": "x", **body}).json["error"]
            assert error["param"] == param
            assert words in error["message"]
        body = {"model": "tiny", "prompt": "The capital of France:", "echo": True, "logprobs": 1, "stop": list("wxyz")}
        (choice,) = ask(server, "/v1/completions", body).json["choices"]
        assert (choice["text"], choice["logprobs"]) == ("Paris.", None)
