"""A server in a thread of its own, and what scripted server and proxy share: faults, limits, counts."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from aiohttp import web

from lmrun.testing.counters import Counters, Seen
from lmrun.testing.faults import disfigured, edit, prompt_of, refused
from lmrun.testing.limits import Limiter
from lmrun.testing.script import Fault, Script

if TYPE_CHECKING:
    from typing_extensions import Self

_BIGGEST_BODY = 2**30


class Reply(NamedTuple):
    """An answer before it is written: JSON, or bytes that are no JSON."""

    status: int
    payload: Any
    headers: Mapping[str, str] = {}


class Server:
    """Listens on loopback while its ``with`` block runs, in a thread of its own."""

    def __init__(self, script: Script, *, port: int = 0, keep: int = 1000) -> None:
        """Of the last ``keep`` requests all is kept; port 0 is any that is free."""
        self.script = script
        self.port = port
        self.counters = Counters(keep)
        self._limiter = Limiter(script.limits)
        self._ready = threading.Event()
        self._listening: Callable[[str], object] = bool
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._main, name=type(self).__name__, daemon=True)

    @property
    def url(self) -> str:
        """Address without a path."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        """Address up to the version, as a manifest states it."""
        return f"{self.url}/v1"

    @property
    def seen(self) -> list[Seen]:
        """The last requests."""
        return list(self.counters.seen)

    def stats(self) -> dict[str, Any]:
        """Counts, as ``GET /stats`` gives them."""
        return self.counters.as_json()

    def reset(self) -> None:
        """Forget all requests, as ``POST /reset`` does."""
        self.counters.reset()
        self._limiter = Limiter(self.script.limits)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        if self._failure:
            raise self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the server and all its connections. Safe to call twice."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    def run(self, listening: Callable[[str], object]) -> None:
        """Serve in this thread until interrupted; ``listening`` is told the address.

        The process is then taken to do nothing else: garbage is collected a tenth as often as by default.
        """
        gc.freeze()
        gc.set_threshold(7_000, 10, 10)
        self._listening = listening
        with contextlib.suppress(KeyboardInterrupt):
            self._main()

    def _main(self) -> None:
        self._loop = _new_loop()
        with contextlib.closing(self._loop):
            try:
                self._loop.run_until_complete(self._serve())
            except OSError as error:
                self._failure = error
            finally:
                self._ready.set()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        requests = partial(_request, self._loop)
        server = web.Server(self._handle, request_factory=requests, handler_cancellation=True, access_log=None)
        runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await self.started()
            await web.TCPSite(runner, "127.0.0.1", self.port, backlog=4096).start()
            self.port = runner.addresses[0][1]
            self._ready.set()
            self._listening(self.url)
            await self._stop.wait()
        finally:
            await runner.cleanup()
            await self.stopped()

    async def started(self) -> None:
        """For what must be opened in the server's loop."""

    async def stopped(self) -> None:
        """For closing it."""

    async def reply(self, request: web.BaseRequest, body: bytes, kinds: frozenset[str]) -> Reply:
        """The right answer, before any fault; ``kinds`` are those that happen, for what must be computed otherwise."""
        raise NotImplementedError

    def prompt(self, parsed: Any) -> str:
        """The text of a request that faults look through."""
        return prompt_of(parsed)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/stats":
            return _json(Reply(200, self.stats()))
        if request.path == "/reset":
            self.reset()
            return _json(Reply(200, {}))
        with self.counters.flight():
            body = await request.read()
            response = await self._answer(request, body)
            self.counters.statuses[str(response.status) if response.status else "none"] += 1
            return response

    async def _answer(self, request: web.BaseRequest, body: bytes) -> web.StreamResponse:
        path, counters = request.path, self.counters
        parsed = _parsed(body)
        counters.record(path, request.query_string, request.headers, parsed)
        attempt = counters.attempt(path, body)
        headers: Mapping[str, str] = {}
        if request.method == "POST":
            refusal, headers = self._limiter.admit(path, counters.in_flight)
            if refusal:
                return _json(Reply(429, refusal, headers))
        happens = self.happens(request.method, path, parsed, body, attempt)
        counters.faults.update(happens.keys())
        seconds = self.script.latency + (happens["latency"].seconds if "latency" in happens else 0)
        if seconds:
            await asyncio.sleep(seconds)
        return await self._write(request, body, happens, headers)

    def happens(self, method: str, path: str, parsed: Any, body: bytes, attempt: int) -> dict[str, Fault]:
        """What goes wrong with a request; of several faults of a kind the first."""
        happens: dict[str, Fault] = {}
        prompt = self.prompt(parsed) if self.script.faults else ""
        for i, fault in enumerate(self.script.faults):
            concerned = method == "POST" or fault.path
            if concerned and fault.befalls(path, prompt, body, attempt, f"{self.script.seed}.{i}"):
                happens.setdefault(fault.kind, fault)
        return happens

    async def _write(
        self, request: web.BaseRequest, body: bytes, happens: Mapping[str, Fault], headers: Mapping[str, str]
    ) -> web.StreamResponse:
        if "hang" in happens:
            await self._stop.wait()
        if "hang" in happens or "reset" in happens:
            return _drop(request)
        if "status" in happens:
            return _json(Reply(*refused(request.path, happens["status"])))
        status, payload, more = await self.reply(request, body, frozenset(happens))
        if not happens or status != 200:
            return _json(Reply(status, payload, {**headers, **more}))
        data, kind = disfigured(edit(payload, frozenset(happens)), happens)
        headers = {**headers, **more, "Content-Type": kind}
        if happens.keys() & {"slow_first_byte", "slow_body", "cut_off"}:
            return await _slowly(request, data, happens, headers)
        return web.Response(body=data, headers=headers)


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _request(
    loop: asyncio.AbstractEventLoop, message: Any, payload: Any, protocol: Any, writer: Any, task: Any
) -> web.BaseRequest:
    """A request whose body may be as large as that of a batch."""
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=_BIGGEST_BODY)


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body) if body else None
    except orjson.JSONDecodeError:
        return body


def _json(reply: Reply) -> web.Response:
    data = reply.payload if isinstance(reply.payload, bytes) else orjson.dumps(reply.payload)
    return web.Response(body=data, status=reply.status, headers={"Content-Type": "application/json", **reply.headers})


def _drop(request: web.BaseRequest) -> web.Response:
    """Reset the connection; the response is never sent."""
    transport = request.transport
    if transport is not None:
        linger = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
    return web.Response(status=0)


async def _slowly(
    request: web.BaseRequest, data: bytes, happens: Mapping[str, Fault], headers: Mapping[str, str]
) -> web.StreamResponse:
    response = web.StreamResponse(headers={**headers, "Content-Length": str(len(data))})
    if "slow_first_byte" in happens:
        await asyncio.sleep(happens["slow_first_byte"].seconds)
    await response.prepare(request)
    if "cut_off" in happens:
        await response.write(data[: len(data) // 2])
        return _drop(request)
    seconds = happens["slow_body"].seconds if "slow_body" in happens else 0.0
    step = max(1, len(data) // 10)
    for at in range(0, len(data), step):
        await response.write(data[at : at + step])
        await asyncio.sleep(seconds / 10)
    await response.write_eof()
    return response
