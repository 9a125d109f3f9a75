"""Single exchanges with a server that sends exactly these bytes."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Mapping
from contextlib import suppress

import aiohttp
import pytest
from yarl import URL

from lmrun.backends.api import exchange
from lmrun.backends.api.exchange import Exchange, Got

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def asked(
    *answers: bytes | None,
    url: str = "http://127.0.0.1:{port}/v1/x?a=b",
    proxy: str | None = None,
    headers: Mapping[str, str] | None = None,
    total: float = 20,
) -> tuple[list[Got], list[bytes], int]:
    """One exchange per answer (None: none comes): what came back, what the server was sent, and its connections.

    After the last answer the server closes the connection.
    """
    waiting, sent, writers = list(answers), [], []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with suppress(asyncio.IncompleteReadError):
            while waiting:
                sent.append(await reader.readuntil(b"\r\n\r\n") + await reader.readexactly(4))
                answer = waiting.pop(0)
                if answer is None:
                    await reader.read()
                else:
                    writer.write(answer)
        writer.close()

    async def run() -> list[Got]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        connector = aiohttp.TCPConnector()
        try:
            through = proxy.format(port=port) if proxy else None
            one = Exchange(connector, "POST", URL(url.format(port=port)), headers or {}, through)
            timeout = aiohttp.ClientTimeout(total=total, connect=10)
            return [await one(b"body", timeout) for _ in answers]
        finally:
            await connector.close()
            server.close()
            await asyncio.gather(*(writer.wait_closed() for writer in writers))

    return asyncio.run(run()), sent, len(writers)


def test_requests_share_a_connection_and_a_head() -> None:
    got, sent, connections = asked(OK, OK, headers={"Authorization": "Bearer key"})
    assert [(one.status, one.raw) for one in got] == [(200, b"{}")] * 2
    assert connections == 1
    first, second = sent
    assert first == second
    assert first.startswith(b"POST /v1/x?a=b HTTP/1.1\r\n")
    assert b"\r\nContent-Length: 4\r\n\r\nbody" in first
    assert b"\r\nAuthorization: Bearer key\r\n" in first
    assert first.count(b"Content-Length") == 1


def test_what_comes_ahead_of_a_reply_is_passed_over() -> None:
    (got,), _, _ = asked(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK)
    assert (got.status, got.raw) == (200, b"{}")


def test_replies_are_unpacked() -> None:
    packed = gzip.compress(b'{"a": 1}')
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n"
    (got,), _, _ = asked(head.encode() + packed)
    assert got.raw == b'{"a": 1}'


def test_a_proxy_gets_the_whole_address_and_its_credentials() -> None:
    url, proxy = "http://models.example/v1/x", "http://user:word@127.0.0.1:{port}"
    _, sent, _ = asked(OK, OK, url=url, proxy=proxy)
    for request in sent:
        assert request.startswith(b"POST http://models.example/v1/x HTTP/1.1\r\n")
        assert b"\r\nHost: models.example\r\n" in request
        assert b"\r\nProxy-Authorization: Basic " in request


def test_the_total_timeout_ends_the_wait() -> None:
    with pytest.raises(asyncio.TimeoutError):
        asked(None, total=0.05)


def test_a_reply_that_is_cut_off_is_an_error() -> None:
    with pytest.raises(aiohttp.ClientPayloadError):
        asked(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{}")


@pytest.mark.parametrize("length", ["Content-Length: 2\r\n", "Transfer-Encoding: chunked\r\n"])
def test_a_reply_that_is_too_large_is_an_error(length: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "LARGEST", 1)
    body = "{}" if "Length" in length else "2\r\n{}\r\n0\r\n\r\n"
    with pytest.raises(aiohttp.ClientPayloadError):
        asked(f"HTTP/1.1 200 OK\r\n{length}\r\n{body}".encode())


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/v1", "127.0.0.1:80/v1"])
def test_only_http_is_spoken(url: str) -> None:
    with pytest.raises(aiohttp.NonHttpUrlClientError):
        asked(OK, url=url)


def test_a_header_of_several_lines_is_refused() -> None:
    with pytest.raises(ValueError, match="several lines"):
        asked(OK, headers={"X-Note": "a\r\nHost: other"})
