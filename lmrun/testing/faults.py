"""How faults show in an answer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import orjson

from lmrun.testing.errors import error
from lmrun.testing.script import Fault

_HTML = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
_GARBAGE = b'\x00\x17{"id": 7, nonsense'


def prompt_of(body: Any, decode: Callable[[list[int]], str] = str) -> str:
    """What a request asks, as text to be looked through: the prompt, or everything said in a chat.

    ``decode`` makes a text of token ids.
    """
    if not isinstance(body, Mapping):
        return ""
    asked = body.get("prompt", body.get("messages", ""))
    if isinstance(asked, str):
        return asked
    return "\n".join([str(body.get("system", "")), *_texts(asked, decode)]) if asked else ""


def _texts(value: Any, decode: Callable[[list[int]], str]) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return _texts(value.get("content", value.get("text", "")), decode)
    if not isinstance(value, list):
        return []
    if value and all(isinstance(one, int) for one in value):
        return [decode(value)]
    return [text for one in value for text in _texts(one, decode)]


def edit(payload: Any, kinds: Collection[str]) -> Any:
    """The answer with the faults that change what it says. Changes ``payload``."""
    if not isinstance(payload, dict):
        return payload
    if "wrong_order" in kinds and "choices" in payload:
        payload["choices"].reverse()
    for choice in payload.get("choices", ()):
        _edit_logprobs(choice, kinds)
        _edit_choice(choice, kinds)
    if payload.get("type") == "message":
        _edit_message(payload, kinds)
    return payload


def _edit_choice(choice: dict[str, Any], kinds: Collection[str]) -> None:
    message = choice.get("message", choice)
    name = "content" if "message" in choice else "text"
    if "length" in kinds:
        message[name] = message[name][: len(message[name]) // 2]
        choice["finish_reason"] = "length"
    if "refusal" in kinds:
        message[name] = None if "message" in choice else ""
        message["refusal"] = "I'm sorry, I can't help with that."
    if "content_filter" in kinds:
        message[name] = None if "message" in choice else ""
        choice["finish_reason"] = "content_filter"
    if "null_content" in kinds:
        message[name] = None


def _edit_message(payload: dict[str, Any], kinds: Collection[str]) -> None:
    """The same for Anthropic's messages, whose content is a list of blocks."""
    if "length" in kinds:
        last = payload["content"][-1] if payload["content"] else {"text": ""}
        last["text"] = last["text"][: len(last["text"]) // 2]
        payload["stop_reason"] = "max_tokens"
    if "refusal" in kinds or "content_filter" in kinds:
        payload |= {"content": [], "stop_reason": "refusal"}
    if "null_content" in kinds:
        payload["content"] = None


def _edit_logprobs(choice: dict[str, Any], kinds: Collection[str]) -> None:
    logprobs = choice.get("logprobs")
    if "no_logprobs" in kinds:
        choice["logprobs"] = None
        choice.pop("prompt_logprobs", None)
    elif "zero_logprobs" in kinds:
        if logprobs and "token_logprobs" in logprobs:
            logprobs["token_logprobs"] = [value and 0.0 for value in logprobs["token_logprobs"]]
        for entry in (logprobs or {}).get("content", ()):
            entry["logprob"] = 0.0
        for entries in choice.get("prompt_logprobs") or ():
            for entry in (entries or {}).values():
                entry["logprob"] = 0.0


def disfigured(payload: Any, kinds: Collection[str]) -> tuple[bytes, str]:
    """The bytes to send and their type."""
    if "html" in kinds:
        return _HTML, "text/html"
    if "garbage" in kinds:
        return _GARBAGE, "application/json"
    data = payload if isinstance(payload, bytes) else orjson.dumps(payload)
    return data[: len(data) // 2] if "truncated" in kinds else data, "application/json"


def refused(path: str, fault: Fault) -> tuple[int, Any, dict[str, str]]:
    """Status, body and headers of a ``status`` fault."""
    headers = {} if fault.retry_after is None else {"Retry-After": f"{fault.retry_after:g}"}
    return fault.status, error(path, fault.status), headers
