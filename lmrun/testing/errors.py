"""Errors as the providers word them."""

from __future__ import annotations

from typing import Any

from lmrun.testing.generating import Refused

_OPENAI = {
    400: "invalid_request_error",
    401: "invalid_request_error",
    403: "permission_error",
    404: "invalid_request_error",
    429: "requests",
    503: "service_unavailable",
}
_ANTHROPIC = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}
_MESSAGES = {
    400: "The scripted server refuses this request.",
    401: "Incorrect API key provided.",
    403: "You are not allowed to use this model.",
    404: "The model does not exist.",
    429: "Rate limit reached for requests. Please try again later.",
    503: "The engine is currently overloaded, please try again later.",
    529: "Overloaded",
}
_CODES = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}


def error(path: str, status: int, message: str = "", param: str | None = None, code: str | None = None) -> Any:
    """The body of an error: in Anthropic's shape for messages, else in OpenAI's."""
    said = message or _MESSAGES.get(status, "The server had an error while processing your request.")
    if is_anthropic(path):
        kind = _ANTHROPIC.get(status, "api_error")
        return {"type": "error", "error": {"type": kind, "message": said}, "request_id": "req_scripted"}
    kind = _OPENAI.get(status, "server_error")
    return {"error": {"message": said, "type": kind, "param": param, "code": code or _CODES.get(status)}}


def refusal(path: str, refused: Refused) -> Any:
    """The body that says why a request is refused."""
    return error(path, refused.status, refused.message, refused.param, refused.code)


def is_anthropic(path: str) -> bool:
    """Whether an address belongs to Anthropic's API."""
    return "/messages" in path
