"""Dialects: what is known of providers, what a refusal teaches, and that learning comes to an end."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmrun.backends.api.dialect import DROPPABLE, Dialect, Rules
from lmrun.backends.api.options import DialectOptions
from lmrun.errors import BackendError

OPENAI = "https://api.openai.com/v1"
LOCAL = "http://127.0.0.1:8000/v1"
STOPS = [f"stop {i}" for i in range(18)]
BODY: Mapping[str, Any] = {
    "model": "m",
    "messages": [{"role": "user", "content": "hi"}],
    "max_tokens": 16,
    "temperature": 0.0,
    "seed": 1,
    "stop": STOPS,
}


def of(
    model: str = "m", url: str = LOCAL, backend: str = "openai-chat", options: DialectOptions | None = None
) -> Dialect:
    return Dialect.of(url, model, backend, options or DialectOptions())


def error(message: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


def test_an_unknown_server_gets_the_protocol() -> None:
    dialect = of()
    assert dialect.apply(BODY) == BODY
    assert dialect.notes(BODY, dialect.apply(BODY)) == {}


@pytest.mark.parametrize("model", ["o1", "o3-mini", "o4-mini-2025-04-16", "gpt-5", "gpt-5-nano"])
def test_openai_reasoning_models(model: str) -> None:
    dialect = of(model, OPENAI)
    sent = dialect.apply(BODY)
    assert sent["max_completion_tokens"] == 16
    assert not {"max_tokens", "temperature", "stop"} & sent.keys()
    assert dialect.notes(BODY, sent) == {"dropped": ["temperature"], "dropped_stops": 18}


@pytest.mark.parametrize("model", ["gpt-4o-mini", "gpt-5-chat-latest", "gpt-5.4"])
def test_openai_models_that_may_take_a_temperature(model: str) -> None:
    dialect = of(model, OPENAI)
    sent = dialect.apply(BODY)
    assert sent["temperature"] == 0.0
    assert sent["stop"] == STOPS[:4]
    assert sent["max_completion_tokens"] == 16
    assert dialect.notes(BODY, sent) == {"dropped_stops": 14}


def test_other_providers() -> None:
    assert "random_seed" in of(url="https://api.mistral.ai/v1").apply(BODY)
    assert of(url="https://api.mistral.ai/v1").apply({"max_completion_tokens": 1}) == {"max_tokens": 1}
    assert len(of(url="https://my.openai.azure.com/openai/v1").apply(BODY)["stop"]) == 4
    gemini = of(url="https://generativelanguage.googleapis.com/v1beta/openai").apply(BODY)
    assert len(gemini["stop"]) == 5
    assert "stop" not in of("grok-4-0709", "https://api.x.ai/v1").apply(BODY)
    assert "stop" in of("grok-4-fast-non-reasoning", "https://api.x.ai/v1").apply(BODY)
    opus = of("claude-opus-4-8", "https://api.anthropic.com/v1", "anthropic")
    assert "temperature" not in opus.apply({"temperature": 0.0})
    assert of("davinci-002", OPENAI, "openai-completions").apply({"logprobs": 20}) == {"logprobs": 5}
    assert of("gpt-4o", OPENAI).apply({"logprobs": True, "top_logprobs": 50}) == {"logprobs": True, "top_logprobs": 20}


def test_the_manifest_wins() -> None:
    options = DialectOptions(rename={"max_tokens": "max_tokens"}, drop="seed", max_stops=16, max_top_logprobs=3)
    sent = of("o3", OPENAI, options=options).apply({**BODY, "top_logprobs": 20})
    assert sent["max_tokens"] == 16
    assert sent["temperature"] == 0.0
    assert len(sent["stop"]) == 16
    assert sent["top_logprobs"] == 3
    assert "seed" not in sent


def test_what_the_manifest_says_is_not_repaired() -> None:
    dialect = of(options=DialectOptions(rename={"max_tokens": "max_completion_tokens"}))
    sent = dialect.apply(BODY)
    assert dialect.repair(400, error("max_completion_tokens is not supported", "max_completion_tokens"), sent) is None


def test_renames_in_a_circle_are_refused() -> None:
    with pytest.raises(BackendError, match="circle"):
        of(options=DialectOptions(rename={"a": "b", "b": "a"}))


def test_a_parameter_put_in_on_purpose_is_kept() -> None:
    sent = of("gpt-4o", OPENAI).apply({"max_tokens": 16, "max_completion_tokens": 4000})
    assert sent == {"max_completion_tokens": 4000}


# What servers answer, from their documentation and their users' reports.
FORBIDDEN = "Extra inputs are not permitted"
REFUSALS = [
    (
        error(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' "
            "instead.",
            "max_tokens",
            "unsupported_parameter",
        ),
        "max_tokens → max_completion_tokens",
        {"max_completion_tokens": 16},
        {},
    ),
    (
        {"error": {"message": "Unsupported parameter: 'max_tokens' is not supported with this model.", "code": "x"}},
        "max_tokens → max_completion_tokens",
        {"max_completion_tokens": 16},
        {},
    ),
    (
        error(
            "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is "
            "supported.",
            "temperature",
            "unsupported_value",
        ),
        "temperature left out",
        {"temperature": None},
        {"dropped": ["temperature"]},
    ),
    (
        {"type": "error", "error": {"type": "x", "message": "`temperature` is deprecated for this model."}},
        "temperature left out",
        {"temperature": None},
        {"dropped": ["temperature"]},
    ),
    (
        error(
            "Invalid 'stop': array too long. Expected an array with maximum length 4, but got an array with length 18 "
            "instead.",
            "stop",
            "array_above_max_length",
        ),
        "stop: 4 at most",
        {"stop": STOPS[:4]},
        {"dropped_stops": 14},
    ),
    (
        error("'$.stop' is invalid. Please check the API reference: https://platform.openai.com/docs/api-reference."),
        "stop: 4 at most",
        {"stop": STOPS[:4]},
        {"dropped_stops": 14},
    ),
    (
        error("Unsupported parameter: 'stop' is not supported with this model.", "stop", "unsupported_parameter"),
        "stop left out",
        {"stop": None},
        {"dropped_stops": 18},
    ),
    (
        [
            {
                "error": {
                    "code": 400,
                    "message": 'Invalid JSON payload received. Unknown name "seed": Cannot find field.',
                    "status": "INVALID_ARGUMENT",
                }
            }
        ],
        "seed left out",
        {"seed": None},
        {"dropped": ["seed"]},
    ),
    (
        {
            "object": "error",
            "message": {
                "detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": FORBIDDEN, "input": 1}],
            },
            "type": "invalid_request_error",
            "param": None,
        },
        "seed left out",
        {"seed": None},
        {"dropped": ["seed"]},
    ),
    (
        {"detail": [{"type": "extra_forbidden", "loc": ["body", "max_tokens"], "msg": FORBIDDEN}]},
        "max_tokens → max_completion_tokens",
        {"max_completion_tokens": 16},
        {},
    ),
    ("Argument not supported on this model: seed", "seed left out", {"seed": None}, {"dropped": ["seed"]}),
]  # fmt: skip


@pytest.mark.parametrize(("reply", "text", "expected", "notes"), REFUSALS)
def test_a_refusal_repairs(reply: Any, text: str, expected: dict[str, Any], notes: dict[str, Any]) -> None:
    dialect = of()
    assert dialect.repair(400, reply, dialect.apply(BODY)) == text
    sent = dialect.apply(BODY)
    assert {name: sent.get(name) for name in expected} == expected
    assert dialect.notes(BODY, sent) == {"repaired": [text], **notes}
    assert dialect.repair(422, reply, sent) is None
    assert dialect.repairs == [text]


def test_one_of_two_that_exclude_each_other_is_left_out() -> None:
    dialect = of(backend="anthropic")
    body = {"max_tokens": 1, "top_p": 0.9, "temperature": 0.0}
    message = "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
    assert dialect.repair(400, {"error": {"message": message}}, body) == "top_p left out"
    assert dialect.apply(body) == {"max_tokens": 1, "temperature": 0.0}


def test_a_limit_of_logprobs() -> None:
    dialect = of(backend="openai-completions")
    body = {"prompt": "x", "logprobs": 50}
    reply = error("Requested sample logprobs of 50, which is greater than max allowed: 20")
    assert dialect.repair(400, reply, body) == "logprobs: 20 at most"
    assert dialect.apply(body)["logprobs"] == 20
    assert dialect.max_top_logprobs == 20
    assert dialect.notes(body, dialect.apply(body))["changed"] == {"logprobs": 20}


@pytest.mark.parametrize(
    ("status", "reply"),
    [
        (500, error("Unsupported parameter: 'temperature'", "temperature")),
        (400, error("This model's maximum context length is 512 tokens. However, you requested 600 (584 in the "
                    "messages, 16 in max_tokens). Please reduce the length of the messages.", "messages")),
        (400, error("temperature must be at most 2", "temperature")),
        (400, error("'messages' is not supported", "messages")),
        (400, error("model: unexpected", "model")),
        (400, ""),
        (400, None),
        (400, {"error": None}),
    ],
)  # fmt: skip
def test_what_is_no_refusal_of_a_parameter_repairs_nothing(status: int, reply: Any) -> None:
    dialect = of()
    assert dialect.repair(status, reply, BODY) is None
    assert dialect.apply(BODY) == BODY


@pytest.mark.parametrize("name", ["logprobs", "top_logprobs", "echo", "prompt_logprobs", "prompt", "messages"])
def test_what_an_answer_is_read_from_is_never_left_out(name: str) -> None:
    dialect = of()
    body = {name: 5}
    assert dialect.repair(400, error(f"Unsupported parameter: '{name}'", name, "unsupported_parameter"), body) is None


def test_requests_that_were_on_their_way_are_sent_again() -> None:
    dialect = of()
    reply = error("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead", "max_tokens")
    sent = dialect.apply(BODY)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: dialect.repair(400, reply, sent), range(64)))
    assert answers == ["max_tokens → max_completion_tokens"] * 64
    assert dialect.repairs == ["max_tokens → max_completion_tokens"]


NAMES = sorted(DROPPABLE | {"max_tokens", "max_completion_tokens", "top_logprobs", "logprobs", "prompt", "echo"})
bodies = st.dictionaries(
    st.sampled_from(NAMES), st.one_of(st.integers(0, 50), st.lists(st.text(max_size=3), max_size=20), st.booleans())
)
phrases = st.sampled_from(
    ["unsupported", "is not supported", "cannot both be given", "maximum 4", "up to 0", "greater than 2", "", "invalid"]
)
replies = st.builds(
    lambda names, phrase, param: {"error": {"message": f"{' '.join(names)} {phrase}", "param": param}},
    st.lists(st.sampled_from(NAMES), max_size=4),
    phrases,
    st.one_of(st.none(), st.sampled_from(NAMES)),
)
plain_rules = st.builds(
    Rules,
    rename=st.dictionaries(st.sampled_from(NAMES[:4]), st.sampled_from(NAMES[4:])),
    drop=st.frozensets(st.sampled_from(NAMES)),
    fixed=st.dictionaries(st.sampled_from(NAMES), st.integers(0, 3)),
    max_stops=st.one_of(st.none(), st.integers(1, 6)),
    max_top_logprobs=st.one_of(st.none(), st.integers(1, 6)),
)


@settings(deadline=None)
@given(plain_rules, bodies)
def test_rewriting_twice_is_rewriting_once(rules: Rules, body: dict[str, Any]) -> None:
    once = rules.rewrite(body)
    assert rules.rewrite(once) == once


@settings(deadline=None)
@given(bodies, st.lists(replies, min_size=1, max_size=8))
def test_repairs_come_to_an_end(body: dict[str, Any], said: list[dict[str, Any]]) -> None:
    """A server that refuses forever, whatever it says, is asked a bounded number of times."""
    dialect = of()
    repairs = 0
    while any(dialect.repair(400, reply, dialect.apply(body)) for reply in said):
        repairs += 1
        assert repairs <= len(NAMES)
        sent = dialect.apply(body)
        assert dialect.apply(sent) == sent
    sent = dialect.apply(body)
    for name in ("prompt", "echo"):
        assert sent.get(name) == body.get(name)
