"""A reverse proxy that puts faults in front of a real server.

In a test::

    with FaultProxy("http://127.0.0.1:8000", Script(faults=[Fault("reset", share=0.02)])) as proxy:
        ...  # ask proxy.base_url
    proxy.stats()

In a terminal: ``python -m lmrun.testing.proxy http://127.0.0.1:8000 --port 8778 --script FILE.toml``. Of the script
``faults``, ``seed``, ``limits`` and ``latency`` apply; the rest is up to the real server.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from lmrun.testing.errors import error
from lmrun.testing.script import Script, read_script
from lmrun.testing.serving import Reply, Server

_NOT_SENT_ON = frozenset({"host", "connection", "content-length", "transfer-encoding", "accept-encoding", "keep-alive"})
_NOT_SENT_BACK = _NOT_SENT_ON | {"content-encoding", "date", "server"}


class FaultProxy(Server):
    """Sends requests on and answers back, with the faults of a script."""

    def __init__(self, upstream: str, script: Script | None = None, *, port: int = 0, keep: int = 1000) -> None:
        """``upstream`` is the address of the real server, without a path."""
        super().__init__(script or Script(), port=port, keep=keep)
        self._upstream = upstream.rstrip("/")

    async def started(self) -> None:
        """Open the connections to the real server."""
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=None)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=True)

    async def stopped(self) -> None:
        """Close them."""
        await self._session.close()

    async def reply(self, request: web.BaseRequest, body: bytes, kinds: frozenset[str]) -> Reply:
        """What the real server answers."""
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _NOT_SENT_ON}
        try:
            async with self._session.request(
                request.method, self._upstream + request.path_qs, headers=headers, data=body
            ) as response:
                back = {name: value for name, value in response.headers.items() if name.lower() not in _NOT_SENT_BACK}
                return Reply(response.status, _payload(await response.read(), kinds), back)
        except aiohttp.ClientError as broken:
            return Reply(502, error(request.path, 502, f"The server behind the proxy does not answer: {broken}"))


def _payload(data: bytes, kinds: frozenset[str]) -> Any:
    """The answer, as JSON only if a fault has to change it."""
    if not kinds:
        return data
    try:
        payload = orjson.loads(data)
    except orjson.JSONDecodeError:
        return data
    if "shifted_logprobs" in kinds:
        for choice in payload.get("choices", ()):
            _shift(choice.get("logprobs") or {})
    return payload


def _shift(logprobs: dict[str, Any]) -> None:
    """Give each echoed token what belongs to its successor; the first stays null, and the length as it is."""
    own = logprobs.get("token_logprobs")
    if own and own[0] is None:
        logprobs["token_logprobs"] = [None, *own[2:], *own[-1:]][: len(own)]


def _say(url: str) -> None:
    sys.stdout.write(f"listening on {url}/v1\n")
    sys.stdout.flush()


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m lmrun.testing.proxy", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("upstream", help="address of the real server, without a path")
    parser.add_argument("--port", type=int, default=8778)
    parser.add_argument("--script", type=Path, help="TOML file with the keys of a Script")
    options = parser.parse_args()
    script = read_script(options.script) if options.script else Script()
    FaultProxy(options.upstream, script, port=options.port, keep=0).run(_say)


if __name__ == "__main__":
    main()
