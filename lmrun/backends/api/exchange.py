"""HTTP over the connections of aiohttp, without what its session does anew for every request.

aiohttp connects, keeps connections open, speaks TLS and with proxies, unpacks and parses. A head is the same for all
requests to one address and is made once; cookies, redirects and traces are not wanted. So a request takes about half
of the processor time that it takes in a session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import cached_property
from typing import NamedTuple

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.helpers import ceil_timeout
from yarl import URL

LARGEST = 256 * 2**20
"""Bytes of a reply, unpacked; more is no answer."""
_BUFFER = 2**16
"""Bytes that are read ahead."""


class Got(NamedTuple):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    """Looks names up in any case."""
    raw: bytes


class _Request(aiohttp.ClientRequest):
    """Sent again and again, to a place that stays the same."""

    @cached_property
    def connection_key(self) -> ConnectionKey:
        """Which connections can be used for it."""
        key: ConnectionKey = super().connection_key
        return key


class Exchange:
    """Requests to one address, each with a body of its own. Made inside the loop that uses it."""

    def __init__(
        self, connector: aiohttp.BaseConnector, method: str, url: URL, headers: Mapping[str, str], proxy: str | None
    ) -> None:
        if url.scheme not in ("http", "https"):
            raise aiohttp.NonHttpUrlClientError(url)
        self._connector = connector
        self._request = _Request(
            method,
            url,
            headers=headers,
            skip_auto_headers=("Accept",),
            proxy=URL(proxy) if proxy else None,
            loop=asyncio.get_running_loop(),
        )
        self._request.headers.pop("Content-Length", None)
        self._head = b""

    async def __call__(self, body: bytes | None, timeout: aiohttp.ClientTimeout) -> Got:
        """Send a body and read the reply. Raises what aiohttp raises, and ValueError for headers that cannot be."""
        async with ceil_timeout(timeout.total):
            connection = await self._connect(timeout)
            try:
                assert connection.protocol is not None
                got = await self._exchange(connection.protocol, body, timeout.sock_read)
            except BaseException:
                connection.close()
                raise
            connection.release()
            return got

    async def _connect(self, timeout: aiohttp.ClientTimeout) -> aiohttp.connector.Connection:
        try:
            return await self._connector.connect(self._request, [], timeout)
        except asyncio.TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError(f"Connection timeout to host {self._request.url}") from error

    async def _exchange(self, protocol: ResponseHandler, body: bytes | None, idle: float | None) -> Got:
        protocol.set_response_params(read_until_eof=True, read_timeout=idle, read_bufsize=_BUFFER)
        self._head = self._head or self._made_head()
        if protocol.transport is None:
            raise aiohttp.ServerDisconnectedError
        length = b"\r\n" if body is None else b"Content-Length: %d\r\n\r\n" % len(body)
        protocol.transport.write(b"".join((self._head, length, body or b"")))
        protocol.start_timeout()
        message, content = await protocol.read()
        while 100 <= message.code < 200 and message.code != 101:  # what comes ahead of the reply
            message, content = await protocol.read()
        return Got(message.code, message.headers, await _read(content, message.headers.get("Content-Length", "")))

    def _made_head(self) -> bytes:
        """Request line and headers, once there is a connection: with it come the headers for a proxy."""
        request = self._request
        target = str(request.url) if request.proxy and not request.is_ssl() else request.url.raw_path_qs
        lines = [f"{request.method} {target} HTTP/1.1", *(f"{k}: {v}" for k, v in request.headers.items())]
        for line in lines:
            if set(line) & {"\r", "\n", "\0"}:
                raise ValueError(f"a header has several lines: {line.partition(':')[0]}")
        return "".join(f"{line}\r\n" for line in lines).encode()


async def _read(content: aiohttp.StreamReader, announced: str) -> bytes:
    if announced.isdecimal() and int(announced) > LARGEST:
        raise aiohttp.ClientPayloadError(f"the reply has {int(announced):,} bytes")
    pieces, size = [], 0
    while piece := await content.readany():
        size += len(piece)
        if size > LARGEST:
            raise aiohttp.ClientPayloadError(f"the reply has more than {LARGEST:,} bytes")
        pieces.append(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
