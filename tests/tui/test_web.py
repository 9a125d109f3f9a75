"""The app in a browser: only with the token, only from here, and no process stays behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import psutil
import pytest

from lmrun.store.runs import RunDirectory
from tests.tui.conftest import World

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0


class Served:
    """A real ``lmrun tui --web``."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "lmrun", "tui", *arguments, "--web"]
        self.process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.address = self.process.stdout.readline().strip()
        self.base, _, self.token = self.address.partition("/?token=")

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self, number: int) -> list[psutil.Process]:
        """End it; returns which of its children are still there."""
        children = self.children()
        assert children
        self.process.send_signal(number)
        self.process.wait(PATIENCE)
        return psutil.wait_procs(children, timeout=PATIENCE)[1]

    async def opened(self) -> tuple[aiohttp.ClientSession, aiohttp.ClientWebSocketResponse]:
        """A browser with a tab."""
        session = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))
        async with session.get(self.address) as page:
            assert page.status == 200
            assert "textual-terminal" in await page.text()
        return session, await session.ws_connect(f"{self.base}/ws?width=100&height=30")


@pytest.fixture
def served(world: World, finished: RunDirectory) -> Iterator[Served]:
    served = Served(world.folder, str(finished.path))
    try:
        yield served
    finally:
        served.process.kill()
        served.process.communicate()


async def _until_shown(websocket: aiohttp.ClientWebSocketResponse, text: str) -> None:
    seen = b""
    end = time.monotonic() + PATIENCE
    while text.encode() not in seen:
        assert time.monotonic() < end, seen[-2000:]
        message = await websocket.receive(timeout=PATIENCE)
        assert message.type is aiohttp.WSMsgType.BINARY, message
        seen += message.data


def test_only_who_shows_the_token_is_served(served: Served) -> None:
    host = served.base.removeprefix("http://")
    good = {"Cookie": f"lmrun-{host.split(':')[1]}={served.token}"}
    refused: list[dict[str, str]] = [
        {},
        {"Cookie": good["Cookie"][:-1]},
        {**good, "Host": f"evil.example:{host.split(':')[1]}"},
        {**good, "Host": f"localhost:{host.split(':')[1]}"},
        {**good, "Origin": "http://evil.example"},
    ]

    async def go() -> None:
        async with aiohttp.ClientSession() as session:
            for path in ("/", "/ws", "/static/js/textual.js", "/download/x", "/?token=", f"/?token={served.token}x"):
                for headers in refused:
                    async with session.get(served.base + path, headers=headers) as answer:
                        assert answer.status == 403, (path, headers)
            for headers in refused:
                with pytest.raises(aiohttp.WSServerHandshakeError) as error:
                    await session.ws_connect(f"{served.base}/ws", headers=headers)
                assert error.value.status == 403
            async with session.get(served.address, allow_redirects=False) as answer:
                assert answer.status == 303
                assert answer.headers["Location"] == "/"
                cookie = answer.headers["Set-Cookie"]
                assert "HttpOnly" in cookie
                assert "SameSite=Strict" in cookie
            async with session.get(f"{served.base}/static/js/textual.js", headers=good) as answer:
                assert answer.status == 200
                assert answer.headers["Referrer-Policy"] == "no-referrer"

    asyncio.run(go())
    assert served.children() == []


def test_it_listens_on_this_machine_only(served: Served) -> None:
    (connection,) = [c for c in psutil.Process(served.process.pid).net_connections() if c.status == "LISTEN"]
    assert connection.laddr.ip == "127.0.0.1"


def test_a_tab_shows_the_app_and_closing_it_ends_its_process(served: Served) -> None:
    async def go() -> None:
        session, websocket = await served.opened()
        async with session:
            await _until_shown(websocket, "complete")
            await websocket.send_str(json.dumps(["stdin", "6"]))
            await websocket.send_str(json.dumps(["resize", {"width": 80, "height": 24}]))
            (child,) = served.children()
            await websocket.close()
        await asyncio.to_thread(child.wait, PATIENCE)

    asyncio.run(go())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_app_outlives_the_server(number: signal.Signals, served: Served) -> None:
    async def go() -> None:
        session, websocket = await served.opened()
        async with session:
            await _until_shown(websocket, "complete")
            assert await asyncio.to_thread(served.end, number) == []

    asyncio.run(go())
    assert served.process.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 0)


def test_a_port_that_is_taken_is_told(served: Served, world: World) -> None:
    port = served.base.rpartition(":")[2]
    command = [sys.executable, "-m", "lmrun", "tui", "--web", "--port", port]
    done = subprocess.run(
        command,
        cwd=world.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert f"port {port}" in done.stderr
