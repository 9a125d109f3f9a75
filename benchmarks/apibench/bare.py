"""A client that only sends: what aiohttp can do against the same server."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import aiohttp


async def main(url: str, bodies: list[dict[str, Any]], concurrency: int) -> None:
    """Send all bodies, so many at once, and read the answers."""
    waiting = iter(bodies)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def worker() -> None:
            for body in waiting:
                async with session.post(url, json=body) as reply:
                    await reply.json()

        await asyncio.gather(*(worker() for _ in range(concurrency)))


if __name__ == "__main__":
    with Path(sys.argv[2]).open(encoding="utf-8") as file:
        asyncio.run(main(sys.argv[1], [json.loads(line) for line in file], int(sys.argv[3])))
