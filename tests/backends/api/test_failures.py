"""What follows from what a server says."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrun.backends.api.answers import failure
from lmrun.backends.api.failures import LONGEST, Failed, in_reply, message_of, of_exception, of_status
from lmrun.backends.api.hints import explained

FATAL, FINAL, RETRIED = "fatal", "final", "retried"


def outcome(failed: Failed) -> str:
    assert not (failed.fatal and failed.retryable)
    return FATAL if failed.fatal else RETRIED if failed.retryable else FINAL


@pytest.mark.parametrize(
    ("status", "body", "kind", "what"),
    [
        (401, {"error": {"message": "Incorrect API key provided", "code": "invalid_api_key"}}, "unauthorized", FATAL),
        (403, {"error": {"message": "no access"}}, "forbidden", FATAL),
        (404, {"error": {"message": "The model `x` does not exist", "code": "model_not_found"}}, "not_found", FATAL),
        (404, {"detail": "Not Found"}, "not_found", FATAL),
        (402, {"error": {"message": "Insufficient credits"}}, "no_credit", FATAL),
        (402, {"type": "error", "error": {"type": "billing_error", "message": "pay"}}, "no_credit", FATAL),
        (
            429,
            {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}},
            "no_credit",
            FATAL,
        ),
        (
            429,
            {"error": {"type": "rate_limit_error", "details": {"error_code": "enforced_spend_limit_reached"}}},
            "no_credit",
            FATAL,
        ),
        (
            400,
            {"type": "error", "error": {"type": "invalid_request_error", "message": "Your credit balance is too low"}},
            "no_credit",
            FATAL,
        ),
        (302, b"", "redirect", FATAL),
        (400, {"error": {"message": "Unsupported parameter: 'stop'", "param": "stop"}}, "http_400", FINAL),
        (413, {"type": "error", "error": {"type": "request_too_large", "message": "too big"}}, "http_413", FINAL),
        (422, {"detail": [{"loc": ["body"], "msg": "field required"}]}, "http_422", FINAL),
        (
            400,
            {
                "error": {
                    "message": "This model's maximum context length is 4096 tokens",
                    "code": "context_length_exceeded",
                }
            },
            "context_too_long",
            FINAL,
        ),
        (400, {"type": "error", "error": {"message": "prompt is too long: 250000 tokens"}}, "context_too_long", FINAL),
        (400, {"error": {"message": "too long", "param": "input_tokens", "code": 400}}, "context_too_long", FINAL),
        (400, {"error": {"code": "content_filter", "message": "filtered"}}, "content_filter", FINAL),
        (
            400,
            {"error": {"message": "x", "innererror": {"code": "ResponsibleAIPolicyViolation"}}},
            "content_filter",
            FINAL,
        ),
        (429, {"error": {"message": "Request too large for gpt-4o: Limit 30000, Requested 40000"}}, "too_large", FINAL),
        (429, {"error": {"message": "Rate limit reached", "type": "rate_limit"}}, "rate_limited", RETRIED),
        (408, b"", "http_408", RETRIED),
        (409, b"", "http_409", RETRIED),
        (425, b"", "http_425", RETRIED),
        (500, b"internal error", "http_500", RETRIED),
        (502, b"<html><title>502</title></html>", "http_502", RETRIED),
        (503, {"error": {"message": "loading"}}, "http_503", RETRIED),
        (529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "http_529", RETRIED),
    ],
)
def test_statuses(status: int, body: Any, kind: str, what: str) -> None:
    failed = of_status(status, body if isinstance(body, bytes) else orjson.dumps(body), pause=3.0)
    assert (failed.kind, outcome(failed), failed.status) == (kind, what, status)
    assert failed.pause == (3.0 if what == RETRIED else 0.0)


def test_nobody_waits_for_days_unawares() -> None:
    for pause in (1_000_000.0, 1e300, float("inf")):
        failed = of_status(429, b"slow down", pause=pause)
        assert (failed.kind, outcome(failed), failed.pause) == ("long_pause", FATAL, 0.0)
        assert "the server asks to wait" in failed.message and "slow down" in failed.message
    assert outcome(of_status(429, b"", pause=1800.0)) == RETRIED
    assert of_status(400, b"", pause=1e9).kind == "http_400"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (aiohttp.ServerDisconnectedError(), "connection"),
        (aiohttp.ClientPayloadError("cut"), "connection"),
        (ConnectionResetError(), "connection"),
        (aiohttp.ConnectionTimeoutError(), "connection"),
        (aiohttp.SocketTimeoutError(), "timeout"),
        (asyncio.TimeoutError(), "timeout"),
    ],
)
def test_exceptions_of_the_client(error: Exception, kind: str) -> None:
    failed = of_exception(error, 30.0)
    assert failed.kind == kind and outcome(failed) == RETRIED


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ({"error": {"message": "a", "type": "b"}}, "a"),
        ({"type": "error", "error": {"type": "t", "message": "a"}}, "a"),
        ({"object": "error", "message": "a"}, "a"),
        ({"error": "a"}, "a"),
        ({"detail": "a"}, "a"),
        ({"detail": [{"msg": "a"}, {"msg": "b"}]}, "a; b"),
        ("<html><style>p {}</style><h1>502</h1>\n<p>Bad  Gateway</p></html>", "502 Bad Gateway"),
        ("plain\ntext", "plain text"),
    ],
)
def test_the_words_of_a_provider(reply: Any, words: str) -> None:
    assert message_of(reply) == words


json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["error", "message", "detail", "code", "type", "x"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(st.integers(300, 599), st.binary() | json_values.map(lambda v: orjson.dumps(v, default=str)))
def test_any_body_can_be_classified(status: int, body: bytes) -> None:
    failed = of_status(status, body)
    assert failed.kind and len(failed.message) <= LONGEST
    assert outcome(failed) in (FATAL, FINAL, RETRIED)


def test_an_error_in_a_reply_that_says_ok() -> None:
    failed = in_reply({"error": {"code": 429, "message": "slow down"}})
    assert failed is not None and failed.kind == "rate_limited"
    failed = in_reply({"error": {"message": "upstream"}})
    assert failed is not None and failed.kind == "http_502"
    assert in_reply({"error": None, "choices": []}) is None
    assert in_reply({"choices": [{"text": "x"}], "error": "ignored"}) is None


def test_a_content_filter_is_a_refusal_of_a_generation_and_an_error_of_a_score() -> None:
    failed = Failed("content_filter", "filtered", status=400)
    refusal = failure(failed, generates=True)
    assert refusal.finish_reason == "refusal" and refusal.error is None
    error = failure(failed, generates=False).error
    assert error is not None and error.kind == "content_filter"


@pytest.mark.parametrize(
    ("failed", "has_key", "models", "hint"),
    [
        (Failed("unauthorized", "no", status=401, fatal=True), False, (), "set the variable MY_KEY"),
        (Failed("unauthorized", "no", status=401, fatal=True), True, (), "is the key in MY_KEY the right one"),
        (Failed("not_found", "no", status=404, fatal=True), True, ("tiny", "big"), "did you mean 'tiny'"),
        (Failed("not_found", "no", status=404, fatal=True), True, ("other",), "the server has other"),
        (Failed("not_found", "no", status=404, fatal=True), True, (), "http://host:1/v1"),
        (Failed("no_credit", "no", status=402, fatal=True), True, (), "add credit"),
        (Failed("malformed", "not JSON", retryable=True), True, (), "does base_url lead to the API"),
        (Failed("connection", "refused", retryable=True), True, (), "is it running"),
        (Failed("bad_address", "speaks http", fatal=True), True, (), "correct base_url"),
    ],
)
def test_hints(failed: Failed, has_key: bool, models: tuple[str, ...], hint: str) -> None:
    assert hint in explained(failed, "http://host:1", "tiny0", "MY_KEY", has_key, models)[1]
