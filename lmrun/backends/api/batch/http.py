"""HTTP with a batch API: few requests, large files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from lmrun.backends.api.failures import Failed
from lmrun.backends.api.options import ApiOptions
from lmrun.backends.api.retry import Course, again
from lmrun.backends.api.transport import Address, parsed, proxy_for

T = TypeVar("T")
_PIECE = 2**20
_IDLE = 300.0
"""Seconds of silence after which a transfer counts as lost."""


class BatchHttp:
    """A session with the batch API of a provider. Made and closed inside the loop that uses it."""

    def __init__(self, address: Address, options: ApiOptions) -> None:
        self._address = address
        self._retry = options.retry
        self._proxy = proxy_for(address.base_url)
        timeout = aiohttp.ClientTimeout(total=None, connect=options.timeout.connect, sock_read=_IDLE)
        self._session = address.session({}, timeout=timeout)

    async def close(self) -> None:
        """End all connections."""
        await self._session.close()

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Mapping[str, Any]:
        """Read a JSON object. Raises :class:`Failed`."""
        return await self.retried(lambda: self._json("GET", path, None, query))

    async def upload(self, path: str, data: Callable[[], Any]) -> Mapping[str, Any]:
        """Send a form; again, if that fails: what is uploaded twice costs nothing. Raises :class:`Failed`."""
        return await self.retried(lambda: self._json("POST", path, data))

    async def post_once(self, path: str, data: Callable[[], Any]) -> Mapping[str, Any]:
        """Send JSON, a single time. Raises :class:`Failed`."""
        return await self._json("POST", path, data, headers={"Content-Type": "application/json"})

    async def download(self, path: str, file: Path) -> None:
        """Put what is read at the end of a file. Raises :class:`Failed`."""
        size = file.stat().st_size if file.exists() else 0

        async def attempt() -> None:
            with file.open("ab") as out:
                out.truncate(size)
                async for piece in self._pieces(path):
                    out.write(piece)
                out.write(b"\n")

        await self.retried(attempt)

    async def retried(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Try until there is an answer, within the bounds of the manifest. Raises :class:`Failed`."""

        async def one() -> T:
            try:
                return await attempt()
            except Failed as failed:
                await asyncio.sleep(failed.pause)  # here no other request is held back by it
                raise

        try:
            return await one()
        except Failed as failed:
            answer, _ = await again(failed, one, Course(self._retry), asyncio.sleep)
            return answer

    async def _json(
        self,
        method: str,
        path: str,
        data: Callable[[], Any] | None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Mapping[str, Any]:
        url = self._address.url(path).update_query(query or {})
        try:
            async with self._session.request(
                method, url, data=data() if data else None, headers=headers, allow_redirects=False, proxy=self._proxy
            ) as response:
                raw = self._address.without_secret_bytes(await response.read())
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
            raise self._address.lost(error) from None
        if response.status >= 300:
            raise self._address.refused(response.status, response.headers, raw)
        return parsed(raw)

    async def _pieces(self, path: str) -> AsyncIterator[bytes]:
        url = self._address.url(path)
        try:
            # No redirects: the key would go wherever they lead.
            async with self._session.get(url, allow_redirects=False, proxy=self._proxy) as response:
                if response.status >= 300:
                    raise self._address.refused(response.status, response.headers, await response.read())
                async for piece in response.content.iter_chunked(_PIECE):
                    yield piece
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
            raise self._address.lost(error) from None
