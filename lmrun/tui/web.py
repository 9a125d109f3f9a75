"""``lmrun tui --web``: the app in a browser of this machine, behind a token, through textual-serve."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import os
import secrets
import shlex
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import WSCloseCode, web
from textual_serve.app_service import AppService
from textual_serve.server import Server

from lmrun.errors import LmrunError

HOST = "127.0.0.1"
GRACE = 5.0
"""Seconds that an app has to end before it is killed."""
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        "connect-src 'self' ws://HOST; img-src 'self' data:; font-src 'self' data:; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class AppProcess(AppService):
    """The app of one tab: its own process, without a shell between, which is gone when the tab is."""

    async def _open_app_process(self, width: int = 80, height: int = 24) -> Process:
        environment = self._build_environment(width, height)
        command = shlex.split(self.command)
        process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environment)
        self._process, self._stdin = process, process.stdin
        return process

    async def stop(self) -> None:
        """Ask it to leave, and see to it."""
        task, self._task = self._task, None
        if task is None or self._process is None:
            return
        await self._download_manager.cancel_app_downloads(app_service_id=self.app_service_id)
        await self.send_meta({"type": "quit"})
        done, _ = await asyncio.wait([task], timeout=GRACE)
        if not done:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        await asyncio.gather(task, self._process.wait(), return_exceptions=True)


class WebServer(Server):
    """Serves whoever shows the token: in the address once, in a cookie from then on."""

    def __init__(self, command: Sequence[str], port: int, token: str) -> None:
        super().__init__(shlex.join(command), host=HOST, port=port, title="lmrun")
        self._origin = f"{HOST}:{port}"
        self._token = token
        self._cookie = f"lmrun-{port}"
        self._sockets: set[web.WebSocketResponse] = set()

    @property
    def address(self) -> str:
        """What a browser opens."""
        return f"http://{self._origin}/?token={self._token}"

    async def application(self) -> web.Application:
        """Everything that is served, behind the guard."""
        application = await self._make_app()
        application.middlewares.append(self._guard)
        return application

    async def on_startup(self, app: web.Application) -> None:
        """Without the library's banner."""

    async def on_shutdown(self, app: web.Application) -> None:
        """Close every tab; each ends its app."""
        for websocket in tuple(self._sockets):
            await websocket.close(code=WSCloseCode.GOING_AWAY)

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        # Another name for this address is a page that has its name resolve to it; another origin is that page itself.
        origin = request.headers.get("Origin")
        if request.headers.get("Host") != self._origin or origin not in (None, f"http://{self._origin}"):
            raise web.HTTPForbidden(text="not from here\n")
        if self._is_token(request.query.get("token", "")):
            response: web.StreamResponse = web.Response(status=303, headers={"Location": request.path})
            response.set_cookie(self._cookie, self._token, httponly=True, samesite="Strict", path="/")
        elif self._is_token(request.cookies.get(self._cookie, "")):
            response = await handler(request)
        else:
            raise web.HTTPForbidden(text="open the address that lmrun printed\n")
        if not response.prepared:
            response.headers.update({name: value.replace("HOST", self._origin) for name, value in _HEADERS.items()})
        return response

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode(), self._token.encode())

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """One tab: an app as long as it is open."""
        websocket = web.WebSocketResponse(heartbeat=15)
        await websocket.prepare(request)
        self._sockets.add(websocket)
        app = AppProcess(
            self.command,
            write_bytes=websocket.send_bytes,
            write_str=websocket.send_str,
            close=websocket.close,  # type: ignore[arg-type]  # what it returns is not looked at
            download_manager=self.download_manager,
        )
        try:
            await app.start(_cells(request, "width", 80), _cells(request, "height", 24))
            await self._process_messages(websocket, app)
        finally:
            self._sockets.discard(websocket)
            await asyncio.shield(app.stop())
        return websocket


def _cells(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name, "")
    return max(1, min(int(text), 1000)) if text.isdecimal() else default


def serve(command: Sequence[str], port: int) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Raises:
        LmrunError: if the port is taken.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise LmrunError(f"port {port}: {error}", hint="name another with --port; 0 takes a free one") from error
    with listener:
        server = WebServer(command, listener.getsockname()[1], secrets.token_urlsafe(24))
        asyncio.run(_serve(server, listener))


async def _serve(server: WebServer, listener: socket.socket) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(name, ended.set)
    # Accesses are not logged: the first address of each browser holds the token.
    runner = web.AppRunner(await server.application(), access_log=None, shutdown_timeout=2 * GRACE)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    sys.stdout.write(f"{server.address}\n")
    sys.stdout.flush()
    if os.isatty(2):
        sys.stderr.write("open this address in a browser on this machine; Ctrl-C ends it, runs go on\n")
    try:
        await ended.wait()
    finally:
        await runner.cleanup()
