"""Replies in the forms that servers have documented, each by the shape that makes it special."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrun.backends.api.found import Found
from lmrun.backends.api.replies import Spent, choices, divide, finish_reason, share, spent
from lmrun.requests import Request, Response
from tests.backends.api.asking import completions_wire, sent


def score(context: str, continuation: str, logprobs: dict[str, Any], **choice: Any) -> Response:
    """A text prompt and the reply to it."""
    call = sent(completions_wire(), Request("loglikelihood", context, continuation))
    (response,) = call.read({"choices": [{"index": 0, "text": "", "logprobs": logprobs, **choice}]})
    return response


def columns(tokens: list[str], values: list[float | None], offsets: list[int]) -> dict[str, Any]:
    tops = [None if value is None else {token: value} for token, value in zip(tokens, values, strict=True)]
    return {"tokens": tokens, "token_logprobs": values, "top_logprobs": tops, "text_offset": offsets}


def test_openai() -> None:
    """No BOS; the generated token follows."""
    logprobs = columns(["The", " sky", " is", " blue", "."], [None, -5.0, -1.0, -0.5, -0.2], [0, 3, 7, 10, 15])
    response = score("The sky is", " blue", logprobs)
    assert (response.logprob, response.is_greedy) == (-0.5, True)


def test_vllm_with_a_bos() -> None:
    """Its text counts in text_offset, but not in the prompt."""
    logprobs = columns(
        ["<s>", "The", "sky", "is", "blue", "."], [None, -7.0, -5.0, -1.0, -0.5, -0.2], [0, 3, 6, 9, 11, 15]
    )
    assert score("The sky is", " blue", logprobs).logprob == -0.5


def test_sglang() -> None:
    """It gives no offsets: all are -1."""
    logprobs = columns(["The", " sky", " is", " blue", "."], [None, -5.0, -1.0, -0.5, -0.2], [-1] * 5)
    assert score("The sky is", " blue", logprobs).logprob == -0.5


def test_a_token_over_the_join_is_noted() -> None:
    logprobs = columns(["The", " sky", " isn", "'t", "."], [None, -5.0, -1.0, -0.5, -0.2], [0, 3, 7, 11, 13])
    response = score("The sky is", "n't", logprobs)
    assert response.logprob == -0.5
    assert response.notes == {"join": "spans"}


def test_a_token_over_all_of_the_continuation_is_an_error() -> None:
    logprobs = columns(["The", " sky", " isn", "."], [None, -5.0, -1.0, -0.2], [0, 3, 7, 11])
    response = score("The sky is", "n", logprobs)
    assert response.error is not None
    assert response.error.kind == "join_not_found"


def test_white_space_before_the_join_is_scored() -> None:
    logprobs = columns(["A", ":", "\n", " yes", "."], [None, -5.0, -1.0, -0.5, -0.2], [0, 1, 2, 3, 7])
    assert score("A:\n ", "yes", logprobs).logprob == -1.5


@pytest.mark.parametrize("named", [True, False])
def test_llama_cpp_next_tokens(named: bool) -> None:
    """Its completions list alternatives as chats do, with the ids of tokens."""
    wire = completions_wire(scoring="next_token")
    wire.found = Found(top_logprobs=3)
    call = sent(wire, Request("loglikelihood", "The sky is", " blue"))
    assert call.body["logprobs"] == 3
    top = [
        {"token": token, "logprob": value, "bytes": list(token.encode()), **({"id": i} if named else {})}
        for i, (token, value) in enumerate([(" blue", -0.5), ("blue", -1.5), (" red", -2.0)])
    ]
    logprobs = {"content": [{**top[0], "top_logprobs": top}]}
    (response,) = call.read({"choices": [{"index": 0, "text": " blue", "logprobs": logprobs}]})
    assert (response.logprob, response.is_greedy) == (-0.5, True)


@given(total=st.integers(0, 1000), weights=st.lists(st.integers(0, 50), min_size=1, max_size=8))
def test_shares_sum_to_the_whole(total: int, weights: list[int]) -> None:
    parts = share(total, weights)
    assert sum(parts) == total
    assert all(part >= 0 for part in parts)
    if sum(weights):
        exact = [total * weight / sum(weights) for weight in weights]
        assert all(abs(part - fair) < 1 for part, fair in zip(parts, exact, strict=True))


@given(order=st.permutations(range(4)))
def test_choices_are_placed_by_index(order: list[int]) -> None:
    reply = {"choices": [{"index": i, "text": str(i)} for i in order]}
    assert [choice["text"] for choice in choices(reply, 4)] == ["0", "1", "2", "3"]


def test_a_reply_is_divided() -> None:
    reply = {
        "choices": [{"index": 1, "text": "abc"}, {"index": 0, "text": "d"}],
        "usage": {"prompt_tokens": 30, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 10}},
    }
    first, second = divide(reply, [20, 10])
    assert spent(first) == Spent(20, 6, 1, 0)
    assert spent(second) == Spent(10, 4, 3, 0)
    assert first["choices"][0]["text"] == "d"


@pytest.mark.parametrize("reason", ["eos_token", "stop", "stop_sequence", "end_turn", None])
def test_an_end(reason: str | None) -> None:
    assert finish_reason({"finish_reason": reason}) == "stop"
