"""One HTTP exchange: bytes out, JSON back, or :class:`~lmrun.backends.api.failures.Failed`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import orjson
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from lmrun import __version__
from lmrun.backends.api import failures
from lmrun.backends.api.exchange import Exchange, Got
from lmrun.backends.api.failures import Failed
from lmrun.backends.api.headers import retry_after, spent
from lmrun.backends.api.options import Timeout

_JSON = {"Content-Type": "application/json"}
_STEP = 10
"""Seconds to which time-outs are rounded up, so that few different ones are made."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where and as whom requests are sent."""

    base_url: str
    headers: Mapping[str, str]
    """The key among them."""
    query: Mapping[str, str]
    secrets: tuple[str, ...] = ()
    """What may not stand in any message."""

    def url(self, path: str) -> URL:
        """The address of a path below ``base_url``."""
        base = URL(self.base_url)
        return base.with_path(base.path.rstrip("/") + "/" + path.lstrip("/"), keep_query=True).update_query(self.query)

    def without_secrets(self, text: str) -> str:
        """A text that can be shown and stored."""
        for secret in self.secrets:
            text = text.replace(secret, "[key]")
        return text

    def without_secret_bytes(self, raw: bytes) -> bytes:
        """A reply without the key, wherever a server repeats it: a reply is kept, and read by others."""
        for secret in self.secrets:
            raw = raw.replace(secret.encode(), b"[key]")
        return raw

    def session(self, headers: Mapping[str, str], **options: Any) -> aiohttp.ClientSession:
        """A session with the server; ``options`` are those of aiohttp. To be opened inside the loop that uses it."""
        every = self.headers_with(headers)
        return aiohttp.ClientSession(headers=every, cookie_jar=aiohttp.DummyCookieJar(), **options)

    def headers_with(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        """All headers of a request; those of the manifest win."""
        return {"User-Agent": f"lmrun/{__version__}", **headers, **self.headers}

    def lost(self, error: Exception, seconds: float | None = None) -> Failed:
        """The failure behind an exception of the session."""
        failed = failures.of_exception(error, seconds)
        failed.message = self.without_secrets(failed.message)
        return failed

    def refused(self, status: int, headers: Mapping[str, str], raw: bytes) -> Failed:
        """The failure behind a reply with an error's status; ``headers`` looks names up in any case."""
        pause = retry_after(headers)
        if pause is None and status == 429:
            pause = spent(headers)
        location = self.without_secrets(headers.get("Location", ""))
        return failures.of_status(status, self.without_secret_bytes(raw), pause, location)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the server."""

    body: Mapping[str, Any]
    pause: float
    """Seconds until the server has something left of what it allows."""


def seconds_allowed(prompt_tokens: int, new_tokens: int) -> float:
    """The time-out of a request, where the manifest states none.

    Two minutes to wait in the server's queue, and time for a slow server to read 500 tokens and to write 10 tokens per
    second: 120 + prompt_tokens / 500 + new_tokens / 10, rounded up to tens.
    """
    return -(-(120 + prompt_tokens / 500 + new_tokens / 10) // _STEP) * _STEP


def is_local(url: str) -> bool:
    """Whether an address is of this machine, which may be asked offline."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def encode(body: Mapping[str, Any]) -> bytes:
    """A body as JSON."""
    try:
        return orjson.dumps(body)
    except TypeError:  # half a surrogate pair in a text, or an integer of more than 64 bits
        return json.dumps(body).encode()


class Transport:
    """The connections to one server. Made and closed inside the loop that uses it."""

    def __init__(self, address: Address, timeout: Timeout) -> None:
        self._address = address
        self._timeout = timeout
        self._exchanges: dict[tuple[str, str], Exchange] = {}
        self._proxy = proxy_for(address.base_url)
        self._timeouts = lru_cache(maxsize=256)(self._client_timeout)
        # No limit here: the window decides how many requests are in flight.
        self._connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=300)

    async def close(self) -> None:
        """End all connections."""
        await self._connector.close()

    async def post(self, path: str, body: bytes, prompt_tokens: int, new_tokens: int) -> Reply:
        """Send a body and read the reply. Raises :class:`Failed`."""
        timeout = self._timeouts(self._timeout.total or seconds_allowed(prompt_tokens, new_tokens))
        got = await self._ask("POST", path, body, timeout)
        pause = spent(got.headers) if _announces(got.headers) else 0.0
        # A longer one is nonsense, or the server will refuse what is sent next.
        return Reply(_answer(got.raw), pause if pause <= failures.LONGEST_PAUSE else 0.0)

    async def get(self, path: str) -> Any:
        """A page of the server as JSON or text, for hints. Raises :class:`Failed`."""
        got = await self._ask("GET", path, None, aiohttp.ClientTimeout(total=self._timeout.connect))
        return failures.parse(got.raw)

    async def _ask(self, method: str, path: str, body: bytes | None, timeout: aiohttp.ClientTimeout) -> Got:
        try:
            got = await self._exchange(method, path)(body, timeout)
        except (aiohttp.ClientError, HttpProcessingError, OSError, asyncio.TimeoutError, ValueError) as error:
            raise self._address.lost(error, timeout.total) from None
        if self._address.secrets:
            got = got._replace(raw=self._address.without_secret_bytes(got.raw))
        if got.status >= 300:
            raise self._address.refused(got.status, got.headers, got.raw)
        return got

    def _exchange(self, method: str, path: str) -> Exchange:
        found = self._exchanges.get((method, path))
        if found is None:
            url, headers = self._address.url(path), self._address.headers_with(_JSON)
            found = Exchange(self._connector, method, url, headers, self._proxy)
            self._exchanges[method, path] = found
        return found

    def _client_timeout(self, total: float) -> aiohttp.ClientTimeout:
        return aiohttp.ClientTimeout(total=total, connect=self._timeout.connect, sock_read=self._timeout.idle)


def _announces(headers: Mapping[str, str]) -> bool:
    """Whether there may be something about limits; most servers say nothing, and then nothing is looked up."""
    return any("ratelimit" in name.lower() for name in headers)


def _answer(raw: bytes) -> Mapping[str, Any]:
    reply = parsed(raw)
    failed = failures.in_reply(reply)
    if failed:
        raise failed
    return reply


def parsed(raw: bytes) -> dict[str, Any]:
    """A reply that is free of secrets, which is to be a JSON object. Raises :class:`Failed`."""
    try:
        reply = orjson.loads(raw)
    except orjson.JSONDecodeError:
        start = raw[:400].decode("utf-8", "replace")
        raise failures.malformed(f"not JSON, {len(raw):,} bytes: {failures.message_of(start)!r}") from None
    if not isinstance(reply, dict):
        raise failures.malformed(f"not a JSON object, but a {type(reply).__name__}")
    return reply


def proxy_for(base_url: str) -> str | None:
    """The proxy of the environment (``HTTPS_PROXY``, ``NO_PROXY`` …), looked up once and not per request."""
    parts = urlsplit(base_url)
    if is_local(base_url) or proxy_bypass(parts.hostname or ""):
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")
