"""Why an HTTP request brought no answer, and what follows from it.

=====================================  ==================  =====================================================
what came                              kind                what follows
=====================================  ==================  =====================================================
401, 403, 404, 405, a redirect         unauthorized …      fatal: this model cannot go on
402, or words of an empty account      no_credit           fatal: asking again would fail for hours
400, 413, 422 and other 4xx            http_400 …          final for this request
400 about the length of the prompt     context_too_long    final for this request
400 of a content filter                content_filter      a refusal (generation), final otherwise
429                                    rate_limited        retried; bounded apart from other failures
a pause of more than an hour           long_pause          fatal: start again later
408, 409, 425, 5xx, 529                http_500 …          retried
no connection, no answer in time       connection, timeout retried
a reply that is not what it should be  malformed           retried
=====================================  ==================  =====================================================
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import aiohttp
import orjson

LONGEST = 2_000
LONGEST_PAUSE = 3_600.0
"""Seconds. A server that asks for more has a limit per day, or means nothing by it; nobody waits for it unawares."""
RATE_LIMITED, CONNECTION, TIMEOUT, MALFORMED = "rate_limited", "connection", "timeout", "malformed"
CONTENT_FILTER, TOO_LONG, NO_CREDIT, LONG_PAUSE = "content_filter", "context_too_long", "no_credit", "long_pause"

_FATAL = {401: "unauthorized", 403: "forbidden", 404: "not_found", 405: "not_found"}
_RETRIED = frozenset({408, 409, 425, 429})
_CREDIT = re.compile(
    r"insufficient_quota|insufficient_funds|insufficient balance|credit[_ ]balance|billing_error|billing_hard_limit"
    r"|billing_not_active|spend_limit|exceeded your current quota",
    re.IGNORECASE,
)
_LENGTH = re.compile(
    r"context_length_exceeded|context length|context window|prompt is too long|input is too long|too many input tokens"
    r"|input_tokens|maximum (model )?length|max_model_len|reduce the length",
    re.IGNORECASE,
)
_FILTER = re.compile(r"content_filter|content management policy|ResponsibleAIPolicyViolation", re.IGNORECASE)
_TOO_LARGE = re.compile(r"request too large", re.IGNORECASE)
"""A request above the limit of tokens per minute gets a 429 however long one waits."""
_TAGS = re.compile(r"<(script|style)\b.*?</\1\s*>|<[^>]*>", re.DOTALL | re.IGNORECASE)


class Failed(Exception):  # noqa: N818 - the state of a request, not a fault of the program
    """A request that was sent and has no answer."""

    def __init__(
        self,
        kind: str,
        message: str,
        *,
        status: int | None = None,
        attempts: int = 1,
        fatal: bool = False,
        retryable: bool = False,
        pause: float = 0.0,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message[:LONGEST]
        """The provider's words, without secrets."""
        self.status = status
        self.attempts = attempts
        self.fatal = fatal
        """The model cannot go on."""
        self.retryable = retryable
        self.pause = pause
        """Seconds that the server asks to wait."""
        self.reply: Any = None
        """What came, as JSON or text, for the dialect to look at."""

    @property
    def refused(self) -> bool:
        """There were too many requests."""
        return self.kind == RATE_LIMITED

    @property
    def overloaded(self) -> bool:
        """The server could not keep up."""
        return self.kind == TIMEOUT or self.status in (503, 529)

    def __str__(self) -> str:
        head = f"HTTP {self.status}" if self.status else self.kind
        return f"{head}: {self.message}" if self.message else head


def of_status(status: int, body: bytes, pause: float | None = None, location: str | None = None) -> Failed:
    """The failure behind a reply with an error's status."""
    reply = parse(body)
    failed = _classify(status, message_of(reply) or _phrase(status), _details(reply), location)
    failed.pause = (pause or 0.0) if failed.retryable else 0.0
    if failed.pause > LONGEST_PAUSE:
        failed.message = f"the server asks to wait {failed.pause / 3600:,.0f} h; {failed.message}"[:LONGEST]
        failed.kind, failed.fatal, failed.retryable, failed.pause = LONG_PAUSE, True, False, 0.0
    failed.reply = reply
    return failed


def _classify(status: int, message: str, details: str, location: str | None) -> Failed:
    words = f"{details} {message}"
    if 300 <= status < 400:
        return Failed("redirect", f"the server redirects to {location or 'elsewhere'}", status=status, fatal=True)
    if status == 402 or (400 <= status < 500 and _CREDIT.search(words)):
        return Failed(NO_CREDIT, message, status=status, fatal=True)
    if status in _FATAL:
        return Failed(_FATAL[status], message, status=status, fatal=True)
    if status == 429:
        if _TOO_LARGE.search(message):
            return Failed("too_large", message, status=status)
        return Failed(RATE_LIMITED, message, status=status, retryable=True)
    if status in _RETRIED or status >= 500:
        return Failed(f"http_{status}", message, status=status, retryable=True)
    if _FILTER.search(words):
        return Failed(CONTENT_FILTER, message, status=status)
    if _LENGTH.search(words):
        return Failed(TOO_LONG, message, status=status)
    return Failed(f"http_{status}", message, status=status)


def of_exception(error: Exception, seconds: float | None = None) -> Failed:
    """The failure behind an exception of the client."""
    if isinstance(error, asyncio.TimeoutError):
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return Failed(CONNECTION, f"no connection in time: {error}", retryable=True)
        within = f" within {seconds:.0f} s" if seconds else " in time"
        return Failed(TIMEOUT, f"no answer{within}", retryable=True)
    if isinstance(error, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError):
        return Failed("bad_address", f"not an address: {error}", fatal=True)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return Failed("certificate", str(error), fatal=True)
    if isinstance(error, aiohttp.ClientConnectorError):
        if "WRONG_VERSION_NUMBER" in str(error):
            return Failed("bad_address", f"{error.host}:{error.port} speaks http, not https", fatal=True)
        code = error.os_error.errno or 0
        why = os.strerror(code) if code > 0 else error.os_error.strerror or error.os_error
        return Failed(CONNECTION, f"cannot connect to {error.host}:{error.port}: {why}", retryable=True)
    return Failed(CONNECTION, str(error) or type(error).__name__, retryable=True)


def malformed(what: str) -> Failed:
    """A reply that cannot be read."""
    return Failed(MALFORMED, what, status=None, retryable=True)


def in_reply(reply: Mapping[str, Any]) -> Failed | None:
    """The failure that some gateways report in a reply with status 200."""
    error = reply.get("error")
    if not error or reply.get("choices") or reply.get("content"):
        return None
    code = error.get("code") if isinstance(error, Mapping) else None
    status = code if isinstance(code, int) and 400 <= code < 600 else HTTPStatus.BAD_GATEWAY
    return of_status(int(status), orjson.dumps(reply))


def parse(body: bytes) -> Any:
    """JSON, or else the text."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return body.decode("utf-8", "replace")


def message_of(reply: Any) -> str:
    """The provider's words: of OpenAI, vLLM, Azure, Anthropic, FastAPI, plain text or a page of HTML."""
    if isinstance(reply, str):
        return " ".join(_TAGS.sub(" ", reply).split())
    if isinstance(reply, list):
        return "; ".join(filter(None, map(message_of, reply)))
    if not isinstance(reply, Mapping):
        return ""
    for name in ("error", "message", "msg", "detail", "errors", "error_description"):
        if reply.get(name):
            return message_of(reply[name]) or orjson.dumps(reply[name]).decode()
    return ""


def _details(reply: Any) -> str:
    """Codes and types of an error, wherever they stand."""
    if not isinstance(reply, Mapping):
        return ""
    found = [str(reply[name]) for name in ("type", "code", "param", "error_code") if reply.get(name)]
    nested = [_details(reply[name]) for name in ("error", "details", "innererror") if name in reply]
    return " ".join(found + nested)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
