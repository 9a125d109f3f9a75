"""A client that hides nothing."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from lmrun.testing.serving import Server


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    data: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.data)


@contextmanager
def sent(
    server: Server, method: str, path: str, data: bytes | None, headers: Mapping[str, str]
) -> Iterator[http.client.HTTPConnection]:
    """A connection on which a request has been sent."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request(method, path, data, dict(headers))
        yield connection
    finally:
        connection.close()


def ask(
    server: Server, path: str, body: Any = None, method: str = "POST", headers: Mapping[str, str] | None = None
) -> Answer:
    """Send a body (JSON, or bytes as they are) and read the whole answer."""
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    with sent(server, method, path, data, {"Content-Type": "application/json", **(headers or {})}) as connection:
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())


def get(server: Server, path: str) -> Answer:
    return ask(server, path, method="GET")


def complete(server: Server, prompt: Any, **more: Any) -> Any:
    """The reply to a greedy completion that succeeds."""
    answer = ask(server, "/v1/completions", {"model": "tiny", "prompt": prompt, "temperature": 0, **more})
    assert answer.status == 200, answer.data
    return answer.json


def chat(server: Server, text: str = "What is 2 + 2?", **more: Any) -> Any:
    """The reply to a greedy chat that succeeds."""
    body = {"model": "tiny", "messages": [{"role": "user", "content": text}], "temperature": 0, **more}
    answer = ask(server, "/v1/chat/completions", body)
    assert answer.status == 200, answer.data
    return answer.json


def message(server: Server, text: str = "What is 2 + 2?", **more: Any) -> Answer:
    """The answer to one of Anthropic's messages."""
    messages = [{"role": "user", "content": text}]
    body = {"model": "tiny", "messages": messages, "max_tokens": 64, "temperature": 0, **more}
    return ask(server, "/v1/messages", body, headers={"anthropic-version": "2023-06-01"})
