"""A run that goes on in a thread while the test watches and steers it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from lmrun.engine.control.client import ControlClient
from lmrun.engine.progress import Snapshot
from lmrun.engine.run import Outcome
from lmrun.store.runs import RunDirectory, all_runs
from tests.engine.conftest import World

T = TypeVar("T")
PATIENCE = 60.0


def until(look: Callable[[], T | None]) -> T:
    """What ``look`` finds, as soon as it does."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.005)
    raise AssertionError("it did not come to that")


@dataclass
class Live:
    """One run at a time, with its client."""

    world: World
    pool: ThreadPoolExecutor
    clients: list[ControlClient] = field(default_factory=list)
    going: Future[Outcome] | None = None

    def start(self, manifest: Path, **options: Any) -> Future[Outcome]:
        """Run a manifest in a thread."""
        self.going = self.pool.submit(self.world.run, manifest, **options)
        return self.going

    def slow(self, **options: object) -> str:
        """A scripted model that takes its time."""
        chosen: dict[str, Any] = {"chunk": 1, "latency_ms": 30.0} | options
        return self.world.stub(**chosen)

    def docs(self, count: int) -> None:
        """So many docs in both tasks."""
        docs = [{"question": f"colour {i}?", "answer": i % 3} for i in range(count)]
        (self.world.folder / "tasks" / "colours.jsonl").write_text("".join(json.dumps(doc) + "\n" for doc in docs))

    @property
    def run(self) -> RunDirectory:
        """The newest run, once it has a socket."""
        runs = self.world.folder / "runs"

        def look() -> RunDirectory | None:
            if self.going and self.going.done():
                raise AssertionError("it is over already") from self.going.exception()
            return next((run for run in all_runs(runs) if run.control.exists()), None)

        return until(look)

    def client(self) -> ControlClient:
        """A client of it."""
        client = ControlClient(self.run)
        self.clients.append(client)
        return client


def snapshot(client: ControlClient, such: Callable[[Snapshot], object] = bool) -> Snapshot:
    """The first snapshot of this kind."""

    def look() -> Snapshot | None:
        found = client.snapshot()
        return found if found and such(found) else None

    return until(look)


@pytest.fixture
def live(world: World) -> Iterator[Live]:
    """A world in which runs go on in the background."""
    with ThreadPoolExecutor(1) as pool:
        live = Live(world, pool)
        yield live
        for client in live.clients:
            client.send("stop")
            client.close()
